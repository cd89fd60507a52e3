/* The group chat. The sender opens with the task; then one member after the other speaks to all, until a message ends with
 * the group's termination word, max_round messages were spoken, or nobody may speak.
 *
 * Who may speak next: those that the transitions allow after the last speaker (a member without a row there is followed by
 * nobody), without the last speaker unless it may repeat itself, and without those that have replied by themselves
 * max_consecutive_auto_reply times and ask no person. Who of them does:
 *
 *   one alone     that one
 *   round_robin   the next in the list after the last speaker
 *   random        by the run's seed and this step: the same in every fold
 *   auto          the admin's model is asked (model_reply with purpose speaker): exactly one named wins, else it is asked
 *                 again; after CHOICES_MAX answers the next in the list speaks
 *   manual        a person is asked for a name or number; an empty answer: the next in the list; `exit` ends the chat
 *
 * The speaker replies as an agent that is addressed (reply.c). A member that is a groupchat holds one of its own, opened
 * with the conversation so far; its answer is the member's message.
 */
#include "worker/engine/node.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    NOBODY = -1,
    CHOICES_MAX = 3,
    CHOICE_BYTES_MAX = 4096, /* of an answer that are searched for names */
};

struct group {
    struct node node;
    const struct ab_agent *agent, *sender;
    struct transcript transcript;
    struct side *sides; /* the members, as listed */
    int64_t rounds;     /* messages of members so far */
    int last;           /* who spoke last; NOBODY: the opener */
    int speaker;        /* whose turn it is; NOBODY: that must be chosen first */
    bool final;         /* the last message ends the chat */
    json_t *choices;    /* array of text: what the model answered to this choice so far */
    bool asked;         /* a `waiting` for the choice is in the journal */
    struct reply reply; /* of the speaker */
};

static size_t members(const struct group *group)
{
    return group->agent->n_members;
}

/* --- who may speak -------------------------------------------------------------------------------------------- */

static bool lists(const json_t *names, const char *name)
{
    size_t i;
    json_t *one;
    json_array_foreach (names, i, one) {
        if (!strcmp(json_string_value(one), name))
            return true;
    }
    return false;
}

static bool may_repeat(const struct group *group, const char *name)
{
    const json_t *repeat = group->agent->groupchat.allow_repeat_speaker;
    return json_is_array(repeat) ? lists(repeat, name) : !json_is_false(repeat);
}

static bool eligible(const struct group *group, size_t i)
{
    const struct side *side = &group->sides[i];
    const json_t *transitions = group->agent->groupchat.allowed_transitions;

    if (side->agent->human_input == AB_HUMAN_NEVER && reply_full(side))
        return false;
    if (group->last == NOBODY)
        return true;
    if (group->last == (int)i && !may_repeat(group, side->agent->name))
        return false;
    const char *last = group->sides[group->last].agent->name;
    return !transitions || lists(json_object_get(transitions, last), side->agent->name);
}

static size_t count_eligible(const struct group *group)
{
    size_t n = 0;
    for (size_t i = 0; i < members(group); i++)
        n += eligible(group, i);
    return n;
}

/* The next in the list that may; there is one. */
static int next_in_list(const struct group *group)
{
    size_t n = members(group), first = (size_t)(group->last + 1);
    for (size_t i = 0; i < n; i++)
        if (eligible(group, (first + i) % n))
            return (int)((first + i) % n);
    return NOBODY;
}

static int nth_eligible(const struct group *group, size_t nth)
{
    for (size_t i = 0; i < members(group); i++)
        if (eligible(group, i) && !nth--)
            return (int)i;
    return NOBODY;
}

