/* The back end `openai` (and `azure`): one attempt over HTTP.
 *
 * Owns the transfer, the body until it is sent, and the parser. Turns whatever happens into call_succeeded() or
 * call_failed() with the facts that retry.h wants.
 */
#include "worker/model/openai_parse.h"
#include "worker/model/openai_request.h"

#include <sodium.h>
#include <stdlib.h>
#include <strings.h>

#include "worker/model/url.h"

enum { HEADER_BYTES_MAX = 128, REFUSAL_BODY_BYTES_MAX = 64 * 1024 };

/* Response headers that are kept. */
enum header { SHOULD_RETRY, RETRY_AFTER_MS, RETRY_AFTER, REQUEST_ID, HEADERS };
static const char *const header_names[HEADERS] = {"x-should-retry", "retry-after-ms", "retry-after",
                                                  "x-request-id"};

struct attempt {
    struct model_call *call;
    struct http_transfer *transfer; /* NULL once it is over */
    struct openai_parse parse;
    struct ab_buf body;    /* of the request; freed when the response begins */
    struct ab_buf refusal; /* body of a response that is not 2xx, as far as it is read */
    int status;            /* 0 before the response */
    int parse_rc;          /* negative: what the parser said, with parse_error */
    struct ab_error parse_error;
    char headers[HEADERS][HEADER_BYTES_MAX]; /* "" = not sent */
};

/* --- begin and stop -------------------------------------------------------------------------------------------- */

static void on_text(void *attempt, struct ab_view text)
{
    call_text(((struct attempt *)attempt)->call, text);
}

static void on_reasoning(void *attempt, struct ab_view text)
{
    call_reasoning(((struct attempt *)attempt)->call, text);
}

static void attempt_free(struct attempt *attempt)
{
    openai_parse_finish(&attempt->parse);
    ab_buf_finish(&attempt->body);
    ab_buf_finish(&attempt->refusal);
    free(attempt);
}

static void stop(struct model_call *call)
{
    struct attempt *attempt = call->attempt;
    call->attempt = NULL;
    http_stop(attempt->transfer);
    attempt_free(attempt);
}

static void wiped_free(char *text)
{
    if (text)
        sodium_memzero(text, strlen(text));
    free(text);
}

static const struct http_ops http_ops;

static void send_request(struct attempt *attempt)
{
    const struct model_call *call = attempt->call;
    const struct endpoint *endpoint = call_endpoint(call);
    const char *headers[6];
    size_t n = 0;
    char *key = NULL, *idempotency = NULL, *url = openai_url(endpoint);
    headers[n++] = "Content-Type: application/json";
    headers[n++] = "Accept: application/json, text/event-stream";
    headers[n++] = "Expect:"; /* no round trip before a large body */
    if (endpoint->key)
        headers[n++] = key =
            ab_format(endpoint->azure ? "api-key: %s" : "Authorization: Bearer %s", endpoint->key);
    if (call->idempotency_key)
        headers[n++] = idempotency = ab_format("Idempotency-Key: %s", call->idempotency_key);
    headers[n] = NULL;
    struct http_request request = {.url = url,
                                   .headers = headers,
                                   .body = ab_buf_view(&attempt->body),
                                   .direct = url_is_loopback(url),
                                   .connect_timeout_ms = MODEL_CONNECT_TIMEOUT_MS};
    attempt->transfer = http_start(call->client->http, &request, &http_ops, attempt);
    wiped_free(key);
    free(idempotency);
    free(url);
}

static void begin(struct model_call *call)
{
    static const struct openai_text_fns fns = {on_text, on_reasoning};
    struct ab_error err;
    struct attempt *attempt = ab_calloc(1, sizeof *attempt);
    attempt->call = call;
    openai_parse_init(&attempt->parse, &fns, attempt, call->idempotency_key);
    int rc = openai_body(call, &attempt->body, &err);
    if (rc) {
        struct attempt_failure failure = {
            .kind = MODEL_FAILED_CONFIG, .code = rc, .facts = {.final = true}, .text = err.text};
        attempt_free(attempt);
        call_failed(call, &failure);
        return;
    }
    call->attempt = attempt;
    send_request(attempt);
}

