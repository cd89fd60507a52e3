/* The codec, table by table: what holds for one field holds for every field of every message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/wire/tree.h"
#include "tests/fuzz/wire_seeds.h"

enum { STRUCT_MAX = 1024, ROUNDS = 100 };

static struct seeds seeds = {.state = 1};

/* A message of the schema, as raw keys and values, to be put together in wrong ways. */
struct parts {
    const struct ab_schema *schema;
    struct ab_buf values[64]; /* one per field */
};

static void pack_value(struct ab_buf *out, const struct ab_field *field)
{
    _Alignas(16) char at[sizeof(struct ab_view)] = {0};
    const struct ab_view *view = (const struct ab_view *)(const void *)at;
    seeds_field(&seeds, field, at);
    if (field->type == AB_STR)
        ab_pack_str(out, *view);
    else if (field->type == AB_BIN)
        ab_pack_bin(out, *view);
    else if (field->type == AB_ID)
        ab_pack_bin(out, ab_view(at, AB_ID_BYTES));
    else if (field->type == AB_ANY)
        ab_buf_add(out, view->p, view->n);
    else if (field->type == AB_BOOL)
        ab_pack_bool(out, *(bool *)at);
    else if (field->type == AB_UINT)
        ab_pack_uint(out, *(uint64_t *)(void *)at);
    else if (field->type == AB_MAYBE)
        ab_pack_uint(out, ((struct ab_maybe *)(void *)at)->value);
    else
        ab_pack_int(out, *(int64_t *)(void *)at);
}

static struct parts parts_of(const struct ab_schema *schema)
{
    struct parts parts = {.schema = schema};
    for (int i = 0; i < schema->n; i++)
        pack_value(&parts.values[i], &schema->fields[i]);
    return parts;
}

static void parts_finish(struct parts *parts)
{
    for (int i = 0; i < parts->schema->n; i++)
        ab_buf_finish(&parts->values[i]);
    seeds_clear(&seeds);
}

static void put(struct ab_buf *out, const struct parts *parts, int i)
{
    ab_pack_str(out, ab_view_of(parts->schema->fields[i].key));
    ab_buf_add(out, parts->values[i].p, parts->values[i].n);
}

/* The whole message without field `without` (-1: none is left out), `twice` written twice. */
static struct ab_buf put_together(const struct parts *parts, int without, int twice)
{
    struct ab_buf out = {0};
    ab_pack_map(&out, (uint32_t)(parts->schema->n - (without >= 0) + (twice >= 0)));
    for (int i = 0; i < parts->schema->n; i++)
        if (i != without)
            put(&out, parts, i);
    if (twice >= 0)
        put(&out, parts, twice);
    return out;
}

static int decode(const struct ab_schema *schema, struct ab_buf *bytes, struct ab_error *err)
{
    _Alignas(16) char message[STRUCT_MAX];
    struct ab_error mine;
    *(err ? err : &mine) = (struct ab_error){0};
    assert_true(schema->size <= sizeof message);
    int rc = ab_decode(schema, ab_buf_view(bytes), message, err ? err : &mine);
    ab_buf_finish(bytes);
    return rc;
}

/* Replaces the value of field i and says what the decoder makes of it. */
static int decode_with(struct parts *parts, int i, struct ab_buf *value, struct ab_error *err)
{
    ab_buf_finish(&parts->values[i]);
    parts->values[i] = *value;
    *value = (struct ab_buf){0};
    struct ab_buf whole = put_together(parts, -1, -1);
    return decode(parts->schema, &whole, err);
}

#define FOR_EACH_FIELD(schema, i)                                                                              \
    for (int s_ = 0; s_ < ALL_SCHEMAS; s_++)                                                                   \
        for (const struct ab_schema *schema = all_schemas[s_]; schema; schema = NULL)                          \
            for (int i = 0; i < schema->n; i++)

/* ---- tables ---- */

static void test_tables_fit_the_codec(void **state)
{
    (void)state;
    for (int s = 0; s < ALL_SCHEMAS; s++) {
        assert_true(all_schemas[s]->n <= 64);
        for (int i = 0; i < all_schemas[s]->n; i++) {
            const struct ab_field *field = &all_schemas[s]->fields[i];
            assert_int_equal(field->key_bytes, strlen(field->key));
            assert_true(field->key_bytes <= 31); /* keys are written as fixstr */
            for (int k = 0; k < i; k++)
                assert_string_not_equal(field->key, all_schemas[s]->fields[k].key);
        }
    }
}

