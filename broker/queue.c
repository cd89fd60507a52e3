/* Order, limits and sessions; see queue.h. */
#include "broker/queue.h"

#include <assert.h>

enum { FLOW_QUANTUM = 1 }; /* jobs per round and tenant; a job costs one */

static bool by_priority(const struct job *a, const struct job *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->n < b->n;
}

static bool by_commit(const struct job *a, const struct job *b)
{
    return a->n < b->n;
}

static bool by_wake(const struct job *a, const struct job *b)
{
    return a->wake_at_ms != b->wake_at_ms ? a->wake_at_ms < b->wake_at_ms : a->n < b->n;
}

static void finish_session(void *object)
{
    heap_finish(&((struct session *)object)->later);
}

static void finish_key(void *object)
{
    heap_finish(&((struct key *)object)->set_aside);
}

static void finish_pool(void *object)
{
    heap_finish(&((struct pool *)object)->set_aside);
}

static void finish_flow(void *object)
{
    heap_finish(&((struct flow *)object)->ready);
}

void queue_init(struct queue *queue, const struct core_limit *limits, size_t limits_n)
{
    *queue = (struct queue){
        .tenants = {.size = sizeof(struct tenant)},
        .pools = {.size = sizeof(struct pool), .finish = finish_pool},
        .flows = {.size = sizeof(struct flow), .finish = finish_flow},
        .sessions = {.size = sizeof(struct session), .finish = finish_session},
        .keys = {.size = sizeof(struct key), .finish = finish_key},
        .schedule = {.kind = HEAP_QUEUE, .before = by_wake},
        .limits = limits,
        .limits_n = limits_n,
    };
}

void queue_finish(struct queue *queue)
{
    names_finish(&queue->flows);
    names_finish(&queue->tenants);
    names_finish(&queue->pools);
    names_finish(&queue->sessions);
    names_finish(&queue->keys);
    halts_finish(&queue->halts);
    heap_finish(&queue->schedule);
}

/* The row for this name, else the one for all, else NULL. */
static const struct core_limit *limit_of(const struct queue *queue, enum core_limit_kind kind,
                                         struct ab_view name)
{
    const struct core_limit *found = NULL;
    for (size_t i = 0; i < queue->limits_n; i++) {
        const struct core_limit *row = &queue->limits[i];
        if (row->kind == kind && (row->name.n ? ab_view_eq(row->name, name) : !found))
            found = row;
    }
    return found;
}

static uint32_t running_max(const struct queue *queue, enum core_limit_kind kind, struct ab_view name)
{
    const struct core_limit *row = limit_of(queue, kind, name);
    return row && row->running_max ? row->running_max : UINT32_MAX;
}

struct pool *queue_get_pool(struct queue *queue, struct ab_view name)
{
    if (!name.n)
        name = ab_view_of("default");
    struct pool *pool = names_get(&queue->pools, name);
    if (!pool->limit) {
        pool->limit = running_max(queue, LIMIT_POOL, name);
        pool->set_aside = (struct heap){.kind = HEAP_QUEUE, .before = by_priority};
        pool->next = queue->all_pools;
        queue->all_pools = pool;
    }
    return pool;
}

void queue_put_pool(struct queue *queue, struct pool *pool)
{
    if (pool && pool->name.refs == 1) {
        struct pool **at = &queue->all_pools;
        while (*at != pool)
            at = &(*at)->next;
        *at = pool->next;
    }
    names_put(&queue->pools, pool);
}

static struct tenant *get_tenant(struct queue *queue, struct ab_view name)
{
    struct tenant *tenant = names_get(&queue->tenants, name);
    if (!tenant->limit)
        tenant->limit = running_max(queue, LIMIT_TENANT, name);
    return tenant;
}

enum { PAIR_MAX = 1 + 2 * (AB_NAME_MAX > AB_USER_MAX ? AB_NAME_MAX : AB_USER_MAX) };
_Static_assert(AB_NAME_MAX <= UINT8_MAX && AB_USER_MAX <= UINT8_MAX, "a pair begins with a length of one byte");

/* Two names as one; whatever bytes are in them, other pairs give other names. */
static struct ab_view pair(char both[PAIR_MAX], struct ab_view first, struct ab_view second)
{
    assert(first.n <= UINT8_MAX && 1 + first.n + second.n <= PAIR_MAX);
    both[0] = (char)(uint8_t)first.n;
    memcpy(both + 1, first.p, first.n);
    memcpy(both + 1 + first.n, second.p, second.n);
    return ab_view(both, 1 + first.n + second.n);
}

struct session *queue_session(const struct queue *queue, struct ab_view user, struct ab_view session)
{
    char both[PAIR_MAX];
    return session.n ? names_find(&queue->sessions, pair(both, user, session)) : NULL;
}

static struct session *get_session(struct queue *queue, struct ab_view user, struct ab_view name)
{
    char both[PAIR_MAX];
    struct session *session = names_get(&queue->sessions, pair(both, user, name));
    session->later.before = by_commit;
    return session;
}

