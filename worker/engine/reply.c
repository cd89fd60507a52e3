/* One agent is addressed: who replies for it, with what. The rule of the two-agent chat, which a groupchat uses for the
 * member whose turn it is.
 *
 * Rows: the agent's human_input_mode; "full" = it has replied by itself max_consecutive_auto_reply times since it last had
 * a person's words; "final" = what it was told ends with its termination word.
 *
 *              final          full           otherwise
 *   NEVER      end            end            reply
 *   TERMINATE  ask            ask            reply
 *   ALWAYS     ask            ask            ask
 *
 * Calls of tools that its model made come before all that: they get their results (tools.c).
 *
 * It replies by what came of running the code in the message, if it runs code and there is any; else by its model, or by its
 * default_auto_reply (which may be empty, and is said all the same). A person's answer "exit" ends the chat; an empty one
 * ends it if the message was final, and else lets the agent reply by itself; any other is the agent's turn and sets its
 * count back to 0.
 */
#include "worker/engine/node.h"

#include <assert.h>
#include <stdio.h>

bool reply_full(const struct side *side)
{
    return side->auto_replies >= side->agent->max_consecutive_auto_reply;
}

bool reply_final(const struct ab_agent *agent, const json_t *content)
{
    struct ab_buf text = {0};
    content_text(content, &text);
    bool final = agent->terminates && text_ends_with(ab_buf_view(&text), agent->termination_word);
    ab_buf_finish(&text);
    return final;
}

struct reply reply_begin(const struct ab_agent *agent, const json_t *told)
{
    bool runs_code = agent->code.mode != AB_CODE_OFF;
    return (struct reply){
        .final = reply_final(agent, told), .told = told, .blocks = runs_code ? code_block_count(told) : 0};
}

static enum move own_reply(const struct ab_agent *agent, const struct reply *reply)
{
    if (reply->blocks)
        return MOVE_CODE;
    return agent->llm.n_entries ? MOVE_MODEL : MOVE_DEFAULT;
}

enum move reply_move(const struct side *side, const struct reply *reply)
{
    if (reply->due)
        return reply->due;
    if (reply->declined)
        return own_reply(side->agent, reply);
    if (side->agent->human_input == AB_HUMAN_ALWAYS)
        return MOVE_ASK;
    if (!reply_full(side) && !reply->final)
        return own_reply(side->agent, reply);
    return side->agent->human_input == AB_HUMAN_NEVER ? MOVE_STOP : MOVE_ASK;
}

/* --- what is wanted ------------------------------------------------------------------------------------------- */

void reply_ask(const struct node *node, const struct ab_agent *agent, bool asked, int64_t until_ms,
               struct engine_effect *effect)
{
    effect->want = ENGINE_HUMAN;
    effect->asked = asked;
    effect->until_ms = asked ? until_ms : 0;
    effect->due = effect->until_ms && node->engine->last_ms >= effect->until_ms;
    effect->timeout_ms = (int64_t)(agent->human_timeout_s * 1000);
    effect->otherwise = agent->human_default ? agent->human_default : "";
}

static void want_human(const struct node *node, const struct ab_agent *agent, const struct reply *reply,
                       struct engine_effect *effect)
{
    const char *otherwise = reply->final
                                ? "an empty answer or `exit` ends the chat"
                                : "an empty answer lets the agent reply by itself, `exit` ends the chat";
    reply_ask(node, agent, reply->asked, reply->until_ms, effect);
    int bytes = snprintf(effect->prompt, sizeof effect->prompt, "Answer %s as %s (%s)", effect->to,
                         effect->agent, otherwise);
    assert(bytes > 0 && bytes < (int)sizeof effect->prompt); /* names have a cap */
}

static void want_code(const struct node *node, const struct ab_agent *agent, const struct reply *reply,
                      struct engine_effect *effect)
{
    const struct branch *branch = node->branch;
    effect->want = ENGINE_CODE;
    effect->code_config = &agent->code;
    effect->code_index = node->code.ran;
    code_block_at(reply->told, node->code.ran, &effect->code);
    memcpy(effect->folder, branch->folder, sizeof effect->folder);
    if (branch->files.n)
        effect->files = ab_buf_view(&branch->files);
}

