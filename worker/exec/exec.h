/* Runs code that a model wrote, in a sandbox, without ever blocking: the worker's loop polls one descriptor.
 *
 * A back end starts and kills; everything else (deadline, output, files, what is reported) is the same for all:
 *
 *   local         bubblewrap on this machine: no network, a read-only system, nothing of the worker's (local.c)
 *   docker        a container of the Docker Engine API (docker.c)
 *   unsafe-host   no isolation at all; only if the worker's configuration says `isolation: unsafe-host`
 *
 * A back end is probed with a real run before its first use: what it must protect from is looked at from inside. If it is
 * not there or does not protect, every request is refused with what to install or allow. There is no fallback.
 *
 * A run works in the job's directory (workdir.h). When it is over, all its processes are gone (the pid namespace with
 * its init), then the directory is listed and hashed; only then on_done is called.
 *
 * One thread; callbacks come from exec_run, never from exec_start. This folder knows nothing of the engine, of jobs'
 * journals or of the wire.
 */
#ifndef AB_WORKER_EXEC_EXEC_H
#define AB_WORKER_EXEC_EXEC_H

#include "common/bytes.h"
#include "common/error.h"
#include "worker/exec/workdir.h"

enum {
    EXEC_OUTPUT_BYTES_MAX = 64 << 10, /* kept of a run's output: its first bytes … */
    EXEC_FLOOD_BYTES_MAX = 8 << 20,   /* … and a run that writes more than this is stopped */
    EXEC_PROCESSES_MAX = 64,          /* of a run, threads included */
    EXEC_OPEN_FILES_MAX = 256,        /* of one process */
    EXEC_TMP_BYTES_MAX = 64 << 20,    /* of the private /tmp, and as much of /dev/shm; in memory */
    EXEC_TMP_FILES_MAX = 10000,       /* in each of them */
    EXEC_SPACE_SLACK = 8 << 20,       /* small files take whole pages; and code is stopped a little late */
    EXEC_SPACE_BYTES_MAX = WORKDIR_BYTES_MAX + EXEC_SPACE_SLACK, /* of a sandbox's /workspace; in memory */
    EXEC_TIMED_OUT = 124, /* exit code of a run that was stopped at its deadline */
    EXEC_KILLED = 137,    /* of one that was stopped at another limit */
    EXEC_RUNS_MAX = 16,   /* at the same time; later ones wait for their turn */
    EXEC_PROTECTIONS_MAX = 256,
    EXEC_LIBRARY_FILES_MAX = 80,
};

/* The file of a library that a script called as a tool finds as its standard input. */
#define EXEC_ARGUMENTS ".arguments"

enum exec_kind { EXEC_LOCAL, EXEC_DOCKER, EXEC_UNSAFE_HOST, EXEC_KINDS };

struct exec_options {
    bool unsafe_host;          /* `local` means: without isolation */
    uint64_t memory_bytes_max; /* of a run; of each of its processes if there is no cgroup for it */
    const char *code_uids;     /* FIRST-LAST, user ids for code of a worker that runs as root; empty: derived */
    const char *docker_socket; /* of the Docker Engine API */
    const char *docker_image;
};

struct exec_request {
    enum exec_kind kind;
    struct workdir *dir;  /* borrowed until on_done or exec_cancel */
    const char *folder;   /* to work in, below the directory; "" = the directory itself */
    const char *language; /* python, sh or bash */
    const char *file;     /* the script, relative to `folder` */
    bool keep_file;       /* false: the script is removed before the directory is listed */
    /* Files (in no folders) that the run may read and import, in /skills; borrowed as dir is. NULL: none. */
    struct workdir *library;
    /* Not NULL: `file` is one of the library's and called as a tool. EXEC_ARGUMENTS is its standard input, this key is in its
     * environment (AUTOBOTS_CALL_KEY), and what it writes to stderr is shown only if it fails, behind its output. */
    const char *call_key;
    int64_t timeout_ms;
    const struct file_list *before; /* what the directory held after the last run, for hashes; may be NULL */
};

struct exec_result {
    int exit_code;         /* of the script; EXEC_TIMED_OUT, EXEC_KILLED; 128 + n: ended by signal n */
    const char *stopped;   /* why the sandbox stopped it, for people; NULL: it ended by itself */
    struct ab_view output; /* of stdout and stderr as they came; UTF-8; at most EXEC_OUTPUT_BYTES_MAX */
    uint64_t output_bytes; /* that it wrote */
    int64_t duration_ms;
    const char *protections; /* that were active, for people */
    struct file_list
        *files; /* what is in the directory now, hashed; may be taken. NULL: it is over a limit, and
                               * `stopped` says so */
};

/* error is set, and result NULL, if the code could not be run. The run is gone when on_done is called. */
struct exec_callbacks {
    void (*on_output)(void *user,
                      struct ab_view piece); /* UTF-8, in order, together at most EXEC_OUTPUT_BYTES_MAX */
    void (*on_done)(void *user, const struct exec_result *result, const struct ab_error *error);
};

struct exec;
struct exec_run;

int exec_create(const struct exec_options *options, struct exec **out, struct ab_error *err);
void exec_destroy(struct exec *exec); /* kills what runs, without callbacks; NULL is allowed */

int exec_fd(const struct exec *exec);              /* readable: call exec_poll */
int64_t exec_deadline_ms(const struct exec *exec); /* call exec_poll then; INT64_MAX: none */
void exec_poll(struct exec *exec, int64_t now_ms);

struct exec_run *exec_start(struct exec *exec, const struct exec_request *request,
                            const struct exec_callbacks *callbacks, void *user, int64_t now_ms);
/* Kills it at once; no callback follows. Returns when all its processes are gone; a container goes by itself, shortly
 * after. NULL is allowed. */
void exec_cancel(struct exec_run *run);

/* Whether this kind can be used here, found out now (blocking, for --check): 0 with what protects, or why not. */
int exec_check(struct exec *exec, enum exec_kind kind, char protections[EXEC_PROTECTIONS_MAX],
               struct ab_error *err);

#endif
