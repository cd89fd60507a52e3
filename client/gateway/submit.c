/* New jobs over HTTP: submitted, forked from others, retried; each once for an Idempotency-Key, and with the answer at
 * once or when the job ends.
 *
 * The steps, each left out if it is not needed: the job that is forked is read; the id that the key had yesterday is looked
 * for; the workflow is fetched by its name; the job is submitted; its end is waited for.
 */
#include <stdlib.h>

#include "client/gateway/key.h"
#include "client/gateway/wait.h"
#include "common/clock.h"

enum { WAIT_MS_MAX = 600000, RETRY_LOOKED_AT = 200 };

struct submission {
    char id[AUTOBOTS_ID_TEXT]; /* "" until it is known */
    struct wait *wait;         /* with wait_ms, once it is accepted */
    int64_t until_ms;          /* of that; 0: it is not waited */
    char *workflow;            /* JSON text; NULL: none is given */
    json_t *source;            /* the job record that is forked; NULL: none */
    uint64_t fork_seq;
    bool retry;
};

static void forget(struct call *call)
{
    struct submission *s = call->state;
    wait_destroy(s->wait);
    free(s->workflow);
    json_decref(s->source);
    free(s);
    call->state = NULL;
}

static char *json_text(const json_t *value)
{
    struct ab_buf text = {0};
    if (!value)
        return NULL;
    ab_json_text(value, &text);
    return ab_buf_detach(&text);
}

/* The object in an answer, or NULL after a failure was told. */
static json_t *answer_tree(struct call *call, const struct autobots_answer *answer)
{
    json_t *tree = NULL;
    struct ab_error err;
    if (!call->connection)
        return NULL;
    if (answer->error)
        call_failed(call, answer);
    else if (ab_json_parse(ab_view_of(answer->json), &tree, &err))
        call_fail(call, &err, NULL);
    return tree;
}

static void refuse(struct call *call, int code, const char *path, const char *text)
{
    struct ab_error err;
    ab_fail_at(&err, code, path, "%s", text);
    call_fail(call, &err, NULL);
}

/* ---- submitting ---- */

static json_t *accepted_tree(const struct autobots_answer *answer)
{
    json_t *tree = json_pack("{s:s, s:I}", "job", answer->job, "n", (json_int_t)answer->number);
    if (answer->session)
        json_object_set_new(tree, "session", json_string(answer->session));
    json_object_set_new(tree, "state", json_string(answer->state ? answer->state : "accepted"));
    if (answer->input) {
        json_object_set_new(tree, "input", json_integer((json_int_t)answer->input));
        json_object_set_new(tree, "seq", json_integer((json_int_t)answer->seq));
    }
    return tree;
}

static void add_location(struct call *call, const char *job)
{
    char *path = ab_format("/api/jobs/%s", job);
    call_header_add(call, "Location", path);
    free(path);
}

/* The job has ended, asks a person, or the time is up. It was taken: that nobody can tell what becomes of it just now is no
 * reason to send it again. */
static void on_waited(struct call *call, enum wait_outcome outcome, json_t *tree, const struct ab_error *error)
{
    struct submission *s = call->state;
    if (outcome == WAIT_FAILED && error->retryable)
        call_answer(call, MHD_HTTP_ACCEPTED, json_pack("{s:s, s:s}", "job", s->id, "state", "accepted"));
    else if (outcome == WAIT_FAILED)
        call_fail(call, error, NULL);
    else
        call_answer(call, outcome == WAIT_TIMEOUT ? MHD_HTTP_ACCEPTED : MHD_HTTP_OK, json_incref(tree));
    add_location(call, s->id);
}

/* The job may be another one: that of a session which has asked, and takes the message for the answer. */
static void on_accepted(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct submission *s = call->state;
    if (!call->connection)
        ;
    else if (answer->error)
        call_failed(call, answer);
    else if (s->until_ms) {
        memcpy(s->id, answer->job, sizeof s->id);
        s->wait = wait_create(call, answer->job, answer->session, answer->input ? answer->seq : 0, s->until_ms,
                              on_waited);
    } else {
        call_answer(call, MHD_HTTP_ACCEPTED, accepted_tree(answer));
        add_location(call, answer->job);
    }
    call_drop(call);
}

/* What a fork takes over from its source, and what it says instead. */
static void fill_fork(const struct submission *s, const json_t *args, struct autobots_job *job)
{
    const char *text = ab_tree_str(args, "text");
    job->fork_of = ab_tree_str(s->source, "id");
    job->fork_seq = s->fork_seq;
    job->fork_text = s->fork_seq && !s->retry ? text : NULL;
    job->text = s->fork_seq ? NULL : text;
    if (s->retry)
        job->session = ab_tree_str(s->source, "session");
    job->no_session = !job->session && !ab_tree_str(s->source, "session");
}

