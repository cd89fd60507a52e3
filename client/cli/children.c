/* See children.h. Between fork and exec only calls that are safe there. */
#include "client/cli/children.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/cli/cli.h"

char *own_folder(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0)
        return ab_strdup(".");
    path[n] = 0;
    char *slash = strrchr(path, '/');
    return ab_strndup(path, slash ? (size_t)(slash - path) : 0);
}

char *log_path(const char *dir, const char *name)
{
    return ab_format("%s/log/%s.log", dir, name);
}

static struct child *add(struct children *children, const char *program, enum ab_program kind)
{
    struct child *child = &children->all[children->n++];
    *child = (struct child){.program = program, .kind = kind, .pause_ms = RESTART_MS_MIN};
    return child;
}

void children_init(struct children *children, const struct ab_config *config, bool to_files, int http_fd)
{
    int64_t workers = ab_config_int(config, AB_CONF_WORKERS);
    *children = (struct children){.config = config,
                                  .dir = ab_config_text(config, AB_CONF_DIR),
                                  .folder = own_folder(),
                                  .to_files = to_files,
                                  .http_fd = http_fd};
    snprintf(add(children, "autobots-storage", AB_PROGRAM_STORAGE)->name, sizeof children->all->name,
             "storage");
    snprintf(add(children, "autobots-broker", AB_PROGRAM_BROKER)->name, sizeof children->all->name, "broker");
    for (int i = 1; i <= (int)workers && children->n < CHILDREN_MAX; i++)
        snprintf(add(children, "autobots-worker", AB_PROGRAM_WORKER)->name, sizeof children->all->name,
                 "worker-%d", i);
    if (http_fd >= 0)
        snprintf(add(children, "autobots-gateway", AB_PROGRAM_GATEWAY)->name, sizeof children->all->name,
                 "gateway");
}

void children_finish(struct children *children)
{
    free(children->folder);
    if (children->http_fd >= 0)
        close(children->http_fd);
}

/* ---- starting ---- */

enum { PASSED_FD = 3 }; /* where a socket that is handed on is found */

/* In the child. Never returns. pass_fd: -1, or what it inherits as PASSED_FD. */
static void become(const char *path, char *const *argv, int log_fd, int pass_fd, pid_t parent)
{
    sigset_t none;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a supervisor that is killed leaves nothing behind */
    if (getppid() != parent)
        _exit(111);
    setpgid(0, 0); /* Ctrl-C in the terminal is for the supervisor, who stops them in order */
    if (log_fd >= 0) {
        dup2(log_fd, 1);
        dup2(log_fd, 2);
    } else
        dup2(2, 1); /* the supervisor's own output has only the line `ready` */
    int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    if (pass_fd == PASSED_FD)
        fcntl(pass_fd, F_SETFD, 0);
    else if (pass_fd >= 0)
        dup2(pass_fd, PASSED_FD);
    close_range(PASSED_FD + (pass_fd >= 0), ~0u, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    execv(path, argv);
    static const char text[] = "autobots: cannot start a program of the service\n";
    if (write(2, text, sizeof text - 1) < 0)
        _exit(111);
    _exit(EXIT_CONFIGURATION);
}

static int open_log(const struct children *children, const struct child *child, int *fd, struct ab_error *err)
{
    *fd = -1;
    if (!children->to_files)
        return 0;
    char *path = log_path(children->dir, child->name);
    *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int rc = *fd < 0 ? ab_fail_at(err, AB_ESYSTEM, path, "cannot open the log: %s", strerror(errno)) : 0;
    free(path);
    return rc;
}

/* program, the flags that give it the same configuration, and one more unless it is NULL; malloc'ed. */
static char **arguments(char **flags, char *program, char *more)
{
    size_t n = 0;
    while (flags[n])
        n++;
    char **argv = ab_calloc(n + 3, sizeof *argv);
    argv[0] = program;
    memcpy(argv + 1, flags, n * sizeof *argv);
    argv[n + 1] = more;
    return argv;
}

static int child_start(struct children *children, struct child *child, int64_t now_ms, struct ab_error *err)
{
    char *path = ab_format("%s/%s", children->folder, child->program);
    char *program = ab_strdup(child->program);
    static char inherited[] = "--http=fd:3";
    bool gateway = child->kind == AB_PROGRAM_GATEWAY;
    char **flags = ab_config_flags(children->config, child->kind),
         **argv = arguments(flags, program, gateway ? inherited : NULL);
    int log_fd = -1, rc = 0;
    if (access(path, X_OK))
        rc = ab_fail_at(err, AB_EUSAGE, path,
                        "%s; the programs of the service stand beside `autobots`: build or install "
                        "them together",
                        strerror(errno));
    else
        rc = open_log(children, child, &log_fd, err);
    if (!rc) {
        pid_t parent = getpid();
        child->pid = fork();
        if (child->pid == 0)
            become(path, argv, log_fd, gateway ? children->http_fd : -1, parent);
        if (child->pid < 0) {
            child->pid = 0;
            rc = ab_fail(err, AB_ESYSTEM, "cannot start %s: %s", child->name, strerror(errno));
        }
        child->started_ms = now_ms;
    }
    if (log_fd >= 0)
        close(log_fd);
    free(argv);
    ab_config_flags_destroy(flags);
    free(program);
    free(path);
    return rc;
}

/* ---- ending and restarting ---- */

struct child *children_reap(struct children *children, int64_t now_ms)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (int i = 0; i < children->n; i++) {
            struct child *child = &children->all[i];
            if (child->pid != pid)
                continue;
            child->pid = 0;
            child->status = status;
            if (now_ms - child->started_ms >= HEALTHY_MS)
                child->pause_ms = RESTART_MS_MIN;
            child->restart_at_ms = now_ms + child->pause_ms;
            child->pause_ms = child->pause_ms * 2 > RESTART_MS_MAX ? RESTART_MS_MAX : child->pause_ms * 2;
            return child;
        }
    return NULL;
}

