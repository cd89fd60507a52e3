/* A broker's start: its epoch, then every job that has not ended. Only then does it take anything.
 *
 * Jobs whose last attempt is open get a grace lease: their workers may still be at work and attach them. The rest
 * is queued, in the order of their commit numbers, so that sessions keep their order.
 */
#include "broker/internal.h"

#include <stdlib.h>

#include "common/log.h"

static void read_page(struct core *core, uint64_t after)
{
    const struct ab_op_open_jobs request = {.after = after, .limit = AB_PAGE_MAX};
    core_read(core, AB_OP_open_jobs, &request, &(struct ticket){.kind = TICKET_OPEN_JOBS, .n = after});
}

void rebuild_start(struct core *core)
{
    const struct ab_op_epoch request = {.build = ab_view_of(core->config.build), .id = core->start_id};
    core->phase = PHASE_LOADING;
    core_write(core, AB_OP_epoch, &request, &(struct ticket){.kind = TICKET_EPOCH});
}

void epoch_answered(struct core *core, const struct answer *answer)
{
    struct ab_op_epoch_answer epoch;
    struct ab_error err = {0};
    if (answer->code || ab_decode(&ab_op_epoch_answer_schema, answer->body, &epoch, &err)) {
        ab_log(AB_ERROR_LEVEL, "broker.no_epoch", "text", answer->code ? answer->err->text : err.text, NULL);
        core->superseded = answer->code == AB_ESTALE;
        core->phase = PHASE_COLD; /* tried again when storage is up again */
        core->rebuild_ms = core->now_ms + STALL_MS;
        return;
    }
    core->epoch = epoch.epoch;
    queues_loaded(core, epoch.queues);
    read_page(core, 0);
}

struct job *job_new(struct core *core, const struct ab_open_job *open)
{
    struct job *job = jobs_add(&core->jobs, open->job, open->n, open->hash);
    queue_bind(&core->queue, job, open->user, open->pool, open->session, open->key);
    job->priority = (int32_t)(open->priority > INT32_MAX   ? INT32_MAX
                              : open->priority < INT32_MIN ? INT32_MIN
                                                           : open->priority);
    job->wake_at_ms = (int64_t)open->not_before_ms;
    job->deadline_ms = (int64_t)open->deadline_ms;
    job->history = open->history;
    job->body_bytes = (uint32_t)open->body_bytes;
    job->seq = open->seq;
    job->token = open->token;
    job->attempt = (uint32_t)open->attempt;
    job->failures = (uint16_t)open->failures;
    job->crashes = (uint16_t)open->crashes;
    job->company = (uint16_t)open->company;
    job->inbox_k = (uint32_t)open->inbox_k;
    job->budget = (uint8_t)open->budget;
    job->wait_why = open->why.n ? ab_format("budget: %.*s", AB_VIEW_FMT(open->why)) : NULL;
    core->jobs.bytes += job->body_bytes;
    if (job->deadline_ms)
        heap_push(&core->deadlines, job);
    return job;
}

static void adopt_running(struct core *core, struct job *job)
{
    queue_hold_session(job);
    queue_count(job);
    job_set_token(&core->jobs, job, job->token);
    job_move(&core->jobs, job, JOB_EV_ORPHAN);
    job->group = 0;
    job_lease(core, job);
}

static void load_job(struct core *core, const struct ab_open_job *open)
{
    if (open->hash.n != AB_HASH_BYTES || jobs_by_n(&core->jobs, open->n))
        return;
    struct job *job = job_new(core, open);
    job->cancel = open->cancel;
    job->pause = open->paused;
    if (open->wake_at_ms || open->attempt) /* else it is not_before */
        job->wake_at_ms = (int64_t)open->wake_at_ms;
    if (open->started)
        adopt_running(core, job);
    else if (ab_view_is(open->state, "waiting") || ab_view_is(open->state, "timer") ||
             ab_view_is(open->state, "budget"))
        job->parked = true;
    job->person = ab_view_is(open->state, "waiting");
    if (core->loaded_n == core->loaded_cap) {
        core->loaded_cap = core->loaded_cap ? core->loaded_cap * 2 : AB_PAGE_MAX;
        core->loaded = ab_realloc(core->loaded, core->loaded_cap * sizeof(struct job *));
    }
    core->loaded[core->loaded_n++] = job;
}

/* Its order was settled before it waited: it holds its session. */
static void adopt_waiting(struct core *core, struct job *job)
{
    job->parked = false;
    queue_hold_session(job);
    job_park(core, job, job->wake_at_ms);
}

