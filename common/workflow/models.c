/* Reads what an agent's model is: llm_config, the concise `model`, config_list entries, and scripts. */
#include "common/workflow/reading.h"

#include <ctype.h>

/* --- entries ---------------------------------------------------------------------------------------------- */

static bool is_reference(const json_t *value)
{
    const json_t *index = json_object_get(value, "$secret");
    return json_object_size(value) == 1 && json_is_integer(index) && json_integer_value(index) >= 0 &&
           json_integer_value(index) < AB_WORKFLOW_SECRETS_MAX;
}

/* Only a reference is kept; the key itself is never repeated in a message. */
static void read_key(struct ab_reading *r, json_t *entry, json_t *out)
{
    json_t *key = ab_given(entry, "api_key");
    if (!key || (json_is_string(key) && !json_string_length(key)))
        return;
    if (is_reference(key))
        json_object_set(out, "api_key", key);
    else if (json_is_string(key))
        ab_reading_fault_key(
            r, "api_key", ab_format("a key in clear may not be stored"),
            ab_format("the client must seal it (its library does), or leave it out and configure the "
                      "key on the worker"));
    else
        ab_reading_fault_key(r, "api_key", ab_format("must be text, not %s", ab_kind_name(key)),
                             ab_format("%s", ""));
}

/* http or https, a host, no user and password, nothing a header or log could be split with. */
static const char *url_fault(const char *url)
{
    const char *host = !strncmp(url, "https://", 8) ? url + 8 : !strncmp(url, "http://", 7) ? url + 7 : NULL;
    if (!host || !*host || *host == '/' || *host == ':')
        return "is no http:// or https:// address";
    for (const char *p = url; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 127)
            return "has a blank or control character";
    const char *at = strchr(host, '@'), *slash = strchr(host, '/');
    if (at && (!slash || at < slash))
        return "has a user or password in it";
    return strpbrk(host, "?#") ? "has a query or fragment" : NULL;
}

static void check_url(struct ab_reading *r, const json_t *out)
{
    const char *url = ab_tree_str(out, "base_url"), *what = url ? url_fault(url) : NULL;
    if (what)
        ab_reading_fault_key(r, "base_url", ab_format("%s", what), ab_format("such as https://host/v1"));
}

static void check_model_name(struct ab_reading *r, const json_t *out, const char *key)
{
    const char *model = ab_tree_str(out, "model");
    for (const char *p = model; p && *p; p++) {
        if (iscntrl((unsigned char)*p) || !strncmp(p, "${", 2)) {
            ab_reading_fault_key(r, key, ab_format("is no name of a model"),
                                 ab_format("${NAME} is replaced by the client in workflow files only"));
            return;
        }
    }
}

/* Which provider: as given, else script if there is one or the model is called so, else openai. */
static void settle_provider(struct ab_reading *r, json_t *entry, json_t *out)
{
    const char *model = ab_tree_str(out, "model"), *type = ab_tree_str(out, "api_type");
    bool scripted = ab_given(entry, "script");
    if (!ab_given(entry, "api_type")) {
        type = scripted || (model && !strcmp(model, "script")) ? "script" : "openai";
        json_object_set_new(out, "api_type", json_string(type));
    }
    if (!type)
        return;
    bool is_script = !strcmp(type, "script");
    if (is_script && !scripted)
        ab_reading_fault_key(r, "script", ab_format("the script model has no script"),
                             ab_format("add script: {replies: [...]} or script: {echo: true}"));
    else if (!is_script && scripted)
        ab_reading_fault_key(r, "script", ab_format("only the script model has a script"),
                             ab_format("write model: script, or remove the script"));
    if (is_script && !model && !ab_given(entry, "model"))
        json_object_set_new(out, "model", json_string("script"));
}

static json_t *read_entry(struct ab_reading *r, json_t *value)
{
    json_t *out = json_object();
    if (!ab_read_object(r, &ab_entry_table, value, out)) {
        json_decref(out);
        return NULL;
    }
    settle_provider(r, value, out);
    read_key(r, value, out);
    check_url(r, out);
    check_model_name(r, out, "model");
    if (!ab_given(value, "model") && !json_object_get(out, "model"))
        ab_reading_no_model(r, "model", ab_format("is missing"),
                            ab_format("name the model, such as gpt-4o-mini"));
    return out;
}

/* The script model needs its script, which stands beside: the concise form puts the two together itself. */
static json_t *read_model_name(struct ab_reading *r, json_t *value)
{
    json_t *out = json_pack("{s:O}", "model", value);
    if (!json_string_length(value))
        ab_reading_no_model(r, NULL, ab_format("is empty"), ab_format("name the model, such as gpt-4o-mini"));
    else if (strcmp(json_string_value(value), "script"))
        json_object_set_new(out, "api_type", json_string("openai"));
    check_model_name(r, out, NULL);
    return out;
}

static json_t *read_model_item(struct ab_reading *r, json_t *value)
{
    return json_is_string(value) ? read_model_name(r, value) : read_entry(r, value);
}

json_t *ab_read_model(struct ab_reading *r, json_t *value)
{
    if (json_is_false(value))
        return json_array();
    if (json_is_array(value))
        return ab_read_list(r, value, 1, AB_WORKFLOW_CONFIGS_MAX, "models", read_model_item);
    if (!json_is_string(value) && !json_is_object(value)) {
        ab_reading_fault(
            r, ab_format("must be the name of a model, an object or a list, not %s", ab_kind_name(value)),
            ab_format("such as gpt-4o-mini, or {model: ..., base_url: ...}; false for none"));
        return NULL;
    }
    json_t *item = read_model_item(r, value);
    return item ? json_pack("[o]", item) : NULL;
}

