/* JSON Schema: the table of keywords, the check of a schema and the walk over a value. Owns nothing. */
#include <math.h>
#include <stdlib.h>

#include "common/json_schema_inside.h"

enum {
    SIZE_PER_STEP =
        64 /* items, or eights of characters, that a keyword has to look through and that count as a step */
};

typedef void check_fn(struct walk *w, const json_t *keyword);

static void check(struct walk *w, const json_t *schema);

void json_schema_fault(struct walk *w, char *what, char *hint)
{
    w->n++;
    if (!w->quiet)
        ab_faults_add(w->faults, ab_buf_cstr(&w->path), what ? what : "", "%s", hint ? hint : "");
    free(what);
    free(hint);
}

static const char *const type_names[] = {"string", "number", "integer", "boolean", "object", "array", "null"};
enum { TYPES = sizeof type_names / sizeof *type_names };

static bool is_whole(const json_t *value)
{
    return json_is_integer(value) ||
           (json_is_real(value) && floor(json_real_value(value)) == json_real_value(value));
}

bool json_schema_has_type(const json_t *value, const char *type)
{
    if (!strcmp(type, "integer"))
        return is_whole(value);
    static const char *const names[] = {
        [JSON_OBJECT] = "object", [JSON_ARRAY] = "array",  [JSON_STRING] = "string", [JSON_INTEGER] = "number",
        [JSON_REAL] = "number",   [JSON_TRUE] = "boolean", [JSON_FALSE] = "boolean", [JSON_NULL] = "null"};
    return !strcmp(names[json_typeof(value)], type);
}

const char *json_schema_type_of(const json_t *value)
{
    for (size_t i = 0; i < TYPES; i++)
        if (json_schema_has_type(value, type_names[i]))
            return type_names[i];
    return "nothing";
}

/* --- shapes: is the keyword's own value what it must be? ------------------------------------------------------- */

static void wants(struct walk *w, const json_t *keyword, bool ok, const char *what)
{
    if (!ok)
        json_schema_fault(
            w, ab_format("must be %s, not %s", what, keyword ? json_schema_type_of(keyword) : "nothing"),
            ab_strdup(""));
}

static void is_anything(struct walk *w, const json_t *keyword)
{
    (void)w;
    (void)keyword;
}

static void is_type_name(struct walk *w, const json_t *name)
{
    const char *text = json_string_value(name);
    for (size_t i = 0; text && i < TYPES; i++)
        if (!strcmp(type_names[i], text))
            return;
    const char *nearest = text ? ab_nearest(text, type_names, TYPES) : NULL;
    json_schema_fault(w, ab_format("is no type"),
                      nearest ? ab_format("did you mean \"%s\"?", nearest)
                              : ab_format("string, number, integer, boolean, object, array or null"));
}

static void each_item(struct walk *w, const json_t *list, check_fn *of_item)
{
    size_t i, mark = w->path.n;
    json_t *item;
    json_array_foreach (list, i, item) {
        ab_path_index(&w->path, i);
        of_item(w, item);
        w->path.n = mark;
    }
}

static void is_type(struct walk *w, const json_t *keyword)
{
    if (json_array_size(keyword))
        each_item(w, keyword, is_type_name);
    else
        is_type_name(w, keyword);
}

static void is_list(struct walk *w, const json_t *keyword)
{
    wants(w, keyword, json_array_size(keyword), "a list with something in it");
}

static void is_text(struct walk *w, const json_t *keyword)
{
    wants(w, keyword, json_is_string(keyword), "text");
}

static void is_names(struct walk *w, const json_t *keyword)
{
    wants(w, keyword, json_is_array(keyword), "a list of names");
    each_item(w, keyword, is_text);
}

static void is_number(struct walk *w, const json_t *keyword)
{
    wants(w, keyword, json_is_number(keyword), "a number");
}

static void is_factor(struct walk *w, const json_t *keyword)
{
    wants(w, keyword, json_is_number(keyword) && json_number_value(keyword) > 0, "a number over 0");
}

