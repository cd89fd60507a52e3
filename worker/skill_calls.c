/* Calls of skills: in the sandbox, in the directory of their conversation, as code blocks run, with the arguments as standard
 * input. One after the other in each directory, so that the files that a result names are what the next call finds.
 *
 *   look up   the version that was announced, if another worker announced it
 *   wait      for the directory; until what came of the call before it is journaled
 *   restore, run, store   as code blocks do (codes.c)
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/skill.h"
#include "common/workflow/workflow.h"
#include "worker/skills.h"

enum { OUTPUT_BYTES_MAX = ENGINE_TOOL_RESULT_BYTES - 1024 /* room for what is said about it */ };

struct skillcall {
    struct code code; /* its run, directory, files, and what came of it */
    const struct tool *tool;
    const struct tool_context *context;
    const struct skill *skill; /* the version that is called; NULL: not known yet */
    char *arguments;
    tool_done_fn *done;
    void *user;
    TAILQ_ENTRY(skillcall) in_run;
};

static void destroy(struct skillcall *call)
{
    TAILQ_REMOVE(&call->code.run->skillcalls, call, in_run);
    code_clear(&call->code);
    free(call->arguments);
    free(call);
}

/* --- its end -------------------------------------------------------------------------------------------------- */

/* It is gone afterwards. */
static void finish(struct skillcall *call, const struct tool_result *result, const struct ab_error *error)
{
    tool_done_fn *done = call->done;
    void *user = call->user;
    done(user, result, error);
    destroy(call);
}

static bool same_files(const struct file_list *a, const struct file_list *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = !strcmp(a->items[i].path, b->items[i].path) &&
               a->items[i].executable == b->items[i].executable &&
               !memcmp(a->items[i].hash, b->items[i].hash, sizeof a->items[i].hash);
    return same;
}

/* What the model is told. */
static void say(const struct code *code, struct ab_buf *text)
{
    struct ab_view output = ab_buf_view(&code->output);
    bool cut = output.n > OUTPUT_BYTES_MAX || code->output_bytes > output.n;
    if (code->stopped)
        ab_buf_format(text, "stopped: %s\n", code->stopped);
    else if (code->exit_code)
        ab_buf_format(text, "exit code %d\n", code->exit_code);
    if (output.n > OUTPUT_BYTES_MAX)
        for (output.n = OUTPUT_BYTES_MAX; output.n && (output.p[output.n] & 0xc0) == 0x80; output.n--)
            continue;
    ab_buf_add(text, output.p, output.n);
    if (cut)
        ab_buf_format(text, "\n[of %llu bytes of output only the first are shown]",
                      (unsigned long long)code->output_bytes);
}

static void succeed(struct skillcall *call)
{
    struct code *code = &call->code;
    struct ab_buf text = {0}, files = {0};
    say(code, &text);
    struct tool_result result = {.text = ab_buf_view(&text), .failed = code->exit_code || code->stopped};
    if (code->listed) {
        if (!same_files(&code->files, &code->want)) {
            code_write_files(&code->files, &files);
            result.files = ab_buf_view(&files);
        }
        file_list_finish(&code->space->files);
        code->space->files = code->files;
        code->files = (struct file_list){0};
    }
    finish(call, &result, NULL);
    ab_buf_finish(&text);
    ab_buf_finish(&files);
}

/* --- its steps ------------------------------------------------------------------------------------------------ */

static void on_output(void *user, struct ab_view piece)
{
    (void)user;
    (void)piece;
}

static void on_done(void *user, const struct exec_result *result, const struct ab_error *error)
{
    struct skillcall *call = user;
    code_take_result(&call->code, result, error);
}

