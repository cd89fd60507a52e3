/* Jobs that have not ended: the records, their states, and the ways to find them.
 *
 * The core owns them. Everything here can be rebuilt from storage. A record is small (100,000 queued jobs are
 * normal): names are interned, inputs are shared blobs and dropped when all of them are too big together.
 */
#ifndef AB_BROKER_JOBS_H
#define AB_BROKER_JOBS_H

#include "broker/heap.h"
#include "broker/names.h"
#include "common/id.h"

struct flow;
struct session;
struct key;
struct peer;
struct watcher;
struct text;

/* state, name in STATUS, meaning */
#define JOB_STATES(X)                                                                                          \
    X(NEW, "ready", "being made")                                                                              \
    X(SCHEDULED, "scheduled", "waits for wake_at_ms: not_before or a retry's back-off")                        \
    X(READY, "ready", "in the queue; `why` says if something other than its turn holds it back")               \
    X(STARTING, "running", "has a worker; its started event or its journal is on the way")                     \
    X(RUNNING, "running", "a worker has it")                                                                   \
    X(ORPHAN, "running", "its worker's connection was lost; may be re-attached until the lease ends")          \
    X(WAITING, "waiting", "parked by its worker: for a person, a timer or a budget; no worker")                \
    X(PAUSED, "paused", "on request: has no worker, and none until it is resumed")                             \
    X(SETTLING, "ready", "has no worker; appends are still in flight: then queued, or ended by the broker")    \
    X(ENDING, "cancelling", "the broker's own end is on its way to disk")                                      \
    X(ENDED, "ended", "to be freed")

enum job_state {
#define X(name, text, doc) JOB_##name,
    JOB_STATES(X)
#undef X
        JOB_STATES_N
};

enum job_event {
    JOB_EV_QUEUE,    /* may run now */
    JOB_EV_SCHEDULE, /* may run at wake_at_ms */
    JOB_EV_ASSIGN,   /* has been given a worker */
    JOB_EV_SENT,     /* JOB was sent */
    JOB_EV_WAIT,     /* parked by its worker */
    JOB_EV_PAUSE,    /* paused, and no worker has it */
    JOB_EV_ORPHAN,   /* its worker's connection was replaced, or the broker was */
    JOB_EV_ATTACH,   /* a worker proved to hold it */
    JOB_EV_SETTLE,   /* taken from worker or queue */
    JOB_EV_ENDING,   /* the broker appended an end */
    JOB_EV_END,      /* an end is on disk */
    JOB_EVENTS_N
};

/* Why a ready job does not run, besides its turn. */
enum job_why { WHY_NOTHING, WHY_SESSION, WHY_KEY, WHY_SUSPECT };

/* The broker's wish to end a job. */
enum job_verdict { VERDICT_NONE, VERDICT_CANCELLED, VERDICT_EXPIRED, VERDICT_DEAD, VERDICT_FAILED };

struct hash_name {
    struct name name; /* the 32 bytes of a workflow's hash */
};

struct job {
    struct ab_id id;
    uint64_t n;              /* commit number */
    uint64_t token;          /* of the current or last attempt; 0 = none */
    uint64_t seq;            /* last event on disk */
    int64_t wake_at_ms;      /* wall; SCHEDULED, or WAITING with an end; kept while PAUSED */
    int64_t deadline_ms;     /* wall; 0 = none */
    int64_t since_ms;        /* monotonic: ready since, or (verdict) cancel asked at */
    int64_t lease_ms;        /* lease clock: until then */
    int64_t lease_key_ms;    /* its place in the lease heap, never later than lease_ms */
    struct job *same_id;     /* next with the same hash of id */
    struct flow *flow;       /* pool and tenant (= user) */
    struct session *session; /* NULL: none */
    struct key *key;         /* NULL: none */
    struct hash_name *hash;
    struct ab_blob *input, *secrets; /* NULL: not in memory */
    struct heap *in;                 /* the HEAP_QUEUE heap that holds it, or NULL */
    struct peer *worker;             /* STARTING, RUNNING */
    struct job *worker_prev, *worker_next;
    struct watcher *watchers;
    struct text *text; /* of the step being written, if watched */
    char *verdict_text;
    char *wait_why; /* WAITING, or parked: for a budget, and which; else NULL */
    uint32_t place[HEAP_KINDS];
    uint32_t body_bytes, inbox_k, attempt;
    int32_t priority;
    uint16_t failures, crashes;
    uint16_t appends; /* in flight to storage, or stalled */
    uint16_t stalls;  /* of these: stalled */
    uint16_t group;   /* ORPHAN: jobs that are suspect with it if it is not re-attached; 0 = nobody's fault */
    uint16_t company; /* suspect: the most suspects its worker may have; 0 = no suspect */
    uint8_t resyncs;
    uint8_t state;        /* enum job_state, moved by job_move only */
    uint8_t why;          /* enum job_why */
    uint8_t verdict;      /* enum job_verdict */
    uint8_t verdict_code; /* minus AB_E…; 0 = by the verdict */
    uint8_t budget;       /* as storage said last: see COMMITTED */
    bool history : 1;
    bool running : 1; /* counted in the limits */
    bool watched : 1; /* its worker knows that somebody wants DELTA */
    bool reload : 1;  /* an inbox row came while its journal was being read */
    bool stalled : 1; /* an append was refused as unavailable: later ones line up behind it */
    bool cancel : 1;  /* its worker was asked to stop at since_ms */
    bool retry : 1;   /* SETTLING: then SCHEDULED */
    bool parked : 1;  /* NEW (while open jobs are read), PAUSED: it waits, as in WAITING */
    bool pause : 1;   /* it is to be paused, or is */
    bool person : 1;  /* WAITING, PAUSED and parked: for a person */
    bool resync : 1;  /* SETTLING: storage is asked for its last seq, or will be (then it is in the schedule) */
};

struct jobs {
    struct map by_id, by_n, by_token;
    struct names hashes;
    uint64_t bytes;       /* of all inputs, in memory or not */
    uint64_t input_bytes; /* of those in memory */
    uint32_t states[JOB_STATES_N];
};

void jobs_init(struct jobs *jobs);
void jobs_finish(struct jobs *jobs); /* all jobs have been removed */
/* A new record in state NEW. */
struct job *jobs_add(struct jobs *jobs, struct ab_id id, uint64_t n, struct ab_view hash);
void jobs_remove(struct jobs *jobs, struct job *job); /* frees it; it is in no heap and no list any more */
struct job *jobs_find(const struct jobs *jobs, struct ab_id id); /* NULL if absent */
struct job *jobs_by_n(const struct jobs *jobs, uint64_t n);
struct job *jobs_by_token(const struct jobs *jobs, uint64_t token);
void job_set_token(struct jobs *jobs, struct job *job, uint64_t token); /* the lease in force */
void job_unlease(struct jobs *jobs, struct job *job);                   /* its token finds it no more */
/* Keeps the input (and secrets) in memory, if all together stay under bytes_max. */
void job_keep_input(struct jobs *jobs, struct job *job, struct ab_view input, struct ab_view secrets,
                    uint64_t bytes_max);
void job_drop_input(struct jobs *jobs, struct job *job);
/* The one place where a state changes; asserts that the table allows it. */
void job_move(struct jobs *jobs, struct job *job, enum job_event event);
bool job_may(const struct job *job, enum job_event event);
const char *job_state_name(enum job_state state);

#endif