static void adopt(struct core *core, struct job *job)
{
    bool cancel = job->cancel;
    if (job->pause && job->state == JOB_NEW)
        job_hold(core, job);
    else if (job->parked)
        adopt_waiting(core, job);
    else if (job->state == JOB_NEW) {
        if (job->attempt) /* also while it waits for its next one */
            queue_hold_session(job);
        job_queue(core, job);
    }
    if (cancel) {
        job->cancel = false;
        job_cancel(core, job);
    }
}

static void welcome_waiting(struct core *core)
{
    size_t at = 0;
    for (struct peer *peer; (peer = map_each(&core->peers.by_id, &at));)
        if (peer->welcome_owed)
            core_welcome(core, peer);
}

static void ready(struct core *core)
{
    core->phase = PHASE_READY;
    for (size_t i = 0; i < core->loaded_n; i++)
        adopt(core, core->loaded[i]);
    ab_log(AB_INFO, "broker.ready", "epoch", ab_num((long long)core->epoch), "open_jobs",
           ab_num((long long)core->loaded_n), NULL);
    free(core->loaded);
    core->loaded = NULL;
    core->loaded_n = core->loaded_cap = 0;
    cancels_read(core, 0); /* what was said while the pages were read */
    welcome_waiting(core);
}

/* False: the page could not be read. */
static bool load_page(struct core *core, struct ab_view jobs)
{
    struct ab_reader reader = ab_reader(jobs);
    uint32_t n = 0;
    struct ab_view raw;
    if (ab_read_array(&reader, &n))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct ab_open_job open;
        struct ab_error err = {0};
        if (ab_read_any(&reader, &raw) || ab_decode(&ab_open_job_schema, raw, &open, &err))
            return false;
        load_job(core, &open);
    }
    return true;
}

void open_jobs_answered(struct core *core, const struct answer *answer)
{
    struct ab_op_open_jobs_answer page;
    struct ab_error err = {0};
    if (answer->code || ab_decode(&ab_op_open_jobs_answer_schema, answer->body, &page, &err) ||
        !load_page(core, page.jobs)) {
        ab_log(AB_ERROR_LEVEL, "broker.open_jobs_failed", "text", answer->code ? answer->err->text : err.text,
               NULL);
        core->reload_after = answer->ticket->n;
        core->rebuild_ms = core->now_ms + STALL_MS;
        core->reload = true;
        return;
    }
    if (page.next)
        read_page(core, page.next);
    else
        ready(core);
}

/* ---- cancels and wakes that were missed ---- */
void cancels_read(struct core *core, uint64_t after)
{
    const struct ab_op_open_jobs request = {.after = after, .limit = AB_PAGE_MAX, .cancelled = true};
    core->cancels_ms = 0;
    core_read(core, AB_OP_open_jobs, &request, &(struct ticket){.kind = TICKET_CANCELS, .n = after});
}

static void cancel_missed(struct core *core, const struct ab_open_job *open)
{
    struct job *job = jobs_by_n(&core->jobs, open->n);
    if (job && open->cancel && !job->cancel && !job->verdict)
        job_inbox(core, job, open->inbox_k, ab_view_of("cancel"), ab_view(NULL, 0), ab_view(NULL, 0));
    /* A wait that storage has ended since: a budget has room again. */
    if (job && (job->state == JOB_WAITING || job->parked) && job->seq == open->seq &&
        ab_view_is(open->state, "ready"))
        job_inbox(core, job, 0, ab_view_of("budget"), ab_view(NULL, 0), ab_view(NULL, 0));
}

void cancels_answered(struct core *core, const struct answer *answer)
{
    struct ab_op_open_jobs_answer page;
    struct ab_error err = {0};
    struct ab_view raw;
    uint32_t n = 0;
    bool ok = !answer->code && !ab_decode(&ab_op_open_jobs_answer_schema, answer->body, &page, &err);
    struct ab_reader reader = ab_reader(ok ? page.jobs : ab_view(NULL, 0));
    if (!ok || ab_read_array(&reader, &n)) {
        core->cancels_ms = core->now_ms + STALL_MS;
        return;
    }
    while (n-- && !ab_read_any(&reader, &raw)) {
        struct ab_open_job open;
        if (!ab_decode(&ab_open_job_schema, raw, &open, &err))
            cancel_missed(core, &open);
    }
    if (page.next)
        cancels_read(core, page.next);
}

void rebuild_tick(struct core *core)
{
    if (core->cancels_ms && core->now_ms >= core->cancels_ms)
        cancels_read(core, 0);
    if (core->phase == PHASE_READY || core->now_ms < core->rebuild_ms)
        return;
    if (core->phase == PHASE_COLD && core->storage_up && core->rebuild_ms) {
        rebuild_start(core);
    } else if (core->reload) {
        core->reload = false;
        read_page(core, core->reload_after);
    }
}
