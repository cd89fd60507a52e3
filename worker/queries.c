/* Questions to storage. Each is asked again after a reconnect, after "not now" and when no answer comes (they only read),
 * until it has one; an answer for a run that was dropped meanwhile goes nowhere. Owns the requests. */
#include <stdlib.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "worker/worker.h"

static void send_query(struct worker *worker, struct query *query, int64_t now_ms)
{
    struct ab_query head = {.rid = query->rid, .op = ab_view_of(query->op->name)};
    bool sent = !link_send(&worker->storage, AB_QUERY, &head, ab_buf_view(&query->request));
    query->again_ms = now_ms + (sent ? WORKER_UNANSWERED_MS : WORKER_RETRY_MS);
}

static struct query *query_new(struct worker *worker, enum ab_op op, const void *request)
{
    struct query *query = ab_calloc(1, sizeof *query);
    query->rid = ++worker->queries.last_rid;
    query->op = ab_op_by_number(op);
    ab_encode(&query->request, query->op->request, request);
    TAILQ_INSERT_TAIL(&worker->queries.list, query, in_list);
    return query;
}

void queries_ask(struct worker *worker, struct run *run, enum ab_op op, const void *request,
                 query_done_fn *done)
{
    struct query *query = query_new(worker, op, request);
    query->done = done;
    if (run) {
        query->job = run->job;
        query->token = run->token;
        run->asking = true;
    }
    send_query(worker, query, ab_mono_ms());
}

struct query *queries_ask_for(struct worker *worker, enum ab_op op, const void *request, query_told_fn *told,
                              void *user)
{
    struct query *query = query_new(worker, op, request);
    query->told = told;
    query->user = user;
    send_query(worker, query, ab_mono_ms());
    return query;
}

void query_drop(struct worker *worker, struct query *query)
{
    TAILQ_REMOVE(&worker->queries.list, query, in_list);
    ab_buf_finish(&query->request);
    free(query);
}

static void finish_query(struct worker *worker, struct query *query, struct ab_view answer,
                         const struct ab_error *error)
{
    struct run *run = NULL;
    query_done_fn *done = query->done;
    query_told_fn *told = query->told;
    void *user = query->user;
    bool wanted = true;

    if (!ab_id_zero(query->job)) {
        run = runs_find(worker, query->job);
        wanted = run && run->token == query->token;
    }
    query_drop(worker, query);
    if (told) {
        told(user, answer, error);
        return;
    }
    if (!wanted)
        return;
    if (run) {
        run->asking = false;
        run_wake(run);
    }
    done(worker, run, answer, error);
}

/* The rid of a RESULT or ERROR; 0 if there is none. */
static uint64_t answered(const struct ab_message *m, struct ab_error *error)
{
    struct ab_result result;
    struct ab_failure failure;
    if (m->command == AB_RESULT)
        return ab_message_header(m, &result, NULL) ? 0 : result.rid;
    if (m->command != AB_ERROR || ab_message_header(m, &failure, NULL))
        return 0;
    ab_error_from(&failure, error);
    return failure.rid;
}

void queries_answer(struct worker *worker, const struct ab_message *m)
{
    struct ab_error error = {0};
    uint64_t rid = answered(m, &error);
    struct query *query;

    TAILQ_FOREACH(query, &worker->queries.list, in_list)
    if (query->rid == rid)
        break;
    if (!query) {
        if (m->command == AB_ERROR)
            ab_log(AB_WARN, "storage.error", "code", ab_code_name(error.code), "text", error.text, NULL);
        return; /* the second answer to a question that was asked twice */
    }
    if (error.code && error.retryable) {
        query->again_ms = ab_mono_ms() + (error.retry_after_ms ? error.retry_after_ms : WORKER_REFUSED_MS);
        return;
    }
    finish_query(worker, query, m->body, error.code ? &error : NULL);
}

void queries_resend(struct worker *worker)
{
    struct query *query;
    TAILQ_FOREACH(query, &worker->queries.list, in_list)
    send_query(worker, query, ab_mono_ms());
}

int64_t queries_deadline(const struct worker *worker, int64_t now_ms)
{
    const struct query *query;
    int64_t deadline = INT64_MAX;
    if (!worker->storage.open)
        return deadline;
    TAILQ_FOREACH(query, &worker->queries.list, in_list)
    if (query->again_ms < deadline)
        deadline = query->again_ms;
    return deadline < now_ms ? now_ms : deadline;
}

void queries_tick(struct worker *worker, int64_t now_ms)
{
    struct query *query;
    if (!worker->storage.open)
        return;
    TAILQ_FOREACH(query, &worker->queries.list, in_list)
    if (query->again_ms <= now_ms)
        send_query(worker, query, now_ms);
}

void queries_finish(struct worker *worker)
{
    while (!TAILQ_EMPTY(&worker->queries.list))
        query_drop(worker, TAILQ_FIRST(&worker->queries.list));
}
