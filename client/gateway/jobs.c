/* Jobs over HTTP: submitting, waiting for the end, answering, cancelling; and events as a stream. */
#include <sodium.h>
#include <stdlib.h>

#include "client/gateway/feed.h"
#include "client/gateway/stream.h"
#include "client/gateway/wait.h"
#include "common/clock.h"

enum { WAIT_MS_MAX = 600000, IDEMPOTENCY_MS = 24 * 3600 * 1000, KEY_MAX = 256 };

/* ---- POST /api/jobs ---- */

struct submission {
    char id[AUTOBOTS_ID_TEXT]; /* "" until it is known */
    struct wait *wait;         /* with wait_ms */
};

static void forget_submission(struct call *call)
{
    struct submission *s = call->state;
    wait_destroy(s->wait);
    free(s);
    call->state = NULL;
}

static char *json_text(const json_t *args, const char *key)
{
    const json_t *value = json_object_get(args, key);
    struct ab_buf text = {0};
    if (!value)
        return NULL;
    ab_json_text(value, &text);
    return ab_buf_detach(&text);
}

static json_t *accepted_tree(const struct autobots_answer *answer)
{
    json_t *tree = json_pack("{s:s, s:I}", "job", answer->job, "n", (json_int_t)answer->number);
    if (answer->session)
        json_object_set_new(tree, "session", json_string(answer->session));
    json_object_set_new(tree, "state", json_string(answer->state ? answer->state : "accepted"));
    return tree;
}

static void add_location(struct call *call, const char *job)
{
    char *path = ab_format("/api/jobs/%s", job);
    call_header_add(call, "Location", path);
    free(path);
}

/* The job has ended, asks a person, or the time is up. */
static void on_waited(struct call *call, enum wait_outcome outcome, json_t *tree, const struct ab_error *error)
{
    struct submission *s = call->state;
    if (outcome == WAIT_FAILED)
        call_fail(call, error, NULL);
    else
        call_answer(call, outcome == WAIT_TIMEOUT ? MHD_HTTP_ACCEPTED : MHD_HTTP_OK, json_incref(tree));
    add_location(call, s->id);
}

static void on_accepted(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct submission *s = call->state;
    if (!call->connection)
        ;
    else if (answer->error)
        call_failed(call, answer);
    else if (s->wait)
        wait_accepted(s->wait, answer->session);
    else {
        call_answer(call, MHD_HTTP_ACCEPTED, accepted_tree(answer));
        add_location(call, answer->job);
    }
    call_drop(call);
}

static void submit(struct call *call)
{
    struct submission *s = call->state;
    const json_t *a = call->args;
    char *workflow = json_text(a, "workflow"), *content = json_text(a, "content"),
         *metadata = json_text(a, "metadata"), id[AUTOBOTS_ID_TEXT];
    struct autobots_error err;
    int64_t wait_ms = ab_tree_int(a, "wait_ms", 0);
    struct autobots_job job = {
        .id = *s->id ? s->id : NULL,
        .user = call->user,
        .workflow = workflow,
        .text = ab_tree_str(a, "text"),
        .content = content,
        .metadata = metadata,
        .msg_id = ab_tree_str(a, "msg_id"),
        .session = ab_tree_str(a, "session"),
        .no_session = ab_tree_bool(a, "no_session", false),
        .priority = ab_tree_int(a, "priority", 0),
        .not_before_ms = (uint64_t)ab_tree_int(a, "not_before_ms", 0),
        .deadline_ms = (uint64_t)ab_tree_int(a, "deadline_ms", 0),
        .concurrency = ab_tree_str(a, "concurrency_key"),
        .pool = ab_tree_str(a, "pool"),
    };
    call_hold(call);
    if (autobots_start_submit(call->gateway->bots, &job, id, on_accepted, call, &err)) {
        struct autobots_answer answer = {.error = &err};
        on_accepted(call, &answer);
    } else {
        memcpy(s->id, id, sizeof s->id);
        if (wait_ms)
            s->wait = wait_create(call, id, true, 0, ab_mono_ms() + wait_ms, on_waited);
    }
    free(workflow);
    free(content);
    free(metadata);
}

