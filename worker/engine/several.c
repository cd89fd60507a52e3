/* The sender talks with each of its receivers: in order, each given the results so far, or with all at the same time,
 * each conversation its own branch. Neither wants anything itself; both are over when their last chat is. */
#include "worker/engine/node.h"

#include <stdio.h>
#include <stdlib.h>

struct several {
    struct node node;
    const struct scope *scope; /* whose root it is */
};

static int nothing_wanted(struct node *node, const struct journal_event *event, struct ab_error *err)
{
    return node_not_wanted(node, event, err);
}

static void several_destroy(struct node *node)
{
    free(node);
}

/* --- one after the other -------------------------------------------------------------------------------------- */

static void add_part(struct ab_buf *text, const char *title, const char *words)
{
    if (text->n)
        ab_buf_text(text, "\n\n");
    ab_buf_format(text, "%s%s", title, words);
}

static void add_results(struct ab_buf *text, struct node *const *before, size_t n_before)
{
    if (n_before)
        add_part(text, "", "Results so far:");
    for (size_t i = 0; i < n_before; i++) {
        char *answer = node_answer(before[i]);
        char *title = ab_format("%s: ", before[i]->receiver->name);
        add_part(text, title, answer);
        free(title);
        free(answer);
    }
}

json_t *sequence_task(const json_t *content, struct node *const *before, size_t n_before,
                      const struct ab_agent *receiver)
{
    const char *own = receiver->task_instruction;
    struct ab_buf text = {0};

    if (!n_before && !(own && *own))
        return json_deep_copy(content);
    if (json_is_string(content))
        ab_buf_add(&text, json_string_value(content), json_string_length(content));
    add_results(&text, before, n_before);
    if (own && *own)
        add_part(&text, "Your task:\n\n", own);
    if (json_is_string(content))
        return json_of_buf(&text);
    json_t *parts = json_deep_copy(content);
    json_array_append_new(parts, json_pack("{ss so}", "type", "text", "text", json_of_buf(&text)));
    return parts;
}

/* A step may be over before anybody replied. */
static void go_on(struct node *node)
{
    struct engine *engine = node->engine;
    const struct scope *scope = ((struct several *)node)->scope;
    const struct ab_workflow *workflow = scope->workflow;

    while (node->n_children < workflow->n_receivers) {
        const struct ab_agent *receiver = &workflow->receivers[node->n_children];
        json_t *task = sequence_task(scope->content, node->children, node->n_children, receiver);
        char *path = ab_format("%s/%zu", node->path, node->n_children + 1);
        struct node *child =
            node_converse(engine, node->branch, path, &workflow->sender, receiver, task, workflow->termination);
        node_adopt(node, child);
        free(path);
        json_decref(task);
        if (!child->stop)
            return;
    }
    node->stop = ENGINE_STOP_COMPLETED;
}

static void sequence_child_stopped(struct node *node, struct node *child)
{
    (void)child;
    go_on(node);
}

/* Of the last step; of an earlier one if the last had nothing to say. */
static const struct line *sequence_last(const struct node *node)
{
    return transcript_answer(&node->branch->log);
}

static const struct node_ops sequence_ops = {.name = "sequence",
                                             .apply = nothing_wanted,
                                             .child_stopped = sequence_child_stopped,
                                             .last = sequence_last,
                                             .destroy = several_destroy};

struct node *sequence_create(struct engine *engine, struct branch *branch, const char *path,
                             const struct scope *scope)
{
    struct several *several = ab_calloc(1, sizeof *several);
    several->scope = scope;
    node_init(&several->node, &sequence_ops, engine, branch, path);
    go_on(&several->node);
    return &several->node;
}

/* --- all at the same time ------------------------------------------------------------------------------------- */

static void settle(struct node *node)
{
    for (size_t i = 0; i < node->n_children; i++)
        if (!node->children[i]->stop)
            return;
    node->stop = ENGINE_STOP_COMPLETED;
}

static void parallel_child_stopped(struct node *node, struct node *child)
{
    (void)child;
    settle(node);
}

/* The answers in the order in which the receivers are listed, whoever was first. */
static const struct line *parallel_last(const struct node *node)
{
    (void)node;
    return NULL;
}

static char *parallel_answer(const struct node *node)
{
    struct ab_buf text = {0};
    for (size_t i = 0; i < node->n_children; i++) {
        char *answer = node_answer(node->children[i]);
        if (*answer)
            add_part(&text, "", answer);
        free(answer);
    }
    ab_buf_cstr(&text);
    return ab_buf_detach(&text);
}

static const struct node_ops parallel_ops = {.name = "parallel",
                                             .apply = nothing_wanted,
                                             .child_stopped = parallel_child_stopped,
                                             .last = parallel_last,
                                             .answer = parallel_answer,
                                             .destroy = several_destroy};

struct node *parallel_create(struct engine *engine, const char *path, const struct scope *scope)
{
    struct several *several = ab_calloc(1, sizeof *several);
    struct node *node = &several->node;
    several->scope = scope;
    node_init(node, &parallel_ops, engine, NULL, path);
    for (size_t i = 0; i < scope->workflow->n_receivers; i++) {
        char *below = ab_format("%s/%zu", path, i + 1);
        struct branch *branch = engine_branch(engine, below, scope->call);
        if (scope->call)
            branch_folder(branch);
        else
            snprintf(branch->folder, sizeof branch->folder, "chat-%zu", i + 1);
        node_adopt(node,
                   node_converse(engine, branch, below, &scope->workflow->sender,
                                 &scope->workflow->receivers[i], scope->content, scope->workflow->termination));
        free(below);
    }
    settle(node);
    return node;
}
