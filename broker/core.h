/* The broker's core: decides everything, does nothing by itself. No I/O, no clock, no sockets.
 *
 * The shell tells it what came (a message of a peer, an answer of storage, the time), the core tells the shell
 * what to do through `struct core_ops`. Times: now_ms is monotonic, wall_ms is milliseconds since 1970. One
 * thread. Views given to the core are valid during the call only; so are those it gives to the ops.
 *
 * Peers are numbers chosen by the shell, never 0 and never used twice.
 */
#ifndef AB_BROKER_CORE_H
#define AB_BROKER_CORE_H

#include "common/wire/operations.h"

struct core;

/* Which of the broker's two sockets a peer is connected to. */
enum core_side { CORE_CLIENTS, CORE_WORKERS };

/* A limit on jobs that run at once. */
enum core_limit_kind { LIMIT_TENANT, LIMIT_KEY, LIMIT_POOL, LIMIT_KINDS };
struct core_limit {
    enum core_limit_kind kind;
    struct ab_view name; /* n = 0: for all that are not named */
    uint32_t running_max;
};

struct core_config {
    uint32_t heartbeat_ms, lease_ms, cancel_grace_ms;
    uint32_t backoff_ms, backoff_ms_max; /* before the second attempt; doubles, up to the maximum */
    uint32_t failures_max;               /* attempt_failed events until the job ends as failed */
    uint32_t crashes_max;                /* crashes as sole suspect until it ends as dead */
    uint64_t body_bytes_max;
    uint64_t input_bytes_max; /* of inputs kept in memory for dispatch; above it they are read back */
    uint64_t queue_jobs_max, queue_bytes_max, tenant_jobs_max; /* open jobs; 0 = no limit */
    uint64_t seed;                                             /* of jitter */
    struct ab_id start_id;           /* of this start; zero: storage cannot tell a resent epoch */
    const char *storage, *build;     /* told in WELCOME; borrowed */
    const struct core_limit *limits; /* borrowed */
    size_t limits_n;
};
void core_config_default(struct core_config *config);

/* What the core wants to know again when storage answers: a value, copied by the shell. */
struct ticket {
    uint8_t kind; /* enum ticket_kind, core's own */
    uint8_t flags;
    uint32_t peer; /* who asked; 0 = nobody */
    uint64_t rid;  /* of the asker's request */
    uint64_t n;    /* the job, or what the kind says */
    uint64_t token, seq;
};

struct core_ops {
    /* Sends a message. `keep`: it must not get lost: at a full pipe the shell keeps it and sends it later.
     * Returns 0; AB_EBUSY: full pipe, without keep; AB_ENOTFOUND: that peer is gone. */
    int (*send)(void *owner, uint32_t peer, enum ab_command command, const void *message, struct ab_view body,
                bool keep);
    /* The core has forgotten the peer: its number will not be used again. */
    void (*forget)(void *owner, uint32_t peer);
    /* An operation for storage; its answer comes back through core_answered, writes in the order they were given. */
    void (*write)(void *owner, enum ab_op op, const void *request, const struct ticket *ticket);
    void (*read)(void *owner, enum ab_op op, const void *request, const struct ticket *ticket);
    /* Too much waits for storage: no new jobs. */
    bool (*full)(void *owner);
};

struct core *core_create(const struct core_config *config, const struct core_ops *ops, void *owner);
void core_destroy(struct core *core); /* NULL is allowed */

/* Before anything else at each wake-up. */
void core_clock(struct core *core, int64_t now_ms, int64_t wall_ms);
/* A message of the right shape; anything may be in it. */
void core_message(struct core *core, enum core_side side, uint32_t peer, uint8_t version, uint8_t command,
                  struct ab_view header, struct ab_view body);
/* Bytes that are no message. */
void core_garbage(struct core *core, enum core_side side, uint32_t peer, const struct ab_error *err);
/* The peer's connection is gone, or too much was kept for it. */
void core_peer_gone(struct core *core, uint32_t peer);

/* Storage is connected and has the broker's HELLO (also after each reconnect), or is lost. */
void core_storage_up(struct core *core, bool up);
/* An answer: request as it was encoded (empty for reads), code AB_OK or what *err says. */
void core_answered(struct core *core, const struct ticket *ticket, struct ab_view request, int code,
                   const struct ab_error *err, struct ab_view answer);
/* Storage itself put a row into a job's inbox (its session was deleted). */
void core_storage_notice(struct core *core, const struct ab_notice *notice);
/* The epoch in force; 0 until storage has given it. */
uint64_t core_epoch(const struct core *core);
/* Storage knows a newer broker: this one must end. */
bool core_superseded(const struct core *core);

/* No more jobs are handed out: the process is about to end. */
void core_stop(struct core *core);

/* Once per wake-up, after all messages: timers, then dispatch. `drained`: nothing is left unread on the sockets,
 * so what has not been heard of is late indeed. */
void core_tick(struct core *core, bool drained);
/* When the next tick is due; monotonic ms. */
int64_t core_deadline(const struct core *core);

#endif