/* A good mixture of the run's seed and the step, whose path no other node has. */
static uint64_t mixed(const struct group *group)
{
    char step[ENGINE_STEP_MAX];
    uint64_t x = group->node.engine->seed + 0x9e3779b97f4a7c15;
    node_step(&group->node, step);
    for (const char *c = step; *c; c++) {
        x = (x ^ (unsigned char)*c) * 0xbf58476d1ce4e5b9;
        x ^= x >> 31;
    }
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static void settle(struct group *group);

static void choose(struct group *group, int speaker)
{
    group->speaker = speaker;
    group->asked = false;
    json_array_clear(group->choices);
    const struct transcript *said = &group->transcript;
    group->reply = (struct reply){
        .final = reply_final(group->sides[speaker].agent, said->n ? said->lines[said->n - 1].content : NULL)};
}

/* What needs nobody's word. */
static void choose_alone(struct group *group)
{
    size_t n = count_eligible(group);
    enum ab_speaker_selection selection = group->agent->groupchat.selection;

    if (!n)
        group->node.stop = ENGINE_STOP_SPEAKERS;
    else if (n == 1 || selection == AB_SPEAKER_ROUND_ROBIN)
        choose(group, next_in_list(group));
    else if (selection == AB_SPEAKER_RANDOM)
        choose(group, nth_eligible(group, mixed(group) % n));
}

/* --- a group chat as a member ---------------------------------------------------------------------------------- */

static bool is_group(const struct group *group)
{
    return group->speaker != NOBODY && group->sides[group->speaker].agent->type == AB_AGENT_GROUPCHAT;
}

static void say(struct group *group, json_t *content, bool filler)
{
    const struct ab_agent *from = group->sides[group->speaker].agent;

    node_say(&group->node, &group->transcript, from, group->agent, content, filler);
    group->final = reply_final(group->agent, content);
    group->rounds++;
    group->last = group->speaker;
    group->speaker = NOBODY;
}

/* A member that is a group chat spoke to its end, perhaps at once. */
static void inner_stopped(struct group *group, struct node *inner)
{
    char *answer = inner->ops->answer(inner);
    json_t *content = json_string(answer);
    node_forget_children(&group->node);
    group->sides[group->speaker].auto_replies++;
    group->node.counter++;
    say(group, content, !*answer);
    json_decref(content);
    free(answer);
}

static void open_inner(struct group *group)
{
    struct node *node = &group->node;
    const struct ab_agent *agent = group->sides[group->speaker].agent;
    struct ab_buf text = {0};

    transcript_text(&group->transcript, 0, &text);
    json_t *task = json_of_buf(&text);
    char *path = ab_format("%s/%llu", node->path, (unsigned long long)node->counter);
    struct node *inner = node_converse(node->engine, node->branch, path, group->sender, agent, task);
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
            choose_alone(group);
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

/* --- the choice of a speaker ------------------------------------------------------------------------------------ */

static bool part_of_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80);
}

/* The name stands at this place of the text, as a word of its own. */
static bool stands_at(struct ab_view text, size_t at, const char *name, bool any_case)
{
    size_t bytes = strlen(name);
    if (text.n - at < bytes || (any_case ? strncasecmp : strncmp)(text.p + at, name, bytes))
        return false;
    return !(at && part_of_word(text.p[at - 1])) && !(at + bytes < text.n && part_of_word(text.p[at + bytes]));
}

/* The member with the longest name that stands there, as one may be a part of another. */
static int member_at(const struct group *group, struct ab_view text, size_t at, bool any_case)
{
    int found = NOBODY;
    for (size_t i = 0; i < members(group); i++) {
        const char *name = group->sides[i].agent->name;
        if (stands_at(text, at, name, any_case) &&
            (found == NOBODY || strlen(name) > strlen(group->sides[found].agent->name)))
            found = (int)i;
    }
    return found;
}

/* The one of those that may speak who is named, however often; NOBODY if there is none or more than one (*several). */
static int named(const struct group *group, struct ab_view text, bool any_case, bool *several)
{
    int found = NOBODY;
    *several = false;
    if (text.n > CHOICE_BYTES_MAX)
        text.n = CHOICE_BYTES_MAX;
    for (size_t at = 0; at < text.n; at++) {
        int here = member_at(group, text, at, any_case);
        if (here == NOBODY)
            continue;
        at += strlen(group->sides[here].agent->name) - 1;
        if (!eligible(group, (size_t)here))
            continue;
        *several |= found != NOBODY && found != here;
        found = here;
    }
    return *several ? NOBODY : found;
}

static int chosen_by_name(const struct group *group, struct ab_view text)
{
    bool several;
    int chosen = named(group, text, false, &several);
    return chosen != NOBODY || several ? chosen : named(group, text, true, &several);
}

