/* The table-driven reader: checks a value against its field, and an object against its table. What a field
 * means is in fields.c; this file knows kinds only.
 */
#include "common/workflow/reading.h"

#include <ctype.h>
#include <stdlib.h>

/* --- faults ----------------------------------------------------------------------------------------------- */

static void add(struct ab_faults *list, struct ab_reading *r, const char *key, char *what, char *hint)
{
    size_t mark = r->path.n;
    if (key)
        ab_path_key(&r->path, key);
    ab_faults_add(list, ab_buf_cstr(&r->path), what, "%s", hint);
    r->path.n = mark;
    free(what);
    free(hint);
}

void ab_reading_fault(struct ab_reading *r, char *what, char *hint)
{
    add(&r->faults, r, NULL, what, hint);
}

void ab_reading_fault_key(struct ab_reading *r, const char *key, char *what, char *hint)
{
    add(&r->faults, r, key, what, hint);
}

void ab_reading_tolerate_key(struct ab_reading *r, const char *key, char *what, char *hint)
{
    add(r->flags & AB_WORKFLOW_STRICT ? &r->faults : &r->warnings, r, key, what, hint);
}

void ab_reading_no_model(struct ab_reading *r, const char *key, char *what, char *hint)
{
    r->n_no_model++;
    add(&r->faults, r, key, what, hint);
}

const char *ab_kind_name(const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "text",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };
    return value ? names[json_typeof(value)] : "absent";
}

json_t *ab_given(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

/* --- single values ---------------------------------------------------------------------------------------- */

static json_t *wrong_kind(struct ab_reading *r, const json_t *value, const char *wanted)
{
    bool quotable = json_is_number(value) || json_is_boolean(value);
    bool text = !strcmp(wanted, "text") || !strcmp(wanted, "a name");
    ab_reading_fault(r, ab_format("must be %s, not %s", wanted, ab_kind_name(value)),
                     ab_format("%s", quotable && text ? "write it in quotes" : ""));
    return NULL;
}

static json_t *read_text(struct ab_reading *r, const struct ab_field *field, json_t *value)
{
    if (!json_is_string(value))
        return wrong_kind(r, value, "text");
    size_t n = json_string_length(value);
    if ((double)n < field->min)
        ab_reading_fault(r, ab_format("is empty"), ab_format("write the text, or leave the key out"));
    else if (field->max > 0 && (double)n > field->max)
        ab_reading_fault(r, ab_format("has %zu bytes", n), ab_format("at most %.0f bytes", field->max));
    else
        return json_incref(value);
    return NULL;
}

static bool is_name(struct ab_view name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!isalnum((unsigned char)name.p[i]) && (!name.p[i] || !strchr("_.- ", name.p[i])))
            return false;
    return name.n && name.p[0] != ' ' && name.p[name.n - 1] != ' ';
}

bool ab_workflow_name_ok(struct ab_view name)
{
    return name.n <= AB_WORKFLOW_NAME_MAX && is_name(name);
}

bool ab_workflow_is_file_name(struct ab_view name)
{
    static const char *const ends[] = {".json", ".yaml", ".yml"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i]);
        if (name.n >= n && !strncasecmp(name.p + name.n - n, ends[i], n))
            return true;
    }
    return false;
}

static json_t *read_name(struct ab_reading *r, json_t *value)
{
    if (!json_is_string(value))
        return wrong_kind(r, value, "a name");
    if (json_string_length(value) > AB_WORKFLOW_NAME_MAX)
        ab_reading_fault(r, ab_format("is a name of %zu characters", json_string_length(value)),
                         ab_format("at most %d characters", AB_WORKFLOW_NAME_MAX));
    else if (!is_name(ab_view_of(json_string_value(value))))
        ab_reading_fault(r, ab_format("\"%s\" is not a name", json_string_value(value)),
                         ab_format("use A-Z a-z 0-9 _ . - and spaces between words"));
    else
        return json_incref(value);
    return NULL;
}

static json_t *read_number(struct ab_reading *r, const struct ab_field *field, json_t *value)
{
    bool whole = field->kind == AB_FIELD_INT;
    if (whole ? !json_is_integer(value) : !json_is_number(value))
        return wrong_kind(r, value, whole ? "a whole number" : "a number");
    double number = json_number_value(value);
    if (number >= field->min && number <= field->max)
        return whole ? json_incref(value) : json_real(number);
    ab_reading_fault(r, ab_format("is %.15g", number),
                     ab_format("from %.15g to %.15g", field->min, field->max));
    return NULL;
}

enum { CHOICES_MAX = 64 };

/* Nearest first, if there is one, then all of them. */
static char *choices_hint(const char *written, const char *intro, const char *const *names, size_t n)
{
    struct ab_buf hint = {0};
    const char *nearest = ab_nearest(written, names, n);
    if (nearest)
        ab_buf_format(&hint, "did you mean \"%s\"? ", nearest);
    ab_buf_text(&hint, intro);
    for (size_t i = 0; i < n; i++)
        ab_buf_format(&hint, "%s%s", i ? ", " : "", names[i]);
    return ab_buf_detach(&hint);
}

