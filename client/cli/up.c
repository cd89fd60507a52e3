/* up and down: the supervisor of the embedded service, in one loop over signals, children and the client that asks
 * whether jobs are taken. It owns DIR/up.lock as long as it lives: the lock, not the file, says that it runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/cli/children.h"
#include "client/cli/cli.h"
#include "client/gateway/listen.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/tree.h"

enum {
    READY_MS_MAX = 30000, /* from start to `ready` */
    ASK_MS = 100,         /* between two questions whether it is ready */
    STOP_MS_MAX = 5000,   /* each kind of process gets so long after SIGTERM, then SIGKILL */
    FOLLOW_UP_MS = 3000,  /* after a killed supervisor its processes may hold their locks so long */
    TRIM_MS = 60000,      /* between two looks at the sizes of the logs */
    DOWN_MS_MAX = 30000,
    TAIL_BYTES = 2048,
};

struct supervisor {
    struct cli *cli;
    struct children children;
    int lock_fd, signals_fd, ready_fd; /* ready_fd: the pipe to the parent with -d, else -1 */
    bool after_crash;                  /* the one before did not end in order */
    bool ready, stop;
    int code;
    int64_t started_ms, trimmed_ms, asked_ms;
    struct autobots *bots; /* until it is ready */
    size_t workers;        /* that were there then */
    bool asking;
};

/* ---- the folder and its lock ---- */

static int make_folders(const char *path, struct ab_error *err)
{
    char *copy = ab_strdup(path);
    for (char *p = copy + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            mkdir(copy, 0700); /* if it fails, the last one below says why */
            *p = '/';
        }
    struct stat st;
    int rc = 0;
    if (mkdir(copy, 0700) && errno != EEXIST)
        rc = ab_fail_at(err, AB_EUSAGE, path, "cannot make the folder: %s", strerror(errno));
    else if (stat(copy, &st) || !S_ISDIR(st.st_mode))
        rc = ab_fail_at(err, AB_EUSAGE, path, "is no folder; choose another --dir");
    else if (st.st_uid != geteuid())
        rc = ab_fail_at(err, AB_EUSAGE, path, "belongs to another user; choose another --dir");
    else if (chmod(copy, 0700))
        rc = ab_fail_at(err, AB_EUSAGE, path, "cannot be made private: %s", strerror(errno));
    free(copy);
    return rc;
}

static int prepare_folder(const char *dir, struct ab_error *err)
{
    char *logs = ab_format("%s/log", dir);
    int rc = make_folders(dir, err);
    if (!rc)
        rc = make_folders(logs, err);
    free(logs);
    return rc;
}

static int take_lock(struct supervisor *s, const char *dir, bool offline, struct ab_error *err)
{
    char *path = service_lock_path(dir), text[64] = "";
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int rc = 0;
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        rc = ab_fail_at(err, AB_ESYSTEM, path, "cannot open the lock: %s", strerror(errno));
    else if (fcntl(s->lock_fd, F_SETLK, &lock))
        rc = ab_fail_at(err, AB_EUSAGE, dir,
                        "a service runs there already, process %d; stop it with `autobots down --dir %s`",
                        service_supervisor(dir, NULL), dir);
    else {
        s->after_crash = read(s->lock_fd, text, sizeof text - 1) > 0; /* emptied by an orderly end */
        int n = snprintf(text, sizeof text, "%d %s\n", (int)getpid(), offline ? "offline" : "online");
        if (ftruncate(s->lock_fd, 0) || pwrite(s->lock_fd, text, (size_t)n, 0) != n)
            rc = ab_fail_at(err, AB_ESYSTEM, path, "cannot write the lock: %s", strerror(errno));
    }
    free(path);
    return rc;
}

static void drop_lock(struct supervisor *s)
{
    if (s->lock_fd < 0)
        return;
    if (ftruncate(s->lock_fd, 0))
        ab_log(AB_WARN, "up.lock", "error", strerror(errno), NULL);
    close(s->lock_fd);
}

/* ---- ready? ---- */

