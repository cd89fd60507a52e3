/* The engine itself: decodes events, keeps time and usage, hands the rest to the tree of nodes, and lays the caps over
 * what the nodes want. Pure; owns the nodes, the transcript and the history. */
#include "worker/engine/node.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/wire/tree.h"

#define RUN_SUMMARY "summary:1"

const char *engine_stop_name(enum engine_stop stop)
{
    static const char *const names[] = {"",
#define X(NAME, name, doc) name,
                                        ENGINE_STOPS(X)
#undef X
    };
    return names[stop];
}

/* --- making --------------------------------------------------------------------------------------------------- */

static int check_workflow(const struct ab_workflow *workflow, struct ab_error *err)
{
    struct ab_faults faults = {0};
    int code = ab_workflow_resolved(workflow, err);

    if (!code && ab_workflow_supported(workflow, &faults))
        code = ab_fail_at(err, AB_EINVALID, faults.items[0].path, "%s%s%s", faults.items[0].what,
                          *faults.items[0].hint ? ": " : "", faults.items[0].hint);
    ab_faults_finish(&faults);
    return code;
}

int engine_create(const struct ab_workflow *workflow, json_t *content, const struct engine_limits *limits,
                  struct engine **out, struct ab_error *err)
{
    *out = NULL;
    int code = check_workflow(workflow, err);
    if (code)
        return code;
    if (!json_is_string(content) && !json_is_array(content))
        return ab_fail_at(err, AB_EINVALID, "content", "the message must be text or an array of parts");
    struct engine *engine = ab_calloc(1, sizeof *engine);
    engine->run = (struct scope){.workflow = workflow, .content = json_incref(content)};
    engine->limits = *limits;
    *out = engine;
    return 0;
}

void engine_destroy(struct engine *engine)
{
    if (!engine)
        return;
    node_destroy(engine->run.root);
    for (size_t i = 0; i < engine->n_branches; i++) {
        free(engine->branches[i]->path);
        transcript_finish(&engine->branches[i]->log);
        free(engine->branches[i]->usage.rows);
        ab_buf_finish(&engine->branches[i]->files);
        free(engine->branches[i]);
    }
    free(engine->branches);
    free(engine->copied.rows);
    scope_finish(&engine->run);
    json_decref(engine->history);
    free(engine);
}

/* --- events --------------------------------------------------------------------------------------------------- */

static int take_begin(struct engine *engine, struct journal_event *event, struct ab_error *err)
{
    const struct ab_begin *begin = &event->begin;

    if (engine->begun)
        return ab_fail(err, AB_ENONDETERMINISM, "the journal begins a second time");
    if (!begin->engine || begin->engine > ENGINE_VERSION)
        return ab_fail(err, AB_ENONDETERMINISM,
                       "the journal was made by engine %" PRIu64 ", this worker has %d: update the worker",
                       begin->engine, ENGINE_VERSION);
    if (begin->history.p) {
        engine->history = ab_tree_unpack(begin->history, err);
        if (!engine->history)
            return AB_EDAMAGED;
        if (!json_is_array(engine->history))
            return ab_fail_at(err, AB_EDAMAGED, "history", "the begin event's history is not an array");
    }
    engine->begun = true;
    engine->seed = begin->seed;
    engine->version = begin->engine;
    engine->begin_ms = event->at_ms;
    scope_begin(&engine->run, engine, "", NULL);
    return 0;
}

/* An answer that names no question is for the one that was asked, or else the first that is open. */
static void name_question(const struct engine *engine, struct ab_view *step, char own[ENGINE_STEP_MAX])
{
    struct engine_effect *effects = ab_calloc(ENGINE_EFFECTS_MAX, sizeof *effects), *found = NULL;
    size_t n = node_next(engine->run.root, effects, ENGINE_EFFECTS_MAX);
    for (size_t i = 0; i < n; i++)
        if (effects[i].want == ENGINE_HUMAN && (!found || (effects[i].asked && !found->asked)))
            found = &effects[i];
    if (found) {
        memcpy(own, found->step, ENGINE_STEP_MAX);
        *step = ab_view_of(own);
    }
    free(effects);
}

/* Events of nodes: the step must be one that is wanted, so that a journal of another workflow cannot slip in. *node is
 * whose step it is. */
static int find_step(struct engine *engine, struct journal_event *event, char own[ENGINE_STEP_MAX],
                     struct node **node, struct ab_error *err)
{
    const char *kind = ab_event_rows[event->kind].kind;

