/* Tool calls of jobs: the effect TOOL, from the engine's wish to the event `tool_result`.
 *
 *   refuse    a call whose arguments do not fit: a tool_result that says so, and nothing else happened
 *   announce  tool_started is journaled, and waited for
 *   call      only what is announced on disk is called
 *   journal   tool_result
 *
 * A call that is announced in the journal but not known here was under way when an attempt ended. If the tool is idempotent
 * it is called again; else nobody knows what it did, which is its result.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/tree.h"
#include "common/wire/tree.h"
#include "common/workflow/tools.h"
#include "worker/tool/tool.h"
#include "worker/worker.h"

enum { GRACE_MS = 500 /* a tool heeds its time by itself, and can say more of it */ };

/* What came of a call. */
struct outcome {
    struct ab_buf text, parts, files; /* parts, files: raw arrays; empty: none */
    bool failed;
    int64_t duration_ms;
};

/* One that was announced or begun by this attempt. */
struct toolcall {
    struct run *run;
    char step[ENGINE_STEP_MAX], version[TOOL_VERSION_BYTES_MAX + 1];
    char key[AB_ID_TEXT + ENGINE_STEP_MAX + 24], folder[ENGINE_FOLDER_MAX];
    size_t index;
    struct tool *tool; /* once it is begun; a reference */
    struct tool_context context;
    void *started; /* the tool's, while it is under way */
    bool over;     /* outcome is what came of it */
    bool again;    /* another attempt had begun it */
    int64_t begin_ms, until_ms;
    struct outcome outcome;
    TAILQ_ENTRY(toolcall) in_run, in_calling; /* in_calling: while `started` is set */
};

static struct toolcall *toolcall_of(const struct run *run, const struct engine_effect *effect)
{
    struct toolcall *call;
    TAILQ_FOREACH(call, &run->toolcalls, in_run)
    if (call->index == effect->tool_index && !strcmp(call->step, effect->step))
        return call;
    return NULL;
}

static void outcome_finish(struct outcome *outcome)
{
    ab_buf_finish(&outcome->text);
    ab_buf_finish(&outcome->parts);
    ab_buf_finish(&outcome->files);
}

static void stop(struct toolcall *call)
{
    if (call->started)
        TAILQ_REMOVE(&call->run->worker->calling, call, in_calling);
    call->started = NULL;
}

static void forget(struct run *run, struct toolcall *call)
{
    if (!call)
        return;
    TAILQ_REMOVE(&run->toolcalls, call, in_run);
    void *started = call->started;
    stop(call);
    if (started)
        call->tool->ops->cancel(started);
    tool_unref(call->tool);
    outcome_finish(&call->outcome);
    free(call);
}

void toolcalls_abort(struct run *run)
{
    while (!TAILQ_EMPTY(&run->toolcalls))
        forget(run, TAILQ_FIRST(&run->toolcalls));
}

bool toolcalls_over(const struct run *run)
{
    const struct toolcall *call;
    TAILQ_FOREACH(call, &run->toolcalls, in_run)
    if (call->over)
        return true;
    return false;
}

bool toolcall_under_way(const struct run *run, const struct engine_effect *effect)
{
    return toolcall_of(run, effect) != NULL;
}

static struct toolcall *remember(struct run *run, const struct engine_effect *effect)
{
    struct toolcall *call = ab_calloc(1, sizeof *call);
    call->run = run;
    memcpy(call->step, effect->step, sizeof call->step);
    call->index = effect->tool_index;
    TAILQ_INSERT_TAIL(&run->toolcalls, call, in_run);
    return call;
}

/* --- the events ----------------------------------------------------------------------------------------------- */

/* The beginning, whole characters. */
static struct ab_view beginning(struct ab_view text)
{
    if (text.n > ENGINE_TOOL_RESULT_BYTES)
        text.n = ENGINE_TOOL_RESULT_BYTES;
    while (text.n && !ab_utf8_ok(text))
        text.n--;
    return text;
}

static int announce(struct run *run, const char *version, const struct engine_effect *effect,
                    struct ab_error *err)
{
    struct ab_tool_started started = {.step = ab_view_of(effect->step),
                                      .agent = ab_view_of(effect->agent),
                                      .call = effect->tool_index,
                                      .tool = ab_view_of(effect->tool),
                                      .arguments = ab_view_of(effect->arguments),
                                      .version = ab_view_of(*version ? version : NULL),
                                      .at_ms = (uint64_t)ab_wall_ms()};
    int code = journal_add(run, AB_KIND_TOOL_STARTED, &started, err);
    if (!code && !effect->delegated)
        remember(run, effect);
    return code;
}

