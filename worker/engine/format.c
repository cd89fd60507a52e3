/* Answers of a given shape: an agent's response_format. Its model's reply is read as JSON and held against the schema; one that
 * does not fit is given back to the model once, with what is wrong; if the second one does not fit either, the run fails. */
#include "worker/engine/node.h"

#include <stdlib.h>

#include "common/json_schema.h"

enum { FAULTS_TOLD_MAX = 20 };

static const json_t *schema_of(const json_t *format)
{
    return json_object_get(json_object_get(format, "json_schema"), "schema");
}

/* Models like to put JSON into a fenced block, whatever they are told; and to say the word that ends the chat after it. */
static struct ab_view bare(struct ab_view text)
{
    text = text_without(text, "TERMINATE");
    if (text.n < 6 || memcmp(text.p, "```", 3) || memcmp(text.p + text.n - 3, "```", 3))
        return text;
    const char *line = memchr(text.p, '\n', text.n - 3);
    return line ? text_without(ab_view(line, text.n - 3 - (size_t)(line - text.p)), "") : text;
}

static void tell(const struct ab_faults *faults, struct ab_buf *wrong)
{
    size_t told = faults->n < FAULTS_TOLD_MAX ? faults->n : FAULTS_TOLD_MAX;
    for (size_t i = 0; i < told; i++) {
        const struct ab_fault *fault = &faults->items[i];
        ab_buf_format(wrong, "%s%s %s%s%s", i ? "\n" : "", fault->path, fault->what, *fault->hint ? ": " : "",
                      fault->hint);
    }
    if (faults->n + faults->dropped > told)
        ab_buf_format(wrong, "\n(and %zu more)", faults->n + faults->dropped - told);
}

json_t *format_value(const json_t *format, struct ab_view text, struct ab_buf *wrong)
{
    struct ab_faults faults = {0};
    struct ab_error err = {0};
    json_t *value;

    if (ab_json_parse(bare(text), &value, &err))
        ab_faults_add(&faults, "$", "is no JSON", "%s: %s", err.path, err.text);
    else if (schema_of(format))
        ab_json_schema_validate(schema_of(format), value, &faults);
    else if (!json_is_object(value))
        ab_faults_add(&faults, "$", "is no JSON object", "%s", "");
    if (!faults.n)
        return value;
    if (wrong)
        tell(&faults, wrong);
    ab_faults_finish(&faults);
    json_decref(value);
    return NULL;
}

json_t *format_line_value(const struct line *line)
{
    const json_t *format = line ? line->from->llm.response_format : NULL;
    if (!format || line->filler || !json_is_string(line->content))
        return NULL;
    return format_value(format, ab_view(json_string_value(line->content), json_string_length(line->content)),
                        NULL);
}

/* What OpenAI's endpoints demand: JSON must be spoken of. */
void format_open(struct prompt *prompt, const struct ab_agent *agent)
{
    if (!agent->llm.response_format || schema_of(agent->llm.response_format))
        return;
    json_t *instruction = json_string("Answer with one JSON object and nothing else.");
    json_array_insert_new(prompt->messages, prompt->system,
                          json_pack("{ss so}", "role", "system", "content", instruction));
    prompt->system++;
}

/* In one line. */
static void fail(struct node *node, const struct ab_agent *agent, struct ab_buf *wrong)
{
    char *path = ab_format("%s.config.llm_config.response_format", agent->path);
    for (char *p = ab_buf_cstr(wrong); (p = strchr(p, '\n'));)
        *p = ';';
    ab_fail_at(&node->engine->failure, AB_EMODEL, path,
               "the answer of %s does not fit its response_format, nor did the one before: %s", agent->name,
               ab_buf_cstr(wrong));
    free(path);
}

bool format_take(struct node *node, const struct ab_agent *agent, const struct ab_model_reply *reply)
{
    struct ab_buf wrong = {0};
    if (!agent->llm.response_format || reply->tool_calls.p)
        return true;
    json_t *value = format_value(agent->llm.response_format, reply->content, &wrong);
    bool again = node->faulty;
    json_decref(node->faulty);
    node->faulty = NULL;
    if (!value && again)
        fail(node, agent, &wrong);
    else if (!value)
        node->faulty = json_pack("{so so}", "said", json_stringn(reply->content.p, reply->content.n), "wrong",
                                 json_stringn(wrong.p, wrong.n));
    ab_buf_finish(&wrong);
    json_decref(value);
    return value != NULL;
}

void format_ask_again(const struct node *node, struct prompt *prompt)
{
    struct ab_buf text = {0};
    if (!node->faulty)
        return;
    messages_add(prompt->messages, "assistant", json_object_get(node->faulty, "said"));
    ab_buf_format(
        &text,
        "This is not what was asked for:\n\n%s\n\nAnswer again: the whole corrected JSON and nothing else.",
        json_string_value(json_object_get(node->faulty, "wrong")));
    messages_add_new(prompt->messages, "user", json_of_buf(&text));
    prompt->tail += 2;
}
