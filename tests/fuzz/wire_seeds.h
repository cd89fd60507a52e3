/* Random valid messages, made from the field tables: what the tests of the codec send round, and what the fuzzer
 * starts from. A new field or message needs nothing here. The memory of the views belongs to struct seeds.
 */
#ifndef AB_TESTS_FUZZ_WIRE_SEEDS_H
#define AB_TESTS_FUZZ_WIRE_SEEDS_H

#include <stdlib.h>

#include "common/wire/operations.h"

enum { SEED_CHUNKS_MAX = 256, SEED_TEXT_MAX = 40, SEED_DEPTH_MAX = 4 };

struct seeds {
    uint64_t state; /* of the generator (splitmix64) */
    void *chunks[SEED_CHUNKS_MAX];
    int n;
};

static inline uint64_t seeds_next(struct seeds *seeds)
{
    uint64_t z = seeds->state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static inline uint64_t seeds_below(struct seeds *seeds, uint64_t n)
{
    return n ? seeds_next(seeds) % n : 0;
}

static inline void seeds_clear(struct seeds *seeds)
{
    while (seeds->n)
        free(seeds->chunks[--seeds->n]);
}

static inline struct ab_view seeds_keep(struct seeds *seeds, struct ab_buf *buf)
{
    struct ab_view view = ab_view(ab_buf_cstr(buf), buf->n);
    if (seeds->n == SEED_CHUNKS_MAX)
        abort();
    seeds->chunks[seeds->n++] = buf->p;
    *buf = (struct ab_buf){0};
    return view;
}

/* Text in one, two, three and four bytes per character. */
static inline struct ab_view seeds_text(struct seeds *seeds, size_t most)
{
    static const char *const letters[] = {"a", "Z", " ", "\n", "\"", "\x01", "é", "€", "語", "𝄞", "\x7f", "0"};
    struct ab_buf buf = {0};
    size_t want = seeds_below(seeds, most + 1);
    while (buf.n < want) {
        const char *letter = letters[seeds_below(seeds, sizeof letters / sizeof *letters)];
        if (buf.n + strlen(letter) > most)
            break;
        ab_buf_text(&buf, letter);
    }
    return seeds_keep(seeds, &buf);
}

static inline struct ab_view seeds_bytes(struct seeds *seeds, size_t most)
{
    struct ab_buf buf = {0};
    for (size_t i = seeds_below(seeds, most + 1); i; i--)
        ab_buf_char(&buf, (char)seeds_next(seeds));
    return seeds_keep(seeds, &buf);
}

static inline uint64_t seeds_number(struct seeds *seeds, uint64_t most)
{
    uint64_t value = seeds_next(seeds) >> seeds_below(seeds, 64);
    return most && value > most ? value % (most + 1) : value;
}

static inline void seeds_value(struct seeds *seeds, struct ab_buf *out, int depth)
{
    uint32_t n = (uint32_t)seeds_below(seeds, 5);
    switch (seeds_below(seeds, depth ? 8 : 6)) {
    case 0:
        ab_pack_nil(out);
        break;
    case 1:
        ab_pack_bool(out, n & 1);
        break;
    case 2:
        ab_pack_uint(out, seeds_number(seeds, 0));
        break;
    case 3:
        ab_pack_int(out, (int64_t)seeds_number(seeds, 0));
        break;
    case 4:
        ab_pack_str(out, seeds_text(seeds, SEED_TEXT_MAX));
        break;
    case 5:
        ab_pack_bin(out, seeds_bytes(seeds, SEED_TEXT_MAX));
        break;
    case 6:
        ab_pack_array(out, n);
        while (n--)
            seeds_value(seeds, out, depth - 1);
        break;
    default:
        ab_pack_map(out, n);
        while (n--) {
            char key[2] = {(char)('a' + n), 0};
            ab_pack_str(out, ab_view_of(key));
            seeds_value(seeds, out, depth - 1);
        }
    }
}

static inline struct ab_view seeds_any(struct seeds *seeds)
{
    struct ab_buf buf = {0};
    do {
        ab_buf_clear(&buf);
        seeds_value(seeds, &buf, SEED_DEPTH_MAX);
    } while (*buf.p == (char)0xc0); /* nil counts as absent */
    return seeds_keep(seeds, &buf);
}

static inline size_t seeds_cap(const struct ab_field *field)
{
    return field->max && field->max < SEED_TEXT_MAX ? field->max : SEED_TEXT_MAX;
}

static inline void seeds_field(struct seeds *seeds, const struct ab_field *field, void *at)
{
    switch ((enum ab_field_type)field->type) {
    case AB_BOOL:
        *(bool *)at = seeds_next(seeds) & 1;
        break;
    case AB_UINT:
        *(uint64_t *)at = seeds_number(seeds, field->max);
        break;
    case AB_MAYBE:
        *(struct ab_maybe *)at = ab_some(seeds_number(seeds, field->max));
        break;
    case AB_INT:
        *(int64_t *)at = (int64_t)seeds_number(seeds, 0);
        break;
    case AB_STR:
        *(struct ab_view *)at = seeds_text(seeds, seeds_cap(field));
        break;
    case AB_BIN:
        *(struct ab_view *)at = seeds_bytes(seeds, seeds_cap(field));
        break;
    case AB_ID:
        for (int i = 0; i < AB_ID_BYTES; i++)
            ((struct ab_id *)at)->b[i] = (uint8_t)seeds_next(seeds);
        break;
    case AB_ANY:
        *(struct ab_view *)at = seeds_any(seeds);
        break;
    }
}

/* Fills the struct of `schema`: required fields always, optional ones by chance. */
static inline void seeds_message(struct seeds *seeds, const struct ab_schema *schema, void *message)
{
    memset(message, 0, schema->size);
    for (int i = 0; i < schema->n; i++)
        if (schema->fields[i].required || seeds_below(seeds, 3))
            seeds_field(seeds, &schema->fields[i], (char *)message + schema->fields[i].offset);
}

/* Every schema there is: headers, bodies, events, requests and answers. */
static const struct ab_schema *const all_schemas[] = {
#define S(name, LIST) &ab_##name##_schema,
    AB_SCHEMAS(S) AB_OP_SCHEMAS(S)
#undef S
};
enum { ALL_SCHEMAS = sizeof all_schemas / sizeof *all_schemas };

#endif
