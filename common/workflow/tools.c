/* Reads the tools of an agent, and the tool calls that a script makes. */
#include "common/workflow/tools.h"

#include "common/workflow/reading.h"

static const struct ab_choice names[] = {
#define X(name, doc) {#name, 0},
    AB_TOOLS(X)
#undef X
        {0}};
const struct ab_choice *const ab_tool_names = names;

/* --- of an agent ---------------------------------------------------------------------------------------------- */

/* A name, or {name, approval}. */
static json_t *read_tool(struct ab_reading *r, json_t *value)
{
    size_t faults = r->faults.n;
    json_t *object = json_is_string(value) ? json_pack("{s:O}", "name", value) : json_incref(value);
    json_t *out = json_is_object(object) ? ab_read_table(r, &ab_tool_table, object) : NULL;
    if (!out)
        ab_reading_fault(r, ab_format("must be the name of a tool or an object, not %s", ab_kind_name(value)),
                         ab_format("such as calculator, or {name: calculator, approval: ask}"));
    json_decref(object);
    if (r->faults.n == faults)
        return out;
    json_decref(out);
    return NULL;
}

static void check_twice(struct ab_reading *r, const json_t *tools)
{
    size_t i, k;
    json_t *tool, *other;
    json_array_foreach (tools, i, tool) {
        const char *name = ab_tree_str(tool, "name");
        json_array_foreach (tools, k, other) {
            if (k < i && !strcmp(ab_tree_str(other, "name"), name))
                ab_reading_fault(r, ab_format("names %s twice", name), ab_format("once is enough"));
        }
    }
}

json_t *ab_read_tools(struct ab_reading *r, json_t *value)
{
    json_t *out = ab_read_list(r, value, 0, AB_TOOLS_MAX, "tools", read_tool);
    check_twice(r, out);
    return out;
}

/* --- of a script ---------------------------------------------------------------------------------------------- */

static json_t *read_call(struct ab_reading *r, json_t *value)
{
    if (json_is_object(value))
        return ab_read_table(r, &ab_tool_call_table, value);
    ab_reading_fault(r, ab_format("must be an object, not %s", ab_kind_name(value)),
                     ab_format("such as {name: calculator, arguments: {expression: 1 + 1}}"));
    return NULL;
}

json_t *ab_read_tool_calls(struct ab_reading *r, json_t *value)
{
    return ab_read_list(r, value, 1, AB_TOOLS_MAX, "tool calls", read_call);
}

/* An object; text is taken as it is, so that a script can write what a model gets wrong. */
json_t *ab_read_arguments(struct ab_reading *r, json_t *value)
{
    if (json_is_object(value) || json_is_string(value))
        return json_incref(value);
    ab_reading_fault(r, ab_format("must be an object, not %s", ab_kind_name(value)),
                     ab_format("such as {expression: 1 + 1}"));
    return NULL;
}
