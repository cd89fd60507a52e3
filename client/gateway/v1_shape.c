/* See v1_shape.h. */
#include "client/gateway/v1_shape.h"

#include <stdio.h>
#include <string.h>

/* ---- ids ---- */

const char *v1_id(const char *prefix, const char *job, char out[V1_ID_MAX])
{
    size_t n = (size_t)snprintf(out, V1_ID_MAX - 33, "%s", prefix);
    for (; *job && n < V1_ID_MAX - 1; job++)
        if (*job != '-')
            out[n++] = *job;
    out[n] = 0;
    return out;
}

bool v1_job_of(const char *prefix, struct ab_view id, char job[AB_ID_TEXT])
{
    enum { DIGITS = 32 };
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    size_t n = strlen(prefix), at = n;
    struct ab_id parsed;
    if (id.n != n + DIGITS || memcmp(id.p, prefix, n))
        return false;
    for (size_t i = 0; i < sizeof form; i++)
        job[i] = form[i] == 'x' ? id.p[at++] : form[i];
    return ab_id_parse(ab_view_of(job), &parsed) && ab_id_ok(parsed);
}

int64_t v1_created(const char *job)
{
    struct ab_id id;
    return ab_id_parse(ab_view_of(job), &id) ? ab_id_ms(id) / 1000 : 0;
}

/* ---- errors ---- */

static const struct {
    int status;
    const char *type;
} types[] = {{401, "authentication_error"}, {403, "permission_error"}, {404, "not_found_error"},
             {409, "conflict_error"},       {429, "rate_limit_error"}, {402, "insufficient_quota"}};

static const char *type_of(int status, const char *name)
{
    if (!strcmp(name, "insufficient_quota"))
        return name;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].status == status)
            return types[i].type;
    return status >= 500 ? "server_error" : "invalid_request_error";
}

json_t *v1_error(int status, const char *name, const struct ab_error *error, bool retryable)
{
    if (!strcmp(name, "budget"))
        name = "insufficient_quota";
    else if (!strcmp(name, "busy"))
        name = "rate_limit_exceeded";
    json_t *body =
        json_pack("{s:s, s:s, s:o, s:s, s:b}", "message", error->text, "type", type_of(status, name), "param",
                  *error->path ? json_string(error->path) : json_null(), "code", name, "retryable", retryable);
    return json_pack("{s:o}", "error", body);
}

json_t *v1_model(const char *name, int64_t created, const char *owner)
{
    return json_pack("{s:s, s:s, s:I, s:s}", "id", name, "object", "model", "created", (json_int_t)created,
                     "owned_by", owner);
}

/* ---- usage: of all agents together ---- */

struct usage {
    json_int_t in, out, cached, reasoning;
};

static struct usage usage_of(const json_t *end)
{
    const json_t *total = json_object_get(json_object_get(json_object_get(end, "result"), "usage"), "total");
    return (struct usage){.in = ab_tree_int(total, "prompt_tokens", 0),
                          .out = ab_tree_int(total, "completion_tokens", 0),
                          .cached = ab_tree_int(total, "cached_tokens", 0),
                          .reasoning = ab_tree_int(total, "reasoning_tokens", 0)};
}

static json_t *chat_usage(const json_t *end)
{
    struct usage u = usage_of(end);
    return json_pack("{s:I, s:I, s:I, s:{s:I}, s:{s:I}}", "prompt_tokens", u.in, "completion_tokens", u.out,
                     "total_tokens", u.in + u.out, "prompt_tokens_details", "cached_tokens", u.cached,
                     "completion_tokens_details", "reasoning_tokens", u.reasoning);
}

static json_t *response_usage(const json_t *end)
{
    struct usage u = usage_of(end);
    return json_pack("{s:I, s:{s:I}, s:I, s:{s:I}, s:I}", "input_tokens", u.in, "input_tokens_details",
                     "cached_tokens", u.cached, "output_tokens", u.out, "output_tokens_details",
                     "reasoning_tokens", u.reasoning, "total_tokens", u.in + u.out);
}

/* ---- chat/completions ---- */

static json_t *envelope(const struct v1_completion *c, const char *object, json_t *choices, json_t *usage)
{
    char id[V1_ID_MAX];
    json_t *tree = json_pack("{s:s, s:s, s:I, s:s, s:n, s:o}", "id", v1_id("chatcmpl-", c->job, id), "object",
                             object, "created", (json_int_t)(c->created ? c->created : v1_created(c->job)),
                             "model", c->model, "system_fingerprint", "choices", choices);
    if (usage)
        json_object_set_new(tree, "usage", usage);
    return tree;
}

