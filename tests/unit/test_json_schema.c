/* JSON Schema: what each keyword accepts and refuses, with the path of what is wrong; what is no schema; and that no schema,
 * however it is made, costs more than its bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "common/bytes.h"
#include "common/json_schema.h"
#include "common/tree.h"

static json_t *parse(const char *text)
{
    json_t *tree;
    struct ab_error err = {0};
    if (ab_json_parse(ab_view_of(text), &tree, &err))
        fail_msg("%s: %s", text, err.text);
    return tree;
}

/* "path what: hint" of each fault, joined by " | ". */
static char *told(struct ab_faults *faults)
{
    struct ab_buf text = {0};
    for (size_t i = 0; i < faults->n; i++)
        ab_buf_format(&text, "%s%s %s%s%s", i ? " | " : "", faults->items[i].path, faults->items[i].what,
                      *faults->items[i].hint ? ": " : "", faults->items[i].hint);
    ab_faults_finish(faults);
    ab_buf_cstr(&text);
    return ab_buf_detach(&text);
}

#define PERSON                                                                                                 \
    "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"minLength\": 2}, \"age\": "    \
    "{\"type\": \"integer\", \"minimum\": 0}}, \"required\": [\"name\", \"age\"], \"additionalProperties\": "  \
    "false}"
#define TREE                                                                                                   \
    "{\"$defs\": {\"node\": {\"type\": \"object\", \"properties\": {\"kids\": {\"type\": \"array\", "          \
    "\"items\": "                                                                                              \
    "{\"$ref\": \"#/$defs/node\"}}}, \"required\": [\"kids\"]}}, \"$ref\": \"#/$defs/node\"}"

static const struct row {
    const char *schema, *value, *faults; /* "" = it fits */
} values[] = {
    {"{}", "[1, {\"x\": null}]", ""},
    {"true", "1", ""},
    {"false", "1", "$ may not be there"},
    {"{\"type\": \"string\"}", "\"a\"", ""},
    {"{\"type\": \"string\"}", "1", "$ must be string, not number"},
    {"{\"type\": \"integer\"}", "2.0", ""},
    {"{\"type\": \"integer\"}", "2.5", "$ must be integer, not number"},
    {"{\"type\": [\"number\", \"null\"]}", "null", ""},
    {"{\"type\": [\"number\", \"null\"]}", "true", "$ must be number or null, not boolean"},
    {"{\"enum\": [1, \"a\", null]}", "1.0", ""},
    {"{\"enum\": [1, \"a\"]}", "\"b\"", "$ is none of the values it may have: one of [1,\"a\"]"},
    {"{\"const\": {\"a\": 1}}", "{\"a\": 1}", ""},
    {"{\"const\": \"x\"}", "\"y\"", "$ must be \"x\""},
    {PERSON, "{\"name\": \"Ann\", \"age\": 3}", ""},
    {PERSON, "{\"name\": \"\", \"age\": \"3\", \"x y\": 1}",
     "$.name has characters: 0, at least 2 is wanted | $.age must be integer, not string | $[\"x y\"] is a "
     "member "
     "that may not be there: remove it"},
    {PERSON, "{\"age\": -1}", "$.age is -1, at least 0 is wanted | $.name is missing"},
    {PERSON, "[]", "$ must be object, not array"},
    {"{\"additionalProperties\": {\"type\": \"boolean\"}}", "{\"a\": true, \"b\": 0}",
     "$.b must be boolean, not number"},
    {"{\"minProperties\": 1, \"maxProperties\": 2}", "{}", "$ has members: 0, at least 1 is wanted"},
    {"{\"maxProperties\": 1}", "{\"a\": 1, \"b\": 2}", "$ has members: 2, at most 1 is allowed"},
    {"{\"items\": {\"type\": \"number\"}}", "[1, \"2\", 3, null]",
     "$[1] must be number, not string | $[3] must be number, not null"},
    {"{\"minItems\": 2}", "[1]", "$ has items: 1, at least 2 is wanted"},
    {"{\"maxItems\": 2}", "[1, 2, 3]", "$ has items: 3, at most 2 is allowed"},
    {"{\"minItems\": 2}", "\"no list\"", ""},
    {"{\"uniqueItems\": true}", "[{\"a\": 1, \"b\": 2}, 1, {\"b\": 2, \"a\": 1}]", "$ has an item twice"},
    {"{\"uniqueItems\": true}", "[1, \"1\", [1]]", ""},
    {"{\"maxLength\": 3}", "\"äöü\"", ""},
    {"{\"maxLength\": 3}", "\"äöüß\"", "$ has characters: 4, at most 3 is allowed"},
    {"{\"minimum\": 1, \"maximum\": 2}", "2.5", "$ is 2.5, at most 2 is allowed"},
    {"{\"exclusiveMinimum\": 1}", "1", "$ must be over 1"},
    {"{\"exclusiveMaximum\": 1}", "1", "$ must be under 1"},
    {"{\"exclusiveMaximum\": 1}", "0.5", ""},
    {"{\"multipleOf\": 0.1}", "0.3", ""},
    {"{\"multipleOf\": 2}", "3", "$ must be a multiple of 2"},
    {"{\"anyOf\": [{\"type\": \"string\"}, {\"minimum\": 5}]}", "7", ""},
    {"{\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"object\", \"required\": [\"a\", \"b\"]}]}",
     "{\"a\": 1}", "$ fits none of 2 alternatives | $ must be string, not object"},
    {"{\"oneOf\": [{\"minimum\": 1}, {\"maximum\": 9}]}", "5", "$ fits 2 alternatives: exactly one is wanted"},
    {"{\"oneOf\": [{\"minimum\": 6}, {\"maximum\": 9}]}", "5", ""},
    {"{\"oneOf\": [{\"minimum\": 6}]}", "5", "$ fits none of 1 alternatives | $ is 5, at least 6 is wanted"},
    {"{\"allOf\": [{\"minimum\": 6}, {\"type\": \"string\"}]}", "5",
     "$ is 5, at least 6 is wanted | $ must be string, not number"},
    {"{\"not\": {\"type\": \"null\"}}", "null", "$ is what `not` excludes"},
    {TREE, "{\"kids\": [{\"kids\": []}, {\"kids\": [{\"kids\": []}]}]}", ""},
    {TREE, "{\"kids\": [{\"kids\": [{}]}]}", "$.kids[0].kids[0].kids is missing"},
    {"{\"definitions\": {\"a/b~c\": {\"type\": \"null\"}}, \"$ref\": \"#/definitions/a~1b~0c\"}", "1",
     "$ must be null, not number"},
    /* a schema of somebody else: what is not understood demands nothing */
    {"{\"pattern\": \"^a\", \"maximum\": \"5\", \"enum\": 7, \"required\": \"a\", \"exclusiveMinimum\": true}",
     "9", ""},
    {"{\"patternProperties\": {\"x\": {}}, \"additionalProperties\": false}", "{\"x\": 1}", ""},
};

