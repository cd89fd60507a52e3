/* Jobs over HTTP: answering, cancelling, pausing, and events as a stream. New jobs are made in submit.c. */
#include <stdlib.h>

#include "client/gateway/feed.h"
#include "client/gateway/stream.h"
#include "common/files.h"

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

static void budget_handle(struct call *call)
{
    inbox(call, "budget", ab_tree_str(call->args, "limits"));
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
    if (!f->stream && error->code == AB_EENDED) { /* which tells a browser not to come back */
        call_answer_empty(f->call, MHD_HTTP_NO_CONTENT);
        return;
    }
    if (!f->stream) {
        call_fail(f->call, error, NULL);
        return;
    }
    if (error->code == AB_EENDED) {
        stream_end(f->stream);
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

static const struct arg reason_args[] = {
    {"job", ARG_ID, .required = true, .doc = "its id"},
    {"reason", ARG_STRING, .max = 4096, .doc = "for the journal"},
    {0},
};
static const struct arg input_args[] = {
    {"job", ARG_ID, .required = true, .doc = "its id"},
    {"text", ARG_STRING, .required = true, .max = 1 << 20, .doc = "the answer"},
    {"ask", ARG_STRING, .max = AB_STEP_MAX, .doc = "the question it answers; absent: the open one"},
    {0},
};
static const struct arg budget_args[] = {
    {"job", ARG_ID, .required = true, .doc = "its id"},
    {"limits", ARG_STRING, .required = true, .max = 1024, .doc = "such as tokens=200000,usd=none"},
    {0},
};
static const struct arg file_args[] = {
    {"job", ARG_STRING, .required = true, .max = 64,
     .doc = "id, unique prefix of at least 4 characters, or last"},
    {"path", ARG_STRING, .required = true, .max = AB_FILE_PATH_MAX, .doc = "as listed"},
    {0},
};
static const struct arg events_args[] = {
    {"job", ARG_ID, .required = true, .doc = "its id"},
    {"after", ARG_UINT, .doc = "events with a greater seq; Last-Event-ID counts more"},
    {"deltas", ARG_BOOL, .doc = "also the pieces of turns being written, as events named delta (default true)"},
    {0},
};

const struct route routes_jobs[] = {
    {"GET", "/api/jobs", SCOPE_READ, .operation = "list_jobs", .answers = "200",
     .summary = "The user's jobs, newest first"},
    {"GET", "/api/jobs/{job}", SCOPE_READ, .operation = "get_job", .answers = "200 404",
     .summary = "A job: state, message, and its end once there is one"},
    {"GET", "/api/jobs/{job}/events", SCOPE_READ, ROUTE_STREAM, events_handle, .args = events_args,
     .answers = "200 204 404 410",
     .summary =
         "Its journal as server-sent events, from the beginning or behind Last-Event-ID, until it ends; 204 "
         "behind its end"},
    {"GET", "/api/jobs/{job}/journal", SCOPE_READ, .operation = "journal", .answers = "200 404",
     .summary = "Its journal in pages"},
    {"GET", "/api/jobs/{job}/status", SCOPE_READ, .operation = "job_status", .answers = "200",
     .summary = "Where an open job stands and why it does not run"},
    {"GET", "/api/jobs/{job}/files", SCOPE_READ, .operation = "list_files", .answers = "200 404",
     .summary = "The files that its code made"},
    {"GET", "/api/jobs/{job}/files/{path}", SCOPE_READ, ROUTE_BYTES, file_handle, .args = file_args,
     .answers = "200 206 304 404 416",
     .summary = "One of them: its bytes, or a range of them; slashes of its path as %2F"},
    {"POST", "/api/jobs/{job}/cancel", SCOPE_WRITE, 0, cancel_handle, .args = reason_args,
     .answers = "202 404 409", .shape = "Receipt", .summary = "Wish that a job ends"},
    {"POST", "/api/jobs/{job}/pause", SCOPE_WRITE, 0, pause_handle, .args = reason_args,
     .answers = "202 404 409", .shape = "Receipt",
     .summary = "Stop a job at its next step; it holds no worker until it is resumed"},
    {"POST", "/api/jobs/{job}/resume", SCOPE_WRITE, 0, resume_handle, .args = reason_args,
     .answers = "202 404 409", .shape = "Receipt", .summary = "Go on with a paused job"},
    {"POST", "/api/jobs/{job}/budget", SCOPE_WRITE, 0, budget_handle, .args = budget_args,
     .answers = "202 404 409", .shape = "Receipt",
     .summary = "Set the limits of a job; one that waits for a budget goes on if there is room"},
    {"POST", "/api/jobs/{job}/input", SCOPE_WRITE, 0, input_handle, .args = input_args,
     .answers = "202 404 409", .shape = "Receipt", .summary = "Answer the question a job waits with"},
    {0},
};
