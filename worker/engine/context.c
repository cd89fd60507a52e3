/* What of a conversation a model is sent: estimates, and what is left out when an agent's `context` or its model has no room for
 * all of it. Pure lists; owns nothing. */
#include "worker/engine/node.h"

#include <stdlib.h>

enum {
    BYTES_PER_TOKEN = 3, /* of an estimate: rather too many tokens than too few */
    PART_TOKENS = 1000,  /* an image or a file, whatever its size */
};

/* What a client told all agents beside its messages; it stays, as an agent's own system message does. */
static bool is_instruction(const json_t *earlier)
{
    const char *role = ab_tree_str(earlier, "role");
    return role && !strcmp(role, "system");
}

void prompt_open(struct prompt *prompt, const struct node *node, const struct ab_agent *agent,
                 const char *own_role)
{
    const json_t *history = node->engine->history;
    size_t i;
    json_t *earlier;

    prompt->context = agent->context;
    if (agent->system_message && *agent->system_message) {
        messages_add_new(prompt->messages, "system", json_string(agent->system_message));
        prompt->system = 1;
    }
    format_open(prompt, agent);
    json_array_foreach (history, i, earlier)
        if (is_instruction(earlier)) {
            messages_add(prompt->messages, "system", json_object_get(earlier, "content"));
            prompt->system++;
        }
    json_array_foreach (history, i, earlier) {
        if (is_instruction(earlier) || node->branch->call)
            continue;
        const char *role = ab_tree_str(earlier, "role");
        messages_add(prompt->messages, role && !strcmp(role, own_role) ? "assistant" : "user",
                     json_object_get(earlier, "content"));
        prompt->history++;
    }
}

/* --- estimates ------------------------------------------------------------------------------------------------ */

static size_t calls_bytes(const json_t *calls)
{
    size_t bytes = 0, i;
    json_t *call;
    json_array_foreach (calls, i, call) {
        const json_t *function = json_object_get(call, "function");
        bytes += json_string_length(json_object_get(function, "name")) +
                 json_string_length(json_object_get(function, "arguments"));
    }
    return bytes;
}

static uint64_t message_tokens(const json_t *message)
{
    const json_t *content = json_object_get(message, "content");
    size_t bytes = json_string_length(content) + calls_bytes(json_object_get(message, "tool_calls")), i;
    uint64_t parts = 0;
    json_t *part;
    json_array_foreach (content, i, part) {
        struct ab_view text = ab_tree_view(part, "text");
        bytes += text.n;
        parts += !text.p;
    }
    return (bytes + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN + parts * PART_TOKENS;
}

uint64_t prompt_tokens(const json_t *messages)
{
    uint64_t tokens = 0;
    size_t i;
    json_t *message;
    json_array_foreach (messages, i, message)
        tokens += message_tokens(message);
    return tokens;
}

/* --- cutting -------------------------------------------------------------------------------------------------- */

/* Messages that go or stay together: one, or a call of tools and what came of it. */
struct unit {
    size_t first, n;
    uint64_t tokens;
    bool stays;
};
struct cut {
    struct unit *units; /* of what lies between the messages that stay anyway */
    size_t n_units;
    uint64_t messages_left, tokens_left; /* what may still stay */
};

static bool is_result(const json_t *message)
{
    const char *role = ab_tree_str(message, "role");
    return role && !strcmp(role, "tool");
}

/* With a call of tools go its results, and the images that came with them (tools.c), which nothing else can follow. */
static bool goes_on(const struct prompt *prompt, size_t i)
{
    const json_t *message = json_array_get(prompt->messages, i),
                 *before = json_array_get(prompt->messages, i - 1);
    const char *role = ab_tree_str(message, "role");
    bool images = role && !strcmp(role, "user") && json_is_array(json_object_get(message, "content"));
    return is_result(message) || (is_result(before) && images);
}

static void make_units(struct cut *cut, const struct prompt *prompt)
{
    size_t end = json_array_size(prompt->messages) - prompt->tail;
    cut->units = ab_calloc(end - prompt->system + 1, sizeof *cut->units);
    for (size_t i = prompt->system; i < end; i++) {
        const json_t *message = json_array_get(prompt->messages, i);
        if (!cut->n_units || !goes_on(prompt, i))
            cut->units[cut->n_units++].first = i;
        struct unit *unit = &cut->units[cut->n_units - 1];
        unit->n++;
        unit->tokens += message_tokens(message);
    }
}

static bool fits(const struct cut *cut, const struct unit *unit)
{
    return unit->n <= cut->messages_left && unit->tokens <= cut->tokens_left;
}

/* Counts it, also if it is over a bound. */
static void keep(struct cut *cut, struct unit *unit)
{
    unit->stays = true;
    cut->messages_left -= unit->n < cut->messages_left ? unit->n : cut->messages_left;
    cut->tokens_left -= unit->tokens < cut->tokens_left ? unit->tokens : cut->tokens_left;
}

/* The conversation's first ones, which do not count as the newest. */
static void keep_head(struct cut *cut, size_t begin, uint64_t head)
{
    uint64_t last = cut->messages_left;
    cut->messages_left = head;
    for (size_t i = 0; i < cut->n_units; i++) {
        struct unit *unit = &cut->units[i];
        if (unit->first < begin)
            continue;
        if (unit->stays || !fits(cut, unit))
            break;
        keep(cut, unit);
    }
    cut->messages_left = last;
}

static void keep_newest(struct cut *cut, size_t begin)
{
    for (size_t i = cut->n_units; i-- > 0;) {
        struct unit *unit = &cut->units[i];
        if (unit->stays)
            continue;
        if (unit->first < begin || !fits(cut, unit))
            return;
        keep(cut, unit);
    }
}

static void drop(struct prompt *prompt, const struct cut *cut)
{
    for (size_t i = cut->n_units; i-- > 0;)
        for (size_t k = 0; !cut->units[i].stays && k < cut->units[i].n; k++)
            json_array_remove(prompt->messages, cut->units[i].first);
}

/* Of messages that stay anyway. */
static uint64_t fixed_tokens(const struct prompt *prompt)
{
    uint64_t tokens = 0;
    size_t i, n = json_array_size(prompt->messages);
    json_t *message;
    json_array_foreach (prompt->messages, i, message)
        tokens += i < prompt->system || i >= n - prompt->tail ? message_tokens(message) : 0;
    return tokens;
}

static uint64_t bound(int64_t wanted)
{
    return wanted > 0 ? (uint64_t)wanted : UINT64_MAX;
}

void prompt_cut(struct prompt *prompt, uint64_t trimmed)
{
    const struct ab_context *context = &prompt->context;
    size_t begin = prompt->system + prompt->history;
    struct cut cut = {.messages_left = bound(context->last), .tokens_left = bound(context->tokens)};

    if (!context->last && !context->tokens && !trimmed)
        return;
    if (trimmed && trimmed < cut.tokens_left)
        cut.tokens_left = trimmed;
    uint64_t fixed = fixed_tokens(prompt);
    cut.tokens_left -= fixed < cut.tokens_left ? fixed : cut.tokens_left;
    make_units(&cut, prompt);
    if (cut.n_units)
        keep(&cut, &cut.units[cut.n_units - 1]);
    keep_head(&cut, begin, context->head > 0 ? (uint64_t)context->head : 0);
    keep_newest(&cut, trimmed ? begin : 0);
    drop(prompt, &cut);
    free(cut.units);
}
