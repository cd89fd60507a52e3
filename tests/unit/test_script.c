/* The offline model: scenarios, echo, timing by the given clock, no network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <cmocka.h>

#include "worker/model/model.h"

static int64_t now_ms;

static int64_t read_clock(void *user)
{
    return now_ms;
}

struct outcome {
    struct ab_buf pieces; /* "a|b|c" */
    bool done, ok;
    struct model_reply reply;
    struct model_failure failure;
};

static void on_delta(void *user, struct ab_view text)
{
    struct outcome *outcome = user;
    if (outcome->pieces.n)
        ab_buf_char(&outcome->pieces, '|');
    ab_buf_add(&outcome->pieces, text.p, text.n);
}

static void on_done(void *user, struct model_reply *reply, const struct model_failure *failure)
{
    struct outcome *outcome = user;
    outcome->done = true;
    outcome->ok = reply;
    if (failure) {
        outcome->failure = *failure;
        return;
    }
    outcome->reply = *reply;
    *reply = (struct model_reply){0};
}

static const struct model_callbacks callbacks = {.on_delta = on_delta, .on_done = on_done};

static struct model_client *create(bool offline)
{
    struct model_host host = {
        .now_ms = read_clock, .unix_ms = read_clock, .retries_max = -1, .offline = offline};
    now_ms = 1000;
    return model_client_create(&host, NULL);
}

static void begin(struct model_client *client, struct outcome *outcome, const struct model_endpoint *endpoints,
                  size_t n, uint64_t call_index, struct model_call **call)
{
    struct model_request request = {.endpoints = endpoints,
                                    .endpoint_count = n,
                                    .agent = "writer",
                                    .messages =
                                        json_pack("[{s:s,s:s},{s:s,s:[{s:s}]}]", "role", "system", "content",
                                                  "brief", "role", "user", "content", "text", "hi there"),
                                    .call_index = call_index,
                                    .temperature = NAN};
    *outcome = (struct outcome){0};
    assert_int_equal(model_call_start(client, &request, &callbacks, outcome, call, NULL), 0);
    json_decref(request.messages);
}

/* Jumps from deadline to deadline. */
static void run(struct model_client *client, const struct outcome *outcome)
{
    for (int turns = 0; !outcome->done; turns++) {
        int64_t due_ms = model_client_deadline_ms(client);
        assert_true(due_ms < INT64_MAX && turns < 1000);
        now_ms = due_ms > now_ms ? due_ms : now_ms;
        model_client_run(client, now_ms);
    }
}

static void outcome_finish(struct outcome *outcome)
{
    ab_buf_finish(&outcome->pieces);
    model_reply_finish(&outcome->reply);
}

static json_t *json(const char *text)
{
    json_t *tree = json_loads(text, 0, NULL);
    assert_non_null(tree);
    return tree;
}

/* Call number call_index against one script. */
static struct outcome play(const char *script, uint64_t call_index)
{
    struct model_client *client = create(false);
    struct model_endpoint endpoint = {.api_type = "script", .model = "offline", .script = json(script)};
    struct outcome outcome;
    struct model_call *call;
    begin(client, &outcome, &endpoint, 1, call_index, &call);
    json_decref(endpoint.script);
    assert_false(outcome.done);
    run(client, &outcome);
    model_client_destroy(client);
    return outcome;
}