/* Guessing costs far more than reading: it stops where faults are only counted. */
static bool is_full(const struct ab_faults *list)
{
    return list->n >= AB_FAULTS_MAX;
}

const char *ab_read_choice(struct ab_reading *r, const struct ab_choice *choices, const char *written)
{
    const char *names[CHOICES_MAX];
    size_t n = 0;
    for (; choices[n].name; n++) {
        if (!strcmp(choices[n].name, written))
            return choices[n].canonical ? choices[n].canonical : choices[n].name;
        names[n] = choices[n].name;
    }
    if (is_full(&r->faults))
        n = 0;
    ab_reading_fault(r, ab_format("\"%.80s\" is not known here", written),
                     choices_hint(written, "one of: ", names, n));
    return NULL;
}

static json_t *read_enum(struct ab_reading *r, const struct ab_field *field, json_t *value)
{
    /* false, 1 and the like get the list of legal names too */
    const char *written = json_is_string(value) ? json_string_value(value) : ab_kind_name(value);
    const char *name = ab_read_choice(r, field->choices, written);
    return name ? json_string(name) : NULL;
}

static json_t *read_typed(struct ab_reading *r, json_t *value, bool fits, const char *wanted)
{
    return fits ? json_incref(value) : wrong_kind(r, value, wanted);
}

static json_t *read_value(struct ab_reading *r, const struct ab_field *field, json_t *value)
{
    switch (field->kind) {
    case AB_FIELD_TEXT:
        return read_text(r, field, value);
    case AB_FIELD_NAME:
        return read_name(r, value);
    case AB_FIELD_BOOL:
        return read_typed(r, value, json_is_boolean(value), "true or false");
    case AB_FIELD_INT:
    case AB_FIELD_REAL:
        return read_number(r, field, value);
    case AB_FIELD_ENUM:
        return read_enum(r, field, value);
    case AB_FIELD_OBJECT:
        return read_typed(r, value, json_is_object(value), "an object");
    case AB_FIELD_LIST:
        return read_typed(r, value, json_is_array(value), "a list");
    case AB_FIELD_CUSTOM:
        return field->read(r, value);
    case AB_FIELD_ELSEWHERE:
        return NULL;
    }
    return NULL;
}

/* --- objects and lists ------------------------------------------------------------------------------------ */

static json_t *default_of(struct ab_reading *r, const struct ab_field *field)
{
    if (!field->otherwise)
        return NULL;
    json_t *value = json_loads(field->otherwise, JSON_DECODE_ANY, NULL);
    if (field->kind != AB_FIELD_ENUM)
        return value;
    json_t *canonical = read_enum(r, field, value);
    json_decref(value);
    return canonical;
}

static void read_field(struct ab_reading *r, const struct ab_field *field, const json_t *source, json_t *out)
{
    json_t *value = ab_given(source, field->key), *canonical;
    if (value) {
        size_t mark = r->path.n;
        ab_path_key(&r->path, field->key);
        canonical = read_value(r, field, value);
        r->path.n = mark;
    } else {
        canonical = default_of(r, field);
        if (field->required)
            ab_reading_fault_key(r, field->key, ab_format("is missing"), ab_format("%s", field->doc));
    }
    if (canonical)
        json_object_set_new(out, field->as ? field->as : field->key, canonical);
}

static const struct ab_field *find_field(const struct ab_table *table, const char *key)
{
    for (; table; table = table->also)
        for (size_t i = 0; i < table->n; i++)
            if (!strcmp(table->fields[i].key, key))
                return &table->fields[i];
    return NULL;
}

static char *keys_hint(const struct ab_table *table, const char *written)
{
    const char *names[CHOICES_MAX];
    size_t n = 0;
    for (; table; table = table->also)
        for (size_t i = 0; i < table->n && n < CHOICES_MAX; i++)
            names[n++] = table->fields[i].key;
    return choices_hint(written, "the keys are: ", names, n);
}

static void unknown_key(struct ab_reading *r, const struct ab_table *table, const char *key)
{
    bool fault = table->own || r->flags & AB_WORKFLOW_STRICT;
    if (is_full(fault ? &r->faults : &r->warnings)) {
        (*(fault ? &r->faults.dropped : &r->warnings.dropped))++;
        return;
    }
    char *what = ab_format("unknown key in %s", table->title), *hint = keys_hint(table, key);
    if (table->own)
        ab_reading_fault_key(r, key, what, hint);
    else
        ab_reading_tolerate_key(r, key, what, hint);
}

