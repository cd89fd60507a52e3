/* Events of one job on their way to the disk. One EVENTS message of a job is under way at a time; what is added meanwhile
 * goes with the next one. It is kept whole until COMMITTED, and sent again as it was after a reconnect: storage knows it by
 * job, seq and token. */
#include <stdlib.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/wire/tree.h"
#include "worker/worker.h"

enum {
    BATCH_BYTES_FULL = 1 << 20, /* no further event is added to such a batch, except the last one */
    BODY_BYTES_SPARE = 1024,    /* what a body needs besides its events */
};

static struct ab_view clip(struct ab_view text, size_t bytes_max)
{
    if (text.n > bytes_max)
        text.n = bytes_max;
    while (text.n && !ab_utf8_ok(text))
        text.n--;
    return text;
}

/* The event is the last thing in the batch; it is taken out again if the engine refuses it. */
int journal_add(struct run *run, enum ab_event_kind kind, const void *event, struct ab_error *err)
{
    struct ab_buf *events = &run->unsent.events;
    size_t before = events->n;
    int code = 0;

    ab_event_encode(events, kind, event);
    if (events->n - before + BODY_BYTES_SPARE > run->worker->body_bytes_max)
        code = ab_fail(err, AB_ETOOLARGE, "an event (%s) of %zu bytes is over the service's message_bytes_max",
                       ab_event_rows[kind].kind, events->n - before);
    else if (run->engine)
        code = engine_apply(run->engine, ab_view(events->p + before, events->n - before), err);
    if (code)
        events->n = before;
    else
        run->unsent.count++;
    return code;
}

uint32_t journal_room(const struct run *run)
{
    const struct batch *batch = &run->unsent;
    if (batch->closes || batch->events.n >= BATCH_BYTES_FULL || batch->count >= AB_EVENTS_MAX - 1)
        return 0; /* one place is left for the event that closes it */
    return AB_EVENTS_MAX - 1 - batch->count;
}

bool journal_settled(const struct run *run)
{
    return !run->unsent.count && !run->in_flight.count;
}

bool journal_holds(const struct run *run, uint64_t events)
{
    return (int64_t)run->committed_seq >= run->engine_seq + (int64_t)events;
}

bool journal_closed(const struct run *run)
{
    return run->unsent.closes || run->in_flight.closes;
}

/* --- sending -------------------------------------------------------------------------------------------------- */

static void clear_batch(struct batch *batch)
{
    ab_buf_finish(&batch->events);
    *batch = (struct batch){0};
}

/* As many events from the front as one message takes, at least one. Their bytes. */
static size_t fit(const struct run *run, uint32_t *count)
{
    struct ab_view all = ab_buf_view(&run->unsent.events), event;
    struct ab_reader reader = ab_reader(all);
    size_t bytes = 0;

    for (*count = 0; *count < run->unsent.count && *count < AB_EVENTS_MAX; ++*count) {
        if (ab_read_any(&reader, &event))
            break; /* cannot be: we wrote them */
        size_t with = all.n - (size_t)(reader.end - reader.at);
        if (*count && with + BODY_BYTES_SPARE > run->worker->body_bytes_max)
            break;
        bytes = with;
    }
    return bytes;
}

/* What agents that talk at the same time add while a message is under way may be more than one message takes. What closes
 * the attempt goes with its last event. */
static void fill_flight(struct run *run)
{
    struct batch *unsent = &run->unsent, *flight = &run->in_flight;
    uint32_t count;
    if (flight->count || !unsent->count)
        return;
    size_t bytes = fit(run, &count);
    *flight = count == unsent->count ? *unsent : (struct batch){0};
    flight->events = (struct ab_buf){0};
    flight->count = count;
    ab_pack_array(&flight->events, count);
    ab_buf_add(&flight->events, unsent->events.p, bytes);
    flight->first_seq = run->committed_seq + 1;
    flight->head.job = run->job;
    flight->head.token = run->token;
    flight->head.seq = flight->first_seq;
    flight->head.count = count;
    run->sent = false;
    if (count == unsent->count) {
        clear_batch(unsent);
        return;
    }
    unsent->count -= count;
    unsent->events.n -= bytes;
    memmove(unsent->events.p, unsent->events.p + bytes, unsent->events.n);
}

static int send_attach(struct run *run)
{
    struct ab_lease lease = {.job = run->job, .token = run->token, .seq = run->committed_seq};
    int code = link_send(&run->worker->broker, AB_ATTACH, &lease, (struct ab_view){0});
    if (!code) {
        run->attach_due = false;
        run->attaching = true;
    }
    return code;
}