static bool key_of(const struct model_call *call, uint8_t key[CACHE_KEY_BYTES])
{
    const struct endpoint *endpoint = call_endpoint(call);
    struct ab_buf body = {0};
    bool fine = !openai_body(call, &body, NULL);
    char *url = openai_url(endpoint);
    if (fine)
        cache_key(key, call->cache_seed, url, endpoint->key, ab_buf_view(&body));
    ab_buf_finish(&body);
    free(url);
    return fine;
}

/* --- the response arrives -------------------------------------------------------------------------------------- */

static void on_header(void *attempt_p, struct ab_view name, struct ab_view value)
{
    struct attempt *attempt = attempt_p;
    for (int i = 0; i < HEADERS; i++) {
        if (name.n != strlen(header_names[i]) || strncasecmp(name.p, header_names[i], name.n))
            continue;
        size_t n = value.n < HEADER_BYTES_MAX ? value.n : HEADER_BYTES_MAX - 1;
        memcpy(attempt->headers[i], value.p, n);
        attempt->headers[i][n] = 0;
    }
}

static int on_head(void *attempt_p, int status)
{
    struct attempt *attempt = attempt_p;
    attempt->status = status;
    ab_buf_finish(&attempt->body);
    return attempt->call->state == CALL_ENDED ? -1 : 0;
}

static int on_body(void *attempt_p, struct ab_view bytes)
{
    struct attempt *attempt = attempt_p;
    if (attempt->status / 100 != 2) {
        size_t room = REFUSAL_BODY_BYTES_MAX - attempt->refusal.n;
        ab_buf_add(&attempt->refusal, bytes.p, bytes.n < room ? bytes.n : room);
        return 0;
    }
    attempt->parse_rc = openai_parse_feed(&attempt->parse, bytes, &attempt->parse_error);
    return attempt->parse_rc || attempt->call->state == CALL_ENDED ? -1 : 0;
}

/* --- the attempt ends ------------------------------------------------------------------------------------------ */

static const char *header_or_null(const struct attempt *attempt, enum header header)
{
    return attempt->headers[header][0] ? attempt->headers[header] : NULL;
}

static void fill_facts(const struct attempt *attempt, struct retry_facts *facts, int status, bool final)
{
    *facts = (struct retry_facts){.http_status = status,
                                  .final = final,
                                  .should_retry = header_or_null(attempt, SHOULD_RETRY),
                                  .retry_after_ms = header_or_null(attempt, RETRY_AFTER_MS),
                                  .retry_after = header_or_null(attempt, RETRY_AFTER)};
}

/* What a status or an error object means for the call. */
static void fill_refusal(const struct attempt *attempt, const struct openai_error *error, int status,
                         struct attempt_failure *failure)
{
    failure->kind = error->quota     ? MODEL_FAILED_QUOTA
                    : error->context ? MODEL_FAILED_CONTEXT
                                     : MODEL_FAILED_STATUS;
    failure->code = AB_EMODEL;
    failure->endpoint_is_ill = status >= 500;
    fill_facts(attempt, &failure->facts, status, error->quota || error->context);
}

static char *hint_for(const struct model_call *call, int status)
{
    const struct endpoint *endpoint = call_endpoint(call);
    if (status == 401 || status == 403)
        return ab_format("; check the key for %s%s", endpoint->base_url,
                         endpoint->key ? "" : " (none was sent)");
    if (status == 404)
        return ab_strdup("; check base_url and the model's name");
    if (status / 100 == 3)
        return ab_strdup("; redirects are not followed, name the final address as base_url");
    return ab_strdup("");
}

/* Not JSON, such as a proxy's page: its first words, tags and all. */
static void quote_body(const struct ab_buf *body, char *out, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < body->n && n + 1 < bytes; i++) {
        unsigned char c = (unsigned char)body->p[i];
        if (c > ' ' && c < 0x7F)
            out[n++] = (char)c;
        else if (n && out[n - 1] != ' ')
            out[n++] = ' ';
    }
    out[n] = 0;
}