static void say_ready(struct supervisor *s, size_t workers)
{
    char line[512], url[LISTEN_URL_MAX] = "off";
    if (s->children.http_fd >= 0)
        listen_url(s->children.http_fd, url);
    int n = snprintf(line, sizeof line, "ready dir=%s workers=%zu http=%s pid=%d%s\n", s->children.dir, workers,
                     url, (int)getpid(), ab_config_bool(s->cli->config, AB_CONF_OFFLINE) ? " offline" : "");
    int fd = s->ready_fd >= 0 ? s->ready_fd : 1;
    if (n < (int)sizeof line && write(fd, line, (size_t)n) != n)
        ab_log(AB_WARN, "up.ready", "error", strerror(errno), NULL);
    if (s->ready_fd < 0)
        return;
    /* From here on the log file is all there is to write to. */
    char *path = log_path(s->children.dir, "up");
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log >= 0) {
        dup2(log, 1);
        dup2(log, 2);
        close(log);
    }
    free(path);
    close(s->ready_fd);
    s->ready_fd = -1;
}

static void now_ready(struct supervisor *s)
{
    s->ready = true;
    say_ready(s, s->workers);
}

/* The gateway would refuse as well; here it is known before `ready` is said. */
static void on_tokens(void *context, const struct autobots_answer *answer)
{
    struct supervisor *s = context;
    char url[LISTEN_URL_MAX];
    json_t *tree = NULL;
    s->asking = false;
    if (answer->error || ab_json_parse(ab_view_of(answer->json), &tree, NULL))
        return;
    if (ab_tree_int(tree, "tokens", 0))
        now_ready(s);
    else if (!s->stop) {
        listen_url(s->children.http_fd, url);
        s->code = cli_failf(s->cli, CLI_USAGE, LISTEN_NEEDS_TOKEN, url);
        s->stop = true;
    }
    json_decref(tree);
}

static void on_status(void *context, const struct autobots_answer *answer)
{
    struct supervisor *s = context;
    json_t *tree = NULL;
    s->asking = false;
    if (answer->error || ab_json_parse(ab_view_of(answer->json), &tree, NULL))
        return;
    size_t there = json_array_size(json_object_get(tree, "workers"));
    size_t wanted = (size_t)ab_config_int(s->cli->config, AB_CONF_WORKERS);
    bool patience = ab_mono_ms() - s->started_ms < READY_MS_MAX / 2;
    bool ready = ab_tree_bool(tree, "storage", false) && (there >= wanted || (there && !patience));
    json_decref(tree);
    if (!ready)
        return;
    s->workers = there;
    if (s->children.http_fd < 0 || listen_is_loopback(s->children.http_fd))
        now_ready(s);
    else
        s->asking = !autobots_start_query(s->bots, "check_token", NULL, on_tokens, s, NULL);
}

static void ask_ready(struct supervisor *s, int64_t now)
{
    if (!s->bots) {
        struct autobots_options options = {.endpoint = ab_config_text(s->cli->config, AB_CONF_ENDPOINT),
                                           .user = s->cli->user,
                                           .program = "autobots up"};
        s->bots = autobots_open(&options, NULL);
    }
    if (s->bots && !s->asking && now - s->asked_ms >= ASK_MS) {
        s->asking = !autobots_start_query(s->bots, "status", NULL, on_status, s, NULL);
        s->asked_ms = now;
    }
    autobots_run(s->bots);
    if (s->ready) {
        autobots_close(s->bots);
        s->bots = NULL;
    }
}

/* ---- children that end ---- */

static void describe_end(const struct child *child, char text[64])
{
    if (WIFSIGNALED(child->status))
        snprintf(text, 64, "killed by signal %d", WTERMSIG(child->status));
    else
        snprintf(text, 64, "exit %d", WEXITSTATUS(child->status));
}

static void give_up(struct supervisor *s, const struct child *child)
{
    char why[64], *path = log_path(s->children.dir, child->name);
    describe_end(child, why);
    fprintf(stderr, "autobots: %s ended at once (%s)\n", child->name, why);
    if (s->children.to_files) {
        fprintf(stderr, "the end of %s:\n", path);
        log_tail(path, TAIL_BYTES, stderr);
    }
    free(path);
    s->stop = true;
    s->code =
        WIFEXITED(child->status) && WEXITSTATUS(child->status) == EXIT_CONFIGURATION ? CLI_USAGE : CLI_FAILED;
}