static void values_fit_or_not(void **state)
{
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        json_t *schema = parse(values[i].schema), *value = parse(values[i].value);
        struct ab_faults faults = {0};
        size_t n = ab_json_schema_validate(schema, value, &faults);
        assert_int_equal(n, faults.n);
        char *found = told(&faults);
        if (strcmp(found, values[i].faults))
            fail_msg("%s for %s: %s", values[i].schema, values[i].value, found);
        free(found);
        json_decref(schema);
        json_decref(value);
    }
}

static const struct {
    const char *schema, *faults;
} schemas[] = {
    {PERSON, ""},
    {TREE, ""},
    {"{\"title\": \"t\", \"description\": \"d\", \"default\": 1, \"examples\": [1], \"format\": \"date\", "
     "\"$schema\": \"s\", \"$id\": \"i\", \"$comment\": \"c\", \"deprecated\": true}",
     ""},
    {"7", "S must be a schema (an object), not number"},
    {"{\"type\": \"strin\"}", "S.type is no type: did you mean \"string\"?"},
    {"{\"type\": [\"string\", 4]}",
     "S.type[1] is no type: string, number, integer, boolean, object, array or null"},
    {"{\"requierd\": [\"a\"]}",
     "S.requierd is no keyword of the supported JSON Schema: did you mean \"required\"?"},
    {"{\"pattern\": \"^a\"}",
     "S.pattern is no keyword of the supported JSON Schema: remove it, or say it in the description"},
    {"{\"properties\": {\"a\": {\"minimum\": \"1\"}}}", "S.properties.a.minimum must be a number, not string"},
    {"{\"properties\": []}", "S.properties must be an object of schemas, not array"},
    {"{\"required\": [1]}", "S.required[0] must be text, not number"},
    {"{\"items\": [{}]}", "S.items must be a schema (an object), not array"},
    {"{\"enum\": []}", "S.enum must be a list with something in it, not array"},
    {"{\"anyOf\": [{}, {\"maxItems\": -1}]}",
     "S.anyOf[1].maxItems must be a whole number, 0 or more, not number"},
    {"{\"multipleOf\": 0}", "S.multipleOf must be a number over 0, not number"},
    {"{\"uniqueItems\": 1}", "S.uniqueItems must be true or false, not number"},
    {"{\"$ref\": \"#/$defs/a\"}", "S.$ref points to no schema in this document: such as \"#/$defs/NAME\""},
    {"{\"$ref\": \"https://example.org/x\"}",
     "S.$ref points to no schema in this document: such as \"#/$defs/NAME\""},
    {"{\"$defs\": {\"a\": {\"not\": 1}}}", "S.$defs.a.not must be a schema (an object), not number"},
};

static void what_is_no_schema_is_told_with_its_place(void **state)
{
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        json_t *schema = parse(schemas[i].schema);
        struct ab_faults faults = {0};
        ab_json_schema_check(schema, "S", &faults);
        char *found = told(&faults);
        if (strcmp(found, schemas[i].faults))
            fail_msg("%s: %s", schemas[i].schema, found);
        free(found);
        json_decref(schema);
    }
}