/* ---- Idempotency-Key ----
 * A UUIDv7 is the job's id itself. Any other key is made into one: its random bits are a hash of user and key, its time
 * is the beginning of the UTC day. A repetition on the next day finds the job of the day before, so a key holds for at
 * least 24 hours, over restarts and for all gateways, and nothing is stored for it. */

static void id_of_key(const char *user, struct ab_view key, int64_t ms, char text[AUTOBOTS_ID_TEXT])
{
    struct ab_id id;
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof id.b);
    crypto_generichash_update(&state, (const unsigned char *)user, strlen(user) + 1);
    crypto_generichash_update(&state, (const unsigned char *)key.p, key.n);
    crypto_generichash_final(&state, id.b, sizeof id.b);
    for (int i = 0; i < 6; i++)
        id.b[i] = (uint8_t)(ms >> (40 - 8 * i));
    id.b[6] = (uint8_t)(0x70 | (id.b[6] & 0x0f));
    id.b[8] = (uint8_t)(0x80 | (id.b[8] & 0x3f));
    ab_id_text(id, text);
}

static void on_yesterday(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct submission *s = call->state;
    if (!call->connection)
        ;
    else if (answer->error && answer->error->code != AB_ENOTFOUND)
        call_failed(call, answer);
    else {
        if (answer->error) {
            int64_t now = ab_wall_ms();
            id_of_key(call->user, call_header(call, "Idempotency-Key"), now - now % IDEMPOTENCY_MS, s->id);
        }
        submit(call);
    }
    call_drop(call);
}

static void submit_once(struct call *call, struct ab_view key)
{
    struct submission *s = call->state;
    struct ab_id id;
    int64_t now = ab_wall_ms();
    if (ab_id_parse(key, &id) && ab_id_ok(id)) {
        ab_id_text(id, s->id);
        submit(call);
        return;
    }
    id_of_key(call->user, key, now - now % IDEMPOTENCY_MS - IDEMPOTENCY_MS, s->id);
    call_query(call, "get_job", json_pack("{s:s}", "job", s->id), on_yesterday);
}

static void submit_handle(struct call *call)
{
    struct ab_error err;
    struct ab_view key = call_header(call, "Idempotency-Key");
    if (key.n > KEY_MAX) {
        ab_fail_at(&err, AB_EINVALID, "Idempotency-Key", "a key has at most %d characters", KEY_MAX);
        call_fail(call, &err, NULL);
        return;
    }
    call->state = ab_calloc(1, sizeof(struct submission));
    call->forget = forget_submission;
    if (key.n)
        submit_once(call, key);
    else
        submit(call);
}

/* ---- cancel, input ---- */

static void on_receipt(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    if (answer->error)
        call_failed(call, answer);
    else
        call_answer(call, MHD_HTTP_ACCEPTED,
                    json_pack("{s:s, s:I}", "job", answer->job, "k", (json_int_t)answer->number));
    call_drop(call);
}

static void inbox(struct call *call, const char *kind, const char *text)
{
    struct autobots_error err;
    struct autobots_inbox row = {.job = ab_tree_str(call->args, "job"),
                                 .kind = kind,
                                 .user = call->user,
                                 .ask = ab_tree_str(call->args, "ask"),
                                 .text = text};
    call_hold(call);
    if (autobots_start_inbox(call->gateway->bots, &row, on_receipt, call, &err)) {
        struct autobots_answer answer = {.error = &err};
        on_receipt(call, &answer);
    }
}

static void cancel_handle(struct call *call)
{
    inbox(call, "cancel", ab_tree_str(call->args, "reason"));
}

static void pause_handle(struct call *call)
{
    inbox(call, "pause", ab_tree_str(call->args, "reason"));
}

static void resume_handle(struct call *call)
{
    inbox(call, "resume", ab_tree_str(call->args, "reason"));
}

