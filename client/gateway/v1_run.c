/* See v1.h. */
#include "client/gateway/v1.h"

#include <stdlib.h>

#include "client/gateway/key.h"
#include "common/workflow/workflow.h"

/* ---- a run's life ---- */

static void on_nothing(void *context, const struct autobots_answer *answer)
{
    (void)context;
    (void)answer;
}

void v1_cancel(struct v1_run *run)
{
    struct autobots_error err;
    struct autobots_inbox row = {
        .job = run->job, .kind = "cancel", .user = run->call->user, .text = "its client does not wait for it"};
    autobots_start_inbox(run->call->gateway->bots, &row, on_nothing, NULL, &err);
}

static void forget(struct call *call)
{
    struct v1_run *run = call->state;
    if (run->submitted && run->cancels && !run->ended && !call->gateway->stopping)
        v1_cancel(run);
    listener_stop(&run->listener);
    v1_talk_finish(&run->talk);
    v1_request_finish(&run->request);
    json_decref(run->body);
    json_decref(run->about);
    json_decref(run->texts);
    ab_buf_finish(&run->answer);
    ab_buf_finish(&run->thoughts);
    free(run->workflow);
    free(run->output);
    free(run->stop);
    free(run->session);
    free(run);
    call->state = NULL;
}

struct v1_run *v1_run_create(struct call *call, const struct v1_kind *kind)
{
    struct v1_run *run = ab_calloc(1, sizeof *run);
    run->call = call;
    run->kind = kind;
    run->texts = json_array();
    call->state = run;
    call->forget = forget;
    return run;
}

void v1_run_start(struct call *call, const struct v1_kind *kind)
{
    struct ab_error err = {0};
    json_t *body = NULL;
    struct v1_run *run = v1_run_create(call, kind);
    int rc = ab_json_parse(ab_buf_view(&call->body), &body, &err);
    run->body = body;
    if (!rc)
        rc = kind->read(body, &run->request, &err);
    if (rc)
        call_fail(call, &err, NULL);
    else
        kind->find(run);
}

json_t *v1_tree(struct call *call, const struct autobots_answer *answer)
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

/* ---- answering ---- */

static void add_headers(struct v1_run *run)
{
    if (*run->job)
        call_header_add(run->call, "x-request-id", run->job);
    if (run->session)
        call_header_add(run->call, "X-Session-Id", run->session);
    if (run->request.tools_ignored)
        call_header_add(run->call, "Warning",
                        "299 autobots \"the client's tools are ignored: a workflow's agents have their own\"");
}

void v1_send(struct v1_run *run, const char *name, json_t *tree)
{
    char *line = json_line(tree);
    stream_event(run->stream, NULL, name, ab_view_of(line));
    run->call->gateway->counters.events_sent++;
    free(line);
    json_decref(tree);
}

void v1_answer(struct v1_run *run, json_t *tree)
{
    call_answer(run->call, MHD_HTTP_OK, tree);
    add_headers(run);
}

void v1_fail(struct v1_run *run, const char *name, const struct ab_error *error)
{
    int status = status_of(error->code);
    run->call->final = true;
    if (run->stream) {
        v1_send(run, NULL, v1_error(status, name, error, false));
        stream_end(run->stream);
    } else {
        call_fail_as(run->call, status, name, error, NULL);
        add_headers(run);
    }
}

/* ---- following the journal ---- */

static void on_text(void *owner, uint64_t turn, uint64_t offset, struct ab_view text)
{
    struct v1_run *run = owner;
    run->kind->text(run, turn, offset, text);
}

static void on_turn(void *owner, uint64_t turn, struct ab_view whole)
{
    struct v1_run *run = owner;
    run->kind->turn(run, turn, whole);
}

static void on_thought(void *owner, struct ab_view text)
{
    struct v1_run *run = owner;
    run->kind->thought(run, text);
}

static void on_room(void *owner)
{
    struct v1_run *run = owner;
    listener_go_on(&run->listener);
}

