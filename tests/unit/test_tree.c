/* JSON and YAML into the tree: what is read as what, what is refused and where, and that the canonical text is
 * one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/tree.h"

static char *compact(json_t *tree)
{
    struct ab_buf out = {0};
    ab_json_text(tree, &out);
    json_decref(tree);
    return ab_buf_detach(&out);
}

typedef int parse_fn(struct ab_view text, json_t **out, struct ab_error *err);

static int yaml(struct ab_view text, json_t **out, struct ab_error *err)
{
    return ab_yaml_parse(text, out, NULL, err);
}

static void expect_text(parse_fn *parse, const char *text, const char *wanted)
{
    json_t *tree;
    struct ab_error err = {0};
    if (parse(ab_view_of(text), &tree, &err))
        fail_msg("%s: %s: %s", text, err.path, err.text);
    char *got = compact(tree);
    assert_string_equal(got, wanted);
    free(got);
}

static void expect_fault(parse_fn *parse, struct ab_view text, int code, const char *path, const char *part)
{
    json_t *tree = (json_t *)&code;
    struct ab_error err = {0};
    assert_int_equal(parse(text, &tree, &err), code);
    assert_null(tree);
    assert_int_equal(err.code, code);
    if (strcmp(err.path, path))
        fail_msg("%.60s: %s instead of %s: %s", text.p, err.path, path, err.text);
    if (!strstr(err.text, part))
        fail_msg("\"%s\" has no \"%s\"", err.text, part);
}

static void json_canonical_text_sorts_keys_and_keeps_values(void **state)
{
    expect_text(ab_json_parse, " {\"b\": [1, 2.5, true, null], \"a\": \"\\u00e4\\n\"} ",
                "{\"a\":\"ä\\n\",\"b\":[1,2.5,true,null]}");
    expect_text(ab_json_parse, "\xef\xbb\xbf[]", "[]");
    expect_text(ab_json_parse, "\"alone\"", "\"alone\"");
    expect_text(ab_json_parse, "9223372036854775807", "9223372036854775807");
    expect_text(ab_json_parse, "1700000000.123456", "1700000000.123456");
}

static void canonical_text_is_a_fixed_point(void **state)
{
    const char *text = "{\"z\": 0.1, \"a\": {\"y\": 1e300, \"x\": [\"\\\"\", -0.0]}}";
    json_t *tree, *again;
    assert_int_equal(ab_json_parse(ab_view_of(text), &tree, NULL), 0);
    char *first = compact(tree);
    assert_int_equal(ab_json_parse(ab_view_of(first), &again, NULL), 0);
    char *second = compact(again);
    assert_string_equal(first, second);
    free(first);
    free(second);
}

static void json_text_has_a_cap(void **state)
{
    json_t *tree = json_pack("[s,s]", "0123456789", "0123456789");
    struct ab_buf out = {0};
    ab_buf_text(&out, "kept");
    assert_int_equal(ab_json_text_max(tree, &out, 26), AB_ETOOLARGE);
    assert_string_equal(ab_buf_cstr(&out), "kept");
    assert_int_equal(ab_json_text_max(tree, &out, 27), 0);
    assert_string_equal(ab_buf_cstr(&out), "kept[\"0123456789\",\"0123456789\"]");
    ab_buf_finish(&out);
    json_decref(tree);
}

static void json_faults_say_where_and_what_to_do(void **state)
{
    expect_fault(ab_json_parse, ab_view_of("  \n"), AB_EINVALID, "line 1 column 1", "empty");
    expect_fault(ab_json_parse, ab_view_of("{\"a\":1,\n\"a\":2}"), AB_EINVALID, "line 2 column 3",
                 "duplicate object key");
    expect_fault(ab_json_parse, ab_view_of("[1,]"), AB_EINVALID, "line 1 column 4", "unexpected token");
    expect_fault(ab_json_parse, ab_view_of("{a: 1}"), AB_EINVALID, "line 1 column 2", "double quotes");
    expect_fault(ab_json_parse, ab_view_of("[1] [2]"), AB_EINVALID, "line 1 column 5", "only one value");
    expect_fault(ab_json_parse, ab_view_of("[1"), AB_EINVALID, "line 1 column 2", "left open");
    expect_fault(ab_json_parse, ab_view_of("[\"\xff\"]"), AB_EINVALID, "line 1 column 2", "UTF-8");
    expect_fault(ab_json_parse, ab_view_of("[\"\\u0000\"]"), AB_EINVALID, "line 1 column 9", "u0000");
    expect_fault(ab_json_parse, ab_view_of("99999999999999999999"), AB_EINVALID, "line 1 column 20", "64 bits");
    expect_fault(ab_json_parse, ab_view_of("1e999"), AB_EINVALID, "line 1 column 5", "64 bits");
}

static void a_fault_does_not_repeat_text_that_may_be_secret(void **state)
{
    static const char *const texts[] = {"{\"api_key\": \"sk-1\" \"sk-2\"}", "[\"sk-1\" 3]", "[\"sk-1\n\"]",
                                        "[\"sk-1"};
    for (size_t i = 0; i < 4; i++) {
        json_t *tree;
        struct ab_error err;
        assert_int_equal(ab_json_parse(ab_view_of(texts[i]), &tree, &err), AB_EINVALID);
        assert_null(strstr(err.text, "sk-"));
        assert_int_equal(ab_yaml_parse(ab_view_of(texts[i]), &tree, NULL, &err), i == 2 ? 0 : AB_EINVALID);
        json_decref(tree);
        if (i != 2)
            assert_null(strstr(err.text, "sk-"));
    }
}

static void nested(struct ab_buf *out, size_t depth, const char *open, const char *close)
{
    ab_buf_clear(out);
    for (size_t i = 0; i < depth; i++)
        ab_buf_text(out, open);
    for (size_t i = 0; i < depth; i++)
        ab_buf_text(out, close);
}

static void depth_is_capped_before_recursion(void **state)
{
    struct ab_buf text = {0};
    json_t *tree;
    nested(&text, AB_TREE_DEPTH_MAX, "[", "]");
    assert_int_equal(ab_json_parse(ab_buf_view(&text), &tree, NULL), 0);
    json_decref(tree);
    assert_int_equal(ab_yaml_parse(ab_buf_view(&text), &tree, NULL, NULL), 0);
    json_decref(tree);
    nested(&text, AB_TREE_DEPTH_MAX + 1, "[", "]");
    expect_fault(ab_json_parse, ab_buf_view(&text), AB_EINVALID, "line 1 column 65", "64 levels");
    expect_fault(yaml, ab_buf_view(&text), AB_EINVALID, "line 1 column 65", "64 levels");
    nested(&text, 1000000, "[", "");
    expect_fault(ab_json_parse, ab_buf_view(&text), AB_EINVALID, "line 1 column 65", "64 levels");
    expect_fault(yaml, ab_buf_view(&text), AB_EINVALID, "line 1 column 65", "64 levels");
    ab_buf_finish(&text);
    expect_text(ab_json_parse,
                "\"[[[[[\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"",
                "\"[[[[[\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"");
}

static void size_is_capped(void **state)
{
    char byte = '[';
    /* Refused by its size alone: the bytes beyond the first are not looked at. */
    expect_fault(ab_json_parse, ab_view(&byte, AB_TREE_BYTES_MAX + 1), AB_ETOOLARGE, "", "at most 67108864");
    expect_fault(yaml, ab_view(&byte, AB_TREE_BYTES_MAX + 1), AB_ETOOLARGE, "", "at most 67108864");
}

