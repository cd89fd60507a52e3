/* The core from inside: what its files share. Nothing outside the core and its tests includes this.
 *
 *   core.c      messages in, answers in, time                requests.c  SUBMIT, INBOX and what they wake
 *   dispatch.c  queue → worker: started, load, JOB           leases.c    EVENTS, ATTACH …, crashes, suspects
 *   ends.c      the broker's own ends, settling, deadlines   rebuild.c   epoch, open jobs
 *   policy.c    messages to a busy session
 *   control.c   what a row of the inbox means    watchers.c  WATCH, live events, pages, deltas            status.c    QUERY
 *   greet.c     HELLO, lost peers            followers.c FOLLOW, changes of jobs
 */
#ifndef AB_BROKER_INTERNAL_H
#define AB_BROKER_INTERNAL_H

#include "broker/core.h"
#include "broker/followers.h"
#include "broker/peers.h"
#include "broker/queue.h"
#include "broker/watchers.h"

enum ticket_kind {
    TICKET_EPOCH,
    TICKET_OPEN_JOBS,
    TICKET_SUBMIT,
    TICKET_INBOX,
    TICKET_STARTED,
    TICKET_EVENTS,
    TICKET_END,
    TICKET_LOAD,
    TICKET_RESYNC,
    TICKET_PAGE,
    TICKET_CANCELS,
    TICKET_QUEUE,
    TICKET_KINDS
};
enum ticket_flags {
    TICKET_WATCH_ALL = 1, /* SUBMIT.watch */
    TICKET_WATCH_END = 2,
    TICKET_DELTAS = 4,
    TICKET_ENDS = 8, /* EVENTS.end, wait, retry */
    TICKET_WAITS = 16,
    TICKET_RETRIES = 32,
    TICKET_PAUSES = 64,
};

struct answer {
    const struct ticket *ticket;
    struct ab_view request; /* writes only */
    int code;               /* AB_OK, or that of *err */
    const struct ab_error *err;
    struct ab_view body;
};

/* An append that storage could not take now (its disk is full): sent again, in order. */
struct stalled {
    struct ticket ticket;
    struct ab_blob *request;
};
/* A job whose worker was asked to stop; in order of time. */
struct cancelling {
    uint64_t n, token;
    int64_t at_ms;
};

enum core_phase { PHASE_COLD, PHASE_LOADING, PHASE_READY };
enum {
    RETRY_AFTER_MS = 200,        /* told while storage is away */
    BUSY_AFTER_MS = 1000,        /* told when the queue is full */
    STALL_MS = 500,              /* before appends are tried again */
    PAUSE_MS = 1000,             /* by more than that no wake-up moves the lease clock on */
    SILENT_HEARTBEATS = 3,       /* then a peer is gone */
    RESYNCS_MAX = 7,             /* doublings of the time between readings of a job that storage refuses */
    SWEEP_MS_MAX = PAUSE_MS / 2, /* or a quiet broker would take its own waiting for a pause */
    STEP_MS = 100,               /* the tick runs at least this often while something is timed */
};

struct core {
    struct core_config config;
    const struct core_ops *ops;
    void *owner;
    int64_t now_ms, wall_ms;
    int64_t lease_now_ms;                /* like now_ms, without the loop's own pauses */
    int64_t start_ms, sweep_ms, tick_ms; /* tick_ms: of the last tick */
    enum core_phase phase;
    bool storage_up, superseded, stopping;
    uint64_t epoch, counter, random;
    struct ab_id start_id;                /* names this start to storage */
    uint64_t sessions;                    /* given to peers */
    uint64_t pending_jobs, pending_bytes; /* SUBMITs on their way to disk */
    uint64_t accepted, ended;
    struct jobs jobs;
    struct queue queue;
    struct peers peers;
    struct watchers watchers;
    struct followers followers;
    int64_t follow_ms; /* not before: those with full pipes */
    struct heap deadlines, leases;
    struct stalled *stalled;
    size_t stalled_n, stalled_cap;
    int64_t stalled_ms;
    struct cancelling *cancelling;
    size_t cancelling_at, cancelling_n, cancelling_cap;
    int64_t rebuild_ms;    /* not before; 0 = nothing failed */
    int64_t cancels_ms;    /* when cancels are read again; 0 = not asked for */
    uint64_t reload_after; /* the page that could not be read, if `reload` */
    bool reload;
    struct job **loaded; /* open jobs while they are being read */
    size_t loaded_n, loaded_cap;
    struct ab_buf scratch, body; /* for one event; for one body */
};

