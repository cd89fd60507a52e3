/* See v1_body.h. */
#include "client/gateway/v1_body.h"

#include <string.h>

enum { MESSAGES_MAX = 4096 };

/* ---- parts ---- */

static json_t *text_part(const json_t *part)
{
    const char *key = json_object_get(part, "refusal") ? "refusal" : "text";
    return json_is_string(json_object_get(part, key))
               ? json_pack("{s:s, s:O}", "type", "text", "text", json_object_get(part, key))
               : NULL;
}

static json_t *same_part(const json_t *part)
{
    return json_deep_copy(part);
}

/* Of /v1/responses: the link stands beside the detail. */
static json_t *image_part(const json_t *part)
{
    json_t *url = json_object_get(part, "image_url"), *detail = json_object_get(part, "detail");
    if (!json_is_string(url))
        return NULL;
    json_t *image = json_pack("{s:O}", "url", url);
    if (json_is_string(detail))
        json_object_set(image, "detail", detail);
    return json_pack("{s:s, s:o}", "type", "image_url", "image_url", image);
}

static json_t *file_part(const json_t *part)
{
    json_t *file = json_deep_copy(part);
    json_object_del(file, "type");
    return json_pack("{s:s, s:o}", "type", "file", "file", file);
}

static const struct {
    const char *type;
    json_t *(*read)(const json_t *part);
} part_kinds[] = {
    {"text", text_part},        {"input_text", text_part},   {"output_text", text_part},
    {"refusal", text_part},     {"image_url", same_part},    {"file", same_part},
    {"input_audio", same_part}, {"input_image", image_part}, {"input_file", file_part},
};

static json_t *read_part(const json_t *part, size_t at, size_t i, struct ab_error *err)
{
    const char *type = ab_tree_str(part, "type");
    for (size_t k = 0; type && k < sizeof part_kinds / sizeof *part_kinds; k++)
        if (!strcmp(part_kinds[k].type, type)) {
            json_t *read = part_kinds[k].read(part);
            if (!read)
                ab_fail_at(err, AB_EINVALID, "content",
                           "message %zu: part %zu of type %s lacks what it should hold", at, i, type);
            return read;
        }
    ab_fail_at(
        err, AB_EINVALID, "content",
        "message %zu: part %zu is of type %s: text, image_url, file, input_audio, or for responses input_text, "
        "input_image, input_file",
        at, i, type ? type : "(none)");
    return NULL;
}

/* Parts that are all text become one text: every agent can read that. */
static json_t *joined(const json_t *parts)
{
    struct ab_buf text = {0};
    size_t i;
    json_t *part;
    json_array_foreach (parts, i, part) {
        const char *type = ab_tree_str(part, "type");
        if (!type || strcmp(type, "text")) {
            ab_buf_finish(&text);
            return NULL;
        }
        if (i)
            ab_buf_char(&text, '\n');
        struct ab_view words = ab_tree_view(part, "text");
        ab_buf_add(&text, words.p, words.n);
    }
    json_t *all = json_stringn(ab_buf_cstr(&text), text.n);
    ab_buf_finish(&text);
    return all;
}

/* A new reference; NULL after a fault. */
static json_t *read_content(const json_t *content, size_t at, struct ab_error *err)
{
    json_t *parts = json_array(), *part, *text;
    size_t i;
    if (json_is_string(content)) {
        json_decref(parts);
        return json_deep_copy(content);
    }
    if (!json_array_size(content))
        ab_fail_at(err, AB_EINVALID, "content", "message %zu has no content: a text, or an array of parts", at);
    json_array_foreach (content, i, part) {
        json_t *read = read_part(part, at, i, err);
        if (!read)
            break;
        json_array_append_new(parts, read);
    }
    if (!err->code && (text = joined(parts))) {
        json_decref(parts);
        return text;
    }
    if (!err->code)
        return parts;
    json_decref(parts);
    return NULL;
}

/* ---- messages ---- */

static void put(json_t **list, const char *role, json_t *content)
{
    if (!*list)
        *list = json_array();
    json_array_append_new(*list, json_pack("{s:s, s:o}", "role", role, "content", content));
}