static void want_model(const struct node *node, const struct ab_agent *agent, struct engine_effect *effect)
{
    effect->want = ENGINE_MODEL;
    effect->llm = &agent->llm;
    effect->response_format = agent->llm.response_format;
    effect->call_index = usage_calls(&node->branch->usage, agent->name);
    effect->tools = agent->tools;
    effect->tools_closed = tools_closed(node);
    effect->tool_choice = tools_choice(node, agent);
    effect->parallel_tool_calls = agent->parallel_tool_calls;
}

size_t reply_effects(const struct node *node, const struct side *side, const struct reply *reply,
                     const struct ab_agent *to, struct engine_effect *effect, size_t max)
{
    const struct ab_agent *agent = side->agent;
    enum move move = reply_move(side, reply);

    *effect = (struct engine_effect){.agent = agent->name, .to = to->name, .after = node->branch->events};
    node_step(node, effect->step);
    if (move == MOVE_TOOL)
        return tools_want(node, agent, effect, max);
    if (move == MOVE_APPROVE) {
        tools_want_person(node, effect);
        reply_ask(node, agent, reply->asked, reply->until_ms, effect);
    } else if (move == MOVE_ASK) {
        want_human(node, agent, reply, effect);
    } else if (move == MOVE_CODE) {
        want_code(node, agent, reply, effect);
    } else if (move == MOVE_MODEL) {
        want_model(node, agent, effect);
    } else {
        effect->want = ENGINE_SAY;
        effect->text = agent->default_auto_reply;
    }
    return 1;
}

/* --- the events ----------------------------------------------------------------------------------------------- */

/* What a take needs, and what it finds. */
struct taking {
    struct node *node;
    struct side *side;
    struct reply *reply;
    const struct journal_event *event;
    json_t *content;
    bool filler;
    enum engine_stop stop;
};

static int take_model_reply(struct taking *t, struct ab_error *err)
{
    const struct ab_model_reply *reply = &t->event->model_reply;

    if (!ab_view_is(reply->agent, t->side->agent->name) || reply->purpose.n)
        return node_not_wanted(t->node, t->event, err);
    if (reply->tool_calls.n && t->side->agent->tools)
        return tools_take_reply(t->node, t->side->agent, reply, &t->reply->due, err);
    if (!format_take(t->node, t->side->agent, reply))
        return 0;
    t->content = json_stringn(reply->content.p, reply->content.n);
    if (!t->content)
        return ab_fail_at(err, AB_EDAMAGED, "content", "the reply of a model in the journal is not UTF-8");
    t->side->auto_replies++;
    return 0;
}

static int take_turn(struct taking *t, struct ab_error *err)
{
    const struct ab_agent *agent = t->side->agent;
    struct ab_view said = ab_any_str(t->event->turn.content);

    bool edited = t->event->turn.edited;
    if (!ab_view_is(t->event->turn.agent, agent->name) || !said.p ||
        (!edited && !ab_view_is(said, agent->default_auto_reply)))
        return node_not_wanted(t->node, t->event, err);
    t->content = json_stringn(said.p, said.n);
    if (!t->content)
        return ab_fail_at(err, AB_EDAMAGED, "content", "a turn in the journal is not UTF-8");
    t->side->auto_replies++;
    t->filler = !edited;
    return 0;
}

static int take_input(struct taking *t, struct ab_error *err)
{
    struct ab_view text = t->event->input.text;
    struct ab_view words = text_without(text, ""); /* without a word only the white space goes */

    if (ab_view_is(words, "exit")) {
        t->stop = ENGINE_STOP_HUMAN_EXIT;
        return 0;
    }
    if (!words.n && t->reply->final) {
        t->stop = ENGINE_STOP_TERMINATION;
        return 0;
    }
    if (!words.n) {
        t->reply->declined = true;
        return 0;
    }
    t->content = json_stringn(text.p, text.n);
    if (!t->content)
        return ab_fail_at(err, AB_EDAMAGED, "text", "a person's answer in the journal is not UTF-8");
    t->side->auto_replies = 0;
    return 0;
}

static int take_waiting(struct taking *t, struct ab_error *err)
{
    (void)err;
    t->reply->asked = true;
    t->reply->until_ms =
        t->event->waiting.until_ms > INT64_MAX ? INT64_MAX : (int64_t)t->event->waiting.until_ms;
    return 0;
}

