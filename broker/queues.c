/* Queues as people see them: QUERY queues tells of them, QUERY control_queue halts one or lets it go on. What was said counts
 * once it is on disk; storage gives it back with the epoch of a broker that starts. */
#include "broker/internal.h"

#include <stdlib.h>

#include "common/log.h"

/* ---- halting ---- */

void queues_loaded(struct core *core, struct ab_view rows)
{
    struct ab_reader reader = ab_reader(rows);
    struct ab_view raw;
    uint32_t n = 0;
    struct ab_queue_halt halt;
    if (rows.p && !ab_read_array(&reader, &n))
        while (n-- && !ab_read_any(&reader, &raw))
            if (!ab_decode(&ab_queue_halt_schema, raw, &halt, NULL))
                queue_halt(&core->queue, &halt);
}

static int check_control(const struct core *core, const struct ab_op_control_queue *r, struct ab_error *err)
{
    if (!r->pool.n)
        return ab_fail_at(err, AB_EINVALID, "pool", "is empty; * stands for all pools");
    if (halt_state_of(r->state) == HALT_STATES_N)
        return ab_fail_at(err, AB_EINVALID, "state", "is running, paused or draining, not %.*s",
                          AB_VIEW_FMT(r->state));
    if (core->phase == PHASE_READY && !core->ops->full(core->owner))
        return 0;
    ab_fail(err, AB_EUNAVAILABLE, "storage does not keep up or is away; nothing was stored");
    err->retry_after_ms = RETRY_AFTER_MS;
    return err->code;
}

int query_control_queue(struct core *core, struct peer *peer, uint64_t rid, struct ab_view body,
                        struct ab_error *err)
{
    struct ab_op_control_queue r;
    if (ab_decode(&ab_op_control_queue_schema, body, &r, err) || check_control(core, &r, err))
        return err->code;
    const struct ab_queue_halt halt = {.pool = r.pool,
                                       .of = r.of,
                                       .state = r.state,
                                       .by = r.user,
                                       .reason = r.reason,
                                       .at_ms = (uint64_t)core->wall_ms};
    core_write(core, AB_OP_set_queue, &halt,
               &(struct ticket){.kind = TICKET_QUEUE, .peer = peer->id, .rid = rid});
    return 0;
}

void queue_answered(struct core *core, const struct answer *answer)
{
    struct ab_queue_halt halt;
    struct ab_error err = {0};
    if (answer->code) {
        forward_refusal(core, answer, (struct ab_id){{0}});
        return;
    }
    ab_decode(&ab_queue_halt_schema, answer->request, &halt, &err); /* we encoded it */
    queue_halt(&core->queue, &halt);
    char *pool = ab_view_dup(halt.pool), *state = ab_view_dup(halt.state), *by = ab_view_dup(halt.by);
    ab_log(AB_INFO, "queue.control", "pool", pool, "state", state, "by", by, NULL);
    free(pool);
    free(state);
    free(by);
    const struct ab_result result = {.rid = answer->ticket->rid};
    ab_buf_clear(&core->body);
    ab_encode(&core->body, &ab_op_empty_schema, &(struct ab_op_empty){0});
    core_send(core, peers_find(&core->peers, answer->ticket->peer), AB_RESULT, &result,
              ab_buf_view(&core->body), true);
}

/* ---- telling ---- */

struct telling {
    struct core *core;
    struct ab_view user; /* only rows of this one, and of pools; n = 0: of all */
    struct ab_buf buf;
    uint32_t n;
    bool more;
};

static void tell(struct telling *t, struct ab_queue_record *record, struct ab_view user)
{
    const struct halt *halt = halts_of(&t->core->queue.halts, record->pool, user);
    if (user.n && t->user.n && !ab_view_eq(user, t->user))
        return;
    if (t->n == AB_PAGE_MAX) {
        t->more = true;
        return;
    }
    record->of = user;
    record->state = ab_view_of(halt_names[halt ? halt->state : HALT_NONE]);
    if (halt) {
        record->by = ab_view_of(halt->by);
        record->reason = ab_view_of(halt->reason);
        record->at_ms = halt->at_ms;
    }
    ab_encode(&t->buf, &ab_queue_record_schema, record);
    t->n++;
}

/* What is in a flow; ready for so long. */
static void add_flow(const struct core *core, const struct flow *flow, struct ab_queue_record *record)
{
    const struct job *first = heap_top(&flow->ready);
    uint64_t age_ms = first ? (uint64_t)(core->now_ms - first->since_ms) : 0;
    record->open += flow->open;
    record->ready += flow->ready.n;
    record->running += flow->running;
    if (age_ms > record->oldest_ready_ms)
        record->oldest_ready_ms = age_ms;
}

static void tell_pool(struct telling *t, const struct pool *pool)
{
    struct ab_queue_record record = {.pool = name_view(&pool->name)};
    size_t at = 0;
    for (const struct flow *flow; (flow = names_each(&t->core->queue.flows, &at));)
        if (flow->pool == pool)
            add_flow(t->core, flow, &record);
    for (const struct peer *worker = pool->workers; worker; worker = worker->pool_next) {
        record.workers++;
        record.slots += worker->slots;
    }
    tell(t, &record, ab_view(NULL, 0));
}

static void tell_users(struct telling *t)
{
    size_t at = 0;
    for (const struct flow *flow; (flow = names_each(&t->core->queue.flows, &at));) {
        struct ab_queue_record record = {.pool = name_view(&flow->pool->name)};
        add_flow(t->core, flow, &record);
        tell(t, &record, name_view(&flow->tenant->name));
    }
}

/* Halts of queues that nobody uses now. */
static void tell_unused(struct telling *t)
{
    struct queue *queue = &t->core->queue;
    for (size_t i = 0; i < queue->halts.n; i++) {
        const struct halt *halt = &queue->halts.all[i];
        struct ab_queue_record record = {.pool = ab_view_of(halt->pool)};
        bool used = *halt->of ? queue_flow(queue, ab_view_of(halt->of), record.pool) != NULL
                              : names_find(&queue->pools, record.pool) != NULL;
        if (!used)
            tell(t, &record, ab_view_of(halt->of));
    }
}

int query_queues(struct core *core, struct peer *peer, uint64_t rid, struct ab_view body, struct ab_error *err)
{
    struct ab_op_queues request;
    struct telling t = {.core = core};
    struct ab_buf list = {0};
    if (ab_decode(&ab_op_queues_schema, body, &request, err))
        return err->code;
    t.user = request.all ? ab_view(NULL, 0) : request.user;
    for (const struct pool *pool = core->queue.all_pools; pool; pool = pool->next)
        tell_pool(&t, pool);
    tell_unused(&t);
    tell_users(&t);
    ab_pack_array(&list, t.n);
    ab_buf_add(&list, t.buf.p, t.buf.n);
    const struct ab_op_queues_answer answer = {.queues = ab_buf_view(&list), .more = t.more};
    query_answer(core, peer, rid, &ab_op_queues_answer_schema, &answer);
    ab_buf_finish(&list);
    ab_buf_finish(&t.buf);
    return 0;
}
