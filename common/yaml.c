/* YAML into the tree: libyaml finds the events, this file gives them the meaning of the 1.2 core schema and
 * refuses what JSON cannot say or a reader would not expect (anchors, aliases, tags, duplicate keys, several
 * documents).
 */
#include "common/tree.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

struct reader {
    struct ab_view text;
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; deleted when the next is fetched */
    bool has_event;
    struct ab_places *places; /* NULL: not wanted */
    struct ab_buf path;       /* of the value being read */
    unsigned depth;
    struct ab_error *err;
};

static int read_value(struct reader *r, json_t **out);

static int fail(struct reader *r, yaml_mark_t mark, const char *text)
{
    char place[64];
    snprintf(place, sizeof place, "line %zu column %zu", mark.line + 1, mark.column + 1);
    return ab_fail_at(r->err, AB_EINVALID, place, "%s", text);
}

/* libyaml's words are about its tokens; these are about what the writer did. */
static const struct {
    const char *problem, *hint;
} syntax_hints[] = {
    {"found character that cannot start any token",
     "indent with spaces, not tabs; quote text that starts with @, ` or %"},
    {"mapping values are not allowed in this context",
     "quote text that contains \": \", and check the indentation"},
    {"could not find expected ':'", "a key is followed by a colon and a space; check the indentation"},
    {"did not find expected key", "check the indentation, and quote text that starts with a quote, * or &"},
    {"did not find expected '-' indicator", "items of a list start with \"- \" in the same column"},
    {"found unexpected end of stream", "a quote or bracket is left open"},
    {"did not find expected ',' or ']'", "a [ list needs commas between its items and a ] at its end"},
    {"did not find expected ',' or '}'", "a { mapping needs commas between its members and a } at its end"},
    {"control characters are not allowed", "remove the control character"},
    {"invalid leading UTF-8 octet", "the text must be UTF-8"},
};

/* The reader knows the byte only where text is no text. */
static yaml_mark_t mark_of_byte(const struct reader *r, size_t offset)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < r->text.n; i++) {
        mark.column = r->text.p[i] == '\n' ? 0 : mark.column + 1;
        mark.line += r->text.p[i] == '\n';
    }
    return mark;
}

static int syntax_error(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "out of memory", *hint = "";
    for (size_t i = 0; i < sizeof syntax_hints / sizeof *syntax_hints; i++)
        if (!strcmp(problem, syntax_hints[i].problem))
            hint = syntax_hints[i].hint;
    char *what = ab_format("not YAML: %s%s%s%s%s", problem, p->context ? " " : "", p->context ? p->context : "",
                           *hint ? ". " : "", hint);
    int code =
        fail(r, p->error == YAML_READER_ERROR ? mark_of_byte(r, p->problem_offset) : p->problem_mark, what);
    free(what);
    return code;
}

static int next(struct reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = yaml_parser_parse(&r->parser, &r->event);
    return r->has_event ? 0 : syntax_error(r);
}

/* --- scalars ---------------------------------------------------------------------------------------------- */

static const char digits[] = "0123456789";

static size_t sign_bytes(const char *text)
{
    return *text == '+' || *text == '-';
}

static bool is_integer(const char *text)
{
    text += sign_bytes(text);
    size_t n = strspn(text, digits);
    return n && !text[n];
}

/* 0o17 and 0x1f */
static int prefixed_base(const char *text)
{
    if (text[0] != '0' || (text[1] != 'o' && text[1] != 'x') || !text[2])
        return 0;
    const char *legal = text[1] == 'o' ? "01234567" : "0123456789abcdefABCDEF";
    return text[2 + strspn(text + 2, legal)] ? 0 : text[1] == 'o' ? 8 : 16;
}

static bool is_float(const char *text)
{
    text += sign_bytes(text);
    size_t whole = strspn(text, digits), fraction = 0;
    text += whole;
    if (*text == '.') {
        fraction = strspn(text + 1, digits);
        text += 1 + fraction;
    }
    if (!whole && !fraction)
        return false;
    if (*text == 'e' || *text == 'E') {
        text++;
        text += sign_bytes(text);
        size_t exponent = strspn(text, digits);
        if (!exponent)
            return false;
        text += exponent;
    }
    return !*text;
}

