/* One round of the wire fuzzer: some bytes, either as they are or as a recipe for a valid message and the damage
 * done to it, go through everything that reads bytes of a peer. What is accepted must come out again unchanged.
 */
#ifndef AB_TESTS_FUZZ_WIRE_ONE_H
#define AB_TESTS_FUZZ_WIRE_ONE_H

#include "common/wire/packet.h"
#include "common/wire/tree.h"
#include "tests/fuzz/wire_seeds.h"

enum { WIRE_STRUCT_MAX = 1024, WIRE_RECIPE_HEAD = 10 };

static inline void must(bool holds)
{
    if (!holds)
        abort();
}

static inline struct ab_view
exact_copy(struct ab_view bytes) /* so that the sanitizer sees a read past the end */
{
    char *copy = ab_alloc(bytes.n);
    if (bytes.n)
        memcpy(copy, bytes.p, bytes.n);
    return ab_view(copy, bytes.n);
}

/* What a message decodes to encodes to bytes that decode to the same. */
static inline void check_decode(const struct ab_schema *schema, struct ab_view bytes)
{
    _Alignas(16) char first[WIRE_STRUCT_MAX], second[WIRE_STRUCT_MAX];
    struct ab_error err = {0};
    must(schema->size <= sizeof first);
    int rc = ab_decode(schema, bytes, first, &err);
    if (rc) {
        must(rc == err.code && *err.text && (rc == AB_EINVALID || rc == AB_ETOOLARGE));
        return;
    }
    struct ab_buf once = {0}, twice = {0};
    ab_encode(&once, schema, first);
    must(!ab_decode(schema, ab_buf_view(&once), second, &err));
    ab_encode(&twice, schema, second);
    must(ab_view_eq(ab_buf_view(&once), ab_buf_view(&twice)));
    ab_buf_finish(&once);
    ab_buf_finish(&twice);
}

static inline void check_tree(struct ab_view bytes)
{
    json_t *tree = ab_tree_unpack(bytes, NULL);
    if (!tree)
        return;
    struct ab_buf packed = {0};
    ab_tree_pack(&packed, tree);
    json_t *again = ab_tree_unpack(ab_buf_view(&packed), NULL);
    must(again && json_equal(tree, again));
    json_decref(again);
    json_decref(tree);
    ab_buf_finish(&packed);
}

static inline void check_readers(struct ab_view bytes)
{
    struct ab_reader reader = ab_reader(bytes);
    struct ab_view raw;
    while (!ab_read_any(&reader, &raw))
        must(raw.n > 0 && reader.at <= reader.end);
    must(reader.at <= reader.end);
    ab_map_get(bytes, "kind");
    ab_any_str(bytes);
    ab_event_kind(bytes);
    ab_utf8_ok(bytes);
    struct ab_id id;
    ab_id_parse(bytes, &id);
}

/* What is taken off a packet lies in it, message behind message. */
static inline void check_packet(struct ab_view packet)
{
    struct ab_envelope one;
    struct ab_error err = {0};
    const char *end = packet.p + packet.n, *at = packet.p;
    while (packet.n && !ab_packet_take(&packet, &one, &err)) {
        must(one.header.p == at + AB_PACKET_HEAD && one.body.p == one.header.p + one.header.n);
        at = one.body.p + one.body.n;
        must(at <= end && packet.p == at && packet.n == (size_t)(end - at));
    }
    must(!packet.n || err.code == AB_EINVALID || err.code == AB_ETOOLARGE);
}

/* Damage: each two bytes say where and what. */
static inline void damage(struct ab_buf *message, const uint8_t *recipe, size_t n)
{
    for (; n >= 3 && message->n; recipe += 3, n -= 3) {
        size_t at = (recipe[0] << 8 | recipe[1]) % message->n;
        if (recipe[2] == 0xc1) { /* never a msgpack format: cut here instead */
            message->n = at;
            return;
        }
        message->p[at] = (char)recipe[2];
    }
}

static inline void wire_one(const uint8_t *data, size_t n)
{
    if (n < WIRE_RECIPE_HEAD)
        return;
    const struct ab_schema *schema = all_schemas[data[0] % ALL_SCHEMAS];
    struct ab_buf message = {0};
    if (data[1] & 1) {
        _Alignas(16) char made[WIRE_STRUCT_MAX];
        struct seeds seeds = {0};
        memcpy(&seeds.state, data + 2, sizeof seeds.state);
        seeds_message(&seeds, schema, made);
        static const char head[AB_PACKET_HEAD] = "AB\1\5";
        size_t start = data[1] & 2 ? sizeof head : 0; /* in a packet, whose head is damaged as well */
        ab_buf_add(&message, head, start);
        ab_encode(&message, schema, made);
        if (start) {
            message.p[6] = (char)((message.n - start) >> 8);
            message.p[7] = (char)(message.n - start);
        }
        seeds_clear(&seeds);
        damage(&message, data + WIRE_RECIPE_HEAD, n - WIRE_RECIPE_HEAD);
    } else {
        ab_buf_add(&message, data + 2, n - 2);
    }
    struct ab_view bytes = exact_copy(ab_buf_view(&message));
    check_decode(schema, bytes);
    check_tree(bytes);
    check_readers(bytes);
    check_packet(bytes);
    free((void *)(uintptr_t)bytes.p);
    ab_buf_finish(&message);
}

#endif