static void test_commands_and_operations_have_one_number_and_one_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < ab_commands_n; i++) {
        assert_ptr_equal(ab_command_row(ab_commands[i].command), &ab_commands[i]);
        assert_non_null(ab_commands[i].schema);
    }
    assert_null(ab_command_row(0));
    assert_null(ab_command_row(255));
    for (size_t i = 0; i < ab_ops_n; i++) {
        assert_ptr_equal(ab_op_by_name(ab_view_of(ab_ops[i].name)), &ab_ops[i]);
        assert_ptr_equal(ab_op_by_number(ab_ops[i].number), &ab_ops[i]);
    }
    assert_null(ab_op_by_name(ab_view_of("submi")));
    assert_null(ab_op_by_name((struct ab_view){0}));
    assert_null(ab_op_by_number(9999));
}

static void test_error_codes_survive_their_names(void **state)
{
    (void)state;
    for (int code = AB_E_BASE + 1; code < AB_E_END; code++) {
        const char *name = ab_code_name(code);
        assert_int_equal(ab_code_of(name, strlen(name)), code);
    }
    assert_int_equal(ab_code_of("from_the_future", 15), AB_EINTERNAL);
    assert_string_equal(ab_code_name(12345), "internal");
}

/* ---- every message, every field ---- */

static void test_every_message_survives_a_round_trip(void **state)
{
    (void)state;
    for (int s = 0; s < ALL_SCHEMAS; s++)
        for (int round = 0; round < ROUNDS; round++) {
            _Alignas(16) char first[STRUCT_MAX], second[STRUCT_MAX];
            struct ab_buf once = {0}, twice = {0};
            struct ab_error err;
            seeds_message(&seeds, all_schemas[s], first);
            ab_encode(&once, all_schemas[s], first);
            if (ab_decode(all_schemas[s], ab_buf_view(&once), second, &err))
                fail_msg("%s: %s", all_schemas[s]->name, err.text);
            ab_encode(&twice, all_schemas[s], second);
            assert_true(ab_view_eq(ab_buf_view(&once), ab_buf_view(&twice)));
            ab_buf_finish(&once);
            ab_buf_finish(&twice);
            seeds_clear(&seeds);
        }
}

static void test_a_missing_required_field_is_named(void **state)
{
    (void)state;
    FOR_EACH_FIELD(schema, i)
    {
        struct parts parts = parts_of(schema);
        struct ab_buf bytes = put_together(&parts, i, -1);
        struct ab_error err;
        int rc = decode(schema, &bytes, &err);
        assert_int_equal(rc, schema->fields[i].required ? AB_EINVALID : 0);
        if (rc)
            assert_string_equal(err.path, schema->fields[i].key);
        parts_finish(&parts);
    }
}

static void test_a_field_that_stands_twice_is_refused(void **state)
{
    (void)state;
    FOR_EACH_FIELD(schema, i)
    {
        struct parts parts = parts_of(schema);
        struct ab_buf bytes = put_together(&parts, -1, i);
        struct ab_error err;
        assert_int_equal(decode(schema, &bytes, &err), AB_EINVALID);
        assert_string_equal(err.path, schema->fields[i].key);
        parts_finish(&parts);
    }
}

/* A float is the type of no field: only ANY takes it. */
static void test_a_wrong_type_is_refused_with_the_field(void **state)
{
    (void)state;
    static const char real[] = {(char)0xcb, 0, 0, 0, 0, 0, 0, 0, 0};
    FOR_EACH_FIELD(schema, i)
    {
        struct parts parts = parts_of(schema);
        struct ab_buf value = {0};
        ab_buf_add(&value, real, sizeof real);
        struct ab_error err;
        int rc = decode_with(&parts, i, &value, &err);
        assert_int_equal(rc, schema->fields[i].type == AB_ANY ? 0 : AB_EINVALID);
        if (rc)
            assert_string_equal(err.path, schema->fields[i].key);
        parts_finish(&parts);
    }
}

static bool is_uint(const struct ab_field *field)
{
    return field->type == AB_UINT || field->type == AB_MAYBE;
}

static void test_negative_numbers_are_no_uint(void **state)
{
    (void)state;
    FOR_EACH_FIELD(schema, i)
    {
        struct parts parts = parts_of(schema);
        struct ab_buf value = {0};
        ab_pack_int(&value, -1);
        if (is_uint(&schema->fields[i]))
            assert_int_equal(decode_with(&parts, i, &value, NULL), AB_EINVALID);
        ab_buf_finish(&value);
        parts_finish(&parts);
    }
}

