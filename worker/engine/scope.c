/* A workflow, from its message to its answer: which node is its root, and by which way its answer comes of that. The job's own
 * is one; each call of a workflow, or of an agent alone, is another (call.c). */
#include "worker/engine/node.h"

#include <stdlib.h>

/* A sequence or an autonomous workflow of one receiver is a chat with it. In the first version no step had a task. */
static struct node *make_root(const struct scope *scope, struct engine *engine, const char *below,
                              struct branch *branch)
{
    const struct ab_workflow *workflow = scope->workflow;
    bool tasks = workflow->type == AB_WORKFLOW_SEQUENTIAL && engine->version > 1;
    bool several = workflow->n_receivers > 1;
    bool at_once = several && workflow->type == AB_WORKFLOW_AUTONOMOUS;
    char *path = ab_format("%s%s", below, at_once ? "chats" : several ? "steps" : "chat");
    struct node *root;

    if (!at_once && !branch)
        branch = engine_branch(engine, "", NULL);
    if (at_once) {
        root = parallel_create(engine, path, scope);
    } else if (several) {
        root = sequence_create(engine, branch, path, scope);
    } else {
        json_t *task = tasks ? sequence_task(scope->content, NULL, 0, &workflow->receivers[0])
                             : json_incref(scope->content);
        root = node_converse(engine, branch, path, &workflow->sender, &workflow->receivers[0], task,
                             workflow->termination);
        json_decref(task);
    }
    free(path);
    return root;
}

void scope_begin(struct scope *scope, struct engine *engine, const char *below, struct branch *branch)
{
    scope->root = make_root(scope, engine, below, branch);
}

char *scope_answer(const struct scope *scope)
{
    if (!scope->root || (scope->workflow && scope->workflow->summary == AB_SUMMARY_NONE))
        return ab_strdup("");
    return scope->summary ? ab_strdup(scope->summary) : node_answer(scope->root);
}

void scope_finish(struct scope *scope)
{
    json_decref(scope->content);
    free(scope->summary);
    *scope = (struct scope){0};
}
