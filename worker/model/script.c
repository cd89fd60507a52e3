/* The back end `script`: replies from a scenario, without a network, the same ones at every run.
 *
 *   SCRIPT = { "echo": true, "delay_ms", "chunk_bytes" } or
 *            { "replies": [REPLY…], "repeat": last|loop|error, "delay_ms", "chunk_bytes" }      NULL = echo
 *   REPLY  = { "text" and "tool_calls", one or both, or "error": {"status", "message"?, "retry_after_ms"?}, "delay_ms", "chunk_bytes", "usage"? }
 *
 * The agent's call number k gets reply k; `repeat` says what follows the last one. An echo answers with the text of the
 * last message. After delay_ms the text comes in pieces of about chunk_bytes (0 = in one), never inside a character.
 * A scripted error is final for this endpoint: asking again would give the same; the next endpoint is still tried.
 */
#include "worker/model/internal.h"
#include "worker/model/usage.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

struct attempt {
    struct model_call *call;
    struct timer timer;
    const json_t *reply; /* of the scenario, borrowed from the endpoint; NULL for an echo */
    char *text;          /* to answer; NULL if it is to fail */
    size_t bytes, given;
    size_t chunk_bytes; /* 0 = all at once */
};

static struct attempt *attempt_of(struct timer *timer)
{
    return (struct attempt *)(void *)((char *)timer - offsetof(struct attempt, timer));
}

/* --- texts ----------------------------------------------------------------------------------------------------- */

static char *echo_text(const json_t *messages)
{
    struct ab_buf text = {0};
    size_t n = json_array_size(messages);
    if (n)
        usage_add_text(&text, json_object_get(json_array_get(messages, n - 1), "content"));
    return ab_buf_detach(&text);
}

/* --- the scenario ---------------------------------------------------------------------------------------------- */

/* NULL if the scenario has no reply for this call. */
static const json_t *pick(const json_t *script, uint64_t call_index)
{
    const json_t *replies = json_object_get(script, "replies");
    const char *repeat = json_string_value(json_object_get(script, "repeat"));
    size_t n = json_array_size(replies);
    if (call_index < n)
        return json_array_get(replies, (size_t)call_index);
    if (!n || !repeat || !strcmp(repeat, "error"))
        return NULL;
    return json_array_get(replies, !strcmp(repeat, "loop") ? (size_t)(call_index % n) : n - 1);
}

static int64_t number(const json_t *object, const char *key)
{
    int64_t value = json_integer_value(json_object_get(object, key));
    return value > 0 ? value : 0;
}

/* The scenario's numbers; without them the client estimates. */
static struct model_usage usage_of(const struct attempt *attempt)
{
    const json_t *given = json_object_get(attempt->reply, "usage");
    return (struct model_usage){.reported = given != NULL,
                                .prompt = number(given, "prompt_tokens"),
                                .completion = number(given, "completion_tokens"),
                                .cached = number(given, "cached_tokens"),
                                .reasoning = number(given, "reasoning_tokens")};
}

/* --- the attempt ----------------------------------------------------------------------------------------------- */

static void attempt_free(struct attempt *attempt)
{
    timer_clear(&attempt->call->client->timers, &attempt->timer);
    free(attempt->text);
    free(attempt);
}

static void stop(struct model_call *call)
{
    attempt_free(call->attempt);
    call->attempt = NULL;
}

/* In OpenAI's shape; NULL if there are none. */
static json_t *calls_of(const struct attempt *attempt)
{
    json_t *written = json_object_get(attempt->reply, "tool_calls"), *call, *calls = json_array();
    size_t i;
    json_array_foreach (written, i, call) {
        const json_t *given = json_object_get(call, "arguments");
        char *text = json_is_string(given) ? ab_strdup(json_string_value(given))
                                           : json_dumps(given, JSON_COMPACT | JSON_SORT_KEYS);
        char *id = ab_format("call_%llu_%zu", (unsigned long long)attempt->call->call_index, i);
        json_array_append_new(calls, json_pack("{ss ss s{sO ss}}", "id", id, "type", "function", "function",
                                               "name", json_object_get(call, "name"), "arguments", text));
        free(text);
        free(id);
    }
    if (json_array_size(calls))
        return calls;
    json_decref(calls);
    return NULL;
}

static void end_well(struct attempt *attempt)
{
    struct model_call *call = attempt->call;
    struct model_reply reply = {.content = attempt->text,
                                .tool_calls = calls_of(attempt),
                                .request_id = ab_format("script-%llu", (unsigned long long)call->call_index),
                                .usage = usage_of(attempt),
                                .offline = true};
    reply.finish_reason = ab_strdup(reply.tool_calls ? "tool_calls" : "stop");
    attempt->text = NULL;
    stop(call);
    call_succeeded(call, &reply);
}

static void end_badly(struct attempt *attempt)
{
    struct model_call *call = attempt->call;
    const json_t *error = json_object_get(attempt->reply, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    int status = (int)number(error, "status");
    char after[32];
    snprintf(after, sizeof after, "%lld", (long long)number(error, "retry_after_ms"));
    char *text = error
                     ? ab_format("scripted error %d: %s", status, message ? message : "")
                     : ab_format("the script has no reply for call %llu", (unsigned long long)call->call_index);
    struct attempt_failure failure = {.kind = MODEL_FAILED_STATUS,
                                      .code = AB_EMODEL,
                                      .facts = {.http_status = status, .final = true, .retry_after_ms = after},
                                      .text = text};
    stop(call);
    call_failed(call, &failure);
    free(text);
}

/* Bytes of the next piece: at least one whole character. */
static size_t piece_bytes(const struct attempt *attempt)
{
    size_t left = attempt->bytes - attempt->given, n = attempt->chunk_bytes;
    if (!n || n >= left)
        return left;
    while (n < left && ((unsigned char)attempt->text[attempt->given + n] & 0xC0) == 0x80)
        n++;
    return n;
}

static void on_due(struct timer *timer, int64_t now_ms)
{
    struct attempt *attempt = attempt_of(timer);
    struct model_call *call = attempt->call;
    if (!attempt->text) {
        end_badly(attempt);
        return;
    }
    size_t n = piece_bytes(attempt);
    if (n) {
        struct ab_view piece = ab_view(attempt->text + attempt->given, n);
        attempt->given += n;
        call_text(call, piece);
        if (call->state == CALL_ENDED)
            return; /* cancelled: the client frees it */
    }
    if (attempt->given < attempt->bytes)
        timer_set(&call->client->timers, timer, now_ms);
    else
        end_well(attempt);
}

static void begin(struct model_call *call)
{
    const json_t *script = call_endpoint(call)->script;
    bool echo = !script || json_is_true(json_object_get(script, "echo"));
    struct attempt *attempt = ab_calloc(1, sizeof *attempt);
    attempt->call = call;
    attempt->timer.due = on_due;
    attempt->reply = echo ? NULL : pick(script, call->call_index);
    const json_t *settings = echo ? script : attempt->reply;
    const char *text = json_string_value(json_object_get(attempt->reply, "text"));
    if (echo)
        attempt->text = echo_text(call->messages);
    else if (text || json_object_get(attempt->reply, "tool_calls"))
        attempt->text = ab_strdup(text ? text : "");
    attempt->bytes = attempt->text ? strlen(attempt->text) : 0;
    attempt->chunk_bytes = (size_t)number(settings, "chunk_bytes");
    call->attempt = attempt;
    timer_set(&call->client->timers, &attempt->timer, call->attempt_ms + number(settings, "delay_ms"));
}

const struct model_backend model_script = {.api_type = "script", .begin = begin, .stop = stop};