json_t *v1_chunk(const struct v1_completion *c, json_t *delta, const char *finish)
{
    json_t *choice = json_pack("{s:i, s:o, s:n, s:o}", "index", 0, "delta", delta ? delta : json_object(),
                               "logprobs", "finish_reason", finish ? json_string(finish) : json_null());
    return envelope(c, "chat.completion.chunk", json_pack("[o]", choice), c->usage_later ? json_null() : NULL);
}

json_t *v1_chunk_usage(const struct v1_completion *c, const json_t *end)
{
    return envelope(c, "chat.completion.chunk", json_array(), chat_usage(end));
}

json_t *v1_completion(const struct v1_completion *c, struct ab_view content, struct ab_view thoughts,
                      const char *finish, const json_t *end)
{
    json_t *message = json_pack("{s:s, s:s%, s:n}", "role", "assistant", "content", content.n ? content.p : "",
                                content.n, "refusal");
    if (thoughts.n)
        json_object_set_new(message, "reasoning_content", json_stringn(thoughts.p, thoughts.n));
    json_t *choice =
        json_pack("{s:i, s:o, s:n, s:s}", "index", 0, "message", message, "logprobs", "finish_reason", finish);
    return envelope(c, "chat.completion", json_pack("[o]", choice), chat_usage(end));
}

/* ---- responses ---- */

json_t *v1_output_part(const char *text, size_t bytes)
{
    return json_pack("{s:s, s:s%, s:[]}", "type", "output_text", "text", text, bytes, "annotations");
}

json_t *v1_output_item(const char *job, uint64_t turn, const char *status, const char *text)
{
    char base[V1_ID_MAX], id[V1_ID_MAX + 24];
    snprintf(id, sizeof id, "%s_%llu", v1_id("msg_", job, base), (unsigned long long)turn);
    json_t *content = json_array();
    if (text)
        json_array_append_new(content, v1_output_part(text, strlen(text)));
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", id, "type", "message", "status", status, "role",
                     "assistant", "content", content);
}

static json_t *output_of(const struct v1_response *r)
{
    json_t *output = json_array(), *text;
    size_t i;
    json_array_foreach (r->texts, i, text)
        json_array_append_new(output, v1_output_item(r->job, i, "completed", json_string_value(text)));
    return output;
}

/* What an SDK's types say is always there, and what stands in its answer as it was asked. */
static json_t *settings(const json_t *about)
{
    static const char *const repeated[] = {"instructions", "metadata", "previous_response_id"};
    json_t *tree = json_pack(
        "{s:b, s:b, s:n, s:{s:n, s:n}, s:f, s:{s:{s:s}}, s:s, s:[], s:f, s:s, s:n, s:{}, s:n}", "background",
        ab_tree_bool(about, "background", false), "parallel_tool_calls", 1, "max_output_tokens", "reasoning",
        "effort", "summary", "temperature", 1.0, "text", "format", "type", "text", "tool_choice", "auto",
        "tools", "top_p", 1.0, "truncation", "disabled", "instructions", "metadata", "previous_response_id");
    json_object_set_new(tree, "store", json_boolean(ab_tree_bool(about, "store", true)));
    for (size_t i = 0; i < sizeof repeated / sizeof *repeated; i++)
        if (json_object_get(about, repeated[i]))
            json_object_set(tree, repeated[i], json_object_get(about, repeated[i]));
    return tree;
}

json_t *v1_response(const struct v1_response *r)
{
    char id[V1_ID_MAX];
    const char *model = ab_tree_str(r->about, "model");
    json_t *tree =
        json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", v1_id("resp_", r->job, id), "object", "response",
                  "created_at", (json_int_t)(r->created ? r->created : v1_created(r->job)), "status", r->status,
                  "model", model ? model : "", "output", output_of(r));
    json_t *more = settings(r->about);
    json_object_update(tree, more);
    json_decref(more);
    json_object_set_new(tree, "error",
                        r->code ? json_pack("{s:s, s:s}", "code", r->code, "message", r->error ? r->error : "")
                                : json_null());
    json_object_set_new(tree, "incomplete_details",
                        r->reason ? json_pack("{s:s}", "reason", r->reason) : json_null());
    json_object_set_new(tree, "usage",
                        json_object_get(r->end, "result") ? response_usage(r->end) : json_null());
    return tree;
}
