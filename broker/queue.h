/* Which ready job is next: fairness, priorities, limits, and one job at a time per session.
 *
 *   pool ── ring of flows, one per tenant that has ready jobs: deficit round robin, one job costs one
 *             └ flow: heap by priority, then commit number
 *   session: its oldest unfinished job holds it; later ones wait in commit order
 *   key: jobs over its limit are set aside until one of its running jobs is done
 *   suspects of a pool are set aside until they fit to a worker
 *
 * A job in any of these heaps knows it (job->in). All operations are O(log n), except that a tenant's limit
 * costs one step per pool it uses.
 */
#ifndef AB_BROKER_QUEUE_H
#define AB_BROKER_QUEUE_H

#include "broker/core.h"
#include "broker/halts.h"
#include "broker/jobs.h"

struct tenant {
    struct name name;
    uint32_t running, open, limit;
    uint32_t pending; /* submits on their way to disk */
    struct flow *flows;
};
struct pool {
    struct name name;
    uint32_t running, limit;
    struct flow *ring;     /* the flow whose turn it is; circular */
    struct heap set_aside; /* suspects that fit to no worker now */
    struct peer *workers;  /* owned by peers.c */
    struct pool *next;     /* of all pools */
    uint8_t seal_key[32];
    bool has_seal_key;
};
struct flow {
    struct name name; /* length of the pool's name (1 byte), pool, tenant */
    struct pool *pool;
    struct tenant *tenant;
    struct flow *next_of_tenant;
    struct flow *prev, *next; /* in the ring; NULL: not in it */
    uint32_t deficit;         /* jobs it may still start in this round */
    uint32_t open, running;   /* its jobs */
    bool halted;              /* not in the ring, whatever is ready */
    struct heap ready;
};
struct session {
    struct name name; /* length of the user's name (1 byte), user, session: sessions are per user */
    struct job *holder;
    struct heap later;
    uint32_t pending;         /* submits on their way to disk, */
    struct ab_id pending_job; /* the last of them */
};
struct key {
    struct name name;
    uint32_t running, limit;
    struct heap set_aside;
};

struct queue {
    struct names tenants, pools, flows, sessions, keys;
    struct pool *all_pools;
    struct heap schedule; /* by wake_at_ms */
    struct halts halts;
    const struct core_limit *limits;
    size_t limits_n;
};

void queue_init(struct queue *queue, const struct core_limit *limits, size_t limits_n);
void queue_finish(struct queue *queue); /* no job is bound any more */

/* The pool of a name (empty: "default"); one reference, given back by queue_put_pool. */
struct pool *queue_get_pool(struct queue *queue, struct ab_view name);
void queue_put_pool(struct queue *queue, struct pool *pool);

/* A queue is halted, or goes on. Jobs that run are not touched. */
void queue_halt(struct queue *queue, const struct ab_queue_halt *halt);
/* NULL if this user has no open job in the pool. */
struct flow *queue_flow(const struct queue *queue, struct ab_view user, struct ab_view pool);

/* A submit of this user, into this session if there is one, is on its way to disk, or has come back. */
void queue_submitting(struct queue *queue, struct ab_view user, struct ab_view session, struct ab_id job);
void queue_submitted(struct queue *queue, struct ab_view user, struct ab_view session);
/* NULL if none of its jobs is open or on its way. */
struct session *queue_session(const struct queue *queue, struct ab_view user, struct ab_view session);

/* Gives a new job its names; queue_unbind takes it out of everything and passes its session on. */
void queue_bind(struct queue *queue, struct job *job, struct ab_view user, struct ab_view pool,
                struct ab_view session, struct ab_view key);
void queue_unbind(struct queue *queue, struct job *job);
/* The job holds its session from now on (it had been started before); false if another does. */
bool queue_hold_session(struct job *job);

void queue_put(struct queue *queue, struct job *job); /* ready; one that is PAUSED: in its session only */
void queue_schedule(struct queue *queue, struct job *job, int64_t wake_at_ms); /* later */
struct job *queue_due(struct queue *queue, int64_t wall_ms); /* out of the schedule, or NULL */
int64_t queue_next_ms(const struct queue *queue);            /* wall; INT64_MAX = none */
/* The next job of a pool, counted as running until queue_release; NULL: none may run. */
struct job *queue_take(struct queue *queue, struct pool *pool);
/* A taken job that fits to no worker now. */
void queue_set_aside(struct queue *queue, struct job *job);
/* Suspects that were set aside may be tried again. */
void queue_try_again(struct queue *queue, struct pool *pool);
/* Counts a job as running that was not taken (re-attached). */
void queue_count(struct job *job);
void queue_release(struct queue *queue, struct job *job); /* runs no more; harmless if it did not run */
void queue_remove(struct job *job);                       /* out of whatever heap it is in */
/* A job that is to be paused: likewise, but it keeps its place behind earlier jobs of its session. */
void queue_pause(struct queue *queue, struct job *job);

/* Ready jobs ahead of a ready job, plus one. O(jobs of its tenant). */
uint64_t queue_position(const struct job *job);
/* The monotonic time since when the oldest head of a flow is ready; INT64_MAX = none. */
int64_t queue_oldest_ms(const struct queue *queue);

/* The id of its session; absent if it has none. */
static inline struct ab_view job_session(const struct job *job)
{
    if (!job->session)
        return ab_view(NULL, 0);
    const struct name *name = &job->session->name;
    size_t skip = 1 + (size_t)(uint8_t)name->text[0];
    return ab_view(name->text + skip, name->bytes - skip);
}

static inline struct ab_view job_user(const struct job *job)
{
    return name_view(&job->flow->tenant->name);
}

#endif
