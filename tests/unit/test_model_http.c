/* The model client over real HTTP, against tests/model_server.py. What a call meets is written into its message as a
 * directive, so each test shows both sides. The clock is real; waits are for conditions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include <curl/curl.h>

#include "worker/model/model.h"
#include "worker/secrets.h"

enum { PATIENCE_MS = 20000 };

static pid_t server_pid;
static char server_url[64], base_url[72];
static struct ab_buf log_text;
static int retries_max = -1; /* of clients to come */

/* --- clock, log, server ---------------------------------------------------------------------------------------- */

static int64_t clock_ms(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t mono_ms(void *user)
{
    return clock_ms(CLOCK_MONOTONIC);
}

static int64_t unix_ms(void *user)
{
    return clock_ms(CLOCK_REALTIME);
}

static void log_line(void *user, char severity, const char *text)
{
    ab_buf_format(&log_text, "%c %s\n", severity, text);
}

static size_t keep_body(char *bytes, size_t size, size_t n, void *out)
{
    ab_buf_add(out, bytes, size * n);
    return size * n;
}

/* Asks the server itself: GET, or POST if there is a body. The caller owns the answer. */
static json_t *ask(const char *path, const char *body)
{
    struct ab_buf answer = {0};
    char *url = ab_format("%s%s", server_url, path);
    CURL *easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    if (body)
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &answer);
    assert_int_equal(curl_easy_perform(easy), CURLE_OK);
    curl_easy_cleanup(easy);
    free(url);
    json_t *json = json_loads(ab_buf_cstr(&answer), 0, NULL);
    ab_buf_finish(&answer);
    assert_non_null(json);
    return json;
}

static void forget_calls(void)
{
    json_decref(ask("/reset", ""));
    ab_buf_clear(&log_text);
}

static json_t *calls(void)
{
    json_t *state = ask("/calls", NULL);
    json_t *list = json_incref(json_object_get(state, "calls"));
    json_decref(state);
    return list;
}

static size_t call_count(void)
{
    json_t *list = calls();
    size_t n = json_array_size(list);
    json_decref(list);
    return n;
}