/* core.c */
int core_send(struct core *core, struct peer *peer, enum ab_command command, const void *message,
              struct ab_view body, bool keep);
void core_error(struct core *core, struct peer *peer, uint64_t rid, const struct job *job,
                const struct ab_error *err);
struct ab_failure core_failure(const struct ab_error *err); /* views into *err */
uint64_t core_token(struct core *core);                     /* a new one, greater than all before */
uint64_t core_random(struct core *core);
void core_write(struct core *core, enum ab_op op, const void *request, const struct ticket *ticket);
void core_read(struct core *core, enum ab_op op, const void *request, const struct ticket *ticket);

/* greet.c */
void on_hello(struct core *core, enum core_side side, uint32_t id, struct ab_view header);
void core_welcome(struct core *core, struct peer *peer);
/* An answer to somebody who is no peer (yet). */
void answer_stranger(struct core *core, uint32_t id, enum ab_command command, uint64_t rid,
                     const struct ab_error *err);
/* Of peers that are gone nothing stays but what storage knows. */
void remove_lost(struct core *core);

/* requests.c */
void on_submit(struct core *core, struct peer *peer, const void *message, struct ab_view body);
void on_inbox(struct core *core, struct peer *peer, const void *message, struct ab_view body);
void submit_answered(struct core *core, const struct answer *answer);
void inbox_answered(struct core *core, const struct answer *answer);
/* Storage's refusal goes to the asker as it is, with its faults. */
void forward_refusal(struct core *core, const struct answer *answer, struct ab_id job);

/* policy.c */
bool policy_ok(struct ab_view name);
/* Fills in answer_to, interrupts or known. */
void policy_decide(struct core *core, struct ab_op_submit *op, bool may_answer);
/* Storage refused: the refusal is the asker's, was told to it, or what was decided anew is to be written. */
enum policy_next { POLICY_FORWARD, POLICY_SAID, POLICY_AGAIN };
enum policy_next policy_refused(struct core *core, const struct answer *answer, struct ab_op_submit *op);

/* control.c */
/* A row is in the job's inbox: tells the worker; wakes, pauses, resumes or ends the job. */
void job_inbox(struct core *core, struct job *job, uint64_t k, struct ab_view kind, struct ab_view ask,
               struct ab_view text);
bool inbox_kind_ok(struct ab_view kind);
/* No worker has a job that is to be paused: it is. */
void job_hold(struct core *core, struct job *job);

/* dispatch.c */
void dispatch(struct core *core); /* as many ready jobs as there is credit for */
void started_answered(struct core *core, const struct answer *answer);
void load_answered(struct core *core, const struct answer *answer);
/* Ready, or scheduled if its time has not come. */
void job_queue(struct core *core, struct job *job);
void job_schedule(struct core *core, struct job *job, int64_t wake_at_ms);
/* Waiting, until wake_at_ms unless that is 0. */
void job_park(struct core *core, struct job *job, int64_t wake_at_ms);
void job_lease(struct core *core, struct job *job); /* renews it */
void job_notice(struct core *core, struct job *job, uint64_t k, struct ab_view kind, struct ab_view ask,
                struct ab_view text);

/* leases.c */
void on_credit(struct core *core, struct peer *peer, const void *message, struct ab_view body);
void on_events(struct core *core, struct peer *peer, const void *message, struct ab_view body);
void on_attach(struct core *core, struct peer *peer, const void *message, struct ab_view body);
void on_release(struct core *core, struct peer *peer, const void *message, struct ab_view body);
void on_heartbeat(struct core *core, struct peer *peer, const void *message, struct ab_view body);
void on_drain(struct core *core, struct peer *peer, const void *message, struct ab_view body);
void events_answered(struct core *core, const struct answer *answer);
/* The job a worker means, if it holds it. */
struct job *job_held(struct core *core, const struct peer *peer, struct ab_id id, uint64_t token);
/* The job is taken from the worker, whose token is worth nothing from now on. */
void job_detach(struct core *core, struct job *job);
/* The worker died with these jobs. */
void worker_crashed(struct core *core, struct peer *worker);
/* A newer connection of the same worker: its jobs may be attached there. */
void worker_replaced(struct core *core, struct peer *worker, bool alive);
void leases_expire(struct core *core);
/* Remembers what budget the job is under, as the answer to an append says. */
struct ab_op_append_answer job_budget(struct job *job, const struct answer *answer);
void send_stale(struct core *core, struct peer *peer, struct ab_id job, uint64_t token, uint64_t seq);

