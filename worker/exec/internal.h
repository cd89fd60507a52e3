/* Inside worker/exec: runs, and what a back end does for them. */
#ifndef AB_WORKER_EXEC_INTERNAL_H
#define AB_WORKER_EXEC_INTERNAL_H

#include <jansson.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "worker/exec/box.h"
#include "worker/exec/cgroup.h"
#include "worker/exec/exec.h"

enum {
    PROBE_MS = 10000,        /* for a probe */
    PROBE_AGAIN_MS = 15000,  /* before a back end that was not there is looked for again */
    LOOK_MS = 100,           /* between looks at the directory of code that runs */
    KILL_MS = 2000,          /* that processes of this machine take to go */
    PIECE_OF_WORK = 1 << 20, /* bytes hashed or copied in one go, before others have their turn */
    READ_BYTES = 64 << 10,
};

enum exec_state {
    RUN_QUEUED,
    RUN_RUNNING,
    RUN_COLLECTING,
    RUN_DONE /* on_done is due */
};

/* A descriptor in the epoll set. */
struct watch {
    struct exec_run *run;
    int fd; /* -1: none */
    void (*ready)(struct exec_run *run);
};

struct container;
struct docker;

struct exec_run {
    struct exec *exec;
    const struct exec_backend *backend;
    struct exec_request request;
    char *texts[4]; /* of the request; owned */
    struct exec_callbacks callbacks;
    void *user;
    bool orphan; /* cancelled, nobody waits for it: it goes when its processes are gone */
    bool has_turn;
    bool probe; /* no directory: it looks at the sandbox from inside */

    enum exec_state state;
    int64_t started_ms, deadline_ms, look_ms; /* monotonic */

    pid_t pid;
    struct watch exited, init, output, status; /* pidfd; pidfd of the namespace's init; pipes */
    struct watch gate;                         /* at which a sandbox waits for its files */
    pid_t init_pid;
    struct box box;  /* open from then on: the directory is not what code works in, but a copy */
    bool placing;    /* it gets its files */
    bool init_known; /* `init` is open, or it is gone already */
    bool ran;        /* the script was started: else the back end failed */
    struct ab_buf status_text;
    struct cgroup cgroup;
    struct container *container; /* docker.c: owned */

    struct ab_buf raw, kept; /* bytes not yet read as text; text */
    uint64_t written;
    bool full; /* something was left out: nothing may follow it */
    int exit_code;
    char *stopped; /* owned */
    struct file_list files;
    bool listed, hashed;
    struct ab_error error;
    TAILQ_ENTRY(exec_run) in_all;
};

struct exec_backend {
    const char *name;
    int64_t
        kill_ms;  /* that its processes take to go, at most; then they are given up, with an error in the log */
    bool lingers; /* that takes too long to wait for it */
    bool boxed;   /* its runs have a private file system, once their sandbox is made */
    int64_t look_ms; /* between looks at what it has written */
    /* Starts it, with its watches and `pid`. */
    int (*start)(struct exec_run *run, struct ab_error *err);
    /* Ends all its processes; they may not be gone yet. */
    void (*kill)(struct exec_run *run);
    /* Waits for that, until then at the latest. */
    void (*wait)(struct exec_run *run, int64_t until_ms);
    void (*tick)(struct exec_run *run); /* once per exec_poll while it runs; NULL: nothing is due */
    /* Reads what the probe saw. */
    int (*judge)(const struct exec_run *probe, char protections[EXEC_PROTECTIONS_MAX], struct ab_error *err);
};
extern const struct exec_backend exec_local, exec_unsafe_host, exec_docker;

enum readiness { UNKNOWN, PROBING, READY, BROKEN };
struct kind_state {
    const struct exec_backend *backend; /* NULL: this build has none */
    enum readiness readiness;
    struct ab_error why; /* BROKEN */
    int64_t again_ms;    /* BROKEN: until then */
    char protections[EXEC_PROTECTIONS_MAX];
};

struct exec {
    struct exec_options options;
    int epoll, more; /* an eventfd: there is work that no descriptor tells of */
    int filter;      /* the seccomp program */
    struct cgroups cgroups;
    struct users users;
    struct docker *docker; /* docker.c; NULL: no container was asked for yet */
    struct kind_state kinds[EXEC_KINDS];
    TAILQ_HEAD(exec_run_list, exec_run) all;
    size_t turns; /* that runs have: until they are reported, as what they left is in memory until then */
};

void watch_add(struct exec_run *run, struct watch *watch, int fd, void (*ready)(struct exec_run *run));
void watch_close(struct exec *exec, struct watch *watch);
/* The run's processes are all gone: what they left is collected. */
void run_gone(struct exec_run *run);
/* It is ended before its time: why is taken. */
void run_stop(struct exec_run *run, int exit_code, char *why);
void run_output(struct exec_run *run); /* reads what is in the pipe */
void run_text(struct exec_run *run, struct ab_view bytes);
void exec_again(struct exec *exec); /* exec_poll is called again, although no descriptor tells of it */

/* ---- arguments.c ---- */

/* Descriptors as bubblewrap's arguments name them. Those of the files of a library follow. */
enum { STATUS_FD = 3, FILTER_FD, GATE_FD, LIBRARY_FD };

enum { ARGS_MAX = 512, ENVIRONMENT_N = 9 };
struct args {
    char *items[ARGS_MAX]; /* owned, NULL-terminated */
    size_t n;
};
void args_add(struct args *args, const char *const *texts); /* up to a NULL */
void args_command(struct args *args, const struct exec_run *run);
/* library: its files, whose descriptors follow each other from LIBRARY_FD on; NULL: none. */
void args_bubblewrap(struct args *args, const struct exec_run *run, const struct file_list *library);
void args_finish(struct args *args);
char *args_environment(size_t i); /* "NAME=value"; the caller frees it */
/* "PYTHONPATH=…" of a run that has a library, else NULL; the caller frees it. */
char *args_library(const struct exec_run *run);
/* The same as JSON, for containers. */
json_t *args_json(const struct exec_run *run);
json_t *args_environment_json(const struct exec_run *run);

/* ---- probe.c ---- */

/* What the probe saw to be missing; NULL: nothing. */
const char *probe_missing(const char *text, bool container);
int probe_judge(const struct exec_run *probe, char protections[EXEC_PROTECTIONS_MAX], struct ab_error *err);

/* ---- docker.c ---- */

void docker_events(struct exec *exec);
void docker_time(struct exec *exec, int64_t now_ms);
int64_t docker_deadline_ms(const struct exec *exec);
void docker_forget(struct exec_run *run);
void docker_destroy(struct exec *exec);

#endif
