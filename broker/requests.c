/* SUBMIT and INBOX: admission, what goes to storage, and what its answer means for the queue. */
#include "broker/internal.h"

#include "common/log.h"

static const char nil[] = "\xc0"; /* msgpack: a fork takes the other job's input */

static int busy(struct ab_error *err, const char *what, const char *key, uint64_t limit)
{
    ab_fail(err, AB_EBUSY, "%s: %s is %llu; nothing was stored", what, key, (unsigned long long)limit);
    err->retry_after_ms = BUSY_AFTER_MS;
    return err->code;
}

/* Before anything is stored. */
static int admit(struct core *core, const struct ab_submit *submit, size_t bytes, struct ab_error *err)
{
    const struct core_config *config = &core->config;
    const struct tenant *tenant = names_find(&core->queue.tenants, submit->user);
    uint64_t open = core->jobs.by_n.n + core->pending_jobs;
    if (core->ops->full(core->owner)) {
        ab_fail(err, AB_EUNAVAILABLE, "storage does not keep up or is away; nothing was stored");
        err->retry_after_ms = RETRY_AFTER_MS;
        return err->code;
    }
    if (config->queue_jobs_max && open >= config->queue_jobs_max)
        return busy(err, "too many jobs", "queue_jobs_max", config->queue_jobs_max);
    if (config->queue_bytes_max && core->jobs.bytes + core->pending_bytes + bytes > config->queue_bytes_max)
        return busy(err, "too many bytes in open jobs", "queue_bytes_max", config->queue_bytes_max);
    if (config->tenant_jobs_max && tenant && tenant->open + tenant->pending >= config->tenant_jobs_max)
        return busy(err, "too many open jobs of this user", "tenant_jobs_max", config->tenant_jobs_max);
    return 0;
}

static int check_submit(const struct ab_submit *submit, struct ab_view body, struct ab_error *err)
{
    if (!ab_id_ok(submit->job))
        return ab_fail_at(err, AB_EINVALID, "job", "a job's id is a UUID of version 7");
    if (!submit->user.n)
        return ab_fail_at(err, AB_EINVALID, "user", "the user is empty");
    bool forks = !ab_id_zero(submit->fork_of);
    if (submit->hash.n != AB_HASH_BYTES && !(forks && !submit->hash.n))
        return ab_fail_at(err, AB_EINVALID, "hash", "the workflow's hash has %d bytes, not %zu", AB_HASH_BYTES,
                          submit->hash.n);
    if (!forks && (submit->fork_seq || submit->fork_text.p))
        return ab_fail_at(err, AB_EINVALID, "fork_of", "fork_seq and fork_text need the job that is forked");
    if (!policy_ok(submit->if_busy))
        return ab_fail_at(err, AB_EINVALID, "if_busy", "if_busy is enqueue, reject, interrupt or new_job");
    if (submit->watch.n && !ab_view_is(submit->watch, "all") && !ab_view_is(submit->watch, "end"))
        return ab_fail_at(err, AB_EINVALID, "watch", "watch is all or end");
    if (submit->not_before_ms > INT64_MAX)
        return ab_fail_at(err, AB_EINVALID, "not_before_ms", "is no time: milliseconds since 1970");
    if (submit->deadline_ms > INT64_MAX)
        return ab_fail_at(err, AB_EINVALID, "deadline_ms", "is no time: milliseconds since 1970");
    /* What is spliced into a batch must not be able to break it. */
    if (submit->secrets.p && !ab_any_ok(submit->secrets))
        return ab_fail_at(err, AB_EINVALID, "secrets", "is nested deeper than %d", AB_DEPTH_SENT_MAX);
    if (!ab_any_ok(body))
        return ab_fail_at(err, AB_EINVALID, "body",
                          "the body is not one msgpack value, or it is nested deeper than %d",
                          AB_DEPTH_SENT_MAX);
    return 0;
}

