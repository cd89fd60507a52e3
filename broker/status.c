/* QUERY: the few operations the broker answers itself. All others are storage's, which clients ask directly. */
#include "broker/internal.h"

#include "common/auth.h"
#include "common/log.h"

static void pack_worker(struct ab_buf *out, const struct peer *worker)
{
    ab_pack_map(out, worker->counters.n ? 7 : 6);
    ab_pack_str(out, ab_view_of("name"));
    ab_pack_str(out, ab_view_of(worker->name));
    ab_pack_str(out, ab_view_of("pool"));
    ab_pack_str(out, name_view(&worker->pool->name));
    ab_pack_str(out, ab_view_of("slots"));
    ab_pack_uint(out, worker->slots);
    ab_pack_str(out, ab_view_of("running"));
    ab_pack_uint(out, worker->running);
    ab_pack_str(out, ab_view_of("credit"));
    ab_pack_uint(out, worker->credit);
    ab_pack_str(out, ab_view_of("build"));
    ab_pack_str(out, ab_view_of(worker->build));
    if (worker->counters.n) {
        ab_pack_str(out, ab_view_of("counters"));
        ab_buf_add(out, worker->counters.p, worker->counters.n);
    }
}

static void pack_workers(struct core *core, struct ab_buf *out)
{
    uint32_t n = 0;
    for (struct pool *pool = core->queue.all_pools; pool; pool = pool->next)
        for (const struct peer *worker = pool->workers; worker; worker = worker->pool_next)
            n++;
    ab_pack_array(out, n);
    for (struct pool *pool = core->queue.all_pools; pool; pool = pool->next)
        for (const struct peer *worker = pool->workers; worker; worker = worker->pool_next)
            pack_worker(out, worker);
}

void query_answer(struct core *core, struct peer *peer, uint64_t rid, const struct ab_schema *schema,
                  const void *message)
{
    const struct ab_result result = {.rid = rid};
    ab_buf_clear(&core->body);
    ab_encode(&core->body, schema, message);
    core_send(core, peer, AB_RESULT, &result, ab_buf_view(&core->body), true);
}

static int query_status(struct core *core, struct peer *peer, uint64_t rid, struct ab_view body,
                        struct ab_error *err)
{
    const uint32_t *states = core->jobs.states;
    int64_t oldest = queue_oldest_ms(&core->queue);
    struct ab_buf workers = {0};
    (void)body, (void)err;
    pack_workers(core, &workers);
    const struct ab_op_status_answer status = {
        .epoch = core->phase == PHASE_READY ? core->epoch : 0,
        .uptime_ms = (uint64_t)(core->now_ms - core->start_ms),
        .storage = core->storage_up && core->phase == PHASE_READY,
        .ready = states[JOB_READY] + states[JOB_SETTLING],
        .scheduled = states[JOB_SCHEDULED],
        .running = states[JOB_STARTING] + states[JOB_RUNNING] + states[JOB_ORPHAN] + states[JOB_ENDING],
        .waiting = states[JOB_WAITING],
        .paused = states[JOB_PAUSED],
        .oldest_ready_ms = oldest == INT64_MAX ? 0 : (uint64_t)(core->now_ms - oldest),
        .accepted = core->accepted,
        .ended = core->ended,
        .watchers = core->watchers.n,
        .workers = ab_buf_view(&workers),
        .build = ab_view_of(core->config.build),
    };
    query_answer(core, peer, rid, &ab_op_status_answer_schema, &status);
    ab_buf_finish(&workers);
    return 0;
}

/* What halted the job's queue, for people. */
static const char *why_halted(struct core *core, const struct job *job)
{
    const struct pool *pool = job->flow->pool;
    const struct halt *halt = halts_of(&core->queue.halts, name_view(&pool->name), job_user(job));
    struct ab_buf *text = &core->scratch;
    ab_buf_clear(text);
    ab_buf_format(text, "queue: that of pool %.*s is %s%s", AB_VIEW_FMT(name_view(&pool->name)),
                  halt->state == HALT_PAUSED ? "paused" : "being drained", *halt->of ? " for this user" : "");
    if (*halt->reason)
        ab_buf_format(text, ": %s", halt->reason);
    return ab_buf_cstr(text);
}

