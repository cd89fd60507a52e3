/* What each keyword of a JSON Schema demands of a value. A keyword whose own value is not what it should be demands nothing:
 * the schema may be somebody else's, and was not checked then. */
#include <math.h>
#include <stdlib.h>

#include "common/json_schema_inside.h"

/* Numbers are equal by value: 1 and 1.0 are the same. */
static bool equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

/* Whether the words of a fault are of use; else it is counted here, as they may be long. */
static bool telling(struct walk *w)
{
    bool telling = !w->quiet && w->faults->n < AB_FAULTS_MAX;
    if (!telling)
        json_schema_fault(w, NULL, NULL);
    return telling;
}

static char *text_of(const json_t *value)
{
    struct ab_buf text = {0};
    ab_json_text(value, &text);
    return ab_buf_detach(&text);
}

void v_reference(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    const json_t *found =
        json_is_string(keyword) ? json_schema_resolve(w->root, json_string_value(keyword)) : NULL;
    (void)schema;
    if (found)
        json_schema_apply(w, found, value);
}

/* --- any value ------------------------------------------------------------------------------------------------- */

void v_type(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    struct ab_buf names = {0};
    size_t n = json_is_array(keyword) ? json_array_size(keyword) : 1;
    (void)schema;
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_is_array(keyword) ? json_array_get(keyword, i) : keyword);
        if (!name || json_schema_has_type(value, name)) {
            ab_buf_finish(&names);
            return;
        }
        ab_buf_format(&names, "%s%s", i ? " or " : "", name);
    }
    if (n) /* an empty list is no demand, but a mistake */
        json_schema_fault(w, ab_format("must be %s, not %s", ab_buf_cstr(&names), json_schema_type_of(value)),
                          ab_strdup(""));
    ab_buf_finish(&names);
}

void v_enum(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    size_t i;
    json_t *one;
    (void)schema;
    json_array_foreach (keyword, i, one) {
        if (equal(one, value))
            return;
    }
    if (!json_is_array(keyword) || !telling(w))
        return;
    char *all = text_of(keyword);
    json_schema_fault(w, ab_format("is none of the values it may have"), ab_format("one of %.200s", all));
    free(all);
}

void v_const(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    (void)schema;
    if (equal(keyword, value) || !telling(w))
        return;
    char *text = text_of(keyword);
    json_schema_fault(w, ab_format("must be %.200s", text), ab_strdup(""));
    free(text);
}

/* --- objects ---------------------------------------------------------------------------------------------------- */

static void validate_at(struct walk *w, const char *key, const json_t *schema, const json_t *value)
{
    size_t mark = w->path.n;
    ab_path_key(&w->path, key);
    json_schema_apply(w, schema, value);
    w->path.n = mark;
}

void v_properties(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    const char *name;
    json_t *one;
    (void)schema;
    json_object_foreach ((json_t *)(uintptr_t)keyword, name, one) {
        const json_t *given = json_object_get(value, name);
        if (given)
            validate_at(w, name, one, given);
    }
}

void v_required(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    size_t i, mark = w->path.n;
    json_t *name;
    (void)schema;
    json_array_foreach (json_is_object(value) ? keyword : NULL, i, name) {
        if (!json_is_string(name) || json_object_get(value, json_string_value(name)))
            continue;
        ab_path_key(&w->path, json_string_value(name));
        json_schema_fault(w, ab_format("is missing"), ab_strdup(""));
        w->path.n = mark;
    }
}

void v_additional(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    const json_t *known = json_object_get(schema, "properties");
    size_t mark = w->path.n;
    const char *name;
    json_t *given;
    bool patterns = json_object_get(schema, "patternProperties"); /* of somebody else's schema */
    json_object_foreach (json_is_object(value) && !patterns ? (json_t *)(uintptr_t)value : NULL, name, given) {
        if (json_object_get(known, name))
            continue;
        if (!json_is_false(keyword)) {
            validate_at(w, name, keyword, given);
            continue;
        }
        if (!telling(w))
            continue;
        ab_path_key(&w->path, name);
        json_schema_fault(w, ab_format("is a member that may not be there"), ab_format("remove it"));
        w->path.n = mark;
    }
}

/* --- bounds ----------------------------------------------------------------------------------------------------- */

static size_t characters(const json_t *text)
{
    size_t n = 0;
    for (const char *p = json_string_value(text); *p; p++)
        n += ((unsigned char)*p & 0xC0) != 0x80;
    return n;
}

/* What of a value a keyword bounds; false if this is no value of that kind. */
static bool size_of(const json_t *value, json_type type, double *size)
{
    if (type == JSON_REAL ? !json_is_number(value) : json_typeof(value) != type)
        return false;
    *size = type == JSON_REAL     ? json_number_value(value)
            : type == JSON_STRING ? (double)characters(value)
            : type == JSON_ARRAY  ? (double)json_array_size(value)
                                  : (double)json_object_size(value);
    return true;
}

static void below(struct walk *w, const json_t *keyword, const json_t *value, json_type type, const char *what)
{
    double size, bound = json_number_value(keyword);
    if (json_is_number(keyword) && size_of(value, type, &size) && size < bound)
        json_schema_fault(w, ab_format("%s %.15g, at least %.15g is wanted", what, size, bound), ab_strdup(""));
}

static void above(struct walk *w, const json_t *keyword, const json_t *value, json_type type, const char *what)
{
    double size, bound = json_number_value(keyword);
    if (json_is_number(keyword) && size_of(value, type, &size) && size > bound)
        json_schema_fault(w, ab_format("%s %.15g, at most %.15g is allowed", what, size, bound), ab_strdup(""));
}