void on_submit(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    const struct ab_submit *submit = message;
    struct ab_error err = {0};
    size_t bytes = body.n + submit->secrets.n + submit->fork_text.n;
    if (check_submit(submit, body, &err) || admit(core, submit, bytes, &err)) {
        core_error(core, peer, submit->rid, NULL, &err);
        return;
    }
    struct ab_op_submit op = {
        .job = submit->job,
        .user = submit->user,
        .session = submit->session,
        .no_session = submit->no_session,
        .priority = submit->priority,
        .not_before_ms = submit->not_before_ms,
        .deadline_ms = submit->deadline_ms,
        .key = submit->key,
        .budget = submit->budget,
        .pool = submit->pool,
        .hash = submit->hash,
        .workflow = submit->workflow,
        .secrets = submit->secrets,
        .input = !ab_id_zero(submit->fork_of) && ab_view_is(body, nil) ? ab_view(NULL, 0) : body,
        .fork_of = submit->fork_of,
        .fork_seq = submit->fork_seq,
        .fork_text = submit->fork_text,
        .if_busy = submit->if_busy,
    };
    policy_decide(core, &op, true);
    const struct ticket ticket = {
        .kind = TICKET_SUBMIT,
        .flags = (uint8_t)((ab_view_is(submit->watch, "all") ? TICKET_WATCH_ALL : 0) |
                           (ab_view_is(submit->watch, "end") ? TICKET_WATCH_END : 0) |
                           (submit->deltas ? TICKET_DELTAS : 0)),
        .peer = peer->id,
        .rid = submit->rid,
        .n = bytes,
    };
    queue_submitting(&core->queue, submit->user, submit->session, submit->job);
    core->pending_jobs++;
    core->pending_bytes += bytes;
    core_write(core, AB_OP_submit, &op, &ticket);
}

void forward_refusal(struct core *core, const struct answer *answer, struct ab_id job)
{
    struct peer *peer = peers_find(&core->peers, answer->ticket->peer);
    struct ab_failure failure;
    struct ab_error err = {0};
    if (!answer->body.n || ab_decode(&ab_failure_schema, answer->body, &failure, &err))
        failure = core_failure(answer->err);
    if (answer->code == AB_EUNAVAILABLE && !failure.retry_after_ms)
        failure.retry_after_ms = RETRY_AFTER_MS;
    failure.rid = answer->ticket->rid;
    failure.job = job;
    core_send(core, peer, AB_ERROR, &failure, ab_view(NULL, 0), true);
}

static void take_fork(struct core *core, const struct ab_op_submit_answer *done)
{
    struct ab_open_job open;
    struct ab_error err = {0};
    if (ab_decode(&ab_open_job_schema, done->open, &open, &err))
        ab_log(AB_ERROR_LEVEL, "job.fork_unreadable", "n", ab_num((long long)done->n), "text", err.text, NULL);
    else
        job_queue(core, job_new(core, &open));
}

static void take_job(struct core *core, const struct ab_op_submit *op, const struct ab_op_submit_answer *done)
{
    if (done->open.p) {
        take_fork(core, done);
        return;
    }
    const struct ab_open_job open = {
        .n = done->n,
        .job = op->job,
        .user = op->user,
        .session = done->session,
        .priority = op->priority,
        .not_before_ms = op->not_before_ms,
        .deadline_ms = op->deadline_ms,
        .key = op->key,
        .pool = op->pool,
        .hash = op->hash,
        .history = done->history,
        .body_bytes = op->input.n + op->secrets.n,
    };
    struct job *job = job_new(core, &open);
    job_keep_input(&core->jobs, job, op->input, op->secrets, core->config.input_bytes_max);
    job_queue(core, job);
}

/* The message was the answer to this job's question. */
static void take_answer(struct core *core, const struct ab_op_submit_answer *done)
{
    struct job *job = jobs_by_n(&core->jobs, done->n);
    if (job && done->input > job->inbox_k)
        job_inbox(core, job, done->input, ab_view_of("input"), ab_view(NULL, 0), ab_view(NULL, 0));
}