static int journal(struct run *run, const struct engine_effect *effect, struct outcome *outcome,
                   struct ab_error *err)
{
    struct ab_view whole = ab_buf_view(&outcome->text);
    struct ab_tool_result result = {.step = ab_view_of(effect->step),
                                    .agent = ab_view_of(effect->agent),
                                    .call = effect->tool_index,
                                    .tool = ab_view_of(effect->tool),
                                    .failed = outcome->failed,
                                    .content = beginning(whole),
                                    .duration_ms = (uint64_t)outcome->duration_ms,
                                    .at_ms = (uint64_t)ab_wall_ms()};
    char id[AB_ID_TEXT];
    struct worker_counters *counters = &run->worker->counters;
    counters->tool_calls++;
    counters->tool_calls_failed += outcome->failed;
    counters->tool_ms += result.duration_ms;
    if (outcome->parts.n)
        result.parts = ab_buf_view(&outcome->parts);
    if (outcome->files.n) {
        result.folder = ab_view_of(*effect->folder ? effect->folder : NULL);
        result.files = ab_buf_view(&outcome->files);
    }
    if (!result.content.p)
        result.content = ab_view_of("");
    result.content_bytes = whole.n > result.content.n ? whole.n : 0;
    ab_log(AB_INFO, "tool.result", "job", ab_id_text(run->job, id), "step", effect->step, "tool", effect->tool,
           "ms", ab_num((long long)outcome->duration_ms), "failed", outcome->failed ? "true" : "false", NULL);
    int code = journal_add(run, AB_KIND_TOOL_RESULT, &result, err);
    outcome_finish(outcome);
    forget(run, toolcall_of(run, effect));
    return code;
}

static int journal_failure(struct run *run, const struct engine_effect *effect, const char *why,
                           struct ab_error *err)
{
    struct outcome outcome = {.failed = true};
    ab_buf_text(&outcome.text, why);
    return journal(run, effect, &outcome, err);
}

/* --- the steps ------------------------------------------------------------------------------------------------ */

static void fail(struct outcome *outcome, const struct ab_error *error)
{
    ab_buf_clear(&outcome->text);
    ab_buf_text(&outcome->text, error->text);
    outcome->failed = true;
}

/* Content parts as the journal has them. What is too much is left out, and the model told so. */
static void keep_parts(struct outcome *outcome, const json_t *parts)
{
    struct ab_buf text = {0};
    size_t n = json_array_size(parts);
    if (n && (n > TOOL_PARTS_MAX || ab_json_text_max(parts, &text, TOOL_PARTS_BYTES_MAX)))
        ab_buf_format(&outcome->text,
                      "%s[%zu images or files came with this and were left out: at most %d, of %d bytes]",
                      outcome->text.n ? "\n" : "", n, TOOL_PARTS_MAX, TOOL_PARTS_BYTES_MAX);
    else if (n)
        ab_tree_pack(&outcome->parts, parts);
    ab_buf_finish(&text);
}

static void on_done(void *user, const struct tool_result *result, const struct ab_error *error)
{
    struct toolcall *call = user;
    struct outcome *outcome = &call->outcome;
    stop(call);
    call->over = true;
    if (error) {
        fail(outcome, error);
    } else if (!ab_utf8_ok(result->text)) {
        fail(outcome, &(struct ab_error){.text = "the result is no text: it is not UTF-8"});
    } else {
        ab_buf_add(&outcome->text, result->text.p, result->text.n);
        outcome->failed = result->failed;
        keep_parts(outcome, result->parts);
        ab_buf_add(&outcome->files, result->files.p, result->files.n);
    }
    run_wake(call->run);
}

/* Of the agent's entry, else the worker's; never longer than the job may go on. */
static int64_t timeout_of(const struct worker *worker, const struct engine_effect *effect)
{
    double timeout_ms = (double)worker->tool_ms_max;
    size_t i;
    json_t *entry;
    json_array_foreach (effect->tools, i, entry) {
        double wanted_ms = ab_tree_number(entry, "timeout_s", 0) * 1000;
        if (wanted_ms > 0 && wanted_ms < timeout_ms && ab_tool_is_of(entry, effect->tool))
            timeout_ms = wanted_ms;
    }
    if (effect->left_ms && (double)effect->left_ms < timeout_ms)
        return effect->left_ms;
    return timeout_ms < 1 ? 1 : (int64_t)timeout_ms;
}

static void fill_context(struct toolcall *call, const struct toolbox *toolbox,
                         const struct engine_effect *effect)
{
    const struct tool_scope *scope = toolbox_scope(toolbox);
    snprintf(call->key, sizeof call->key, "%s:%s:%zu", scope->job, call->step, call->index);
    snprintf(call->version, sizeof call->version, "%s", effect->tool_version);
    memcpy(call->folder, effect->folder, sizeof call->folder);
    call->context =
        (struct tool_context){.scope = scope,
                              .step = call->step,
                              .index = call->index,
                              .key = call->key,
                              .version = call->version,
                              .folder = call->folder,
                              .code = effect->code_config,
                              .again = call->again,
                              .timeout_ms = timeout_of(call->run->worker, effect),
                              .job_until_ms = effect->left_ms ? ab_mono_ms() + effect->left_ms : INT64_MAX,
                              .wall_ms = ab_wall_ms()};
}