/* Starts a server; tls is NULL or the directory for its certificate. Returns its port, or -1. */
static int spawn(pid_t *pid, const char *tls)
{
    int ends[2], port = -1;
    if (pipe(ends))
        return -1;
    *pid = fork();
    if (!*pid) {
        dup2(ends[1], 1);
        execl("/usr/bin/python3", "python3", "tests/model_server.py", tls ? "--tls" : (char *)NULL, tls,
              (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *out = fdopen(ends[0], "r");
    if (!out || fscanf(out, "listening %d", &port) != 1)
        port = -1;
    if (out)
        fclose(out);
    return port;
}

static int start_server(void **state)
{
    int port = spawn(&server_pid, NULL);
    snprintf(server_url, sizeof server_url, "http://127.0.0.1:%d", port);
    snprintf(base_url, sizeof base_url, "%s/v1", server_url);
    return port < 0 ? -1 : 0;
}

static int stop_server(void **state)
{
    kill(server_pid, SIGTERM);
    waitpid(server_pid, NULL, 0);
    ab_buf_finish(&log_text);
    return 0;
}

/* --- one call -------------------------------------------------------------------------------------------------- */

struct outcome {
    struct model_client *client;
    struct model_call *call;
    struct ab_buf text, reasoning; /* reset by on_attempt, as a bubble would be */
    unsigned resets, deltas;
    bool done, ok;
    struct model_reply reply;
    struct model_failure failure;
    unsigned cancel_after; /* deltas; 0 = never */
};

static void on_delta(void *user, struct ab_view text)
{
    struct outcome *outcome = user;
    ab_buf_add(&outcome->text, text.p, text.n);
    if (++outcome->deltas == outcome->cancel_after)
        model_call_cancel(outcome->call);
}

static void on_reasoning(void *user, struct ab_view text)
{
    ab_buf_add(&((struct outcome *)user)->reasoning, text.p, text.n);
}

static void on_attempt(void *user, unsigned attempt)
{
    struct outcome *outcome = user;
    assert_true(attempt > 1);
    outcome->resets++;
    ab_buf_clear(&outcome->text);
}

static void on_done(void *user, struct model_reply *reply, const struct model_failure *failure)
{
    struct outcome *outcome = user;
    assert_false(outcome->done);
    assert_true(!reply != !failure);
    outcome->done = true;
    outcome->ok = reply;
    if (failure) {
        outcome->failure = *failure;
        return;
    }
    outcome->reply = *reply;
    *reply = (struct model_reply){0};
}

static const struct model_callbacks callbacks = {on_delta, on_reasoning, on_attempt, on_done};

static struct model_client *create(const struct secrets *secrets, bool strict)
{
    struct model_host host = {.now_ms = mono_ms,
                              .unix_ms = unix_ms,
                              .log = log_line,
                              .secrets = secrets,
                              .strict = strict,
                              .retries_max = retries_max,
                              .seed = 7};
    struct ab_error err;
    struct model_client *client = model_client_create(&host, &err);
    assert_non_null(client);
    return client;
}

static void turn(struct model_client *client)
{
    int64_t now = mono_ms(NULL), due = model_client_deadline_ms(client);
    struct pollfd item = {.fd = model_client_fd(client), .events = POLLIN};
    int wait_ms = due <= now ? 0 : due - now > 100 ? 100 : (int)(due - now);
    poll(&item, 1, wait_ms);
    model_client_run(client, mono_ms(NULL));
}

static void run_until(struct model_client *client, const bool *done)
{
    int64_t limit = mono_ms(NULL) + PATIENCE_MS;
    while (!*done) {
        if (mono_ms(NULL) > limit)
            fail_msg("no end after %d ms", PATIENCE_MS);
        turn(client);
    }
}

static json_t *messages_of(const char *text)
{
    return json_pack("[{s:s,s:s},{s:s,s:s}]", "role", "system", "content", "be brief", "role", "user",
                     "content", text);
}

static const struct model_request usual = {.agent = "writer", .temperature = NAN, .stream = true};

static void begin(struct outcome *outcome, const struct model_endpoint *endpoints, size_t n, const char *text,
                  struct model_request request)
{
    struct ab_error err = {0};
    request.endpoints = endpoints;
    request.endpoint_count = n;
    request.messages = messages_of(text);
    int rc = model_call_start(outcome->client, &request, &callbacks, outcome, &outcome->call, &err);
    json_decref(request.messages);
    assert_int_equal(rc, 0);
}

static void outcome_finish(struct outcome *outcome)
{
    model_reply_finish(&outcome->reply);
    ab_buf_finish(&outcome->text);
    ab_buf_finish(&outcome->reasoning);
    model_client_destroy(outcome->client);
}

/* One call at the test server with a client of its own. */
static struct outcome call_with(const char *text, struct model_request request)
{
    struct outcome outcome = {.client = create(NULL, false)};
    struct model_endpoint endpoint = {.model = "m", .base_url = base_url};
    forget_calls();
    begin(&outcome, &endpoint, 1, text, request);
    run_until(outcome.client, &outcome.done);
    return outcome;
}

static struct outcome call(const char *text)
{
    return call_with(text, usual);
}

static void assert_answer(struct outcome *outcome, const char *text)
{
    if (!outcome->ok)
        fail_msg("%s", outcome->failure.error.text);
    assert_string_equal(outcome->reply.content, text);
    assert_string_equal(ab_buf_cstr(&outcome->text), text);
}

/* --- replies --------------------------------------------------------------------------------------------------- */

static void a_stream_arrives_in_pieces(void **state)
{
    struct outcome outcome = call("hello there [[{\"headers\":{\"x-request-id\":\"req-77\"}}]]");
    assert_answer(&outcome, "echo: hello there");
    assert_int_equal(outcome.deltas, 3);
    assert_string_equal(outcome.reply.finish_reason, "stop");
    assert_string_equal(outcome.reply.model, "m");
    assert_string_equal(outcome.reply.request_id, "req-77");
    assert_true(outcome.reply.usage.reported);
    assert_int_equal(outcome.reply.usage.completion, 3);
    assert_int_equal(outcome.reply.attempts, 1);
    assert_true(outcome.reply.first_ms >= 0 && outcome.reply.latency_ms >= outcome.reply.first_ms);
    assert_false(outcome.reply.offline);
    outcome_finish(&outcome);
}

static void what_is_sent(void **state)
{
    struct model_request request = usual;
    request.temperature = 0.25;
    request.max_tokens = 9;
    request.tools = json_pack("[{s:s,s:{s:s}}]", "type", "function", "function", "name", "f");
    request.extra_body = json_pack("{s:i,s:n}", "seed", 3, "stream_options");
    request.idempotency_key = "job:a:1";
    struct outcome outcome = call_with("hi", request);
    assert_answer(&outcome, "echo: hi");
    assert_false(outcome.reply.usage.reported);      /* extra_body took stream_options away: an estimate */
    assert_int_equal(outcome.reply.usage.prompt, 3); /* "be brief" and "hi" */
    assert_int_equal(outcome.reply.usage.completion, 2);
    json_t *list = calls(), *seen = json_array_get(list, 0), *body = json_object_get(seen, "body");
    assert_string_equal(json_string_value(json_object_get(seen, "target")), "/v1/chat/completions");
    assert_true(json_is_false(json_object_get(seen, "authorization")));
    json_t *headers = json_object_get(seen, "headers");
    assert_string_equal(json_string_value(json_object_get(headers, "idempotency-key")), "job:a:1");
    assert_string_equal(json_string_value(json_object_get(headers, "content-type")), "application/json");
    assert_null(json_object_get(headers, "expect"));
    assert_true(json_real_value(json_object_get(body, "temperature")) == 0.25);
    assert_int_equal(json_integer_value(json_object_get(body, "max_tokens")), 9);
    assert_int_equal(json_integer_value(json_object_get(body, "seed")), 3);
    assert_int_equal(json_array_size(json_object_get(body, "tools")), 1);
    assert_int_equal(json_array_size(json_object_get(body, "messages")), 2);
    assert_null(json_object_get(body, "stream_options"));
    assert_true(json_is_true(json_object_get(body, "stream")));
    json_decref(list);
    json_decref(request.tools);
    json_decref(request.extra_body);
    outcome_finish(&outcome);
}

static void an_answer_without_a_stream(void **state)
{
    struct model_request request = usual;
    request.stream = false;
    struct outcome outcome = call_with("hi", request);
    assert_answer(&outcome, "echo: hi");
    assert_true(outcome.reply.usage.reported);
    outcome_finish(&outcome);
}

static void every_way_to_send_a_stream(void **state)
{
    static const char *const ways[] = {
        "{\"byte_at_a_time\":true,\"text\":\"\\u00fcber\"}",
        "{\"byte_at_a_time\":true,\"newline\":\"\\r\\n\",\"text\":\"\\u00fcber\"}",
        "{\"newline\":\"\\r\",\"text\":\"\\u00fcber\"}",
        "{\"comments\":true,\"text\":\"\\u00fcber\"}",
        "{\"no_done\":true,\"text\":\"\\u00fcber\"}",
        "{\"usage\":false,\"text\":\"\\u00fcber\"}",
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char *text = ab_format("x [[%s]]", ways[i]);
        struct outcome outcome = call(text);
        assert_answer(&outcome, "\xC3\xBC"
                                "ber");
        assert_int_equal(outcome.reply.attempts, 1);
        outcome_finish(&outcome);
        free(text);
    }
}

static void tool_calls_and_reasoning(void **state)
{
    static const char *const styles[] = {"fragments", "whole", "no_index", "no_id"};
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++) {
        char *text = ab_format(
            "x [[{\"tool_style\":\"%s\",\"reasoning\":\"think "
            "first\",\"reasoning_field\":\"reasoning\",\"tool_calls\":["
            "{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"k\\\": "
            "1}\"}},"
            "{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}]]",
            styles[i]);
        struct outcome outcome = call(text);
        assert_answer(&outcome, "");
        assert_string_equal(outcome.reply.finish_reason, "tool_calls");
        assert_string_equal(outcome.reply.reasoning, "think first");
        assert_string_equal(ab_buf_cstr(&outcome.reasoning), "think first");
        assert_int_equal(json_array_size(outcome.reply.tool_calls), 2);
        json_t *function = json_object_get(json_array_get(outcome.reply.tool_calls, 0), "function");
        assert_string_equal(json_string_value(json_object_get(function, "arguments")), "{\"k\": 1}");
        outcome_finish(&outcome);
        free(text);
    }
}

static void a_huge_answer_and_one_that_is_too_large(void **state)
{
    struct outcome outcome = call("x [[{\"huge\":5000000}]]");
    assert_true(outcome.ok);
    assert_int_equal(strlen(outcome.reply.content), 5000000);
    outcome_finish(&outcome);
    outcome = call("x [[{\"huge\":20000000}]]");
    assert_false(outcome.ok);
    assert_int_equal(outcome.failure.error.code, AB_ETOOLARGE);
    assert_int_equal(outcome.failure.attempts, 1);
    outcome_finish(&outcome);
}

/* --- failures and retries -------------------------------------------------------------------------------------- */

static void retries_follow_the_servers_advice(void **state)
{
    int64_t before = mono_ms(NULL);
    struct outcome outcome = call("x "
                                  "[[{\"fail\":{\"status\":429,\"times\":2,\"headers\":{\"retry-after-ms\":"
                                  "\"150\",\"retry-after\":\"50\"}}}]]");
    assert_answer(&outcome, "echo: x");
    assert_int_equal(outcome.reply.attempts, 3);
    assert_int_equal(outcome.resets, 0); /* nothing was shown that had to be taken back */
    assert_in_range(mono_ms(NULL) - before, 300, 5000);
    outcome_finish(&outcome);
    outcome = call("x "
                   "[[{\"fail\":{\"status\":400,\"times\":1,\"headers\":{\"x-should-retry\":\"true\",\"retry-"
                   "after\":\"0\"}}}]]");
    assert_answer(&outcome, "echo: x");
    outcome_finish(&outcome);
}

static void an_endpoint_is_exhausted_after_two_retries(void **state)
{
    struct outcome outcome = call("x [[{\"fail\":{\"status\":503,\"headers\":{\"retry-after-ms\":\"1\"}}}]]");
    assert_false(outcome.ok);
    assert_int_equal(outcome.failure.kind, MODEL_FAILED_STATUS);
    assert_int_equal(outcome.failure.http_status, 503);
    assert_int_equal(outcome.failure.error.code, AB_EMODEL);
    assert_true(outcome.failure.error.retryable);
    assert_int_equal(outcome.failure.attempts, 3);
    assert_int_equal(call_count(), 3);
    assert_non_null(strstr(outcome.failure.error.text, "refused by the test"));
    assert_non_null(strstr(outcome.failure.error.text, "writer"));
    outcome_finish(&outcome);
}

static void final_refusals_are_not_repeated(void **state)
{
    static const struct {
        const char *behaviour;
        enum model_failure_kind kind;
        int status;
        const char *says;
    } rows[] = {
        {"{\"insufficient_quota\":true}", MODEL_FAILED_QUOTA, 429, "quota"},
        {"{\"context_length\":true}", MODEL_FAILED_CONTEXT, 400, "4096"},
        {"{\"fail\":{\"status\":500,\"headers\":{\"x-should-retry\":\"false\"}}}", MODEL_FAILED_STATUS, 500,
         "refused"},
        {"{\"fail\":{\"status\":404}}", MODEL_FAILED_STATUS, 404, "base_url"},
        {"{\"error_at\":1,\"error\":{\"message\":\"no such\",\"type\":\"invalid_request_error\"}}",
         MODEL_FAILED_STATUS, 400, "no such"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = ab_format("x [[%s]]", rows[i].behaviour);
        struct outcome outcome = call(text);
        assert_false(outcome.ok);
        assert_int_equal(outcome.failure.kind, rows[i].kind);
        assert_int_equal(outcome.failure.http_status, rows[i].status);
        assert_non_null(strstr(outcome.failure.error.text, rows[i].says));
        assert_false(outcome.failure.error.retryable);
        assert_int_equal(call_count(), 1);
        outcome_finish(&outcome);
        free(text);
    }
}

static void a_broken_stream_is_tried_again_and_the_text_reset(void **state)
{
    static const char *const ways[] = {
        "{\"cut_after\":3,\"cut_times\":1}",
        "{\"malformed_at\":2,\"malformed_times\":1}",
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char *text = ab_format("a long enough text [[%s]]", ways[i]);
        struct outcome outcome = call(text);
        assert_answer(&outcome, "echo: a long enough text");
        assert_int_equal(outcome.resets, 1);
        assert_int_equal(outcome.reply.attempts, 2);
        outcome_finish(&outcome);
        free(text);
    }
}

static void errors_within_a_stream_and_odd_bodies(void **state)
{
    static const struct {
        const char *behaviour, *says;
        enum model_failure_kind kind;
    } rows[] = {
        {"{\"error_at\":2}", "the test broke it", MODEL_FAILED_STATUS},
        {"{\"error_at\":2,\"gemini\":true}", "the test broke it", MODEL_FAILED_STATUS},
        {"{\"finish_reason\":null}", "finish_reason", MODEL_FAILED_REPLY},
        {"{\"cut_after\":2}", "broke during the answer", MODEL_FAILED_CONNECT},
        {"{\"fail\":{\"status\":502,\"html\":\"<html><b>Bad\\n  Gateway</b></html>\"}}",
         "<html><b>Bad Gateway</b>", MODEL_FAILED_STATUS},
        {"{\"fail\":{\"status\":503,\"gemini\":true}}", "refused by the test", MODEL_FAILED_STATUS},
        {"{\"raw\":\"<html>surprise</html>\",\"content_type\":\"text/html\"}", "finish_reason",
         MODEL_FAILED_REPLY},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = ab_format("x [[%s]]", rows[i].behaviour);
        retries_max = i ? 0 : 1; /* the back-off takes its time: once is enough */
        struct outcome outcome = call(text);
        assert_false(outcome.ok);
        if (!strstr(outcome.failure.error.text, rows[i].says))
            fail_msg("%s: %s", rows[i].behaviour, outcome.failure.error.text);
        assert_int_equal(outcome.failure.kind, rows[i].kind);
        assert_int_equal(outcome.failure.attempts, i ? 1 : 2);
        assert_true(outcome.failure.error.retryable);
        retries_max = -1;
        outcome_finish(&outcome);
        free(text);
    }
}

static void time_outs(void **state)
{
    static const char *const ways[] = {"{\"stall\":\"headers\"}", "{\"stall\":\"body\"}",
                                       "{\"chunk_ms\":100,\"huge\":800,\"piece_chars\":8}"};
    struct model_request request = usual;
    request.timeout_ms = 200;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char *text = ab_format("x [[%s]]", ways[i]);
        retries_max = 0;
        struct outcome outcome = call_with(text, request);
        assert_false(outcome.ok);
        assert_int_equal(outcome.failure.kind, MODEL_FAILED_TIMEOUT);
        assert_int_equal(outcome.failure.error.code, AB_ETIMEOUT);
        assert_int_equal(outcome.failure.attempts, 1);
        retries_max = -1;
        outcome_finish(&outcome);
        free(text);
    }
    struct outcome outcome = call_with("x [[{\"stall\":\"body\",\"stall_times\":1}]]", request);
    assert_answer(&outcome, "echo: x");
    assert_int_equal(outcome.reply.attempts, 2);
    outcome_finish(&outcome);
}

static void the_whole_call_has_an_end_too(void **state)
{
    /* cut off in an attempt, and in the wait before one */
    static const char *const ways[] = {"{\"stall\":\"body\"}",
                                       "{\"fail\":{\"status\":503,\"headers\":{\"retry-after\":\"30\"}}}"};
    struct model_request request = usual;
    request.total_ms = 300;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char *text = ab_format("x [[%s]]", ways[i]);
        int64_t before_ms = mono_ms(NULL);
        struct outcome outcome = call_with(text, request);
        assert_false(outcome.ok);
        assert_int_equal(outcome.failure.kind, MODEL_FAILED_TOTAL);
        assert_int_equal(outcome.failure.attempts, 1);
        assert_false(outcome.failure.error.retryable);
        assert_in_range(mono_ms(NULL) - before_ms, 290, 5000);
        outcome_finish(&outcome);
        free(text);
    }
}

static void nobody_listens(void **state)
{
    struct outcome outcome = {.client = create(NULL, false)};
    struct model_endpoint endpoint = {.model = "m", .base_url = "http://127.0.0.1:1/v1"};
    begin(&outcome, &endpoint, 1, "x", usual);
    run_until(outcome.client, &outcome.done);
    assert_int_equal(outcome.failure.kind, MODEL_FAILED_CONNECT);
    assert_true(outcome.failure.error.retryable);
    assert_non_null(strstr(outcome.failure.error.text, "http://127.0.0.1:1/v1"));
    outcome_finish(&outcome);
}

static void the_next_endpoint_takes_over(void **state)
{
    struct outcome outcome = {.client = create(NULL, false)};
    forget_calls();
    json_decref(
        ask("/control", "{\"models\":{\"bad\":{\"fail\":{\"status\":401}},\"cut\":{\"cut_after\":2}}}"));
    struct model_endpoint endpoints[] = {{.model = "keyless", .base_url = "https://api.example.com/v1"},
                                         {.model = "bad", .base_url = base_url},
                                         {.model = "good", .base_url = base_url}};
    begin(&outcome, endpoints, 3, "x", usual);
    run_until(outcome.client, &outcome.done);
    assert_answer(&outcome, "echo: x");
    assert_int_equal(outcome.reply.endpoint, 2);
    assert_int_equal(outcome.reply.attempts, 2);
    assert_string_equal(outcome.reply.model, "good");
    outcome_finish(&outcome);
}

static void an_ill_endpoint_is_left_out_of_turn(void **state)
{
    struct outcome outcome = {.client = create(NULL, false)};
    char *other = ab_format("%s/other", server_url);
    forget_calls();
    json_decref(
        ask("/control",
            "{\"models\":{\"ill\":{\"fail\":{\"status\":500,\"headers\":{\"retry-after-ms\":\"1\"}}}}}"));
    struct model_endpoint endpoints[] = {{.model = "ill", .base_url = base_url},
                                         {.model = "good", .base_url = other}};
    for (int i = 0; i < 3; i++) {
        size_t before = call_count();
        outcome.done = false;
        model_reply_finish(&outcome.reply);
        begin(&outcome, endpoints, 2, "x", usual);
        run_until(outcome.client, &outcome.done);
        assert_true(outcome.ok);
        assert_int_equal(call_count() - before, i < 2 ? 4 : 1); /* 5 failures in a row open the breaker */
    }
    outcome_finish(&outcome);
    free(other);
}

/* --- the cache ------------------------------------------------------------------------------------------------- */

static struct outcome call_cached(struct model_client *client, int64_t seed, const char *key, const char *text)
{
    struct outcome outcome = {.client = client};
    struct model_endpoint endpoint = {.model = "m", .base_url = base_url, .api_key = ab_view_of(key)};
    struct model_request request = usual;
    request.cache = true;
    request.cache_seed = seed;
    begin(&outcome, &endpoint, 1, text, request);
    run_until(client, &outcome.done);
    outcome.client = NULL;
    assert_true(outcome.ok);
    return outcome;
}

static void identical_requests_with_a_seed_are_sent_once(void **state)
{
    static const struct {
        int64_t seed;
        const char *key, *text;
        bool cached;
    } rows[] = {{0, "key-1", "x", false}, {0, "key-1", "x", true},  {1, "key-1", "x", false},
                {0, "key-2", "x", false}, {0, "key-1", "y", false}, {1, "key-1", "x", true}};
    struct model_client *client = create(NULL, false);
    size_t sent = 0;
    forget_calls();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct outcome outcome = call_cached(client, rows[i].seed, rows[i].key, rows[i].text);
        char *expected = ab_format("echo: %s", rows[i].text);
        sent += !rows[i].cached;
        assert_answer(&outcome, expected);
        assert_int_equal(outcome.reply.cached, rows[i].cached);
        assert_int_equal(outcome.reply.attempts, !rows[i].cached);
        assert_int_equal(outcome.reply.usage.completion, 2);
        assert_in_range(outcome.reply.first_ms, 0, PATIENCE_MS);
        assert_int_equal(call_count(), sent);
        free(expected);
        outcome_finish(&outcome);
    }
    model_client_destroy(client);
}