static json_t *read_config_list(struct ab_reading *r, json_t *value)
{
    return ab_read_list(r, value, 1, AB_WORKFLOW_CONFIGS_MAX, "models", read_entry);
}

json_t *ab_read_llm_config(struct ab_reading *r, json_t *value)
{
    if (json_is_false(value))
        return json_false();
    if (!json_is_object(value)) {
        ab_reading_fault(r, ab_format("must be false or an object, not %s", ab_kind_name(value)),
                         ab_format("such as {\"config_list\": [{\"model\": \"gpt-4o-mini\"}]}"));
        return NULL;
    }
    const json_t *list = json_object_get(value, "config_list");
    if (!list || json_is_null(list) || (json_is_array(list) && !json_array_size(list))) {
        ab_reading_no_model(r, "config_list", ab_format("no model is configured for this agent"),
                            ab_format("add at least one {\"model\": ...}"));
        return ab_read_table(r, &ab_llm_table, value);
    }
    json_t *out = ab_read_table(r, &ab_llm_table, value);
    json_t *entries = ab_read_member(r, value, "config_list", read_config_list);
    if (entries)
        json_object_set_new(out, "config_list", entries);
    return out;
}

/* --- extra_body ------------------------------------------------------------------------------------------- */

static bool holds_key(json_t *value)
{
    const char *key;
    json_t *member;
    size_t i;
    json_array_foreach (value, i, member) {
        if (holds_key(member))
            return true;
    }
    json_object_foreach (value, key, member) {
        if (!strcmp(key, "api_key") || holds_key(member))
            return true;
    }
    return false;
}

json_t *ab_read_extra_body(struct ab_reading *r, json_t *value)
{
    /* What the worker writes into the request itself. */
    static const char *const reserved[] = {"model", "messages", "stream", "stream_options"};
    if (!json_is_object(value)) {
        ab_reading_fault(r, ab_format("must be an object, not %s", ab_kind_name(value)),
                         ab_format("members for the request's body, such as {top_p: 0.9}"));
        return NULL;
    }
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (json_object_get(value, reserved[i]))
            ab_reading_fault_key(r, reserved[i], ab_format("is written by the worker itself"),
                                 ab_format("remove it"));
    if (holds_key(value))
        ab_reading_fault(r, ab_format("has an api_key in it"),
                         ab_format("a key stands beside its model, where it is "
                                   "sealed"));
    return json_incref(value);
}

/* --- scripts ---------------------------------------------------------------------------------------------- */

static json_t *read_reply(struct ab_reading *r, json_t *value)
{
    if (json_is_string(value))
        return json_pack("{s:O}", "text", value);
    if (!json_is_object(value)) {
        ab_reading_fault(r, ab_format("must be text or an object, not %s", ab_kind_name(value)),
                         ab_format("such as \"Hello\" or {text: Hello, delay_ms: 100}"));
        return NULL;
    }
    json_t *out = ab_read_table(r, &ab_reply_table, value);
    bool text = ab_given(value, "text") || ab_given(value, "tool_calls"), error = ab_given(value, "error");
    if (text == error)
        ab_reading_fault(r, ab_format(text ? "has both text and error" : "has neither text nor error"),
                         ab_format("a reply says something (text) or fails (error)"));
    return out;
}

static json_t *read_replies(struct ab_reading *r, json_t *value)
{
    return ab_read_list(r, value, 1, AB_WORKFLOW_REPLIES_MAX, "replies", read_reply);
}

/* The script's own pace goes into each reply that has none, so that a reply says all about itself. */
static void spread_pace(json_t *script, json_t *replies)
{
    static const char *const keys[] = {"delay_ms", "chunk_bytes"};
    size_t i;
    json_t *reply;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        json_t *pace = json_object_get(script, keys[k]);
        if (!pace)
            json_object_set_new(script, keys[k], pace = json_integer(0));
        json_array_foreach (replies, i, reply) {
            if (!json_object_get(reply, keys[k]))
                json_object_set(reply, keys[k], pace);
        }
    }
}

static json_t *finish_script(json_t *script, json_t *replies)
{
    spread_pace(script, replies);
    if (replies)
        json_object_set_new(script, "replies", replies);
    return script;
}

static json_t *read_script_object(struct ab_reading *r, json_t *value)
{
    json_t *out = ab_read_table(r, &ab_script_table, value);
    bool echo = json_is_true(json_object_get(out, "echo")), listed = ab_given(value, "replies");
    if (echo == listed)
        ab_reading_fault(r, ab_format(echo ? "has both echo and replies" : "has neither replies nor echo"),
                         ab_format("give the replies, or echo: true"));
    if (echo && ab_given(value, "repeat"))
        ab_reading_fault_key(r, "repeat", ab_format("an echo has no end to repeat from"),
                             ab_format("remove it"));
    json_object_del(out, echo ? "repeat" : "echo");
    return finish_script(out, listed ? ab_read_member(r, value, "replies", read_replies) : NULL);
}

json_t *ab_read_script(struct ab_reading *r, json_t *value)
{
    if (json_is_array(value))
        return finish_script(json_pack("{s:s}", "repeat", "error"), read_replies(r, value));
    if (json_is_string(value) && !strcmp(json_string_value(value), "echo"))
        return finish_script(json_pack("{s:b}", "echo", 1), NULL);
    if (json_is_object(value))
        return read_script_object(r, value);
    ab_reading_fault(r, ab_format("must be a list of replies, echo or an object, not %s", ab_kind_name(value)),
                     ab_format("such as [\"First reply.\", \"Second reply.\"]"));
    return NULL;
}