/* Of a ready job that nothing sets aside. */
static const char *why_not_now(struct core *core, const struct job *job)
{
    const struct pool *pool = job->flow->pool;
    if (job->flow->halted)
        return why_halted(core, job);
    if (!pool->workers)
        return "credit: no worker serves its pool";
    if (pool->running >= pool->limit)
        return "limit: its pool runs as many jobs as it may";
    if (job->flow->tenant->running >= job->flow->tenant->limit)
        return "limit: its user runs as many jobs as allowed";
    return "credit: all workers are busy";
}

static const char *why(struct core *core, const struct job *job)
{
    switch (job->state) {
    case JOB_SCHEDULED:
        return job->failures ? "schedule: waits before its next attempt" : "schedule";
    case JOB_PAUSED:
        return !job->parked    ? "paused: on request"
               : job->wait_why ? "paused: on request; it also waits for room in a budget"
                               : "paused: on request; it also waits for an answer";
    case JOB_WAITING:
        return job->wait_why     ? job->wait_why
               : !job->person    ? "schedule: a timer"
               : job->wake_at_ms ? "person, until wake_at_ms: then it goes on without an answer"
                                 : "person";
    case JOB_READY:
        return job->why == WHY_SESSION   ? "session: an earlier job of its session has not ended"
               : job->why == WHY_KEY     ? "limit: its concurrency key runs as many jobs as it may"
               : job->why == WHY_SUSPECT ? "credit: its worker died; waits for one without other suspects"
                                         : why_not_now(core, job);
    default:
        return NULL;
    }
}

static const char *state_of(const struct job *job)
{
    if (job->cancel || job->verdict)
        return "cancelling";
    if (job->pause && job->state != JOB_PAUSED)
        return "pausing";
    return job->state == JOB_SCHEDULED && job->failures ? "retry" : job_state_name(job->state);
}

static int query_job_status(struct core *core, struct peer *peer, uint64_t rid, struct ab_view body,
                            struct ab_error *err)
{
    struct ab_op_job_status request;
    if (ab_decode(&ab_op_job_status_schema, body, &request, err))
        return err->code;
    const struct job *job = jobs_find(&core->jobs, request.job);
    struct ab_op_job_status_answer status = {.state = ab_view_of("not_found")};
    if (job && ab_view_eq(job_user(job), request.user)) {
        status = (struct ab_op_job_status_answer){
            .state = ab_view_of(state_of(job)),
            .position = job->state == JOB_READY && job->why == WHY_NOTHING && !job->flow->halted
                            ? queue_position(job)
                            : 0,
            .why = ab_view_of(why(core, job)),
            .attempt = job->attempt,
            .worker = ab_view_of(job->worker ? job->worker->name : NULL),
            .wake_at_ms = (uint64_t)job->wake_at_ms,
        };
    }
    query_answer(core, peer, rid, &ab_op_job_status_answer_schema, &status);
    return 0;
}

static const struct {
    enum ab_op op;
    int (*handle)(struct core *core, struct peer *peer, uint64_t rid, struct ab_view body,
                  struct ab_error *err);
} queries[] = {
    {AB_OP_status, query_status},
    {AB_OP_job_status, query_job_status},
    {AB_OP_queues, query_queues},
    {AB_OP_control_queue, query_control_queue},
};

static int run_query(struct core *core, struct peer *peer, const struct ab_query *query, struct ab_view body,
                     struct ab_error *err)
{
    const struct ab_op_row *row;
    unsigned role = peer->side == CORE_WORKERS ? AB_BY_WORKER : AB_BY_CLIENT;
    int code = ab_auth_query(AB_AT_BROKER, role, query->op, &row, err);
    code = code ? code : ab_auth_user(role, row, body, err);
    if (code)
        return code;
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
        if (row->number == queries[i].op)
            return queries[i].handle(core, peer, query->rid, body, err);
    return ab_fail_at(err, AB_EINTERNAL, "op", "%s has no handler", row->name);
}

void on_query(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    const struct ab_query *query = message;
    struct ab_error err = {0};
    if (run_query(core, peer, query, body, &err))
        core_error(core, peer, query->rid, NULL, &err);
}