/* --- cancelling ------------------------------------------------------------------------------------------------ */

static void wait_for_disconnect(size_t call_number)
{
    int64_t limit = mono_ms(NULL) + 1000;
    for (bool gone = false; !gone;) {
        json_t *list = calls();
        gone = json_is_number(json_object_get(json_array_get(list, call_number), "disconnected"));
        json_decref(list);
        if (!gone && mono_ms(NULL) > limit)
            fail_msg("the server has not seen the connection close within 1 s");
    }
}

static void cancelling_closes_the_connection_at_once(void **state)
{
    struct outcome outcome = {.client = create(NULL, false)};
    struct model_endpoint endpoint = {.model = "m", .base_url = base_url};
    forget_calls();
    begin(&outcome, &endpoint, 1, "x [[{\"stall\":\"headers\"}]]", usual);
    int64_t limit = mono_ms(NULL) + PATIENCE_MS;
    while (!call_count() && mono_ms(NULL) < limit)
        turn(outcome.client);
    model_call_cancel(outcome.call);
    wait_for_disconnect(0); /* without another turn of the loop */
    struct model_stats stats;
    model_client_stats(outcome.client, &stats);
    assert_int_equal(stats.cancelled, 1);
    assert_int_equal(stats.running, 0);
    assert_false(outcome.done);
    outcome_finish(&outcome);
}

