/* The codec: structs ↔ msgpack maps by their field tables. */
#include "common/wire/schema.h"

#include <assert.h>

static void *member(const struct ab_field *field, void *message)
{
    return (char *)message + field->offset;
}

static const void *const_member(const struct ab_field *field, const void *message)
{
    return (const char *)message + field->offset;
}

static bool is_view(const struct ab_field *field)
{
    return field->type == AB_STR || field->type == AB_BIN || field->type == AB_ANY;
}

static bool is_set(const struct ab_field *field, const void *message)
{
    const void *at = const_member(field, message);
    switch ((enum ab_field_type)field->type) {
    case AB_BOOL:
        return *(const bool *)at;
    case AB_UINT:
    case AB_INT:
        return *(const uint64_t *)at != 0;
    case AB_MAYBE:
        return ((const struct ab_maybe *)at)->is;
    case AB_ID:
        return !ab_id_zero(*(const struct ab_id *)at);
    case AB_STR:
    case AB_BIN:
    case AB_ANY:
        break;
    }
    return ((const struct ab_view *)at)->p != NULL;
}

static void encode_field(struct ab_buf *out, const struct ab_field *field, const void *message)
{
    const void *at = const_member(field, message);
    ab_buf_char(out, (char)(0xa0 | field->key_bytes));
    ab_buf_add(out, field->key, field->key_bytes);
    switch ((enum ab_field_type)field->type) {
    case AB_BOOL:
        ab_pack_bool(out, *(const bool *)at);
        break;
    case AB_UINT:
        ab_pack_uint(out, *(const uint64_t *)at);
        break;
    case AB_MAYBE:
        ab_pack_uint(out, ((const struct ab_maybe *)at)->value);
        break;
    case AB_INT:
        ab_pack_int(out, *(const int64_t *)at);
        break;
    case AB_STR:
        ab_pack_str(out, *(const struct ab_view *)at);
        break;
    case AB_BIN:
        ab_pack_bin(out, *(const struct ab_view *)at);
        break;
    case AB_ID:
        ab_pack_bin(out, ab_view(at, AB_ID_BYTES));
        break;
    case AB_ANY: {
        const struct ab_view *raw = at;
        if (raw->p)
            ab_buf_add(out, raw->p, raw->n);
        else
            ab_pack_nil(out);
        break;
    }
    }
}

static void encode(struct ab_buf *out, const struct ab_schema *schema, const void *message, const char *kind)
{
    uint64_t present = 0;
    for (int i = 0; i < schema->n; i++)
        if (schema->fields[i].required || is_set(&schema->fields[i], message))
            present |= 1ull << i;
    ab_pack_map(out, (uint32_t)__builtin_popcountll(present) + (kind != NULL));
    if (kind) {
        ab_pack_str(out, ab_view_of("kind"));
        ab_pack_str(out, ab_view_of(kind));
    }
    for (; present; present &= present - 1)
        encode_field(out, &schema->fields[__builtin_ctzll(present)], message);
}

void ab_encode(struct ab_buf *out, const struct ab_schema *schema, const void *message)
{
    encode(out, schema, message, NULL);
}

void ab_encode_kind(struct ab_buf *out, const struct ab_schema *schema, const void *message, const char *kind)
{
    encode(out, schema, message, kind);
}

static const char *type_name(int type)
{
    static const char *const names[] = {
#define X(t, c_type, name) [AB_##t] = name,
        AB_FIELD_TYPES(X)
#undef X
    };
    return names[type];
}

static int wrong_type(const struct ab_field *field, struct ab_error *err)
{
    return ab_fail_at(err, AB_EINVALID, field->key, "field '%s' must be of type %s", field->key,
                      type_name(field->type));
}

static int check_size(const struct ab_field *field, const struct ab_view *view, struct ab_error *err)
{
    if (field->type == AB_STR && !ab_utf8_ok(*view))
        return ab_fail_at(err, AB_EINVALID, field->key, "field '%s' is not valid UTF-8", field->key);
    if (field->max && view->n > field->max)
        return ab_fail_at(err, AB_ETOOLARGE, field->key, "field '%s' has %zu bytes; at most %llu are allowed",
                          field->key, view->n, (unsigned long long)field->max);
    return 0;
}

