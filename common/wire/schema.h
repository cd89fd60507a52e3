/* Tables of fields: one list of a message's fields gives its C struct, its codec, its check, its row on the
 * protocol page and its fuzz seed.
 *
 * A message is a msgpack map with short string keys. Decoding borrows: every ab_view points into the bytes that
 * were decoded. An absent optional field is zero ({NULL,0} for views); an optional field that is zero is not
 * sent, unless its type is MAYBE. Unknown keys are skipped, duplicate keys and wrong types are AB_EINVALID with the key as path.
 */
#ifndef AB_COMMON_WIRE_SCHEMA_H
#define AB_COMMON_WIRE_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/bytes.h"
#include "common/error.h"
#include "common/id.h"

/* type, C type, name on the protocol page */
#define AB_FIELD_TYPES(X)                                                                                      \
    X(BOOL, bool, "bool")                                                                                      \
    X(UINT, uint64_t, "uint")                                                                                  \
    X(MAYBE, struct ab_maybe, "uint")                                                                          \
    X(INT, int64_t, "int")                                                                                     \
    X(STR, struct ab_view, "str")                                                                              \
    X(BIN, struct ab_view, "bin")                                                                              \
    X(ID, struct ab_id, "id")                                                                                  \
    X(ANY, struct ab_view, "any")

enum ab_field_type {
#define X(type, c_type, name) AB_##type,
    AB_FIELD_TYPES(X)
#undef X
};

#define X(type, c_type, name) typedef c_type ab_c_##type;
AB_FIELD_TYPES(X)
#undef X

enum { OPT = 0, REQ = 1 };

struct ab_field {
    const char *key;
    uint8_t key_bytes;
    uint8_t type;     /* enum ab_field_type */
    uint8_t required; /* OPT or REQ */
    uint16_t offset;  /* in the C struct */
    uint64_t max; /* bytes of STR, BIN and ANY; greatest value of UINT and MAYBE; 0 = the type's own limit */
    const char *doc;
};

struct ab_schema {
    const char *name;
    const struct ab_field *fields;
    uint16_t n;
    size_t size; /* of the C struct */
};

/* struct ab_NAME from a list F(o, TYPE, name, REQ|OPT, max, doc); `o` carries the owner through, for offsets. */
#define AB_STRUCT_MEMBER(o, type, name, required, max, doc) ab_c_##type name;
#define AB_STRUCT(name, LIST)                                                                                  \
    struct ab_##name {                                                                                         \
        LIST(AB_STRUCT_MEMBER, ) bool pad_; /* no list is empty for the compiler */                            \
    };

/* Appends the message as a msgpack map. */
void ab_encode(struct ab_buf *out, const struct ab_schema *schema, const void *message);
/* The same with one more key in front: {"kind": kind, …}; how journal events are written. */
void ab_encode_kind(struct ab_buf *out, const struct ab_schema *schema, const void *message, const char *kind);
/* Fills *message (schema->size bytes) from exactly one msgpack map. */
int ab_decode(const struct ab_schema *schema, struct ab_view bytes, void *message, struct ab_error *err);

/* msgpack pieces for bodies that are arrays of ready-made values. */
void ab_pack_array(struct ab_buf *out, uint32_t n);
void ab_pack_map(struct ab_buf *out, uint32_t n);
void ab_pack_str(struct ab_buf *out, struct ab_view text);
void ab_pack_bin(struct ab_buf *out, struct ab_view bytes);
void ab_pack_uint(struct ab_buf *out, uint64_t value);
void ab_pack_int(struct ab_buf *out, int64_t value);
void ab_pack_bool(struct ab_buf *out, bool value);
void ab_pack_nil(struct ab_buf *out);

/* Walks msgpack without building anything. Every read checks bounds; a reader never passes its end. */
struct ab_reader {
    const uint8_t *at, *end;
};
static inline struct ab_reader ab_reader(struct ab_view bytes)
{
    const uint8_t *p = (const uint8_t *)(bytes.p ? bytes.p : ""); /* NULL + 0 is undefined */
    return (struct ab_reader){p, p + bytes.n};
}
/* Each returns 0, or AB_EINVALID if the next value is of another type or cut short. */
int ab_read_array(struct ab_reader *reader, uint32_t *n);
int ab_read_map(struct ab_reader *reader, uint32_t *n);
int ab_read_str(struct ab_reader *reader, struct ab_view *text); /* not checked for UTF-8 */
int ab_read_bin(struct ab_reader *reader, struct ab_view *bytes);
int ab_read_uint(struct ab_reader *reader, uint64_t *value);
int ab_read_int(struct ab_reader *reader, int64_t *value);
int ab_read_bool(struct ab_reader *reader, bool *value);
/* The next value whole, as raw bytes; checks depth and structure, and that its strings are UTF-8. */
int ab_read_any(struct ab_reader *reader, struct ab_view *raw);
/* Exactly one value, and one that stays readable inside of other values: nested and long at most as a peer may send. */
bool ab_any_ok(struct ab_view raw);
/* A value of a raw map by its key; {NULL,0} if absent or not a map. */
struct ab_view ab_map_get(struct ab_view map, const char *key);
/* The text of a raw str value; {NULL,0} for any other type. */
struct ab_view ab_any_str(struct ab_view raw);

bool ab_utf8_ok(struct ab_view text);

/* Nesting, and items in one value: checked before anything is allocated. */
enum { AB_DEPTH_MAX = 32, AB_ITEMS_MAX = 1 << 20 };
/* Of a value that a peer hands in: it is put into requests, journals and listings, and those must be readable too. */
enum { AB_DEPTH_SENT_MAX = AB_DEPTH_MAX - 8, AB_ITEMS_SENT_MAX = AB_ITEMS_MAX - (1 << 16) };

#endif
