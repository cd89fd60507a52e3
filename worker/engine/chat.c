/* The two-agent chat. The sender opens with the user's message; then whoever was addressed replies, by the first of
 * these that applies: the chat ends or a person is asked; the agent's model; its default_auto_reply (which may be empty,
 * and is said all the same).
 *
 * When an agent is addressed (rows: its human_input_mode; "full" = it has replied by itself
 * max_consecutive_auto_reply times since it last had a person's words; "final" = what it was told ends with its
 * termination word):
 *
 *              final          full           otherwise
 *   NEVER      end            end            reply
 *   TERMINATE  ask            ask            reply
 *   ALWAYS     ask            ask            ask
 *
 * A person's answer "exit" ends the chat; an empty one ends it if the message was final, and else lets the agent reply
 * by itself; any other is the agent's turn and sets its count back to 0.
 */
#include "worker/engine/node.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct side {
    const struct ab_agent *agent;
    int64_t auto_replies; /* by itself, since a person last spoke for it */
};
enum { SENDER, RECEIVER };

struct chat {
    struct node node;
    struct side sides[2];
    int addressed; /* whose reply is due */
    bool final;    /* the message it replies to ends the chat for it */
    bool declined; /* a person was asked for this reply and let the agent answer */
    bool asked;    /* a `waiting` for this step is in the journal */
};

enum move { MOVE_STOP, MOVE_ASK, MOVE_MODEL, MOVE_DEFAULT };

static enum move own_reply(const struct ab_agent *agent)
{
    return agent->llm.n_entries ? MOVE_MODEL : MOVE_DEFAULT;
}

static enum move decide(const struct chat *chat, enum engine_stop *stop)
{
    const struct side *side = &chat->sides[chat->addressed];
    bool full = side->auto_replies >= side->agent->max_consecutive_auto_reply;

    *stop = chat->final ? ENGINE_STOP_TERMINATION : ENGINE_STOP_AUTO_REPLIES;
    if (chat->declined)
        return own_reply(side->agent);
    if (side->agent->human_input == AB_HUMAN_ALWAYS)
        return MOVE_ASK;
    if (!full && !chat->final)
        return own_reply(side->agent);
    return side->agent->human_input == AB_HUMAN_NEVER ? MOVE_STOP : MOVE_ASK;
}

/* To be called after each change: a chat that nobody continues is over. */
static void settle(struct chat *chat)
{
    enum engine_stop stop;
    if (!chat->node.stop && decide(chat, &stop) == MOVE_STOP)
        chat->node.stop = stop;
}

/* `from` has spoken: the other one is addressed. */
static void say(struct chat *chat, int from, json_t *content, int64_t at_ms, bool filler)
{
    const struct ab_agent *to = chat->sides[!from].agent;
    struct ab_buf text = {0};

    transcript_add(&chat->node.engine->transcript, chat->sides[from].agent, to, content, at_ms, filler);
    content_text(content, &text);
    chat->final = to->terminates && text_ends_with(ab_buf_view(&text), to->termination_word);
    ab_buf_finish(&text);
    chat->addressed = !from;
    chat->declined = false;
}

static int not_wanted(const struct node *node, const struct journal_event *event, struct ab_error *err)
{
    char step[ENGINE_STEP_MAX];
    node_step(node, step);
    return ab_fail_at(err, AB_ENONDETERMINISM, step,
                      "the journal has a %s at step %.*s where the workflow does not want one",
                      ab_event_rows[event->kind].kind, AB_VIEW_FMT(event->step));
}

/* --- the events ---------------------------------------------------------------------------------------------- */

static int take_model_reply(struct chat *chat, const struct journal_event *event, struct ab_error *err)
{
    const struct ab_model_reply *reply = &event->model_reply;
    struct side *side = &chat->sides[chat->addressed];

    if (!ab_view_is(reply->agent, side->agent->name))
        return not_wanted(&chat->node, event, err);
    json_t *content = json_stringn(reply->content.p, reply->content.n);
    if (!content)
        return ab_fail_at(err, AB_EDAMAGED, "content", "the reply of a model in the journal is not UTF-8");
    side->auto_replies++;
    say(chat, chat->addressed, content, event->at_ms, false);
    json_decref(content);
    return 0;
}

static int take_turn(struct chat *chat, const struct journal_event *event, struct ab_error *err)
{
    struct side *side = &chat->sides[chat->addressed];
    struct ab_view said = ab_any_str(event->turn.content);

    if (!ab_view_is(event->turn.agent, side->agent->name) || !said.p ||
        !ab_view_is(said, side->agent->default_auto_reply))
        return not_wanted(&chat->node, event, err);
    json_t *content = json_string(side->agent->default_auto_reply);
    side->auto_replies++;
    say(chat, chat->addressed, content, event->at_ms, true);
    json_decref(content);
    return 0;
}

static int take_input(struct chat *chat, const struct journal_event *event, struct ab_error *err)
{
    struct side *side = &chat->sides[chat->addressed];
    /* Without a word only the white space goes. */
    struct ab_view words = text_without(event->input.text, "");

    if (ab_view_is(words, "exit")) {
        chat->node.stop = ENGINE_STOP_HUMAN_EXIT;
        return 0;
    }
    if (!words.n && chat->final) {
        chat->node.stop = ENGINE_STOP_TERMINATION;
        return 0;
    }
    if (!words.n) {
        chat->declined = true;
        return 0;
    }
    json_t *content = json_stringn(event->input.text.p, event->input.text.n);
    if (!content)
        return ab_fail_at(err, AB_EDAMAGED, "text", "a person's answer in the journal is not UTF-8");
    side->auto_replies = 0;
    say(chat, chat->addressed, content, event->at_ms, false);
    json_decref(content);
    return 0;
}