static void cancelling_inside_a_callback(void **state)
{
    struct outcome outcome = {.client = create(NULL, false), .cancel_after = 2};
    struct model_endpoint endpoint = {.model = "m", .base_url = base_url};
    forget_calls();
    begin(&outcome, &endpoint, 1, "x [[{\"huge\":80000,\"piece_chars\":8,\"chunk_ms\":1}]]", usual);
    int64_t limit = mono_ms(NULL) + PATIENCE_MS;
    while (outcome.deltas < 2 && mono_ms(NULL) < limit)
        turn(outcome.client);
    wait_for_disconnect(0);
    turn(outcome.client);
    assert_int_equal(outcome.deltas, 2);
    assert_false(outcome.done);
    outcome_finish(&outcome);
}

static void a_call_waiting_for_its_retry_can_be_cancelled(void **state)
{
    struct outcome outcome = {.client = create(NULL, false)};
    struct model_endpoint endpoint = {.model = "m", .base_url = base_url};
    struct model_stats stats = {0};
    forget_calls();
    begin(&outcome, &endpoint, 1, "x [[{\"fail\":{\"status\":500,\"headers\":{\"retry-after\":\"30\"}}}]]",
          usual);
    int64_t limit = mono_ms(NULL) + PATIENCE_MS;
    while (!stats.retries && mono_ms(NULL) < limit) {
        turn(outcome.client);
        model_client_stats(outcome.client, &stats);
    }
    model_call_cancel(outcome.call);
    assert_int_equal(model_client_deadline_ms(outcome.client), INT64_MAX);
    outcome_finish(&outcome);
}

