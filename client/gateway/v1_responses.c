/* /v1/responses: a response is a job. What its answer repeats (model, instructions, …) is kept with the job's message, so
 * any gateway can tell of it later. A stored one has a session of its own, which goes when the response is deleted.
 *
 * SEQUENCE NUMBERS follow from the answer alone, so that a stream that is resumed, from whichever gateway, has the same:
 *   0 response.created, 1 response.in_progress;
 *   turn i of the answer, with b = (i + 1) · 2²²: b output_item.added, b + 1 content_part.added, a piece of text that ends at
 *   byte e of the turn b + 1 + e, and, with e its length, b + 2 + e … b + 4 + e the three that are done;
 *   the last event (n turns + 1) · 2²².
 * They grow, with gaps. A resumed stream begins behind `starting_after`, in the middle of a turn too.
 */
#include <stdlib.h>

#include "client/gateway/v1.h"

enum { TURN_SHIFT = 22 };

static uint64_t turn_base(uint64_t turn)
{
    return (turn + 1) << TURN_SHIFT;
}

/* ---- events ---- */

static bool has(const struct v1_run *run, uint64_t number)
{
    return run->cursor_set && number <= run->cursor;
}

static void emit(struct v1_run *run, uint64_t number, const char *type, json_t *tree)
{
    if (run->stream && !has(run, number)) {
        json_object_set_new(tree, "type", json_string(type));
        json_object_set_new(tree, "sequence_number", json_integer((json_int_t)number));
        v1_send(run, type, tree);
    } else
        json_decref(tree);
}

static json_t *place(const struct v1_run *run, uint64_t turn, const char *more, json_t *tree)
{
    json_t *item = v1_output_item(run->job, turn, "in_progress", NULL);
    json_t *out = json_pack("{s:O, s:I, s:i, s:o}", "item_id", json_object_get(item, "id"), "output_index",
                            (json_int_t)turn, "content_index", 0, more, tree);
    json_decref(item);
    return out;
}

static json_t *response_of(const struct v1_run *run, const char *status)
{
    struct v1_response r = {.job = run->job, .created = run->created, .about = run->about, .status = status};
    return v1_response(&r);
}

static const char *first_status(const struct v1_run *run)
{
    return ab_tree_bool(run->about, "background", false) ? "queued" : "in_progress";
}

static void begin(struct v1_run *run)
{
    if (!run->stream && run->request.background) {
        v1_answer(run, response_of(run, "queued"));
        return;
    }
    emit(run, 0, "response.created", json_pack("{s:o}", "response", response_of(run, first_status(run))));
    emit(run, 1, "response.in_progress", json_pack("{s:o}", "response", response_of(run, "in_progress")));
}

static void on_text(struct v1_run *run, uint64_t turn, uint64_t offset, struct ab_view text)
{
    uint64_t base = turn_base(turn), from = base + 1 + offset;
    if (!offset) {
        emit(run, base, "response.output_item.added",
             json_pack("{s:I, s:o}", "output_index", (json_int_t)turn, "item",
                       v1_output_item(run->job, turn, "in_progress", NULL)));
        emit(run, base + 1, "response.content_part.added", place(run, turn, "part", v1_output_part("", 0)));
    }
    if (has(run, from + text.n))
        return;
    size_t known = run->cursor_set && run->cursor > from ? (size_t)(run->cursor - from) : 0;
    json_t *piece = json_stringn(text.p + known, text.n - known);
    if (!piece) { /* the cursor is none of ours: in the middle of a character */
        known = 0;
        piece = json_stringn(text.p, text.n);
    }
    json_t *delta = place(run, turn, "delta", piece);
    json_object_set_new(delta, "logprobs", json_array());
    emit(run, from + text.n, "response.output_text.delta", delta);
}

static void on_turn(struct v1_run *run, uint64_t turn, struct ab_view whole)
{
    uint64_t number = turn_base(turn) + 2 + whole.n;
    json_t *text = json_stringn(whole.p, whole.n);
    if (!text)
        text = json_string("");
    if (!whole.n) /* no text has opened it */
        on_text(run, turn, 0, ab_view_of(""));
    json_array_append_new(run->texts, text);
    json_t *done = place(run, turn, "text", json_incref(text));
    json_object_set_new(done, "logprobs", json_array());
    emit(run, number, "response.output_text.done", done);
    emit(run, number + 1, "response.content_part.done",
         place(run, turn, "part", v1_output_part(whole.p, whole.n)));
    emit(run, number + 2, "response.output_item.done",
         json_pack("{s:I, s:o}", "output_index", (json_int_t)turn, "item",
                   v1_output_item(run->job, turn, "completed", json_string_value(text))));
}