static void is_count(struct walk *w, const json_t *keyword)
{
    wants(w, keyword, json_is_integer(keyword) && json_integer_value(keyword) >= 0,
          "a whole number, 0 or more");
}

static void is_bool(struct walk *w, const json_t *keyword)
{
    wants(w, keyword, json_is_boolean(keyword), "true or false");
}

static void is_schema(struct walk *w, const json_t *keyword)
{
    check(w, keyword);
}

static void is_schemas(struct walk *w, const json_t *keyword)
{
    is_list(w, keyword);
    each_item(w, keyword, is_schema);
}

static void is_named_schemas(struct walk *w, const json_t *keyword)
{
    size_t mark = w->path.n;
    const char *name;
    json_t *schema;
    wants(w, keyword, json_is_object(keyword), "an object of schemas");
    json_object_foreach ((json_t *)(uintptr_t)keyword, name, schema) {
        ab_path_key(&w->path, name);
        check(w, schema);
        w->path.n = mark;
    }
}

/* --- references ------------------------------------------------------------------------------------------------ */

/* A piece of a JSON pointer (RFC 6901): ~1 is a slash, ~0 a tilde. */
static char *pointer_piece(const char *p, size_t n)
{
    struct ab_buf piece = {0};
    for (size_t i = 0; i < n; i++) {
        bool escape = p[i] == '~' && i + 1 < n && (p[i + 1] == '0' || p[i + 1] == '1');
        ab_buf_char(&piece, escape ? "~/"[p[i + 1] - '0'] : p[i]);
        i += escape;
    }
    return ab_buf_detach(&piece);
}

static const json_t *member(const json_t *tree, const char *piece)
{
    char *end;
    if (json_is_object(tree))
        return json_object_get(tree, piece);
    unsigned long index = strtoul(piece, &end, 10);
    return json_is_array(tree) && *piece && !*end ? json_array_get(tree, index) : NULL;
}

const json_t *json_schema_resolve(const json_t *root, const char *reference)
{
    if (*reference++ != '#')
        return NULL;
    while (root && *reference == '/') {
        size_t n = strcspn(++reference, "/");
        char *piece = pointer_piece(reference, n);
        root = member(root, piece);
        free(piece);
        reference += n;
    }
    return *reference ? NULL : root;
}

static void is_reference(struct walk *w, const json_t *keyword)
{
    const char *text = json_string_value(keyword);
    const json_t *found = text ? json_schema_resolve(w->root, text) : NULL;
    if (!json_is_object(found) && !json_is_boolean(found))
        json_schema_fault(w, ab_format("points to no schema in this document"),
                          ab_format("such as \"#/$defs/NAME\""));
}

/* --- the table -------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    check_fn *check;
    json_schema_rule *rule; /* NULL: says nothing about a value */
} keywords[] = {
    {"$ref", is_reference, v_reference},
    {"type", is_type, v_type},
    {"enum", is_list, v_enum},
    {"const", is_anything, v_const},
    {"properties", is_named_schemas, v_properties},
    {"required", is_names, v_required},
    {"additionalProperties", is_schema, v_additional},
    {"minProperties", is_count, v_min_properties},
    {"maxProperties", is_count, v_max_properties},
    {"items", is_schema, v_items},
    {"minItems", is_count, v_min_items},
    {"maxItems", is_count, v_max_items},
    {"uniqueItems", is_bool, v_unique},
    {"minLength", is_count, v_min_length},
    {"maxLength", is_count, v_max_length},
    {"minimum", is_number, v_minimum},
    {"maximum", is_number, v_maximum},
    {"exclusiveMinimum", is_number, v_over},
    {"exclusiveMaximum", is_number, v_under},
    {"multipleOf", is_factor, v_multiple},
    {"anyOf", is_schemas, v_any},
    {"oneOf", is_schemas, v_one},
    {"allOf", is_schemas, v_all},
    {"not", is_schema, v_not},
    {"$defs", is_named_schemas, NULL},
    {"definitions", is_named_schemas, NULL},
    {"title", is_text, NULL},
    {"description", is_text, NULL},
    {"default", is_anything, NULL},
    {"examples", is_list, NULL},
    {"format", is_text, NULL},
    {"deprecated", is_bool, NULL},
    {"readOnly", is_bool, NULL},
    {"writeOnly", is_bool, NULL},
    {"$schema", is_text, NULL},
    {"$id", is_text, NULL},
    {"$comment", is_text, NULL},
};
enum { KEYWORDS = sizeof keywords / sizeof *keywords };