/* True while the client wants more. */
static bool look(struct v1_run *run)
{
    if (run->talk.end != V1_GOES_ON && !run->ended) {
        run->ended = run->talk.end == V1_DONE || run->talk.end == V1_FAILED || run->talk.end == V1_CANCELLED;
        run->kind->end(run);
    }
    return run->talk.end == V1_GOES_ON && (!run->stream || stream_has_room(run->stream));
}

static bool on_begin(struct listener *listener)
{
    struct v1_run *run = (struct v1_run *)listener;
    if (run->request.stream && !(run->stream = stream_open(run->call, on_room, run)))
        return false;
    add_headers(run);
    run->kind->begin(run);
    return true;
}

static bool on_event(struct listener *listener, const struct feed_event *event)
{
    struct v1_run *run = (struct v1_run *)listener;
    json_t *tree = NULL;
    if (run->talk.end != V1_GOES_ON)
        return true;
    if (!ab_json_parse(event->json, &tree, NULL))
        v1_talk_event(&run->talk, event->kind, tree);
    json_decref(tree);
    look(run);
    return !run->stream || stream_has_room(run->stream);
}

static bool on_delta(struct listener *listener, const struct autobots_delta *delta)
{
    struct v1_run *run = (struct v1_run *)listener;
    if (!stream_has_room(run->stream))
        return false;
    v1_talk_delta(&run->talk, delta->step, delta->agent, delta->attempt, delta->offset,
                  ab_view(delta->text, delta->text_bytes));
    look(run);
    return true;
}

static void on_error(struct listener *listener, const struct ab_error *error)
{
    struct v1_run *run = (struct v1_run *)listener;
    if (run->talk.end == V1_GOES_ON)
        v1_fail(run, ab_code_name(error->code), error);
    run->talk.end = V1_FAILED;
}

void v1_follow(struct v1_run *run, uint64_t after, bool fresh)
{
    run->talk.output = run->output;
    run->talk.stop = run->stop;
    run->talk.owner = run;
    run->talk.on_text = on_text;
    run->talk.on_turn = on_turn;
    run->talk.on_thought = on_thought;
    run->listener.seq = after;
    run->listener.deltas = run->request.stream;
    run->listener.on_event = on_event;
    run->listener.on_delta = on_delta;
    run->listener.on_error = on_error;
    if (!fresh)
        run->listener.on_begin = on_begin;
    else if (!on_begin(&run->listener))
        return;
    listener_start(&run->listener, run->call->gateway, run->job, run->call->user, fresh);
}

/* ---- submitting ---- */

void v1_note_created(struct v1_run *run, const json_t *record)
{
    if (key_made(run->job))
        run->created = ab_tree_int(record, "created_ms", 0) / 1000;
}

static void on_made(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    json_t *tree = v1_tree(call, answer);
    if (tree) {
        v1_note_created(call->state, json_object_get(tree, "job"));
        v1_follow(call->state, 0, true);
    }
    json_decref(tree);
    call_drop(call);
}

static void on_accepted(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct v1_run *run = call->state;
    if (!call->connection)
        ;
    else if (answer->error) {
        run->submitted = false;
        call_failed(call, answer);
    } else {
        free(run->session);
        run->session = answer->session ? ab_strdup(answer->session) : NULL;
        if (answer->input) { /* to the question of another job */
            snprintf(run->job, sizeof run->job, "%s", answer->job);
            run->talk.known = answer->seq;
            v1_follow(run, answer->seq, true);
        } else if (key_made(run->job))
            call_query(call, "get_job", json_pack("{s:s}", "job", run->job), on_made);
        else
            v1_follow(run, 0, true);
    }
    call_drop(call);
}

/* The same request again is answered by the same job. */
static void submit(struct v1_run *run);

static void on_key(struct call *call, const char *id)
{
    struct v1_run *run = call->state;
    snprintf(run->key, sizeof run->key, "%s", id);
    run->cancels &= !*id; /* who has a key may come again for the answer */
    submit(run);
}

void v1_submit(struct v1_run *run)
{
    key_find(run->call, on_key);
}

static char *line_of(const json_t *value)
{
    struct ab_buf text = {0};
    if (!value)
        return NULL;
    ab_json_text(value, &text);
    return ab_buf_detach(&text);
}