static void pack_of_size(struct ab_buf *out, const struct ab_field *field, uint64_t n)
{
    if (is_uint(field)) {
        ab_pack_uint(out, n);
        return;
    }
    struct ab_buf content = {0};
    ab_buf_reserve(&content, n + 1);
    memset(content.p, 'x', n);
    content.n = n;
    if (field->type == AB_STR)
        ab_pack_str(out, ab_buf_view(&content));
    else if (field->type == AB_BIN)
        ab_pack_bin(out, ab_buf_view(&content));
    else { /* ANY: the limit counts the packed value, head included */
        size_t head = n < 34 ? 1 : n < 258 ? 2 : n < 65539 ? 3 : 5;
        ab_pack_str(out, ab_view(content.p, n - head));
    }
    ab_buf_finish(&content);
}

static void test_limits_hold_exactly(void **state)
{
    (void)state;
    FOR_EACH_FIELD(schema, i)
    {
        const struct ab_field *field = &schema->fields[i];
        if (!field->max)
            continue;
        struct parts parts = parts_of(schema);
        struct ab_buf fits = {0}, over = {0};
        struct ab_error err;
        pack_of_size(&fits, field, field->max);
        assert_int_equal(decode_with(&parts, i, &fits, NULL), 0);
        pack_of_size(&over, field, field->max + 1);
        assert_int_equal(decode_with(&parts, i, &over, &err), is_uint(field) ? AB_EINVALID : AB_ETOOLARGE);
        assert_string_equal(err.path, field->key);
        parts_finish(&parts);
    }
}

static void test_nil_is_an_absent_field(void **state)
{
    (void)state;
    FOR_EACH_FIELD(schema, i)
    {
        struct parts parts = parts_of(schema);
        struct ab_buf nil = {0};
        bool allowed = !schema->fields[i].required || schema->fields[i].type == AB_ANY;
        ab_pack_nil(&nil);
        assert_int_equal(decode_with(&parts, i, &nil, NULL), allowed ? 0 : AB_EINVALID);
        parts_finish(&parts);
    }
}

static void test_invalid_utf8_is_refused(void **state)
{
    (void)state;
    FOR_EACH_FIELD(schema, i)
    {
        if (schema->fields[i].type != AB_STR && schema->fields[i].type != AB_ANY)
            continue;
        struct parts parts = parts_of(schema);
        struct ab_buf bad = {0};
        ab_pack_str(&bad, ab_view_of("a\xff"));
        assert_int_equal(decode_with(&parts, i, &bad, NULL), AB_EINVALID);
        parts_finish(&parts);
    }
}

static void test_unknown_keys_are_skipped(void **state)
{
    (void)state;
    for (int s = 0; s < ALL_SCHEMAS; s++) {
        struct parts parts = parts_of(all_schemas[s]);
        struct ab_buf bytes = {0};
        ab_pack_map(&bytes, (uint32_t)all_schemas[s]->n + 2);
        ab_pack_str(&bytes, ab_view_of("from_the_future"));
        seeds_value(&seeds, &bytes, SEED_DEPTH_MAX);
        for (int i = 0; i < all_schemas[s]->n; i++)
            put(&bytes, &parts, i);
        ab_pack_str(&bytes, ab_view_of(""));
        ab_pack_nil(&bytes);
        assert_int_equal(decode(all_schemas[s], &bytes, NULL), 0);
        parts_finish(&parts);
    }
}

static void test_the_order_of_keys_does_not_matter(void **state)
{
    (void)state;
    for (int s = 0; s < ALL_SCHEMAS; s++) {
        struct parts parts = parts_of(all_schemas[s]);
        struct ab_buf bytes = {0};
        ab_pack_map(&bytes, all_schemas[s]->n);
        for (int i = all_schemas[s]->n - 1; i >= 0; i--)
            put(&bytes, &parts, i);
        assert_int_equal(decode(all_schemas[s], &bytes, NULL), 0);
        parts_finish(&parts);
    }
}