static void input_handle(struct call *call)
{
    inbox(call, "input", ab_tree_str(call->args, "text"));
}

/* ---- GET /api/jobs/{job}/events ---- */

struct following {
    struct listener listener;
    struct call *call;
    struct stream *stream;
};

static void forget_following(struct call *call)
{
    struct following *f = call->state;
    listener_stop(&f->listener);
    free(f);
    call->state = NULL;
}

static void on_room(void *owner)
{
    struct following *f = owner;
    listener_go_on(&f->listener);
}

static bool on_begin(struct listener *listener)
{
    struct following *f = (struct following *)listener;
    f->stream = stream_open(f->call, on_room, f);
    return f->stream;
}

static bool on_event(struct listener *listener, const struct feed_event *event)
{
    struct following *f = (struct following *)listener;
    char id[32];
    snprintf(id, sizeof id, "%llu", (unsigned long long)event->seq);
    stream_event(f->stream, id, NULL, event->json);
    f->call->gateway->counters.events_sent++;
    if (event->end)
        stream_end(f->stream);
    return stream_has_room(f->stream);
}

static bool on_delta(struct listener *listener, const struct autobots_delta *delta)
{
    struct following *f = (struct following *)listener;
    char id[64];
    if (!stream_has_room(f->stream)) {
        f->call->gateway->counters.deltas_dropped++;
        return false;
    }
    json_t *tree = json_pack("{s:s, s:s, s:s, s:I, s:I, s:s%}", "job", delta->job, "step", delta->step, "agent",
                             delta->agent, "attempt", (json_int_t)delta->attempt, "offset",
                             (json_int_t)delta->offset, "text", delta->text, delta->text_bytes);
    if (tree) { /* whole characters; a worker of another version might send half ones */
        char *line = json_line(tree);
        snprintf(id, sizeof id, "%llu.%llu", (unsigned long long)listener->seq,
                 (unsigned long long)(delta->offset + delta->text_bytes));
        stream_event(f->stream, id, "delta", ab_view_of(line));
        free(line);
        f->call->gateway->counters.deltas_sent++;
    }
    json_decref(tree);
    return true;
}

static void on_error(struct listener *listener, const struct ab_error *error)
{
    struct following *f = (struct following *)listener;
    if (!f->stream) {
        call_fail(f->call, error, NULL);
        return;
    }
    json_t *tree = error_tree(ab_code_name(error->code), error, NULL);
    char *line = json_line(tree);
    json_decref(tree);
    stream_event(f->stream, NULL, "error", ab_view_of(line));
    stream_end(f->stream);
    free(line);
}

static void events_handle(struct call *call)
{
    struct ab_error err;
    uint64_t after = (uint64_t)ab_tree_int(call->args, "after", 0);
    if (!stream_last_id(call, &after)) {
        ab_fail_at(&err, AB_EINVALID, "Last-Event-ID", "is no id of an event of a job: SEQ or SEQ.OFFSET");
        call_fail(call, &err, NULL);
        return;
    }
    struct following *f = ab_calloc(1, sizeof *f);
    f->call = call;
    f->listener = (struct listener){.seq = after,
                                    .deltas = ab_tree_bool(call->args, "deltas", true),
                                    .on_begin = on_begin,
                                    .on_event = on_event,
                                    .on_delta = on_delta,
                                    .on_error = on_error};
    call->state = f;
    call->forget = forget_following;
    listener_start(&f->listener, call->gateway, ab_tree_str(call->args, "job"), call->user, false);
}

/* ---- the routes ---- */