static int send_events(struct run *run)
{
    if (AB_FAILPOINT("worker.before_events"))
        return AB_EUNAVAILABLE;
    int code =
        link_send(&run->worker->broker, AB_EVENTS, &run->in_flight.head, ab_buf_view(&run->in_flight.events));
    run->sent = !code;
#ifdef AB_FAILPOINTS /* what the point below promises */
    link_flush(&run->worker->broker);
#endif
    if (!code && AB_FAILPOINT("worker.after_events"))
        run->sent = false; /* as if it was lost on the way: it goes again */
    return code;
}

void journal_flush(struct run *run)
{
    int code = 0;
    fill_flight(run);
    if (run->again_ms && ab_mono_ms() < run->again_ms) {
        run->worker->unsent = true;
        return;
    }
    run->again_ms = 0;
    if (run->attach_due)
        code = send_attach(run);
    else if (run->in_flight.count && !run->sent && !run->attaching)
        code = send_events(run);
    /* Without a connection the greeting wakes all runs. */
    if (run->worker->broker.open && (code || (run->in_flight.count && !run->sent && !run->attaching)))
        run->worker->unsent = true;
}

void journal_resend(struct run *run)
{
    run->sent = false;
    run->attaching = false;
    run_wake(run);
}

bool journal_committed(struct run *run, uint64_t seq)
{
    const struct batch *flight = &run->in_flight;

    if (AB_FAILPOINT("worker.committed")) {
        journal_resend(run);
        return false;
    }
    if (seq < run->committed_seq) /* what we build on is not there: this lease was never written down */
        return run->attaching;
    run_wake(run);
    if (!flight->count) {
        run->attaching = false;
        return false;
    }
    if (seq < flight->first_seq + flight->count - 1) {
        if (run->attaching)
            journal_resend(run);
        return false;
    }
    bool closes = flight->closes;
    run->attaching = false;
    run->committed_seq = flight->first_seq + flight->count - 1;
    clear_batch(&run->in_flight);
    return closes;
}

/* A wait is always alone in its batch, as is a call_started: nothing else is taken back. */
void journal_conflict(struct run *run, const struct ab_lease *lease)
{
    bool call = run->in_flight.call;
    if (call != (lease->why.n > 0) || (!call && !run->in_flight.head.wait.p))
        return; /* it was said twice */
    if (call)
        budget_refused(run, lease->why, lease->later);
    else
        budget_try_again(run);
    run->engine_seq -= run->in_flight.count;
    clear_batch(&run->in_flight);
    run->inbox_known &= call;
    run_wake(run);
}

/* What the service will never take is replaced by an end that says so; if even that is refused, the run is of no use. */
bool journal_refused(struct run *run, const struct ab_error *error)
{
    bool hopeless = error->code == AB_ESTALE || error->code == AB_EENDED || error->code == AB_ENOTFOUND;
    if (hopeless || !run->in_flight.count || run->refused)
        return true;
    run->refused = true;
    clear_batch(&run->unsent);
    clear_batch(&run->in_flight);
    engine_destroy(run->engine);
    run->engine = NULL;
    calls_abort(run);
    codes_abort(run);
    toolcalls_abort(run);
    journal_end(run, "failed", "error", error);
    run_wake(run);
    return false;
}

void journal_finish(struct run *run)
{
    clear_batch(&run->unsent);
    clear_batch(&run->in_flight);
}

/* --- the last event of an attempt ----------------------------------------------------------------------------- */

static int64_t now_at(void)
{
    int64_t now = ab_wall_ms();
    return now > 0 ? now : 1;
}

static void log_end(const struct run *run, const char *event, const char *state, const char *reason,
                    const struct ab_error *error)
{
    char id[AB_ID_TEXT];
    ab_log(error && error->code != AB_ECANCELLED ? AB_WARN : AB_INFO, event, "job", ab_id_text(run->job, id),
           "state", state, "reason", reason, "attempt", ab_num((long long)run->attempt), "ms",
           ab_num((long long)(ab_mono_ms() - run->started_ms)), "error", error ? error->text : "", NULL);
}

static int add_end(struct run *run, struct ab_end *end, json_t *result, char *content, struct ab_error *err)
{
    struct ab_buf packed = {0};
    if (result) {
        ab_tree_pack(&packed, result);
        end->result = ab_buf_view(&packed);
    }
    if (content)
        end->content = ab_view_of(content);
    int code = journal_add(run, AB_KIND_END, end, err);
    ab_buf_finish(&packed);
    return code;
}

static void name_error(struct ab_end *end, const struct ab_error *error)
{
    end->code = ab_view_of(ab_code_name(error->code));
    end->text = clip(ab_view_of(error->text), AB_ERROR_TEXT_MAX - 1);
    end->path = *error->path ? clip(ab_view_of(error->path), AB_ERROR_PATH_MAX - 1) : (struct ab_view){0};
}