/* --- keys ------------------------------------------------------------------------------------------------------ */

static struct secrets *secrets_for(const char *url)
{
    struct secrets *secrets = secrets_create();
    struct secrets_row row = {.model_pattern = "m", .base_url = url, .api_key_env = "T_MODEL_KEY"};
    struct ab_error err = {0};
    setenv("T_MODEL_KEY", "sk-worker-0123456789", 1);
    assert_int_equal(secrets_add(secrets, &row, &err), 0);
    return secrets;
}

static bool last_call_had_key(void)
{
    json_t *list = calls();
    json_t *last = json_array_get(list, json_array_size(list) - 1);
    bool had =
        json_is_true(json_object_get(last, "authorization")) || json_is_true(json_object_get(last, "api_key"));
    json_decref(list);
    return had;
}

static struct outcome call_keyed(struct secrets *secrets, bool strict, struct model_endpoint endpoint,
                                 const char *text)
{
    struct outcome outcome = {.client = create(secrets, strict)};
    forget_calls();
    begin(&outcome, &endpoint, 1, text, usual);
    run_until(outcome.client, &outcome.done);
    return outcome;
}

static void a_key_goes_only_where_it_is_bound(void **state)
{
    char *other = ab_format("%s/v1x", server_url);
    struct secrets *secrets = secrets_for(base_url);
    struct outcome outcome = call_keyed(secrets, false, (struct model_endpoint){.model = "m"}, "x");
    assert_answer(&outcome, "echo: x");
    assert_true(last_call_had_key());
    outcome_finish(&outcome);
    outcome = call_keyed(secrets, false, (struct model_endpoint){.model = "m", .base_url = other}, "x");
    assert_answer(&outcome, "echo: x");
    assert_false(last_call_had_key());
    outcome_finish(&outcome);
    outcome =
        call_keyed(secrets, false,
                   (struct model_endpoint){.model = "m", .base_url = other, .api_key = ab_view_of("own")}, "x");
    assert_true(last_call_had_key());
    outcome_finish(&outcome);
    outcome =
        call_keyed(secrets, true,
                   (struct model_endpoint){.model = "m", .base_url = other, .api_key = ab_view_of("own")}, "x");
    assert_int_equal(outcome.failure.error.code, AB_EDENIED);
    assert_int_equal(call_count(), 0);
    outcome_finish(&outcome);
    secrets_destroy(secrets);
    free(other);
}