static void add_output(struct ab_buf *output, const struct ab_code_result *result)
{
    if (output->n && output->p[output->n - 1] != '\n')
        ab_buf_char(output, '\n');
    ab_buf_add(output, result->output.p, result->output.n);
    if (result->output_bytes > result->output.n)
        ab_buf_format(output, "\n[of %llu bytes of output only the first are shown]",
                      (unsigned long long)result->output_bytes);
    if (result->stopped.n)
        ab_buf_format(output, "%s[stopped: %.*s]", output->n ? "\n" : "", AB_VIEW_FMT(result->stopped));
}

/* The last block, or the first that failed, makes the reply. */
static int take_code_result(struct taking *t, struct ab_error *err)
{
    const struct ab_code_result *result = &t->event->code_result;
    struct node *node = t->node;

    if (!ab_view_is(result->agent, t->side->agent->name) || result->block != node->code.ran ||
        !ab_view_is(result->folder, node->branch->folder))
        return node_not_wanted(node, t->event, err);
    branch_keep_files(node->branch, result->files);
    add_output(&node->code.output, result);
    if (++node->code.ran < t->reply->blocks && !result->exit_code)
        return 0;
    struct ab_buf text = {0};
    ab_buf_format(&text, "exitcode: %lld (execution %s)\nCode output: ", (long long)result->exit_code,
                  result->exit_code ? "failed" : "succeeded");
    ab_buf_add(&text, node->code.output.p, node->code.output.n);
    t->content = json_of_buf(&text);
    node->code.ran = 0;
    ab_buf_finish(&node->code.output);
    t->side->auto_replies++;
    return t->content ? 0
                      : ab_fail_at(err, AB_EDAMAGED, "output", "what code wrote is not UTF-8 in the journal");
}

static int take_tool_started(struct taking *t, struct ab_error *err)
{
    return ab_view_is(t->event->tool_started.agent, t->side->agent->name)
               ? tools_take_started(t->node, t->side->agent, t->event, err)
               : node_not_wanted(t->node, t->event, err);
}

static int take_tool_result(struct taking *t, struct ab_error *err)
{
    return ab_view_is(t->event->tool_result.agent, t->side->agent->name)
               ? tools_take_result(t->node, t->event, &t->reply->due, err)
               : node_not_wanted(t->node, t->event, err);
}

static int take_approval(struct taking *t, struct ab_error *err)
{
    if (!ab_view_is(text_without(t->event->input.text, ""), "exit"))
        return tools_take_answer(t->node, t->event, &t->reply->due, err);
    t->stop = ENGINE_STOP_HUMAN_EXIT;
    return 0;
}

/* Which event satisfies which move. */
static const struct {
    enum ab_event_kind kind;
    enum move move;
    bool stays; /* the step is not over with it */
    int (*take)(struct taking *t, struct ab_error *err);
} takes[] = {
    {AB_KIND_MODEL_REPLY, MOVE_MODEL, false, take_model_reply},
    {AB_KIND_TURN, MOVE_DEFAULT, false, take_turn},
    {AB_KIND_INPUT, MOVE_ASK, false, take_input},
    {AB_KIND_WAITING, MOVE_ASK, true, take_waiting},
    {AB_KIND_CODE_RESULT, MOVE_CODE, false, take_code_result},
    {AB_KIND_TOOL_STARTED, MOVE_TOOL, true, take_tool_started},
    {AB_KIND_TOOL_RESULT, MOVE_TOOL, true, take_tool_result},
    {AB_KIND_INPUT, MOVE_APPROVE, false, take_approval},
    {AB_KIND_WAITING, MOVE_APPROVE, true, take_waiting},
};

int reply_take(struct node *node, struct side *side, struct reply *reply, const struct journal_event *event,
               json_t **content, bool *filler, enum engine_stop *stop, struct ab_error *err)
{
    struct taking t = {.node = node, .side = side, .reply = reply, .event = event};
    enum move move = reply_move(side, reply);

    *content = NULL;
    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++) {
        if (takes[i].kind != event->kind || takes[i].move != move)
            continue;
        int code = takes[i].take(&t, err);
        if (code)
            return code;
        if (!takes[i].stays) {
            node->counter++;
            reply->asked = false;
        }
        *content = t.content;
        *filler = t.filler;
        *stop = t.stop;
        return 0;
    }
    return node_not_wanted(node, event, err);
}
