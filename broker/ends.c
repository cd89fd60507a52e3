/* Appends and their answers, the broker's own ends, and how a job without a worker goes on.
 *
 * A job that loses its worker settles first: as long as appends of it are in flight nobody knows its last seq, or
 * whether it has ended. When the last one is answered it is queued again, or ended by the broker under a new
 * token. Appends that storage cannot take now are tried again in their order; later ones line up behind them.
 */
#include "broker/internal.h"

#include <assert.h>
#include <stdlib.h>

#include "common/log.h"

/* ---- appends ---- */

/* Takes the request. */
static void keep_stalled(struct core *core, struct job *job, const struct ticket *ticket,
                         struct ab_blob *request)
{
    if (core->stalled_n == core->stalled_cap) {
        core->stalled_cap = core->stalled_cap ? core->stalled_cap * 2 : 64;
        core->stalled = ab_realloc(core->stalled, core->stalled_cap * sizeof *core->stalled);
    }
    if (!core->stalled_n)
        core->stalled_ms = core->now_ms + STALL_MS;
    core->stalled[core->stalled_n++] = (struct stalled){*ticket, request};
    job->stalled = true;
}

static void stall(struct core *core, struct job *job, const struct ticket *ticket, struct ab_view request)
{
    job->stalls++;
    keep_stalled(core, job, ticket, ab_blob_create(request));
}

void job_append(struct core *core, struct job *job, enum ticket_kind kind, struct ab_op_append *append,
                uint8_t flags)
{
    const struct ticket ticket = {.kind = (uint8_t)kind,
                                  .flags = flags,
                                  .n = job->n,
                                  .token = append->token,
                                  .seq = append->seq + append->count - 1};
    append->n = job->n;
    job->appends++;
    if (!job->stalled) {
        core_write(core, AB_OP_append, append, &ticket);
        return;
    }
    struct ab_buf bytes = {0};
    ab_encode(&bytes, &ab_op_append_schema, append);
    stall(core, job, &ticket, ab_buf_view(&bytes));
    ab_buf_finish(&bytes);
}

bool job_append_done(struct core *core, struct job *job, const struct answer *answer)
{
    /* What was sent behind a stalled append is refused for the gap: it is stalled too. */
    bool again =
        answer->code == AB_EUNAVAILABLE || (job->stalled && answer->code && answer->code != AB_ESTALE &&
                                            answer->code != AB_EENDED && answer->code != AB_EBUDGET);
    if (again)
        stall(core, job, answer->ticket, answer->request);
    else
        job->appends--;
    return again;
}

void stalled_again(struct core *core)
{
    if (!core->stalled_n || core->now_ms < core->stalled_ms)
        return;
    struct stalled *list = core->stalled;
    size_t n = core->stalled_n;
    core->stalled = NULL;
    core->stalled_n = core->stalled_cap = 0;
    for (size_t i = 0; i < n; i++) {
        struct job *job = jobs_by_n(&core->jobs, list[i].ticket.n);
        /* One that is still on its way will be refused for the gap, and has its place behind these. */
        if (job)
            job->stalled = job->appends != job->stalls;
    }
    for (size_t i = 0; i < n; i++) {
        struct job *job = jobs_by_n(&core->jobs, list[i].ticket.n);
        struct ab_op_append append;
        struct ab_error err;
        if (job && job->stalled) {
            keep_stalled(core, job, &list[i].ticket, list[i].request);
            continue;
        }
        if (job && !ab_decode(&ab_op_append_schema, ab_blob_view(list[i].request), &append, &err)) {
            job->stalls--;
            core_write(core, AB_OP_append, &append, &list[i].ticket);
        }
        ab_blob_destroy(list[i].request);
    }
    free(list);
}

/* ---- settling ---- */

static const struct {
    const char *state, *stop_reason;
    int code;
} verdicts[] = {
    [VERDICT_CANCELLED] = {"cancelled", "cancelled", AB_ECANCELLED},
    [VERDICT_EXPIRED] = {"expired", "deadline", AB_EEXPIRED},
    [VERDICT_DEAD] = {"dead", "worker_crashes", AB_EINTERNAL},
    [VERDICT_FAILED] = {"failed", "attempts", AB_EINTERNAL},
};