static void submit_taken(struct core *core, const struct ticket *ticket, const struct ab_op_submit *op,
                         const struct ab_op_submit_answer *done)
{
    struct peer *peer = peers_find(&core->peers, ticket->peer);
    const struct ab_accepted accepted = {.rid = ticket->rid,
                                         .job = done->input ? done->job : op->job,
                                         .n = done->n,
                                         .session = done->session,
                                         .created = done->created,
                                         .state = done->state,
                                         .input = done->input,
                                         .seq = done->seq};
    core_send(core, peer, AB_ACCEPTED, &accepted, ab_view(NULL, 0), true);
    /* Not `created` decides: the answer to a batch sent twice says false for a job nobody has queued yet. */
    if (done->input) {
        take_answer(core, done);
    } else if (!done->state.n && !jobs_by_n(&core->jobs, done->n)) {
        core->accepted++;
        take_job(core, op, done);
        const struct job *job = jobs_by_n(&core->jobs, done->n);
        if (job)
            follow_change(core, job);
    }
    if (peer && !peer->lost && ticket->flags & (TICKET_WATCH_ALL | TICKET_WATCH_END))
        watch_start(core, peer, accepted.job, op->user, done->seq, ticket->flags & TICKET_WATCH_END,
                    ticket->flags & TICKET_DELTAS, ticket->rid);
}

void submit_answered(struct core *core, const struct answer *answer)
{
    const struct ticket ticket = *answer->ticket;
    struct ab_op_submit op = {0};
    struct ab_op_submit_answer done = {0};
    struct ab_error err = {0};
    struct answer bad = *answer;
    ab_decode(&ab_op_submit_schema, answer->request, &op, &err); /* we encoded it */
    if (!bad.code && (bad.code = ab_decode(&ab_op_submit_answer_schema, answer->body, &done, &err)))
        bad.err = &err;
    queue_submitted(&core->queue, op.user, op.session);
    enum policy_next next = bad.code ? policy_refused(core, &bad, &op) : POLICY_SAID;
    if (next == POLICY_AGAIN) {
        queue_submitting(&core->queue, op.user, op.session, op.job);
        core_write(core, AB_OP_submit, &op, &ticket);
        return;
    }
    core->pending_jobs--;
    core->pending_bytes -= ticket.n;
    if (next == POLICY_FORWARD)
        forward_refusal(core, &bad, op.job);
    else if (!bad.code)
        submit_taken(core, &ticket, &op, &done);
}

/* ---- inbox ---- */

static int check_inbox(const struct ab_inbox *inbox, struct ab_error *err)
{
    if (!inbox_kind_ok(inbox->kind))
        return ab_fail_at(err, AB_EINVALID, "kind", "kind is cancel, input, pause, resume or budget");
    if (!inbox->user.n)
        return ab_fail_at(err, AB_EINVALID, "user", "the user is empty");
    return 0;
}

void on_inbox(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    const struct ab_inbox *inbox = message;
    struct ab_error err = {0};
    (void)body;
    int rc = check_inbox(inbox, &err);
    if (!rc && core->ops->full(core->owner)) {
        rc = ab_fail(&err, AB_EUNAVAILABLE, "storage does not keep up or is away; nothing was stored");
        err.retry_after_ms = RETRY_AFTER_MS;
    }
    if (rc) {
        core_error(core, peer, inbox->rid, NULL, &err);
        return;
    }
    const struct ab_op_inbox op = {.job = inbox->job,
                                   .user = inbox->user,
                                   .id = inbox->id,
                                   .kind = inbox->kind,
                                   .ask = inbox->ask,
                                   .text = inbox->text};
    core_write(core, AB_OP_inbox, &op,
               &(struct ticket){.kind = TICKET_INBOX, .peer = peer->id, .rid = inbox->rid});
}

void inbox_answered(struct core *core, const struct answer *answer)
{
    struct ab_op_inbox op = {0};
    struct ab_op_inbox_answer done = {0};
    struct ab_error err = {0};
    ab_decode(&ab_op_inbox_schema, answer->request, &op, &err); /* we encoded it */
    struct answer bad = *answer;
    if (!bad.code && (bad.code = ab_decode(&ab_op_inbox_answer_schema, answer->body, &done, &err)))
        bad.err = &err;
    if (bad.code) {
        forward_refusal(core, &bad, op.job);
        return;
    }
    const struct ab_receipt receipt = {.rid = answer->ticket->rid, .job = op.job, .k = done.k};
    core_send(core, peers_find(&core->peers, answer->ticket->peer), AB_RECEIPT, &receipt, ab_view(NULL, 0),
              true);
    struct job *job = jobs_by_n(&core->jobs, done.n);
    if (job && done.k > job->inbox_k)
        job_inbox(core, job, done.k, op.kind, op.ask, op.text);
}