#define BOUND(name, how, type, what)                                                                           \
    void name(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)                \
    {                                                                                                          \
        (void)schema;                                                                                          \
        how(w, keyword, value, type, what);                                                                    \
    }
BOUND(v_minimum, below, JSON_REAL, "is")
BOUND(v_maximum, above, JSON_REAL, "is")
BOUND(v_min_length, below, JSON_STRING, "has characters:")
BOUND(v_max_length, above, JSON_STRING, "has characters:")
BOUND(v_min_items, below, JSON_ARRAY, "has items:")
BOUND(v_max_items, above, JSON_ARRAY, "has items:")
BOUND(v_min_properties, below, JSON_OBJECT, "has members:")
BOUND(v_max_properties, above, JSON_OBJECT, "has members:")
#undef BOUND

void v_over(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    double bound = json_number_value(keyword);
    (void)schema;
    if (json_is_number(keyword) && json_is_number(value) && json_number_value(value) <= bound)
        json_schema_fault(w, ab_format("must be over %.15g", bound), ab_strdup(""));
}

void v_under(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    double bound = json_number_value(keyword);
    (void)schema;
    if (json_is_number(keyword) && json_is_number(value) && json_number_value(value) >= bound)
        json_schema_fault(w, ab_format("must be under %.15g", bound), ab_strdup(""));
}

/* Of decimal fractions too: 0.3 is a multiple of 0.1, as near as a double can tell. */
void v_multiple(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    double factor = json_number_value(keyword), times = json_number_value(value) / factor;
    (void)schema;
    if (json_is_number(value) && factor > 0 && fabs(times - round(times)) > 1e-9 * fmax(1, fabs(times)))
        json_schema_fault(w, ab_format("must be a multiple of %.15g", factor), ab_strdup(""));
}

enum { BYTES_PER_STEP = 128 /* of items that are compared as texts */ };

/* --- lists ------------------------------------------------------------------------------------------------------ */

void v_items(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    size_t i, mark = w->path.n;
    json_t *item;
    (void)schema;
    json_array_foreach (value, i, item) {
        ab_path_index(&w->path, i);
        json_schema_apply(w, keyword, item);
        w->path.n = mark;
    }
}

/* By their texts, so that a long list costs n log n. */
static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void v_unique(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    size_t n = json_array_size(value), bytes = 0, twice = 0;
    (void)schema;
    if (n < 2 || !json_is_true(keyword))
        return;
    char **texts = ab_calloc(n, sizeof *texts);
    for (size_t i = 0; i < n; i++) {
        texts[i] = text_of(json_array_get(value, i));
        bytes += strlen(texts[i]);
    }
    w->steps += bytes / BYTES_PER_STEP;
    qsort(texts, n, sizeof *texts, by_text);
    for (size_t i = 1; i < n; i++)
        twice += !strcmp(texts[i - 1], texts[i]);
    for (size_t i = 0; i < n; i++)
        free(texts[i]);
    free(texts);
    if (twice)
        json_schema_fault(w, ab_format("has an item twice"), ab_strdup(""));
}

/* --- combinations ----------------------------------------------------------------------------------------------- */

static size_t faults_quietly(struct walk *w, const json_t *schema, const json_t *value)
{
    bool quiet = w->quiet;
    size_t before = w->n, found;
    w->quiet = true;
    json_schema_apply(w, schema, value);
    found = w->n - before;
    w->n = before;
    w->quiet = quiet;
    return found;
}

/* How many of the alternatives fit; *nearest is the one with the fewest faults. */
static size_t count_fitting(struct walk *w, const json_t *keyword, const json_t *value, const json_t **nearest)
{
    size_t i, fitting = 0, fewest = SIZE_MAX;
    json_t *one;
    *nearest = NULL;
    json_array_foreach (keyword, i, one) {
        size_t found = faults_quietly(w, one, value);
        fitting += !found;
        if (found < fewest) {
            fewest = found;
            *nearest = one;
        }
    }
    return fitting;
}

/* Told with what is wrong by the alternative that comes nearest. */
static void fits_none(struct walk *w, const json_t *keyword, const json_t *nearest, const json_t *value)
{
    json_schema_fault(w, ab_format("fits none of %zu alternatives", json_array_size(keyword)), ab_strdup(""));
    if (nearest && !w->quiet)
        json_schema_apply(w, nearest, value);
}

void v_any(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    const json_t *nearest;
    (void)schema;
    if (json_array_size(keyword) && !count_fitting(w, keyword, value, &nearest))
        fits_none(w, keyword, nearest, value);
}

void v_one(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    const json_t *nearest;
    (void)schema;
    size_t fitting = json_array_size(keyword) ? count_fitting(w, keyword, value, &nearest) : 1;
    if (!fitting)
        fits_none(w, keyword, nearest, value);
    else if (fitting > 1)
        json_schema_fault(w, ab_format("fits %zu alternatives", fitting), ab_format("exactly one is wanted"));
}

void v_all(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    size_t i;
    json_t *one;
    (void)schema;
    json_array_foreach (keyword, i, one)
        json_schema_apply(w, one, value);
}

void v_not(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value)
{
    (void)schema;
    if (!faults_quietly(w, keyword, value))
        json_schema_fault(w, ab_format("is what `not` excludes"), ab_strdup(""));
}
