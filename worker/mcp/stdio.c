/* stdio.h. */
#include "worker/mcp/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/clock.h"
#include "common/wire/schema.h"
#include "worker/mcp/keeper.h"
#include "worker/mcp/lines.h"

enum {
    READ_BYTES = 64 << 10,
    READS_MAX = 4, /* in one go, before others have their turn */
    ENDED_WHY_BYTES = 400,
};

enum closing { OPEN, ASKED /* its input is closed */, TERMINATED /* SIGTERM */, KILLED };

struct stdio {
    int epoll;
    const struct stdio_ops *ops; /* NULL: closed, nobody is told anything */
    void *user;
    pid_t pid; /* of the keeper */
    struct mcp_watch in, out, err, exited;
    struct ab_buf unread; /* for its input */
    size_t written;       /* of that */
    bool blocked;         /* its input is full: written on when there is room */
    struct lines lines;
    struct ab_buf err_line;
    char last_words[STDIO_LOG_LINE_BYTES_MAX + 1]; /* of standard error */
    int64_t window_ms;
    unsigned logged, not_logged;
    enum closing closing;
    int64_t next_ms; /* of closing; INT64_MAX: none */
    bool gone;
    int code;
};

/* --- the child ------------------------------------------------------------------------------------------------ */

struct child {
    char **argv;
    char *const *env;
    const char *cwd;
    int in, out, err;
    pid_t parent;
};

/* Only what is safe between fork and exec in a process with threads. */
static void become(const struct child *child) __attribute__((noreturn));
static void become(const struct child *child)
{
    sigset_t heard;
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigemptyset(&heard);
    sigaddset(&heard, SIGHUP); /* kept until the keeper asks for it */
    sigaddset(&heard, SIGTERM);
    sigprocmask(SIG_SETMASK, &heard, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGHUP) || getppid() != child->parent)
        _exit(KEEPER_CANNOT_START);
    if (dup2(child->in, STDIN_FILENO) < 0 || dup2(child->out, STDOUT_FILENO) < 0 ||
        dup2(child->err, STDERR_FILENO) < 0)
        _exit(KEEPER_CANNOT_START);
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 0))
        _exit(KEEPER_CANNOT_START);
    if (child->cwd && chdir(child->cwd)) {
        static const char why[] = "cannot enter the folder of `cwd`\n";
        if (write(STDERR_FILENO, why, sizeof why - 1) < 0)
            _exit(KEEPER_CANNOT_START);
        _exit(KEEPER_CANNOT_START);
    }
    execve("/proc/self/exe", child->argv, child->env);
    _exit(KEEPER_CANNOT_START);
}

static char **keeper_command(char *const *command, char parent[16])
{
    static char name[] = "autobots-worker", flag[] = KEEPER_FLAG;
    size_t n = 0;
    while (command[n])
        n++;
    char **argv = ab_calloc(n + 4, sizeof *argv);
    snprintf(parent, 16, "%ld", (long)getpid());
    argv[0] = name;
    argv[1] = flag;
    argv[2] = parent;
    memcpy(argv + 3, command, n * sizeof *argv);
    return argv;
}

/* Above the standard ones, so that dup2 never meets its own source. */
static int open_pipe(int fds[2])
{
    if (pipe2(fds, O_CLOEXEC))
        return -1;
    for (int i = 0; i < 2; i++)
        if (fds[i] <= STDERR_FILENO) {
            int high = fcntl(fds[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
            close(fds[i]);
            fds[i] = high;
        }
    return fds[0] < 0 || fds[1] < 0 ? -1 : 0;
}

static void close_all(int fds[][2], size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < 2; k++)
            if (fds[i][k] >= 0)
                close(fds[i][k]);
}

/* --- its standard error --------------------------------------------------------------------------------------- */

static void log_line(struct stdio *stdio, int64_t now_ms)
{
    struct ab_view text = ab_buf_view(&stdio->err_line);
    if (now_ms - stdio->window_ms >= STDIO_LOG_WINDOW_MS) {
        char told[64];
        snprintf(told, sizeof told, "%u lines were not logged", stdio->not_logged);
        if (stdio->not_logged && stdio->ops)
            stdio->ops->log(stdio->user, told);
        stdio->window_ms = now_ms;
        stdio->logged = stdio->not_logged = 0;
    }
    while (text.n && !ab_utf8_ok(text))
        text.n--;
    if (text.n) {
        snprintf(stdio->last_words, sizeof stdio->last_words, "%.*s", AB_VIEW_FMT(text));
        if (stdio->logged++ >= STDIO_LOG_LINES_MAX)
            stdio->not_logged++;
        else if (stdio->ops)
            stdio->ops->log(stdio->user, stdio->last_words);
    }
    ab_buf_clear(&stdio->err_line);
}

static void take_err(struct stdio *stdio, const char *bytes, size_t n, int64_t now_ms)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n')
            log_line(stdio, now_ms);
        else if (bytes[i] != '\r' && stdio->err_line.n < STDIO_LOG_LINE_BYTES_MAX)
            ab_buf_char(&stdio->err_line, bytes[i]);
    }
}