static void submit(struct call *call)
{
    struct submission *s = call->state;
    const json_t *a = call->args;
    char *content = json_text(json_object_get(a, "content")),
         *metadata = json_text(json_object_get(a, "metadata")), id[AUTOBOTS_ID_TEXT];
    struct autobots_error err;
    int64_t wait_ms = ab_tree_int(a, "wait_ms", 0);
    s->until_ms = wait_ms ? ab_mono_ms() + wait_ms : 0;
    struct autobots_job job = {
        .id = *s->id ? s->id : NULL,
        .user = call->user,
        .workflow = s->workflow,
        .text = ab_tree_str(a, "text"),
        .content = content,
        .metadata = metadata,
        .msg_id = ab_tree_str(a, "msg_id"),
        .session = ab_tree_str(a, "session"),
        .if_busy = ab_tree_str(a, "if_busy"),
        .budget = ab_tree_str(a, "budget"),
        .no_session = ab_tree_bool(a, "no_session", false),
        .priority = ab_tree_int(a, "priority", 0),
        .not_before_ms = (uint64_t)ab_tree_int(a, "not_before_ms", 0),
        .deadline_ms = (uint64_t)ab_tree_int(a, "deadline_ms", 0),
        .concurrency = ab_tree_str(a, "concurrency_key"),
        .pool = ab_tree_str(a, "pool"),
    };
    if (s->source)
        fill_fork(s, a, &job);
    call_hold(call);
    if (autobots_start_submit(call->gateway->bots, &job, id, on_accepted, call, &err)) {
        struct autobots_answer answer = {.error = &err};
        on_accepted(call, &answer);
    }
    free(content);
    free(metadata);
}

/* ---- the workflow ---- */

static void on_workflow(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct submission *s = call->state;
    json_t *tree = answer_tree(call, answer);
    const char *text = ab_tree_str(tree, "workflow");
    if (text) {
        s->workflow = ab_strdup(text);
        submit(call);
    }
    json_decref(tree);
    call_drop(call);
}

/* An object is the workflow itself, a text the name of a stored one. */
static void find_workflow(struct call *call)
{
    struct submission *s = call->state;
    const json_t *given = json_object_get(call->args, "workflow"),
                 *model = json_object_get(call->args, "model");
    if (json_is_string(given)) {
        json_t *fields = json_pack("{s:O}", "name", given);
        if (model)
            json_object_set(fields, "model", (json_t *)(uintptr_t)model);
        call_query(call, "get_workflow", fields, on_workflow);
    } else {
        s->workflow = json_text(given);
        submit(call);
    }
}

static void on_id(struct call *call, const char *id)
{
    struct submission *s = call->state;
    snprintf(s->id, sizeof s->id, "%s", id);
    find_workflow(call);
}

static void find_id(struct call *call)
{
    key_find(call, on_id);
}

/* ---- fork and retry ---- */

/* An answer that did not fit its response_format is not kept: the last reply is made again. */
static void on_journal(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct submission *s = call->state;
    json_t *tree = answer_tree(call, answer), *events = json_object_get(tree, "events"), *event;
    uint64_t last = (uint64_t)ab_tree_int(tree, "seq", 0);
    size_t i, n = json_array_size(events);
    json_array_foreach (events, i, event) {
        const char *kind = ab_tree_str(event, "kind");
        if (kind && !strcmp(kind, "model_reply"))
            s->fork_seq = last - (n - 1 - i) - 1;
    }
    if (tree)
        find_id(call);
    json_decref(tree);
    call_drop(call);
}

static void retry(struct call *call)
{
    static const char format[] = ".response_format";
    struct submission *s = call->state;
    const char *state = ab_tree_str(s->source, "state"),
               *path = ab_tree_str(json_object_get(s->source, "end"), "path");
    uint64_t seq = (uint64_t)ab_tree_int(s->source, "seq", 1);
    size_t n = path ? strlen(path) : 0;
    if (!json_object_get(s->source, "end") || (state && !strcmp(state, "succeeded"))) {
        refuse(call, AB_ECONFLICT, "job",
               "only a job that failed, died, expired or was cancelled can be retried; fork it");
        return;
    }
    s->fork_seq = seq - 1;
    if (n >= sizeof format - 1 && !strcmp(path + n - (sizeof format - 1), format))
        call_query(call, "journal",
                   json_pack("{s:s, s:I, s:i}", "job", ab_tree_str(s->source, "id"), "after",
                             (json_int_t)(seq > RETRY_LOOKED_AT ? seq - RETRY_LOOKED_AT : 0), "limit",
                             RETRY_LOOKED_AT),
                   on_journal);
    else
        find_id(call);
}