static void on_ended(struct supervisor *s, struct child *child, int64_t now)
{
    char why[64];
    bool configuration = WIFEXITED(child->status) && WEXITSTATUS(child->status) == EXIT_CONFIGURATION;
    bool lock_may_linger = s->after_crash && now - s->started_ms < FOLLOW_UP_MS;
    describe_end(child, why);
    if (s->stop)
        return;
    if (configuration && !lock_may_linger) {
        give_up(s, child);
        return;
    }
    ab_log(AB_WARN, "up.restart", "process", child->name, "ended", why, "pause_ms",
           ab_num(child->restart_at_ms - now), NULL);
}

/* ---- the loop ---- */

static void take_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals_fd, &info, sizeof info) == sizeof info)
        if (info.ssi_signo != SIGCHLD)
            s->stop = true;
}

static void wait_for_something(struct supervisor *s, int64_t until)
{
    int64_t left = until - ab_mono_ms();
    int ms = left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
    if (s->bots && autobots_deadline_ms(s->bots) < ms)
        ms = autobots_deadline_ms(s->bots);
    struct pollfd items[] = {{.fd = s->signals_fd, .events = POLLIN},
                             {.fd = s->bots ? autobots_fd(s->bots) : -1, .events = POLLIN}};
    poll(items, 2, ms);
    take_signals(s);
}

static void look_after(struct supervisor *s)
{
    struct child *child;
    struct ab_error err;
    int64_t now = ab_mono_ms();
    while ((child = children_reap(&s->children, now)))
        on_ended(s, child, now);
    if (!s->stop && children_restart(&s->children, now, &err)) {
        fprintf(stderr, "autobots: %s: %s\n", err.path, err.text);
        s->stop = true;
        s->code = err.code == AB_EUSAGE ? CLI_USAGE : CLI_FAILED;
    }
    if (!s->ready && !s->stop)
        ask_ready(s, now);
    if (!s->ready && !s->stop && now - s->started_ms > READY_MS_MAX) {
        fprintf(stderr, "autobots: the service is not ready after %d s; the logs say why\n",
                READY_MS_MAX / 1000);
        s->stop = true;
        s->code = CLI_FAILED;
    }
    if (now - s->trimmed_ms > TRIM_MS) {
        children_trim_logs(&s->children);
        s->trimmed_ms = now;
    }
}

/* The gateway first, so that it takes no more; workers before the broker, so that they can still give their jobs back;
 * storage last. */
static void stop_all(struct supervisor *s)
{
    static const enum ab_program order[] = {AB_PROGRAM_GATEWAY, AB_PROGRAM_WORKER, AB_PROGRAM_BROKER,
                                            AB_PROGRAM_STORAGE};
    autobots_close(s->bots);
    s->bots = NULL;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        int64_t until = ab_mono_ms() + STOP_MS_MAX;
        children_signal(&s->children, order[i], SIGTERM);
        while (children_running(&s->children, order[i])) {
            if (ab_mono_ms() >= until) {
                children_signal(&s->children, order[i], SIGKILL);
                until += STOP_MS_MAX;
            }
            wait_for_something(s, until);
            while (children_reap(&s->children, ab_mono_ms()))
                ;
        }
    }
}

/* *fd: the gateway's listening socket, -1 without a gateway. It is ours, not the gateway's, so that a taken port is known
 * before anything is started, the port stays the same over restarts, and clients find somebody listening in between. */
static int open_http(struct supervisor *s, int *fd, struct ab_error *err)
{
    const char *address = ab_config_text(s->cli->config, AB_CONF_HTTP);
    *fd = -1;
    if (listen_off(address))
        return 0;
    do /* the gateway of a killed supervisor may still be dying */
        *fd = listen_open(address, err);
    while (*fd == AB_ECONFLICT && s->after_crash && ab_mono_ms() - s->started_ms < FOLLOW_UP_MS &&
           poll(NULL, 0, ASK_MS) >= 0);
    return *fd < 0 ? *fd : 0;
}