    if (!engine->begun)
        return ab_fail(err, AB_ENONDETERMINISM, "the journal has a %s before begin", kind);
    if (engine->run.root->stop)
        return ab_fail(err, AB_ENONDETERMINISM, "the journal has a %s after the chat ended (%s)", kind,
                       engine_stop_name(engine->run.root->stop));
    if (event->kind == AB_KIND_INPUT && !event->step.n)
        name_question(engine, &event->step, own);
    *node = node_of_step(engine->run.root, event->step);
    if (!*node)
        return ab_fail(err, AB_ENONDETERMINISM, "the journal has a %s at step %.*s, which is not wanted", kind,
                       AB_VIEW_FMT(event->step));
    return 0;
}

static int take_step(struct engine *engine, struct journal_event *event, struct ab_error *err)
{
    char own[ENGINE_STEP_MAX];
    struct node *node;
    int code = find_step(engine, event, own, &node, err);
    if (code)
        return code;
    struct branch *branch = node->branch; /* the node may be gone then */
    branch->events = engine->events;
    event->branch = branch;
    return node_take(engine->run.root, event, err);
}

/* The one call that is no node's. */
static void run_summary(const struct engine *engine, struct engine_effect *effect)
{
    summary_effect(engine, &engine->run, effect);
    memcpy(effect->step, RUN_SUMMARY, sizeof RUN_SUMMARY);
}

static void add_usage(struct engine *engine, struct branch *branch, const char *agent,
                      const struct ab_model_reply *reply)
{
    struct usage *usage = usage_of(&branch->usage, agent);
    usage->calls++;
    usage->prompt += reply->prompt_tokens;
    usage->completion += reply->completion_tokens;
    usage->cached += reply->cached_tokens;
    usage->reasoning += reply->reasoning_tokens;
    usage->cached_calls += reply->cached;
    if (reply->trimmed_tokens)
        usage->trimmed = reply->trimmed_tokens;
    usage->estimated |= reply->estimated;
    if (reply->cost_pico_usd.is || reply->cached)
        usage_add_cost(usage, 1, reply->cost_pico_usd.value);
    engine->offline |= reply->offline;
}

static int take_summary(struct engine *engine, const struct journal_event *event, struct ab_error *err)
{
    struct engine_effect wanted;

    run_summary(engine, &wanted);
    int code = summary_take(&engine->run, &wanted, event, err);
    if (!code)
        add_usage(engine, engine->branches[0], wanted.agent, &event->model_reply);
    return code;
}

static int take_model_reply(struct engine *engine, struct journal_event *event, struct ab_error *err)
{
    struct engine_effect wanted;
    struct node *node;
    char own[ENGINE_STEP_MAX];

    if (summary_wanted(engine, &engine->run))
        return take_summary(engine, event, err);
    int code = find_step(engine, event, own, &node, err);
    if (code)
        return code;
    struct branch *branch = node->branch;
    if (!node_next(node, &wanted, 1))
        return node_not_wanted(node, event, err);
    code = take_step(engine, event, err);
    if (!code)
        add_usage(engine, branch, wanted.agent, &event->model_reply);
    return code;
}

static int take_paused(struct engine *engine, struct journal_event *event, struct ab_error *err)
{
    (void)err;
    if (engine->begun && !engine->asked_ms) /* a question's time is counted already */
        engine->paused_ms = event->at_ms;
    return 0;
}

/* For a budget: as a pause, nobody is asked. */
static int take_waiting(struct engine *engine, struct journal_event *event, struct ab_error *err)
{
    if (ab_view_is(event->waiting.reason, "budget"))
        return take_paused(engine, event, err);
    int code = take_step(engine, event, err);
    if (!code && !engine->asked_ms)
        engine->asked_ms = event->at_ms;
    return code;
}

static int take_input(struct engine *engine, struct journal_event *event, struct ab_error *err)
{
    int code = take_step(engine, event, err);
    if (!code && engine->asked_ms && event->at_ms > engine->asked_ms)
        engine->waited_ms += event->at_ms - engine->asked_ms;
    engine->asked_ms = 0;
    return code;
}

static int take_end(struct engine *engine, struct journal_event *event, struct ab_error *err)
{
    (void)event;
    (void)err;
    engine->ended = true;
    return 0;
}

static int take_started(struct engine *engine, struct journal_event *event, struct ab_error *err)
{
    (void)err;
    if (engine->paused_ms && event->at_ms > engine->paused_ms)
        engine->waited_ms += event->at_ms - engine->paused_ms;
    engine->paused_ms = 0;
    return 0;
}

