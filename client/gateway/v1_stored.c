/* Responses that are stored: read from their jobs, told as they are now or followed, cancelled, deleted. */
#include <stdlib.h>

#include "client/gateway/v1.h"

#include "common/wire/tree.h"

/* ---- what a job keeps of its response ---- */

void v1_no_response(struct call *call, const char *id)
{
    struct ab_error err;
    ab_fail_at(&err, AB_ENOTFOUND, "response_id", "there is no response %.64s, or it was not stored",
               id ? id : "");
    call_fail(call, &err, NULL);
}

json_t *v1_texts_of(const json_t *record, const json_t *about)
{
    const json_t *end = json_object_get(record, "end");
    const json_t *messages = json_object_get(json_object_get(end, "result"), "messages");
    const char *output = ab_tree_str(about, "output");
    json_t *texts = json_array(), *message;
    size_t i;
    json_array_foreach (messages, i, message) {
        struct ab_buf text = {0};
        const char *agent = ab_tree_str(message, "agent");
        if (output && agent && !strcmp(agent, output))
            v1_text_of(json_object_get(message, "content"), &text);
        struct ab_view said = v1_cut(ab_buf_view(&text), ab_tree_str(about, "stop"));
        if (said.n)
            json_array_append_new(texts, json_stringn(said.p, said.n));
        ab_buf_finish(&text);
    }
    if (!json_array_size(texts) && json_is_string(json_object_get(end, "content")))
        json_array_append(texts, json_object_get(end, "content"));
    return texts;
}

json_t *v1_input_of(const json_t *record)
{
    struct ab_view hex = ab_tree_view(record, "input");
    struct ab_buf bytes = {0};
    struct ab_error err;
    for (size_t i = 0; i + 1 < hex.n; i += 2) {
        char digits[3] = {hex.p[i], hex.p[i + 1], 0};
        ab_buf_char(&bytes, (char)strtoul(digits, NULL, 16));
    }
    json_t *tree = bytes.n ? ab_tree_unpack(ab_buf_view(&bytes), &err) : NULL;
    ab_buf_finish(&bytes);
    return tree;
}

json_t *v1_about_of(const json_t *input)
{
    json_t *about = json_object_get(json_object_get(input, "metadata"), "v1");
    return json_is_object(about) && ab_tree_bool(about, "store", true) ? about : NULL;
}

/* ---- one that is there ---- */

/* Of one that goes on. */
static json_t *open_response(const struct v1_run *run, const json_t *record)
{
    const char *state = ab_tree_str(record, "state");
    bool runs = state && !strcmp(state, "running");
    struct v1_response r = {.job = run->job,
                            .created = run->created,
                            .about = run->about,
                            .status = runs ? "in_progress" : "queued"};
    return v1_response(&r);
}

typedef void on_stored(struct v1_run *run, const json_t *record);

/* Its job is known and is a response of the user's. */
static void on_record(struct call *call, const struct autobots_answer *answer, on_stored *then)
{
    struct v1_run *run = call->state;
    bool gone = call->connection && answer->error && answer->error->code == AB_ENOTFOUND;
    json_t *tree = gone ? NULL : v1_tree(call, answer), *record = json_object_get(tree, "job"),
           *input = v1_input_of(record), *about = v1_about_of(input);
    if (gone || (tree && !about))
        v1_no_response(call, ab_tree_str(call->args, "response_id"));
    else if (tree) {
        const char *output = ab_tree_str(about, "output"), *session = ab_tree_str(record, "session"),
                   *stop = ab_tree_str(about, "stop"), *state = ab_tree_str(record, "state");
        bool waits = state && !strcmp(state, "waiting");
        run->about = json_incref(about);
        run->output = output ? ab_strdup(output) : NULL;
        run->stop = stop ? ab_strdup(stop) : NULL;
        run->session = session ? ab_strdup(session) : NULL;
        snprintf(run->job, sizeof run->job, "%s", ab_tree_str(record, "id"));
        v1_note_created(run, record);
        run->talk.known = (uint64_t)ab_tree_int(record, "seq", 0) - waits;
        then(run, record);
    }
    json_decref(input);
    json_decref(tree);
    call_drop(call);
}

static void find_stored(struct call *call, autobots_done *done)
{
    char job[AB_ID_TEXT];
    const char *id = ab_tree_str(call->args, "response_id");
    v1_run_create(call, &v1_response_kind);
    if (v1_job_of("resp_", ab_view_of(id), job))
        call_query(call, "get_job", json_pack("{s:s, s:b}", "job", job, "raw", 1), done);
    else
        v1_no_response(call, id);
}