/* What a tool of the client's gave back is part of what was said. */
static void put_tool_result(const json_t *message, json_t *content, struct v1_request *out)
{
    struct ab_buf text = {0};
    const char *id = ab_tree_str(message, "tool_call_id");
    ab_buf_format(&text, "Result of tool call %s: %s", id ? id : "",
                  json_is_string(content) ? json_string_value(content) : "");
    put(&out->said, "user", json_stringn(ab_buf_cstr(&text), text.n));
    ab_buf_finish(&text);
    json_decref(content);
}

static int read_message(const json_t *message, size_t at, struct v1_request *out, struct ab_error *err)
{
    const char *role = ab_tree_str(message, "role");
    const json_t *given = json_object_get(message, "content");
    if (!role)
        return ab_fail_at(err, AB_EINVALID, "messages", "message %zu has no role", at);
    bool assistant = !strcmp(role, "assistant");
    if (assistant && (!given || json_is_null(given))) /* only tool calls of the client's own */
        return 0;
    json_t *content = read_content(given, at, err);
    if (!content)
        return err->code;
    if (!strcmp(role, "system") || !strcmp(role, "developer"))
        put(&out->told, "system", content);
    else if (!strcmp(role, "tool") || !strcmp(role, "function"))
        put_tool_result(message, content, out);
    else if (assistant || !strcmp(role, "user"))
        put(&out->said, role, content);
    else {
        json_decref(content);
        return ab_fail_at(err, AB_EINVALID, "messages",
                          "message %zu: role %.32s is none of system, developer, user, assistant, tool", at,
                          role);
    }
    return 0;
}

/* The last one said is the message itself. */
static int take_message(struct v1_request *out, const char *field, struct ab_error *err)
{
    size_t n = json_array_size(out->said);
    json_t *last = n ? json_array_get(out->said, n - 1) : NULL;
    const char *role = ab_tree_str(last, "role");
    if (!role || strcmp(role, "user"))
        return ab_fail_at(err, AB_EINVALID, field, "the last message must be the user's");
    out->content = json_incref(json_object_get(last, "content"));
    json_array_remove(out->said, n - 1);
    return 0;
}

static int read_messages(const json_t *list, const char *field, struct v1_request *out, struct ab_error *err)
{
    size_t i;
    json_t *message;
    int rc = 0;
    if (!json_array_size(list) || json_array_size(list) > MESSAGES_MAX)
        return ab_fail_at(err, AB_EINVALID, field, "%s must be an array of 1 to %d messages", field,
                          MESSAGES_MAX);
    json_array_foreach (list, i, message)
        if ((rc = read_message(message, i, out, err)))
            return rc;
    return take_message(out, field, err);
}

/* ---- what both have ---- */

static int read_flag(const json_t *body, const char *key, bool *out, struct ab_error *err)
{
    const json_t *value = json_object_get(body, key);
    if (value && !json_is_null(value) && !json_is_boolean(value))
        return ab_fail_at(err, AB_EINVALID, key, "%s must be true or false", key);
    if (json_is_boolean(value))
        *out = json_is_true(value);
    return 0;
}

/* Tools that the client would run: a workflow's agents have their own. */
static int check_tools(const json_t *body, struct v1_request *out, struct ab_error *err)
{
    static const char *const offered[] = {"tools", "functions"}, *const wanted[] = {"tool_choice",
                                                                                    "function_call"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *choice = json_object_get(body, wanted[i]);
        const char *word = json_string_value(choice);
        out->tools_ignored |= json_array_size(json_object_get(body, offered[i])) > 0;
        if (json_is_object(choice) || (word && strcmp(word, "auto") && strcmp(word, "none")))
            return ab_fail_at(
                err, AB_EINVALID, wanted[i],
                "a workflow does not call the client's tools: leave %s away, or give its agents tools",
                wanted[i]);
    }
    return 0;
}

static int read_common(const json_t *body, struct v1_request *out, struct ab_error *err)
{
    const json_t *n = json_object_get(body, "n");
    if (!json_is_object(body))
        return ab_fail_at(err, AB_EINVALID, "body", "the body must be a JSON object");
    out->model = ab_tree_str(body, "model");
    if (!out->model || !*out->model)
        return ab_fail_at(err, AB_EINVALID, "model",
                          "model is missing: a workflow's name; GET /v1/models lists them");
    if (json_is_integer(n) && json_integer_value(n) != 1)
        return ab_fail_at(err, AB_EINVALID, "n", "a workflow gives one answer: n must be 1");
    int rc = read_flag(body, "stream", &out->stream, err);
    return rc ? rc : check_tools(body, out, err);
}