bool ab_read_object(struct ab_reading *r, const struct ab_table *table, json_t *source, json_t *out)
{
    if (!json_is_object(source)) {
        ab_reading_fault(r, ab_format("must be an object, not %s", ab_kind_name(source)), keys_hint(table, ""));
        return false;
    }
    for (const struct ab_table *t = table; t; t = t->also)
        for (size_t i = 0; i < t->n; i++)
            read_field(r, &t->fields[i], source, out);
    const char *key;
    json_t *value;
    json_object_foreach (source, key, value) {
        if (!find_field(table, key))
            unknown_key(r, table, key);
    }
    return true;
}

json_t *ab_read_table(struct ab_reading *r, const struct ab_table *table, json_t *source)
{
    json_t *out = json_object();
    if (ab_read_object(r, table, source, out))
        return out;
    json_decref(out);
    return NULL;
}

json_t *ab_read_list(struct ab_reading *r, json_t *source, size_t min, size_t max, const char *what,
                     ab_read_fn *read)
{
    if (!json_is_array(source)) {
        ab_reading_fault(r, ab_format("must be a list, not %s", ab_kind_name(source)),
                         ab_format("a list of %s", what));
        return NULL;
    }
    size_t n = json_array_size(source);
    if (n < min || n > max) {
        ab_reading_fault(r, n ? ab_format("has %zu item%s", n, n > 1 ? "s" : "") : ab_format("is empty"),
                         ab_format("from %zu to %zu %s", min, max, what));
        return NULL;
    }
    json_t *out = json_array();
    for (size_t i = 0; i < n; i++) {
        size_t mark = r->path.n;
        ab_path_index(&r->path, i);
        json_t *item = read(r, json_array_get(source, i));
        r->path.n = mark;
        if (item)
            json_array_append_new(out, item);
    }
    return out;
}

json_t *ab_read_member(struct ab_reading *r, json_t *object, const char *key, ab_read_fn *read)
{
    size_t mark = r->path.n;
    ab_path_key(&r->path, key);
    json_t *value = read(r, json_object_get(object, key));
    r->path.n = mark;
    return value;
}

json_t *ab_read_names(struct ab_reading *r, json_t *source)
{
    return ab_read_list(r, source, 0, AB_WORKFLOW_AGENTS_MAX, "names", read_name);
}

json_t *ab_read_mention(struct ab_reading *r, json_t *value)
{
    json_t *name = read_name(r, value);
    if (name)
        json_array_append_new(r->mentions, json_pack("[s, O]", ab_buf_cstr(&r->path), name));
    return name;
}

json_t *ab_read_mentions(struct ab_reading *r, json_t *source)
{
    return ab_read_list(r, source, 1, AB_WORKFLOW_AGENTS_MAX, "names of agents", ab_read_mention);
}

void ab_reading_fault_at(struct ab_reading *r, const char *path, char *what, char *hint)
{
    struct ab_buf here = r->path;
    r->path = (struct ab_buf){0};
    ab_buf_text(&r->path, path);
    ab_reading_fault(r, what, hint);
    ab_buf_finish(&r->path);
    r->path = here;
}

static void check_mention(struct ab_reading *r, const char *path, const char *name)
{
    const char *names[AB_WORKFLOW_AGENTS_MAX], *key;
    size_t n = 0;
    json_t *value;
    if (json_object_get(r->names, name) || is_full(&r->faults))
        return;
    json_object_foreach (r->names, key, value) {
        if (n < AB_WORKFLOW_AGENTS_MAX)
            names[n++] = key;
    }
    ab_reading_fault_at(r, path, ab_format("no agent is named \"%s\"", name),
                        choices_hint(name, "the agents are: ", names, n));
}

void ab_check_mentions(struct ab_reading *r)
{
    size_t i;
    json_t *mention;
    json_array_foreach (r->mentions, i, mention)
        check_mention(r, json_string_value(json_array_get(mention, 0)),
                      json_string_value(json_array_get(mention, 1)));
}

/* --- agents ----------------------------------------------------------------------------------------------- */

void ab_reading_agent(struct ab_reading *r, const char *name)
{
    if (++r->n_agents == AB_WORKFLOW_AGENTS_MAX + 1)
        ab_reading_fault(r, ab_format("there are more than %d agents", AB_WORKFLOW_AGENTS_MAX),
                         ab_format("split the workflow"));
    if (!name)
        return;
    if (json_object_get(r->names, name))
        ab_reading_fault_key(r, "name", ab_format("another agent is named \"%s\" too", name),
                             ab_format("agents are told apart by their names: make it unique"));
    json_object_set_new(r->names, name, json_true());
}

char *ab_reading_fresh_name(struct ab_reading *r, const char *wanted)
{
    char *name = ab_strdup(wanted);
    for (size_t i = 2; json_object_get(r->names, name); i++) {
        free(name);
        name = ab_format("%s_%zu", wanted, i);
    }
    json_object_set_new(r->names, name, json_true());
    return name;
}

json_t *ab_agent_entry(json_t *agent, const char *link)
{
    return json_pack("{s:o, s:{s:s}}", "agent", agent, "link", "agent_type", link);
}