void queue_submitting(struct queue *queue, struct ab_view user, struct ab_view name, struct ab_id job)
{
    get_tenant(queue, user)->pending++;
    if (!name.n)
        return;
    struct session *session = get_session(queue, user, name);
    session->pending++;
    session->pending_job = job;
}

void queue_submitted(struct queue *queue, struct ab_view user, struct ab_view name)
{
    struct tenant *tenant = names_find(&queue->tenants, user);
    struct session *session = queue_session(queue, user, name);
    assert(tenant && tenant->pending && (!session || session->pending));
    tenant->pending--;
    names_put(&queue->tenants, tenant);
    if (session)
        session->pending--;
    names_put(&queue->sessions, session);
}

static struct flow *get_flow(struct queue *queue, struct ab_view user, struct ab_view pool_name)
{
    struct pool *pool = queue_get_pool(queue, pool_name);
    char both[PAIR_MAX];
    struct flow *flow = names_get(&queue->flows, pair(both, name_view(&pool->name), user));
    if (flow->pool) {
        queue_put_pool(queue, pool);
        return flow;
    }
    flow->pool = pool;
    flow->tenant = get_tenant(queue, user);
    flow->halted = halts_of(&queue->halts, name_view(&pool->name), user);
    flow->ready = (struct heap){.kind = HEAP_QUEUE, .before = by_priority};
    flow->next_of_tenant = flow->tenant->flows;
    flow->tenant->flows = flow;
    return flow;
}

static void ring_remove(struct flow *flow)
{
    struct pool *pool = flow->pool;
    if (!flow->next)
        return;
    if (pool->ring == flow)
        pool->ring = flow->next != flow ? flow->next : NULL;
    flow->prev->next = flow->next;
    flow->next->prev = flow->prev;
    flow->prev = flow->next = NULL;
    flow->deficit = 0;
}

/* At the end of the round, where a newcomer belongs. */
static void ring_add(struct flow *flow)
{
    struct pool *pool = flow->pool;
    if (flow->next || flow->halted || !flow->ready.n || flow->tenant->running >= flow->tenant->limit)
        return;
    if (!pool->ring) {
        pool->ring = flow->prev = flow->next = flow;
        return;
    }
    flow->next = pool->ring;
    flow->prev = pool->ring->prev;
    flow->prev->next = flow->next->prev = flow;
}

void queue_halt(struct queue *queue, const struct ab_queue_halt *halt)
{
    size_t at = 0;
    halts_set(&queue->halts, halt);
    for (struct flow *flow; (flow = names_each(&queue->flows, &at));) {
        flow->halted = halts_of(&queue->halts, name_view(&flow->pool->name), name_view(&flow->tenant->name));
        if (flow->halted)
            ring_remove(flow);
        else
            ring_add(flow);
    }
}

struct flow *queue_flow(const struct queue *queue, struct ab_view user, struct ab_view pool)
{
    char both[PAIR_MAX];
    return names_find(&queue->flows, pair(both, pool, user));
}

static void put_flow(struct queue *queue, struct flow *flow)
{
    if (flow->name.refs == 1) {
        ring_remove(flow);
        struct flow **at = &flow->tenant->flows;
        while (*at != flow)
            at = &(*at)->next_of_tenant;
        *at = flow->next_of_tenant;
        names_put(&queue->tenants, flow->tenant);
        queue_put_pool(queue, flow->pool);
    }
    names_put(&queue->flows, flow);
}

void queue_bind(struct queue *queue, struct job *job, struct ab_view user, struct ab_view pool,
                struct ab_view session, struct ab_view key)
{
    job->flow = get_flow(queue, user, pool);
    job->flow->tenant->open++;
    job->flow->open++;
    if (session.n)
        job->session = get_session(queue, user, session);
    if (key.n) {
        job->key = names_get(&queue->keys, key);
        job->key->limit = running_max(queue, LIMIT_KEY, key);
        job->key->set_aside.before = by_priority;
    }
}

static void push(struct heap *heap, struct job *job, enum job_why why)
{
    assert(!job->in);
    heap_push(heap, job);
    job->in = heap;
    job->why = (uint8_t)why;
}

void queue_remove(struct job *job)
{
    if (!job->in)
        return;
    heap_remove(job->in, job);
    job->in = NULL;
    job->why = WHY_NOTHING;
    if (!job->flow->ready.n)
        ring_remove(job->flow);
}

bool queue_hold_session(struct job *job)
{
    if (job->session && !job->session->holder)
        job->session->holder = job;
    return !job->session || job->session->holder == job;
}

void queue_put(struct queue *queue, struct job *job)
{
    (void)queue;
    if (!queue_hold_session(job)) {
        push(&job->session->later, job, WHY_SESSION);
        return;
    }
    if (job->state == JOB_PAUSED)
        return;
    push(&job->flow->ready, job, WHY_NOTHING);
    ring_add(job->flow);
}

