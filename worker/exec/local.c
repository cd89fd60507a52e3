/* The back ends on this machine: bubblewrap, and no isolation at all.
 *
 * bubblewrap makes the namespaces and the file system that the code sees (arguments.c): /usr and the libraries read-only, /proc
 * read-only, a minimal /dev, private /tmp and /dev/shm of bounded size, the job's directory as /workspace, nothing else. Its
 * first process in the new pid namespace is the one all others die with. A shell in front of the script sets the limit on
 * processes, which counts per user namespace and so can only be set inside.
 *
 * Everything the child does between fork and exec is safe in a process with threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/tree.h"
#include "worker/exec/internal.h"

enum {
    FDS_FROM = 128, /* descriptors that are moved to those that bubblewrap's arguments name stand above */
    STATUS_BYTES_MAX = 4096,
};

/* --- the child ------------------------------------------------------------------------------------------------ */

/* All that it needs is made before the fork. */
struct launch {
    struct args args;
    char *env[ENVIRONMENT_N + 2]; /* owned */
    const char *program, *cwd;
    int nothing, output, status, filter, gate; /* the last three: -1 if there is none */
    int space;                                 /* user namespace to go into; -1: none. Borrowed */
    int library[EXEC_LIBRARY_FILES_MAX];
    size_t library_n;
    const struct cgroup *cgroup;
    uint64_t memory_bytes; /* of one process; 0: the control group bounds it */
    pid_t parent;
};

static void limit(int which, uint64_t value)
{
    struct rlimit both = {value, value};
    if (setrlimit((__rlimit_resource_t)which, &both))
        _exit(126);
}

static void set_limits(const struct launch *launch)
{
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, WORKDIR_FILE_BYTES_MAX);
    limit(RLIMIT_NOFILE, EXEC_OPEN_FILES_MAX);
    limit(RLIMIT_MEMLOCK, 64 << 10);
    limit(RLIMIT_MSGQUEUE, 0);
    if (launch->memory_bytes)
        limit(RLIMIT_AS, launch->memory_bytes);
}

static void take_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
}

static void join(const struct cgroup *cgroup)
{
    for (int i = 0; i < CGROUP_CONTROLLERS; i++)
        if (cgroup->procs[i] >= 0 && write(cgroup->procs[i], "0", 1) != 1)
            _exit(126);
}

static void put_fd(int from, int to)
{
    if (from >= 0 ? dup2(from, to) < 0 : close(to) && errno != EBADF)
        _exit(126);
}

/* When memory runs out, code goes before the service does. */
static void go_first(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (write(fd, "800", 3) != 3)
            _exit(126);
        close(fd);
    }
}

/* As root it becomes the run's own user, which is root in that user's namespace only and so may make the sandbox's. The death
 * signal is the last thing, as a change of ids takes it back. */
static void become(const struct launch *launch)
{
    if (launch->space >= 0 && (syscall(SYS_setgroups, 0, NULL) || setns(launch->space, CLONE_NEWUSER) ||
                               syscall(SYS_setresgid, 0, 0, 0) || syscall(SYS_setresuid, 0, 0, 0)))
        _exit(126);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != launch->parent)
        _exit(126);
}

static void child(const struct launch *launch) __attribute__((noreturn));
static void child(const struct launch *launch)
{
    take_signals();
    if (setsid() < 0)
        _exit(126);
    join(launch->cgroup);
    go_first();
    become(launch);
    put_fd(launch->nothing, STDIN_FILENO);
    put_fd(launch->output, STDOUT_FILENO);
    put_fd(launch->output, STDERR_FILENO);
    put_fd(launch->status, STATUS_FD);
    put_fd(launch->filter, FILTER_FD);
    put_fd(launch->gate, GATE_FD);
    for (size_t i = 0; i < launch->library_n; i++)
        put_fd(launch->library[i], LIBRARY_FD + (int)i);
    if (syscall(SYS_close_range, LIBRARY_FD + launch->library_n, ~0u, 0))
        _exit(126);
    umask(022);
    set_limits(launch);
    if (chdir(launch->cwd))
        _exit(126);
    execve(launch->program, launch->args.items, launch->env);
    _exit(127);
}

/* --- starting ------------------------------------------------------------------------------------------------- */