/* A text that was cut to size may end within a character, which would make the event malformed. */
static struct ab_view whole_characters(const char *text)
{
    struct ab_view view = ab_view_of(text);
    while (view.n && !ab_utf8_ok(view))
        view.n--;
    return view;
}

static void append_end(struct core *core, struct job *job)
{
    int code = job->verdict_code ? -(int)job->verdict_code : verdicts[job->verdict].code;
    const struct ab_end end = {
        .state = ab_view_of(verdicts[job->verdict].state),
        .stop_reason = ab_view_of(verdicts[job->verdict].stop_reason),
        .code = ab_view_of(ab_code_name(code)),
        .text = whole_characters(job->verdict_text),
        .at_ms = (uint64_t)core->wall_ms,
    };
    ab_buf_clear(&core->scratch);
    ab_pack_array(&core->scratch, 1);
    ab_event_encode(&core->scratch, AB_KIND_END, &end);
    job->token = core_token(core); /* no lease: nobody may append under it but we */
    struct ab_op_append append = {.seq = job->seq + 1,
                                  .token = job->token,
                                  .count = 1,
                                  .events = ab_buf_view(&core->scratch),
                                  .end = end.state};
    job_move(&core->jobs, job, JOB_EV_ENDING);
    job_append(core, job, TICKET_END, &append, TICKET_ENDS);
}

void job_settled(struct core *core, struct job *job)
{
    if (job->state != JOB_SETTLING || job->appends || job->resync)
        return;
    bool retry = job->retry;
    job->retry = false;
    if (job->cancel && !job->verdict)
        job_end(core, job, VERDICT_CANCELLED, 0, "cancelled on request");
    else if (job->verdict)
        append_end(core, job);
    else if (job->pause) {
        job->wake_at_ms = retry ? job->wake_at_ms : 0;
        job_hold(core, job);
    } else if (retry)
        job_schedule(core, job, job->wake_at_ms);
    else
        job_queue(core, job);
}

void job_settle(struct core *core, struct job *job)
{
    if (job->state == JOB_ENDING)
        return; /* what took it from its worker has ended it */
    if (job->state != JOB_SETTLING)
        job_move(&core->jobs, job, JOB_EV_SETTLE);
    job_settled(core, job);
}

static void resync_read(struct core *core, struct job *job)
{
    const struct ab_op_load load = {.n = job->n};
    core_read(core, AB_OP_load, &load, &(struct ticket){.kind = TICKET_RESYNC, .n = job->n});
}

/* Ever later, so that a job that storage refuses for no known reason does not keep the service busy. */
static int64_t resync_ms(const struct core *core, const struct job *job)
{
    return core->wall_ms + ((int64_t)STALL_MS << job->resyncs);
}

void job_resync_due(struct core *core, struct job *job)
{
    resync_read(core, job);
}

void job_resync(struct core *core, struct job *job)
{
    if (job->state == JOB_ENDED || job->resync)
        return;
    if (job->worker || job->running)
        job_detach(core, job);
    queue_remove(job);
    if (job->state != JOB_SETTLING)
        job_move(&core->jobs, job, JOB_EV_SETTLE);
    job->resync = true;
    if (job->verdict && job->resyncs)
        queue_schedule(&core->queue, job, resync_ms(core, job));
    else
        resync_read(core, job);
}

static bool journal_ended(struct ab_view journal)
{
    struct ab_reader reader = ab_reader(journal);
    struct ab_view event = {NULL, 0};
    uint32_t n = 0;
    if (!journal.p || ab_read_array(&reader, &n))
        return false;
    while (n-- && !ab_read_any(&reader, &event))
        ;
    return ab_event_kind(event) == AB_KIND_END;
}

void resync_answered(struct core *core, const struct answer *answer)
{
    struct job *job = jobs_by_n(&core->jobs, answer->ticket->n);
    struct ab_op_load_answer load;
    struct ab_error err = {0};
    if (!job || !job->resync)
        return;
    bool read = !answer->code && !ab_decode(&ab_op_load_answer_schema, answer->body, &load, &err);
    if (answer->code == AB_ENOTFOUND || answer->code == AB_EENDED || (read && journal_ended(load.journal))) {
        job_ended(core, job);
        return;
    }
    job->resyncs += job->resyncs < RESYNCS_MAX;
    if (!read) { /* nobody knows yet how far its journal is */
        queue_schedule(&core->queue, job, resync_ms(core, job));
        return;
    }
    job->resync = false;
    job->seq = load.seq;
    job->retry = true;
    job->wake_at_ms = resync_ms(core, job);
    job_settled(core, job);
}

