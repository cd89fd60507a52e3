/* The termination conditions of a conversation, beside the rules of reply.c and group.c.
 *
 * A condition that is no `and` or `or` is a fact: once true it stays true. What models spend and call is noted with their
 * replies, those inside of the conversation included; all is judged after each message of the conversation. Nobody is asked
 * whether it shall go on. The opening messages are not judged.
 */
#include "worker/engine/node.h"

#include <string.h>

/* What there is to know when a message was said. */
struct said {
    const struct node *node;
    const struct side *speaker;
    struct ab_view text;
};

static bool has_text(const struct ab_condition *condition, const struct said *said)
{
    size_t i;
    json_t *name;
    if (!memmem(said->text.p, said->text.n, condition->text, strlen(condition->text)))
        return false;
    if (!condition->from)
        return true;
    json_array_foreach (condition->from, i, name) {
        if (!strcmp(json_string_value(name), said->speaker->agent->name))
            return true;
    }
    return false;
}

static bool has_rounds(const struct ab_condition *condition, const struct said *said)
{
    return (double)said->node->ending.rounds >= condition->bound;
}

static bool has_auto_replies(const struct ab_condition *condition, const struct said *said)
{
    return (double)said->speaker->auto_replies >= condition->bound;
}

static bool has_tokens(const struct ab_condition *condition, const struct said *said)
{
    return (double)said->node->ending.tokens >= condition->bound;
}

static bool has_cost(const struct ab_condition *condition, const struct said *said)
{
    return (double)said->node->ending.cost_pico_usd >= condition->bound * 1e12;
}

static bool has_seconds(const struct ab_condition *condition, const struct said *said)
{
    const struct ending *ending = &said->node->ending;
    const struct engine *engine = said->node->engine;
    int64_t waits_ms = engine->asked_ms ? engine->event_ms - engine->asked_ms : 0;
    int64_t waited_ms = engine->waited_ms - ending->waited_ms + (waits_ms > 0 ? waits_ms : 0);
    return (double)(engine->event_ms - ending->begin_ms - waited_ms) >= condition->bound * 1000;
}

static bool has_agent(const struct ab_condition *condition, const struct said *said)
{
    return !strcmp(said->speaker->agent->name, condition->text);
}

/* By kind: when it is true of a message (NULL: noted elsewhere), and the reason it ends a conversation for. */
static const struct {
    bool (*has)(const struct ab_condition *condition, const struct said *said);
    enum engine_stop stop;
} facts[] = {
    [AB_CONDITION_TEXT] = {has_text, ENGINE_STOP_TEXT},
    [AB_CONDITION_ROUNDS] = {has_rounds, ENGINE_STOP_MESSAGES},
    [AB_CONDITION_AUTO_REPLIES] = {has_auto_replies, ENGINE_STOP_REPLIES},
    [AB_CONDITION_TOKENS] = {has_tokens, ENGINE_STOP_SPENT},
    [AB_CONDITION_COST] = {has_cost, ENGINE_STOP_COST},
    [AB_CONDITION_SECONDS] = {has_seconds, ENGINE_STOP_TIME},
    [AB_CONDITION_TOOL_CALL] = {NULL, ENGINE_STOP_TOOL_CALL},
    [AB_CONDITION_AGENT] = {has_agent, ENGINE_STOP_AGENT},
};

static bool is_fact(const struct ab_condition *condition)
{
    return condition->kind != AB_CONDITION_AND && condition->kind != AB_CONDITION_OR;
}

/* --- noting --------------------------------------------------------------------------------------------------- */

void ending_begin(struct node *node, const struct ab_condition *wanted)
{
    node->ending = (struct ending){
        .wanted = wanted, .begin_ms = node->engine->event_ms, .waited_ms = node->engine->waited_ms};
}

static bool calls_tool(struct ab_view calls, const char *name)
{
    struct ab_reader reader = ab_reader(calls);
    struct ab_view call;
    uint32_t n;
    if (!calls.p || ab_read_array(&reader, &n))
        return false;
    for (uint32_t i = 0; i < n && !ab_read_any(&reader, &call); i++)
        if (ab_view_is(ab_any_str(ab_map_get(ab_map_get(call, "function"), "name")), name))
            return true;
    return false;
}