static void yaml_scalars_follow_the_core_schema(void **state)
{
    static const struct {
        const char *text, *json;
    } cases[] = {
        {"~", "null"},
        {"null", "null"},
        {"NULL", "null"},
        {"true", "true"},
        {"False", "false"},
        {"yes", "\"yes\""},
        {"no", "\"no\""},
        {"off", "\"off\""},
        {"12", "12"},
        {"-7", "-7"},
        {"+3", "3"},
        {"007", "7"},
        {"0x1F", "31"},
        {"0o17", "15"},
        {"0x", "\"0x\""},
        {"0o8", "\"0o8\""},
        {"1.5", "1.5"},
        {".5", "0.5"},
        {"5.", "5.0"},
        {"1e3", "1000.0"},
        {"-1.5E-1", "-0.14999999999999999"},
        {"1e", "\"1e\""},
        {".", "\".\""},
        {"-", "\"-\""},
        {"1_000", "\"1_000\""},
        {"1.2.3", "\"1.2.3\""},
        {"2026-11-22", "\"2026-11-22\""},
        {"\"1\"", "\"1\""},
        {"'true'", "\"true\""},
        {"\"\"", "\"\""},
        {"|\n  null\n", "\"null\\n\""},
        {">-\n  a\n  b\n", "\"a b\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = ab_format("k: %s\n", cases[i].text), *wanted = ab_format("{\"k\":%s}", cases[i].json);
        if (!strcmp(cases[i].text, "-")) /* "k: -" would start a list */
            expect_text(yaml, "k: [\"-\"]", "{\"k\":[\"-\"]}");
        else
            expect_text(yaml, text, wanted);
        free(text);
        free(wanted);
    }
}

static void yaml_keys_are_text(void **state)
{
    expect_text(yaml, "1: a\ntrue: b\nnull: c\n'': d\n",
                "{\"\":\"d\",\"1\":\"a\",\"null\":\"c\",\"true\":\"b\"}");
    expect_text(yaml, "a:\nb: []\nc: {}\n", "{\"a\":null,\"b\":[],\"c\":{}}");
    expect_text(yaml, "--- # start\na: [1, {b: c}]\n...\n", "{\"a\":[1,{\"b\":\"c\"}]}");
}

static void yaml_faults_say_where_and_what_to_do(void **state)
{
    static const struct {
        const char *text, *path, *part;
    } cases[] = {
        {"", "line 1 column 1", "empty"},
        {"a: 1\nb: 2\na: 3\n", "line 3 column 1", "\"a\" stands twice"},
        {"{a: 1, a: 2}", "line 1 column 8", "\"a\" stands twice"},
        {"a: &x 1\n", "line 1 column 4", "anchors"},
        {"a: &x {b: c}\n", "line 1 column 4", "anchors"},
        {"a: [&x [b]]\n", "line 1 column 5", "anchors"},
        {"a: *x\n", "line 1 column 4", "aliases"},
        {"*x : 1\n", "line 1 column 1", "aliases"},
        {"a: !!str 1\n", "line 1 column 4", "tags"},
        {"a: !x {}\n", "line 1 column 4", "tags"},
        {"a: 1\n--- \nb: 1\n", "line 2 column 1", "second document"},
        {"a: .inf\n", "line 1 column 4", "not finite"},
        {"a: 1e999\n", "line 1 column 4", "not finite"},
        {"a: 9223372036854775808\n", "line 1 column 4", "64 bits"},
        {"a: 0xfffffffffffffffff\n", "line 1 column 4", "64 bits"},
        {"[a]: 1\n", "line 1 column 1", "a key must be text"},
        {"a: \"x\\0y\"\n", "line 1 column 4", "\\0"},
        {"a: [1, 2\n", "line 2 column 1", "not YAML"},
        {"a:\n\t- b\n", "line 2 column 1", "not tabs"},
        {"a: 1\nb: \x01\n", "line 2 column 4", "control characters"},
        {"a: \xff\n", "line 1 column 4", "UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_fault(yaml, ab_view_of(cases[i].text), AB_EINVALID, cases[i].path, cases[i].part);
}

static void form_is_decided_by_extension_then_first_character(void **state)
{
    static const struct {
        const char *text, *file;
        int code;
    } cases[] = {
        {"a: 1", NULL, 0},          {" {\"a\": 1}", NULL, 0},  {"{a: 1}", NULL, AB_EINVALID},
        {"{a: 1}", "x.yaml", 0},    {"{a: 1}", "x.YML", 0},    {"a: 1", "x.json", AB_EINVALID},
        {"{\"a\": 1}", "x.txt", 0}, {"a: 1", "dir.json/x", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *tree;
        assert_int_equal(ab_tree_parse(ab_view_of(cases[i].text), cases[i].file, &tree, NULL, NULL),
                         cases[i].code);
        json_decref(tree);
    }
}

static void expect_place(const struct ab_places *places, const char *path, size_t line, size_t column)
{
    size_t l = 0, c = 0;
    assert_true(ab_places_find(places, path, &l, &c));
    assert_int_equal(l, line);
    assert_int_equal(c, column);
}

static void places_lead_to_the_line_or_the_nearest_parent(void **state)
{
    struct ab_places *places = ab_places_create();
    json_t *tree;
    size_t line, column;
    assert_false(ab_places_find(places, "$.a", &line, &column));
    const char *text = "name: x\nagents:\n  - name: a\n    \"odd.key\": 1\n  - {name: b}\n";
    assert_int_equal(ab_yaml_parse(ab_view_of(text), &tree, places, NULL), 0);
    expect_place(places, "$", 1, 1);
    expect_place(places, "$.agents", 2, 1);
    expect_place(places, "$.agents[0]", 3, 5);
    expect_place(places, "$.agents[0][\"odd.key\"]", 4, 5);
    expect_place(places, "$.agents[1].name", 5, 6);
    expect_place(places, "$.agents[1].config.llm_config[3].x", 5, 5);
    expect_place(places, "$.agents[0][\"no.key\"].x", 3, 5);
    expect_place(places, "$.agents[7]", 2, 1);
    expect_place(places, "$[\"x]\"]", 1, 1);
    char *described = ab_places_describe(places, "f.yaml", "$.agents[1].type");
    assert_string_equal(described, "f.yaml:5:5: $.agents[1].type");
    free(described);
    described = ab_places_describe(NULL, "f.yaml", "$.x");
    assert_string_equal(described, "f.yaml: $.x");
    free(described);
    json_decref(tree);
    ab_places_destroy(places);
    ab_places_destroy(NULL);
}

static void json_has_places_too(void **state)
{
    struct ab_places *places = ab_places_create();
    json_t *tree;
    const char *text = "{\n\t\"a\": [\n\t\t{\"b\":1}\n\t]\n}\n";
    assert_int_equal(ab_tree_parse(ab_view_of(text), "x.json", &tree, places, NULL), 0);
    expect_place(places, "$.a[0].b", 3, 4);
    json_decref(tree);
    ab_places_destroy(places);
}

static void getters_fall_back_on_absence_and_other_types(void **state)
{
    json_t *tree;
    assert_int_equal(yaml(ab_view_of("s: x\ni: 5\nr: 1.5\nb: true\n"), &tree, NULL), 0);
    assert_string_equal(ab_tree_str(tree, "s"), "x");
    assert_null(ab_tree_str(tree, "i"));
    assert_null(ab_tree_str(NULL, "s"));
    assert_int_equal(ab_tree_view(tree, "s").n, 1);
    assert_null(ab_tree_view(tree, "none").p);
    assert_int_equal(ab_tree_int(tree, "i", 9), 5);
    assert_int_equal(ab_tree_int(tree, "r", 9), 9);
    assert_true(ab_tree_number(tree, "r", 0) == 1.5 && ab_tree_number(tree, "i", 0) == 5 &&
                ab_tree_number(tree, "s", 2) == 2);
    assert_true(ab_tree_bool(tree, "b", false));
    assert_true(ab_tree_bool(tree, "i", true));
    json_decref(tree);
}

static void nearest_finds_typing_errors_only(void **state)
{
    static const char *const names[] = {"sender", "receiver", "round_robin", "userproxy", "NEVER"};
    static const struct {
        const char *word, *wanted;
    } cases[] = {{"reciever", "receiver"},
                 {"roundrobin", "round_robin"},
                 {"user", "userproxy"},
                 {"never", "NEVER"},
                 {"sendre", "sender"},
                 {"robot", NULL},
                 {"", NULL},
                 {"x", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = ab_nearest(cases[i].word, names, 5);
        if (cases[i].wanted)
            assert_string_equal(got, cases[i].wanted);
        else
            assert_null(got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_canonical_text_sorts_keys_and_keeps_values),
        cmocka_unit_test(canonical_text_is_a_fixed_point),
        cmocka_unit_test(json_text_has_a_cap),
        cmocka_unit_test(json_faults_say_where_and_what_to_do),
        cmocka_unit_test(a_fault_does_not_repeat_text_that_may_be_secret),
        cmocka_unit_test(depth_is_capped_before_recursion),
        cmocka_unit_test(size_is_capped),
        cmocka_unit_test(yaml_scalars_follow_the_core_schema),
        cmocka_unit_test(yaml_keys_are_text),
        cmocka_unit_test(yaml_faults_say_where_and_what_to_do),
        cmocka_unit_test(form_is_decided_by_extension_then_first_character),
        cmocka_unit_test(places_lead_to_the_line_or_the_nearest_parent),
        cmocka_unit_test(json_has_places_too),
        cmocka_unit_test(getters_fall_back_on_absence_and_other_types),
        cmocka_unit_test(nearest_finds_typing_errors_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