/* ---- ends ---- */

void job_end(struct core *core, struct job *job, enum job_verdict verdict, int code, const char *text)
{
    if (job->verdict || job->state == JOB_ENDING)
        return;
    job->verdict = (uint8_t)verdict;
    job->verdict_code = (uint8_t)-code;
    job->verdict_text = ab_strdup(text);
    if (job->worker || job->running)
        job_detach(core, job);
    if (!job->resync) /* else it is in the schedule for its next reading */
        queue_remove(job);
    job_settle(core, job);
}

void end_answered(struct core *core, const struct answer *answer)
{
    struct job *job = jobs_by_n(&core->jobs, answer->ticket->n);
    if (!job || job_append_done(core, job, answer))
        return;
    if (answer->code == AB_ESTALE)
        core->superseded = true;
    if (!answer->code)
        watch_commit(core, job, answer->request);
    if (!answer->code || answer->code == AB_EENDED || answer->code == AB_ENOTFOUND) {
        job_ended(core, job);
        return;
    }
    ab_log(AB_WARN, "job.end_refused", "n", ab_num((long long)job->n), "code", ab_code_name(answer->code),
           "text", answer->err->text, NULL);
    job_resync(core, job);
}

void job_ended(struct core *core, struct job *job)
{
    core->ended++;
    if (job->state != JOB_ENDED)
        job_move(&core->jobs, job, JOB_EV_END);
    watch_job_ended(core, job);
    follow_change(core, job);
    if (job->worker || job->running || job->place[HEAP_LEASE])
        job_detach(core, job);
    if (job->place[HEAP_DEADLINE])
        heap_remove(&core->deadlines, job);
    queue_unbind(&core->queue, job);
    jobs_remove(&core->jobs, job);
}

static void remember_cancel(struct core *core, const struct job *job)
{
    if (core->cancelling_n == core->cancelling_cap && core->cancelling_at) {
        core->cancelling_n -= core->cancelling_at;
        memmove(core->cancelling, core->cancelling + core->cancelling_at,
                core->cancelling_n * sizeof *core->cancelling);
        core->cancelling_at = 0;
    }
    if (core->cancelling_n == core->cancelling_cap) {
        core->cancelling_cap = core->cancelling_cap ? core->cancelling_cap * 2 : 64;
        core->cancelling = ab_realloc(core->cancelling, core->cancelling_cap * sizeof *core->cancelling);
    }
    core->cancelling[core->cancelling_n++] =
        (struct cancelling){job->n, job->token, core->now_ms + core->config.cancel_grace_ms};
}

void job_cancel(struct core *core, struct job *job)
{
    if (job->state != JOB_RUNNING && job->state != JOB_ORPHAN) {
        job->cancel = false;
        job_end(core, job, VERDICT_CANCELLED, 0, "cancelled on request");
        return;
    }
    if (job->cancel)
        return;
    job->cancel = true;
    remember_cancel(core, job);
}

void cancels_expire(struct core *core)
{
    while (core->cancelling_at < core->cancelling_n) {
        struct cancelling *next = &core->cancelling[core->cancelling_at];
        if (next->at_ms > core->now_ms)
            return;
        core->cancelling_at++;
        struct job *job = jobs_by_n(&core->jobs, next->n);
        if (!job || job->verdict || !job->cancel)
            continue;
        send_stale(core, job->worker, job->id, job->token, job->seq);
        job_end(core, job, VERDICT_CANCELLED, 0, "cancelled on request; its worker did not stop in time");
    }
    core->cancelling_at = core->cancelling_n = 0;
}

void deadlines_expire(struct core *core)
{
    for (struct job *job; (job = heap_top(&core->deadlines)) && job->deadline_ms <= core->wall_ms;) {
        heap_remove(&core->deadlines, job);
        if (job->state == JOB_RUNNING) {
            job_notice(core, job, 0, ab_view_of("cancel"), ab_view(NULL, 0), ab_view_of("deadline"));
            send_stale(core, job->worker, job->id, job->token, job->seq);
        }
        job_end(core, job, VERDICT_EXPIRED, 0, "its deadline passed before it had ended");
    }
}
