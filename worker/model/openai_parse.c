/* openai_parse.h: documents and chunks are the same to it, only the frame around them differs. */
#include "worker/model/openai_parse.h"

#include <stdlib.h>

#include "worker/model/json_repair.h"
#include "worker/model/openai_error.h"
#include "worker/model/openai_tools.h"

/* FNV-1a */
static uint64_t hash_text(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (; text && *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3;
    return hash;
}

void openai_parse_init(struct openai_parse *parse, const struct openai_text_fns *fns, void *user,
                       const char *id_seed)
{
    *parse = (struct openai_parse){.fns = *fns, .user = user, .id_seed = hash_text(id_seed)};
}

void openai_parse_finish(struct openai_parse *parse)
{
    sse_finish(&parse->sse);
    ab_buf_finish(&parse->document);
    ab_buf_finish(&parse->content);
    ab_buf_finish(&parse->reasoning);
    ab_buf_finish(&parse->refusal);
    openai_tools_finish(parse);
    free(parse->finish_reason);
    free(parse->model);
    free(parse->id);
    *parse = (struct openai_parse){0};
}

static int grow(struct openai_parse *parse, size_t more, struct ab_error *err)
{
    parse->reply_bytes += more;
    if (parse->reply_bytes <= MODEL_REPLY_BYTES_MAX)
        return 0;
    return ab_fail(err, AB_ETOOLARGE, "the model's reply is larger than %d bytes", MODEL_REPLY_BYTES_MAX);
}

static int add_text(struct openai_parse *parse, struct ab_buf *to, const json_t *value, struct ab_error *err)
{
    struct ab_view text = ab_view(json_string_value(value), json_string_length(value));
    if (!text.n)
        return 0;
    int rc = grow(parse, text.n, err);
    if (rc)
        return rc;
    ab_buf_add(to, text.p, text.n);
    if (to == &parse->content && parse->fns.on_text)
        parse->fns.on_text(parse->user, text);
    if (to == &parse->reasoning && parse->fns.on_reasoning)
        parse->fns.on_reasoning(parse->user, text);
    return 0;
}

/* Text, a part, or an array of them. A thinking part may itself hold parts. */
static int add_parts(struct openai_parse *parse, struct ab_buf *to, const json_t *value, int depth,
                     struct ab_error *err)
{
    enum { DEPTH_MAX = 3 };
    if (json_is_string(value))
        return add_text(parse, to, value, err);
    if (depth == DEPTH_MAX)
        return 0;
    if (json_is_array(value)) {
        size_t i;
        json_t *part;
        json_array_foreach (value, i, part) {
            int rc = add_parts(parse, to, part, depth + 1, err);
            if (rc)
                return rc;
        }
        return 0;
    }
    const json_t *thinking = json_object_get(value, "thinking");
    if (thinking)
        return add_parts(parse, &parse->reasoning, thinking, depth, err);
    return add_text(parse, to, json_object_get(value, "text"), err);
}

static int add_tools(struct openai_parse *parse, json_t *calls, struct ab_error *err)
{
    size_t i;
    json_t *fragment;
    json_array_foreach (calls, i, fragment) {
        int64_t bytes = openai_tools_merge(parse, fragment, err);
        int rc = bytes < 0 ? (int)bytes : grow(parse, (size_t)bytes, err);
        if (rc)
            return rc;
    }
    return 0;
}

static int take_message(struct openai_parse *parse, json_t *message, struct ab_error *err)
{
    json_t *reasoning = json_object_get(message, "reasoning_content");
    if (!json_is_string(reasoning))
        reasoning = json_object_get(message, "reasoning");
    int rc = json_is_string(reasoning) ? add_text(parse, &parse->reasoning, reasoning, err) : 0;
    if (!rc)
        rc = add_parts(parse, &parse->content, json_object_get(message, "content"), 0, err);
    if (!rc)
        rc = add_text(parse, &parse->refusal, json_object_get(message, "refusal"), err);
    return rc ? rc : add_tools(parse, json_object_get(message, "tool_calls"), err);
}

static void keep(char **slot, const json_t *value)
{
    const char *text = json_string_value(value);
    if (!text || !*text)
        return;
    free(*slot);
    *slot = ab_strdup(text);
}

static int take_choices(struct openai_parse *parse, const json_t *choices, struct ab_error *err)
{
    size_t i;
    json_t *choice;
    json_array_foreach (choices, i, choice) {
        if (json_integer_value(json_object_get(choice, "index")) != 0)
            continue; /* only one answer was asked for */
        json_t *message = json_object_get(choice, "delta");
        if (!json_is_object(message))
            message = json_object_get(choice, "message");
        int rc = take_message(parse, message, err);
        if (rc)
            return rc;
        keep(&parse->finish_reason, json_object_get(choice, "finish_reason"));
    }
    return 0;
}

static int64_t count_of(const json_t *object, const char *key)
{
    double value = json_number_value(json_object_get(object, key));
    return value > 0 && value < 1e15 ? (int64_t)value : 0;
}

static void take_usage(struct openai_parse *parse, const json_t *usage)
{
    if (!json_is_object(usage) || !json_is_number(json_object_get(usage, "prompt_tokens")))
        return;
    parse->usage = (struct model_usage){
        .reported = true,
        .prompt = count_of(usage, "prompt_tokens"),
        .completion = count_of(usage, "completion_tokens"),
        .cached = count_of(json_object_get(usage, "prompt_tokens_details"), "cached_tokens"),
        .reasoning = count_of(json_object_get(usage, "completion_tokens_details"), "reasoning_tokens"),
    };
}

static int take_json(struct openai_parse *parse, const json_t *json, struct ab_error *err)
{
    openai_error_of_json(json, &parse->error);
    if (parse->error.found)
        return ab_fail(err, AB_EMODEL, "the model's server says: %s", parse->error.text);
    if (!json_is_object(json))
        return ab_fail(err, AB_EMODEL, "the model's server sent JSON that is not an object");
    keep(&parse->id, json_object_get(json, "id"));
    keep(&parse->model, json_object_get(json, "model"));
    take_usage(parse, json_object_get(json, "usage"));
    return take_choices(parse, json_object_get(json, "choices"), err);
}

static int take_text(struct openai_parse *parse, struct ab_view text, struct ab_error *err)
{
    json_error_t what;
    json_t *json = json_parse_repaired(text, &what);
    if (!json)
        return ab_fail(err, AB_EMODEL, "the model's server sent something that is not JSON: %s", what.text);
    int rc = take_json(parse, json, err);
    json_decref(json);
    return rc;
}

static int on_event(void *user, struct ab_view data, struct ab_error *err)
{
    struct openai_parse *parse = user;
    if (parse->done)
        return 0;
    while (data.n && *data.p == ' ')
        data = ab_view(data.p + 1, data.n - 1);
    while (data.n && data.p[data.n - 1] == ' ')
        data.n--;
    if (ab_view_is(data, "[DONE]")) {
        parse->done = true;
        return 0;
    }
    return data.n ? take_text(parse, data, err) : 0;
}

/* The first character that is not white space decides. */
static struct ab_view decide(struct openai_parse *parse, struct ab_view bytes)
{
    while (parse->form == OPENAI_UNDECIDED && bytes.n) {
        if (strchr(" \t\r\n", *bytes.p) && *bytes.p)
            bytes = ab_view(bytes.p + 1, bytes.n - 1);
        else
            parse->form = *bytes.p == '{' || *bytes.p == '[' ? OPENAI_DOCUMENT : OPENAI_EVENTS;
    }
    return bytes;
}

int openai_parse_feed(struct openai_parse *parse, struct ab_view bytes, struct ab_error *err)
{
    bytes = decide(parse, bytes);
    if (!bytes.n)
        return 0;
    if (parse->form == OPENAI_EVENTS)
        return sse_feed(&parse->sse, bytes, on_event, parse, err);
    if (bytes.n > OPENAI_BODY_BYTES_MAX - parse->document.n)
        return ab_fail(err, AB_ETOOLARGE, "the model's answer is larger than %d bytes", OPENAI_BODY_BYTES_MAX);
    ab_buf_add(&parse->document, bytes.p, bytes.n);
    return 0;
}

/* After the last byte: what is still buffered, and whether the reply is whole. */
static int complete(struct openai_parse *parse, struct ab_error *err)
{
    int rc = 0;
    if (parse->form == OPENAI_EVENTS)
        rc = sse_end(&parse->sse, on_event, parse, err);
    else if (parse->form == OPENAI_DOCUMENT)
        rc = take_text(parse, ab_buf_view(&parse->document), err);
    if (rc)
        return rc;
    bool said_anything = parse->content.n || parse->refusal.n || parse->tool_count;
    if (!parse->finish_reason && parse->form == OPENAI_DOCUMENT && said_anything)
        parse->finish_reason = ab_strdup(parse->tool_count ? "tool_calls" : "stop");
    if (!parse->finish_reason)
        return ab_fail(err, AB_EMODEL, "the model's answer ended before it was complete (no finish_reason)");
    return 0;
}

static char *detach_or_null(struct ab_buf *buf)
{
    return buf->n ? ab_buf_detach(buf) : NULL;
}

static char *move_text(char **from)
{
    char *text = *from;
    *from = NULL;
    return text;
}

int openai_parse_end(struct openai_parse *parse, struct model_reply *reply, struct ab_error *err)
{
    *reply = (struct model_reply){.first_ms = -1};
    int rc = complete(parse, err);
    if (rc)
        return rc;
    reply->content = ab_buf_detach(&parse->content);
    reply->reasoning = detach_or_null(&parse->reasoning);
    reply->refusal = detach_or_null(&parse->refusal);
    reply->tool_calls = openai_tools_detach(parse);
    reply->finish_reason = move_text(&parse->finish_reason);
    reply->model = move_text(&parse->model);
    reply->request_id = move_text(&parse->id);
    reply->usage = parse->usage;
    return 0;
}