static int take_choice_of_model(struct group *group, const struct journal_event *event, struct ab_error *err)
{
    const struct ab_model_reply *reply = &event->model_reply;
    if (!ab_view_is(reply->purpose, "speaker") || !ab_view_is(reply->agent, group->agent->groupchat.admin_name))
        return node_not_wanted(&group->node, event, err);
    json_t *answer = json_stringn(reply->content.p, reply->content.n);
    if (!answer)
        return ab_fail_at(err, AB_EDAMAGED, "content", "the reply of a model in the journal is not UTF-8");
    json_array_append_new(group->choices, answer);
    group->node.counter++;
    int chosen = chosen_by_name(group, reply->content);
    if (chosen == NOBODY && json_array_size(group->choices) >= CHOICES_MAX)
        chosen = next_in_list(group);
    if (chosen != NOBODY)
        choose(group, chosen);
    return 0;
}

/* A number from 1, as the question lists them. */
static int chosen_by_number(const struct group *group, struct ab_view words)
{
    size_t number = 0;
    for (size_t i = 0; i < words.n; i++) {
        if (words.p[i] < '0' || words.p[i] > '9' || number > members(group))
            return NOBODY;
        number = number * 10 + (size_t)(words.p[i] - '0');
    }
    return number && number <= members(group) && eligible(group, number - 1) ? (int)number - 1 : NOBODY;
}

/* Whoever answers without naming one is asked again. */
static int take_choice_of_person(struct group *group, const struct journal_event *event, struct ab_error *err)
{
    struct ab_view words = text_without(event->input.text, "");
    (void)err;
    group->node.counter++;
    group->asked = false;
    if (ab_view_is(words, "exit")) {
        group->node.stop = ENGINE_STOP_HUMAN_EXIT;
        return 0;
    }
    int chosen = words.n ? chosen_by_number(group, words) : next_in_list(group);
    if (chosen == NOBODY)
        chosen = chosen_by_name(group, words);
    if (chosen != NOBODY)
        choose(group, chosen);
    return 0;
}

static int take_choice(struct group *group, const struct journal_event *event, struct ab_error *err)
{
    bool manual = group->agent->groupchat.selection == AB_SPEAKER_MANUAL;

    if (!manual && event->kind == AB_KIND_MODEL_REPLY)
        return take_choice_of_model(group, event, err);
    if (manual && event->kind == AB_KIND_INPUT)
        return take_choice_of_person(group, event, err);
    if (!manual || event->kind != AB_KIND_WAITING)
        return node_not_wanted(&group->node, event, err);
    group->asked = true;
    return 0;
}

static int take_reply(struct group *group, const struct journal_event *event, struct ab_error *err)
{
    bool filler = false;
    json_t *content;
    int code = reply_take(&group->node, &group->sides[group->speaker], &group->reply, event, &content, &filler,
                          &group->node.stop, err);
    if (content)
        say(group, content, filler);
    json_decref(content);
    return code;
}

static int group_apply(struct node *node, const struct journal_event *event, struct ab_error *err)
{
    struct group *group = (struct group *)node;
    if (node->n_children) /* an inner chat has the word */
        return node_not_wanted(node, event, err);
    int code = group->speaker == NOBODY ? take_choice(group, event, err) : take_reply(group, event, err);
    settle(group);
    return code;
}

/* --- what is wanted --------------------------------------------------------------------------------------------- */

/* The names of those that may speak, with or without their numbers. */
static void list_names(const struct group *group, bool numbers, struct ab_buf *out)
{
    size_t before = out->n;
    for (size_t i = 0; i < members(group); i++) {
        if (!eligible(group, i))
            continue;
        ab_buf_text(out, out->n > before ? ", " : "");
        if (numbers)
            ab_buf_format(out, "%zu ", i + 1);
        ab_buf_text(out, group->sides[i].agent->name);
    }
}

/* Names are ASCII: they may be cut anywhere. */
static void want_choice_of_person(const struct group *group, struct engine_effect *effect)
{
    struct ab_buf text = {0};
    ab_buf_text(&text,
                "Who speaks next? A name or number; empty: the next in the list; `exit` ends the chat: ");
    list_names(group, true, &text);
    snprintf(effect->prompt, sizeof effect->prompt, "%s", ab_buf_cstr(&text));
    ab_buf_finish(&text);
    effect->want = ENGINE_HUMAN;
    effect->asked = group->asked;
}

static void want_choice(const struct group *group, struct engine_effect *effect)
{
    const char *admin = group->agent->groupchat.admin_name;

    *effect =
        (struct engine_effect){.agent = admin, .to = group->agent->name, .after = group->node.branch->events};
    node_step(&group->node, effect->step);
    if (group->agent->groupchat.selection == AB_SPEAKER_MANUAL) {
        want_choice_of_person(group, effect);
        return;
    }
    effect->want = ENGINE_MODEL;
    effect->llm = &group->agent->llm;
    effect->purpose = "speaker";
    effect->call_index = usage_calls(&group->node.branch->usage, admin);
}

