/* Code blocks of jobs: the effect CODE, from the engine's wish to the event `code_result`.
 *
 *   restore   the conversation's directory gets the files that the journal names, from storage, unless it has them
 *   run       in the sandbox (worker/exec); output streams as a model's text does
 *   store     files that storage does not have yet are put there
 *   journal   code_result names them all: a job that moves to another machine finds them
 *
 * Level-triggered as all of a run: code_step looks where a block stands and goes on. What happens in between (the sandbox
 * is done, storage answered) only changes that and wakes the run. Owns the blocks under way and the directories.
 */
#include "worker/codes.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/skills.h"

struct exec_options exec_options_of(const struct ab_config *config)
{
    return (struct exec_options){
        .unsafe_host = !strcmp(ab_config_text(config, AB_CONF_ISOLATION), "unsafe-host"),
        .memory_bytes_max = (uint64_t)ab_config_int(config, AB_CONF_CODE_MEMORY_BYTES_MAX),
        .code_uids = ab_config_text(config, AB_CONF_CODE_UIDS),
        .docker_socket = ab_config_text(config, AB_CONF_DOCKER_SOCKET),
        .docker_image = ab_config_text(config, AB_CONF_DOCKER_IMAGE)};
}

/* --- directories ---------------------------------------------------------------------------------------------- */

struct workspace *code_space(struct run *run, const char *folder, struct ab_error *err)
{
    struct workspace *space;
    char id[AB_ID_TEXT];
    TAILQ_FOREACH(space, &run->spaces, in_run)
    if (!strcmp(space->folder, folder))
        return space;
    char *name = ab_format("%s%s%s", ab_id_text(run->job, id), *folder ? "-" : "", folder);
    struct workdir *dir = NULL;
    if (!workdir_create(run->worker->workdirs, name, &dir, err)) {
        space = ab_calloc(1, sizeof *space);
        space->dir = dir;
        snprintf(space->folder, sizeof space->folder, "%s", folder);
        TAILQ_INSERT_TAIL(&run->spaces, space, in_run);
    }
    free(name);
    return space;
}

static void forget_files(struct workspace *space, struct ab_error *err)
{
    file_list_finish(&space->files);
    workdir_empty(space->dir, err);
}

/* --- blocks --------------------------------------------------------------------------------------------------- */

void code_clear(struct code *code)
{
    exec_cancel(code->exec);
    workdir_destroy(code->library);
    file_list_finish(&code->want);
    file_list_finish(&code->files);
    ab_buf_finish(&code->output);
    ab_buf_finish(&code->skills);
    feed_clear(&code->feed);
    free(code->script);
    free(code->stopped);
    free(code->isolation);
}

static void code_free(struct code *code)
{
    TAILQ_REMOVE(&code->run->codes, code, in_run);
    code_clear(code);
    free(code);
}

void codes_flush_text(struct run *run)
{
    struct code *code;
    TAILQ_FOREACH(code, &run->codes, in_run)
    feed_flush(run, &code->feed);
}

void codes_abort(struct run *run)
{
    while (!TAILQ_EMPTY(&run->codes))
        code_free(TAILQ_FIRST(&run->codes));
}

void codes_finish(struct run *run)
{
    struct workspace *space;
    codes_abort(run);
    while ((space = TAILQ_FIRST(&run->spaces))) {
        TAILQ_REMOVE(&run->spaces, space, in_run);
        file_list_finish(&space->files);
        workdir_destroy(space->dir);
        free(space);
    }
}

void code_fail(struct code *code, const struct ab_error *error)
{
    code->error = *error;
    code->stage = CODE_FAILED;
}

void code_refuse(struct code *code, const struct ab_error *error)
{
    struct ab_error err = {0};
    free(code->stopped);
    code->stopped = ab_strdup(error->text);
    code->exit_code = code->exit_code ? code->exit_code : 1;
    file_list_finish(&code->files);
    code->listed = false;
    code->stage = CODE_STORE;
    forget_files(code->space, &err);
    if (err.code)
        code_fail(code, &err);
}

