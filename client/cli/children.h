/* The processes that `up` looks after: how each is started, restarted with a pause, and stopped. */
#ifndef AUTOBOTS_CLI_CHILDREN_H
#define AUTOBOTS_CLI_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/config.h"

enum {
    CHILDREN_MAX = 3 + 256,
    RESTART_MS_MIN = 100, /* pause before the first restart; doubled each time */
    RESTART_MS_MAX = 5000,
    HEALTHY_MS = 10000,       /* having run for so long, the pause starts anew */
    LOG_BYTES_MAX = 32 << 20, /* of one log file; the one before is kept beside it */
    EXIT_CONFIGURATION = 100,
};

struct child {
    char name[24]; /* storage, broker, worker-1, gateway */
    const char *program;
    enum ab_program kind;
    pid_t pid; /* 0: not running */
    int64_t started_ms, restart_at_ms, pause_ms;
    int status; /* of its last end, as from waitpid */
};

struct children {
    const struct ab_config *config;
    const char *dir;
    char *folder;  /* of the programs */
    bool to_files; /* their output goes to DIR/log/NAME.log */
    int http_fd;   /* the gateway's listening socket, which outlives it; -1: there is no gateway. Owned */
    struct child all[CHILDREN_MAX];
    int n;
};

/* http_fd is taken over. */
void children_init(struct children *children, const struct ab_config *config, bool to_files, int http_fd);
void children_finish(struct children *children);
/* Takes what has ended; returns the next one, NULL if there is none. child->pid is 0 then. */
struct child *children_reap(struct children *children, int64_t now_ms);
/* Starts those whose pause is over; 0 or AB_E…. */
int children_restart(struct children *children, int64_t now_ms, struct ab_error *err);
/* When the next pause is over, INT64_MAX if none runs. */
int64_t children_deadline(const struct children *children);
void children_signal(struct children *children, enum ab_program kind, int signo);
int children_running(const struct children *children, unsigned kinds);
/* Moves log files that have grown too big aside. */
void children_trim_logs(const struct children *children);

#endif
