/* Tool calls of an agent's turn. A reply of its model that calls tools is a round: every call gets a result, then the model is
 * asked again and sees both. The first reply without calls is what the agent says.
 *
 *   ask       a person must agree first; one call after the other, before any of the round is made
 *   ready     it is wanted
 *   started   tool_started is in the journal: it may have had its effect
 *   done      there is a result. What needs no tool to be answered (a name the agent does not have, `approval: never`, a
 *             call too many) is so from the beginning
 *
 * A call of an agent or a workflow is a child node (call.c), which begins with tool_started:
 *
 *   calling   its effects are wanted instead
 *   answered  it is over: what came of it is wanted as the tool_result. A call that names no message is so from the
 *             beginning, without tool_started
 *
 * Owns the rounds of the turn; when the agent speaks they go to its line, so that its model sees them in later turns.
 */
#include "worker/engine/node.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/wire/tree.h"
#include "common/workflow/tools.h"

enum tool_state { TOOL_ASK, TOOL_READY, TOOL_STARTED, TOOL_CALLING, TOOL_ANSWERED, TOOL_DONE };
struct tool_call {
    enum tool_state state;
    const char *name, *arguments;       /* of the round */
    char *version;                      /* as announced; owned; NULL: none */
    json_t *result;                     /* text; owned; NULL until it is done */
    json_t *parts;                      /* what came besides; owned; NULL: nothing */
    const struct ab_delegate *delegate; /* who is called; NULL: a tool that the shell has */
    const struct node *child;           /* of the node; NULL: not begun */
    char *answer;                       /* owned; of the child, or why there is none; NULL: none yet */
    bool failed;
};

static const char NO_MESSAGE[] =
    "the arguments do not fit: an object with one member is wanted, {\"message\": text}";
enum { SHOWN_HEAD = 160, SHOWN_TAIL = 80 /* bytes of a call's arguments in a question to a person */ };

/* --- what an agent may call ----------------------------------------------------------------------------------- */

static const json_t *tool_of(const struct ab_agent *agent, const char *name)
{
    size_t i;
    json_t *tool;
    json_array_foreach (agent->tools, i, tool) {
        if (ab_tool_is_of(tool, name))
            return tool;
    }
    return NULL;
}

/* What came of a call, to be journaled. Takes the text. */
static void answer(struct tool_call *call, char *text, bool failed)
{
    call->state = TOOL_ANSWERED;
    call->answer = text;
    call->failed = failed;
}

/* What an agent or a workflow is told; NULL: the model did not write it as it was told to. The caller frees it. */
static char *message_of(const char *arguments)
{
    json_t *tree = json_loads(arguments, 0, NULL);
    const char *message = ab_tree_str(tree, "message");
    char *text = message && json_object_size(tree) == 1 ? ab_strdup(message) : NULL;
    json_decref(tree);
    return text;
}

static void done(struct tool_turn *turn, struct tool_call *call, json_t *result)
{
    call->state = TOOL_DONE;
    call->result = result;
    turn->bytes += json_string_length(result);
    turn->open--;
}

static json_t *unknown(const struct ab_agent *agent, const char *name)
{
    struct ab_buf text = {0};
    size_t i;
    json_t *tool;
    ab_buf_format(&text, "error: there is no tool %.64s; you may call", name);
    json_array_foreach (agent->tools, i, tool) {
        ab_buf_text(&text, i ? ", " : " ");
        ab_tool_show(tool, &text);
    }
    json_t *result = json_of_buf(&text);
    return result ? result : json_string("error: there is no such tool");
}

static const struct ab_delegate *delegate_of(const struct ab_agent *agent, const char *name)
{
    for (size_t i = 0; i < agent->n_delegates; i++)
        if (!strcmp(agent->delegates[i].name, name))
            return &agent->delegates[i];
    return NULL;
}

/* It may be made now. */
static void get_ready(struct tool_call *call)
{
    char *message = call->delegate ? message_of(call->arguments) : NULL;
    call->state = TOOL_READY;
    if (call->delegate && !message)
        answer(call, ab_strdup(NO_MESSAGE), true);
    free(message);
}