static void redirects_are_not_followed(void **state)
{
    char *text = ab_format("x [[{\"redirect\":\"%s/elsewhere/chat/completions\"}]]", server_url);
    struct secrets *secrets = secrets_for(base_url);
    struct outcome outcome = call_keyed(secrets, false, (struct model_endpoint){.model = "m"}, text);
    assert_int_equal(outcome.failure.http_status, 307);
    assert_non_null(strstr(outcome.failure.error.text, "redirects are not followed"));
    assert_int_equal(call_count(), 1);
    outcome_finish(&outcome);
    secrets_destroy(secrets);
    free(text);
}

static void keys_in_errors_are_scrubbed(void **state)
{
    struct secrets *secrets = secrets_for(base_url);
    struct outcome outcome =
        call_keyed(secrets, false, (struct model_endpoint){.model = "m"}, "x [[{\"leak_key\":true}]]");
    assert_int_equal(outcome.failure.http_status, 401);
    assert_non_null(strstr(outcome.failure.error.text, "Bearer ***"));
    assert_null(strstr(outcome.failure.error.text, "sk-worker"));
    assert_null(strstr(ab_buf_cstr(&log_text), "sk-worker"));
    assert_non_null(strstr(ab_buf_cstr(&log_text), "Bearer ***"));
    outcome_finish(&outcome);
    outcome = call_keyed(
        secrets, false,
        (struct model_endpoint){.model = "m", .base_url = base_url, .api_key = ab_view_of("sk-request-987")},
        "x [[{\"leak_key\":true}]]");
    assert_non_null(strstr(outcome.failure.error.text, "Bearer ***"));
    assert_null(strstr(outcome.failure.error.text, "sk-request"));
    assert_null(strstr(ab_buf_cstr(&log_text), "sk-request"));
    outcome_finish(&outcome);
    secrets_destroy(secrets);
}