static const struct arg submit_args[] = {
    {"workflow", ARG_OBJECT, .required = true, .doc = "the workflow, in the concise form or as flow_config"},
    {"text", ARG_STRING, .doc = "the message; absent: content, or the workflow's own task"},
    {"content", ARG_CONTENT, .doc = "the message as text or an array of parts"},
    {"metadata", ARG_ANY, .doc = "kept with the message"},
    {"msg_id", ARG_STRING, .max = AB_NAME_MAX, .doc = "the message's id; absent: made"},
    {"session", ARG_STRING, .max = AB_NAME_MAX, .doc = "the session to go on with; absent: a new one is made"},
    {"no_session", ARG_BOOL, .doc = "the job belongs to no session and leaves no messages"},
    {"priority", ARG_INT, .doc = "among the user's own jobs; higher first"},
    {"not_before_ms", ARG_UINT, .doc = "do not start before (ms since 1970)"},
    {"deadline_ms", ARG_UINT, .doc = "ends as expired if it has not ended by then (ms since 1970)"},
    {"concurrency_key", ARG_STRING, .max = AB_NAME_MAX, .doc = "limited by the service's configuration"},
    {"pool", ARG_STRING, .max = AB_NAME_MAX, .doc = "the worker pool (default: default)"},
    {"wait_ms", ARG_UINT, .max = WAIT_MS_MAX, .doc = "answer only when the job ends or asks, at most so long"},
    {0},
};
static const struct arg reason_args[] = {
    {"job", ARG_ID, .required = true, .doc = "its id"},
    {"reason", ARG_STRING, .max = 4096, .doc = "for the journal"},
    {0},
};
static const struct arg input_args[] = {
    {"job", ARG_ID, .required = true, .doc = "its id"},
    {"text", ARG_STRING, .required = true, .max = 1 << 20, .doc = "the answer"},
    {"ask", ARG_STRING, .max = AB_NAME_MAX, .doc = "the question it answers; absent: the open one"},
    {0},
};
static const struct arg events_args[] = {
    {"job", ARG_ID, .required = true, .doc = "its id"},
    {"after", ARG_UINT, .doc = "events with a greater seq; Last-Event-ID counts more"},
    {"deltas", ARG_BOOL, .doc = "also the pieces of turns being written, as events named delta (default true)"},
    {0},
};

const struct route routes_jobs[] = {
    {"POST", "/api/jobs", SCOPE_WRITE, 0, submit_handle, .args = submit_args, .answers = "202 200 409",
     .shape = "Accepted",
     .summary = "Submit a job. 202 once it is on disk; with wait_ms 200 with its end or its question"},
    {"GET", "/api/jobs", SCOPE_READ, .operation = "list_jobs", .answers = "200",
     .summary = "The user's jobs, newest first"},
    {"GET", "/api/jobs/{job}", SCOPE_READ, .operation = "get_job", .answers = "200 404",
     .summary = "A job: state, message, and its end once there is one"},
    {"GET", "/api/jobs/{job}/events", SCOPE_READ, ROUTE_STREAM, events_handle, .args = events_args,
     .answers = "200 404 410",
     .summary = "Its journal as server-sent events, from the beginning or behind Last-Event-ID, until it ends"},
    {"GET", "/api/jobs/{job}/journal", SCOPE_READ, .operation = "journal", .answers = "200 404",
     .summary = "Its journal in pages"},
    {"GET", "/api/jobs/{job}/status", SCOPE_READ, .operation = "job_status", .answers = "200",
     .summary = "Where an open job stands and why it does not run"},
    {"POST", "/api/jobs/{job}/cancel", SCOPE_WRITE, 0, cancel_handle, .args = reason_args,
     .answers = "202 404 409", .shape = "Receipt", .summary = "Wish that a job ends"},
    {"POST", "/api/jobs/{job}/pause", SCOPE_WRITE, 0, pause_handle, .args = reason_args,
     .answers = "202 404 409", .shape = "Receipt",
     .summary = "Stop a job at its next step; it holds no worker until it is resumed"},
    {"POST", "/api/jobs/{job}/resume", SCOPE_WRITE, 0, resume_handle, .args = reason_args,
     .answers = "202 404 409", .shape = "Receipt", .summary = "Go on with a paused job"},
    {"POST", "/api/jobs/{job}/input", SCOPE_WRITE, 0, input_handle, .args = input_args,
     .answers = "202 404 409", .shape = "Receipt", .summary = "Answer the question a job waits with"},
    {0},
};