static void submit(struct v1_run *run)
{
    struct autobots_error err;
    bool chat = !run->about;
    json_t *given = v1_history(&run->request, run->session),
           *kept = run->about ? json_pack("{s:O}", "v1", run->about) : NULL;
    char *content = line_of(run->request.content), *history = line_of(given), *metadata = line_of(kept);
    struct autobots_job job = {.id = *run->key ? run->key : NULL,
                               .user = run->call->user,
                               .workflow = run->workflow,
                               .content = content,
                               .history = history,
                               .metadata = metadata,
                               .session = run->session,
                               .no_session = chat ? !run->session : !run->request.store};
    call_hold(run->call);
    if (autobots_start_submit(run->call->gateway->bots, &job, run->job, on_accepted, run->call, &err)) {
        struct autobots_answer answer = {.error = &err};
        on_accepted(run->call, &answer);
    } else
        run->submitted = true;
    json_decref(given);
    json_decref(kept);
    free(content);
    free(history);
    free(metadata);
}

/* ---- the workflow ---- */

static const struct ab_agent *find_agent(const struct ab_agent *agents, size_t n, const char *name)
{
    const struct ab_agent *found = NULL;
    for (size_t i = 0; i < n && !found; i++)
        found = !strcmp(agents[i].name, name) ? &agents[i]
                                              : find_agent(agents[i].members, agents[i].n_members, name);
    return found;
}

/* Only the receiver speaks, and once: what it says is the result. */
static bool answers_once(const struct ab_workflow *w)
{
    const struct ab_agent *sender = &w->sender;
    return w->type == AB_WORKFLOW_DEFAULT && w->summary == AB_SUMMARY_LAST && !sender->llm.n_entries &&
           !sender->max_consecutive_auto_reply && sender->human_input == AB_HUMAN_NEVER && !sender->code.mode;
}

/* Whose turns are the answer as they are written; NULL: the result is. An answer of a given shape is checked when it is
 * complete, and may be made again: it is not shown before. */
static const char *output_of(const struct ab_workflow *w)
{
    const char *name = w->output ? w->output : answers_once(w) ? w->receivers[0].name : NULL;
    const struct ab_agent *agent = name ? find_agent(w->receivers, w->n_receivers, name) : NULL;
    return agent && agent->llm.response_format ? NULL : name;
}

static void read_workflow(struct v1_run *run, const char *text)
{
    struct ab_error err;
    struct ab_workflow *workflow = NULL;
    if (ab_workflow_read(ab_view_of(text), NULL, 0, &workflow, NULL, NULL, NULL, &err)) {
        call_fail(run->call, &err, NULL);
        return;
    }
    const char *output = output_of(workflow);
    run->workflow = ab_strdup(text);
    run->output = output ? ab_strdup(output) : NULL;
    run->stop = workflow->sender.terminates ? ab_strdup(workflow->sender.termination_word) : NULL;
    if (run->about && output)
        json_object_set_new(run->about, "output", json_string(output));
    if (run->about && run->stop)
        json_object_set_new(run->about, "stop", json_string(run->stop));
    ab_workflow_destroy(workflow);
    if (run->kind->follows)
        run->kind->follows(run);
    else
        v1_submit(run);
}

static void on_workflow(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct ab_error err;
    json_t *tree = NULL;
    if (call->connection && answer->error && answer->error->code == AB_ENOTFOUND) {
        struct v1_run *run = call->state;
        ab_fail_at(&err, AB_ENOTFOUND, "model", "the model %.64s does not exist: GET /v1/models lists yours",
                   run->request.model);
        call_fail_as(call, MHD_HTTP_NOT_FOUND, "model_not_found", &err, NULL);
    } else if ((tree = v1_tree(call, answer)))
        read_workflow(call->state, ab_tree_str(tree, "workflow"));
    json_decref(tree);
    call_drop(call);
}

void v1_find_workflow(struct v1_run *run)
{
    json_t *fields;
    if (v1_model_fields(run->call, run->request.model, &fields))
        call_query(run->call, "get_workflow", fields, on_workflow);
}
