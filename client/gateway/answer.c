/* Answers: JSON, text, nothing, or an error; the status of every error code stands in one table here. */
#include <stdlib.h>

#include "client/gateway/gateway.h"
#include "client/gateway/v1_shape.h"

/* AB_E… → status. What no client can cause or mend is a 5xx. */
static const struct {
    int code, status;
} statuses[] = {
    {AB_EINVALID, MHD_HTTP_BAD_REQUEST},
    {AB_EUSAGE, MHD_HTTP_BAD_REQUEST},
    {AB_EVERSION, MHD_HTTP_INTERNAL_SERVER_ERROR},
    {AB_EDENIED, MHD_HTTP_FORBIDDEN},
    {AB_ENOTFOUND, MHD_HTTP_NOT_FOUND},
    {AB_ECONFLICT, MHD_HTTP_CONFLICT},
    {AB_EEXPIRED, MHD_HTTP_GONE},
    {AB_ESTALE, MHD_HTTP_CONFLICT},
    {AB_EENDED, MHD_HTTP_CONFLICT},
    {AB_EUNKNOWN_WORKFLOW, MHD_HTTP_INTERNAL_SERVER_ERROR},
    {AB_EBUSY, MHD_HTTP_TOO_MANY_REQUESTS},
    {AB_EUNAVAILABLE, MHD_HTTP_SERVICE_UNAVAILABLE},
    {AB_ETOOLARGE, MHD_HTTP_CONTENT_TOO_LARGE},
    {AB_ETIMEOUT, MHD_HTTP_GATEWAY_TIMEOUT},
    {AB_ECANCELLED, MHD_HTTP_CONFLICT},
    {AB_EMODEL, MHD_HTTP_BAD_GATEWAY},
    {AB_ENOMODEL, MHD_HTTP_BAD_REQUEST},
    {AB_ENONDETERMINISM, MHD_HTTP_INTERNAL_SERVER_ERROR},
    {AB_EDAMAGED, MHD_HTTP_INTERNAL_SERVER_ERROR},
    {AB_ESYSTEM, MHD_HTTP_INTERNAL_SERVER_ERROR},
    {AB_EINTERNAL, MHD_HTTP_INTERNAL_SERVER_ERROR},
    {AB_EBUDGET, MHD_HTTP_TOO_MANY_REQUESTS},
};
#define COUNT(...) +1
_Static_assert(sizeof statuses / sizeof *statuses == 0 AB_ERROR_CODES(COUNT), "an error code has no status");

int status_of(int code)
{
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].code == code)
            return statuses[i].status;
    return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

char *json_line(const json_t *tree)
{
    return json_dumps(tree, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
}

/* ---- the response ---- */

/* True if the request still wants one. */
static bool wants_answer(const struct call *call)
{
    return call->connection && !call->response && !call->status;
}

static void respond(struct call *call, int status, struct MHD_Response *response)
{
    call->status = status;
    call->response = response;
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    guard_cors(call, response);
    call_wake(call);
}

void call_answer_text(struct call *call, int status, const char *type, char *text)
{
    if (!wants_answer(call)) {
        free(text);
        return;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    MHD_add_response_header(response, "Content-Type", type);
    respond(call, status, response);
}

void call_answer(struct call *call, int status, json_t *tree)
{
    char *text = json_line(tree), *line = ab_format("%s\n", text);
    free(text);
    json_decref(tree);
    call_answer_text(call, status, "application/json", line);
}

void call_answer_empty(struct call *call, int status)
{
    if (wants_answer(call))
        respond(call, status, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

void call_answer_pieces(struct call *call, int status, const char *type, uint64_t size,
                        MHD_ContentReaderCallback read, void *owner)
{
    enum { PIECE_BYTES = 1024 }; /* MHD reads into the connection's own memory; this is only its least */
    if (!wants_answer(call))
        return;
    /* To HEAD, MHD would send the end of a chunked body that has no beginning. */
    if (call->head && size == MHD_SIZE_UNKNOWN) {
        call_answer_empty(call, status);
        call_header_add(call, "Content-Type", type);
        return;
    }
    struct MHD_Response *response = MHD_create_response_from_callback(size, PIECE_BYTES, read, owner, NULL);
    MHD_add_response_header(response, "Content-Type", type);
    respond(call, status, response);
}

void call_answer_stream(struct call *call, const char *type, MHD_ContentReaderCallback read, void *owner)
{
    bool wanted = wants_answer(call);
    call_answer_pieces(call, MHD_HTTP_OK, type, MHD_SIZE_UNKNOWN, read, owner);
    if (wanted) /* nginx in front must not hold events back */
        call_header_add(call, "X-Accel-Buffering", "no");
}

void call_header_add(struct call *call, const char *name, const char *value)
{
    if (call->response)
        MHD_add_response_header(call->response, name, value);
}

/* ---- errors ---- */

json_t *error_tree(const char *name, const struct ab_error *error, const char *faults)
{
    json_t *body = json_pack("{s:s, s:s, s:b}", "code", name, "message", error->text, "retryable",
                             error->retryable || ab_code_retryable(error->code));
    json_t *list = faults ? json_loads(faults, 0, NULL) : NULL;
    if (*error->path)
        json_object_set_new(body, "path", json_string(error->path));
    if (error->retry_after_ms)
        json_object_set_new(body, "retry_after_ms", json_integer(error->retry_after_ms));
    if (list)
        json_object_set_new(body, "faults", list);
    return json_pack("{s:o}", "error", body);
}

static bool is_v1(const struct call *call)
{
    static const char prefix[] = "/v1/";
    size_t n = sizeof prefix - 1;
    return call->path.n >= n && !memcmp(call->path.p, prefix, n);
}

/* OpenAI's SDKs try again by themselves what x-should-retry allows; without it also what cannot succeed (409). */
static void fail_v1(struct call *call, int status, const char *name, const struct ab_error *error)
{
    char text[16];
    uint32_t wait_ms = error->retry_after_ms;
    bool retry = !call->final && (error->retryable || ab_code_retryable(error->code) || wait_ms);
    call_answer(call, status, v1_error(status, name, error, retry));
    call_header_add(call, "x-should-retry", retry ? "true" : "false");
    if (!retry || !wait_ms)
        return;
    snprintf(text, sizeof text, "%u", wait_ms);
    call_header_add(call, "retry-after-ms", text);
    snprintf(text, sizeof text, "%u", (wait_ms + 999) / 1000);
    call_header_add(call, "Retry-After", text);
}

void call_fail_as(struct call *call, int status, const char *name, const struct ab_error *error,
                  const char *faults)
{
    char seconds[16];
    if (!wants_answer(call)) /* the path is gone with the connection */
        return;
    if (is_v1(call)) {
        fail_v1(call, status, name, error);
        return;
    }
    call_answer(call, status, error_tree(name, error, faults));
    if (!error->retry_after_ms && !error->retryable)
        return;
    snprintf(seconds, sizeof seconds, "%u", error->retry_after_ms ? (error->retry_after_ms + 999) / 1000 : 1);
    call_header_add(call, "Retry-After", seconds);
}

void call_fail(struct call *call, const struct ab_error *error, const char *faults)
{
    call_fail_as(call, status_of(error->code), ab_code_name(error->code), error, faults);
}

void call_failed(struct call *call, const struct autobots_answer *answer)
{
    struct ab_error error;
    memcpy(&error, answer->error, sizeof error);
    call_fail(call, &error, answer->faults);
}
