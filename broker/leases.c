/* What workers say about the jobs they hold, and what becomes of the jobs of a worker that says nothing any more. */
#include "broker/internal.h"

#include <assert.h>
#include <stdlib.h>

#include "common/budget.h"
#include "common/failpoint.h"
#include "common/log.h"

void send_stale(struct core *core, struct peer *peer, struct ab_id job, uint64_t token, uint64_t seq)
{
    const struct ab_lease lease = {.job = job, .token = token, .seq = seq};
    core_send(core, peer, AB_STALE, &lease, ab_view(NULL, 0), true);
}

/* The job a worker means, if it holds it. */
struct job *job_held(struct core *core, const struct peer *peer, struct ab_id id, uint64_t token)
{
    struct job *job = jobs_by_token(&core->jobs, token);
    return job && job->worker == peer && ab_id_eq(job->id, id) ? job : NULL;
}

void on_credit(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    (void)core, (void)body;
    peer->credit = (uint32_t)((const struct ab_credit *)message)->credit;
}

void on_drain(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    (void)core, (void)message, (void)body;
    peer->draining = true;
    ab_log(AB_INFO, "worker.drain", "worker", peer->name, NULL);
}

void on_heartbeat(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    const struct ab_heartbeat *heartbeat = message;
    struct ab_reader reader = ab_reader(heartbeat->tokens);
    uint32_t n = 0;
    uint64_t token;
    (void)body;
    if (ab_any_ok(heartbeat->counters)) {
        ab_buf_clear(&peer->counters);
        ab_buf_add(&peer->counters, heartbeat->counters.p, heartbeat->counters.n);
    }
    if (!heartbeat->tokens.p || ab_read_array(&reader, &n))
        return;
    while (n-- && !ab_read_uint(&reader, &token)) {
        struct job *job = jobs_by_token(&core->jobs, token);
        if (job && job->worker == peer)
            job_lease(core, job);
    }
}

/* ---- events ---- */

static bool is_one_of(struct ab_view word, const char *const *words)
{
    for (; *words; words++)
        if (ab_view_is(word, *words))
            return true;
    return false;
}

/* Exactly `count` values in an array: what is spliced into a batch must not be able to break it. */
static bool events_ok(struct ab_view body, uint64_t count)
{
    struct ab_reader reader = ab_reader(body);
    uint32_t n;
    return ab_any_ok(body) && !ab_read_array(&reader, &n) && n == count;
}

static int check_events(const struct ab_events *events, struct ab_view body, struct ab_error *err)
{
    static const char *const ends[] = {"succeeded", "failed", "cancelled", NULL};
    static const char *const waits[] = {"person", "timer", "budget", NULL};
    if (events->end.n && !is_one_of(events->end, ends))
        return ab_fail_at(err, AB_EINVALID, "end", "a worker ends a job as succeeded, failed or cancelled");
    if (events->wait.n && !is_one_of(events->wait, waits))
        return ab_fail_at(err, AB_EINVALID, "wait", "a job waits for person, timer or budget");
    if ((events->end.n != 0) + (events->wait.n != 0) + events->retry + events->pause > 1)
        return ab_fail_at(err, AB_EINVALID, "end", "only one of end, wait, retry and pause");
    if (events->wake_at_ms > INT64_MAX)
        return ab_fail_at(err, AB_EINVALID, "wake_at_ms", "is no time: milliseconds since 1970");
    if (!events->seq || !events->count || !events_ok(body, events->count))
        return ab_fail_at(err, AB_EINVALID, "body", "the body is not an array of `count` events from seq");
    return 0;
}

/* Doubling, between half and the whole of it. */
static int64_t backoff_ms(struct core *core, uint32_t failures)
{
    uint64_t ms = core->config.backoff_ms;
    while (--failures && ms < core->config.backoff_ms_max)
        ms *= 2;
    if (ms > core->config.backoff_ms_max)
        ms = core->config.backoff_ms_max;
    return (int64_t)(ms / 2 + core_random(core) % (ms / 2 + 1));
}

