/* From the queue to a worker: the started event, the journal if there is one, JOB. */
#include "broker/internal.h"

#include <assert.h>

#include "common/log.h"

void job_schedule(struct core *core, struct job *job, int64_t wake_at_ms)
{
    if (wake_at_ms <= core->wall_ms) {
        job_queue(core, job);
        return;
    }
    job_move(&core->jobs, job, JOB_EV_SCHEDULE);
    queue_schedule(&core->queue, job, wake_at_ms);
}

void job_queue(struct core *core, struct job *job)
{
    if (job->state == JOB_NEW && job->wake_at_ms > core->wall_ms) {
        job_schedule(core, job, job->wake_at_ms);
        return;
    }
    job_move(&core->jobs, job, JOB_EV_QUEUE);
    job->wake_at_ms = 0;
    job->since_ms = core->now_ms;
    queue_put(&core->queue, job);
}

void job_park(struct core *core, struct job *job, int64_t wake_at_ms)
{
    job_move(&core->jobs, job, JOB_EV_WAIT);
    job->wake_at_ms = wake_at_ms;
    if (wake_at_ms)
        queue_schedule(&core->queue, job, wake_at_ms);
}

void job_lease(struct core *core, struct job *job)
{
    job->lease_ms = core->lease_now_ms + core->config.lease_ms;
    if (job->place[HEAP_LEASE])
        return; /* moved when its old place comes up */
    job->lease_key_ms = job->lease_ms;
    heap_push(&core->leases, job);
}

void job_notice(struct core *core, struct job *job, uint64_t k, struct ab_view kind, struct ab_view ask,
                struct ab_view text)
{
    const struct ab_notice notice = {
        .job = job->id, .token = job->token, .k = k, .kind = kind, .ask = ask, .text = text};
    core_send(core, job->worker, AB_NOTICE, &notice, ab_view(NULL, 0), true);
}

static void send_job(struct core *core, struct job *job, uint64_t seq, struct ab_view input,
                     struct ab_view secrets, struct ab_view journal, bool more)
{
    const struct ab_job_body body = {.input = input, .journal = journal};
    job->watched = watch_wants_deltas(job);
    const struct ab_job message = {
        .job = job->id,
        .n = job->n,
        .attempt = job->attempt,
        .token = job->token,
        .seq = seq,
        .user = job_user(job),
        .session = job_session(job),
        .history = job->history,
        .hash = name_view(&job->hash->name),
        .secrets = secrets,
        .deadline_ms = (uint64_t)job->deadline_ms,
        .budget = job->budget,
        .more = more,
        .watched = job->watched,
    };
    ab_buf_clear(&core->body);
    ab_encode(&core->body, &ab_job_body_schema, &body);
    job_move(&core->jobs, job, JOB_EV_SENT);
    job_lease(core, job);
    core_send(core, job->worker, AB_JOB, &message, ab_buf_view(&core->body), true);
}

static void append_started(struct core *core, struct job *job)
{
    const struct ab_started started = {
        .attempt = job->attempt,
        .worker = ab_view_of(job->worker->name),
        .crashes = job->crashes,
        .company = job->company,
        .at_ms = (uint64_t)core->wall_ms,
    };
    ab_buf_clear(&core->scratch);
    ab_pack_array(&core->scratch, 1);
    ab_event_encode(&core->scratch, AB_KIND_STARTED, &started);
    struct ab_op_append append = {
        .seq = job->seq + 1, .token = job->token, .count = 1, .events = ab_buf_view(&core->scratch)};
    job_append(core, job, TICKET_STARTED, &append, 0);
}

static void start(struct core *core, struct job *job, struct peer *worker)
{
    job_move(&core->jobs, job, JOB_EV_ASSIGN);
    job->attempt++;
    job->reload = false;
    job_set_token(&core->jobs, job, core_token(core));
    worker_add(worker, job);
    job_lease(core, job);
    append_started(core, job);
    /* A first attempt has nothing to read back: its worker may begin while the event is being committed. */
    if (!job->seq && job->input && !job->inbox_k && !job->stalled)
        send_job(core, job, 1, ab_blob_view(job->input), ab_blob_view(job->secrets), ab_view(NULL, 0), false);
}