static void settle(struct tool_turn *turn, const struct ab_agent *agent, size_t i)
{
    struct tool_call *call = &turn->calls[i];
    const json_t *tool = tool_of(agent, call->name);
    const char *approval = tool ? ab_tree_str(tool, "approval") : "";

    call->delegate = delegate_of(agent, call->name);
    call->state = TOOL_ASK;
    if (strcmp(approval, "ask"))
        get_ready(call);
    if (i >= ENGINE_TOOL_CALLS_MAX)
        done(turn, call, json_string("error: too many calls at once; call again what you still need"));
    else if (!tool)
        done(turn, call, unknown(agent, call->name));
    else if (!strcmp(approval, "never"))
        done(turn, call, json_string("error: this tool may not be called: its approval is `never`"));
}

/* --- calls of agents and workflows ----------------------------------------------------------------------------- */

static void begin_call(struct node *node, const struct ab_agent *caller, struct tool_call *call)
{
    size_t index = (size_t)(call - node->tools.calls);
    char *message = message_of(call->arguments);
    char *path = ab_format("%s/%llu.%zu", node->path, (unsigned long long)node->counter, index + 1);
    struct node *child = call_create(node->engine, path, caller, call->delegate, message);
    node_adopt(node, child);
    call->state = TOOL_CALLING;
    call->child = child;
    tools_heed(node, child);
    free(path);
    free(message);
}

bool tools_heed(struct node *node, struct node *child)
{
    struct ab_error *failure = &node->engine->failure;
    struct tool_call *call = node->tools.calls, *end = call ? call + node->tools.n : NULL;

    while (call < end && call->child != child)
        call++;
    if (call == end)
        return false;
    if (failure->code) { /* what called it may do without */
        answer(call, ab_strdup(failure->text), true);
        child->stop = ENGINE_STOP_ERROR;
        *failure = (struct ab_error){0};
    } else if (child->stop) {
        char *said = node_answer(child);
        if (*said)
            answer(call, said, false);
        else
            answer(call, ab_format("it ended without an answer (%s)", engine_stop_name(child->stop)), true);
        if (call->answer != said)
            free(said);
    }
    return true;
}

/* --- rounds --------------------------------------------------------------------------------------------------- */

static void forget_round(struct node *node)
{
    struct tool_turn *turn = &node->tools;
    for (size_t i = 0; i < turn->n; i++) {
        free(turn->calls[i].version);
        free(turn->calls[i].answer);
        json_decref(turn->calls[i].result);
        json_decref(turn->calls[i].parts);
    }
    free(turn->calls);
    json_decref(turn->round);
    turn->calls = NULL;
    turn->round = NULL;
    turn->n = turn->open = 0;
}

void tools_finish(struct node *node)
{
    forget_round(node);
    json_decref(node->tools.said);
    node->tools = (struct tool_turn){0};
}

void tools_say(struct node *node, struct transcript *transcript)
{
    struct line *line = &transcript->lines[transcript->n - 1];
    line->work = json_incref(node->tools.said);
    tools_finish(node);
}

/* Endpoints take images from a user only: those of all calls follow the results, each under the name of its tool. */
static void say_parts(struct tool_turn *turn)
{
    json_t *content = json_array();
    for (size_t i = 0; i < turn->n; i++) {
        if (!turn->calls[i].parts)
            continue;
        char *text = ab_format("What %s gave besides:", turn->calls[i].name);
        json_array_append_new(content, json_pack("{ss ss}", "type", "text", "text", text));
        json_array_extend(content, turn->calls[i].parts);
        free(text);
    }
    if (json_array_size(content))
        json_array_append_new(turn->said, json_pack("{ss sO}", "role", "user", "content", content));
    json_decref(content);
}

/* All results are there: the model sees them. */
static void close_round(struct node *node)
{
    struct tool_turn *turn = &node->tools;
    for (size_t i = 0; i < turn->n; i++) {
        const json_t *call = json_array_get(json_object_get(turn->round, "tool_calls"), i);
        const char *id = ab_tree_str(call, "id");
        json_array_append_new(turn->said, json_pack("{ss ss sO}", "role", "tool", "tool_call_id", id ? id : "",
                                                    "content", turn->calls[i].result));
    }
    say_parts(turn);
    forget_round(node);
    node_forget_children(node); /* the only ones while a model calls tools are the calls */
}

static enum move next_move(struct node *node)
{
    struct tool_turn *turn = &node->tools;
    if (!turn->open) {
        close_round(node);
        return MOVE_STOP;
    }
    for (size_t i = 0; i < turn->n; i++)
        if (turn->calls[i].state == TOOL_ASK)
            return MOVE_APPROVE;
    return MOVE_TOOL;
}

