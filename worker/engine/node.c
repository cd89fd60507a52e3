/* What all kinds of nodes share: their place in the tree, which of them an event is for, and what they tell. */
#include "worker/engine/node.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void node_step(const struct node *node, char step[ENGINE_STEP_MAX])
{
    int bytes = snprintf(step, ENGINE_STEP_MAX, "%s:%" PRIu64, node->path, node->counter);
    assert(bytes > 0 && bytes < ENGINE_STEP_MAX); /* path leaves room for any counter */
}

/* --- the tree ------------------------------------------------------------------------------------------------- */

void node_init(struct node *node, const struct node_ops *ops, struct engine *engine, struct branch *branch,
               const char *path)
{
    size_t bytes = strlen(path);
    assert(bytes < sizeof node->path); /* workflows have a cap on their depth */
    memcpy(node->path, path, bytes + 1);
    node->ops = ops;
    node->engine = engine;
    node->branch = branch;
    node->counter = 1;
}

struct node *node_converse(struct engine *engine, struct branch *branch, const char *path,
                           const struct ab_agent *sender, const struct ab_agent *receiver, json_t *content,
                           const struct ab_condition *termination)
{
    const struct ab_condition *own = receiver->groupchat.termination;
    struct node *node =
        receiver->type == AB_AGENT_GROUPCHAT
            ? group_create(engine, branch, path, sender, receiver, content, own ? own : termination)
            : chat_create(engine, branch, path, sender, receiver, content, termination);
    node->receiver = receiver;
    return node;
}

void node_adopt(struct node *node, struct node *child)
{
    node->children = ab_realloc(node->children, (node->n_children + 1) * sizeof(struct node *));
    node->children[node->n_children++] = child;
}

void node_forget_children(struct node *node)
{
    for (size_t i = 0; i < node->n_children; i++)
        node_destroy(node->children[i]);
    free(node->children);
    node->children = NULL;
    node->n_children = 0;
}

void node_destroy(struct node *node)
{
    if (!node)
        return;
    node_forget_children(node);
    json_decref(node->faulty);
    ab_buf_finish(&node->code.output);
    tools_finish(node);
    node->ops->destroy(node);
}

/* In order of the paths, whichever of several calls was announced first. */
struct branch *engine_branch(struct engine *engine, const char *path, const struct branch *call)
{
    engine->branches = ab_realloc(engine->branches, (engine->n_branches + 1) * sizeof(struct branch *));
    struct branch *branch = ab_calloc(1, sizeof *branch);
    branch->path = ab_strdup(path);
    branch->call = call;
    branch->events = engine->events;
    size_t at = engine->n_branches++;
    for (; at && strverscmp(engine->branches[at - 1]->path, path) > 0; at--)
        engine->branches[at] = engine->branches[at - 1];
    engine->branches[at] = branch;
    return branch;
}

/* Its path as a name; one that would be too long is told by a number that follows from it. */
void branch_folder(struct branch *branch)
{
    int bytes = snprintf(branch->folder, sizeof branch->folder, "call-%s", branch->path);
    uint64_t number = 0xcbf29ce484222325;
    for (const char *c = branch->path; *c; c++)
        number = (number ^ (unsigned char)*c) * 0x100000001b3;
    if (bytes >= (int)sizeof branch->folder)
        snprintf(branch->folder, sizeof branch->folder, "call-%016" PRIx64, number);
    for (char *c = branch->folder; (c = strchr(c, '/'));)
        *c = '-';
}

/* --- events --------------------------------------------------------------------------------------------------- */

/* The step is the node's own, or one of a node below it. */
static bool covers(const struct node *node, struct ab_view step)
{
    size_t bytes = strlen(node->path);
    return step.n > bytes && !memcmp(step.p, node->path, bytes) &&
           (step.p[bytes] == ':' || step.p[bytes] == '/');
}

static struct node *child_of_step(const struct node *node, struct ab_view step)
{
    for (size_t i = 0; i < node->n_children; i++)
        if (!node->children[i]->stop && covers(node->children[i], step))
            return node->children[i];
    return NULL;
}

struct node *node_of_step(struct node *node, struct ab_view step)
{
    for (struct node *below; (below = child_of_step(node, step));)
        node = below;
    char own[ENGINE_STEP_MAX];
    node_step(node, own);
    return !node->stop && node->ops->next && ab_view_is(step, own) ? node : NULL;
}

int node_not_wanted(const struct node *node, const struct journal_event *event, struct ab_error *err)
{
    char step[ENGINE_STEP_MAX];
    node_step(node, step);
    return ab_fail_at(err, AB_ENONDETERMINISM, step,
                      "the journal has a %s at step %.*s where the workflow does not want one",
                      ab_event_rows[event->kind].kind, AB_VIEW_FMT(event->step));
}

int node_take(struct node *node, const struct journal_event *event, struct ab_error *err)
{
    struct node *child = child_of_step(node, event->step);
    if (event->kind == AB_KIND_MODEL_REPLY)
        ending_count(node, event);
    if (!child)
        return node->ops->apply(node, event, err);
    bool fails = node->engine->failure.code; /* by what this event means further up */
    int code = node_take(child, event, err);
    if (code || fails || tools_heed(node, child))
        return code;
    if (child->stop && !node->engine->failure.code)
        node->ops->child_stopped(node, child);
    return 0;
}

char *node_answer(const struct node *node)
{
    return node->ops->answer ? node->ops->answer(node) : line_answer(node->ops->last(node));
}

size_t node_next(const struct node *node, struct engine_effect *effects, size_t max)
{
    size_t n = 0, going = 0;
    for (size_t i = 0; i < node->n_children && n < max; i++) {
        if (node->children[i]->stop)
            continue;
        going++;
        n += node_next(node->children[i], effects + n, max - n);
    }
    bool waits = going && !node->tools.open; /* of several calls some may be agents and some not */
    return waits || n == max || node->stop ? n : n + node->ops->next(node, effects + n, max - n);
}

/* --- talk ----------------------------------------------------------------------------------------------------- */

void node_say(struct node *node, struct transcript *transcript, const struct ab_agent *from,
              const struct ab_agent *to, json_t *content, bool filler)
{
    transcript_add(transcript, from, to, content, node->engine->event_ms, filler);
    transcript_add(&node->branch->log, from, to, content, node->engine->event_ms, filler);
}

void messages_add(json_t *messages, const char *role, json_t *content)
{
    json_t *message = json_object();
    json_object_set_new(message, "role", json_string(role));
    json_object_set(message, "content", content);
    json_array_append_new(messages, message);
}

void messages_add_new(json_t *messages, const char *role, json_t *content)
{
    messages_add(messages, role, content);
    json_decref(content);
}

void messages_add_own(json_t *messages, const struct line *line)
{
    json_array_extend(messages, line->work);
    messages_add(messages, "assistant", line->content);
}

json_t *json_of_buf(struct ab_buf *text)
{
    json_t *string = json_stringn(text->p ? text->p : "", text->n);
    ab_buf_finish(text);
    return string;
}