static void the_call_number_picks_the_reply(void **state)
{
    static const struct {
        const char *repeat;
        uint64_t call_index;
        const char *text; /* NULL = fails */
    } rows[] = {{"last", 0, "a"}, {"last", 1, "b"},  {"last", 9, "b"},  {"loop", 4, "a"},
                {"loop", 5, "b"}, {"error", 1, "b"}, {"error", 2, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *script =
            ab_format("{\"replies\":[{\"text\":\"a\"},{\"text\":\"b\"}],\"repeat\":\"%s\"}", rows[i].repeat);
        struct outcome outcome = play(script, rows[i].call_index);
        assert_int_equal(outcome.ok, rows[i].text != NULL);
        if (rows[i].text)
            assert_string_equal(outcome.reply.content, rows[i].text);
        else
            assert_non_null(strstr(outcome.failure.error.text, "no reply for call 2"));
        outcome_finish(&outcome);
        free(script);
    }
}

static void a_reply_is_marked_offline_and_counted(void **state)
{
    struct outcome outcome = play("{\"replies\":[{\"text\":\"12345\"}],\"repeat\":\"last\"}", 0);
    assert_true(outcome.reply.offline);
    assert_false(outcome.reply.usage.reported);
    assert_int_equal(outcome.reply.usage.prompt, 4); /* "brief" and "hi there": 13 bytes */
    assert_int_equal(outcome.reply.usage.completion, 2);
    assert_string_equal(outcome.reply.model, "offline");
    assert_string_equal(outcome.reply.finish_reason, "stop");
    outcome_finish(&outcome);
    outcome = play("{\"replies\":[{\"text\":\"x\",\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7,"
                   "\"cached_tokens\":3}}]}",
                   0);
    assert_true(outcome.reply.usage.reported);
    assert_int_equal(outcome.reply.usage.prompt, 11);
    assert_int_equal(outcome.reply.usage.completion, 7);
    assert_int_equal(outcome.reply.usage.cached, 3);
    outcome_finish(&outcome);
}

static void pieces_keep_characters_whole_and_come_after_the_delay(void **state)
{
    struct outcome outcome = play(
        "{\"replies\":[{\"text\":\"a\\u00fc\\u20acb\\ud83d\\ude00c\",\"chunk_bytes\":2,\"delay_ms\":250}]}", 0);
    assert_string_equal(ab_buf_cstr(&outcome.pieces), "a\xC3\xBC|\xE2\x82\xAC|b\xF0\x9F\x98\x80|c");
    assert_int_equal(now_ms, 1250);
    assert_int_equal(outcome.reply.latency_ms, 250);
    assert_int_equal(outcome.reply.first_ms, 250);
    outcome_finish(&outcome);
    outcome = play("{\"replies\":[{\"text\":\"\"}]}", 0);
    assert_true(outcome.ok);
    assert_string_equal(outcome.reply.content, "");
    assert_int_equal(outcome.pieces.n, 0);
    outcome_finish(&outcome);
}

static void echo_repeats_the_last_message(void **state)
{
    struct outcome outcome = play("{\"echo\":true,\"chunk_bytes\":3,\"delay_ms\":5}", 7);
    assert_string_equal(outcome.reply.content, "hi there");
    assert_string_equal(ab_buf_cstr(&outcome.pieces), "hi |the|re");
    assert_int_equal(now_ms, 1005);
    outcome_finish(&outcome);
}

static void a_scripted_error_goes_to_the_next_endpoint_or_fails(void **state)
{
    struct model_client *client = create(false);
    struct model_endpoint endpoints[] = {
        {.api_type = "script",
         .script = json(
             "{\"replies\":[{\"error\":{\"status\":429,\"message\":\"too much\",\"retry_after_ms\":70}}]}")},
        {.api_type = "script", .script = json("{\"replies\":[{\"text\":\"spare\"}]}")}};
    struct outcome outcome;
    struct model_call *call;
    begin(client, &outcome, endpoints, 2, 0, &call);
    run(client, &outcome);
    assert_string_equal(outcome.reply.content, "spare");
    assert_int_equal(outcome.reply.endpoint, 1);
    assert_int_equal(outcome.reply.attempts, 2);
    outcome_finish(&outcome);
    begin(client, &outcome, endpoints, 1, 0, &call);
    run(client, &outcome);
    assert_int_equal(outcome.failure.http_status, 429);
    assert_int_equal(outcome.failure.error.retry_after_ms, 70);
    assert_non_null(strstr(outcome.failure.error.text, "too much"));
    outcome_finish(&outcome);
    json_decref(endpoints[0].script);
    json_decref(endpoints[1].script);
    model_client_destroy(client);
}

static void offline_serves_every_endpoint_without_a_network(void **state)
{
    struct model_client *client = create(true);
    struct model_endpoint endpoint = {.model = "gpt-x", .base_url = "http://127.0.0.1:1/v1"};
    for (size_t n = 0; n < 2; n++) {
        struct outcome outcome;
        struct model_call *call;
        begin(client, &outcome, &endpoint, n, 0, &call);
        run(client, &outcome);
        assert_true(outcome.ok && outcome.reply.offline);
        assert_string_equal(outcome.reply.content, "hi there");
        outcome_finish(&outcome);
    }
    model_client_destroy(client);
}

static void a_slow_script_times_out_and_can_be_cancelled(void **state)
{
    struct model_client *client = create(false);
    struct model_endpoint endpoint = {.api_type = "script",
                                      .script = json("{\"echo\":true,\"delay_ms\":700000}")};
    struct outcome outcome;
    struct model_call *call;
    begin(client, &outcome, &endpoint, 1, 0, &call);
    run(client, &outcome);
    assert_int_equal(outcome.failure.error.code, AB_ETIMEOUT);
    outcome_finish(&outcome);
    begin(client, &outcome, &endpoint, 1, 0, &call);
    model_client_run(client, now_ms);
    model_call_cancel(call);
    assert_int_equal(model_client_deadline_ms(client), INT64_MAX);
    begin(client, &outcome, &endpoint, 1, 0, &call);
    model_client_run(client, now_ms); /* destroyed with a call under way */
    model_client_destroy(client);
    assert_false(outcome.done);
    json_decref(endpoint.script);
}

static void a_wrong_request_is_refused_at_once(void **state)
{
    struct model_client *client = create(false);
    struct model_call *call;
    struct model_request no_messages = {.temperature = NAN};
    assert_int_equal(model_call_start(client, &no_messages, &callbacks, NULL, &call, NULL), AB_EINVALID);
    struct model_request too_many = {.messages = json_array(), .endpoint_count = MODEL_ENDPOINTS_MAX + 1};
    assert_int_equal(model_call_start(client, &too_many, &callbacks, NULL, &call, NULL), AB_EINVALID);
    json_decref(too_many.messages);
    model_client_destroy(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_call_number_picks_the_reply),
        cmocka_unit_test(a_reply_is_marked_offline_and_counted),
        cmocka_unit_test(pieces_keep_characters_whole_and_come_after_the_delay),
        cmocka_unit_test(echo_repeats_the_last_message),
        cmocka_unit_test(a_scripted_error_goes_to_the_next_endpoint_or_fails),
        cmocka_unit_test(offline_serves_every_endpoint_without_a_network),
        cmocka_unit_test(a_slow_script_times_out_and_can_be_cancelled),
        cmocka_unit_test(a_wrong_request_is_refused_at_once),
    };
    return cmocka_run_group_tests_name("script", tests, NULL, NULL);
}