void on_events(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    const struct ab_events *events = message;
    struct job *job = job_held(core, peer, events->job, events->token);
    struct ab_error err = {0};
    if (!job) {
        send_stale(core, peer, events->job, events->token, 0);
        return;
    }
    job_lease(core, job);
    if (check_events(events, body, &err)) {
        core_error(core, peer, 0, job, &err);
        return;
    }
    uint64_t wake_at_ms = events->wake_at_ms;
    if (events->retry && !wake_at_ms)
        wake_at_ms = (uint64_t)(core->wall_ms + backoff_ms(core, job->failures + 1u));
    struct ab_op_append append = {
        .seq = events->seq,
        .token = events->token,
        .count = events->count,
        .events = body,
        .end = events->end,
        .wait = events->wait,
        .wake_at_ms = wake_at_ms,
        .inbox_seen = events->inbox_seen,
        .retry = events->retry,
    };
    if (AB_FAILPOINT("broker.before_append"))
        return;
    job_append(core, job, TICKET_EVENTS, &append,
               (uint8_t)((events->end.n ? TICKET_ENDS : 0) | (events->wait.n ? TICKET_WAITS : 0) |
                         (events->retry ? TICKET_RETRIES : 0) | (events->pause ? TICKET_PAUSES : 0)));
}

struct ab_op_append_answer job_budget(struct job *job, const struct answer *answer)
{
    struct ab_op_append_answer done;
    if (ab_decode(&ab_op_append_answer_schema, answer->body, &done, NULL))
        return (struct ab_op_append_answer){0};
    job->budget = (uint8_t)done.budget;
    return done;
}

static void committed(struct core *core, const struct job *job, uint64_t token, uint64_t seq)
{
    const struct ab_lease lease = {.job = job->id, .token = token, .seq = seq, .budget = job->budget};
    if (job->worker && job->token == token)
        core_send(core, job->worker, AB_COMMITTED, &lease, ab_view(NULL, 0), true);
}

static struct ab_view last_event(struct ab_view events)
{
    struct ab_reader reader = ab_reader(events);
    struct ab_view event = {NULL, 0};
    uint32_t n = 0;
    if (!ab_read_array(&reader, &n))
        while (n-- && !ab_read_any(&reader, &event))
            ;
    return event;
}

/* Which budget it waits for; NULL: none. */
static char *why_parked(struct ab_view events)
{
    struct ab_view why = ab_any_str(ab_map_get(last_event(events), "budget"));
    return why.n ? ab_format("budget: %.*s", AB_VIEW_FMT(why)) : NULL;
}

/* Its worker has parked it. A row that came to the inbox later than the wait finds the job waiting. */
static void park(struct core *core, struct job *job, const struct ab_op_append *append, uint64_t wake_at_ms)
{
    job_detach(core, job);
    queue_remove(job); /* of a resync that is not needed any more */
    job->resync = false;
    job->company = 0;
    free(job->wait_why);
    job->wait_why = why_parked(append->events);
    job->person = ab_view_is(append->wait, "person");
    job_park(core, job, (int64_t)(wake_at_ms ? wake_at_ms : append->wake_at_ms));
    if (job->cancel)
        job_cancel(core, job);
    else if (job->pause)
        job_hold(core, job);
}

static void give_up(struct core *core, struct job *job, const struct ab_op_append *append)
{
    struct ab_attempt_failed failed;
    struct ab_error err;
    char text[AB_ERROR_TEXT_MAX];
    int code = AB_EINTERNAL;
    snprintf(text, sizeof text, "%u attempts failed", job->failures);
    if (!ab_decode(&ab_attempt_failed_schema, last_event(append->events), &failed, &err)) {
        code = ab_code_of(failed.code.p, failed.code.n);
        snprintf(text, sizeof text, "%.*s", AB_VIEW_FMT(failed.text));
    }
    job_end(core, job, VERDICT_FAILED, code, text);
}

static void attempt_failed(struct core *core, struct job *job, const struct ab_op_append *append)
{
    job_detach(core, job);
    job->company = 0;
    job->failures++;
    if (job->failures >= core->config.failures_max) {
        give_up(core, job, append);
        return;
    }
    job->retry = true;
    job->wake_at_ms = (int64_t)append->wake_at_ms;
    job_settle(core, job);
}

/* Its worker let go of it, as was wished; if it is wished no more, it is queued again. */
static void let_go(struct core *core, struct job *job)
{
    job_detach(core, job);
    job->company = 0;
    job_settle(core, job);
}

static bool held_until_now(const struct job *job, uint64_t token)
{
    return job->token == token && (job->state == JOB_RUNNING || job->state == JOB_ORPHAN ||
                                   (job->state == JOB_SETTLING && !job->verdict));
}

