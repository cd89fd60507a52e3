/* usage.h */
#include "worker/model/usage.h"

static size_t content_bytes(const json_t *content)
{
    size_t bytes = json_string_length(content), i;
    json_t *part;
    json_array_foreach (content, i, part)
        bytes += json_string_length(json_object_get(part, "text"));
    return bytes;
}

/* The arguments of a message's tool calls. */
static size_t calls_bytes(const json_t *calls)
{
    size_t bytes = 0, i;
    json_t *call;
    json_array_foreach (calls, i, call) {
        const json_t *function = json_object_get(call, "function");
        bytes += json_string_length(json_object_get(function, "name"));
        bytes += json_string_length(json_object_get(function, "arguments"));
    }
    return bytes;
}

static int64_t tokens(size_t bytes)
{
    return (int64_t)((bytes + USAGE_BYTES_PER_TOKEN - 1) / USAGE_BYTES_PER_TOKEN);
}

void usage_estimate(struct model_reply *reply, const json_t *messages)
{
    size_t prompt_bytes = 0, i;
    json_t *message;
    json_array_foreach (messages, i, message) {
        prompt_bytes += content_bytes(json_object_get(message, "content"));
        prompt_bytes += calls_bytes(json_object_get(message, "tool_calls"));
    }
    size_t reasoning_bytes = reply->reasoning ? strlen(reply->reasoning) : 0;
    size_t bytes = strlen(reply->content) + reasoning_bytes + (reply->refusal ? strlen(reply->refusal) : 0);
    reply->usage = (struct model_usage){.prompt = tokens(prompt_bytes),
                                        .completion = tokens(bytes + calls_bytes(reply->tool_calls)),
                                        .reasoning = tokens(reasoning_bytes)};
}

void usage_add_text(struct ab_buf *out, const json_t *content)
{
    size_t i;
    json_t *part;
    if (json_is_string(content))
        ab_buf_add(out, json_string_value(content), json_string_length(content));
    json_array_foreach (content, i, part) {
        const json_t *text = json_object_get(part, "text");
        ab_buf_add(out, json_string_value(text), json_string_length(text));
    }
}