static int decode_id(struct ab_reader *reader, const struct ab_field *field, struct ab_id *id,
                     struct ab_error *err)
{
    struct ab_view bytes;
    if (ab_read_bin(reader, &bytes))
        return wrong_type(field, err);
    if (bytes.n != AB_ID_BYTES)
        return ab_fail_at(err, AB_EINVALID, field->key, "field '%s' must be an id of 16 bytes, not %zu",
                          field->key, bytes.n);
    memcpy(id->b, bytes.p, AB_ID_BYTES);
    return 0;
}

static int decode_uint(struct ab_reader *reader, const struct ab_field *field, uint64_t *value,
                       struct ab_error *err)
{
    if (ab_read_uint(reader, value))
        return wrong_type(field, err);
    if (field->max && *value > field->max)
        return ab_fail_at(err, AB_EINVALID, field->key, "field '%s' is %llu; at most %llu is allowed",
                          field->key, (unsigned long long)*value, (unsigned long long)field->max);
    return 0;
}

static int decode_view(struct ab_reader *reader, const struct ab_field *field, struct ab_view *view,
                       struct ab_error *err)
{
    int rc = field->type == AB_STR   ? ab_read_str(reader, view)
             : field->type == AB_BIN ? ab_read_bin(reader, view)
                                     : ab_read_any(reader, view);
    return rc ? wrong_type(field, err) : check_size(field, view, err);
}

static int decode_field(struct ab_reader *reader, const struct ab_field *field, void *message,
                        struct ab_error *err)
{
    void *at = member(field, message);
    if (is_view(field))
        return decode_view(reader, field, at, err);
    if (field->type == AB_ID)
        return decode_id(reader, field, at, err);
    if (field->type == AB_UINT)
        return decode_uint(reader, field, at, err);
    if (field->type == AB_MAYBE) {
        ((struct ab_maybe *)at)->is = true;
        return decode_uint(reader, field, &((struct ab_maybe *)at)->value, err);
    }
    int rc = field->type == AB_BOOL ? ab_read_bool(reader, at) : ab_read_int(reader, at);
    return rc ? wrong_type(field, err) : 0;
}

/* Senders keep the table's order mostly, so the search starts where the last key was found. */
static int find_field(const struct ab_schema *schema, struct ab_view key, int start)
{
    for (int left = schema->n, at = start; left--; at++) {
        at = at < schema->n ? at : 0;
        const struct ab_field *field = &schema->fields[at];
        if (field->key_bytes == key.n && !memcmp(field->key, key.p, key.n))
            return at;
    }
    return -1;
}

static int missing(const struct ab_schema *schema, uint64_t seen, struct ab_error *err)
{
    for (int i = 0; i < schema->n; i++)
        if (schema->fields[i].required && !(seen >> i & 1))
            return ab_fail_at(err, AB_EINVALID, schema->fields[i].key, "%s: required field '%s' is missing",
                              schema->name, schema->fields[i].key);
    return 0;
}

static bool next_is_nil(const struct ab_reader *reader)
{
    return reader->at < reader->end && *reader->at == 0xc0;
}

int ab_decode(const struct ab_schema *schema, struct ab_view bytes, void *message, struct ab_error *err)
{
    struct ab_reader reader = ab_reader(bytes);
    uint32_t n;
    memset(message, 0, schema->size);
    if (ab_read_map(&reader, &n))
        return ab_fail(err, AB_EINVALID, "%s: not a msgpack map", schema->name);
    uint64_t seen = 0;
    for (int at = 0; n--;) {
        struct ab_view key, skipped;
        if (ab_read_str(&reader, &key))
            return ab_fail(err, AB_EINVALID, "%s: a key is not a string", schema->name);
        int i = schema->n ? find_field(schema, key, at) : -1;
        /* nil is how some languages write an absent field */
        if (i < 0 || (next_is_nil(&reader) && !schema->fields[i].required)) {
            if (ab_read_any(&reader, &skipped))
                return ab_fail(err, AB_EINVALID, "%s: malformed value behind '%.*s'", schema->name,
                               (int)(key.n > 40 ? 40 : key.n), key.p);
            continue;
        }
        if (seen >> i & 1)
            return ab_fail_at(err, AB_EINVALID, schema->fields[i].key, "%s: field '%s' stands there twice",
                              schema->name, schema->fields[i].key);
        int rc = decode_field(&reader, &schema->fields[i], message, err);
        if (rc)
            return rc;
        seen |= 1ull << i;
        at = i + 1;
    }
    if (reader.at != reader.end)
        return ab_fail(err, AB_EINVALID, "%s: bytes after the map", schema->name);
    return missing(schema, seen, err);
}