static void events_committed(struct core *core, struct job *job, const struct answer *answer)
{
    const struct ticket *ticket = answer->ticket;
    if (ticket->seq > job->seq)
        job->seq = ticket->seq;
    /* A journal never repeats a step: who adds to it gets on, whatever befalls its workers. */
    if (!(ticket->flags & TICKET_RETRIES))
        job->crashes = 0;
    struct ab_op_append_answer done = job_budget(job, answer);
    watch_commit(core, job, answer->request);
    committed(core, job, ticket->token, ticket->seq);
    if (ticket->flags & TICKET_ENDS) {
        job_ended(core, job);
        return;
    }
    if (ticket->flags & (TICKET_WAITS | TICKET_RETRIES | TICKET_PAUSES))
        follow_change(core, job);
    if (ticket->flags & (TICKET_WAITS | TICKET_RETRIES | TICKET_PAUSES) && held_until_now(job, ticket->token)) {
        struct ab_op_append append = {0};
        struct ab_error err;
        ab_decode(&ab_op_append_schema, answer->request, &append, &err); /* we encoded it */
        if (ticket->flags & TICKET_WAITS)
            park(core, job, &append, done.wake_at_ms);
        else if (ticket->flags & TICKET_RETRIES)
            attempt_failed(core, job, &append);
        else
            let_go(core, job);
    }
    job_settled(core, job);
}

static void events_refused(struct core *core, struct job *job, const struct answer *answer)
{
    const struct ticket *ticket = answer->ticket;
    const struct ab_lease lease = {
        .job = job->id, .token = ticket->token, .seq = job->seq, .budget = job->budget};
    struct peer *worker = job->token == ticket->token ? job->worker : NULL;
    /* A conflict about `seq` is a gap, not a later row. */
    if (answer->code == AB_EBUDGET) { /* it says so to itself in `waiting` */
        const struct ab_lease full = {.job = job->id,
                                      .token = ticket->token,
                                      .seq = job->seq,
                                      .budget = job->budget | AB_UNDER_BUDGET,
                                      .why = ab_view_of(answer->err->text),
                                      .later = !strcmp(answer->err->path, "later")};
        core_send(core, worker, AB_CONFLICT, &full, ab_view(NULL, 0), true);
        job_settled(core, job);
        return;
    }
    if (answer->code == AB_ECONFLICT && ticket->flags & TICKET_WAITS && strcmp(answer->err->path, "seq") != 0) {
        core_send(core, worker, AB_CONFLICT, &lease, ab_view(NULL, 0), true);
        job_settled(core, job);
        return;
    }
    ab_log(AB_WARN, "job.events_refused", "n", ab_num((long long)job->n), "code", ab_code_name(answer->code),
           "text", answer->err->text, NULL);
    send_stale(core, worker, job->id, ticket->token, job->seq);
    if (answer->code == AB_EENDED || answer->code == AB_ENOTFOUND)
        job_ended(core, job);
    else if (answer->code == AB_ESTALE || !worker)
        job_resync(core, job);
    else
        job_end(core, job, VERDICT_FAILED, AB_EINTERNAL, answer->err->text);
}

void events_answered(struct core *core, const struct answer *answer)
{
    struct job *job = jobs_by_n(&core->jobs, answer->ticket->n);
    if (!job || job_append_done(core, job, answer))
        return;
    if (answer->code)
        events_refused(core, job, answer);
    else
        events_committed(core, job, answer);
}

/* ---- leases ---- */

void on_attach(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    const struct ab_lease *lease = message;
    struct job *job = jobs_by_token(&core->jobs, lease->token);
    (void)body;
    if (!job || !ab_id_eq(job->id, lease->job) || !job_may(job, JOB_EV_ATTACH)) {
        send_stale(core, peer, lease->job, lease->token, 0);
        return;
    }
    if (job->worker != peer) {
        worker_remove(job);
        worker_add(peer, job);
    }
    job_move(&core->jobs, job, JOB_EV_ATTACH);
    job_lease(core, job);
    job->watched = false;
    committed(core, job, job->token, job->seq);
    if (job->cancel)
        job_notice(core, job, job->inbox_k, ab_view_of("cancel"), ab_view(NULL, 0), ab_view(NULL, 0));
    if (job->inbox_k) /* what was said while its worker was away */
        job_notice(core, job, 0, ab_view_of(job->pause ? "pause" : "resume"), ab_view(NULL, 0),
                   ab_view(NULL, 0));
    if (watch_wants_deltas(job)) {
        job->watched = true;
        job_notice(core, job, 0, ab_view_of("watched"), ab_view(NULL, 0), ab_view(NULL, 0));
    }
}

