/* The jobs at hand: a hash table by job id, a list of all, and a list of those that something happened to. Owns the runs
 * and all they hold. */
#include <stdlib.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/wire/tree.h"
#include "worker/skills.h"

static size_t bucket_of(struct ab_id job)
{
    return ab_id_hash(job) % WORKER_RUN_BUCKETS;
}

struct run *runs_find(struct worker *worker, struct ab_id job)
{
    struct run *run;
    SLIST_FOREACH(run, &worker->buckets[bucket_of(job)], in_bucket)
    if (ab_id_eq(run->job, job))
        return run;
    return NULL;
}

void run_wake(struct run *run)
{
    if (run->awake)
        return;
    run->awake = true;
    TAILQ_INSERT_TAIL(&run->worker->awake, run, in_awake);
}

/* The raw items of an array, one after the other. */
static int add_items(struct ab_buf *out, struct ab_view array, struct ab_error *err)
{
    struct ab_reader reader = ab_reader(array);
    uint32_t n;
    if (!array.p)
        return 0;
    if (ab_read_array(&reader, &n))
        return ab_fail(err, AB_EINVALID, "the journal that came with the job is not an array");
    ab_buf_add(out, reader.at, (size_t)(reader.end - reader.at));
    return 0;
}

int run_take_input(struct run *run, const struct ab_input *input, struct ab_error *err)
{
    run->content = ab_tree_unpack(input->content, err);
    ab_buf_add(&run->given, input->history.p, input->history.n);
    return run->content ? 0 : err->code;
}

static int take_body(struct run *run, struct ab_view body, struct ab_error *err)
{
    struct ab_job_body parts = {0};
    struct ab_input input = {0};
    int code = body.n ? ab_decode(&ab_job_body_schema, body, &parts, err) : 0;
    if (!code && parts.input.p)
        code = ab_decode(&ab_input_schema, parts.input, &input, err);
    if (!code && parts.input.p)
        code = run_take_input(run, &input, err);
    return code ? code : add_items(&run->journal, parts.journal, err);
}

static void link_run(struct worker *worker, struct run *run)
{
    SLIST_INSERT_HEAD(&worker->buckets[bucket_of(run->job)], run, in_bucket);
    TAILQ_INSERT_TAIL(&worker->all, run, in_all);
    worker->runs++;
}

/* A job whose body cannot be read ends as failed: no other worker could read it either. */
void runs_take(struct worker *worker, const struct ab_job *job, struct ab_view body)
{
    struct ab_error err = {0};
    struct run *run = runs_find(worker, job->job);
    if (run && run->token >= job->token)
        return; /* it came twice */
    if (run)
        run_drop(run); /* the broker thought us dead and came back to us */
    run = ab_calloc(1, sizeof *run);
    run->worker = worker;
    run->job = job->job;
    run->user = ab_strndup(job->user.p ? job->user.p : "", job->user.n);
    run->session = ab_strndup(job->session.p ? job->session.p : "", job->session.n);
    run->n = job->n;
    run->attempt = job->attempt;
    run->token = job->token;
    run->job_seq = run->committed_seq = job->seq;
    run->started_ms = ab_mono_ms();
    run->history_wanted = job->history;
    run->budget = (unsigned)job->budget;
    run->watched = job->watched;
    run->inbox_known = job->attempt <= 1; /* what arrives from now on is told by NOTICE */
    if (job->seq <= 1)
        run->folded_seq = job->seq; /* only `started`, which the fold does not need */
    ab_buf_add(&run->secrets, job->secrets.p, job->secrets.n);
    run->workflow = workflows_get(&worker->workflows, (const uint8_t *)job->hash.p);
    STAILQ_INIT(&run->inbox);
    TAILQ_INIT(&run->calls);
    TAILQ_INIT(&run->codes);
    TAILQ_INIT(&run->spaces);
    TAILQ_INIT(&run->toolcalls);
    TAILQ_INIT(&run->toolkits);
    TAILQ_INIT(&run->skills);
    TAILQ_INIT(&run->skill_offers);
    TAILQ_INIT(&run->skillcalls);
    link_run(worker, run);
    if (take_body(run, body, &err))
        journal_end(run, "failed", "error", &err);
    run_wake(run);
}

void run_drop(struct run *run)
{
    struct worker *worker = run->worker;

    calls_abort(run);
    toolcalls_abort(run); /* before the directories that they work in */
    codes_finish(run);
    toolkits_finish(run);
    skills_finish(run);
    if (run->awake)
        TAILQ_REMOVE(&worker->awake, run, in_awake);
    SLIST_REMOVE(&worker->buckets[bucket_of(run->job)], run, run, in_bucket);
    TAILQ_REMOVE(&worker->all, run, in_all);
    worker->runs--;
    workflows_put(&worker->workflows, run->workflow);
    engine_destroy(run->engine);
    json_decref(run->content);
    journal_finish(run);
    while (!STAILQ_EMPTY(&run->inbox))
        run_pop_inbox(run);
    free(run->user);
    free(run->session);
    free(run->cancelled);
    free(run->no_room);
    ab_buf_finish(&run->secrets);
    ab_buf_finish(&run->journal);
    ab_buf_finish(&run->history);
    ab_buf_finish(&run->given);
    free(run);
}

void run_add_inbox(struct run *run, uint64_t k, struct ab_view kind, struct ab_view ask, struct ab_view text)
{
    if (k <= run->inbox_seen || run->inbox_rows >= WORKER_INBOX_ROWS_MAX)
        return;
    if (ab_view_is(kind, "budget")) { /* storage has heeded it already */
        run->inbox_seen = k;
        return;
    }
    struct inbox_row *row = ab_calloc(1, sizeof *row);
    row->k = run->inbox_seen = k;
    row->kind = ab_strndup(kind.p, kind.n);
    row->ask = ab_strndup(ask.p ? ask.p : "", ask.n);
    row->text = ab_strndup(text.p ? text.p : "", text.n);
    STAILQ_INSERT_TAIL(&run->inbox, row, in_inbox);
    run->inbox_rows++;
}

/* k counts a job's rows without a gap. Were a row taken whose predecessors are not here, those would pass for known, and
 * a question that one of them answers would be asked for ever. */
void run_hear_inbox(struct run *run, uint64_t k, struct ab_view kind, struct ab_view ask, struct ab_view text)
{
    if (run->inbox_known && k == run->inbox_seen + 1)
        run_add_inbox(run, k, kind, ask, text);
    else if (k > run->inbox_seen)
        run->inbox_known = false;
}

void run_cancel(struct run *run, struct ab_view reason)
{
    if (!run->cancelled)
        run->cancelled = reason.n ? ab_format("cancelled on request: %.*s", AB_VIEW_FMT(reason))
                                  : ab_strdup("cancelled on request");
}

void run_pop_inbox(struct run *run)
{
    struct inbox_row *row = STAILQ_FIRST(&run->inbox);
    STAILQ_REMOVE_HEAD(&run->inbox, in_inbox);
    run->inbox_rows--;
    free(row->kind);
    free(row->ask);
    free(row->text);
    free(row);
}