/* --- what comes out ------------------------------------------------------------------------------------------- */

static void on_line(void *user, struct ab_view line)
{
    struct stdio *stdio = user;
    if (stdio->ops)
        stdio->ops->line(stdio->user, line);
}

static void on_too_long(void *user, int64_t id, uint64_t bytes)
{
    struct stdio *stdio = user;
    if (stdio->ops)
        stdio->ops->too_long(stdio->user, id, bytes);
}

/* False: the pipe has ended. */
static bool drain(struct stdio *stdio, struct mcp_watch *watch, int reads)
{
    static const struct lines_ops ops = {on_line, on_too_long};
    static char bytes[READ_BYTES]; /* one thread */
    for (int i = 0; i < reads && watch->fd >= 0; i++) {
        ssize_t n = read(watch->fd, bytes, sizeof bytes);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (!n)
            return false;
        if (watch == &stdio->err)
            take_err(stdio, bytes, (size_t)n, ab_mono_ms());
        else
            lines_feed(&stdio->lines, ab_view(bytes, (size_t)n), &ops, stdio);
    }
    return true;
}

static void tell_end(struct stdio *stdio, int code, const char *why)
{
    const struct stdio_ops *ops = stdio->ops;
    char text[ENDED_WHY_BYTES];
    snprintf(text, sizeof text, "%.90s%s%.290s", why, *stdio->last_words ? "; it last wrote: " : "",
             stdio->last_words);
    while (!ab_utf8_ok(ab_view_of(text)))
        text[strlen(text) - 1] = 0;
    stdio->ops = NULL;
    if (ops)
        ops->ended(stdio->user, code, text);
}

static void on_out(void *owner)
{
    struct stdio *stdio = owner;
    if (drain(stdio, &stdio->out, READS_MAX))
        return;
    mcp_watch_close(stdio->epoll, &stdio->out); /* its exit, with a code, most often follows at once */
    if (stdio->next_ms == INT64_MAX)
        stdio->next_ms = ab_mono_ms() + STDIO_EXIT_MS;
}

static void on_err(void *owner)
{
    struct stdio *stdio = owner;
    if (!drain(stdio, &stdio->err, READS_MAX))
        mcp_watch_close(stdio->epoll, &stdio->err);
}

static void on_exited(void *owner)
{
    struct stdio *stdio = owner;
    siginfo_t info = {0};
    char why[80];
    if (waitid((idtype_t)P_PIDFD, (id_t)stdio->exited.fd, &info, WEXITED | WNOHANG) || !info.si_pid)
        return;
    mcp_watch_close(stdio->epoll, &stdio->exited);
    drain(stdio, &stdio->out, 1024); /* all its processes are gone: what they wrote is all there is */
    drain(stdio, &stdio->err, 1024);
    if (stdio->err_line.n)
        log_line(stdio, ab_mono_ms());
    stdio->gone = true;
    stdio->code = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    if (stdio->code > 128)
        snprintf(why, sizeof why, "the server was ended by signal %d", stdio->code - 128);
    else
        snprintf(why, sizeof why, "the server ended with exit code %d", stdio->code);
    tell_end(stdio, stdio->code, why);
}

/* --- what goes in --------------------------------------------------------------------------------------------- */

static void write_on(struct stdio *stdio)
{
    while (stdio->in.fd >= 0 && stdio->written < stdio->unread.n) {
        ssize_t n = write(stdio->in.fd, stdio->unread.p + stdio->written, stdio->unread.n - stdio->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) /* it reads no more: its end is told by itself */
            ab_buf_clear(&stdio->unread);
        if (n < 0)
            break;
        stdio->written += (size_t)n;
    }
    bool full = stdio->written < stdio->unread.n;
    if (!full) {
        ab_buf_finish(&stdio->unread);
        stdio->written = 0;
    }
    if (full != stdio->blocked && stdio->in.fd >= 0)
        mcp_watch_change(stdio->epoll, &stdio->in, full ? EPOLLOUT : 0);
    stdio->blocked = full;
}

static void on_in(void *owner)
{
    struct stdio *stdio = owner;
    if (stdio->blocked)
        write_on(stdio);
    else /* nothing is waited for but that it was closed at the other end */
        mcp_watch_close(stdio->epoll, &stdio->in);
}

void stdio_send(struct stdio *stdio, struct ab_view text)
{
    if (stdio->in.fd < 0)
        return;
    if (stdio->unread.n - stdio->written + text.n > STDIO_UNREAD_BYTES_MAX) {
        mcp_watch_close(stdio->epoll, &stdio->in); /* it then ends, or is ended */
        stdio->next_ms = ab_mono_ms() + STDIO_EXIT_MS;
        return;
    }
    ab_buf_add(&stdio->unread, text.p, text.n);
    ab_buf_char(&stdio->unread, '\n');
    if (!stdio->blocked)
        write_on(stdio);
}

/* --- beginning and end ---------------------------------------------------------------------------------------- */

