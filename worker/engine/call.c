/* An agent or a workflow that another agent's model calls as a tool: a run of its own inside the caller's step. What it is told
 * is the call's message, and nothing else of what was said; its answer is the call's result (tools.c).
 *
 *   {agent}      a chat that nobody but the agent speaks in: the caller asks and says nothing more
 *   {workflow}   all that the workflow is, with its own sender, its conditions, and its summary_method
 *
 * The node wants one thing itself: the summary by a model. */
#include "worker/engine/node.h"

#include <stdio.h>
#include <stdlib.h>

struct call {
    struct node node;
    struct scope scope;
};

static bool sums_up(const struct call *call)
{
    return summary_wanted(call->node.engine, &call->scope);
}

/* To be called after each change. */
static void settle(struct call *call)
{
    if (call->scope.root->stop && !sums_up(call))
        call->node.stop = call->scope.root->stop;
}

static void want_summary(const struct call *call, struct engine_effect *effect)
{
    summary_effect(call->node.engine, &call->scope, effect);
    node_step(&call->node, effect->step);
}

static int call_apply(struct node *node, const struct journal_event *event, struct ab_error *err)
{
    struct call *call = (struct call *)node;
    struct engine_effect wanted;
    if (event->kind != AB_KIND_MODEL_REPLY || !sums_up(call))
        return node_not_wanted(node, event, err);
    want_summary(call, &wanted);
    int code = summary_take(&call->scope, &wanted, event, err);
    if (!code)
        settle(call);
    return code;
}

static size_t call_next(const struct node *node, struct engine_effect *effects, size_t max)
{
    (void)max;
    want_summary((const struct call *)node, effects);
    return 1;
}

static void call_prompt(const struct node *node, const struct engine_effect *effect, struct prompt *prompt)
{
    (void)effect;
    summary_prompt(node->engine, &((const struct call *)node)->scope, prompt);
}

static void call_child_stopped(struct node *node, struct node *child)
{
    (void)child;
    settle((struct call *)node);
}

static const struct line *call_last(const struct node *node)
{
    const struct node *root = ((const struct call *)node)->scope.root;
    return root->ops->last(root);
}

static char *call_answer(const struct node *node)
{
    return scope_answer(&((const struct call *)node)->scope);
}

static void call_destroy(struct node *node)
{
    scope_finish(&((struct call *)node)->scope);
    free(node);
}

static const struct node_ops call_ops = {.name = "call",
                                         .apply = call_apply,
                                         .next = call_next,
                                         .prompt = call_prompt,
                                         .child_stopped = call_child_stopped,
                                         .last = call_last,
                                         .answer = call_answer,
                                         .destroy = call_destroy};

/* Who asks has no voice of its own in the conversation: the agent that calls has one of its own, elsewhere. */
static void make_asker(struct ab_agent *asker, const struct ab_agent *caller)
{
    *asker = (struct ab_agent){.name = caller->name,
                               .type = AB_AGENT_USERPROXY,
                               .human_input = AB_HUMAN_NEVER,
                               .default_auto_reply = "",
                               .terminates = true,
                               .termination_word = "TERMINATE"};
}

static struct node *ask_agent(struct call *call, struct branch *branch, const struct ab_agent *caller,
                              const struct ab_agent *agent)
{
    char *path = ab_format("%s/chat", call->node.path);
    make_asker(&branch->asker, caller);
    struct node *root =
        node_converse(call->node.engine, branch, path, &branch->asker, agent, call->scope.content, NULL);
    free(path);
    return root;
}

struct node *call_create(struct engine *engine, const char *path, const struct ab_agent *caller,
                         const struct ab_delegate *delegate, const char *message)
{
    struct call *call = ab_calloc(1, sizeof *call);
    struct branch *branch = engine_branch(engine, path, NULL);
    branch->call = branch;
    branch_folder(branch);
    node_init(&call->node, &call_ops, engine, branch, path);
    call->scope =
        (struct scope){.workflow = delegate->workflow, .content = json_string(message), .call = branch};
    if (delegate->workflow) {
        char *below = ab_format("%s/", path);
        scope_begin(&call->scope, engine, below, branch);
        free(below);
    } else {
        call->scope.root = ask_agent(call, branch, caller, delegate->agent);
    }
    node_adopt(&call->node, call->scope.root);
    settle(call);
    return &call->node;
}
