/* The group chat. The sender opens with the task; then one member after the other speaks to all, until a message ends with
 * the group's termination word, max_round messages were spoken, or nobody may speak (eligible.c, choice.c).
 *
 * The speaker replies as an agent that is addressed (reply.c). A member that is a groupchat holds one of its own, opened
 * with the conversation so far; its answer is the member's message.
 */
#include "worker/engine/group.h"

#include <stdlib.h>

/* --- a group chat as a member ---------------------------------------------------------------------------------- */

static bool is_group(const struct group *group)
{
    return group->speaker != NOBODY && group->sides[group->speaker].agent->type == AB_AGENT_GROUPCHAT;
}

static void say(struct group *group, json_t *content, bool filler)
{
    const struct ab_agent *from = group->sides[group->speaker].agent;

    node_say(&group->node, &group->transcript, from, group->agent, content, filler);
    tools_say(&group->node, &group->transcript);
    ending_judge(&group->node, &group->sides[group->speaker], content);
    group->final = reply_final(group->agent, content);
    group->rounds++;
    group->last = group->speaker;
    group->speaker = NOBODY;
}

/* A member that is a group chat spoke to its end, perhaps at once. */
static void inner_stopped(struct group *group, struct node *inner)
{
    char *answer = node_answer(inner);
    json_t *content = json_string(answer);
    node_forget_children(&group->node);
    group->sides[group->speaker].auto_replies++;
    group->node.counter++;
    say(group, content, !*answer);
    json_decref(content);
    free(answer);
}

/* The conversation so far; its words only before version 3. */
static json_t *opening(const struct group *group)
{
    struct ab_buf text = {0};
    if (group->node.engine->version > 2)
        return transcript_content(&group->transcript);
    transcript_text(&group->transcript, &text);
    return json_of_buf(&text);
}

static void open_inner(struct group *group)
{
    struct node *node = &group->node;
    const struct ab_agent *agent = group->sides[group->speaker].agent;
    json_t *task = opening(group);
    char *path = ab_format("%s/%llu", node->path, (unsigned long long)node->counter);
    struct node *inner = node_converse(node->engine, node->branch, path, group->sender, agent, task, NULL);
    node_adopt(node, inner);
    free(path);
    json_decref(task);
    if (inner->stop)
        inner_stopped(group, inner);
}

/* --- going on -------------------------------------------------------------------------------------------------- */

static void settle_speaker(struct group *group)
{
    const struct side *side = &group->sides[group->speaker];
    bool ends = reply_move(side, &group->reply) == MOVE_STOP;

    if (ends)
        group->node.stop = group->reply.final ? ENGINE_STOP_TERMINATION : ENGINE_STOP_AUTO_REPLIES;
    else if (is_group(group) && !group->node.n_children)
        open_inner(group);
}

static bool settled(const struct group *group)
{
    if (group->node.stop || group->node.n_children)
        return true;
    return group->speaker != NOBODY && !is_group(group) &&
           reply_move(&group->sides[group->speaker], &group->reply) != MOVE_STOP;
}

/* To be called after each change: until the chat is over or something is wanted. */
static void settle(struct group *group)
{
    while (!settled(group)) {
        if (group->speaker != NOBODY) {
            settle_speaker(group);
        } else if (group->final) {
            group->node.stop = ENGINE_STOP_TERMINATION;
        } else if (group->rounds >= group->agent->groupchat.max_round) {
            group->node.stop = ENGINE_STOP_ROUNDS;
        } else {
            group_choose_alone(group);
            if (group->speaker == NOBODY)
                return;
        }
    }
}

static void group_child_stopped(struct node *node, struct node *child)
{
    struct group *group = (struct group *)node;
    inner_stopped(group, child);
    settle(group);
}

static int take_reply(struct group *group, const struct journal_event *event, struct ab_error *err)
{
    bool filler = false;
    json_t *content;
    int code = reply_take(&group->node, &group->sides[group->speaker], &group->reply, event, &content, &filler,
                          &group->node.stop, err);
    if (event->kind == AB_KIND_MODEL_REPLY || event->kind == AB_KIND_CODE_RESULT)
        group->chosen = NULL;
    if (content)
        say(group, content, filler);
    json_decref(content);
    return code;
}

static int group_apply(struct node *node, const struct journal_event *event, struct ab_error *err)
{
    struct group *group = (struct group *)node;
    if (node->n_children && is_group(group)) /* an inner chat has the word */
        return node_not_wanted(node, event, err);
    int code = group->speaker == NOBODY ? group_take_choice(group, event, err) : take_reply(group, event, err);
    settle(group);
    return code;
}