/* ends.c */
void job_append(struct core *core, struct job *job, enum ticket_kind kind, struct ab_op_append *append,
                uint8_t flags);
/* The answer to an append has come. True: it was refused as unavailable and will be tried again. */
bool job_append_done(struct core *core, struct job *job, const struct answer *answer);
void stalled_again(struct core *core);
/* The broker ends the job, as soon as nothing of it is in flight. text is copied. */
void job_end(struct core *core, struct job *job, enum job_verdict verdict, int code, const char *text);
/* Takes the job from worker or queue; it goes on (or ends) when its appends are answered. */
void job_settle(struct core *core, struct job *job);
void job_settled(struct core *core, struct job *job);
void end_answered(struct core *core, const struct answer *answer);
/* An append was refused for no reason the core knows: asks storage how far the journal is. */
void job_resync(struct core *core, struct job *job);
void job_resync_due(struct core *core, struct job *job);
void resync_answered(struct core *core, const struct answer *answer);
/* Its end is on disk: forgets it. */
void job_ended(struct core *core, struct job *job);
void job_cancel(struct core *core, struct job *job);
void deadlines_expire(struct core *core);
void cancels_expire(struct core *core);

/* rebuild.c */
void rebuild_start(struct core *core);
void rebuild_tick(struct core *core); /* tries again what failed */
void epoch_answered(struct core *core, const struct answer *answer);
/* Storage is back: cancels that it wrote itself meanwhile, and whose NOTICE was lost. */
void cancels_read(struct core *core, uint64_t after);
void cancels_answered(struct core *core, const struct answer *answer);
void open_jobs_answered(struct core *core, const struct answer *answer);
struct job *job_new(struct core *core, const struct ab_open_job *open);

/* status.c */
void on_query(struct core *core, struct peer *peer, const void *message, struct ab_view body);
void query_answer(struct core *core, struct peer *peer, uint64_t rid, const struct ab_schema *schema,
                  const void *message);

/* queues.c */
/* The halts that storage knows, as queue_halt maps. */
void queues_loaded(struct core *core, struct ab_view rows);
int query_queues(struct core *core, struct peer *peer, uint64_t rid, struct ab_view body, struct ab_error *err);
int query_control_queue(struct core *core, struct peer *peer, uint64_t rid, struct ab_view body,
                        struct ab_error *err);
void queue_answered(struct core *core, const struct answer *answer);

/* watchers.c, the parts that know the core */
void on_watch(struct core *core, struct peer *peer, const void *message, struct ab_view body);
void on_unwatch(struct core *core, struct peer *peer, const void *message, struct ab_view body);
void on_delta(struct core *core, struct peer *peer, const void *message, struct ab_view body);
void watch_start(struct core *core, struct peer *peer, struct ab_id job, struct ab_view user, uint64_t after,
                 bool end_only, bool deltas, uint64_t rid);
void watch_commit(struct core *core, struct job *job, struct ab_view request);
void watch_job_ended(struct core *core, struct job *job);
void watch_drop_all(struct core *core, struct peer *peer);
void watch_tick(struct core *core);
void page_answered(struct core *core, const struct answer *answer);
bool watch_wants_deltas(const struct job *job);

/* followers.c */
void followers_init(struct followers *all);
void followers_finish(struct followers *all);
void on_follow(struct core *core, struct peer *peer, const void *message, struct ab_view body);
void on_unfollow(struct core *core, struct peer *peer, const void *message, struct ab_view body);
/* The job is another on disk now than it was: its user's followers are told. */
void follow_change(struct core *core, const struct job *job);
void follow_drop_all(struct core *core, struct peer *peer);
void follow_tick(struct core *core);

#endif