static void start(struct skillcall *call)
{
    static const struct exec_callbacks callbacks = {.on_output = on_output, .on_done = on_done};
    const struct tool_context *context = call->context;
    struct code *code = &call->code;
    struct ab_error err = {0};
    char language[16];
    int64_t now_ms = ab_mono_ms(), left_ms = context->job_until_ms - now_ms;
    int64_t timeout_ms = (int64_t)call->skill->record.timeout_s * 1000;

    if (!engine_files(code->run->engine, context->folder).p)
        code_attach(code->space->dir, engine_content(code->run->engine), &err);
    if (!err.code)
        code->library = skill_library(code->run, &call->skill, 1, ab_view_of(call->arguments), &err);
    if (err.code) {
        code_fail(code, &err);
        return;
    }
    timeout_ms = context->timeout_ms < timeout_ms ? context->timeout_ms : timeout_ms;
    timeout_ms = left_ms < timeout_ms ? left_ms : timeout_ms;
    snprintf(language, sizeof language, "%.*s", AB_VIEW_FMT(call->skill->record.language));
    struct exec_request request = {
        .kind = context->code && context->code->mode == AB_CODE_DOCKER ? EXEC_DOCKER : EXEC_LOCAL,
        .dir = code->space->dir,
        .language = language,
        .file = call->skill->file,
        .keep_file = true, /* it is none of the directory's */
        .library = code->library,
        .call_key = context->key,
        .timeout_ms = timeout_ms > 1 ? timeout_ms : 1,
        .before = &code->space->files,
    };
    code->stage = CODE_RUN;
    code->exec = exec_start(code->run->worker->exec, &request, &callbacks, call, now_ms);
}

/* The version that the journal says was called; else the one that the agent's list names. */
static bool look_up(struct skillcall *call)
{
    const struct skill *named = call->tool->data;
    const char *version = call->context->version;
    struct ab_error err = {0};
    if (call->skill)
        return true;
    call->skill =
        !*version || !strcmp(version, named->version)
            ? named
            : skill_get(call->code.run, named->name, strlen(named->name), strtoull(version, NULL, 10), &err);
    if (call->skill && *version && strcmp(version, call->skill->version))
        ab_fail(&err, AB_ENOTFOUND, "the version of %s that was called is gone", named->name);
    if (err.code)
        code_fail(&call->code, &err);
    return call->skill && !err.code;
}

bool skillcalls_use(const struct run *run, const char *folder)
{
    const struct skillcall *call;
    TAILQ_FOREACH(call, &run->skillcalls, in_run)
    if (call->code.space && !strcmp(call->code.space->folder, folder))
        return true;
    return false;
}

struct code *skillcall_asker(const struct run *run)
{
    struct skillcall *call;
    TAILQ_FOREACH(call, &run->skillcalls, in_run)
    if (call->code.asking)
        return &call->code;
    return NULL;
}

/* The directory of its conversation, once nobody else works there. */
static bool have_space(struct skillcall *call)
{
    struct code *code = &call->code;
    struct ab_error err = {0};
    if (code->space)
        return true;
    if (skillcalls_use(code->run, call->context->folder) || codes_use(code->run, call->context->folder) ||
        toolcalls_over(code->run))
        return false;
    code->space = code_space(code->run, call->context->folder, &err);
    if (!err.code)
        code_read_files(engine_files(code->run->engine, call->context->folder), &code->want, &err);
    if (err.code)
        code_fail(code, &err);
    return !err.code;
}

/* True: it is over and gone. */
static bool step(struct skillcall *call)
{
    struct code *code = &call->code;
    if (code->stage == CODE_RESTORE && look_up(call) && have_space(call) && code_restore(code))
        start(call);
    if (code->stage == CODE_FAILED) {
        struct ab_error why = code->error;
        finish(call, NULL, &why);
        return true;
    }
    if (code->stage != CODE_STORE || !code_store(code))
        return false;
    succeed(call);
    return true;
}

void skillcalls_step(struct run *run)
{
    struct skillcall *call, *next;
    for (call = TAILQ_FIRST(&run->skillcalls); call && !run->asking; call = next) {
        next = TAILQ_NEXT(call, in_run);
        step(call);
    }
}

/* --- a tool's ------------------------------------------------------------------------------------------------- */

static void *start_call(const struct tool *tool, const json_t *arguments, const struct tool_context *context,
                        tool_done_fn *done, void *user, struct ab_error *err)
{
    struct skillcall *call = ab_calloc(1, sizeof *call);
    (void)err;
    call->code.run = context->scope->owner;
    call->tool = tool;
    call->context = context;
    call->arguments = json_dumps(arguments, JSON_COMPACT | JSON_ENCODE_ANY);
    call->done = done;
    call->user = user;
    TAILQ_INSERT_TAIL(&call->code.run->skillcalls, call, in_run);
    run_wake(call->code.run);
    return call;
}

static void cancel_call(void *started)
{
    destroy(started);
}

const struct tool_ops skill_ops = {.start = start_call, .cancel = cancel_call, .keeps_time = true};