/* ---- GET ---- */

static void tell(struct v1_run *run, const json_t *record)
{
    const json_t *after = json_object_get(run->call->args, "starting_after");
    const char *state = ab_tree_str(record, "state");
    bool stream = ab_tree_bool(run->call->args, "stream", false), waits = state && !strcmp(state, "waiting");
    if (!stream && !waits &&
        !json_object_get(record, "end")) { /* else the journal tells it, as the stream would */
        v1_answer(run, open_response(run, record));
        return;
    }
    run->request.stream = stream;
    run->cursor_set = after;
    run->cursor = (uint64_t)json_integer_value(after);
    v1_follow(run, 0, false);
}

static void on_told(void *context, const struct autobots_answer *answer)
{
    on_record(context, answer, tell);
}

void v1_get_handle(struct call *call)
{
    find_stored(call, on_told);
}

/* ---- what it was made of ---- */

static void tell_items(struct call *call, const json_t *record, const json_t *input)
{
    const json_t *a = call->args;
    const char *order = ab_tree_str(a, "order");
    struct ab_error err;
    if (order && strcmp(order, "asc") && strcmp(order, "desc")) {
        ab_fail_at(&err, AB_EINVALID, "order", "order must be asc or desc");
        call_fail(call, &err, NULL);
        return;
    }
    struct v1_items_page page = {.ascending = order && !strcmp(order, "asc"),
                                 .after = ab_tree_str(a, "after"),
                                 .limit = (size_t)ab_tree_int(a, "limit", 20)};
    json_t *items = v1_input_items(ab_tree_str(record, "id"), input);
    call_answer(call, MHD_HTTP_OK, v1_items_list(items, &page));
    json_decref(items);
}

static void on_items(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    bool gone = call->connection && answer->error && answer->error->code == AB_ENOTFOUND;
    json_t *tree = gone ? NULL : v1_tree(call, answer), *record = json_object_get(tree, "job"),
           *input = v1_input_of(record);
    if (gone || (tree && !v1_about_of(input)))
        v1_no_response(call, ab_tree_str(call->args, "response_id"));
    else if (tree)
        tell_items(call, record, input);
    json_decref(input);
    json_decref(tree);
    call_drop(call);
}

void v1_items_handle(struct call *call)
{
    find_stored(call, on_items);
}

/* ---- cancel ---- */

static void on_receipt(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    if (!call->connection)
        ;
    else if (answer->error && answer->error->code != AB_EENDED)
        call_failed(call, answer);
    else /* its end is told */
        v1_follow(call->state, 0, false);
    call_drop(call);
}

static void cancel(struct v1_run *run, const json_t *record)
{
    struct autobots_error err;
    struct autobots_inbox row = {
        .job = run->job, .kind = "cancel", .user = run->call->user, .text = "cancelled by its client"};
    run->talk.known = UINT64_MAX; /* whatever it waits for */
    if (json_object_get(record, "end")) {
        v1_follow(run, 0, false);
        return;
    }
    call_hold(run->call);
    if (autobots_start_inbox(run->call->gateway->bots, &row, on_receipt, run->call, &err)) {
        struct autobots_answer answer = {.error = &err};
        on_receipt(run->call, &answer);
    }
}

static void on_to_cancel(void *context, const struct autobots_answer *answer)
{
    on_record(context, answer, cancel);
}

void v1_cancel_handle(struct call *call)
{
    find_stored(call, on_to_cancel);
}

/* ---- DELETE ---- */

static void on_deleted(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    json_t *tree = v1_tree(call, answer);
    if (tree)
        call_answer(call, MHD_HTTP_OK,
                    json_pack("{s:O, s:s, s:b}", "id", json_object_get(call->args, "response_id"), "object",
                              "response", "deleted", 1));
    json_decref(tree);
    call_drop(call);
}

static void delete (struct v1_run *run, const json_t *record)
{
    (void)record;
    call_query(run->call, "delete_user_sessions",
               json_pack("{s:s}", "session", run->session ? run->session : ""), on_deleted);
}

static void on_to_delete(void *context, const struct autobots_answer *answer)
{
    on_record(context, answer, delete);
}

void v1_delete_handle(struct call *call)
{
    find_stored(call, on_to_delete);
}
