/* Errors of model servers: the shapes of openai_parse.h and what they mean. */
#include "worker/model/openai_error.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "worker/model/json_repair.h"

/* Ways in which servers say that the input is too long for the model. */
static const char *const context_phrases[] = {
    "context_length_exceeded", "maximum context length", "context length",     "context window",
    "exceed_context_size",     "context size",           "prompt is too long", "input token count",
    "input is too long",       "too many input tokens",
};
/* Codes and types after which the same request will fail again. */
static const char *const request_faults[] = {
    "invalid_request_error", "invalid_api_key", "authentication_error", "permission_error",
    "not_found_error",       "model_not_found", "INVALID_ARGUMENT",     "PERMISSION_DENIED",
    "UNAUTHENTICATED",       "NOT_FOUND",       "content_filter",       "BadRequestError",
};

static bool is_any(const char *text, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcasecmp(text, words[i]))
            return true;
    return false;
}

static bool says_context(const char *text)
{
    for (size_t i = 0; i < sizeof context_phrases / sizeof *context_phrases; i++)
        if (strcasestr(text, context_phrases[i]))
            return true;
    return false;
}

/* One line of text, cut at a character's border. */
static void set_text(char *out, size_t bytes, const char *text)
{
    size_t n = strnlen(text, bytes);
    if (n == bytes)
        for (n = bytes - 1; n && ((unsigned char)text[n] & 0xC0) == 0x80;)
            n--;
    memcpy(out, text, n);
    out[n] = 0;
    for (size_t i = 0; i < n; i++)
        if (iscntrl((unsigned char)out[i]))
            out[i] = ' ';
}

static void take_code(const json_t *value, struct openai_error *out)
{
    if (json_is_integer(value)) {
        json_int_t number = json_integer_value(value);
        if (number >= 400 && number <= 599)
            out->status = (int)number;
        if (!out->code[0])
            snprintf(out->code, sizeof out->code, "%lld", (long long)number);
    } else if (json_is_string(value) && !out->code[0]) {
        set_text(out->code, sizeof out->code, json_string_value(value));
    }
}

static void take_object(const json_t *error, struct openai_error *out)
{
    static const char *const words[] = {"code", "type", "status"};
    for (size_t i = 0; i < 3; i++) {
        const json_t *value = json_object_get(error, words[i]);
        take_code(value, out);
        const char *text = json_string_value(value);
        if (!text)
            continue;
        out->quota |= !strcasecmp(text, "insufficient_quota");
        out->context |= says_context(text);
        out->request |= is_any(text, request_faults, sizeof request_faults / sizeof *request_faults);
    }
    const char *message = json_string_value(json_object_get(error, "message"));
    set_text(out->text, sizeof out->text, message ? message : "");
}

void openai_error_of_json(const json_t *document, struct openai_error *out)
{
    *out = (struct openai_error){0};
    if (json_is_array(document))
        document = json_array_get(document, 0);
    const json_t *error = json_object_get(document, "error");
    bool bare = !error && json_object_get(document, "message") && !json_object_get(document, "choices");
    if (json_is_object(error) || bare) {
        take_object(bare ? document : error, out);
    } else if (json_is_string(error)) {
        set_text(out->text, sizeof out->text, json_string_value(error));
        take_code(json_object_get(document, "code"), out);
    } else if (json_is_string(json_object_get(document, "detail"))) {
        set_text(out->text, sizeof out->text, json_string_value(json_object_get(document, "detail")));
    } else {
        return;
    }
    out->found = true;
    out->context |= says_context(out->text);
    out->context &= !out->quota;
}

void openai_error_of_body(struct ab_view body, struct openai_error *out)
{
    json_t *document = json_parse_repaired(body, NULL);
    *out = (struct openai_error){0};
    if (document)
        openai_error_of_json(document, out);
    json_decref(document);
}
