/* Peers, credit and the choice of a worker; see peers.h. */
#include "broker/peers.h"

#include <assert.h>
#include <stdlib.h>

struct peer *peers_find(const struct peers *peers, uint32_t id)
{
    struct peer *peer = map_get(&peers->by_id, id);
    return peer && !peer->lost ? peer : NULL;
}

struct peer *peers_add(struct peers *peers, enum core_side side, uint32_t id)
{
    struct peer *peer = ab_calloc(1, sizeof *peer);
    peer->id = id;
    peer->side = side;
    void *before = map_put(&peers->by_id, id, peer);
    assert(!before);
    (void)before;
    return peer;
}

static void peer_free(struct peer *peer)
{
    free(peer->name);
    free(peer->build);
    ab_buf_finish(&peer->counters);
    free(peer);
}

void peers_remove(struct peers *peers, struct peer *peer)
{
    assert(!peer->jobs && !peer->watchers && !peer->pool);
    map_remove(&peers->by_id, peer->id);
    peer_free(peer);
}

void peers_mark_lost(struct peers *peers, struct peer *peer)
{
    if (peer->lost)
        return;
    peer->lost = true;
    peer->next_lost = peers->lost;
    peers->lost = peer;
}

void peers_finish(struct peers *peers)
{
    size_t at = 0;
    for (struct peer *peer; (peer = map_each(&peers->by_id, &at));)
        peer_free(peer);
    map_finish(&peers->by_id);
}

void worker_join(struct peer *worker, struct pool *pool)
{
    worker->pool = pool;
    worker->pool_prev = NULL;
    worker->pool_next = pool->workers;
    if (pool->workers)
        pool->workers->pool_prev = worker;
    pool->workers = worker;
}

void worker_leave(struct peer *worker)
{
    if (worker->pool_next)
        worker->pool_next->pool_prev = worker->pool_prev;
    if (worker->pool_prev)
        worker->pool_prev->pool_next = worker->pool_next;
    else
        worker->pool->workers = worker->pool_next;
    worker->pool = NULL;
}

/* A suspect runs only where, with it, no suspect there has more company than it may have. */
static bool company_fits(const struct peer *worker, const struct job *job)
{
    if (!job || !job->company)
        return true;
    uint32_t with = worker->suspects + 1;
    if (with > job->company)
        return false;
    for (const struct job *other = worker->suspects ? worker->jobs : NULL; other; other = other->worker_next)
        if (other->company && with > other->company)
            return false;
    return true;
}

static bool less_loaded(const struct peer *a, const struct peer *b)
{
    return (uint64_t)a->running * b->slots < (uint64_t)b->running * a->slots;
}

struct peer *worker_pick(const struct pool *pool, const struct job *job)
{
    struct peer *best = NULL;
    for (struct peer *worker = pool->workers; worker; worker = worker->pool_next) {
        if (worker->lost || worker->draining || worker->running >= worker->credit ||
            worker->running >= worker->slots)
            continue;
        if ((!best || less_loaded(worker, best)) && company_fits(worker, job))
            best = worker;
    }
    return best;
}

void worker_add(struct peer *worker, struct job *job)
{
    assert(!job->worker);
    job->worker = worker;
    job->worker_prev = NULL;
    job->worker_next = worker->jobs;
    if (worker->jobs)
        worker->jobs->worker_prev = job;
    worker->jobs = job;
    worker->running++;
    worker->suspects += job->company != 0;
}

void worker_remove(struct job *job)
{
    struct peer *worker = job->worker;
    if (!worker)
        return;
    if (job->worker_next)
        job->worker_next->worker_prev = job->worker_prev;
    if (job->worker_prev)
        job->worker_prev->worker_next = job->worker_next;
    else
        worker->jobs = job->worker_next;
    job->worker_prev = job->worker_next = NULL;
    job->worker = NULL;
    worker->running--;
    worker->suspects -= job->company != 0;
}