/* Each of these would take for ever, or all of the stack. */
static void a_schema_that_is_made_to_hurt_has_an_end(void **state)
{
    static const char *const bad[] = {
        "{\"$ref\": \"#\"}",
        "{\"anyOf\": [{\"$ref\": \"#\"}, {\"$ref\": \"#\"}]}",
        "{\"$defs\": {\"a\": {\"oneOf\": [{\"$ref\": \"#/$defs/b\"}, {\"$ref\": \"#/$defs/b\"}]}, \"b\": "
        "{\"allOf\": "
        "[{\"$ref\": \"#/$defs/a\"}, {\"$ref\": \"#/$defs/a\"}]}}, \"$ref\": \"#/$defs/a\"}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *schema = parse(bad[i]), *value = json_integer(1);
        struct ab_faults faults = {0};
        assert_int_equal(ab_json_schema_check(schema, "$", &faults), 0);
        assert_true(ab_json_schema_validate(schema, value, &faults) > 0);
        assert_true(faults.n > 0);
        ab_faults_finish(&faults);
        json_decref(schema);
        json_decref(value);
    }
}

static json_t *many(size_t n, const char *item)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, parse(item));
    return list;
}

/* The rule, applied by as many references as fit into a schema of the size that a tool's may have. */
static json_t *schema_of_many(const char *rule)
{
    return json_pack("{s:{s:o}, s:o}", "$defs", "a", parse(rule), "allOf",
                     many(6000, "{\"$ref\": \"#/$defs/a\"}"));
}

static json_t *members(size_t n)
{
    json_t *object = json_object();
    for (size_t i = 0; i < n; i++) {
        char *key = ab_format("key%zu", i);
        json_object_set_new(object, key, json_integer(1));
        free(key);
    }
    return object;
}

/* Of both the schema and the value as much as comes in from outside: each of these took seconds to minutes when only
 * applications of schemas were counted. */
static void sizes_count_too(void **state)
{
    char *text = memset(ab_calloc(1, (1 << 20) + 1), 'x', 1 << 20), *far = ab_calloc(1, 100000);
    (void)state;
    memcpy(far, "#", 1);
    for (size_t i = 1; i + 3 < 100000; i += 2)
        memcpy(far + i, "/a", 2);
    struct {
        json_t *schema, *value;
    } cases[] = {
        {schema_of_many("{\"uniqueItems\": true}"), many(40000, "[1, 2, 3, 4, 5, 6]")},
        {schema_of_many("{\"uniqueItems\": true}"), json_pack("[ss]", text, text)},
        {schema_of_many("{\"maxLength\": 9, \"minLength\": 2000000}"), json_string(text)},
        {schema_of_many("{\"additionalProperties\": false}"), members(40000)},
        {schema_of_many("{\"additionalProperties\": {\"type\": \"string\"}}"), members(40000)},
        {schema_of_many("{\"anyOf\": [{\"additionalProperties\": false}, {\"maxLength\": 9}]}"),
         members(40000)},
        {json_pack("{s:{s:s}}", "items", "$ref", far), many(40000, "1")},
        {json_pack("{s:{s:o}}", "items", "enum", many(20000, "\"abcdefgh\"")), many(40000, "1")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ab_faults faults = {0};
        clock_t begin = clock();
        size_t n = ab_json_schema_validate(cases[i].schema, cases[i].value, &faults);
        double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
        print_message("  %zu: %zu faults, %.3f s\n", i, n, seconds);
        assert_true(seconds < 5); /* many times what it takes, for sanitizers */
        ab_faults_finish(&faults);
        json_decref(cases[i].schema);
        json_decref(cases[i].value);
    }
    free(text);
    free(far);
}

/* A schema of somebody else's, not checked before: what is wrong in it demands nothing. */
static void what_is_no_schema_demands_nothing(void **state)
{
    static const char *const odd[] = {
        "{\"type\": 7, \"properties\": 5, \"required\": \"a\", \"items\": [], \"enum\": {}, \"$ref\": []}",
        "{\"properties\": {\"a\": 3}, \"additionalProperties\": \"no\", \"minimum\": \"1\", \"anyOf\": {}}",
        "{\"oneOf\": [], \"allOf\": 1, \"multipleOf\": 0, \"pattern\": \"(\", \"$ref\": \"#/nowhere\"}",
        "{\"required\": [1, null], \"type\": [], \"uniqueItems\": 1, \"maxLength\": null, \"$ref\": "
        "\"http://x/\"}",
        "{\"additionalProperties\": null, \"items\": null, \"const\": {\"a\": 1}, \"$defs\": [], "
        "\"dependencies\": 3}",
        "true",
    };
    json_t *value = parse("{\"a\": 1}");
    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        json_t *schema = parse(odd[i]);
        struct ab_faults faults = {0};
        ab_json_schema_validate(schema, value, &faults);
        char *found = told(&faults);
        if (*found)
            fail_msg("%s: %s", odd[i], found);
        free(found);
        json_decref(schema);
    }
    json_decref(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_fit_or_not),
        cmocka_unit_test(what_is_no_schema_is_told_with_its_place),
        cmocka_unit_test(a_schema_that_is_made_to_hurt_has_an_end),
        cmocka_unit_test(sizes_count_too),
        cmocka_unit_test(what_is_no_schema_demands_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
