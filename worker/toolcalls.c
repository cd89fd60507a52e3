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
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/tool/tool.h"
#include "worker/worker.h"

/* What came of a call. */
struct outcome {
    struct ab_buf text;
    bool failed;
    int64_t duration_ms;
};

/* One that was announced or begun by this attempt. */
struct toolcall {
    struct run *run;
    char step[ENGINE_STEP_MAX];
    size_t index;
    const struct tool *tool; /* once it is begun */
    void *started;           /* the tool's, while it is under way */
    bool over;               /* outcome is what came of it */
    int64_t begin_ms;
    struct outcome outcome;
    TAILQ_ENTRY(toolcall) in_run;
};

static struct toolcall *toolcall_of(const struct run *run, const struct engine_effect *effect)
{
    struct toolcall *call;
    TAILQ_FOREACH(call, &run->toolcalls, in_run)
    if (call->index == effect->tool_index && !strcmp(call->step, effect->step))
        return call;
    return NULL;
}

static void forget(struct run *run, struct toolcall *call)
{
    if (!call)
        return;
    TAILQ_REMOVE(&run->toolcalls, call, in_run);
    if (call->started)
        call->tool->ops->cancel(call->started);
    ab_buf_finish(&call->outcome.text);
    free(call);
}

void toolcalls_abort(struct run *run)
{
    while (!TAILQ_EMPTY(&run->toolcalls))
        forget(run, TAILQ_FIRST(&run->toolcalls));
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

static int announce(struct run *run, const struct engine_effect *effect, struct ab_error *err)
{
    struct ab_tool_started started = {.step = ab_view_of(effect->step),
                                      .agent = ab_view_of(effect->agent),
                                      .call = effect->tool_index,
                                      .tool = ab_view_of(effect->tool),
                                      .arguments = ab_view_of(effect->arguments),
                                      .at_ms = (uint64_t)ab_wall_ms()};
    int code = journal_add(run, AB_KIND_TOOL_STARTED, &started, err);
    if (!code)
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
    if (!result.content.p)
        result.content = ab_view_of("");
    result.content_bytes = whole.n > result.content.n ? whole.n : 0;
    ab_log(AB_INFO, "tool.result", "job", ab_id_text(run->job, id), "step", effect->step, "tool", effect->tool,
           "ms", ab_num((long long)outcome->duration_ms), "failed", outcome->failed ? "true" : "false", NULL);
    int code = journal_add(run, AB_KIND_TOOL_RESULT, &result, err);
    ab_buf_finish(&outcome->text);
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

static void on_done(void *user, struct ab_view result, const struct ab_error *error)
{
    struct toolcall *call = user;
    call->started = NULL;
    call->over = true;
    ab_buf_add(&call->outcome.text, result.p, result.n);
    if (error)
        fail(&call->outcome, error);
    run_wake(call->run);
}

static void begin(struct toolcall *call, const struct tool *tool, const struct engine_effect *effect,
                  const json_t *arguments)
{
    struct ab_error why = {0};
    call->tool = tool;
    call->begin_ms = ab_mono_ms();
    if (tool->ops->start) {
        call->started =
            tool->ops->start(call->run->worker->tools, arguments, effect->left_ms, on_done, call, &why);
        call->over = !call->started;
    } else {
        tool->ops->call(arguments, ab_wall_ms(), &call->outcome.text, &why);
        call->over = true;
    }
    if (why.code)
        fail(&call->outcome, &why);
}

/* Begins the call, unless it is under way; journals it once it is over. 1: it is not. */
static int perform(struct run *run, const struct tool *tool, const struct engine_effect *effect,
                   const json_t *arguments, struct ab_error *err)
{
    struct toolcall *call = toolcall_of(run, effect);
    call = call ? call : remember(run, effect);
    if (!call->tool)
        begin(call, tool, effect, arguments);
    if (!call->over)
        return 1;
    struct outcome outcome = call->outcome;
    call->outcome = (struct outcome){0};
    outcome.duration_ms = ab_mono_ms() - call->begin_ms;
    return journal(run, effect, &outcome, err);
}

bool toolcall_step(struct run *run, const struct engine_effect *effect, struct ab_error *err)
{
    const struct tool *tool = tools_find(run->worker->tools, effect->tool);
    struct ab_error why = {0};

    if (!journal_holds(run, effect->after))
        return false;
    if (!tool) /* of a later release; a worker that has it would have gone on */
        return !journal_failure(run, effect, "this worker does not have the tool", err);
    if (effect->tool_started && !tool->ops->idempotent && !toolcall_of(run, effect))
        return !journal_failure(
            run, effect, "the call was interrupted; its outcome is unknown, it may have had its effect", err);
    json_t *arguments = tool_arguments(tool, effect->arguments, &why);
    int code = !arguments             ? journal_failure(run, effect, why.text, err)
               : effect->tool_started ? perform(run, tool, effect, arguments, err)
                                      : announce(run, effect, err);
    json_decref(arguments);
    return !code;
}