static const char *find_bubblewrap(void)
{
    static const char *const places[] = {"/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (!access(places[i], X_OK))
            return places[i];
    return NULL;
}

/* Out of the way of the numbers that the child gives them. */
static int lifted(int fd)
{
    if (fd < 0 || fd >= FDS_FROM)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, FDS_FROM);
    close(fd);
    return high;
}

static int open_pipe(int *reading, int *writing)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC))
        return -1;
    *reading = fds[0];
    *writing = lifted(fds[1]);
    return *writing < 0 ? -1 : fcntl(fds[0], F_SETFL, O_NONBLOCK);
}

/* A shell writes and reads there. */
static int open_gate(int gates[2], int *inside)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gates))
        return -1;
    *inside = lifted(gates[1]);
    return *inside < 0 ? -1 : fcntl(gates[0], F_SETFL, O_NONBLOCK);
}

static void gone_if(struct exec_run *run)
{
    if (run->exited.fd < 0 && run->init_known && run->init.fd < 0)
        run_gone(run);
}

static void on_init(struct exec_run *run)
{
    watch_close(run->exec, &run->init);
    gone_if(run);
}

/* The namespace's init: when it is gone, all in it are. If it is gone already there is nothing to wait for. */
static void learn_init(struct exec_run *run, long pid)
{
    run->init_known = true;
    run->init_pid = (pid_t)pid;
    int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, (pid_t)pid, 0) : -1;
    if (fd >= 0)
        watch_add(run, &run->init, fd, on_init);
}

static void read_status(struct exec_run *run)
{
    const char *text = ab_buf_cstr(&run->status_text), *at = strstr(text, "\"child-pid\":");
    if (!run->init_known && at && strchr(at, '}'))
        learn_init(run, strtol(at + strlen("\"child-pid\":"), NULL, 10));
    run->ran |= strstr(text, "\"exit-code\":") != NULL;
}

/* bubblewrap says who the init is as soon as it made it, and at the end how the script did. */
static void on_status(struct exec_run *run)
{
    char bytes[512];
    ssize_t n = read(run->status.fd, bytes, sizeof bytes);
    if (n > 0 && run->status_text.n < STATUS_BYTES_MAX)
        ab_buf_add(&run->status_text, bytes, (size_t)n);
    read_status(run);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    watch_close(run->exec, &run->status);
    run->init_known = true; /* or it was never made */
    gone_if(run);
}

static void on_exited(struct exec_run *run)
{
    siginfo_t info = {0};
    if (waitid((idtype_t)P_PIDFD, (id_t)run->exited.fd, &info, WEXITED | WNOHANG) || !info.si_pid)
        return;
    if (!run->stopped)
        run->exit_code = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    watch_close(run->exec, &run->exited);
    while (run->status.fd >= 0) { /* all of it is there: its writer is gone, or about to */
        size_t before = run->status_text.n;
        on_status(run);
        if (run->status.fd >= 0 && run->status_text.n == before)
            break;
    }
    if (run->state == RUN_RUNNING)
        gone_if(run);
}

/* With a position of its own: each child reads it to its end. */
static int own_filter(const struct exec *exec)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", exec->filter);
    return lifted(open(path, O_RDONLY | O_CLOEXEC));
}

/* --- its files ------------------------------------------------------------------------------------------------ */

static void box_fault(struct exec_run *run, const struct ab_error *err)
{
    if (!run->error.code && !run->stopped)
        run->error = *err;
    run_stop(run, EXEC_KILLED, ab_strdup(err->text));
}

/* Its shell waits for the files: the worker looks in. */
static void on_gate(struct exec_run *run)
{
    char byte;
    struct ab_error err = {0};
    ssize_t n = read(run->gate.fd, &byte, 1);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == 1 && !run->init_known && run->status.fd >= 0)
        on_status(run); /* said before */
    if (n != 1 || run->placing || run->stopped) {
        watch_close(run->exec, &run->gate);
    } else if (box_open(&run->box, run->init_pid, &err)) {
        box_fault(run, &err);
    } else {
        run->placing = true;
        exec_again(run->exec);
    }
}

