/* openai_request.h. OpenAI and Azure renamed max_tokens to max_completion_tokens, and their newer models refuse the old
 * name; everybody else's servers know the old one. */
#include "worker/model/openai_request.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "worker/model/openai_content.h"

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* RFC 3986 unreserved characters stay. */
static void add_escaped(struct ab_buf *out, const char *text)
{
    for (; *text; text++) {
        if (isalnum((unsigned char)*text) || strchr("-._~", *text))
            ab_buf_char(out, *text);
        else
            ab_buf_format(out, "%%%02X", (unsigned char)*text);
    }
}

char *openai_url(const struct endpoint *endpoint)
{
    struct ab_buf url = {0};
    const char *base = endpoint->base_url;
    ab_buf_text(&url, base);
    /* Azure's older form names the deployment in the path; its newer one, …/openai/v1, is like OpenAI's. */
    if (endpoint->azure && !ends_with(base, "/openai/v1") && !strstr(base, "/openai/deployments/")) {
        ab_buf_text(&url, ends_with(base, "/openai") ? "/deployments/" : "/openai/deployments/");
        add_escaped(&url, endpoint->model);
    }
    ab_buf_text(&url, "/chat/completions");
    if (endpoint->azure && endpoint->api_version) {
        ab_buf_text(&url, "?api-version=");
        add_escaped(&url, endpoint->api_version);
    }
    return ab_buf_detach(&url);
}

static const char *max_tokens_name(const struct endpoint *endpoint)
{
    bool renamed = endpoint->azure || !strncmp(endpoint->base_url, "https://api.openai.com/", 23);
    return renamed ? "max_completion_tokens" : "max_tokens";
}

/* extra_body wins over all other fields; null removes one. */
static void merge_extra(json_t *body, json_t *extra)
{
    const char *key;
    json_t *value;
    json_object_foreach (extra, key, value) {
        if (json_is_null(value))
            json_object_del(body, key);
        else
            json_object_set(body, key, value);
    }
}

static json_t *build(const struct model_call *call)
{
    const struct endpoint *endpoint = call_endpoint(call);
    json_t *body = json_object();
    json_object_set_new(body, "model", json_string(endpoint->model));
    json_object_set_new(body, "messages", openai_messages(call->messages));
    if (json_array_size(call->tools))
        json_object_set(body, "tools", call->tools);
    if (json_array_size(call->tools) && call->tool_choice)
        json_object_set(body, "tool_choice", call->tool_choice);
    if (json_array_size(call->tools) && call->parallel_tool_calls)
        json_object_set(body, "parallel_tool_calls", call->parallel_tool_calls);
    if (call->response_format)
        json_object_set(body, "response_format", call->response_format);
    if (!isnan(call->temperature))
        json_object_set_new(body, "temperature", json_real(call->temperature));
    if (call->max_tokens > 0)
        json_object_set_new(body, max_tokens_name(endpoint), json_integer(call->max_tokens));
    if (call->stream) {
        json_object_set_new(body, "stream", json_true());
        json_object_set_new(body, "stream_options", json_pack("{s:b}", "include_usage", 1));
    }
    merge_extra(body, call->extra_body);
    return body;
}

static int add_bytes(const char *p, size_t n, void *out)
{
    struct ab_buf *buf = out;
    if (n > MODEL_REQUEST_BYTES_MAX - buf->n)
        return -1;
    ab_buf_add(buf, p, n);
    return 0;
}

int openai_body(const struct model_call *call, struct ab_buf *out, struct ab_error *err)
{
    json_t *body = build(call);
    int rc = json_dump_callback(body, add_bytes, out, JSON_COMPACT);
    json_decref(body);
    if (!rc)
        return 0;
    if (out->n > MODEL_REQUEST_BYTES_MAX / 2)
        return ab_fail(err, AB_ETOOLARGE, "the request is larger than %d bytes", MODEL_REQUEST_BYTES_MAX);
    return ab_fail(err, AB_EINVALID, "the request cannot be written as JSON");
}