static int supervise(struct cli *cli, int ready_fd)
{
    struct supervisor s = {.cli = cli, .lock_fd = -1, .ready_fd = ready_fd, .started_ms = ab_mono_ms()};
    const char *dir = ab_config_text(cli->config, AB_CONF_DIR);
    struct ab_error err;
    int http_fd = -1;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    ab_log_init("up", (enum ab_log_level)ab_config_enum(cli->config, AB_CONF_LOG_LEVEL),
                ab_config_enum(cli->config, AB_CONF_LOG_FORMAT) == 1);
    int rc = prepare_folder(dir, &err);
    if (!rc)
        rc = take_lock(&s, dir, ab_config_bool(cli->config, AB_CONF_OFFLINE), &err);
    if (!rc && (rc = open_http(&s, &http_fd, &err)))
        drop_lock(&s);
    if (rc) {
        struct autobots_error shown;
        memcpy(&shown, &err, sizeof shown);
        return cli_fail(cli, &shown);
    }
    s.signals_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    s.trimmed_ms = s.started_ms;
    children_init(&s.children, cli->config, ready_fd >= 0, http_fd);
    for (look_after(&s); !s.stop; look_after(&s)) {
        int64_t until = children_deadline(&s.children), next = ab_mono_ms() + (s.ready ? TRIM_MS : ASK_MS);
        wait_for_something(&s, until < next ? until : next);
    }
    stop_all(&s);
    children_finish(&s.children);
    drop_lock(&s);
    close(s.signals_fd);
    return s.code;
}

/* ---- -d ---- */

/* In the parent: passes the line `ready` on, or the exit code of a supervisor that ended before. */
static int wait_until_ready(struct cli *cli, pid_t pid, int fd)
{
    char line[512];
    size_t n = 0;
    int status;
    while (n < sizeof line - 1) {
        ssize_t got = read(fd, line + n, sizeof line - 1 - n);
        if (got > 0)
            n += (size_t)got;
        else if (!got || errno != EINTR)
            break;
    }
    line[n] = 0;
    if (n && line[n - 1] == '\n') {
        fputs(line, stdout);
        return CLI_DONE;
    }
    if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status))
        return WEXITSTATUS(status);
    return cli_failf(cli, CLI_FAILED, "the service ended before it was ready");
}

int verb_up(struct cli *cli)
{
    int fds[2];
    if (!cli->option[OPT_daemon])
        return supervise(cli, -1);
    if (pipe2(fds, O_CLOEXEC))
        return cli_failf(cli, CLI_FAILED, "pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        return cli_failf(cli, CLI_FAILED, "fork: %s", strerror(errno));
    if (pid) {
        close(fds[1]);
        return wait_until_ready(cli, pid, fds[0]);
    }
    setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, 0);
    dup2(null, 1); /* stderr stays the caller's until it is ready */
    int ready_fd = fcntl(fds[1], F_DUPFD_CLOEXEC, 3);
    if (ready_fd != 3 && dup3(ready_fd, 3, O_CLOEXEC) < 0)
        return cli_failf(cli, CLI_FAILED, "dup3: %s", strerror(errno));
    close_range(4, ~0u, 0); /* whatever else the caller had open is not ours to keep */
    return supervise(cli, 3);
}

/* ---- down ---- */

int verb_down(struct cli *cli)
{
    const char *dir = ab_config_text(cli->config, AB_CONF_DIR);
    int pid = service_supervisor(dir, NULL);
    if (!pid)
        return cli_failf(cli, CLI_NO_SERVICE, "no service runs in %s", dir);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 || syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0))
        return cli_failf(cli, CLI_FAILED, "cannot stop process %d: %s", pid, strerror(errno));
    struct pollfd item = {.fd = fd, .events = POLLIN};
    int n = poll(&item, 1, DOWN_MS_MAX);
    close(fd);
    if (n <= 0)
        return cli_failf(cli, CLI_FAILED, "process %d has not ended within %d s", pid, DOWN_MS_MAX / 1000);
    if (cli->json)
        term_json(stdout, json_pack("{s:s, s:i}", "stopped", dir, "pid", pid));
    else
        printf("stopped %s\n", dir);
    return CLI_DONE;
}