bool tools_closed(const struct node *node)
{
    return node->tools.rounds >= ENGINE_TOOL_ROUNDS_MAX || node->tools.bytes >= ENGINE_TOOL_BYTES_MAX;
}

/* A model that had to call once more after each result would never answer. */
const char *tools_choice(const struct node *node, const struct ab_agent *agent)
{
    bool free = !agent->tool_choice || !strcmp(agent->tool_choice, "auto") || node->tools.rounds;
    return free ? NULL : agent->tool_choice;
}

static void open_round(struct node *node, const struct ab_agent *agent, json_t *calls)
{
    struct tool_turn *turn = &node->tools;
    turn->n = turn->open = json_array_size(calls);
    turn->calls = ab_calloc(turn->n, sizeof *turn->calls);
    turn->rounds++;
    turn->said = turn->said ? turn->said : json_array();
    json_array_append(turn->said, turn->round);
    for (size_t i = 0; i < turn->n; i++) {
        const json_t *function = json_object_get(json_array_get(calls, i), "function");
        const char *name = ab_tree_str(function, "name"), *arguments = ab_tree_str(function, "arguments");
        turn->calls[i].name = name ? name : "";
        turn->calls[i].arguments = arguments && *arguments ? arguments : "{}";
        settle(turn, agent, i);
    }
}

int tools_take_reply(struct node *node, const struct ab_agent *agent, const struct ab_model_reply *reply,
                     enum move *due, struct ab_error *err)
{
    json_t *calls = ab_tree_unpack(reply->tool_calls, err);
    json_t *content = reply->content.n ? json_stringn(reply->content.p, reply->content.n) : json_null();

    *due = MOVE_STOP;
    if (!json_is_array(calls) || !content) {
        json_decref(calls);
        json_decref(content);
        return ab_fail_at(err, AB_EDAMAGED, "tool_calls", "a model's reply in the journal cannot be read");
    }
    if (tools_closed(node)) {
        json_decref(calls);
        json_decref(content);
        ab_fail_at(&node->engine->failure, AB_EMODEL, agent->path,
                   "the model of %s called tools in %llu rounds and went on although it was told not to",
                   agent->name, (unsigned long long)node->tools.rounds);
        return 0;
    }
    node->tools.round = json_pack("{ss so sO}", "role", "assistant", "content", content, "tool_calls", calls);
    open_round(node, agent, calls);
    json_decref(calls);
    *due = next_move(node);
    return 0;
}

/* --- what is wanted ------------------------------------------------------------------------------------------- */

/* What a person agrees to must be what is called: as JSON on one line, so that nothing in it looks like another question, and
 * of what is too long its size, beginning and end, so that nothing hides behind it. The caller frees it. */