static bool is_not_finite(const char *text)
{
    static const char *const names[] = {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"};
    text += sign_bytes(text);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(text, names[i]))
            return true;
    return false;
}

static json_t *constant_of(const char *text)
{
    static const struct {
        const char *text;
        char value;
    } constants[] = {{"", 'n'},     {"~", 'n'},    {"null", 'n'},  {"Null", 'n'},  {"NULL", 'n'}, {"true", 't'},
                     {"True", 't'}, {"TRUE", 't'}, {"false", 'f'}, {"False", 'f'}, {"FALSE", 'f'}};
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (!strcmp(text, constants[i].text))
            return constants[i].value == 'n' ? json_null() : json_boolean(constants[i].value == 't');
    return NULL;
}

static int read_integer(struct reader *r, const char *text, int base, json_t **out)
{
    errno = 0;
    long long value = strtoll(base == 10 ? text : text + 2, NULL, base);
    if (errno == ERANGE)
        return fail(r, r->event.start_mark, "the integer has more than 64 bits: write it in quotes");
    *out = json_integer(value);
    return 0;
}

static int read_float(struct reader *r, const char *text, json_t **out)
{
    double value = is_not_finite(text) ? HUGE_VAL : strtod(text, NULL);
    if (!isfinite(value))
        return fail(r, r->event.start_mark,
                    "the number is not finite: write a finite number, or quote it if it is text");
    *out = json_real(value);
    return 0;
}

static int read_plain(struct reader *r, const char *text, json_t **out)
{
    if ((*out = constant_of(text)))
        return 0;
    int base = is_integer(text) ? 10 : prefixed_base(text);
    if (base)
        return read_integer(r, text, base, out);
    if (is_float(text) || is_not_finite(text))
        return read_float(r, text, out);
    *out = json_string(text);
    return 0;
}

/* The text of a scalar event, refused if it has a tag, an anchor or a NUL. */
static int scalar_text(struct reader *r, const char **text)
{
    *text = (const char *)r->event.data.scalar.value;
    if (strlen(*text) != r->event.data.scalar.length)
        return fail(r, r->event.start_mark, "\\0 is not allowed in text");
    return 0;
}

static int read_scalar(struct reader *r, json_t **out)
{
    const char *text;
    int code = scalar_text(r, &text);
    if (code)
        return code;
    if (r->event.data.scalar.plain_implicit)
        return read_plain(r, text, out);
    *out = json_string(text);
    return 0;
}

/* --- collections ------------------------------------------------------------------------------------------ */

static int read_sequence(struct reader *r, json_t *list)
{
    size_t mark = r->path.n;
    for (size_t i = 0;; i++) {
        int code = next(r);
        if (code || r->event.type == YAML_SEQUENCE_END_EVENT)
            return code;
        ab_path_index(&r->path, i);
        json_t *item = NULL;
        code = read_value(r, &item);
        if (code)
            return code;
        json_array_append_new(list, item);
        r->path.n = mark;
    }
}

static int read_key(struct reader *r, const json_t *object, char **key)
{
    if (r->event.type == YAML_ALIAS_EVENT)
        return fail(r, r->event.start_mark, "aliases (*name) are not supported: write the key");
    if (r->event.type != YAML_SCALAR_EVENT)
        return fail(r, r->event.start_mark,
                    "a key must be text, not a list or mapping; quote it if it starts with [ or {");
    const char *text;
    int code = scalar_text(r, &text);
    if (code)
        return code;
    if (json_object_get(object, text)) {
        char *what =
            ab_format("the key \"%s\" stands twice in this mapping: remove or rename one of the two", text);
        code = fail(r, r->event.start_mark, what);
        free(what);
        return code;
    }
    *key = ab_strdup(text);
    return 0;
}

static int read_member(struct reader *r, json_t *object)
{
    char *key = NULL;
    json_t *value = NULL;
    int code = read_key(r, object, &key);
    if (code)
        return code;
    ab_path_key(&r->path, key);
    if (r->places)
        ab_places_add(r->places, ab_buf_cstr(&r->path), r->event.start_mark.line + 1,
                      r->event.start_mark.column + 1);
    code = next(r);
    if (!code)
        code = read_value(r, &value);
    if (!code)
        json_object_set_new(object, key, value);
    free(key);
    return code;
}