static void test_a_message_cut_anywhere_is_refused(void **state)
{
    (void)state;
    for (int s = 0; s < ALL_SCHEMAS; s++) {
        struct parts parts = parts_of(all_schemas[s]);
        struct ab_buf whole = put_together(&parts, -1, -1);
        for (size_t n = 0; n < whole.n; n++) {
            struct ab_buf cut = {0}; /* a copy of its own, so that a read past the end is seen */
            ab_buf_add(&cut, whole.p, n);
            if (n)
                assert_int_equal(decode(all_schemas[s], &cut, NULL), AB_EINVALID);
            ab_buf_finish(&cut);
        }
        ab_buf_char(&whole, 0);
        assert_int_equal(decode(all_schemas[s], &whole, NULL), AB_EINVALID);
        parts_finish(&parts);
    }
}

static void test_nothing_and_not_a_map_are_refused(void **state)
{
    (void)state;
    static const struct ab_view bad[] = {
        {NULL, 0},    {"", 0},     {"\xc0", 1},         {"\x90", 1},
        {"\xa1x", 2}, {"\xc1", 1}, {"\x81\x01\x01", 3}, {"\x81\xc4\x01x\x01", 5}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ab_ping ping;
        struct ab_error err = {0};
        assert_int_equal(ab_decode(&ab_ping_schema, bad[i], &ping, &err), AB_EINVALID);
        assert_true(*err.text);
    }
}

/* ---- the reader ---- */

static void test_claimed_lengths_are_not_believed(void **state)
{
    (void)state;
    static const struct ab_view liars[] = {{"\xdd\xff\xff\xff\xff", 5},
                                           {"\xdf\xff\xff\xff\xff", 5},
                                           {"\xdb\xff\xff\xff\xff", 5},
                                           {"\xc6\xff\xff\xff\xff", 5},
                                           {"\xdc\xff\xff", 3},
                                           {"\xde\x80\x00", 3},
                                           {"\xd9\x02x", 3},
                                           {"\x9f", 1},
                                           {"\xcf\x01", 2},
                                           {"\xcb\x01", 2},
                                           {"\xd9", 1},
                                           {"\xdb\x00", 2}};
    for (size_t i = 0; i < sizeof liars / sizeof *liars; i++) {
        struct ab_reader reader = ab_reader(liars[i]);
        struct ab_view raw;
        assert_int_equal(ab_read_any(&reader, &raw), AB_EINVALID);
        assert_ptr_equal(reader.at, liars[i].p);
        assert_null(ab_tree_unpack(liars[i], NULL));
    }
}

static int read_nested(int depth, char head)
{
    struct ab_buf bytes = {0};
    for (int i = 0; i < depth; i++) {
        ab_buf_char(&bytes, head);
        if (head == (char)0x81)
            ab_buf_text(&bytes, "\xa1k");
    }
    ab_pack_nil(&bytes);
    struct ab_reader reader = ab_reader(ab_buf_view(&bytes));
    struct ab_view raw;
    int rc = ab_read_any(&reader, &raw);
    json_t *tree = ab_tree_unpack(ab_buf_view(&bytes), NULL);
    assert_int_equal(tree != NULL, rc == 0);
    json_decref(tree);
    ab_buf_finish(&bytes);
    return rc;
}

static void test_depth_is_capped(void **state)
{
    (void)state;
    static const char heads[] = {(char)0x91, (char)0x81};
    for (size_t i = 0; i < sizeof heads; i++) {
        assert_int_equal(read_nested(AB_DEPTH_MAX - 1, heads[i]), 0);
        assert_int_equal(read_nested(AB_DEPTH_MAX, heads[i]), AB_EINVALID);
        assert_int_equal(read_nested(100000, heads[i]), AB_EINVALID);
    }
}

static void test_items_are_capped(void **state)
{
    (void)state;
    struct ab_buf bytes = {0};
    ab_pack_array(&bytes, AB_ITEMS_MAX + 1);
    for (int i = 0; i <= AB_ITEMS_MAX; i++)
        ab_buf_char(&bytes, 0);
    struct ab_reader reader = ab_reader(ab_buf_view(&bytes));
    struct ab_view raw;
    assert_int_equal(ab_read_any(&reader, &raw), AB_EINVALID);
    ab_buf_finish(&bytes);
}