int children_restart(struct children *children, int64_t now_ms, struct ab_error *err)
{
    for (int i = 0; i < children->n; i++) {
        struct child *child = &children->all[i];
        if (child->pid || child->restart_at_ms > now_ms)
            continue;
        int rc = child_start(children, child, now_ms, err);
        if (rc)
            return rc;
    }
    return 0;
}

int64_t children_deadline(const struct children *children)
{
    int64_t soonest = INT64_MAX;
    for (int i = 0; i < children->n; i++)
        if (!children->all[i].pid && children->all[i].restart_at_ms < soonest)
            soonest = children->all[i].restart_at_ms;
    return soonest;
}

void children_signal(struct children *children, enum ab_program kind, int signo)
{
    for (int i = 0; i < children->n; i++)
        if (children->all[i].pid && children->all[i].kind == kind)
            kill(children->all[i].pid, signo);
}

int children_running(const struct children *children, unsigned kinds)
{
    int n = 0;
    for (int i = 0; i < children->n; i++)
        n += children->all[i].pid && (children->all[i].kind & kinds);
    return n;
}

/* ---- logs ---- */

/* The file stays open in its writer, which appends: so it is copied and emptied, not renamed. */
static void trim_log(const char *path)
{
    struct stat st;
    if (stat(path, &st) || st.st_size < LOG_BYTES_MAX)
        return;
    char *older = ab_format("%s.1", path), buf[65536];
    int from = open(path, O_RDWR | O_CLOEXEC), to = open(older, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = -1;
    while (from >= 0 && to >= 0 && (n = read(from, buf, sizeof buf)) > 0)
        if (write(to, buf, (size_t)n) != n)
            break;
    if (from >= 0 && ftruncate(from, 0) && errno != EINTR)
        fprintf(stderr, "autobots: cannot empty %s: %s\n", path, strerror(errno));
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    free(older);
}

void children_trim_logs(const struct children *children)
{
    for (int i = 0; children->to_files && i < children->n; i++) {
        char *path = log_path(children->dir, children->all[i].name);
        trim_log(path);
        free(path);
    }
}

void log_tail(const char *path, size_t bytes_max, FILE *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st)) {
        if (fd >= 0)
            close(fd);
        return;
    }
    off_t from = st.st_size > (off_t)bytes_max ? st.st_size - (off_t)bytes_max : 0;
    char *text = ab_alloc(bytes_max + 1);
    ssize_t n = pread(fd, text, bytes_max, from);
    close(fd);
    if (n > 0) {
        text[n] = 0;
        const char *start = from ? strchr(text, '\n') : NULL;
        start = start ? start + 1 : text;
        term_text(out, start, (size_t)(text + n - start));
    }
    free(text);
}
