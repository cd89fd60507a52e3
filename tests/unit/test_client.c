/* The client library against a service that the test plays itself: what it sends, what it sends again, and that its
 * caller sees no gap, no double and no secret on the wire.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/autobots.h"
#include "client/lib/internal.h"
#include "common/clock.h"

enum { PATIENCE_MS = 5000, STEP_MS = 5 };

static const char workflow_text[] = "{\"name\":\"w\",\"script\":\"echo\",\"agents\":[{\"name\":\"a\"}]}";
static const char keyed_text[] = "{\"name\":\"w\",\"agents\":[{\"name\":\"a\",\"model\":{\"model\":\"m\","
                                 "\"base_url\":\"https://x.example/v1\","
                                 "\"api_key\":\"sk-planted-in-the-test\"}}]}";

struct world {
    char dir[64];
    char *endpoint;
    void *router;
    struct autobots *bots;
    struct ab_message m; /* the last one received */
    uint64_t heartbeat_ms;
    uint8_t seal_public[32], seal_secret[32];
    bool seal;
};

static void *router(struct world *w)
{
    struct ab_error err;
    void *socket = ab_router_create(w->endpoint, 1 << 20, &err);
    if (!socket)
        fail_msg("%s", err.text);
    return socket;
}

static int setup(void **state)
{
    struct world *w = ab_calloc(1, sizeof *w);
    snprintf(w->dir, sizeof w->dir, "/tmp/autobots-test-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->endpoint = ab_format("ipc://%s/client.sock", w->dir);
    w->heartbeat_ms = 1000;
    w->router = router(w);
    crypto_box_keypair(w->seal_public, w->seal_secret);
    w->bots = autobots_open(
        &(struct autobots_options){.endpoint = w->endpoint, .user = "ada", .timeout_ms = 3000}, NULL);
    assert_non_null(w->bots);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    autobots_close(w->bots);
    ab_message_close(&w->m);
    ab_socket_destroy(w->router);
    char *path = ab_format("%s/client.sock", w->dir);
    unlink(path);
    rmdir(w->dir);
    free(path);
    free(w->endpoint);
    free(w);
    return 0;
}

/* ---- the service's side ---- */

static void reply(struct world *w, enum ab_command command, const void *message, struct ab_view body)
{
    assert_int_equal(ab_send(w->router, &w->m.route, command, message, body), 0);
}

static void welcome(struct world *w)
{
    struct ab_welcome message = {
        .version = 1, .session = 1, .epoch = 1, .heartbeat_ms = w->heartbeat_ms, .body_bytes_max = 1 << 20};
    if (w->seal)
        message.seal_key = ab_view(w->seal_public, 32);
    reply(w, AB_WELCOME, &message, ab_view(NULL, 0));
}

/* The next message that is neither HELLO nor HEARTBEAT, while the client runs; HELLO is answered. The first frame of
 * its life with `command`, else the test fails. */
static void expect(struct world *w, enum ab_command command, void *header)
{
    int64_t until = ab_mono_ms() + PATIENCE_MS;
    for (;;) {
        assert_true(ab_mono_ms() < until);
        if (!ab_message_more(&w->m))
            autobots_step(w->bots, STEP_MS);
        if (ab_message_receive(w->router, &w->m, NULL) != 1)
            continue;
        if (w->m.command == AB_HELLO)
            welcome(w);
        else if (w->m.command != AB_HEARTBEAT)
            break;
    }
    assert_int_equal(w->m.command, command);
    assert_int_equal(ab_message_header(&w->m, header, NULL), 0);
}

static void run_until(struct world *w, const bool *flag)
{
    int64_t until = ab_mono_ms() + PATIENCE_MS;
    while (!*flag) {
        assert_true(ab_mono_ms() < until);
        autobots_step(w->bots, STEP_MS);
        if (ab_message_receive(w->router, &w->m, NULL) == 1 && w->m.command == AB_HELLO)
            welcome(w);
    }
}

static void run_for(struct world *w, int ms)
{
    for (int64_t until = ab_mono_ms() + ms; ab_mono_ms() < until;)
        autobots_step(w->bots, STEP_MS);
}

static void send_failure(struct world *w, uint64_t rid, int code, const char *text, uint32_t retry_after_ms)
{
    struct ab_error err;
    ab_fail(&err, code, "%s", text);
    err.retry_after_ms = retry_after_ms;
    ab_send_error(w->router, &w->m.route, AB_ERROR, rid, (struct ab_id){0}, &err);
}

static void send_accepted(struct world *w, const struct ab_submit *submit)
{
    struct ab_accepted accepted = {.rid = submit->rid, .job = submit->job, .n = 7, .session = ab_view_of("s1")};
    reply(w, AB_ACCEPTED, &accepted, ab_view(NULL, 0));
}

static void send_event(struct world *w, struct ab_id job, uint64_t seq, const char *end)
{
    struct ab_event header = {.job = job, .seq = seq, .end = ab_view_of(end)};
    struct ab_buf body = {0};
    struct ab_turn turn = {
        .step = ab_view_of("0:1"), .agent = ab_view_of("a"), .content = ab_view_of("\xa2hi"), .at_ms = 1};
    struct ab_end last = {.state = ab_view_of("succeeded"), .stop_reason = ab_view_of("done"), .at_ms = 1};
    if (end)
        ab_event_encode(&body, AB_KIND_END, &last);
    else
        ab_event_encode(&body, AB_KIND_TURN, &turn);
    reply(w, AB_EVENT, &header, ab_buf_view(&body));
    ab_buf_finish(&body);
}

/* ---- the caller's side ---- */

struct answer {
    bool done;
    int times, code;
    uint64_t number;
    char session[64], text[512], json[512];
};

static void on_answer(void *context, const struct autobots_answer *answer)
{
    struct answer *a = context;
    a->done = true;
    a->times++;
    a->code = answer->error ? answer->error->code : 0;
    a->number = answer->number;
    snprintf(a->session, sizeof a->session, "%s", answer->session ? answer->session : "");
    snprintf(a->text, sizeof a->text, "%s", answer->error ? answer->error->text : "");
    snprintf(a->json, sizeof a->json, "%s", answer->json ? answer->json : "");
}

static void start(struct world *w, const char *workflow, struct answer *answer, char id[AUTOBOTS_ID_TEXT])
{
    struct autobots_error err;
    struct autobots_job job = {.workflow = workflow, .text = "hello"};
    if (autobots_start_submit(w->bots, &job, id, on_answer, answer, &err))
        fail_msg("%s: %s", err.path, err.text);
}

struct seen {
    uint64_t seqs[32];
    int n;
    bool ended, failed;
    char delta[64];
};

static void on_event(void *context, const struct autobots_event *event)
{
    struct seen *seen = context;
    assert_true(seen->n < 32);
    seen->seqs[seen->n++] = event->seq;
    seen->ended |= event->end != NULL;
}

static void on_watch_error(void *context, const struct autobots_error *error)
{
    (void)error;
    ((struct seen *)context)->failed = true;
}

static void on_delta(void *context, const struct autobots_delta *delta)
{
    struct seen *seen = context;
    snprintf(seen->delta, sizeof seen->delta, "%.*s", (int)delta->text_bytes, delta->text);
}

static void watch(struct world *w, const char *id, struct seen *seen)
{
    struct autobots_watch spec = {.deltas = true,
                                  .on_event = on_event,
                                  .on_delta = on_delta,
                                  .on_error = on_watch_error,
                                  .context = seen};
    assert_int_equal(autobots_start_watch(w->bots, id, &spec, NULL), 0);
}

static void run_until_seen(struct world *w, const struct seen *seen, int n)
{
    int64_t until = ab_mono_ms() + PATIENCE_MS;
    while (seen->n < n) {
        assert_true(ab_mono_ms() < until);
        autobots_step(w->bots, STEP_MS);
    }
}

/* ---- submitting ---- */

static void test_submit_is_answered_after_accepted(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    struct ab_submit submit;
    char id[AUTOBOTS_ID_TEXT], text[AB_ID_TEXT];
    start(w, workflow_text, &answer, id);
    expect(w, AB_SUBMIT, &submit);
    assert_string_equal(ab_id_text(submit.job, text), id);
    assert_true(ab_view_is(submit.user, "ada"));
    assert_true(submit.workflow.n > 0);
    uint8_t hash[AB_WORKFLOW_HASH_BYTES];
    ab_workflow_hash(submit.workflow, hash);
    assert_memory_equal(hash, submit.hash.p, sizeof hash);
    assert_true(ab_view_is(ab_any_str(ab_map_get(w->m.body, "content")), "hello"));
    run_for(w, 20);
    assert_false(answer.done);
    send_accepted(w, &submit);
    run_until(w, &answer.done);
    assert_int_equal(answer.code, 0);
    assert_int_equal(answer.number, 7);
    assert_string_equal(answer.session, "s1");
}

static void test_a_known_workflow_is_not_sent_again_until_the_service_asks(void **state)
{
    struct world *w = *state;
    struct answer first = {0}, second = {0};
    struct ab_submit submit;
    char id[AUTOBOTS_ID_TEXT];
    start(w, workflow_text, &first, id);
    expect(w, AB_SUBMIT, &submit);
    send_accepted(w, &submit);
    run_until(w, &first.done);
    start(w, workflow_text, &second, id);
    expect(w, AB_SUBMIT, &submit);
    assert_int_equal(submit.workflow.n, 0);
    struct ab_id job = submit.job;
    send_failure(w, submit.rid, AB_EUNKNOWN_WORKFLOW, "never seen", 0);
    expect(w, AB_SUBMIT, &submit);
    assert_true(submit.workflow.n > 0);
    assert_true(ab_id_eq(job, submit.job));
    send_accepted(w, &submit);
    run_until(w, &second.done);
    assert_int_equal(second.code, 0);
}

static void test_busy_is_retried_when_the_service_says(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    struct ab_submit submit;
    char id[AUTOBOTS_ID_TEXT];
    start(w, workflow_text, &answer, id);
    expect(w, AB_SUBMIT, &submit);
    send_failure(w, submit.rid, AB_EBUSY, "too many jobs", 200);
    int64_t refused = ab_mono_ms();
    expect(w, AB_SUBMIT, &submit);
    assert_true(ab_mono_ms() - refused >= 190);
    send_accepted(w, &submit);
    run_until(w, &answer.done);
    assert_int_equal(answer.code, 0);
    assert_int_equal(answer.times, 1);
}

static void test_a_final_refusal_is_passed_on_at_once(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    struct ab_submit submit;
    char id[AUTOBOTS_ID_TEXT];
    start(w, workflow_text, &answer, id);
    expect(w, AB_SUBMIT, &submit);
    send_failure(w, submit.rid, AB_ECONFLICT, "taken", 0);
    run_until(w, &answer.done);
    assert_int_equal(answer.code, AUTOBOTS_ECONFLICT);
    assert_string_equal(answer.text, "taken");
}

static void test_retrying_ends_at_the_time_out_with_the_last_reason(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    struct ab_submit submit;
    char id[AUTOBOTS_ID_TEXT];
    start(w, workflow_text, &answer, id);
    expect(w, AB_SUBMIT, &submit);
    send_failure(w, submit.rid, AB_EUNAVAILABLE, "the disk is full", 60000);
    run_until(w, &answer.done);
    assert_int_equal(answer.code, AUTOBOTS_EUNAVAILABLE);
    assert_string_equal(answer.text, "the disk is full");
}

static void test_a_faulty_workflow_never_leaves(void **state)
{
    struct world *w = *state;
    struct autobots_error err;
    char id[AUTOBOTS_ID_TEXT];
    struct autobots_job job = {.workflow = "{\"name\":\"w\",\"agents\":[]}", .text = "x"};
    assert_int_equal(autobots_start_submit(w->bots, &job, id, on_answer, NULL, &err), AUTOBOTS_EINVALID);
    assert_non_null(strstr(err.path, "agents"));
}

/* ---- sessions lost ---- */

static void test_what_is_unanswered_is_sent_again_to_a_service_that_forgot_us(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    struct ab_submit submit;
    char id[AUTOBOTS_ID_TEXT];
    start(w, workflow_text, &answer, id);
    expect(w, AB_SUBMIT, &submit);
    struct ab_id job = submit.job;
    send_failure(w, 0, AB_EDENIED, "say HELLO first", 0);
    expect(w, AB_SUBMIT, &submit);
    assert_true(ab_id_eq(job, submit.job));
    send_accepted(w, &submit);
    run_until(w, &answer.done);
    assert_int_equal(answer.code, 0);
}

static void test_a_request_that_is_denied_in_a_new_session_too_is_denied(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    struct ab_submit submit;
    char id[AUTOBOTS_ID_TEXT];
    start(w, workflow_text, &answer, id);
    expect(w, AB_SUBMIT, &submit);
    send_failure(w, submit.rid, AB_EDENIED, "not yours", 0);
    expect(w, AB_SUBMIT, &submit);
    send_failure(w, submit.rid, AB_EDENIED, "not yours", 0);
    run_until(w, &answer.done);
    assert_int_equal(answer.code, AUTOBOTS_EDENIED);
}

static void test_silence_is_taken_for_a_loss(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    struct ab_submit submit;
    char id[AUTOBOTS_ID_TEXT];
    w->heartbeat_ms = 60;
    start(w, workflow_text, &answer, id);
    expect(w, AB_SUBMIT, &submit);
    expect(w, AB_SUBMIT, &submit); /* after a HELLO of its own accord */
    send_accepted(w, &submit);
    run_until(w, &answer.done);
    assert_int_equal(answer.times, 1);
}

static void test_a_restarted_service_gets_everything_again(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    struct ab_submit submit;
    char id[AUTOBOTS_ID_TEXT];
    w->heartbeat_ms = 100;
    start(w, workflow_text, &answer, id);
    expect(w, AB_SUBMIT, &submit);
    ab_message_close(&w->m);
    ab_socket_destroy(w->router);
    run_for(w, 50);
    w->router = router(w);
    expect(w, AB_SUBMIT, &submit);
    send_accepted(w, &submit);
    run_until(w, &answer.done);
    assert_int_equal(answer.code, 0);
}

/* ---- watching ---- */

static void test_a_watch_goes_on_behind_the_last_event_after_a_loss(void **state)
{
    struct world *w = *state;
    struct ab_watch message;
    struct seen seen = {0};
    char id[AB_ID_TEXT];
    struct ab_id job = ab_id_make(ab_wall_ms());
    watch(w, ab_id_text(job, id), &seen);
    expect(w, AB_WATCH, &message);
    assert_int_equal(message.after, 0);
    send_event(w, job, 1, NULL);
    send_event(w, job, 2, NULL);
    run_until_seen(w, &seen, 2);
    send_failure(w, 0, AB_EDENIED, "say HELLO first", 0);
    expect(w, AB_WATCH, &message);
    assert_int_equal(message.after, 2);
    send_event(w, job, 2, NULL); /* repeated: not shown */
    send_event(w, job, 3, NULL);
    send_event(w, job, 4, "succeeded");
    run_until_seen(w, &seen, 4);
    assert_true(seen.ended);
    for (int i = 0; i < 4; i++)
        assert_int_equal(seen.seqs[i], i + 1);
    send_event(w, job, 5, NULL); /* after the end nothing counts */
    run_for(w, 30);
    assert_int_equal(seen.n, 4);
}

static void test_a_gap_is_asked_for_again(void **state)
{
    struct world *w = *state;
    struct ab_watch message;
    struct seen seen = {0};
    char id[AB_ID_TEXT];
    struct ab_id job = ab_id_make(ab_wall_ms());
    watch(w, ab_id_text(job, id), &seen);
    expect(w, AB_WATCH, &message);
    send_event(w, job, 1, NULL);
    send_event(w, job, 3, NULL);
    expect(w, AB_WATCH, &message);
    assert_int_equal(seen.n, 1);
    assert_int_equal(message.after, 1);
    send_event(w, job, 2, NULL);
    send_event(w, job, 3, "failed");
    run_until_seen(w, &seen, 3);
    assert_int_equal(seen.seqs[2], 3);
}

static void test_a_watch_of_an_unknown_job_fails(void **state)
{
    struct world *w = *state;
    struct ab_watch message;
    struct seen seen = {0};
    char id[AB_ID_TEXT];
    watch(w, ab_id_text(ab_id_make(ab_wall_ms()), id), &seen);
    expect(w, AB_WATCH, &message);
    send_failure(w, message.rid, AB_ENOTFOUND, "no such job", 0);
    run_until(w, &seen.failed);
    assert_int_equal(
        autobots_start_watch(w->bots, "nonsense", &(struct autobots_watch){.on_event = on_event}, NULL),
        AUTOBOTS_EINVALID);
}

static void test_a_watch_waits_for_the_submission_of_its_job(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    struct seen seen = {0};
    struct ab_submit submit;
    struct ab_watch message;
    char id[AUTOBOTS_ID_TEXT];
    start(w, workflow_text, &answer, id);
    watch(w, id, &seen);
    expect(w, AB_SUBMIT, &submit);
    run_for(w, 20);
    assert_false(ab_message_more(&w->m)); /* nothing in its packet, and none behind it */
    struct ab_message next = {0};
    assert_int_equal(ab_message_receive(w->router, &next, NULL), 0);
    send_accepted(w, &submit);
    expect(w, AB_WATCH, &message);
    assert_true(ab_id_eq(message.job, submit.job));
}

static void test_deltas_reach_the_watch(void **state)
{
    struct world *w = *state;
    struct ab_watch message;
    struct seen seen = {0};
    char id[AB_ID_TEXT];
    struct ab_id job = ab_id_make(ab_wall_ms());
    watch(w, ab_id_text(job, id), &seen);
    expect(w, AB_WATCH, &message);
    assert_true(message.deltas);
    struct ab_delta delta = {.job = job,
                             .step = ab_view_of("0:1"),
                             .agent = ab_view_of("a"),
                             .attempt = 1,
                             .text = ab_view_of("pie")};
    reply(w, AB_DELTA, &delta, ab_view(NULL, 0));
    for (int i = 0; i < 200 && !*seen.delta; i++)
        autobots_step(w->bots, STEP_MS);
    assert_string_equal(seen.delta, "pie");
}

/* ---- secrets ---- */

static bool contains(struct ab_view where, const char *what)
{
    return memmem(where.p, where.n, what, strlen(what));
}

static void test_a_key_waits_for_the_sealing_key_and_travels_sealed(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    struct ab_submit submit;
    char id[AUTOBOTS_ID_TEXT];
    start(w, keyed_text, &answer, id);
    for (int i = 0; i < 40; i++) { /* welcomed without a key: nothing may leave */
        autobots_step(w->bots, STEP_MS);
        if (ab_message_receive(w->router, &w->m, NULL) != 1)
            continue;
        assert_int_not_equal(w->m.command, AB_SUBMIT);
        if (w->m.command == AB_HELLO)
            welcome(w);
    }
    assert_false(answer.done);
    w->seal = true;
    expect(w, AB_SUBMIT, &submit);
    assert_false(contains(w->m.header, "sk-planted"));
    assert_false(contains(w->m.body, "sk-planted"));
    struct ab_reader reader = ab_reader(submit.secrets);
    struct ab_view sealed;
    uint32_t n;
    assert_int_equal(ab_read_array(&reader, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(ab_read_bin(&reader, &sealed), 0);
    unsigned char clear[512];
    assert_true(sealed.n > crypto_box_SEALBYTES && sealed.n < sizeof clear);
    assert_int_equal(
        crypto_box_seal_open(clear, (const unsigned char *)sealed.p, sealed.n, w->seal_public, w->seal_secret),
        0);
    assert_true(contains(ab_view(clear, sealed.n - crypto_box_SEALBYTES), "sk-planted-in-the-test"));
    assert_true(
        contains(ab_view(clear, sealed.n - crypto_box_SEALBYTES), (const char[]){(char)submit.job.b[0], 0}));
    struct ab_view first = submit.secrets;
    char *copy = ab_view_dup(first);
    size_t bytes = first.n;
    send_failure(w, 0, AB_EDENIED, "say HELLO first", 0);
    expect(w, AB_SUBMIT, &submit); /* sent again: the same bytes, so that it is the same job to the service */
    assert_int_equal(submit.secrets.n, bytes);
    assert_memory_equal(submit.secrets.p, copy, bytes);
    free(copy);
}

/* ---- queries and inbox ---- */

static void test_a_query_is_packed_by_the_operation_table(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    struct ab_query query;
    char *request = ab_format("{\"job\":\"%s\"}", "01890a5d-ac96-774b-bcce-b302099a8057");
    assert_int_equal(autobots_start_query(w->bots, "job_status", request, on_answer, &answer, NULL), 0);
    free(request);
    expect(w, AB_QUERY, &query);
    assert_true(ab_view_is(query.op, "job_status"));
    struct ab_op_job_status status;
    assert_int_equal(ab_decode(&ab_op_job_status_schema, w->m.body, &status, NULL), 0);
    assert_true(ab_view_is(status.user, "ada"));
    assert_int_equal(status.job.b[0], 0x01);
    struct ab_result result = {.rid = query.rid};
    struct ab_op_job_status_answer body = {.state = ab_view_of("ready"), .position = 3};
    struct ab_buf packed = {0};
    ab_encode(&packed, &ab_op_job_status_answer_schema, &body);
    reply(w, AB_RESULT, &result, ab_buf_view(&packed));
    ab_buf_finish(&packed);
    run_until(w, &answer.done);
    assert_string_equal(answer.json, "{\"state\":\"ready\",\"position\":3}");
}

struct raw_answer {
    bool done;
    struct ab_buf bytes;
};

static void on_raw(void *context, const struct autobots_answer *answer)
{
    struct raw_answer *a = context;
    assert_null(answer->error);
    assert_null(answer->json);
    ab_buf_add(&a->bytes, answer->raw, answer->raw_bytes);
    a->done = true;
}

static void test_a_raw_query_is_answered_as_it_came(void **state)
{
    struct world *w = *state;
    struct raw_answer answer = {0};
    struct ab_query query;
    struct ab_buf packed = {0};
    assert_int_equal(autobots_start_raw_query(w->bots, "status", NULL, on_raw, &answer, NULL), 0);
    expect(w, AB_QUERY, &query);
    struct ab_result result = {.rid = query.rid};
    ab_encode(&packed, &ab_op_status_answer_schema, &(struct ab_op_status_answer){.epoch = 7});
    reply(w, AB_RESULT, &result, ab_buf_view(&packed));
    run_until(w, &answer.done);
    assert_true(ab_view_eq(ab_buf_view(&answer.bytes), ab_buf_view(&packed)));
    ab_buf_finish(&packed);
    ab_buf_finish(&answer.bytes);
}

static void test_a_wrong_query_is_refused_here(void **state)
{
    struct world *w = *state;
    struct autobots_error err;
    assert_int_equal(autobots_start_query(w->bots, "no_such", NULL, on_answer, NULL, &err), AUTOBOTS_ENOTFOUND);
    assert_int_equal(autobots_start_query(w->bots, "epoch", NULL, on_answer, NULL, &err), AUTOBOTS_ENOTFOUND);
    assert_int_equal(autobots_start_query(w->bots, "get_job", "{}", on_answer, NULL, &err), AUTOBOTS_EINVALID);
    assert_string_equal(err.path, "job");
    assert_int_equal(autobots_start_query(w->bots, "get_job", "{\"job\":1}", on_answer, NULL, &err),
                     AUTOBOTS_EINVALID);
    assert_int_equal(autobots_start_query(w->bots, "get_job", "{\"jobs\":\"x\"}", on_answer, NULL, &err),
                     AUTOBOTS_EINVALID);
    assert_string_equal(err.path, "jobs");
    assert_int_equal(autobots_start_query(w->bots, "job_status", "{\"job\":\"x\"}", on_answer, NULL, &err),
                     AUTOBOTS_EINVALID);
}

static void test_an_inbox_row_keeps_its_id_when_it_is_sent_again(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    struct ab_inbox inbox;
    char id[AB_ID_TEXT];
    ab_id_text(ab_id_make(ab_wall_ms()), id);
    assert_int_equal(autobots_start_cancel(w->bots, id, "enough", on_answer, &answer, NULL), 0);
    expect(w, AB_INBOX, &inbox);
    struct ab_id row = inbox.id;
    assert_true(ab_view_is(inbox.kind, "cancel"));
    assert_true(ab_view_is(inbox.text, "enough"));
    send_failure(w, 0, AB_EDENIED, "say HELLO first", 0);
    expect(w, AB_INBOX, &inbox);
    assert_true(ab_id_eq(row, inbox.id));
    struct ab_receipt receipt = {.rid = inbox.rid, .job = inbox.job, .k = 4};
    reply(w, AB_RECEIPT, &receipt, ab_view(NULL, 0));
    run_until(w, &answer.done);
    assert_int_equal(answer.number, 4);
}

static void test_what_is_unanswered_has_a_bound_in_bytes(void **state)
{
    (void)state;
    enum { TEXT_BYTES = 45 << 20 };
    char id[AUTOBOTS_ID_TEXT], *text = malloc(TEXT_BYTES + 1);
    struct autobots_error err;
    struct answer answer = {0};
    struct autobots *bots = autobots_open(
        &(struct autobots_options){
            .endpoint = "ipc:///tmp/autobots-test-nobody.sock", .user = "ada", .timeout_ms = 100},
        NULL);
    memset(text, 'x', TEXT_BYTES);
    text[TEXT_BYTES] = 0;
    struct autobots_job job = {.workflow = "{\"script\":\"echo\",\"agents\":[{\"name\":\"a\"}]}", .text = text};
    for (int i = 0; i < 2; i++)
        assert_int_equal(autobots_start_submit(bots, &job, id, on_answer, &answer, &err), 0);
    assert_int_equal(autobots_start_submit(bots, &job, id, on_answer, &answer, &err), AUTOBOTS_EBUSY);
    while (answer.times < 2) /* both end at their time-out, and make room */
        autobots_step(bots, 100);
    assert_int_equal(autobots_start_submit(bots, &job, id, on_answer, &answer, &err), 0);
    autobots_close(bots);
    free(text);
}

static void test_no_service_is_said_within_the_time(void **state)
{
    (void)state;
    struct autobots_error err;
    struct autobots *bots = autobots_open(
        &(struct autobots_options){
            .endpoint = "ipc:///tmp/autobots-test-nobody.sock", .user = "ada", .timeout_ms = 100},
        NULL);
    assert_int_equal(autobots_connect(bots, 100, &err), AUTOBOTS_EUNAVAILABLE);
    assert_int_equal(autobots_query(bots, "status", NULL, NULL, &err), AUTOBOTS_EUNAVAILABLE);
    autobots_close(bots);
    assert_null(autobots_open(&(struct autobots_options){.user = "ada"}, &err));
    assert_int_equal(err.code, AUTOBOTS_EUSAGE);
    assert_null(autobots_open(&(struct autobots_options){.dir = "/tmp"}, &err));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        T(test_submit_is_answered_after_accepted),
        T(test_a_known_workflow_is_not_sent_again_until_the_service_asks),
        T(test_busy_is_retried_when_the_service_says),
        T(test_a_final_refusal_is_passed_on_at_once),
        T(test_retrying_ends_at_the_time_out_with_the_last_reason),
        T(test_a_faulty_workflow_never_leaves),
        T(test_what_is_unanswered_is_sent_again_to_a_service_that_forgot_us),
        T(test_a_request_that_is_denied_in_a_new_session_too_is_denied),
        T(test_silence_is_taken_for_a_loss),
        T(test_a_restarted_service_gets_everything_again),
        T(test_a_watch_goes_on_behind_the_last_event_after_a_loss),
        T(test_a_gap_is_asked_for_again),
        T(test_a_watch_of_an_unknown_job_fails),
        T(test_a_watch_waits_for_the_submission_of_its_job),
        T(test_deltas_reach_the_watch),
        T(test_a_key_waits_for_the_sealing_key_and_travels_sealed),
        T(test_a_query_is_packed_by_the_operation_table),
        T(test_a_raw_query_is_answered_as_it_came),
        T(test_a_wrong_query_is_refused_here),
        T(test_an_inbox_row_keeps_its_id_when_it_is_sent_again),
        cmocka_unit_test(test_what_is_unanswered_has_a_bound_in_bytes),
        cmocka_unit_test(test_no_service_is_said_within_the_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
