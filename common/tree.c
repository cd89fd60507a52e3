/* JSON in and out of the tree, its small getters, JSON paths, and the guess at what a mistyped word meant. YAML
 * is read in yaml.c, the places of values are kept in places.c.
 *
 * Jansson does the reading. What it does not do is done before: the caps on size and depth (it recurses), and
 * the texts a person can act on.
 */
#include "common/tree.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { WORD_BYTES_MAX = 64 };

/* --- reading ---------------------------------------------------------------------------------------------- */

static struct ab_view without_bom(struct ab_view text)
{
    if (text.n >= 3 && !memcmp(text.p, "\xef\xbb\xbf", 3))
        return ab_view(text.p + 3, text.n - 3);
    return text;
}

static bool is_blank(struct ab_view text)
{
    for (size_t i = 0; i < text.n; i++)
        if (!strchr(" \t\r\n", text.p[i]) || !text.p[i])
            return false;
    return true;
}

static int fail_at(struct ab_error *err, size_t line, size_t column, const char *text)
{
    char place[64];
    snprintf(place, sizeof place, "line %zu column %zu", line, column);
    return ab_fail_at(err, AB_EINVALID, place, "%s", text);
}

/* Counts brackets outside of strings, so that a deep document is refused before jansson recurses into it. */
static int check_depth(struct ab_view text, struct ab_error *err)
{
    size_t depth = 0, line = 1, start = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '\n') {
            line++;
            start = i + 1;
        }
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '['))
            depth++;
        else if (!quoted && (c == '}' || c == ']') && depth)
            depth--;
        if (depth > AB_TREE_DEPTH_MAX) {
            char what[80];
            snprintf(what, sizeof what, "nested deeper than %d levels", AB_TREE_DEPTH_MAX);
            return fail_at(err, line, i - start + 1, what);
        }
    }
    return 0;
}

/* Jansson's word for it, and what to do about it. */
static const struct {
    enum json_error_code code;
    const char *hint;
} json_hints[] = {
    {json_error_duplicate_key, "each key may stand once in an object: remove or rename one of the two"},
    {json_error_invalid_utf8, "the text must be UTF-8"},
    {json_error_null_character, "\\u0000 is not allowed in text"},
    {json_error_null_byte_in_key, "\\u0000 is not allowed in a key"},
    {json_error_numeric_overflow, "integers have 64 bits, reals 64 bits: write a larger number as a string"},
    {json_error_premature_end_of_input, "something is left open: look for a missing }, ] or \""},
    {json_error_end_of_input_expected, "only one value may stand in the text: remove what follows it"},
    {json_error_invalid_syntax,
     "keys and texts stand in \"double quotes\", with a comma between members and none after the last"},
};

static int json_failure(const json_error_t *error, struct ab_error *err)
{
    const char *hint = "";
    for (size_t i = 0; i < sizeof json_hints / sizeof *json_hints; i++)
        if (json_hints[i].code == json_error_code(error))
            hint = json_hints[i].hint;
    size_t words = strlen(error->text);
    const char *near = strstr(error->text, " near '\"");
    if (near && json_error_code(error) != json_error_duplicate_key)
        words = (size_t)(near - error->text); /* the text that stands there may be a secret */
    char *what = ab_format("not JSON: %.*s%s%s", (int)words, error->text, *hint ? ". " : "", hint);
    int code = fail_at(err, error->line > 0 ? (size_t)error->line : 1,
                       error->column > 0 ? (size_t)error->column : 1, what);
    free(what);
    return code;
}

int ab_json_parse(struct ab_view text, json_t **out, struct ab_error *err)
{
    *out = NULL;
    if (text.n > AB_TREE_BYTES_MAX)
        return ab_fail(err, AB_ETOOLARGE, "%zu bytes of JSON: at most %d are read", text.n, AB_TREE_BYTES_MAX);
    text = without_bom(text);
    if (is_blank(text))
        return fail_at(err, 1, 1, "the text is empty; a JSON value is expected");
    int code = check_depth(text, err);
    if (code)
        return code;
    json_error_t error;
    *out = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    return *out ? 0 : json_failure(&error, err);
}

static bool has_extension(const char *file, const char *extension)
{
    const char *dot = strrchr(file, '.');
    return dot && !strcasecmp(dot, extension);
}

static bool looks_like_json(struct ab_view text, const char *file)
{
    if (file && has_extension(file, ".json"))
        return true;
    if (file && (has_extension(file, ".yaml") || has_extension(file, ".yml")))
        return false;
    text = without_bom(text);
    size_t i = 0;
    while (i < text.n && isspace((unsigned char)text.p[i]))
        i++;
    return i < text.n && (text.p[i] == '{' || text.p[i] == '[');
}