static void test_integers_of_every_width(void **state)
{
    (void)state;
    for (int shift = 0; shift < 64; shift++)
        for (int off = -1; off <= 1; off++) {
            uint64_t want = (1ull << shift) + (uint64_t)(int64_t)off, got = 0;
            struct ab_buf bytes = {0};
            ab_pack_uint(&bytes, want);
            struct ab_reader reader = ab_reader(ab_buf_view(&bytes));
            assert_int_equal(ab_read_uint(&reader, &got), 0);
            assert_true(got == want && reader.at == reader.end);
            reader = ab_reader(ab_buf_view(&bytes));
            int64_t number = 0;
            assert_int_equal(ab_read_int(&reader, &number), want > INT64_MAX ? AB_EINVALID : 0);
            ab_buf_finish(&bytes);
            ab_pack_int(&bytes, -(int64_t)(want >> 1) - 1);
            reader = ab_reader(ab_buf_view(&bytes));
            assert_int_equal(ab_read_int(&reader, &number), 0);
            assert_true(number == -(int64_t)(want >> 1) - 1);
            reader = ab_reader(ab_buf_view(&bytes));
            assert_int_equal(ab_read_uint(&reader, &got), AB_EINVALID);
            ab_buf_finish(&bytes);
        }
}

static void test_other_peoples_integers(void **state)
{
    (void)state;
    static const struct {
        struct ab_view bytes;
        int64_t value;
    } rows[] = {{{"\xd0\xff", 2}, -1},
                {{"\xd0\x7f", 2}, 127},
                {{"\xd1\x80\x00", 3}, -32768},
                {{"\xd2\x80\x00\x00\x00", 5}, INT32_MIN},
                {{"\xd3\x80\0\0\0\0\0\0\0", 9}, INT64_MIN},
                {{"\xcf\0\0\0\0\0\0\0\x01", 9}, 1},
                {{"\xe0", 1}, -32},
                {{"\xff", 1}, -1},
                {{"\xcc\xff", 2}, 255}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ab_reader reader = ab_reader(rows[i].bytes);
        int64_t value = 0;
        assert_int_equal(ab_read_int(&reader, &value), 0);
        assert_true(value == rows[i].value);
    }
}

static void test_a_failed_read_moves_nothing(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char text[3] = {(char)byte, 1, 0};
        for (int n = 0; n < 3; n++) {
            struct ab_view bytes = ab_view(text, (size_t)n), view;
            struct ab_reader reader = ab_reader(bytes);
            uint32_t count;
            uint64_t u;
            int64_t i;
            bool b;
            int rcs[] = {ab_read_array(&reader, &count)};
            if (rcs[0])
                assert_ptr_equal(reader.at, bytes.p);
#define TRY(call)                                                                                              \
    reader = ab_reader(bytes);                                                                                 \
    if (call)                                                                                                  \
        assert_ptr_equal(reader.at, bytes.p);                                                                  \
    else                                                                                                       \
        assert_true(reader.at <= reader.end);
            TRY(ab_read_map(&reader, &count))
            TRY(ab_read_str(&reader, &view))
            TRY(ab_read_bin(&reader, &view))
            TRY(ab_read_uint(&reader, &u))
            TRY(ab_read_int(&reader, &i))
            TRY(ab_read_bool(&reader, &b))
            TRY(ab_read_any(&reader, &view))
#undef TRY
        }
    }
}

/* ---- UTF-8 ---- */

static size_t utf8(uint32_t c, char out[4])
{
    if (c < 0x80)
        return out[0] = (char)c, 1;
    if (c < 0x800)
        return out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000)
        return out[0] = (char)(0xe0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 63)),
               out[2] = (char)(0x80 | (c & 63)), 3;
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

static void test_utf8_is_exactly_rfc_3629(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x110400; c++) {
        char text[4];
        size_t n = utf8(c, text);
        bool good = c < 0x110000 && !(c >= 0xd800 && c < 0xe000);
        if (ab_utf8_ok(ab_view(text, n)) != good)
            fail_msg("U+%04X", c);
        if (n > 1)
            assert_false(ab_utf8_ok(ab_view(text, n - 1)));
    }
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x80\x80",
                                      "\xe0\x9f\xbf",
                                      "\xf0\x80\x80\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf5\x80\x80\x80",
                                      "\xfe",
                                      "\xff",
                                      "a\xe2\x82",
                                      "\xe2\x28\xa1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(ab_utf8_ok(ab_view_of(bad[i])));
    assert_true(ab_utf8_ok((struct ab_view){0}));
}

/* ---- ids ---- */