/* All before it was copied: what it used and how long it took is not this run's. Until the job starts nobody works. */
static int take_forked(struct engine *engine, struct journal_event *event, struct ab_error *err)
{
    (void)err;
    engine->failure = (struct ab_error){0}; /* of the run it was copied from: this one tries again */
    engine->forked_of = event->forked.of;
    engine->forked_seq = event->forked.of_seq;
    for (size_t i = 0; i < engine->n_branches; i++)
        usage_merge(&engine->copied, &engine->branches[i]->usage);
    if (!engine->begun)
        return 0;
    engine->forked_ms = event->at_ms;
    engine->asked_ms = 0;
    engine->paused_ms = engine->last_ms;
    engine->copied_ms = engine->last_ms - engine->begin_ms - engine->waited_ms;
    return 0;
}

static int take_nothing(struct engine *engine, struct journal_event *event, struct ab_error *err)
{
    (void)engine;
    (void)event;
    (void)err;
    return 0;
}

/* By kind: who takes it, and where its time and step stand in its struct. */
#define AT(member) offsetof(struct journal_event, member)
static const struct {
    int (*take)(struct engine *engine, struct journal_event *event, struct ab_error *err);
    size_t at_ms, step;
} kinds[AB_KINDS] = {
    [AB_KIND_STARTED] = {take_started, AT(started.at_ms), 0},
    [AB_KIND_BEGIN] = {take_begin, AT(begin.at_ms), 0},
    [AB_KIND_TURN] = {take_step, AT(turn.at_ms), AT(turn.step)},
    [AB_KIND_MODEL_REPLY] = {take_model_reply, AT(model_reply.at_ms), AT(model_reply.step)},
    [AB_KIND_ATTEMPT_FAILED] = {take_nothing, AT(attempt_failed.at_ms), 0},
    [AB_KIND_WAITING] = {take_waiting, AT(waiting.at_ms), AT(waiting.ask)},
    [AB_KIND_INPUT] = {take_input, AT(input.at_ms), AT(input.ask)},
    [AB_KIND_END] = {take_end, AT(end.at_ms), 0},
    [AB_KIND_CALL_STARTED] = {take_nothing, AT(call_started.at_ms), 0},
    [AB_KIND_PAUSED] = {take_paused, AT(paused.at_ms), 0},
    [AB_KIND_FORKED] = {take_forked, AT(forked.at_ms), 0},
    [AB_KIND_CODE_RESULT] = {take_step, AT(code_result.at_ms), AT(code_result.step)},
    [AB_KIND_TOOL_STARTED] = {take_step, AT(tool_started.at_ms), AT(tool_started.step)},
    [AB_KIND_TOOL_RESULT] = {take_step, AT(tool_result.at_ms), AT(tool_result.step)},
};
#undef AT

static int decode(struct ab_view raw, struct journal_event *event, struct ab_error *err)
{
    event->kind = ab_event_kind(raw);
    if (event->kind == AB_KIND_UNKNOWN || !kinds[event->kind].take)
        return ab_fail(err, AB_ENONDETERMINISM,
                       "the journal has an event of a kind this worker does not know: update the worker");
    int code = ab_decode(ab_event_rows[event->kind].schema, raw, &event->started, err);
    if (code)
        return code;
    uint64_t at_ms;
    memcpy(&at_ms, (const char *)event + kinds[event->kind].at_ms, sizeof at_ms);
    event->at_ms = at_ms > INT64_MAX ? INT64_MAX : (int64_t)at_ms;
    event->step = (struct ab_view){0};
    event->branch = NULL;
    if (kinds[event->kind].step)
        memcpy(&event->step, (const char *)event + kinds[event->kind].step, sizeof event->step);
    return 0;
}

int engine_apply(struct engine *engine, struct ab_view raw, struct ab_error *err)
{
    struct journal_event event;
    int code = decode(raw, &event, err);
    if (code)
        return code;
    if (engine->ended)
        return ab_fail(err, AB_ENONDETERMINISM, "the journal goes on after its end");
    engine->events++;
    engine->event_ms = event.at_ms;
    code = kinds[event.kind].take(engine, &event, err);
    if (code)
        engine->events--;
    if (!code && event.at_ms > engine->last_ms)
        engine->last_ms = event.at_ms;
    return code;
}

/* --- effects -------------------------------------------------------------------------------------------------- */

static bool reached(uint64_t value, uint64_t cap)
{
    return cap && value >= cap;
}

/* Until seconds_max is reached; not more than 0 if it is. INT64_MAX without that cap. */
static int64_t left_ms(const struct engine *engine)
{
    uint64_t seconds_max = engine->limits.seconds_max;
    if (!seconds_max || seconds_max > INT64_MAX / 2000)
        return INT64_MAX;
    int64_t spent_ms = engine->last_ms - engine->begin_ms - engine->waited_ms - engine->copied_ms;
    return (int64_t)seconds_max * 1000 - (spent_ms > 0 ? spent_ms : 0);
}