static int read_mapping(struct reader *r, json_t *object)
{
    size_t mark = r->path.n;
    for (;;) {
        int code = next(r);
        if (code || r->event.type == YAML_MAPPING_END_EVENT)
            return code;
        code = read_member(r, object);
        if (code)
            return code;
        r->path.n = mark;
    }
}

static int read_collection(struct reader *r, bool is_mapping, json_t **out)
{
    if (++r->depth > AB_TREE_DEPTH_MAX) {
        char what[80];
        snprintf(what, sizeof what, "nested deeper than %d levels", AB_TREE_DEPTH_MAX);
        return fail(r, r->event.start_mark, what);
    }
    *out = is_mapping ? json_object() : json_array();
    int code = is_mapping ? read_mapping(r, *out) : read_sequence(r, *out);
    r->depth--;
    if (!code)
        return 0;
    json_decref(*out);
    *out = NULL;
    return code;
}

/* What stands before a value that JSON has no word for. */
static int refuse_decoration(struct reader *r, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor)
        return fail(r, r->event.start_mark,
                    "anchors (&name) are not supported: repeat the value; quote text that starts with &");
    if (tag)
        return fail(r, r->event.start_mark,
                    "tags (!name) are not supported: remove it; quote text that starts with !");
    return 0;
}

static int check_decoration(struct reader *r)
{
    const yaml_event_t *e = &r->event;
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return refuse_decoration(r, e->data.scalar.anchor, e->data.scalar.tag);
    case YAML_SEQUENCE_START_EVENT:
        return refuse_decoration(r, e->data.sequence_start.anchor, e->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return refuse_decoration(r, e->data.mapping_start.anchor, e->data.mapping_start.tag);
    case YAML_ALIAS_EVENT:
        return fail(r, e->start_mark,
                    "aliases (*name) are not supported: repeat the value; quote text that starts with *");
    default:
        return fail(r, e->start_mark, "a value is expected here");
    }
}

/* The current event starts the value; afterwards it is the value's last event. */
static int read_value(struct reader *r, json_t **out)
{
    int code = check_decoration(r);
    if (code)
        return code;
    if (r->places)
        ab_places_add(r->places, ab_buf_cstr(&r->path), r->event.start_mark.line + 1,
                      r->event.start_mark.column + 1);
    if (r->event.type == YAML_SCALAR_EVENT)
        return read_scalar(r, out);
    return read_collection(r, r->event.type == YAML_MAPPING_START_EVENT, out);
}

/* --- the document ----------------------------------------------------------------------------------------- */

static int read_document(struct reader *r, json_t **out)
{
    int code = next(r); /* stream start */
    if (!code)
        code = next(r);
    if (!code && r->event.type == YAML_STREAM_END_EVENT)
        return fail(r, (yaml_mark_t){0}, "the text is empty; a YAML document is expected");
    if (!code)
        code = next(r);
    if (!code)
        code = read_value(r, out);
    if (!code)
        code = next(r); /* document end */
    if (!code)
        code = next(r);
    if (!code && r->event.type != YAML_STREAM_END_EVENT)
        return fail(r, r->event.start_mark, "a second document starts here: one document (---) per file");
    return code;
}

int ab_yaml_parse(struct ab_view text, json_t **out, struct ab_places *places, struct ab_error *err)
{
    *out = NULL;
    if (text.n > AB_TREE_BYTES_MAX)
        return ab_fail(err, AB_ETOOLARGE, "%zu bytes of YAML: at most %d are read", text.n, AB_TREE_BYTES_MAX);
    struct reader r = {.text = text, .places = places, .err = err};
    if (!yaml_parser_initialize(&r.parser))
        ab_out_of_memory();
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const yaml_char_t *)(text.n ? text.p : ""), text.n);
    ab_buf_char(&r.path, '$');
    int code = read_document(&r, out);
    if (code) {
        json_decref(*out);
        *out = NULL;
    }
    if (r.has_event)
        yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    ab_buf_finish(&r.path);
    return code;
}
