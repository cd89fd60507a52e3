/* The two-agent chat. The sender opens with the task; then whoever was addressed replies (reply.c has the rules), until
 * nobody does. */
#include "worker/engine/node.h"

#include <stdlib.h>

enum { SENDER, RECEIVER };

struct chat {
    struct node node;
    struct transcript transcript;
    struct side sides[2];
    int addressed; /* whose reply is due */
    struct reply reply;
};

/* To be called after each change: a chat that nobody continues is over. */
static void settle(struct chat *chat)
{
    if (!chat->node.stop && reply_move(&chat->sides[chat->addressed], &chat->reply) == MOVE_STOP)
        chat->node.stop = chat->reply.final ? ENGINE_STOP_TERMINATION : ENGINE_STOP_AUTO_REPLIES;
}

/* `from` has spoken: the other one is addressed. */
static void say(struct chat *chat, int from, json_t *content, bool filler)
{
    const struct ab_agent *to = chat->sides[!from].agent;

    node_say(&chat->node, &chat->transcript, chat->sides[from].agent, to, content, filler);
    tools_say(&chat->node, &chat->transcript);
    if (chat->transcript.n > 1)
        ending_judge(&chat->node, &chat->sides[from], content);
    chat->addressed = !from;
    chat->reply = reply_begin(to, content);
}

static int chat_apply(struct node *node, const struct journal_event *event, struct ab_error *err)
{
    struct chat *chat = (struct chat *)node;
    bool filler = false;
    json_t *content;
    int code = reply_take(node, &chat->sides[chat->addressed], &chat->reply, event, &content, &filler,
                          &node->stop, err);
    if (content)
        say(chat, chat->addressed, content, filler);
    json_decref(content);
    settle(chat);
    return code;
}

static size_t chat_next(const struct node *node, struct engine_effect *effects, size_t max)
{
    const struct chat *chat = (const struct chat *)node;
    return reply_effects(node, &chat->sides[chat->addressed], &chat->reply, chat->sides[!chat->addressed].agent,
                         effects, max);
}

/* An agent sees its own words as the assistant's and all others as the user's. Earlier messages of the session are the
 * user's and the answers to them: the receiver gave those answers, the sender asked. */
static void chat_prompt(const struct node *node, const struct engine_effect *effect, struct prompt *prompt)
{
    const struct chat *chat = (const struct chat *)node;
    const struct ab_agent *agent = chat->sides[chat->addressed].agent;
    (void)effect;

    prompt_open(prompt, node, agent, chat->addressed == RECEIVER ? "assistant" : "user");
    for (size_t i = 0; i < chat->transcript.n; i++) {
        const struct line *line = &chat->transcript.lines[i];
        if (line->from == agent)
            messages_add_own(prompt->messages, line);
        else
            messages_add(prompt->messages, "user", line->content);
    }
    tools_prompt(node, prompt);
}

static const struct line *chat_last(const struct node *node)
{
    return transcript_answer(&((const struct chat *)node)->transcript);
}

static void chat_destroy(struct node *node)
{
    transcript_finish(&((struct chat *)node)->transcript);
    free(node);
}

static const struct node_ops chat_ops = {.name = "chat",
                                         .apply = chat_apply,
                                         .next = chat_next,
                                         .prompt = chat_prompt,
                                         .last = chat_last,
                                         .destroy = chat_destroy};

struct node *chat_create(struct engine *engine, struct branch *branch, const char *path,
                         const struct ab_agent *sender, const struct ab_agent *receiver, json_t *content,
                         const struct ab_condition *termination)
{
    struct chat *chat = ab_calloc(1, sizeof *chat);
    node_init(&chat->node, &chat_ops, engine, branch, path);
    ending_begin(&chat->node, termination);
    chat->sides[SENDER].agent = sender;
    chat->sides[RECEIVER].agent = receiver;
    say(chat, SENDER, content, true);
    settle(chat);
    return &chat->node;
}