static void pass_session_on(struct queue *queue, struct job *job)
{
    struct session *session = job->session;
    if (!session || session->holder != job)
        return;
    session->holder = NULL;
    struct job *next = heap_top(&session->later);
    if (next) {
        queue_remove(next);
        queue_put(queue, next);
    }
}

/* The next of the jobs that wait for a key, if it may run now. */
static void wake_key(struct queue *queue, struct key *key)
{
    struct job *next = key && key->running < key->limit ? heap_top(&key->set_aside) : NULL;
    if (next) {
        queue_remove(next);
        queue_put(queue, next);
    }
}

void queue_pause(struct queue *queue, struct job *job)
{
    if (job->session && job->in == &job->session->later)
        return;
    queue_remove(job);
    wake_key(queue, job->key); /* as in queue_unbind */
}

void queue_unbind(struct queue *queue, struct job *job)
{
    queue_release(queue, job);
    queue_remove(job);
    wake_key(queue, job->key); /* it may have been woken for the place that it does not take now */
    pass_session_on(queue, job);
    names_put(&queue->sessions, job->session);
    names_put(&queue->keys, job->key);
    job->flow->tenant->open--;
    job->flow->open--;
    put_flow(queue, job->flow);
    job->session = NULL;
    job->key = NULL;
    job->flow = NULL;
}

void queue_schedule(struct queue *queue, struct job *job, int64_t wake_at_ms)
{
    job->wake_at_ms = wake_at_ms;
    push(&queue->schedule, job, WHY_NOTHING);
}

struct job *queue_due(struct queue *queue, int64_t wall_ms)
{
    struct job *job = heap_top(&queue->schedule);
    if (!job || job->wake_at_ms > wall_ms)
        return NULL;
    queue_remove(job);
    return job;
}

int64_t queue_next_ms(const struct queue *queue)
{
    struct job *job = heap_top(&queue->schedule);
    return job ? job->wake_at_ms : INT64_MAX;
}

void queue_count(struct job *job)
{
    assert(!job->running);
    job->running = true;
    job->flow->running++;
    job->flow->pool->running++;
    job->flow->tenant->running++;
    if (job->key)
        job->key->running++;
}

/* The turn passes on when a flow has had its share. */
static void charge(struct flow *flow)
{
    struct pool *pool = flow->pool;
    if (flow->next && --flow->deficit == 0)
        pool->ring = flow->next;
}

struct job *queue_take(struct queue *queue, struct pool *pool)
{
    (void)queue;
    while (pool->ring && pool->running < pool->limit) {
        struct flow *flow = pool->ring;
        if (flow->tenant->running >= flow->tenant->limit) {
            ring_remove(flow);
            continue;
        }
        if (!flow->deficit)
            flow->deficit = FLOW_QUANTUM;
        struct job *job = heap_top(&flow->ready);
        queue_remove(job); /* takes an empty flow out of the ring */
        if (job->key && job->key->running >= job->key->limit) {
            push(&job->key->set_aside, job, WHY_KEY);
            continue;
        }
        charge(flow);
        queue_count(job);
        return job;
    }
    return NULL;
}

void queue_release(struct queue *queue, struct job *job)
{
    if (!job->running)
        return;
    job->running = false;
    job->flow->running--;
    job->flow->pool->running--;
    job->flow->tenant->running--;
    for (struct flow *flow = job->flow->tenant->flows; flow; flow = flow->next_of_tenant)
        ring_add(flow);
    if (!job->key)
        return;
    job->key->running--;
    wake_key(queue, job->key);
}

void queue_set_aside(struct queue *queue, struct job *job)
{
    queue_release(queue, job);
    push(&job->flow->pool->set_aside, job, WHY_SUSPECT);
}

void queue_try_again(struct queue *queue, struct pool *pool)
{
    for (struct job *job; (job = heap_top(&pool->set_aside));) {
        queue_remove(job);
        queue_put(queue, job);
    }
}

uint64_t queue_position(const struct job *job)
{
    const struct heap *heap = job->in;
    const struct flow *mine = job->flow;
    if (!heap)
        return 0;
    uint64_t rank = 1, position;
    for (uint32_t i = 1; i <= heap->n; i++)
        rank += heap->at[i] != job && heap->before(heap->at[i], job);
    position = rank;
    for (const struct flow *flow = mine->next; flow && flow != mine; flow = flow->next)
        position += flow->ready.n < rank ? flow->ready.n : rank;
    return position;
}

int64_t queue_oldest_ms(const struct queue *queue)
{
    int64_t oldest = INT64_MAX;
    for (const struct pool *pool = queue->all_pools; pool; pool = pool->next) {
        const struct flow *flow = pool->ring;
        do {
            const struct job *job = flow ? heap_top(&flow->ready) : NULL;
            if (job && job->since_ms < oldest)
                oldest = job->since_ms;
            flow = flow ? flow->next : NULL;
        } while (flow && flow != pool->ring);
    }
    return oldest;
}