static void on_source(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct submission *s = call->state;
    json_t *tree = answer_tree(call, answer);
    if (tree) {
        s->source = json_incref(json_object_get(tree, "job"));
        s->fork_seq = (uint64_t)ab_tree_int(call->args, "seq", 0);
        if (s->retry)
            retry(call);
        else
            find_id(call);
    }
    json_decref(tree);
    call_drop(call);
}

static struct submission *begin(struct call *call)
{
    call->forget = forget;
    return call->state = ab_calloc(1, sizeof(struct submission));
}

static void submit_handle(struct call *call)
{
    begin(call);
    find_id(call);
}

static void fork_handle(struct call *call)
{
    begin(call);
    call_query(call, "get_job", json_pack("{s:O}", "job", json_object_get(call->args, "job")), on_source);
}

static void retry_handle(struct call *call)
{
    begin(call)->retry = true;
    call_query(call, "get_job", json_pack("{s:O}", "job", json_object_get(call->args, "job")), on_source);
}

/* ---- the routes ---- */

#define WORKFLOW_ARGS                                                                                          \
    {"workflow", ARG_WORKFLOW,                                                                                 \
     .doc = "the workflow, in the concise form or as flow_config; or the name of a stored one"},               \
    {                                                                                                          \
        "model", ARG_STRING, .max = 256, .doc = "of a built-in workflow"                                       \
    }
#define TIME_ARGS                                                                                              \
    {"deadline_ms", ARG_UINT, .doc = "ends as expired if it has not ended by then (ms since 1970)"},           \
    {                                                                                                          \
        "wait_ms", ARG_UINT, .max = WAIT_MS_MAX,                                                               \
                             .doc = "answer only when the job ends or asks, at most so long"                   \
    }
static const struct arg submit_args[] = {
    WORKFLOW_ARGS,
    {"text", ARG_STRING, .doc = "the message; absent: content, or the workflow's own task"},
    {"content", ARG_CONTENT, .doc = "the message as text or an array of parts"},
    {"metadata", ARG_ANY, .doc = "kept with the message"},
    {"msg_id", ARG_STRING, .max = AB_NAME_MAX, .doc = "the message's id; absent: made"},
    {"session", ARG_STRING, .max = AB_NAME_MAX, .doc = "the session to go on with; absent: a new one is made"},
    {"if_busy", ARG_STRING, .max = 16,
     .doc = "if the session's job has not ended: enqueue (default), reject, interrupt or new_job; the message "
            "is the answer "
            "if that job waits for a person, unless this is new_job"},
    {"no_session", ARG_BOOL, .doc = "the job belongs to no session and leaves no messages"},
    {"budget", ARG_STRING, .max = 1024,
     .doc = "its limits, such as tokens=100000,usd=0.5, over those of the workflow"},
    {"priority", ARG_INT, .doc = "among the user's own jobs; higher first"},
    {"not_before_ms", ARG_UINT, .doc = "do not start before (ms since 1970)"},
    {"concurrency_key", ARG_STRING, .max = AB_NAME_MAX, .doc = "limited by the service's configuration"},
    {"pool", ARG_STRING, .max = AB_NAME_MAX, .doc = "the worker pool (default: default)"},
    TIME_ARGS,
    {0},
};
static const struct arg fork_args[] = {
    {"job", ARG_STRING, .required = true, .max = 64,
     .doc = "id, unique prefix of at least 4 characters, or last"},
    {"seq", ARG_UINT, .doc = "the last event that is copied; 0 or absent: none, it begins anew"},
    {"text", ARG_STRING, .max = 512 << 10,
     .doc = "instead of what was said in that event; with seq 0 the message"},
    {"session", ARG_STRING, .max = AB_NAME_MAX, .doc = "the session to go on with; absent: a new one is made"},
    WORKFLOW_ARGS,
    TIME_ARGS,
    {0},
};
static const struct arg retry_args[] = {
    {"job", ARG_STRING, .required = true, .max = 64,
     .doc = "id, unique prefix of at least 4 characters, or last"},
    WORKFLOW_ARGS,
    TIME_ARGS,
    {0},
};

const struct route routes_submit[] = {
    {"POST", "/api/jobs", SCOPE_WRITE, 0, submit_handle, .args = submit_args, .answers = "202 200 404 409",
     .shape = "Accepted",
     .summary = "Submit a job. 202 once it is on disk; with wait_ms 200 with its end or its question"},
    {"POST", "/api/jobs/{job}/fork", SCOPE_WRITE, 0, fork_handle, .args = fork_args,
     .answers = "202 200 404 409", .shape = "Accepted",
     .summary = "A new job that begins with a copy of another one's journal"},
    {"POST", "/api/jobs/{job}/retry", SCOPE_WRITE, 0, retry_handle, .args = retry_args,
     .answers = "202 200 404 409", .shape = "Accepted", .summary = "A new job that goes on where one failed"},
    {0},
};