static size_t group_next(const struct node *node, struct engine_effect *effects, size_t max)
{
    const struct group *group = (const struct group *)node;
    (void)max;
    if (group->speaker == NOBODY)
        want_choice(group, effects);
    else
        reply_effect(node, &group->sides[group->speaker], &group->reply, group->agent, effects);
    return 1;
}

/* --- what a model is told --------------------------------------------------------------------------------------- */

static const char *role_of(const struct ab_agent *agent)
{
    if (agent->description && *agent->description)
        return agent->description;
    return agent->system_message ? agent->system_message : "";
}

static json_t *choice_system(const struct group *group)
{
    struct ab_buf text = {0};
    if (group->agent->system_message && *group->agent->system_message)
        ab_buf_format(&text, "%s\n\n", group->agent->system_message);
    ab_buf_text(&text,
                "Several members talk with each other, and you decide who of them speaks next. The members:\n");
    for (size_t i = 0; i < members(group); i++)
        ab_buf_format(&text, "\n%s: %s", group->sides[i].agent->name, role_of(group->sides[i].agent));
    ab_buf_text(
        &text,
        "\n\nRead what was said so far, then answer with the name of the next speaker and nothing else.");
    return json_of_buf(&text);
}

static void ask_for_choice(const struct group *group, json_t *messages, const char *why)
{
    struct ab_buf text = {0};
    ab_buf_format(&text, "%sWho speaks next? Answer with exactly one of these names: ", why);
    list_names(group, false, &text);
    messages_add_new(messages, "user", json_of_buf(&text));
}

/* Others' words with the name of who said them; the sender's as they are. */
static json_t *heard(const struct group *group, const struct line *line)
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

static json_t *choice_messages(const struct group *group)
{
    json_t *messages = json_array(), *answer;
    size_t i;

    messages_add_new(messages, "system", choice_system(group));
    for (i = 0; i < group->transcript.n; i++)
        messages_add_new(messages, "user", heard(group, &group->transcript.lines[i]));
    ask_for_choice(group, messages, "");
    json_array_foreach (group->choices, i, answer) {
        bool several;
        named(group, ab_view(json_string_value(answer), json_string_length(answer)), false, &several);
        messages_add(messages, "assistant", answer);
        ask_for_choice(group, messages,
                       several ? "You named more than one member. "
                               : "You named no member who may speak now. ");
    }
    return messages;
}

static json_t *speaker_messages(const struct group *group, bool history)
{
    const struct ab_agent *agent = group->sides[group->speaker].agent;
    json_t *messages = json_array(), *earlier;
    size_t i;

    if (agent->system_message && *agent->system_message)
        messages_add_new(messages, "system", json_string(agent->system_message));
    json_array_foreach (history ? group->node.engine->history : NULL, i, earlier) {
        const char *role = json_string_value(json_object_get(earlier, "role"));
        messages_add(messages, role && !strcmp(role, "assistant") ? "assistant" : "user",
                     json_object_get(earlier, "content"));
    }
    for (i = 0; i < group->transcript.n; i++) {
        const struct line *line = &group->transcript.lines[i];
        if (line->from == agent)
            messages_add(messages, "assistant", line->content);
        else
            messages_add_new(messages, "user", heard(group, line));
    }
    return messages;
}

static json_t *group_messages(const struct node *node, const struct engine_effect *effect, bool history)
{
    const struct group *group = (const struct group *)node;
    return effect->purpose ? choice_messages(group) : speaker_messages(group, history);
}

static char *group_answer(const struct node *node)
{
    char *answer = transcript_answer(&((const struct group *)node)->transcript);
    return answer ? answer : ab_strdup("");
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
                                          .messages = group_messages,
                                          .child_stopped = group_child_stopped,
                                          .answer = group_answer,
                                          .destroy = group_destroy};

static const struct ab_agent *author(const struct group *group, const json_t *message)
{
    const char *name = json_string_value(json_object_get(message, "name"));
    for (size_t i = 0; name && i < members(group); i++)
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
                          const struct ab_agent *sender, const struct ab_agent *receiver, json_t *content)
{
    struct group *group = ab_calloc(1, sizeof *group);
    node_init(&group->node, &group_ops, engine, branch, path);
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
