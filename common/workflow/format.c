/* Reads response_format: what a model's answers must look like, in OpenAI's shape or a shorter one of ours. */
#include "common/json_schema.h"
#include "common/workflow/reading.h"

json_t *ab_read_schema(struct ab_reading *r, json_t *value)
{
    return ab_json_schema_check(value, ab_buf_cstr(&r->path), &r->faults) ? NULL : json_incref(value);
}

/* As OpenAI has it: a-z, A-Z, 0-9, _ and -, at most 64. */
json_t *ab_read_format_name(struct ab_reading *r, json_t *value)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    const char *name = json_string_value(value);
    if (name && *name && strlen(name) <= 64 && strspn(name, legal) == strlen(name))
        return json_incref(value);
    ab_reading_fault(r, ab_format("is no name of a format"),
                     ab_format("1 to 64 of A-Z a-z 0-9 _ -, such as person"));
    return NULL;
}

static json_t *read_named(struct ab_reading *r, json_t *value)
{
    json_t *out = ab_read_table(r, &ab_schema_format_table, value);
    if (out && !ab_given(value, "schema"))
        ab_reading_fault_key(r, "schema", ab_format("is missing"), ab_format("the JSON Schema of the answer"));
    return out;
}

/* {type: json_object}, {type: json_schema, json_schema: {…}}, or the schema's members themselves. */
static json_t *read_object(struct ab_reading *r, json_t *value)
{
    const char *type = json_string_value(ab_given(value, "type"));
    if (ab_given(value, "schema") && !type) {
        json_t *named = read_named(r, value);
        return named ? json_pack("{s:s, s:o}", "type", "json_schema", "json_schema", named) : NULL;
    }
    json_t *out = ab_read_table(r, &ab_format_table, value);
    bool wants_schema = type && !strcmp(type, "json_schema"), has_schema = ab_given(value, "json_schema");
    if (out && type && wants_schema != has_schema)
        ab_reading_fault_key(
            r, "json_schema", ab_format(wants_schema ? "is missing" : "belongs to json_schema"),
            wants_schema ? ab_format("{name, schema}") : ab_format("remove it, or write type: json_schema"));
    json_t *named =
        out && wants_schema && has_schema ? ab_read_member(r, value, "json_schema", read_named) : NULL;
    if (named)
        json_object_set_new(out, "json_schema", named);
    return out;
}

json_t *ab_read_format(struct ab_reading *r, json_t *value)
{
    size_t faults = r->faults.n;
    if (json_is_string(value) && !strcmp(json_string_value(value), "json_object"))
        return json_pack("{s:s}", "type", "json_object");
    json_t *out = json_is_object(value) ? read_object(r, value) : NULL;
    if (!json_is_object(value))
        ab_reading_fault(r, ab_format("must be json_object or an object, not %s", ab_kind_name(value)),
                         ab_format("such as {schema: {type: object, properties: {...}}}"));
    if (r->faults.n == faults)
        return out;
    json_decref(out);
    return NULL;
}