static void test_ids_are_ordered_within_and_across_milliseconds(void **state)
{
    (void)state;
    struct ab_id last = {0};
    for (int i = 0; i < 20000; i++) {
        int64_t now = 1700000000000 + i / 6000 - (i % 7 == 0 ? 1000 : 0); /* the wall clock may jump back */
        struct ab_id id = ab_id_make(now);
        assert_true(ab_id_ok(id));
        assert_true(memcmp(last.b, id.b, 8) < 0);
        assert_true(llabs(ab_id_ms(id) - 1700000000000) <= 1000);
        last = id;
    }
}

/* A process that was forked has the random bits that its parent had drawn: it must not use them. */
static void test_ids_of_a_child_are_its_own(void **state)
{
    enum { IDS = 200 };
    struct ab_id mine[IDS], its[IDS];
    int ends[2];
    (void)state;
    ab_id_make(1700000000000);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    for (int i = 0; i < IDS; i++)
        mine[i] = ab_id_make(1700000000000);
    if (!child)
        _exit(write(ends[1], mine, sizeof mine) != sizeof mine);
    assert_int_equal(read(ends[0], its, sizeof its), sizeof its);
    assert_int_equal(waitpid(child, NULL, 0), child);
    for (int i = 0; i < IDS; i++)
        for (int k = 0; k < IDS; k++)
            assert_memory_not_equal(mine[i].b + 8, its[k].b + 8, 8);
    close(ends[0]);
    close(ends[1]);
}

static void test_id_text_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct ab_id id = ab_id_make(1800000000000 + i), again;
        char text[AB_ID_TEXT];
        assert_int_equal(strlen(ab_id_text(id, text)), 36);
        assert_true(ab_id_parse(ab_view_of(text), &again) && ab_id_eq(id, again));
        for (char *p = text; *p; p++)
            *p = (char)(*p >= 'a' ? *p - 32 : *p);
        assert_true(ab_id_parse(ab_view_of(text), &again) && ab_id_eq(id, again));
    }
}

static void test_what_is_no_id(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "-",
                                      "018f",
                                      "018f0000-0000-7000-8000-00000000000",
                                      "018f0000-0000-7000-8000-0000000000000",
                                      "018f0000-0000-7000-8000-00000000000g",
                                      "018f0000 0000 7000 8000 000000000000"};
    struct ab_id id;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(ab_id_parse(ab_view_of(bad[i]), &id));
    assert_false(ab_id_parse((struct ab_view){0}, &id));
    struct ab_id zero = {0};
    assert_true(ab_id_zero(zero) && !ab_id_ok(zero));
}

/* ---- trees ---- */

static void test_trees_survive_msgpack(void **state)
{
    (void)state;
    static const char *const texts[] = {"null",
                                        "true",
                                        "[]",
                                        "{}",
                                        "0",
                                        "-1",
                                        "9223372036854775807",
                                        "-9223372036854775808",
                                        "0.1",
                                        "1e308",
                                        "\"\"",
                                        "\"\\u0000x\"",
                                        "{\"a\":[1,2.5,{\"b\":null}],\"é\":\"𝄞\"}",
                                        "[[[[[[[[[[]]]]]]]]]]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *tree = json_loads(texts[i], JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(tree);
        struct ab_buf packed = {0};
        ab_tree_pack(&packed, tree);
        json_t *again = ab_tree_unpack(ab_buf_view(&packed), NULL);
        if (!json_equal(tree, again))
            fail_msg("%s", texts[i]);
        json_decref(again);
        json_decref(tree);
        ab_buf_finish(&packed);
    }
}

