/* Runs of all back ends: queue, probe, deadlines, collecting, callbacks. Owns the runs, the epoll set and the filter. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/exec/filter.h"
#include "worker/exec/internal.h"

enum { POLL_EVENTS_MAX = 64 };

/* --- descriptors ---------------------------------------------------------------------------------------------- */

void watch_add(struct exec_run *run, struct watch *watch, int fd, void (*ready)(struct exec_run *run))
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};
    *watch = (struct watch){.run = run, .fd = fd, .ready = ready};
    if (fd < 0 || epoll_ctl(run->exec->epoll, EPOLL_CTL_ADD, fd, &event))
        ab_log(AB_ERROR_LEVEL, "exec.watch", "error", strerror(errno), NULL);
}

void watch_close(struct exec *exec, struct watch *watch)
{
    if (watch->fd < 0)
        return;
    epoll_ctl(exec->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    close(watch->fd);
    watch->fd = -1;
}

void exec_again(struct exec *exec)
{
    eventfd_write(exec->more, 1);
}

/* --- runs ----------------------------------------------------------------------------------------------------- */

static struct exec_run *run_make(struct exec *exec, const struct exec_request *request)
{
    struct exec_run *run = ab_calloc(1, sizeof *run);
    run->exec = exec;
    run->backend = exec->kinds[request->kind].backend;
    run->request = *request;
    run->request.folder = run->texts[0] = ab_strdup(request->folder ? request->folder : "");
    run->request.language = run->texts[1] = ab_strdup(request->language ? request->language : "");
    run->request.file = run->texts[2] = ab_strdup(request->file ? request->file : "");
    run->request.call_key = run->texts[3] = request->call_key ? ab_strdup(request->call_key) : NULL;
    run->exited.fd = run->init.fd = run->output.fd = run->status.fd = run->gate.fd = -1;
    box_init(&run->box);
    run->cgroup = (struct cgroup){.procs = {-1, -1}};
    run->deadline_ms = run->look_ms = INT64_MAX;
    TAILQ_INSERT_TAIL(&exec->all, run, in_all);
    exec_again(exec);
    return run;
}

static void run_free(struct exec_run *run)
{
    struct exec *exec = run->exec;
    struct watch *watches[] = {&run->exited, &run->init, &run->output, &run->status, &run->gate};
    for (size_t i = 0; i < sizeof watches / sizeof *watches; i++)
        watch_close(exec, watches[i]);
    exec->turns -= run->has_turn;
    if (run->has_turn)
        exec_again(exec); /* another's turn */
    cgroup_finish(&run->cgroup);
    users_give_back(&exec->users, &run->box.user);
    box_finish(&run->box);
    docker_forget(run);
    TAILQ_REMOVE(&exec->all, run, in_all);
    for (size_t i = 0; i < sizeof run->texts / sizeof *run->texts; i++)
        free(run->texts[i]);
    free(run->stopped);
    ab_buf_finish(&run->status_text);
    ab_buf_finish(&run->raw);
    ab_buf_finish(&run->kept);
    file_list_finish(&run->files);
    free(run);
}

static void fail(struct exec_run *run, const struct ab_error *error)
{
    run->error = *error;
    run->state = RUN_DONE;
    exec_again(run->exec);
}

void run_stop(struct exec_run *run, int exit_code, char *why)
{
    if (run->stopped || run->state != RUN_RUNNING) {
        free(why);
        return;
    }
    run->stopped = why;
    run->exit_code = exit_code;
    run->deadline_ms = ab_mono_ms() + run->backend->kill_ms;
    run->look_ms = INT64_MAX;
    run->backend->kill(run);
}

/* What ended by itself may have been ended by the kernel for its memory. */
static void explain_end(struct exec_run *run)
{
    if (!run->stopped && cgroup_ran_out(&run->cgroup)) {
        run->stopped = ab_format("it used more than %llu MiB of memory",
                                 (unsigned long long)run->exec->options.memory_bytes_max >> 20);
        run->exit_code = run->exit_code ? run->exit_code : EXEC_KILLED;
    }
}

void run_gone(struct exec_run *run)
{
    run->state = RUN_COLLECTING;
    while (run->output.fd >= 0) { /* what is in the pipe; nobody writes any more */
        uint64_t before = run->written;
        run_output(run);
        if (run->written == before)
            break;
    }
    watch_close(run->exec, &run->output);
    run->deadline_ms = run->look_ms = INT64_MAX;
    explain_end(run);
    cgroup_finish(&run->cgroup);
    exec_again(run->exec);
}

/* --- probes --------------------------------------------------------------------------------------------------- */

static void start(struct exec_run *run, int64_t now_ms)
{
    struct ab_error err = {0};
    run->state = RUN_RUNNING;
    run->exec->turns++;
    run->has_turn = true;
    run->started_ms = now_ms;
    run->deadline_ms = now_ms + run->request.timeout_ms;
    run->look_ms = run->probe ? INT64_MAX : now_ms + run->backend->look_ms;
    if (run->backend->start(run, &err))
        fail(run, &err);
}

static void probe(struct exec *exec, enum exec_kind kind, int64_t now_ms)
{
    struct exec_request request = {.kind = kind, .timeout_ms = PROBE_MS};
    struct exec_run *run = run_make(exec, &request);
    exec->kinds[kind].readiness = PROBING;
    run->probe = true;
    start(run, now_ms);
}

static void judge(struct exec_run *run, int64_t now_ms)
{
    struct kind_state *kind = &run->exec->kinds[run->request.kind];
    int code = run->error.code;
    kind->why = run->error;
    if (!code && run->stopped)
        code = ab_fail(&kind->why, AB_ESYSTEM, "code cannot be run: the probe of the sandbox did not end: %s",
                       run->stopped);
    if (!code)
        code = run->backend->judge(run, kind->protections, &kind->why);
    kind->readiness = code ? BROKEN : READY;
    kind->again_ms = now_ms + PROBE_AGAIN_MS;
    ab_log(code ? AB_WARN : AB_INFO, "exec.probe", "isolation", run->backend->name, "text",
           code ? kind->why.text : kind->protections, NULL);
    exec_again(run->exec);
    run_free(run);
}

/* A run that waits for its turn, if that is now. */
static void advance(struct exec_run *run, int64_t now_ms)
{
    struct exec *exec = run->exec;
    struct kind_state *kind = &exec->kinds[run->request.kind];
    if (kind->readiness == UNKNOWN || (kind->readiness == BROKEN && now_ms >= kind->again_ms)) {
        probe(exec, run->request.kind, now_ms);
    } else if (kind->readiness == BROKEN) {
        fail(run, &kind->why);
    } else if (kind->readiness == READY && exec->turns < EXEC_RUNS_MAX) {
        start(run, now_ms);
    }
}

/* --- collecting ----------------------------------------------------------------------------------------------- */

/* Over a limit, the directory is of no use; the caller makes it new from what it last kept. */
static void over_limit(struct exec_run *run, const struct ab_error *err)
{
    file_list_finish(&run->files);
    run->listed = false;
    run->exit_code = run->exit_code ? run->exit_code : EXEC_KILLED;
    if (!run->stopped)
        run->stopped = ab_strdup(err->text);
    run->state = RUN_DONE;
}

static void remove_script(struct exec_run *run)
{
    const struct exec_request *request = &run->request;
    if (request->keep_file)
        return;
    char *path = ab_format("%s%s%s", request->folder, *request->folder ? "/" : "", request->file);
    if (run->box.open)
        box_remove(&run->box, path);
    else
        workdir_remove(request->dir, path);
    free(path);
}

static int list_files(struct exec_run *run, struct ab_error *err)
{
    remove_script(run);
    run->listed = true;
    return run->box.open ? box_list(&run->box, &run->files, err)
                         : workdir_list(run->request.dir, &run->files, err);
}

static int take_files(struct exec_run *run, bool *done, struct ab_error *err)
{
    const struct exec_request *request = &run->request;
    if (!run->box.open)
        return workdir_hash(request->dir, &run->files, request->before, PIECE_OF_WORK, done, err);
    if (!run->hashed)
        return box_hash(&run->box, &run->files, PIECE_OF_WORK, &run->hashed, err);
    return box_take(&run->box, request->dir, &run->files, PIECE_OF_WORK, done, err);
}

static void collect(struct exec_run *run)
{
    struct ab_error err = {0};
    bool done = false;
    int code = run->listed ? 0 : list_files(run, &err);
    if (!code)
        code = take_files(run, &done, &err);
    exec_again(run->exec);
    if (code == AB_ETOOLARGE)
        over_limit(run, &err);
    else if (code)
        fail(run, &err);
    else if (done)
        run->state = RUN_DONE;
}

static void collected(struct exec_run *run)
{
    struct ab_error err = {0};
    if (run->error.code == AB_ETOOLARGE) { /* what it was to be given */
        err = run->error;
        run->error = (struct ab_error){0};
        over_limit(run, &err);
        exec_again(run->exec);
    } else if (run->error.code) {
        fail(run, &run->error);
    } else if (!run->ran && !run->stopped && !run->probe) {
        ab_fail(&err, AB_EUNAVAILABLE, "the sandbox could not be made: %.*s",
                (int)strcspn(ab_buf_cstr(&run->kept), "\n"), ab_buf_cstr(&run->kept));
        fail(run, &err);
    } else if (run->probe) {
        run->state = RUN_DONE;
        exec_again(run->exec);
    } else {
        collect(run);
    }
}

static void report(struct exec_run *run, int64_t now_ms)
{
    struct exec_result result = {.exit_code = run->exit_code,
                                 .stopped = run->stopped,
                                 .output = ab_buf_view(&run->kept),
                                 .output_bytes = run->written,
                                 .duration_ms = now_ms - run->started_ms,
                                 .protections = run->exec->kinds[run->request.kind].protections,
                                 .files = run->listed ? &run->files : NULL};
    run->callbacks.on_done(run->user, run->error.code ? NULL : &result, run->error.code ? &run->error : NULL);
    run_free(run);
}

/* --- time ----------------------------------------------------------------------------------------------------- */

static void look(struct exec_run *run, int64_t now_ms)
{
    bool boxed = run->backend->boxed;
    const char *over = boxed ? workdir_disk_over(run->request.dir) : workdir_over(run->request.dir);
    const char *box = run->box.open ? box_over(&run->box) : NULL;
    run->look_ms = now_ms + run->backend->look_ms;
    if (over)
        run_stop(run, EXEC_KILLED, ab_format("the job's directory has %s", over));
    else if (box)
        run_stop(run, EXEC_KILLED, ab_strdup(box));
}

static void heed_time(struct exec_run *run, int64_t now_ms)
{
    if (now_ms >= run->look_ms)
        look(run, now_ms);
    if (now_ms < run->deadline_ms)
        return;
    if (!run->stopped) {
        run_stop(run, EXEC_TIMED_OUT,
                 ab_format("it ran longer than %lld s", (long long)((run->request.timeout_ms + 999) / 1000)));
        return;
    }
    struct ab_error err = {0};
    ab_fail(&err, AB_ESYSTEM, "code was killed (%s), but its processes do not go", run->stopped);
    ab_log(AB_ERROR_LEVEL, "exec.stuck", "text", err.text, NULL);
    fail(run, &err);
}

static bool step(struct exec_run *run, int64_t now_ms)
{
    if (run->orphan && run->state != RUN_RUNNING) {
        run_free(run);
        return false;
    }
    switch (run->state) {
    case RUN_QUEUED:
        advance(run, now_ms);
        break;
    case RUN_RUNNING:
        if (run->backend->tick)
            run->backend->tick(run);
        heed_time(run, now_ms);
        break;
    case RUN_COLLECTING:
        collected(run);
        break;
    case RUN_DONE:
        if (run->probe)
            judge(run, now_ms);
        else
            report(run, now_ms);
        return false;
    }
    return true;
}

/* --- the interface -------------------------------------------------------------------------------------------- */

int exec_create(const struct exec_options *options, struct exec **out, struct ab_error *err)
{
    struct exec *exec = ab_calloc(1, sizeof *exec);
    *out = exec;
    exec->options = *options;
    exec->kinds[EXEC_DOCKER].backend = &exec_docker;
    exec->kinds[EXEC_LOCAL].backend = options->unsafe_host ? &exec_unsafe_host : &exec_local;
    exec->filter = -1;
    TAILQ_INIT(&exec->all);
    exec->epoll = epoll_create1(EPOLL_CLOEXEC);
    exec->more = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (exec->epoll < 0 || exec->more < 0 || epoll_ctl(exec->epoll, EPOLL_CTL_ADD, exec->more, &event))
        return ab_fail(err, AB_ESYSTEM, "cannot make a descriptor set: %s", strerror(errno));
    cgroups_init(&exec->cgroups, "/sys/fs/cgroup", "/proc/self/cgroup");
    int code = users_init(&exec->users, options->code_uids, err);
    return code ? code : filter_create(&exec->filter, err);
}

void exec_cancel(struct exec_run *run)
{
    if (!run)
        return;
    run->callbacks = (struct exec_callbacks){0};
    bool runs = run->state == RUN_RUNNING;
    if (runs)
        run_stop(run, EXEC_KILLED, ab_strdup("cancelled"));
    if (runs && run->backend->lingers) {
        run->orphan = true;
        return;
    }
    if (runs)
        run->backend->wait(run, ab_mono_ms() + KILL_MS);
    run_free(run);
}

void exec_destroy(struct exec *exec)
{
    if (!exec)
        return;
    struct exec_run *run;
    while ((run = TAILQ_FIRST(&exec->all))) {
        exec_cancel(run);
        if (TAILQ_FIRST(&exec->all) != run)
            continue;
        run->backend->wait(run, ab_mono_ms() + KILL_MS); /* what is left the next worker's probe removes */
        run_free(run);
    }
    docker_destroy(exec);
    cgroups_finish(&exec->cgroups);
    users_finish(&exec->users);
    int fds[] = {exec->epoll, exec->more, exec->filter};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(exec);
}

int exec_fd(const struct exec *exec)
{
    return exec->epoll;
}

int64_t exec_deadline_ms(const struct exec *exec)
{
    const struct exec_run *run;
    int64_t at = docker_deadline_ms(exec);
    TAILQ_FOREACH(run, &exec->all, in_all)
    {
        at = run->deadline_ms < at ? run->deadline_ms : at;
        at = run->look_ms < at ? run->look_ms : at;
    }
    return at;
}

/* One event at a time: a handler may free its run and with it the others' watches. */
static void take_events(struct exec *exec)
{
    struct epoll_event event;
    for (int i = 0; i < POLL_EVENTS_MAX && epoll_wait(exec->epoll, &event, 1, 0) > 0; i++) {
        struct watch *watch = event.data.ptr;
        eventfd_t count;
        if (event.data.ptr == exec)
            docker_events(exec);
        else if (watch)
            watch->ready(watch->run);
        else
            eventfd_read(exec->more, &count);
    }
}

void exec_poll(struct exec *exec, int64_t now_ms)
{
    struct exec_run *run, *next;
    take_events(exec);
    docker_time(exec, now_ms);
    for (run = TAILQ_FIRST(&exec->all); run; run = next) {
        next = TAILQ_NEXT(
            run, in_all); /* callbacks may start runs, which go to the end, and cancel their own only */
        step(run, now_ms);
    }
}

struct exec_run *exec_start(struct exec *exec, const struct exec_request *request,
                            const struct exec_callbacks *callbacks, void *user, int64_t now_ms)
{
    (void)now_ms;
    struct exec_run *run = run_make(exec, request);
    run->callbacks = *callbacks;
    run->user = user;
    return run;
}

int exec_check(struct exec *exec, enum exec_kind kind, char protections[EXEC_PROTECTIONS_MAX],
               struct ab_error *err)
{
    struct kind_state *state = &exec->kinds[kind];
    probe(exec, kind, ab_mono_ms());
    while (state->readiness == PROBING) {
        struct pollfd one = {.fd = exec->epoll, .events = POLLIN};
        int64_t left_ms = exec_deadline_ms(exec) - ab_mono_ms();
        if (poll(&one, 1, left_ms > PROBE_MS ? PROBE_MS : left_ms > 0 ? (int)left_ms : 0) < 0 && errno != EINTR)
            break;
        exec_poll(exec, ab_mono_ms());
    }
    if (state->readiness == READY)
        memcpy(protections, state->protections, EXEC_PROTECTIONS_MAX);
    else
        *err = state->why;
    return state->readiness == READY ? 0 : err->code;
}