static char *shown(const char *arguments)
{
    json_t *tree = json_loads(arguments, JSON_DECODE_ANY, NULL);
    if (!tree)
        tree = json_string(arguments);
    char *text = json_dumps(tree, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(tree);
    size_t n = strlen(text), head = SHOWN_HEAD, tail = n - SHOWN_TAIL;
    if (n <= SHOWN_HEAD + SHOWN_TAIL)
        return text;
    while (((unsigned char)text[head] & 0xc0) == 0x80) /* whole characters */
        head--;
    while (((unsigned char)text[tail] & 0xc0) == 0x80)
        tail++;
    char *cut = ab_format("%.*s … (%zu bytes) … %s", (int)head, text, n, text + tail);
    free(text);
    return cut;
}

void tools_want_person(const struct node *node, struct engine_effect *effect)
{
    const struct tool_call *call = node->tools.calls;
    while (call->state != TOOL_ASK)
        call++;
    effect->approval = true;
    char *arguments = shown(call->arguments); /* names have a cap too: nothing else is cut */
    snprintf(effect->prompt, sizeof effect->prompt,
             "May %s call %s with %s? (`yes`; anything else refuses and is told to the model; `exit` ends "
             "the chat)",
             effect->agent, call->name, arguments);
    free(arguments);
}

size_t tools_want(const struct node *node, const struct ab_agent *agent, struct engine_effect *effects,
                  size_t max)
{
    const struct engine_effect base = effects[0];
    size_t n = 0;
    for (size_t i = 0; i < node->tools.n && n < max; i++) {
        const struct tool_call *call = &node->tools.calls[i];
        if (call->state == TOOL_DONE || call->state == TOOL_CALLING)
            continue;
        effects[n] = base;
        effects[n].want = ENGINE_TOOL;
        effects[n].tools = agent->tools;
        effects[n].code_config = &agent->code;
        memcpy(effects[n].folder, node->branch->folder, sizeof effects[n].folder);
        effects[n].tool = call->name;
        effects[n].tool_version = call->version ? call->version : "";
        effects[n].arguments = call->arguments;
        effects[n].tool_index = i;
        effects[n].tool_started = call->state == TOOL_STARTED || call->child;
        effects[n].delegated = call->delegate;
        effects[n].answer = call->answer;
        effects[n].answer_failed = call->failed;
        n++;
    }
    return n;
}

void tools_prompt(const struct node *node, struct prompt *prompt)
{
    json_array_extend(prompt->messages, node->tools.said);
}

/* --- the events ----------------------------------------------------------------------------------------------- */

static struct tool_call *call_at(struct node *node, uint64_t index)
{
    return index < node->tools.n ? &node->tools.calls[index] : NULL;
}

int tools_take_started(struct node *node, const struct ab_agent *agent, const struct journal_event *event,
                       struct ab_error *err)
{
    struct tool_call *call = call_at(node, event->tool_started.call);
    if (!call || call->state != TOOL_READY)
        return node_not_wanted(node, event, err);
    call->state = TOOL_STARTED;
    call->version = ab_view_dup(event->tool_started.version);
    if (call->delegate)
        begin_call(node, agent, call);
    return 0;
}

static bool may_end(const struct tool_call *call)
{
    return call->delegate ? call->state == TOOL_ANSWERED
                          : call->state == TOOL_READY || call->state == TOOL_STARTED;
}

int tools_take_result(struct node *node, const struct journal_event *event, enum move *due,
                      struct ab_error *err)
{
    const struct ab_tool_result *result = &event->tool_result;
    struct tool_call *call = call_at(node, result->call);
    struct ab_buf text = {0};

    if (!call || !may_end(call) || (result->files.p && !ab_view_is(result->folder, node->branch->folder)))
        return node_not_wanted(node, event, err);
    branch_keep_files(node->branch, result->files);
    if (result->failed)
        ab_buf_text(&text, "error: ");
    ab_buf_add(&text, result->content.p, result->content.n);
    if (result->content_bytes > result->content.n)
        ab_buf_format(&text, "\n[of %llu bytes only the first are shown]",
                      (unsigned long long)result->content_bytes);
    json_t *content = json_of_buf(&text);
    if (!content)
        return ab_fail_at(err, AB_EDAMAGED, "content", "a tool's result in the journal is not UTF-8");
    if (result->parts.p && !(call->parts = ab_tree_unpack(result->parts, err))) {
        json_decref(content);
        return err->code;
    }
    node->tools.bytes += result->parts.n;
    done(&node->tools, call, content);
    *due = next_move(node);
    if (*due == MOVE_STOP)
        node->counter++;
    return 0;
}

static bool agrees(struct ab_view words)
{
    static const char *const yes[] = {"yes", "y", "ok"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (words.n == strlen(yes[i]) && !strncasecmp(words.p, yes[i], words.n))
            return true;
    return false;
}

int tools_take_answer(struct node *node, const struct journal_event *event, enum move *due,
                      struct ab_error *err)
{
    struct ab_view words = text_without(event->input.text, "");
    struct tool_call *call = node->tools.calls;
    struct ab_buf text = {0};

    while (call->state != TOOL_ASK)
        call++;
    if (!event->input.timeout && agrees(words)) {
        get_ready(call);
    } else {
        ab_buf_text(&text, event->input.timeout ? "error: nobody agreed to this call in time"
                                                : "error: a person refused this call");
        if (words.n && !event->input.timeout)
            ab_buf_format(&text, ": %.*s", AB_VIEW_FMT(words));
        json_t *refusal = json_of_buf(&text);
        if (!refusal)
            return ab_fail_at(err, AB_EDAMAGED, "text", "a person's answer in the journal is not UTF-8");
        done(&node->tools, call, refusal);
    }
    *due = next_move(node);
    return 0;
}