static void test_trees_refuse_what_json_cannot_say(void **state)
{
    (void)state;
    static const struct ab_view bad[] = {
        {"\x82\xa1k\x01\xa1k\x02", 7}, /* a key twice */
        {"\x81\x01\x01", 3},           /* a number as a key */
        {"\x81\xa2k\0\x01", 5},        /* NUL in a key */
        {"\xd4\x01\x01", 3},           /* an extension type */
        {"\xc1", 1},
        {"\x01\x01", 2}, /* two values */
        {"\xa1\xff", 2},
        {"", 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ab_error err = {0};
        assert_null(ab_tree_unpack(bad[i], &err));
        assert_int_equal(err.code, AB_EINVALID);
        assert_true(*err.text);
    }
}

static void test_trees_know_numbers_json_lacks(void **state)
{
    (void)state;
    json_t *nan = ab_tree_unpack(ab_view("\xcb\x7f\xf8\0\0\0\0\0\0", 9), NULL);
    assert_true(json_is_null(nan));
    json_t *big = ab_tree_unpack(ab_view("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9), NULL);
    assert_true(json_is_real(big) && json_real_value(big) > 1.8e19);
    json_t *half = ab_tree_unpack(ab_view("\xca\x3f\0\0\0", 5), NULL);
    assert_true(json_is_real(half) && json_real_value(half) == 0.5);
    json_t *bin = ab_tree_unpack(ab_view("\xc4\x02\x00\xff", 4), NULL);
    assert_string_equal(json_string_value(json_object_get(bin, "$bin")), "00ff");
    json_decref(nan);
    json_decref(big);
    json_decref(half);
    json_decref(bin);
}

static void test_a_message_as_a_tree_shows_ids_as_text(void **state)
{
    (void)state;
    struct ab_lease lease = {.job = ab_id_make(1800000000000), .token = 7, .seq = 3};
    char text[AB_ID_TEXT];
    json_t *tree = ab_tree_of(&ab_lease_schema, &lease);
    assert_string_equal(json_string_value(json_object_get(tree, "job")), ab_id_text(lease.job, text));
    assert_int_equal(json_integer_value(json_object_get(tree, "token")), 7);
    json_decref(tree);
}

/* ---- events and errors ---- */

static void test_events_carry_their_kind(void **state)
{
    (void)state;
    for (int kind = 1; kind < AB_KINDS; kind++) {
        _Alignas(16) char message[STRUCT_MAX], again[STRUCT_MAX];
        struct ab_buf bytes = {0};
        seeds_message(&seeds, ab_event_rows[kind].schema, message);
        ab_event_encode(&bytes, (enum ab_event_kind)kind, message);
        assert_int_equal(ab_event_kind(ab_buf_view(&bytes)), kind);
        assert_int_equal(ab_decode(ab_event_rows[kind].schema, ab_buf_view(&bytes), again, NULL), 0);
        ab_buf_finish(&bytes);
        seeds_clear(&seeds);
    }
    assert_int_equal(ab_event_kind(ab_view("\x81\xa4kind\xa5other", 12)), AB_KIND_UNKNOWN);
    assert_int_equal(ab_event_kind(ab_view("\x81\xa4kind\x01", 7)), AB_KIND_UNKNOWN);
    assert_int_equal(ab_event_kind((struct ab_view){0}), AB_KIND_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_fit_the_codec),
        cmocka_unit_test(test_commands_and_operations_have_one_number_and_one_name),
        cmocka_unit_test(test_error_codes_survive_their_names),
        cmocka_unit_test(test_every_message_survives_a_round_trip),
        cmocka_unit_test(test_a_missing_required_field_is_named),
        cmocka_unit_test(test_a_field_that_stands_twice_is_refused),
        cmocka_unit_test(test_a_wrong_type_is_refused_with_the_field),
        cmocka_unit_test(test_negative_numbers_are_no_uint),
        cmocka_unit_test(test_limits_hold_exactly),
        cmocka_unit_test(test_nil_is_an_absent_field),
        cmocka_unit_test(test_invalid_utf8_is_refused),
        cmocka_unit_test(test_unknown_keys_are_skipped),
        cmocka_unit_test(test_the_order_of_keys_does_not_matter),
        cmocka_unit_test(test_a_message_cut_anywhere_is_refused),
        cmocka_unit_test(test_nothing_and_not_a_map_are_refused),
        cmocka_unit_test(test_claimed_lengths_are_not_believed),
        cmocka_unit_test(test_depth_is_capped),
        cmocka_unit_test(test_items_are_capped),
        cmocka_unit_test(test_integers_of_every_width),
        cmocka_unit_test(test_other_peoples_integers),
        cmocka_unit_test(test_a_failed_read_moves_nothing),
        cmocka_unit_test(test_utf8_is_exactly_rfc_3629),
        cmocka_unit_test(test_ids_are_ordered_within_and_across_milliseconds),
        cmocka_unit_test(test_ids_of_a_child_are_its_own),
        cmocka_unit_test(test_id_text_round_trip),
        cmocka_unit_test(test_what_is_no_id),
        cmocka_unit_test(test_trees_survive_msgpack),
        cmocka_unit_test(test_trees_refuse_what_json_cannot_say),
        cmocka_unit_test(test_trees_know_numbers_json_lacks),
        cmocka_unit_test(test_a_message_as_a_tree_shows_ids_as_text),
        cmocka_unit_test(test_events_carry_their_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