/* --- what is wanted --------------------------------------------------------------------------------------------- */

static size_t group_next(const struct node *node, struct engine_effect *effects, size_t max)
{
    const struct group *group = (const struct group *)node;
    if (group->speaker != NOBODY) {
        size_t n =
            reply_effects(node, &group->sides[group->speaker], &group->reply, group->agent, effects, max);
        for (size_t i = 0; i < n; i++)
            effects[i].chosen = group->chosen;
        return n;
    }
    group_want_choice(group, effects);
    return 1;
}

/* Others' words with the name of who said them; the sender's as they are. */
json_t *group_heard(const struct group *group, const struct line *line)
{
    if (line->from == group->sender)
        return json_incref(line->content);
    if (json_is_string(line->content)) {
        struct ab_buf text = {0};
        ab_buf_format(&text, "%s: %s", line->from->name, json_string_value(line->content));
        return json_of_buf(&text);
    }
    struct ab_buf name = {0};
    ab_buf_format(&name, "%s:", line->from->name);
    json_t *parts = json_pack("[{ss so}]", "type", "text", "text", json_of_buf(&name));
    json_array_extend(parts, line->content);
    return parts;
}

/* --- what a model is told --------------------------------------------------------------------------------------- */

static void speaker_prompt(const struct group *group, struct prompt *prompt)
{
    const struct ab_agent *agent = group->sides[group->speaker].agent;

    prompt_open(prompt, &group->node, agent, "assistant");
    for (size_t i = 0; i < group->transcript.n; i++) {
        const struct line *line = &group->transcript.lines[i];
        if (line->from == agent)
            messages_add_own(prompt->messages, line);
        else
            messages_add_new(prompt->messages, "user", group_heard(group, line));
    }
    tools_prompt(&group->node, prompt);
}

static void group_prompt(const struct node *node, const struct engine_effect *effect, struct prompt *prompt)
{
    const struct group *group = (const struct group *)node;
    if (effect->purpose)
        group_choice_prompt(group, prompt);
    else
        speaker_prompt(group, prompt);
}

static const struct line *group_last(const struct node *node)
{
    return transcript_answer(&((const struct group *)node)->transcript);
}

/* --- making ------------------------------------------------------------------------------------------------------ */

static void group_destroy(struct node *node)
{
    struct group *group = (struct group *)node;
    transcript_finish(&group->transcript);
    json_decref(group->choices);
    free(group->sides);
    free(group);
}

static const struct node_ops group_ops = {.name = "groupchat",
                                          .apply = group_apply,
                                          .next = group_next,
                                          .prompt = group_prompt,
                                          .child_stopped = group_child_stopped,
                                          .last = group_last,
                                          .destroy = group_destroy};

static const struct ab_agent *author(const struct group *group, const json_t *message)
{
    const char *name = json_string_value(json_object_get(message, "name"));
    for (size_t i = 0; name && i < group_members(group); i++)
        if (!strcmp(group->sides[i].agent->name, name))
            return group->sides[i].agent;
    return group->sender;
}

/* What stands in the workflow comes before the task. A message of one of the members is its own; all others are the
 * sender's. */
static void open_chat(struct group *group, json_t *content)
{
    size_t i;
    json_t *message;
    json_array_foreach (group->agent->groupchat.messages, i, message) {
        json_t *said = json_is_string(message) ? message : json_object_get(message, "content");
        node_say(&group->node, &group->transcript, author(group, message), group->agent, said, true);
    }
    node_say(&group->node, &group->transcript, group->sender, group->agent, content, true);
    group->final = reply_final(group->agent, content);
}

struct node *group_create(struct engine *engine, struct branch *branch, const char *path,
                          const struct ab_agent *sender, const struct ab_agent *receiver, json_t *content,
                          const struct ab_condition *termination)
{
    struct group *group = ab_calloc(1, sizeof *group);
    node_init(&group->node, &group_ops, engine, branch, path);
    ending_begin(&group->node, termination);
    group->agent = receiver;
    group->sender = sender;
    group->last = group->speaker = NOBODY;
    group->choices = json_array();
    group->sides = ab_calloc(receiver->n_members, sizeof *group->sides);
    for (size_t i = 0; i < receiver->n_members; i++)
        group->sides[i].agent = &receiver->members[i];
    open_chat(group, content);
    settle(group);
    return &group->node;
}