void on_release(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    const struct ab_lease *lease = message;
    struct job *job = job_held(core, peer, lease->job, lease->token);
    (void)body;
    if (!job || !job_may(job, JOB_EV_SETTLE))
        return;
    job_detach(core, job);
    job_settle(core, job);
}

void job_detach(struct core *core, struct job *job)
{
    struct pool *pool = job->flow->pool;
    bool suspect = job->company && job->worker;
    worker_remove(job);
    queue_release(&core->queue, job);
    job_unlease(&core->jobs, job);
    if (job->place[HEAP_LEASE])
        heap_remove(&core->leases, job);
    job->watched = false;
    if (suspect)
        queue_try_again(&core->queue, pool);
}

/* ---- crashes ---- */

/* With how many others a job is suspect if its worker dies now. Former suspects are the likely culprits; the
 * others are suspect among themselves, and never alone. */
static uint32_t group_of(const struct job *job, uint32_t running, uint32_t suspects)
{
    if (!suspects)
        return running;
    if (job->company)
        return suspects;
    return running - suspects > 1 ? running - suspects : 2;
}

static void accuse(struct core *core, struct job *job, uint32_t group)
{
    job->company = (uint16_t)(group > UINT16_MAX ? UINT16_MAX : (group + 1) / 2);
    if (group > 1 || ++job->crashes < core->config.crashes_max)
        return;
    char text[AB_ERROR_TEXT_MAX];
    snprintf(text, sizeof text, "its worker died %u times while this was the only job to blame", job->crashes);
    job_end(core, job, VERDICT_DEAD, AB_EINTERNAL, text);
}

static void count_running(const struct peer *worker, uint32_t *running, uint32_t *suspects)
{
    *running = *suspects = 0;
    for (const struct job *job = worker->jobs; job; job = job->worker_next) {
        *running += job->state == JOB_RUNNING;
        *suspects += job->state == JOB_RUNNING && job->company;
    }
}

void worker_crashed(struct core *core, struct peer *worker)
{
    uint32_t running, suspects;
    count_running(worker, &running, &suspects);
    ab_log(running ? AB_WARN : AB_INFO, "worker.gone", "worker", worker->name, "jobs", ab_num(running), NULL);
    for (struct job *job; (job = worker->jobs);) {
        uint32_t group = job->state == JOB_RUNNING && !worker->draining ? group_of(job, running, suspects) : 0;
        job_detach(core, job);
        if (group)
            accuse(core, job, group);
        job_settle(core, job);
    }
}

/* A worker that says HELLO again is alive and attaches what it still has; one that only has the same name may be another. */
void worker_replaced(struct core *core, struct peer *worker, bool alive)
{
    uint32_t running, suspects;
    int64_t grace_ms = (alive ? 2 : 1) * (int64_t)core->config.heartbeat_ms;
    count_running(worker, &running, &suspects);
    for (struct job *job; (job = worker->jobs);) {
        uint32_t group = alive ? 0 : group_of(job, running, suspects);
        worker_remove(job);
        if (job->state != JOB_RUNNING) {
            job_detach(core, job);
            job_settle(core, job);
            continue;
        }
        job_move(&core->jobs, job, JOB_EV_ORPHAN);
        job->group = (uint16_t)(group > UINT16_MAX ? UINT16_MAX : group);
        heap_remove(&core->leases, job);
        job->lease_ms = job->lease_key_ms = core->lease_now_ms + grace_ms;
        heap_push(&core->leases, job);
    }
    peers_mark_lost(&core->peers, worker);
}

static void lease_expired(struct core *core, struct job *job)
{
    uint32_t group = job->state == JOB_ORPHAN ? job->group : 0;
    char text[AB_ID_TEXT];
    ab_log(AB_WARN, "job.lease_expired", "job", ab_id_text(job->id, text), "worker",
           job->worker ? job->worker->name : "", NULL);
    send_stale(core, job->worker, job->id, job->token, job->seq);
    job_detach(core, job);
    if (group)
        accuse(core, job, group);
    job_settle(core, job);
}

void leases_expire(struct core *core)
{
    for (struct job *job; (job = heap_top(&core->leases)) && job->lease_key_ms <= core->lease_now_ms;) {
        heap_remove(&core->leases, job);
        if (job->state == JOB_STARTING)
            job_lease(core, job); /* has not been sent: nothing to hear of */
        else if (job->lease_ms > core->lease_now_ms) {
            job->lease_key_ms = job->lease_ms;
            heap_push(&core->leases, job);
        } else {
            lease_expired(core, job);
        }
    }
}