static void on_thought(struct v1_run *run, struct ab_view text)
{
    (void)run;
    (void)text;
}

/* ---- the end ---- */

static const struct {
    const char *status, *event, *reason;
} ends[] = {
    [V1_DONE] = {"completed", "response.completed", NULL},
    [V1_FAILED] = {"failed", "response.failed", NULL},
    [V1_CANCELLED] = {"cancelled", "response.incomplete", NULL},
    [V1_ASKS] = {"incomplete", "response.incomplete", "human_input_required"},
    [V1_BUDGET] = {"incomplete", "response.incomplete", "insufficient_quota"},
};

static json_t *final_response(const struct v1_run *run)
{
    const struct v1_talk *talk = &run->talk;
    bool failed = talk->end == V1_FAILED, cut = talk->end == V1_DONE && (talk->cut || talk->filtered);
    struct v1_response r = {.job = run->job,
                            .created = run->created,
                            .about = run->about,
                            .texts = run->texts,
                            .status = cut ? "incomplete" : ends[talk->end].status,
                            .end = talk->last,
                            .code = failed ? talk->code : NULL,
                            .error = failed ? talk->error.text : NULL,
                            .reason = !cut        ? ends[talk->end].reason
                                      : talk->cut ? "max_output_tokens"
                                                  : "content_filter"};
    return v1_response(&r);
}

static void broken(struct v1_run *run)
{
    json_t *tree = v1_error(MHD_HTTP_BAD_GATEWAY, run->talk.code, &run->talk.error, false);
    json_object_set_new(tree, "message", json_string(run->talk.error.text));
    json_object_set_new(tree, "code", json_string(run->talk.code));
    emit(run, turn_base(run->talk.turns) + 1 + run->talk.answer.told, "error", tree);
    stream_end(run->stream);
}

static void on_end(struct v1_run *run)
{
    const struct v1_talk *talk = &run->talk;
    if (talk->end == V1_ASKS) { /* what it asks is what it says last */
        struct ab_buf question = {0};
        v1_talk_question(talk, &question);
        on_text(run, talk->turns, 0, ab_buf_view(&question));
        on_turn(run, talk->turns, ab_buf_view(&question));
        ab_buf_finish(&question);
    }
    if (talk->end == V1_BROKEN && run->stream)
        broken(run);
    else if (talk->end == V1_BROKEN || (talk->end == V1_BUDGET && !run->stream && run->submitted))
        v1_fail(run, talk->code, &talk->error);
    else if (run->stream) {
        json_t *response = final_response(run);
        bool complete = !strcmp(ab_tree_str(response, "status"), "completed") || talk->end != V1_DONE;
        emit(run, turn_base(json_array_size(run->texts)),
             complete ? ends[talk->end].event : "response.incomplete",
             json_pack("{s:o}", "response", response));
        stream_end(run->stream);
    } else
        v1_answer(run, final_response(run));
}

/* ---- making one ---- */

/* The conversation up to and with that response. */
static json_t *said_until(const json_t *record, const json_t *input)
{
    json_t *said = json_array(), *message, *texts = v1_texts_of(record, v1_about_of(input)), *text;
    size_t i;
    json_array_foreach (json_object_get(input, "history"), i, message) {
        const char *role = ab_tree_str(message, "role");
        if (role && strcmp(role, "system"))
            json_array_append(said, message);
    }
    json_array_append_new(
        said, json_pack("{s:s, s:O}", "role", "user", "content", json_object_get(input, "content")));
    json_array_foreach (texts, i, text)
        json_array_append_new(said, json_pack("{s:s, s:O}", "role", "assistant", "content", text));
    json_decref(texts);
    return said;
}

