/* Termination conditions: read into the canonical tree, and built from it. What they mean is the engine's
 * (worker/engine/ending.c).
 */
#include "common/workflow/reading.h"

#include <stdlib.h>

/* The key that says which condition it is; in the order of enum ab_condition_kind. */
static const char *const kind_keys[] = {"text",    "rounds",    "auto_replies", "tokens", "cost_usd",
                                        "seconds", "tool_call", "agent",        "and",    "or"};
enum { KINDS = sizeof kind_keys / sizeof *kind_keys };

/* --- reading ---------------------------------------------------------------------------------------------- */

static json_t *read_one(struct ab_reading *r, json_t *value)
{
    size_t n = 0;
    for (size_t i = 0; i < KINDS; i++)
        n += ab_given(value, kind_keys[i]) != NULL;
    json_t *out = ab_read_table(r, &ab_condition_table, value);
    if (out && n != 1)
        ab_reading_fault(r, n ? ab_format("is %zu conditions in one", n) : ab_format("says no condition"),
                         n ? ab_format("write a list of them, or and: [...]")
                           : ab_format("such as {text: DONE} or {rounds: 10}"));
    if (out && ab_given(value, "from") && !ab_given(value, "text"))
        ab_reading_fault_key(r, "from", ab_format("belongs to text"), ab_format("remove it"));
    return out;
}

json_t *ab_read_conditions(struct ab_reading *r, json_t *value)
{
    if (r->depth >= AB_WORKFLOW_DEPTH_MAX) {
        ab_reading_fault(r, ab_format("conditions are nested deeper than %d levels", AB_WORKFLOW_DEPTH_MAX),
                         ab_format("flatten them"));
        return NULL;
    }
    r->depth++;
    json_t *list = ab_read_list(r, value, 1, AB_WORKFLOW_CONDITIONS_MAX, "conditions", read_one);
    r->depth--;
    return list;
}

static size_t count_facts(const json_t *condition)
{
    static const char *const lists[] = {"and", "or"};
    size_t n = 0, i;
    json_t *part;
    json_array_foreach (condition, i, part)
        n += count_facts(part);
    if (!json_is_object(condition))
        return n;
    bool combined = false;
    for (size_t k = 0; k < 2; k++) {
        const json_t *list = json_object_get(condition, lists[k]);
        combined |= list != NULL;
        n += count_facts(list);
    }
    return combined ? n : 1;
}

json_t *ab_read_condition(struct ab_reading *r, json_t *value)
{
    json_t *out = json_is_array(value) ? ab_read_conditions(r, value) : read_one(r, value);
    size_t n = count_facts(out);
    if (n > AB_WORKFLOW_CONDITIONS_MAX)
        ab_reading_fault(r, ab_format("has %zu conditions in all", n),
                         ab_format("at most %d", AB_WORKFLOW_CONDITIONS_MAX));
    return out;
}

/* --- building --------------------------------------------------------------------------------------------- */

static void build(struct ab_condition *condition, json_t *tree, unsigned *index);

static void build_parts(struct ab_condition *condition, const json_t *list, unsigned *index)
{
    condition->n_parts = json_array_size(list);
    condition->parts = ab_calloc(condition->n_parts + 1, sizeof *condition->parts);
    for (size_t i = 0; i < condition->n_parts; i++)
        build(&condition->parts[i], json_array_get(list, i), index);
}

static void build(struct ab_condition *condition, json_t *tree, unsigned *index)
{
    size_t kind = 0;
    while (kind < KINDS - 1 && !json_object_get(tree, kind_keys[kind]))
        kind++;
    condition->kind = (enum ab_condition_kind)kind;
    condition->tree = tree;
    const json_t *value = json_is_array(tree) ? tree : json_object_get(tree, kind_keys[kind]);
    if (json_is_array(value)) {
        build_parts(condition, value, index);
        return;
    }
    condition->text = json_string_value(value);
    condition->bound = json_number_value(value);
    condition->from = json_object_get(tree, "from");
    condition->index = (*index)++;
}

struct ab_condition *ab_condition_build(json_t *tree)
{
    unsigned index = 0;
    if (!tree)
        return NULL;
    struct ab_condition *condition = ab_calloc(1, sizeof *condition);
    build(condition, tree, &index);
    return condition;
}

static void finish(struct ab_condition *condition)
{
    for (size_t i = 0; i < condition->n_parts; i++)
        finish(&condition->parts[i]);
    free(condition->parts);
}

void ab_condition_destroy(struct ab_condition *condition)
{
    if (condition)
        finish(condition);
    free(condition);
}