static struct code *code_make(struct run *run, const struct engine_effect *effect, struct ab_error *err)
{
    struct workspace *space = code_space(run, effect->folder, err);
    struct code *code = space ? ab_calloc(1, sizeof *code) : NULL;
    if (!code)
        return NULL;
    code->run = run;
    code->space = space;
    memcpy(code->step, effect->step, sizeof code->step);
    feed_init(run, &code->feed, code->step, effect->agent);
    TAILQ_INSERT_TAIL(&run->codes, code, in_run);
    if (code_read_files(effect->files, &code->want, err))
        code_fail(code, err);
    return code;
}

/* --- running -------------------------------------------------------------------------------------------------- */

static void on_output(void *user, struct ab_view piece)
{
    struct code *code = user;
    feed_add(code->run, &code->feed, piece);
}

static void on_done(void *user, const struct exec_result *result, const struct ab_error *error)
{
    code_take_result(user, result, error);
}

void code_take_result(struct code *code, const struct exec_result *result, const struct ab_error *error)
{
    code->exec = NULL;
    workdir_destroy(code->library);
    code->library = NULL;
    run_wake(code->run);
    if (error) {
        code_fail(code, error);
        return;
    }
    code->stage = CODE_STORE;
    code->exit_code = result->exit_code;
    code->stopped = result->stopped ? ab_strdup(result->stopped) : NULL;
    code->isolation = ab_strdup(result->protections);
    ab_buf_add(&code->output, result->output.p, result->output.n);
    code->output_bytes = result->output_bytes;
    code->duration_ms = result->duration_ms;
    if (result->files) {
        code->files = *result->files;
        *result->files = (struct file_list){0};
        code->listed = true;
    } else {
        struct ab_error err = {0};
        forget_files(code->space, &err);
        if (err.code)
            code_fail(code, &err);
    }
}

/* A block without a name is called after its text; its file is of no use to anybody afterwards. */
static char *script_name(const struct code_block *block)
{
    uint8_t hash[8];
    if (block->name.n)
        return ab_view_dup(block->name);
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, crypto_generichash_BYTES_MIN);
    uint8_t whole[crypto_generichash_BYTES_MIN];
    crypto_generichash_update(&state, (const unsigned char *)block->code.p, block->code.n);
    crypto_generichash_final(&state, whole, sizeof whole);
    memcpy(hash, whole, sizeof hash);
    return ab_format("code-%02x%02x%02x%02x%02x%02x%02x%02x.%s", hash[0], hash[1], hash[2], hash[3], hash[4],
                     hash[5], hash[6], hash[7], strcmp(block->language, "python") ? "sh" : "py");
}

static int write_script(struct code *code, const struct engine_effect *effect, struct ab_error *err)
{
    const char *folder = effect->code_config->work_dir;
    code->script = script_name(&effect->code);
    int failed = workdir_check_path(code->script, err);
    if (!failed && folder)
        failed = workdir_make_folder(code->space->dir, folder, err);
    char *path = folder ? ab_format("%s/%s", folder, code->script) : ab_strdup(code->script);
    if (!failed)
        failed = workdir_write(code->space->dir, path, 0, effect->code.code, false, err);
    free(path);
    return failed;
}

static void start(struct code *code, const struct engine_effect *effect)
{
    static const struct exec_callbacks callbacks = {.on_output = on_output, .on_done = on_done};
    const struct ab_code_config *config = effect->code_config;
    struct ab_error err = {0};
    int failed = effect->files.p ? 0 : code_attach(code->space->dir, engine_content(code->run->engine), &err);
    if (!failed)
        failed = write_script(code, effect, &err);
    if (failed == AB_EUNAVAILABLE) /* the disk is full */
        code_fail(code, &err);
    else if (failed)
        code_refuse(code, &err);
    if (failed)
        return;
    int64_t timeout_ms = config->timeout_s * 1000;
    struct exec_request request = {
        .kind = config->mode == AB_CODE_DOCKER ? EXEC_DOCKER : EXEC_LOCAL,
        .dir = code->space->dir,
        .folder = config->work_dir ? config->work_dir : "",
        .language = effect->code.language,
        .file = code->script,
        .keep_file = effect->code.name.n,
        .library = code->library,
        .timeout_ms = effect->left_ms && effect->left_ms < timeout_ms ? effect->left_ms : timeout_ms,
        .before = &code->space->files,
    };
    code->stage = CODE_RUN;
    code->exec = exec_start(code->run->worker->exec, &request, &callbacks, code, ab_mono_ms());
}

