/* The source of built-in tools: an entry {name} stands for one of them. */
#include "common/tree.h"
#include "worker/tool/tool.h"

static const struct tool_builtin *find(const struct tool_builtins *all, const char *name)
{
    for (const struct tool_builtin *const *row = all->rows; *row; row++)
        if (!strcmp((*row)->name, name))
            return *row;
    return NULL;
}

static void *open_builtin(void *self, const struct tool_scope *scope, const json_t *entry,
                          struct tool_offer *offer)
{
    const struct tool_builtins *all = self;
    const struct tool_builtin *row = find(all, ab_tree_str(entry, "name"));
    struct ab_error err = {0};
    json_t *parameters = NULL;
    (void)scope;

    if (!row) { /* of a later release: a worker that has it would go on */
        ab_fail(&err, AB_EINVALID, "this worker has no tool %s", ab_tree_str(entry, "name"));
        tool_offer_fail(offer, &err);
        return NULL;
    }
    ab_json_parse(ab_view_of(row->parameters), &parameters, NULL);
    struct tool_spec spec = {.name = row->name,
                             .description = row->description,
                             .parameters = parameters,
                             .idempotent = row->idempotent,
                             .ops = &row->ops,
                             .data = all->self};
    if (tool_offer_add(offer, &spec, &err))
        tool_offer_fail(offer, &err);
    else
        tool_offer_ready(offer);
    json_decref(parameters);
    return NULL;
}

const struct tool_source tool_builtin_source = {.kind = "name", .open = open_builtin};