static void begin(struct toolcall *call, struct tool *tool, const json_t *arguments)
{
    struct ab_error why = {0};
    call->tool = tool_ref(tool);
    call->begin_ms = ab_mono_ms();
    call->until_ms = tool->ops->keeps_time ? INT64_MAX : call->begin_ms + call->context.timeout_ms + GRACE_MS;
    if (tool->ops->start) {
        call->started = tool->ops->start(tool, arguments, &call->context, on_done, call, &why);
        call->over = !call->started;
        if (call->started)
            TAILQ_INSERT_TAIL(&call->run->worker->calling, call, in_calling);
    } else {
        tool->ops->call(tool, arguments, &call->context, &call->outcome.text, &why);
        call->over = true;
    }
    if (why.code)
        fail(&call->outcome, &why);
}

static int finish(struct run *run, struct toolcall *call, const struct engine_effect *effect,
                  struct ab_error *err)
{
    struct outcome outcome = call->outcome;
    call->outcome = (struct outcome){0};
    outcome.duration_ms = ab_mono_ms() - call->begin_ms;
    return journal(run, effect, &outcome, err);
}

/* Begins what is announced on disk. */
static struct toolcall *perform(struct run *run, const struct toolbox *toolbox, struct tool *tool,
                                const struct engine_effect *effect, const json_t *arguments)
{
    struct toolcall *call = toolcall_of(run, effect);
    if (!call) {
        call = remember(run, effect);
        call->again = true;
    }
    fill_context(call, toolbox, effect);
    begin(call, tool, arguments);
    return call;
}

/* Refuses, announces or begins a call that is not under way. True: an event was added. */
static bool go_on(struct run *run, const struct toolbox *toolbox, const struct engine_effect *effect,
                  struct ab_error *err)
{
    struct tool *tool = toolbox_find(toolbox, effect->tool);
    bool interrupted = effect->tool_started && !toolcall_of(run, effect);
    bool repeatable = tool && tool->idempotent && !AB_FAILPOINT("worker.tool_not_idempotent");
    struct ab_error why = {0};
    struct toolcall *call = NULL;
    int code = 0;

    if (interrupted && !repeatable)
        return !journal_failure(
            run, effect, "the call was interrupted; its outcome is unknown, it may have had its effect", err);
    json_t *arguments = tool ? tool_arguments(tool, effect->arguments, &why) : NULL;
    if (!tool) /* its server has no such tool, or may not be asked for it */
        ab_fail(&why, AB_ENOTFOUND, "there is no tool %.64s", effect->tool);
    if (!arguments)
        code = journal_failure(run, effect, why.text, err);
    else if (effect->tool_started)
        call = perform(run, toolbox, tool, effect, arguments);
    else
        code = announce(run, tool->version, effect, err);
    json_decref(arguments);
    return call ? call->over && !finish(run, call, effect, err) : !code;
}

/* An agent or a workflow: what it does are effects of its own, and what came of it is told by the engine. */
static int delegate(struct run *run, const struct engine_effect *effect, struct ab_error *err)
{
    struct outcome outcome = {.failed = effect->answer_failed};
    if (!effect->answer)
        return announce(run, "", effect, err);
    ab_buf_text(&outcome.text, effect->answer);
    return journal(run, effect, &outcome, err);
}

bool toolcall_step(struct run *run, const struct engine_effect *effect, struct ab_error *err)
{
    struct toolcall *call = toolcall_of(run, effect);

    if (!journal_holds(run, effect->after))
        return false;
    if (effect->delegated)
        return !delegate(run, effect, err);
    if (call && call->over)
        return !finish(run, call, effect, err);
    if (call && call->tool) /* under way */
        return false;
    const struct toolbox *toolbox = toolkit_of(run, effect, err);
    if (toolbox)
        return go_on(run, toolbox, effect, err);
    if (err->code)
        forget(run, call);
    return false;
}

/* --- those that take too long --------------------------------------------------------------------------------- */

int64_t toolcalls_deadline(const struct worker *worker)
{
    const struct toolcall *call;
    int64_t deadline = INT64_MAX;
    TAILQ_FOREACH(call, &worker->calling, in_calling)
    if (call->until_ms < deadline)
        deadline = call->until_ms;
    return deadline;
}

void toolcalls_tick(struct worker *worker, int64_t now_ms)
{
    struct toolcall *call, *next;
    for (call = TAILQ_FIRST(&worker->calling); call; call = next) {
        void *started = call->started;
        struct ab_error error = {0};
        next = TAILQ_NEXT(call, in_calling);
        if (call->until_ms > now_ms)
            continue;
        stop(call);
        call->tool->ops->cancel(started);
        ab_fail(&error, AB_ETIMEOUT,
                "no result within %.3g s; the call was given up, it may have had its effect",
                (double)call->context.timeout_ms / 1000);
        on_done(call, &(struct tool_result){0}, &error);
    }
}