static void unknown_keyword(struct walk *w, const char *name)
{
    const char *names[KEYWORDS];
    for (size_t i = 0; i < KEYWORDS; i++)
        names[i] = keywords[i].name;
    const char *nearest = ab_nearest(name, names, KEYWORDS);
    json_schema_fault(w, ab_format("is no keyword of the supported JSON Schema"),
                      nearest ? ab_format("did you mean \"%s\"?", nearest)
                              : ab_format("remove it, or say it in the description"));
}

static void check_keyword(struct walk *w, const char *name, const json_t *value)
{
    size_t mark = w->path.n, i = 0;
    while (i < KEYWORDS && strcmp(keywords[i].name, name))
        i++;
    ab_path_key(&w->path, name);
    if (i < KEYWORDS)
        keywords[i].check(w, value);
    else
        unknown_keyword(w, name);
    w->path.n = mark;
}

static void check(struct walk *w, const json_t *schema)
{
    const char *name;
    json_t *value;
    if (json_is_boolean(schema))
        return;
    if (!json_is_object(schema)) {
        json_schema_fault(w, ab_format("must be a schema (an object), not %s", json_schema_type_of(schema)),
                          ab_strdup(""));
        return;
    }
    if (w->depth >= AB_JSON_SCHEMA_DEPTH_MAX)
        return; /* deeper than any document may be */
    w->depth++;
    json_object_foreach ((json_t *)(uintptr_t)schema, name, value)
        check_keyword(w, name, value);
    w->depth--;
}

static size_t size_of(const json_t *tree)
{
    return json_array_size(tree) + json_object_size(tree) + json_string_length(tree) / 8;
}

static void apply_keywords(struct walk *w, const json_t *schema, const json_t *value)
{
    for (size_t i = 0; i < KEYWORDS; i++) {
        const json_t *keyword = keywords[i].rule ? json_object_get(schema, keywords[i].name) : NULL;
        if (!keyword)
            continue;
        w->steps += (size_of(keyword) + size_of(value)) / SIZE_PER_STEP;
        keywords[i].rule(w, keyword, schema, value);
    }
}

void json_schema_apply(struct walk *w, const json_t *schema, const json_t *value)
{
    if (json_is_false(schema)) {
        json_schema_fault(w, ab_format("may not be there"), ab_strdup(""));
    } else if (w->depth >= AB_JSON_SCHEMA_DEPTH_MAX || w->steps >= AB_JSON_SCHEMA_STEPS_MAX) {
        json_schema_fault(
            w,
            ab_format("is too much for this schema: it is nested too deep, refers to itself, or has too many "
                      "alternatives"),
            ab_strdup(""));
    } else {
        w->depth++;
        w->steps++;
        apply_keywords(w, schema, value);
        w->depth--;
    }
}

size_t ab_json_schema_check(const json_t *schema, const char *path, struct ab_faults *faults)
{
    struct walk w = {.root = schema, .faults = faults};
    ab_buf_text(&w.path, path);
    check(&w, schema);
    ab_buf_finish(&w.path);
    return w.n;
}

size_t ab_json_schema_validate(const json_t *schema, const json_t *value, struct ab_faults *faults)
{
    struct walk w = {.root = schema, .faults = faults};
    ab_buf_text(&w.path, "$");
    json_schema_apply(&w, schema, value);
    ab_buf_finish(&w.path);
    return w.n;
}