static void on_previous(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct v1_run *run = call->state;
    struct ab_error err;
    bool gone = call->connection && answer->error && answer->error->code == AB_ENOTFOUND;
    json_t *tree = gone ? NULL : v1_tree(call, answer), *record = json_object_get(tree, "job"),
           *input = v1_input_of(record);
    const char *state = ab_tree_str(record, "state");
    if (gone || (tree && !v1_about_of(input)))
        v1_no_response(call, run->request.previous);
    else if (tree && (!state || strcmp(state, "succeeded"))) {
        ab_fail_at(&err, AB_EINVALID, "previous_response_id",
                   "that response is not completed: its job is %.16s", state ? state : "unknown");
        call_fail(call, &err, NULL);
    } else if (tree) {
        json_t *said = said_until(record, input);
        if (run->request.said)
            json_array_extend(said, run->request.said);
        json_decref(run->request.said);
        run->request.said = said;
        v1_find_workflow(run);
    }
    json_decref(input);
    json_decref(tree);
    call_drop(call);
}

static void find_previous(struct v1_run *run)
{
    const struct v1_request *q = &run->request;
    char job[AB_ID_TEXT];
    run->cancels = !q->store;
    run->about =
        json_pack("{s:s, s:b, s:b}", "model", q->model, "background", q->background, "store", q->store);
    if (q->instructions)
        json_object_set(run->about, "instructions", q->instructions);
    if (q->metadata)
        json_object_set(run->about, "metadata", q->metadata);
    if (!q->previous) {
        v1_find_workflow(run);
        return;
    }
    json_object_set_new(run->about, "previous_response_id", json_string(q->previous));
    if (v1_job_of("resp_", ab_view_of(q->previous), job))
        call_query(run->call, "get_job", json_pack("{s:s, s:b}", "job", job, "raw", 1), on_previous);
    else
        v1_no_response(run->call, q->previous);
}

const struct v1_kind v1_response_kind = {v1_read_response, find_previous, begin,  on_text,
                                         on_turn,          on_thought,    on_end, NULL};

static void create_handle(struct call *call)
{
    v1_run_start(call, &v1_response_kind);
}

/* ---- the routes ---- */

#define ID_ARG                                                                                                 \
    {                                                                                                          \
        "response_id", ARG_STRING, .required = true, .max = 64, .doc = "resp_…"                              \
    }
static const struct arg no_args[] = {{0}};
static const struct arg id_args[] = {ID_ARG, {0}};
static const struct arg get_args[] = {
    ID_ARG,
    {"stream", ARG_BOOL, .doc = "as server-sent events, from the beginning or behind starting_after"},
    {"starting_after", ARG_UINT, .doc = "a sequence_number"},
    {0},
};

static const struct arg items_args[] = {
    ID_ARG,
    {"order", ARG_STRING, .max = 8, .doc = "desc (default) or asc"},
    {"after", ARG_STRING, .max = 64, .doc = "items behind this one"},
    {"limit", ARG_UINT, .max = 100, .doc = "at most so many (default 20)"},
    {0},
};

const struct route routes_responses[] = {
    {"POST", "/v1/responses", SCOPE_WRITE, ROUTE_OPENAI | ROUTE_RAW, create_handle, .args = no_args,
     .answers = "200 404 409 502", .body = "ResponseRequest", .shape = "Response",
     .summary = "A workflow answers; in the background it goes on without its client"},
    {"GET", "/v1/responses/{response_id}", SCOPE_READ, ROUTE_OPENAI, v1_get_handle, .args = get_args,
     .answers = "200 404", .shape = "Response", .summary = "A stored response as it is now, or its events"},
    {"POST", "/v1/responses/{response_id}/cancel", SCOPE_WRITE, ROUTE_OPENAI | ROUTE_RAW, v1_cancel_handle,
     .args = id_args, .answers = "200 404 409", .shape = "Response", .summary = "Cancel a response"},
    {"GET", "/v1/responses/{response_id}/input_items", SCOPE_READ, ROUTE_OPENAI, v1_items_handle,
     .args = items_args, .answers = "200 404", .shape = "InputItems",
     .summary = "What a stored response was made of, newest first"},
    {"DELETE", "/v1/responses/{response_id}", SCOPE_WRITE, ROUTE_OPENAI, v1_delete_handle, .args = id_args,
     .answers = "200 404", .shape = "ResponseDeleted", .summary = "Delete a response with all its job has"},
    {0},
};