/* Opens the gate: the script's time begins. */
static void let_go(struct exec_run *run)
{
    run->placing = false;
    run->started_ms = ab_mono_ms();
    run->deadline_ms = run->started_ms + run->request.timeout_ms;
    if (send(run->gate.fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
        ab_log(AB_WARN, "exec.gate", "error", strerror(errno), NULL); /* it is gone: its end says why */
    watch_close(run->exec, &run->gate);
}

static void tick_local(struct exec_run *run)
{
    struct ab_error err = {0};
    bool done = run->probe;
    if (!run->placing || run->stopped)
        return;
    if (!run->probe && box_place(&run->box, run->request.dir, run->request.before, PIECE_OF_WORK, &done, &err))
        box_fault(run, &err);
    else if (done)
        let_go(run);
    else
        exec_again(run->exec);
}

/* --- starting ------------------------------------------------------------------------------------------------- */

static int launch(struct exec_run *run, struct launch *l, struct ab_error *err)
{
    int reading = -1, status_in = -1, gates[2] = {-1, -1};
    l->parent = getpid();
    l->output = l->status = l->gate = -1;
    l->nothing = lifted(open("/dev/null", O_RDONLY | O_CLOEXEC));
    for (size_t i = 0; i < ENVIRONMENT_N; i++)
        l->env[i] = args_environment(i);
    l->env[ENVIRONMENT_N] = args_library(run);
    bool sandboxed = run->backend == &exec_local;
    l->filter = sandboxed ? own_filter(run->exec) : -1;
    bool ready = l->nothing >= 0 && (!sandboxed || l->filter >= 0) && !open_pipe(&reading, &l->output) &&
                 (!sandboxed || (!open_pipe(&status_in, &l->status) && !open_gate(gates, &l->gate)));
    pid_t pid = ready ? fork() : -1;
    if (!pid)
        child(l);
    int failed = errno;
    run->pid = pid;
    if (pid > 0) {
        watch_add(run, &run->exited, (int)syscall(SYS_pidfd_open, pid, 0), on_exited);
        watch_add(run, &run->output, reading, run_output);
        if (sandboxed) {
            watch_add(run, &run->status, status_in, on_status);
            watch_add(run, &run->gate, gates[0], on_gate);
        }
    }
    int own[] = {l->nothing,
                 l->output,
                 l->status,
                 l->filter,
                 l->gate,
                 pid > 0 ? -1 : reading,
                 pid > 0 ? -1 : status_in,
                 pid > 0 ? -1 : gates[0]};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (own[i] >= 0)
            close(own[i]);
    for (size_t i = 0; i <= ENVIRONMENT_N; i++)
        free(l->env[i]);
    cgroup_joined(&run->cgroup);
    return pid > 0 ? 0 : ab_fail(err, AB_EUNAVAILABLE, "cannot start a process for code: %s", strerror(failed));
}

static int start(struct exec_run *run, struct launch *l, struct ab_error *err)
{
    const struct exec_options *options = &run->exec->options;
    int code = cgroup_create(&run->exec->cgroups, options->memory_bytes_max, EXEC_PROCESSES_MAX + 8,
                             &run->cgroup, err);
    l->cgroup = &run->cgroup;
    l->memory_bytes = run->exec->cgroups.base[CGROUP_MEMORY] ? 0 : options->memory_bytes_max;
    return code ? code : launch(run, l, err);
}

/* Opens the files of the library; all of them, or err says which not. */
static int open_library(struct exec_run *run, struct launch *l, struct file_list *list, struct ab_error *err)
{
    struct workdir *library = run->request.library;
    int code = library ? workdir_list(library, list, err) : 0;
    if (!code && list->n > EXEC_LIBRARY_FILES_MAX)
        code = ab_fail(err, AB_ETOOLARGE, "a library has at most %d files", EXEC_LIBRARY_FILES_MAX);
    for (size_t i = 0; !code && i < list->n; i++) {
        int fd = lifted(workdir_open(library, list->items[i].path));
        if (fd < 0)
            code =
                ab_fail(err, AB_ESYSTEM, "cannot open %s for code: %s", list->items[i].path, strerror(errno));
        else
            l->library[l->library_n++] = fd;
    }
    return code;
}

static int start_local(struct exec_run *run, struct ab_error *err)
{
    struct launch l = {.program = find_bubblewrap(), .cwd = "/"};
    if (!l.program)
        return ab_fail(
            err, AB_ESYSTEM,
            "code cannot be run: there is no bubblewrap here; install it (package bubblewrap) on the "
            "worker's machine");
    if (users_take(&run->exec->users, &run->box.user, &l.space, err))
        return err->code;
    struct file_list library = {0};
    int code = open_library(run, &l, &library, err);
    if (!code) {
        args_bubblewrap(&l.args, run, run->request.library ? &library : NULL);
        args_command(&l.args, run);
        code = start(run, &l, err);
    }
    for (size_t i = 0; i < l.library_n; i++)
        close(l.library[i]);
    args_finish(&l.args);
    file_list_finish(&library);
    return code;
}

/* Nothing protects here: the worker's configuration wants it so. */
static int start_unsafe_host(struct exec_run *run, struct ab_error *err)
{
    struct launch l = {.program = "/bin/sh", .space = -1};
    static const char *const shell[] = {"/bin/sh", "-c", "shift; exec \"$@\"", "sh", "-", NULL};
    const char *folder = run->probe ? "" : run->request.folder;
    char *cwd = run->probe ? ab_strdup("/tmp")
                           : ab_format("%s%s%s", workdir_path(run->request.dir), *folder ? "/" : "", folder);
    l.cwd = cwd;
    args_add(&l.args, shell);
    args_command(&l.args, run);
    run->init_known = run->ran = true;
    int code = start(run, &l, err);
    args_finish(&l.args);
    free(cwd);
    return code;
}

/* --- ending --------------------------------------------------------------------------------------------------- */

static void kill_local(struct exec_run *run)
{
    int64_t until_ms = ab_mono_ms() + KILL_MS;
    /* Killed before it said who the init is, it could leave one behind that waits for it for ever. */
    while (!run->init_known && run->status.fd >= 0 && ab_mono_ms() < until_ms) {
        struct pollfd one = {.fd = run->status.fd, .events = POLLIN};
        if (poll(&one, 1, (int)(until_ms - ab_mono_ms())) > 0)
            on_status(run);
    }
    if (run->init.fd >= 0)
        syscall(SYS_pidfd_send_signal, run->init.fd, SIGKILL, NULL, 0);
    if (run->exited.fd >= 0)
        syscall(SYS_pidfd_send_signal, run->exited.fd, SIGKILL, NULL, 0);
}

static void kill_unsafe_host(struct exec_run *run)
{
    if (run->exited.fd >= 0)
        kill(-run->pid, SIGKILL); /* its session's group; it is not waited for yet, so the number is its own */
}

/* Of an exited one its end is taken too, so that no zombie stays. */
static void wait_local(struct exec_run *run, int64_t until_ms)
{
    struct watch *watches[] = {&run->exited, &run->init};
    for (size_t i = 0; i < sizeof watches / sizeof *watches; i++) {
        struct pollfd one = {.fd = watches[i]->fd, .events = POLLIN};
        while (watches[i]->fd >= 0 && ab_mono_ms() < until_ms)
            if (poll(&one, 1, (int)(until_ms - ab_mono_ms())) > 0)
                break;
    }
    if (run->exited.fd >= 0)
        run->exited.ready(run);
}

static int judge_unsafe_host(const struct exec_run *probe, char protections[EXEC_PROTECTIONS_MAX],
                             struct ab_error *err)
{
    (void)probe;
    (void)err;
    snprintf(protections, EXEC_PROTECTIONS_MAX, "none (unsafe-host)");
    return 0;
}

const struct exec_backend exec_local = {.name = "local",
                                        .kill_ms = KILL_MS,
                                        .boxed = true,
                                        .look_ms = BOX_LOOK_MS,
                                        .start = start_local,
                                        .kill = kill_local,
                                        .wait = wait_local,
                                        .tick = tick_local,
                                        .judge = probe_judge};
const struct exec_backend exec_unsafe_host = {.name = "unsafe-host",
                                              .kill_ms = KILL_MS,
                                              .look_ms = LOOK_MS,
                                              .start = start_unsafe_host,
                                              .kill = kill_unsafe_host,
                                              .wait = wait_local,
                                              .judge = judge_unsafe_host};