void dispatch(struct core *core)
{
    for (struct pool *pool = core->queue.all_pools; pool; pool = pool->next) {
        struct peer *worker;
        struct job *job;
        while (pool->ring && (worker = worker_pick(pool, NULL)) && (job = queue_take(&core->queue, pool))) {
            if (job->company && !(worker = worker_pick(pool, job)))
                queue_set_aside(&core->queue, job);
            else
                start(core, job, worker);
        }
    }
}

static void read_load(struct core *core, struct job *job)
{
    const struct ab_op_load load = {.n = job->n};
    job->reload = false;
    core_read(core, AB_OP_load, &load, &(struct ticket){.kind = TICKET_LOAD, .n = job->n, .token = job->token});
}

void started_answered(struct core *core, const struct answer *answer)
{
    struct job *job = jobs_by_n(&core->jobs, answer->ticket->n);
    if (!job || job_append_done(core, job, answer))
        return;
    if (answer->code == AB_ESTALE)
        core->superseded = true;
    if (answer->code == AB_EENDED || answer->code == AB_ENOTFOUND) {
        send_stale(core, job->worker, job->id, job->token, job->seq);
        job_ended(core, job);
        return;
    }
    if (answer->code) {
        send_stale(core, job->worker, job->id, job->token, job->seq);
        ab_log(AB_WARN, "job.start_refused", "n", ab_num((long long)job->n), "code", ab_code_name(answer->code),
               "text", answer->err->text, NULL);
        job_resync(core, job);
        return;
    }
    job->seq = answer->ticket->seq > job->seq ? answer->ticket->seq : job->seq;
    job->resyncs = 0;
    job_budget(job, answer);
    watch_commit(core, job, answer->request);
    follow_change(core, job);
    if (job->state == JOB_STARTING && job->token == answer->ticket->token)
        read_load(core, job);
    job_settled(core, job);
}

/* What lies in the inbox: the worker knows by its journal which rows are consumed. Of pauses and resumes only the outcome
 * counts. */
static void send_inbox(struct core *core, struct job *job, struct ab_view rows)
{
    struct ab_reader reader = ab_reader(rows);
    uint32_t n = 0;
    if (!rows.p || ab_read_array(&reader, &n))
        return;
    for (struct ab_view row; n-- && !ab_read_any(&reader, &row);) {
        struct ab_view raw = ab_map_get(row, "k");
        struct ab_reader number = ab_reader(raw);
        uint64_t k = 0;
        struct ab_view kind = ab_any_str(ab_map_get(row, "kind"));
        if (raw.p && !ab_read_uint(&number, &k) && !ab_view_is(kind, "pause") && !ab_view_is(kind, "resume"))
            job_notice(core, job, k, kind, ab_any_str(ab_map_get(row, "ask")),
                       ab_any_str(ab_map_get(row, "text")));
    }
}

void load_answered(struct core *core, const struct answer *answer)
{
    struct job *job = jobs_by_n(&core->jobs, answer->ticket->n);
    struct ab_op_load_answer load;
    struct ab_error err = {0};
    if (!job || job->state != JOB_STARTING || job->token != answer->ticket->token)
        return;
    if (answer->code == AB_ENOTFOUND) {
        job_detach(core, job);
        job_ended(core, job);
        return;
    }
    if (answer->code || ab_decode(&ab_op_load_answer_schema, answer->body, &load, &err)) {
        /* Not now: give the slot back and try again in a while. */
        ab_log(AB_WARN, "job.load_failed", "n", ab_num((long long)job->n), "text",
               answer->code ? answer->err->text : err.text, NULL);
        job->retry = true;
        job->wake_at_ms = core->wall_ms + STALL_MS;
        job_detach(core, job);
        job_settle(core, job);
        return;
    }
    if (job->reload) {
        read_load(core, job);
        return;
    }
    send_job(core, job, job->seq, load.input, load.secrets, load.journal, load.more);
    send_inbox(core, job, load.inbox);
    if (job->pause)
        job_notice(core, job, 0, ab_view_of("pause"), ab_view(NULL, 0), ab_view(NULL, 0));
}