static struct usage total_of(const struct engine *engine)
{
    struct usage total = {0}, copied = usage_total(&engine->copied);
    for (size_t i = 0; i < engine->n_branches; i++) {
        struct usage one = usage_total(&engine->branches[i]->usage);
        total.calls += one.calls;
        total.prompt += one.prompt;
        total.completion += one.completion;
    }
    total.calls -= copied.calls;
    total.prompt -= copied.prompt;
    total.completion -= copied.completion;
    return total;
}

static enum engine_stop over_limit(const struct engine *engine, const struct usage *sum)
{
    struct usage total = *sum;

    if (reached(total.calls, engine->limits.calls_max))
        return ENGINE_STOP_CALLS;
    if (reached(total.prompt + total.completion, engine->limits.tokens_max))
        return ENGINE_STOP_TOKENS;
    if (left_ms(engine) <= 0)
        return ENGINE_STOP_SECONDS;
    return ENGINE_RUNNING;
}

static size_t one(struct engine_effect *effects, enum engine_want want, enum engine_stop stop)
{
    effects[0] = (struct engine_effect){.want = want, .stop = stop};
    return 1;
}

size_t engine_next(const struct engine *engine, struct engine_effect *effects, size_t max)
{
    if (engine->ended || !max)
        return 0;
    if (!engine->begun)
        return one(effects, ENGINE_BEGIN, ENGINE_RUNNING);
    if (engine->failure.code) {
        one(effects, ENGINE_FINISH, ENGINE_STOP_ERROR);
        effects[0].failure = &engine->failure;
        return 1;
    }
    struct usage total = total_of(engine);
    enum engine_stop stop = over_limit(engine, &total);
    if (engine->run.root->stop && (stop || !summary_wanted(engine, &engine->run)))
        return one(effects, ENGINE_FINISH, engine->run.root->stop);
    size_t n = 1;
    if (engine->run.root->stop)
        run_summary(engine, effects);
    else
        n = node_next(engine->run.root, effects, max);
    for (size_t i = 0; i < n; i++) {
        bool free = effects[i].want == ENGINE_CODE || effects[i].want == ENGINE_TOOL;
        if (effects[i].want != ENGINE_MODEL && !free)
            continue;
        if (free ? stop == ENGINE_STOP_SECONDS : stop)
            return one(effects, ENGINE_FINISH, stop);
        effects[i].left_ms = left_ms(engine) < INT64_MAX ? left_ms(engine) : 0;
        effects[i].calls_left = engine->limits.calls_max ? engine->limits.calls_max - total.calls : UINT64_MAX;
    }
    return n;
}

/* --- prompts -------------------------------------------------------------------------------------------------- */

static void make_prompt(const struct engine *engine, const struct engine_effect *effect, uint64_t tokens_max,
                        struct prompt *prompt)
{
    const struct node *node =
        engine->run.root->stop ? NULL : node_of_step(engine->run.root, ab_view_of(effect->step));
    const struct branch *branch = node ? node->branch : engine->branches[0];
    uint64_t trimmed = tokens_max ? tokens_max : usage_trimmed(&branch->usage, effect->agent);

    *prompt = (struct prompt){.messages = json_array()};
    if (node)
        node->ops->prompt(node, effect, prompt);
    else
        summary_prompt(engine, &engine->run, prompt);
    if (node)
        format_ask_again(node, prompt);
    prompt_cut(prompt, trimmed);
    if (effect->purpose && !strcmp(effect->purpose, SUMMARY_PURPOSE))
        summary_join(prompt);
}

json_t *engine_messages(const struct engine *engine, const struct engine_effect *effect, uint64_t tokens_max)
{
    struct prompt prompt;
    make_prompt(engine, effect, tokens_max, &prompt);
    return prompt.messages;
}

uint64_t engine_trim(const struct engine *engine, const struct engine_effect *effect)
{
    json_t *all = engine_messages(engine, effect, 0);
    uint64_t had = prompt_tokens(all), half = had > 1 ? had / 2 : 1;
    json_t *less = engine_messages(engine, effect, half);
    bool differs = !json_equal(all, less);
    json_decref(all);
    json_decref(less);
    return differs ? half : 0;
}

void branch_keep_files(struct branch *branch, struct ab_view files)
{
    if (!files.p)
        return;
    ab_buf_clear(&branch->files);
    ab_buf_add(&branch->files, files.p, files.n);
}

struct ab_view engine_files(const struct engine *engine, const char *folder)
{
    for (size_t i = 0; i < engine->n_branches; i++)
        if (!strcmp(engine->branches[i]->folder, folder) && engine->branches[i]->files.n)
            return ab_buf_view(&engine->branches[i]->files);
    return (struct ab_view){0};
}

const json_t *engine_content(const struct engine *engine)
{
    return engine->run.content;
}