int v1_read_chat(const json_t *body, struct v1_request *out, struct ab_error *err)
{
    *out = (struct v1_request){0};
    const json_t *options = json_object_get(body, "stream_options");
    int rc = read_common(body, out, err);
    if (!rc && options && !json_is_null(options) && !json_is_object(options))
        rc = ab_fail_at(err, AB_EINVALID, "stream_options", "stream_options must be an object");
    if (!rc)
        rc = read_flag(options, "include_usage", &out->include_usage, err);
    return rc ? rc : read_messages(json_object_get(body, "messages"), "messages", out, err);
}

/* ---- responses ---- */

/* Items of other types (calls of tools, reasoning) say nothing to agents. */
static json_t *input_messages(const json_t *input)
{
    json_t *list = json_array(), *item;
    size_t i;
    json_array_foreach (input, i, item) {
        const char *type = ab_tree_str(item, "type");
        if (!type || !strcmp(type, "message"))
            json_array_append(list, item);
    }
    return list;
}

static int read_input(const json_t *input, struct v1_request *out, struct ab_error *err)
{
    if (json_is_string(input)) {
        out->content = json_deep_copy(input);
        return 0;
    }
    json_t *list = input_messages(input);
    int rc = read_messages(list, "input", out, err);
    json_decref(list);
    return rc;
}

static int read_echo(const json_t *body, struct v1_request *out, struct ab_error *err)
{
    json_t *instructions = json_object_get(body, "instructions"), *metadata = json_object_get(body, "metadata");
    if (instructions && !json_is_null(instructions)) {
        if (!json_is_string(instructions))
            return ab_fail_at(err, AB_EINVALID, "instructions", "instructions must be a text");
        out->instructions = json_deep_copy(instructions);
        put(&out->told, "system", json_deep_copy(instructions));
    }
    if (metadata && !json_is_null(metadata)) {
        if (!json_is_object(metadata))
            return ab_fail_at(err, AB_EINVALID, "metadata", "metadata must be an object");
        out->metadata = json_deep_copy(metadata);
    }
    return 0;
}

int v1_read_response(const json_t *body, struct v1_request *out, struct ab_error *err)
{
    static const char *const refused[] = {"conversation", "prompt"};
    *out = (struct v1_request){.store = true};
    int rc = read_common(body, out, err);
    for (size_t i = 0; !rc && i < 2; i++)
        if (json_object_get(body, refused[i]) && !json_is_null(json_object_get(body, refused[i])))
            rc = ab_fail_at(err, AB_EINVALID, refused[i], "%s is not known here; previous_response_id is",
                            refused[i]);
    rc = rc ? rc : read_flag(body, "background", &out->background, err);
    rc = rc ? rc : read_flag(body, "store", &out->store, err);
    rc = rc ? rc : read_echo(body, out, err);
    if (!rc && out->background && !out->store)
        rc = ab_fail_at(err, AB_EINVALID, "background",
                        "a background response must be stored: leave store away");
    const json_t *previous = json_object_get(body, "previous_response_id");
    if (!rc && previous && !json_is_null(previous) && !json_is_string(previous))
        rc = ab_fail_at(err, AB_EINVALID, "previous_response_id", "previous_response_id must be a text");
    out->previous = json_string_value(previous);
    return rc ? rc : read_input(json_object_get(body, "input"), out, err);
}

/* ---- for the job ---- */

json_t *v1_history(const struct v1_request *request, bool session_knows)
{
    json_t *list = json_array();
    if (request->said && !session_knows)
        json_array_extend(list, request->said);
    if (request->told)
        json_array_extend(list, request->told);
    if (json_array_size(list))
        return list;
    json_decref(list);
    return NULL;
}

void v1_request_finish(struct v1_request *request)
{
    json_decref(request->content);
    json_decref(request->said);
    json_decref(request->told);
    json_decref(request->instructions);
    json_decref(request->metadata);
    *request = (struct v1_request){0};
}