/* --- the event ------------------------------------------------------------------------------------------------ */

static void log_result(const struct code *code, const struct ab_code_result *result)
{
    char id[AB_ID_TEXT];
    ab_log(AB_INFO, "code.result", "job", ab_id_text(code->run->job, id), "step", code->step, "exit_code",
           ab_num(result->exit_code), "ms", ab_num((long long)code->duration_ms), "files",
           ab_num((long long)code->files.n), "stopped", code->stopped ? code->stopped : "", NULL);
}

/* The block is over with it, whether the event could be added or not. */
static int journal(struct code *code, const struct engine_effect *effect, struct ab_error *err)
{
    struct run *run = code->run;
    struct ab_buf files = {0};
    struct ab_code_result result = {.step = ab_view_of(effect->step),
                                    .agent = ab_view_of(effect->agent),
                                    .to = ab_view_of(effect->to),
                                    .chosen = ab_view_of(effect->chosen),
                                    .block = effect->code_index,
                                    .language = ab_view_of(effect->code.language),
                                    .exit_code = code->exit_code,
                                    .stopped = ab_view_of(code->stopped),
                                    .output = ab_buf_view(&code->output),
                                    .output_bytes = code->output_bytes,
                                    .duration_ms = (uint64_t)code->duration_ms,
                                    .isolation = ab_view_of(code->isolation),
                                    .skills = code->skills.n ? ab_buf_view(&code->skills) : (struct ab_view){0},
                                    .folder = ab_view_of(effect->folder),
                                    .at_ms = (uint64_t)ab_wall_ms()};
    if (code->listed) {
        code_write_files(&code->files, &files);
        result.files = ab_buf_view(&files);
        file_list_finish(&code->space->files);
        code->space->files = code->files;
        log_result(code, &result);
        code->files = (struct file_list){0};
    } else {
        log_result(code, &result);
    }
    feed_flush(run, &code->feed);
    int failed = journal_add(run, AB_KIND_CODE_RESULT, &result, err);
    ab_buf_finish(&files);
    code_free(code);
    return failed;
}

/* --- the steps ------------------------------------------------------------------------------------------------ */

static struct code *code_of(struct run *run, const char *step)
{
    struct code *code;
    TAILQ_FOREACH(code, &run->codes, in_run)
    if (!strcmp(code->step, step))
        return code;
    return NULL;
}

bool code_under_way(struct run *run, const char *step)
{
    return code_of(run, step) != NULL;
}

bool codes_use(const struct run *run, const char *folder)
{
    const struct code *code;
    TAILQ_FOREACH(code, &run->codes, in_run)
    if (!strcmp(code->space->folder, folder))
        return true;
    return false;
}

/* The skills of the workflow's agents, which its code may import. */
static bool have_library(struct code *code)
{
    struct ab_error err = {0};
    if (!code->has_library)
        code->has_library = skills_for_code(code->run, &code->library, &code->skills, &err);
    if (err.code)
        code_fail(code, &err);
    return code->has_library;
}

bool code_step(struct run *run, const struct engine_effect *effect, struct ab_error *err)
{
    struct code *code = code_of(run, effect->step);
    bool taken = codes_use(run, effect->folder) || skillcalls_use(run, effect->folder) || toolcalls_over(run);
    if (!code && (taken || !(code = code_make(run, effect, err))))
        return false;
    if (code->stage == CODE_RESTORE && have_library(code) && code_restore(code))
        start(code, effect);
    if (code->stage == CODE_STORE && code_store(code))
        return !journal(code, effect, err);
    if (code->stage == CODE_FAILED) {
        *err = code->error;
        code_free(code);
    }
    return false;
}