/* The end holds what the other events hold already: if it grows too large, the transcript in it goes first. */
void journal_end(struct run *run, const char *state, const char *stop_reason, const struct ab_error *error)
{
    struct ab_end end = {
        .state = ab_view_of(state), .stop_reason = ab_view_of(stop_reason), .at_ms = (uint64_t)now_at()};
    bool succeeded = !strcmp(state, "succeeded");
    struct ab_error err = {0};

    if (journal_closed(run))
        return;
    calls_abort(run);
    codes_abort(run);
    toolcalls_abort(run);
    if (error)
        name_error(&end, error);
    json_t *result = run->engine ? engine_result(run->engine, stop_reason, (int64_t)end.at_ms) : NULL;
    char *content = run->engine && succeeded ? engine_summary(run->engine) : NULL;
    int code = add_end(run, &end, result, content, &err);
    if (code == AB_ETOOLARGE && result) {
        json_object_set_new(result, "messages", json_array());
        json_object_set_new(result, "messages_omitted", json_true());
        code = add_end(run, &end, result, content, &err);
    }
    if (code) {
        engine_destroy(run->engine);
        run->engine = NULL;
        end = (struct ab_end){
            .state = ab_view_of("failed"), .stop_reason = ab_view_of("error"), .at_ms = (uint64_t)now_at()};
        name_error(&end, &err);
        state = "failed";
        error = &err;
        add_end(run, &end, NULL, NULL, NULL);
    }
    run->unsent.head.end = ab_view_of(state);
    run->unsent.closes = true;
    log_end(run, "job.end", state, stop_reason, error);
    free(content);
    json_decref(result);
    engine_destroy(run->engine); /* its memory is not needed while the end is under way */
    run->engine = NULL;
}

void journal_retry(struct run *run, const struct ab_error *error)
{
    struct ab_attempt_failed failed = {.attempt = run->attempt,
                                       .code = ab_view_of(ab_code_name(error->code)),
                                       .text = clip(ab_view_of(error->text), AB_ERROR_TEXT_MAX - 1),
                                       .at_ms = (uint64_t)now_at()};
    struct ab_error err = {0};

    if (journal_closed(run))
        return;
    calls_abort(run);
    codes_abort(run);
    toolcalls_abort(run);
    if (error->retry_after_ms)
        failed.retry_at_ms = failed.at_ms + error->retry_after_ms;
    if (journal_add(run, AB_KIND_ATTEMPT_FAILED, &failed, &err)) {
        journal_end(run, "failed", "error", &err);
        return;
    }
    run->unsent.head.retry = true;
    run->unsent.head.wake_at_ms = failed.retry_at_ms;
    run->unsent.closes = true;
    log_end(run, "job.attempt_failed", "retry", "error", error);
}

static void add_waiting(struct run *run, const struct ab_waiting *waiting, const char *reason)
{
    struct ab_error err = {0};

    if (journal_add(run, AB_KIND_WAITING, waiting, &err)) {
        journal_end(run, "failed", "error", &err);
        return;
    }
    run->unsent.head.wait = ab_view_of(reason);
    run->unsent.head.wake_at_ms = waiting->until_ms;
    run->unsent.head.inbox_seen = run->inbox_seen;
    run->unsent.closes = true;
    log_end(run, "job.waits", "waiting", reason, NULL);
}

void journal_wait(struct run *run, const struct engine_effect *effect)
{
    struct ab_waiting waiting = {.reason = ab_view_of("person"),
                                 .ask = ab_view_of(effect->step),
                                 .agent = ab_view_of(effect->agent),
                                 .prompt = ab_view_of(effect->prompt),
                                 .inbox_seen = run->inbox_seen,
                                 .at_ms = (uint64_t)now_at()};
    if (effect->until_ms) /* asked again: no row of the inbox was the answer */
        waiting.until_ms = (uint64_t)effect->until_ms;
    else if (effect->timeout_ms)
        waiting.until_ms = waiting.at_ms + (uint64_t)effect->timeout_ms;
    add_waiting(run, &waiting, "person");
}

void journal_park(struct run *run)
{
    struct ab_waiting waiting = run->wanted;
    waiting.reason = ab_view_of("budget");
    waiting.budget = clip(ab_view_of(run->no_room), AB_WHY_MAX - 1);
    waiting.at_ms = (uint64_t)now_at();
    add_waiting(run, &waiting, "budget");
}

void journal_pause(struct run *run)
{
    struct ab_paused paused = {.at_ms = (uint64_t)now_at()};
    struct ab_error err = {0};

    if (journal_add(run, AB_KIND_PAUSED, &paused, &err)) {
        journal_end(run, "failed", "error", &err);
        return;
    }
    run->unsent.head.pause = true;
    run->unsent.closes = true;
    log_end(run, "job.pauses", "paused", "request", NULL);
}