static void azure_has_its_own_header_and_path(void **state)
{
    struct model_endpoint endpoint = {.api_type = "azure",
                                      .model = "my dep",
                                      .base_url = server_url,
                                      .api_version = "2024-10-21",
                                      .api_key = ab_view_of("azure-key-1")};
    struct outcome outcome = call_keyed(NULL, false, endpoint, "x");
    assert_answer(&outcome, "echo: x");
    json_t *list = calls(), *seen = json_array_get(list, 0);
    assert_string_equal(json_string_value(json_object_get(seen, "target")),
                        "/openai/deployments/my%20dep/chat/completions?api-version=2024-10-21");
    assert_true(json_is_true(json_object_get(seen, "api_key")));
    assert_true(json_is_false(json_object_get(seen, "authorization")));
    json_decref(list);
    outcome_finish(&outcome);
}

static void what_is_missing_is_named(void **state)
{
    static const struct {
        struct model_endpoint endpoint;
        size_t n;
        bool with_openai;
        int code;
        const char *says;
    } rows[] = {
        {{.model = "m"}, 1, false, AB_ENOMODEL, "OPENAI_API_KEY"},
        {{.model = "m"}, 1, true, AB_ENOMODEL, "set OPENAI_API_KEY"},
        {{.model = "m", .base_url = "https://far.example/v1"}, 1, true, AB_ENOMODEL, "https://far.example/v1"},
        {{.model = "m", .base_url = "ftp://h"}, 1, true, AB_EINVALID, "https://"},
        {{.model = "m", .api_type = "bard"}, 1, true, AB_EINVALID, "openai, azure or script"},
        {{.base_url = "http://127.0.0.1/v1"}, 1, true, AB_ENOMODEL, "model's name"},
        {{0}, 0, true, AB_ENOMODEL, "writer"},
    };
    unsetenv("OPENAI_API_KEY");
    unsetenv("OPENAI_BASE_URL");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct secrets *secrets = secrets_create();
        if (rows[i].with_openai)
            assert_int_equal(secrets_add_openai(secrets, NULL), 0);
        struct outcome outcome = {.client = create(secrets, false)};
        begin(&outcome, &rows[i].endpoint, rows[i].n, "x", usual);
        assert_false(outcome.done);
        run_until(outcome.client, &outcome.done);
        assert_int_equal(outcome.failure.error.code, rows[i].code);
        assert_int_equal(outcome.failure.kind, MODEL_FAILED_CONFIG);
        assert_int_equal(outcome.failure.attempts, 0);
        if (!strstr(outcome.failure.error.text, rows[i].says))
            fail_msg("%zu: %s", i, outcome.failure.error.text);
        outcome_finish(&outcome);
        secrets_destroy(secrets);
    }
}