int ab_tree_parse(struct ab_view text, const char *file, json_t **out, struct ab_places *places,
                  struct ab_error *err)
{
    if (!looks_like_json(text, file))
        return ab_yaml_parse(text, out, places, err);
    int code = ab_json_parse(text, out, err);
    if (code || !places)
        return code;
    /* JSON is YAML but for a few escapes: as far as that reading comes, the places are known. */
    json_t *again;
    ab_yaml_parse(text, &again, places, NULL);
    json_decref(again);
    return 0;
}

/* --- writing ---------------------------------------------------------------------------------------------- */

struct output {
    struct ab_buf *buf;
    size_t bytes_max;
};

static int append(const char *p, size_t n, void *context)
{
    struct output *out = context;
    if (n > out->bytes_max - out->buf->n)
        return -1;
    ab_buf_add(out->buf, p, n);
    return 0;
}

int ab_json_text_max(const json_t *tree, struct ab_buf *out, size_t bytes_max)
{
    size_t mark = out->n;
    struct output output = {out, mark + bytes_max};
    size_t flags = JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17);
    if (!json_dump_callback(tree, append, &output, flags))
        return 0;
    out->n = mark;
    return AB_ETOOLARGE;
}

void ab_json_text(const json_t *tree, struct ab_buf *out)
{
    /* Otherwise it fails only on a cycle or on memory, and trees come from the parsers. */
    if (ab_json_text_max(tree, out, SIZE_MAX / 2))
        ab_out_of_memory();
}

/* --- getters ---------------------------------------------------------------------------------------------- */

const char *ab_tree_str(const json_t *obj, const char *key)
{
    return json_string_value(json_object_get(obj, key));
}

struct ab_view ab_tree_view(const json_t *obj, const char *key)
{
    const json_t *value = json_object_get(obj, key);
    return ab_view(json_string_value(value), json_string_length(value));
}

int64_t ab_tree_int(const json_t *obj, const char *key, int64_t otherwise)
{
    const json_t *value = json_object_get(obj, key);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

double ab_tree_number(const json_t *obj, const char *key, double otherwise)
{
    const json_t *value = json_object_get(obj, key);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

bool ab_tree_bool(const json_t *obj, const char *key, bool otherwise)
{
    const json_t *value = json_object_get(obj, key);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

/* --- paths ------------------------------------------------------------------------------------------------ */

static bool is_plain_word(const char *key)
{
    if (!isalpha((unsigned char)*key) && *key != '_' && *key != '$')
        return false;
    for (; *key; key++)
        if (!isalnum((unsigned char)*key) && !strchr("_-$", *key))
            return false;
    return true;
}

void ab_path_key(struct ab_buf *path, const char *key)
{
    if (is_plain_word(key)) {
        ab_buf_char(path, '.');
        ab_buf_text(path, key);
        return;
    }
    ab_buf_text(path, "[\"");
    for (; *key; key++) {
        if (*key == '"' || *key == '\\')
            ab_buf_char(path, '\\');
        ab_buf_char(path, *key);
    }
    ab_buf_text(path, "\"]");
}

void ab_path_index(struct ab_buf *path, size_t index)
{
    ab_buf_format(path, "[%zu]", index);
}

/* --- nearest word ----------------------------------------------------------------------------------------- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Optimal string alignment: insertions, deletions, substitutions and swapped neighbours. Both at most
 * WORD_BYTES_MAX. */
static size_t distance(const char *a, size_t an, const char *b, size_t bn)
{
    size_t d[WORD_BYTES_MAX + 1][WORD_BYTES_MAX + 1];
    for (size_t i = 0; i <= an; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= bn; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= an; i++) {
        for (size_t j = 1; j <= bn; j++) {
            d[i][j] = least(least(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + !same(a[i - 1], b[j - 1]));
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
        }
    }
    return d[an][bn];
}

const char *ab_nearest(const char *word, const char *const *names, size_t n)
{
    enum { PREFIX_MIN = 3 };
    size_t bytes = strlen(word), best_distance = SIZE_MAX;
    const char *best = NULL;
    if (!bytes || bytes > WORD_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t name_bytes = strlen(names[i]), shorter = least(bytes, name_bytes);
        if (name_bytes > WORD_BYTES_MAX)
            continue;
        size_t d = distance(word, bytes, names[i], name_bytes);
        bool prefix = shorter >= PREFIX_MIN && !strncasecmp(word, names[i], shorter);
        if ((prefix || (d <= 1 + bytes / 4 && d < bytes)) && d < best_distance) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}
