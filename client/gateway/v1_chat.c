/* POST /v1/chat/completions: a workflow answers as a model does, in one piece or as a stream of chunks.
 *
 * Without a session the client keeps the conversation: what it sends is the history, and nothing of it is kept here but the
 * job. With one (a header names it) the stored session is the history; a job of it that asks a person takes the
 * message as the answer.
 */
#include <stdlib.h>

#include "client/gateway/v1.h"

static const char *const session_headers[] = {"X-Session-Id", "X-OpenWebUI-Chat-Id", "X-Chat-Id"};

/* ---- pieces ---- */

static struct v1_completion completion_of(const struct v1_run *run)
{
    return (struct v1_completion){.job = run->job,
                                  .created = run->created,
                                  .model = run->request.model,
                                  .usage_later = run->request.include_usage};
}

static void send_delta(struct v1_run *run, const char *key, struct ab_view text)
{
    struct v1_completion c = completion_of(run);
    v1_send(run, NULL, v1_chunk(&c, json_pack("{s:s%}", key, text.p, text.n), NULL));
}

static void begin(struct v1_run *run)
{
    struct v1_completion c = completion_of(run);
    if (run->stream)
        v1_send(run, NULL, v1_chunk(&c, json_pack("{s:s, s:s}", "role", "assistant", "content", ""), NULL));
}

static void say(struct v1_run *run, struct ab_view text)
{
    if (run->stream)
        send_delta(run, "content", text);
    else
        ab_buf_add(&run->answer, text.p, text.n);
}

static void on_text(struct v1_run *run, uint64_t turn, uint64_t offset, struct ab_view text)
{
    if (turn && !offset)
        say(run, ab_view_of("\n\n"));
    say(run, text);
}

static void on_turn(struct v1_run *run, uint64_t turn, struct ab_view whole)
{
    (void)run;
    (void)turn;
    (void)whole;
}

static void on_thought(struct v1_run *run, struct ab_view text)
{
    if (run->stream)
        send_delta(run, "reasoning_content", text);
    else if (run->thoughts.n + text.n <= V1_THOUGHT_BYTES_MAX)
        ab_buf_add(&run->thoughts, text.p, text.n);
}

/* ---- the end ---- */

static void finish(struct v1_run *run)
{
    struct v1_completion c = completion_of(run);
    const char *reason = run->talk.cut ? "length" : run->talk.filtered ? "content_filter" : "stop";
    if (!run->stream) {
        v1_answer(run, v1_completion(&c, ab_buf_view(&run->answer), ab_buf_view(&run->thoughts), reason,
                                     run->talk.last));
        return;
    }
    v1_send(run, NULL, v1_chunk(&c, NULL, reason));
    if (run->request.include_usage)
        v1_send(run, NULL, v1_chunk_usage(&c, run->talk.last));
    stream_event(run->stream, NULL, NULL, ab_view_of("[DONE]"));
    stream_end(run->stream);
}

/* The question is the answer to this message, and the next message of the session the answer to it. */
static void ask(struct v1_run *run)
{
    struct ab_buf question = {0};
    struct ab_error err;
    if (!run->session) {
        ab_fail_at(
            &err, AB_EINVALID, "model",
            "this workflow asks a person: send the header X-Session-Id, and the next message is the answer");
        v1_fail(run, "human_input_required", &err);
        return;
    }
    run->ended = true; /* it waits: it must not be cancelled */
    v1_talk_question(&run->talk, &question);
    if (run->talk.turns)
        say(run, ab_view_of("\n\n"));
    say(run, ab_buf_view(&question));
    ab_buf_finish(&question);
    finish(run);
}

static void on_end(struct v1_run *run)
{
    if (run->talk.end == V1_DONE)
        finish(run);
    else if (run->talk.end == V1_ASKS)
        ask(run);
    else
        v1_fail(run, run->talk.code, &run->talk.error);
}

/* ---- the session ---- */

/* Open WebUI asks a chat's model for the chat's title, tags and follow-ups too, under the chat's own id: such a prompt, which holds
 * the conversation itself, is no message of it. */
static bool is_task(const struct v1_run *run)
{
    static const char begins[] = "### Task:";
    struct ab_view text = {json_string_value(run->request.content), json_string_length(run->request.content)};
    return call_header(run->call, "X-OpenWebUI-Chat-Id").n && text.n >= sizeof begins - 1 &&
           !memcmp(text.p, begins, sizeof begins - 1);
}

static void find_session(struct v1_run *run)
{
    size_t n = is_task(run) ? 0 : sizeof session_headers / sizeof *session_headers;
    for (size_t i = 0; !run->session && i < n; i++) {
        struct ab_view id = call_header(run->call, session_headers[i]);
        if (id.n && !ab_utf8_ok(id)) {
            struct ab_error err;
            ab_fail_at(&err, AB_EINVALID, session_headers[i], "the name of a session is UTF-8");
            call_fail(run->call, &err, NULL);
            return;
        }
        if (id.n)
            run->session = ab_view_dup(id);
    }
    run->cancels = true;
    v1_find_workflow(run);
}

static void on_answered(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct v1_run *run = call->state;
    if (!call->connection)
        ;
    else if (answer->error)
        call_failed(call, answer);
    else
        v1_follow(run, run->talk.known, true);
    call_drop(call);
}

static void answer_question(struct v1_run *run)
{
    struct ab_buf text = {0};
    struct autobots_error err;
    v1_text_of(run->request.content, &text);
    struct autobots_inbox row = {
        .job = run->job, .kind = "input", .user = run->call->user, .text = ab_buf_cstr(&text)};
    call_hold(run->call);
    if (autobots_start_inbox(run->call->gateway->bots, &row, on_answered, run->call, &err)) {
        struct autobots_answer answer = {.error = &err};
        on_answered(run->call, &answer);
    } else
        run->submitted = true;
    ab_buf_finish(&text);
}

static void on_waiting_jobs(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct v1_run *run = call->state;
    bool fresh = call->connection && answer->error && answer->error->code == AB_ENOTFOUND;
    json_t *tree = fresh ? json_object() : v1_tree(call, answer),
           *job = json_array_get(json_object_get(tree, "jobs"), 0);
    if (ab_tree_str(job, "id") && !call_header(call, "Idempotency-Key").n) {
        snprintf(run->job, sizeof run->job, "%s", ab_tree_str(job, "id"));
        run->talk.known = (uint64_t)ab_tree_int(job, "seq", 0);
        answer_question(run);
    } else if (tree) /* under a key the service knows whether it is the answer, also when it comes again */
        v1_submit(run);
    json_decref(tree);
    call_drop(call);
}

static void follows(struct v1_run *run)
{
    if (run->session)
        call_query(run->call, "list_jobs",
                   json_pack("{s:s, s:s, s:i}", "session", run->session, "state", "waiting", "limit", 1),
                   on_waiting_jobs);
    else
        v1_submit(run);
}

static const struct v1_kind chat = {v1_read_chat, find_session, begin,  on_text,
                                    on_turn,      on_thought,   on_end, follows};

static void chat_handle(struct call *call)
{
    v1_run_start(call, &chat);
}

static const struct arg no_args[] = {{0}};

const struct route routes_chat[] = {
    {"POST", "/v1/chat/completions", SCOPE_WRITE, ROUTE_OPENAI | ROUTE_RAW, chat_handle, .args = no_args,
     .answers = "200 404 409 502", .body = "ChatCompletionRequest", .shape = "ChatCompletion",
     .summary = "A workflow answers as a model does; with stream as server-sent chunks"},
    {0},
};