static int watch_all(struct stdio *stdio, int fds[3][2])
{
    const struct {
        struct mcp_watch *watch;
        int fd;
        void (*ready)(void *owner);
        unsigned events;
    } all[] = {{&stdio->in, fds[0][1], on_in, 0},
               {&stdio->out, fds[1][0], on_out, EPOLLIN},
               {&stdio->err, fds[2][0], on_err, EPOLLIN},
               {&stdio->exited, (int)syscall(SYS_pidfd_open, stdio->pid, 0), on_exited, EPOLLIN}};
    int code = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        *all[i].watch = (struct mcp_watch){.fd = all[i].fd, .ready = all[i].ready, .owner = stdio};
        if (all[i].fd < 0 || (i < 3 && fcntl(all[i].fd, F_SETFL, O_NONBLOCK)) ||
            mcp_watch_add(stdio->epoll, all[i].watch, all[i].events))
            code = -1;
    }
    return code;
}

struct stdio *stdio_start(int epoll, const struct stdio_spec *spec, const struct stdio_ops *ops, void *user,
                          int64_t now_ms, struct ab_error *err)
{
    char parent[16];
    int fds[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    char **argv = keeper_command(spec->command, parent);
    bool ready = !open_pipe(fds[0]) && !open_pipe(fds[1]) && !open_pipe(fds[2]);
    struct child child = {argv, spec->env, spec->cwd, fds[0][0], fds[1][1], fds[2][1], getpid()};
    pid_t pid = ready ? fork() : -1;
    if (!pid)
        become(&child);
    int failed = errno;
    free(argv);
    if (pid < 0) {
        close_all(fds, 3);
        ab_fail(err, AB_EUNAVAILABLE, "cannot start a process: %s", strerror(failed));
        return NULL;
    }
    close(fds[0][0]);
    close(fds[1][1]);
    close(fds[2][1]);
    struct stdio *stdio = ab_calloc(1, sizeof *stdio);
    *stdio = (struct stdio){.epoll = epoll,
                            .ops = ops,
                            .user = user,
                            .pid = pid,
                            .next_ms = INT64_MAX,
                            .window_ms = now_ms,
                            .lines.bytes_max = MCP_MESSAGE_BYTES_MAX};
    if (!watch_all(stdio, fds))
        return stdio;
    ab_fail(err, AB_ESYSTEM, "cannot watch a process: %s", strerror(errno));
    stdio->ops = NULL;
    stdio_destroy(stdio);
    return NULL;
}

static void send_signal(const struct stdio *stdio, int signo)
{
    if (stdio->exited.fd >= 0)
        syscall(SYS_pidfd_send_signal, stdio->exited.fd, signo, NULL, 0);
}

static void stdio_free(struct stdio *stdio)
{
    struct mcp_watch *all[] = {&stdio->in, &stdio->out, &stdio->err, &stdio->exited};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mcp_watch_close(stdio->epoll, all[i]);
    ab_buf_finish(&stdio->unread);
    ab_buf_finish(&stdio->err_line);
    lines_finish(&stdio->lines);
    free(stdio);
}

void stdio_close(struct stdio *stdio, int64_t now_ms)
{
    stdio->ops = NULL;
    if (stdio->closing != OPEN)
        return;
    mcp_watch_close(stdio->epoll, &stdio->in);
    stdio->closing = ASKED;
    stdio->next_ms = now_ms + STDIO_EXIT_MS;
}

void stdio_destroy(struct stdio *stdio)
{
    if (!stdio)
        return;
    send_signal(stdio, SIGHUP);
    struct pollfd one = {.fd = stdio->exited.fd, .events = POLLIN};
    if (stdio->exited.fd >= 0 && poll(&one, 1, STDIO_EXIT_MS) <= 0)
        send_signal(stdio, SIGKILL);
    if (!stdio->gone)
        waitpid(stdio->pid, NULL, 0);
    stdio_free(stdio);
}

int64_t stdio_deadline_ms(const struct stdio *stdio)
{
    if (stdio->gone)
        return stdio->closing == OPEN ? INT64_MAX : 0;
    return stdio->next_ms;
}

/* The next step of an end that takes too long. */
static void hurry(struct stdio *stdio, int64_t now_ms)
{
    if (stdio->closing == OPEN) { /* it closed its output, or does not read, but does not end */
        tell_end(stdio, -1, "the server closed its output, or stopped reading, and did not end");
        stdio->closing = ASKED;
    }
    static const int signals[] = {[ASKED] = SIGTERM, [TERMINATED] = SIGHUP, [KILLED] = SIGKILL};
    send_signal(stdio, signals[stdio->closing]);
    stdio->closing += stdio->closing != KILLED;
    stdio->next_ms = now_ms + STDIO_TERM_MS;
}

bool stdio_tick(struct stdio *stdio, int64_t now_ms)
{
    if (stdio->gone && !stdio->ops && stdio->closing != OPEN) {
        stdio_free(stdio);
        return true;
    }
    if (!stdio->gone && now_ms >= stdio->next_ms)
        hurry(stdio, now_ms);
    return false;
}