static char *explain_status(struct attempt *attempt, struct attempt_failure *failure)
{
    struct openai_error error;
    openai_error_of_body(ab_buf_view(&attempt->refusal), &error);
    if (!error.found)
        quote_body(&attempt->refusal, error.text, 200);
    fill_refusal(attempt, &error, attempt->status, failure);
    char *hint = hint_for(attempt->call, attempt->status);
    char *text = ab_format("HTTP %d%s%s%s%s%s%s%s", attempt->status, error.code[0] ? " " : "", error.code,
                           error.text[0] ? ": " : "", error.text, hint,
                           attempt->headers[REQUEST_ID][0] ? "; request " : "", attempt->headers[REQUEST_ID]);
    free(hint);
    return text;
}

static char *explain_transfer(struct attempt *attempt, const struct http_end *end,
                              struct attempt_failure *failure)
{
    failure->kind = end->timed_out ? MODEL_FAILED_TIMEOUT : MODEL_FAILED_CONNECT;
    failure->code = end->timed_out ? AB_ETIMEOUT : AB_EMODEL;
    failure->endpoint_is_ill = true;
    fill_facts(attempt, &failure->facts, 0, false);
    return ab_format("%s: %s", attempt->status ? "the connection broke during the answer" : "no connection",
                     end->text);
}

static char *explain_parse(struct attempt *attempt, struct attempt_failure *failure)
{
    const struct openai_error *error = &attempt->parse.error;
    if (error->found) {
        int status = error->status ? error->status : error->request ? 400 : 0;
        fill_refusal(attempt, error, status, failure);
    } else {
        failure->kind = MODEL_FAILED_REPLY;
        failure->code = attempt->parse_rc;
        fill_facts(attempt, &failure->facts, 0, attempt->parse_rc == AB_ETOOLARGE);
    }
    return ab_format("%s%s%s%s", attempt->parse_error.text, error->code[0] ? " (" : "", error->code,
                     error->code[0] ? ")" : "");
}

static void fail(struct attempt *attempt, char *text, struct attempt_failure *failure)
{
    struct model_call *call = attempt->call;
    failure->text = text;
    call->attempt = NULL;
    call_failed(call, failure); /* the facts point into the attempt */
    free(text);
    attempt_free(attempt);
}

static void succeed(struct attempt *attempt, struct model_reply *reply)
{
    struct model_call *call = attempt->call;
    if (attempt->headers[REQUEST_ID][0]) {
        free(reply->request_id);
        reply->request_id = ab_strdup(attempt->headers[REQUEST_ID]);
    }
    call->attempt = NULL;
    attempt_free(attempt);
    call_succeeded(call, reply);
}

static void on_end(void *attempt_p, const struct http_end *end)
{
    struct attempt *attempt = attempt_p;
    struct attempt_failure failure = {0};
    struct model_reply reply = {0};
    attempt->transfer = NULL;
    bool good_status = attempt->status / 100 == 2;
    bool whole = end->ok || attempt->parse.done; /* some servers hang up right after [DONE] */
    if (attempt->parse_rc) {
        fail(attempt, explain_parse(attempt, &failure), &failure);
    } else if (attempt->status && !good_status) {
        fail(attempt, explain_status(attempt, &failure), &failure);
    } else if (!whole) {
        fail(attempt, explain_transfer(attempt, end, &failure), &failure);
    } else if ((attempt->parse_rc = openai_parse_end(&attempt->parse, &reply, &attempt->parse_error))) {
        fail(attempt, explain_parse(attempt, &failure), &failure);
    } else {
        succeed(attempt, &reply);
    }
}

static const struct http_ops http_ops = {on_header, on_head, on_body, on_end};

const struct model_backend model_openai = {.api_type = "openai",
                                           .also_api_type = "azure",
                                           .network = true,
                                           .key = key_of,
                                           .begin = begin,
                                           .stop = stop};