static void note_calls(const struct ab_condition *condition, struct ab_view calls, uint64_t *met)
{
    for (size_t i = 0; i < condition->n_parts; i++)
        note_calls(&condition->parts[i], calls, met);
    if (condition->kind == AB_CONDITION_TOOL_CALL && calls_tool(calls, condition->text))
        *met |= (uint64_t)1 << condition->index;
}

static bool bounds_cost(const struct ab_condition *condition)
{
    bool found = condition->kind == AB_CONDITION_COST;
    for (size_t i = 0; !found && i < condition->n_parts; i++)
        found = bounds_cost(&condition->parts[i]);
    return found;
}

/* What has no price cannot be bounded by one: the run does not spend on. */
static void count_cost(struct node *node, const struct ab_model_reply *reply)
{
    struct ending *ending = &node->ending;
    bool priced = reply->cost_pico_usd.is || reply->cached || reply->offline;
    if (__builtin_add_overflow(ending->cost_pico_usd, reply->cost_pico_usd.value, &ending->cost_pico_usd))
        ending->cost_pico_usd = UINT64_MAX;
    if (!priced && bounds_cost(ending->wanted))
        ab_fail_at(
            &node->engine->failure, AB_EINVALID, "$.termination",
            "cost_usd bounds this conversation, but %.*s has no price: set one with `autobots prices set`",
            AB_VIEW_FMT(reply->model));
}

void ending_count(struct node *node, const struct journal_event *event)
{
    struct ending *ending = &node->ending;
    const struct ab_model_reply *reply = &event->model_reply;
    if (!ending->wanted)
        return;
    ending->tokens += reply->prompt_tokens + reply->completion_tokens;
    count_cost(node, reply);
    if (reply->tool_calls.p && event->branch == node->branch)
        note_calls(ending->wanted, reply->tool_calls, &ending->met);
}

static void note_facts(const struct ab_condition *condition, const struct said *said, uint64_t *met)
{
    for (size_t i = 0; i < condition->n_parts; i++)
        note_facts(&condition->parts[i], said, met);
    if (is_fact(condition) && facts[condition->kind].has && facts[condition->kind].has(condition, said))
        *met |= (uint64_t)1 << condition->index;
}

/* --- judging -------------------------------------------------------------------------------------------------- */

/* The part that is met as it stands: of an `or` its first such part, else the condition itself; NULL if it is not met. */
static const struct ab_condition *met_part(const struct ab_condition *condition, uint64_t met)
{
    bool all = condition->kind == AB_CONDITION_AND;
    if (is_fact(condition))
        return met >> condition->index & 1 ? condition : NULL;
    for (size_t i = 0; i < condition->n_parts; i++) {
        const struct ab_condition *part = met_part(&condition->parts[i], met);
        if (all ? !part : part != NULL)
            return part;
    }
    return all ? condition : NULL;
}

/* Why it ended: the first fact of the part that was not true before. */
static enum engine_stop reason(const struct ab_condition *condition, uint64_t met_before, uint64_t met)
{
    if (is_fact(condition))
        return (met & ~met_before) >> condition->index & 1 ? facts[condition->kind].stop : ENGINE_RUNNING;
    for (size_t i = 0; i < condition->n_parts; i++) {
        enum engine_stop stop = reason(&condition->parts[i], met_before, met);
        if (stop)
            return stop;
    }
    return ENGINE_RUNNING;
}

void ending_judge(struct node *node, const struct side *speaker, const json_t *content)
{
    struct ending *ending = &node->ending;
    struct ab_buf text = {0};
    if (!ending->wanted || node->stop)
        return;
    content_text(content, &text);
    struct said said = {.node = node, .speaker = speaker, .text = ab_buf_view(&text)};
    ending->rounds++;
    note_facts(ending->wanted, &said, &ending->met);
    ab_buf_finish(&text);
    ending->by = met_part(ending->wanted, ending->met);
    if (ending->by)
        node->stop = reason(ending->by, ending->judged, ending->met);
    ending->judged = ending->met;
}