static void https_only_with_a_certificate_that_is_trusted(void **state)
{
    char directory[] = "/tmp/autobots-model-XXXXXX";
    pid_t pid;
    assert_non_null(mkdtemp(directory));
    int port = spawn(&pid, directory);
    assert_true(port > 0);
    char *url = ab_format("https://127.0.0.1:%d/v1", port), *cert = ab_format("%s/cert.pem", directory);
    char *key = ab_format("%s/key.pem", directory);
    struct model_endpoint endpoint = {.model = "m", .base_url = url, .api_key = ab_view_of("sk-request-987")};
    retries_max = 0;
    struct outcome outcome = call_keyed(NULL, false, endpoint, "x");
    assert_false(outcome.ok);
    assert_int_equal(outcome.failure.kind, MODEL_FAILED_CONNECT);
    assert_non_null(strstr(outcome.failure.error.text, "certificate"));
    outcome_finish(&outcome);
    setenv("SSL_CERT_FILE", cert, 1);
    outcome = call_keyed(NULL, false, endpoint, "x");
    assert_answer(&outcome, "echo: x");
    outcome_finish(&outcome);
    unsetenv("SSL_CERT_FILE");
    retries_max = -1;
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    unlink(cert);
    unlink(key);
    rmdir(directory);
    free(url);
    free(cert);
    free(key);
}

/* --- many at once ---------------------------------------------------------------------------------------------- */

static void many_calls_at_once(void **state)
{
    enum { CALLS = 300 };
    struct model_client *client = create(NULL, false);
    struct outcome *all = ab_calloc(CALLS, sizeof *all);
    struct model_endpoint endpoint = {.model = "m", .base_url = base_url};
    struct model_stats stats;
    forget_calls();
    for (int i = 0; i < CALLS; i++) {
        char *text = ab_format("call %d [[{\"delay_ms\":1500}]]", i);
        all[i].client = client;
        begin(&all[i], &endpoint, 1, text, usual);
        free(text);
    }
    size_t connecting_max = 0;
    for (int i = 0; i < CALLS; i++) {
        while (!all[i].done) {
            turn(client);
            model_client_stats(client, &stats);
            connecting_max = stats.connecting > connecting_max ? stats.connecting : connecting_max;
        }
        char *expected = ab_format("echo: call %d", i);
        assert_answer(&all[i], expected);
        free(expected);
    }
    json_t *seen = ask("/calls", NULL);
    assert_int_equal(json_integer_value(json_object_get(seen, "open_max")), CALLS);
    json_decref(seen);
    assert_in_range(connecting_max, 1, MODEL_CONNECTING_MAX);
    for (int i = 0; i < CALLS; i++) {
        all[i].client = NULL;
        outcome_finish(&all[i]);
    }
    free(all);
    model_client_destroy(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_arrives_in_pieces),
        cmocka_unit_test(what_is_sent),
        cmocka_unit_test(an_answer_without_a_stream),
        cmocka_unit_test(every_way_to_send_a_stream),
        cmocka_unit_test(tool_calls_and_reasoning),
        cmocka_unit_test(a_huge_answer_and_one_that_is_too_large),
        cmocka_unit_test(retries_follow_the_servers_advice),
        cmocka_unit_test(an_endpoint_is_exhausted_after_two_retries),
        cmocka_unit_test(final_refusals_are_not_repeated),
        cmocka_unit_test(a_broken_stream_is_tried_again_and_the_text_reset),
        cmocka_unit_test(errors_within_a_stream_and_odd_bodies),
        cmocka_unit_test(time_outs),
        cmocka_unit_test(the_whole_call_has_an_end_too),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(the_next_endpoint_takes_over),
        cmocka_unit_test(an_ill_endpoint_is_left_out_of_turn),
        cmocka_unit_test(identical_requests_with_a_seed_are_sent_once),
        cmocka_unit_test(cancelling_closes_the_connection_at_once),
        cmocka_unit_test(cancelling_inside_a_callback),
        cmocka_unit_test(a_call_waiting_for_its_retry_can_be_cancelled),
        cmocka_unit_test(a_key_goes_only_where_it_is_bound),
        cmocka_unit_test(redirects_are_not_followed),
        cmocka_unit_test(keys_in_errors_are_scrubbed),
        cmocka_unit_test(azure_has_its_own_header_and_path),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(https_only_with_a_certificate_that_is_trusted),
        cmocka_unit_test(many_calls_at_once),
    };
    return cmocka_run_group_tests_name("model_http", tests, start_server, stop_server);
}