static int take_waiting(struct chat *chat, const struct journal_event *event, struct ab_error *err)
{
    (void)event;
    (void)err;
    chat->asked = true;
    return 0;
}

/* Which event satisfies which move. */
static const struct {
    enum ab_event_kind kind;
    enum move move;
    bool stays; /* the step is not over with it */
    int (*take)(struct chat *chat, const struct journal_event *event, struct ab_error *err);
} takes[] = {
    {AB_KIND_MODEL_REPLY, MOVE_MODEL, false, take_model_reply},
    {AB_KIND_TURN, MOVE_DEFAULT, false, take_turn},
    {AB_KIND_INPUT, MOVE_ASK, false, take_input},
    {AB_KIND_WAITING, MOVE_ASK, true, take_waiting},
};

static int chat_apply(struct node *node, const struct journal_event *event, struct ab_error *err)
{
    struct chat *chat = (struct chat *)node;
    enum engine_stop stop;
    enum move move = decide(chat, &stop);

    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++) {
        if (takes[i].kind != event->kind || takes[i].move != move)
            continue;
        int code = takes[i].take(chat, event, err);
        if (!code && !takes[i].stays) {
            node->counter++;
            chat->asked = false;
        }
        settle(chat);
        return code;
    }
    return not_wanted(node, event, err);
}

/* --- what is wanted ------------------------------------------------------------------------------------------ */

static void want_human(const struct chat *chat, struct engine_effect *effect)
{
    const char *otherwise = chat->final
                                ? "an empty answer or `exit` ends the chat"
                                : "an empty answer lets the agent reply by itself, `exit` ends the chat";
    effect->want = ENGINE_HUMAN;
    effect->asked = chat->asked;
    int bytes = snprintf(effect->prompt, sizeof effect->prompt, "Answer %s as %s (%s)", effect->to,
                         effect->agent, otherwise);
    assert(bytes > 0 && bytes < (int)sizeof effect->prompt); /* names have a cap */
}

static size_t chat_next(const struct node *node, struct engine_effect *effects, size_t max)
{
    const struct chat *chat = (const struct chat *)node;
    const struct ab_agent *agent = chat->sides[chat->addressed].agent;
    struct engine_effect *effect = effects;
    enum engine_stop stop;
    enum move move = decide(chat, &stop);

    if (!max)
        return 0;
    *effect = (struct engine_effect){.agent = agent->name, .to = chat->sides[!chat->addressed].agent->name};
    node_step(node, effect->step);
    if (move == MOVE_ASK) {
        want_human(chat, effect);
    } else if (move == MOVE_MODEL) {
        effect->want = ENGINE_MODEL;
        effect->llm = &agent->llm;
        effect->call_index = usage_calls(&node->engine->usage, agent->name);
        effect->history = json_array_size(node->engine->history) > 0;
    } else {
        effect->want = ENGINE_SAY;
        effect->text = agent->default_auto_reply;
    }
    return 1;
}

static void add_message(json_t *messages, const char *role, json_t *content)
{
    json_t *message = json_object();
    json_object_set_new(message, "role", json_string(role));
    json_object_set(message, "content", content);
    json_array_append_new(messages, message);
}

/* An agent sees its own words as the assistant's and all others as the user's. Earlier messages of the session are the
 * user's and the answers to them: the receiver gave those answers, the sender asked. */
static json_t *chat_messages(const struct node *node, const struct engine_effect *effect, bool history)
{
    const struct chat *chat = (const struct chat *)node;
    const struct ab_agent *agent = chat->sides[chat->addressed].agent;
    const struct transcript *transcript = &node->engine->transcript;
    const char *own_role = chat->addressed == RECEIVER ? "assistant" : "user";
    json_t *messages = json_array(), *system = NULL, *earlier;
    size_t i;
    (void)effect;

    if (agent->system_message && *agent->system_message) {
        system = json_string(agent->system_message);
        add_message(messages, "system", system);
        json_decref(system);
    }
    json_array_foreach (history ? node->engine->history : NULL, i, earlier) {
        const char *role = json_string_value(json_object_get(earlier, "role"));
        add_message(messages, role && !strcmp(role, own_role) ? "assistant" : "user",
                    json_object_get(earlier, "content"));
    }
    for (i = 0; i < transcript->n; i++)
        add_message(messages, transcript->lines[i].from == agent ? "assistant" : "user",
                    transcript->lines[i].content);
    return messages;
}

static void chat_destroy(struct node *node)
{
    free(node);
}

static const struct node_ops chat_ops = {"chat", chat_apply, chat_next, chat_messages, chat_destroy};

struct node *chat_create(struct engine *engine, const char *path, const struct ab_agent *sender,
                         const struct ab_agent *receiver)
{
    struct chat *chat = ab_calloc(1, sizeof *chat);
    chat->node.ops = &chat_ops;
    chat->node.engine = engine;
    chat->node.counter = 1;
    size_t bytes = strnlen(path, sizeof chat->node.path - 1);
    memcpy(chat->node.path, path, bytes);
    chat->sides[SENDER].agent = sender;
    chat->sides[RECEIVER].agent = receiver;
    say(chat, SENDER, engine->content, engine->begin_ms, false);
    settle(chat);
    return &chat->node;
}
