/* Peers that said HELLO: clients and workers, their liveness, and a worker's credit and jobs.
 *
 * The core owns them; a peer's number is the shell's and never used twice, so a late answer to a peer that is gone
 * finds nobody.
 */
#ifndef AB_BROKER_PEERS_H
#define AB_BROKER_PEERS_H

#include "broker/core.h"
#include "broker/queue.h"

struct peer {
    uint32_t id;
    enum core_side side;
    uint64_t session;
    int64_t heard_ms;   /* lease clock */
    int64_t sent_ms;    /* monotonic */
    char *name, *build; /* a worker's name is its own among the living: see greet.c */
    bool lost;          /* to be removed at the next tick */
    bool welcome_owed;  /* a worker that greeted before the broker was ready */
    struct peer *next_lost;
    struct watcher *watchers;
    uint32_t watchers_n;
    struct follower *followers;
    /* workers */
    struct ab_id instance; /* of its process; zero: it did not say */
    struct pool *pool;
    struct peer *pool_prev, *pool_next;
    struct job *jobs;
    uint32_t slots, running, suspects;
    uint32_t credit; /* jobs it may hold at once, as it said last */
    bool draining, welcomed;
    struct ab_buf counters; /* what it did, as it says: a msgpack map; empty: not said */
};

struct peers {
    struct map by_id;
    struct peer *lost;
    uint32_t workers_n;
};

struct peer *peers_find(const struct peers *peers, uint32_t id); /* NULL if unknown or lost */
struct peer *peers_add(struct peers *peers, enum core_side side, uint32_t id);
/* Frees it; its jobs and watchers have been taken away. The pool is given back by the caller. */
void peers_remove(struct peers *peers, struct peer *peer);
void peers_mark_lost(struct peers *peers, struct peer *peer);
void peers_finish(struct peers *peers);

/* A worker joins or leaves the workers of its pool. */
void worker_join(struct peer *worker, struct pool *pool);
void worker_leave(struct peer *worker);
/* The least loaded worker of the pool that may be sent this job (NULL: any job); NULL if there is none. */
struct peer *worker_pick(const struct pool *pool, const struct job *job);
/* The job runs there. */
void worker_add(struct peer *worker, struct job *job);
void worker_remove(struct job *job); /* from its worker, if it has one */

#endif
