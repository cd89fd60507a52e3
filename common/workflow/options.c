/* Reads the settings of agents and groupchats that have more than one shape: termination, context, code execution,
 * speakers. */
#include "common/workflow/reading.h"

#include "common/budget.h"
#include "common/money.h"

#include <stdio.h>
#include <stdlib.h>

json_t *ab_read_termination(struct ab_reading *r, json_t *value)
{
    if (json_is_boolean(value) || (json_is_string(value) && json_string_length(value)))
        return json_incref(value);
    ab_reading_fault(r,
                     json_is_string(value)
                         ? ab_format("is empty: every message would end the chat")
                         : ab_format("must be true, false or text, not %s", ab_kind_name(value)),
                     ab_format("the word at the end of the last message, such as TERMINATE; false for none"));
    return NULL;
}

json_t *ab_read_context(struct ab_reading *r, json_t *value)
{
    size_t faults = r->faults.n;
    if (json_is_string(value) && !strcmp(json_string_value(value), "unbounded"))
        return json_incref(value);
    json_t *out = json_is_object(value) ? ab_read_table(r, &ab_context_table, value) : NULL;
    if (!out)
        ab_reading_fault(r, ab_format("must be unbounded or an object, not %s", ab_kind_name(value)),
                         ab_format("such as {last: 20}, {head: 1, last: 10} or {tokens: 8000}"));
    else if (r->faults.n == faults && !ab_given(value, "last") && !ab_given(value, "tokens"))
        ab_reading_fault(r, ab_format("bounds nothing"), ab_format("add last or tokens, or write unbounded"));
    if (r->faults.n == faults)
        return out;
    json_decref(out); /* an agent of the concise form is read once more: its faults are told once */
    return NULL;
}

/* --- budget ------------------------------------------------------------------------------------------------- */

static void budget_hint(struct ab_reading *r, char *what)
{
    ab_reading_fault(r, what,
                     ab_format("such as {tokens: 100000, usd: 0.5, calls: 20, turns: 40, seconds: 600}"));
}

/* {usd: 0.5} as "usd=0.5"; what is no number comes out as something that is refused. */
static void budget_item(struct ab_buf *text, const char *key, const json_t *value)
{
    char number[AB_USD_TEXT];
    ab_buf_format(text, "%s%s=", text->n ? "," : "", key);
    if (json_is_integer(value))
        ab_buf_format(text, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value)) { /* twelve decimals at most, as written: 0.1 is 0.1 */
        snprintf(number, sizeof number, "%.12f", json_real_value(value));
        if (strtod(number, NULL) != json_real_value(value)) /* more of them */
            snprintf(number, sizeof number, "%g", json_real_value(value));
        ab_buf_text(text, number);
        while (text->p[text->n - 1] == '0')
            text->n--;
    } else
        ab_buf_text(text, json_is_string(value) ? json_string_value(value) : ab_kind_name(value));
}

json_t *ab_read_budget(struct ab_reading *r, json_t *value)
{
    struct ab_buf text = {0};
    struct ab_budget budget;
    struct ab_error err;
    char canonical[AB_BUDGET_TEXT_MAX];
    const char *key;
    json_t *item;
    if (!json_is_string(value) && !json_is_object(value)) {
        budget_hint(r, ab_format("must be an object or text, not %s", ab_kind_name(value)));
        return NULL;
    }
    if (json_is_string(value))
        ab_buf_text(&text, json_string_value(value));
    json_object_foreach (value, key, item)
        budget_item(&text, key, item);
    int code = ab_budget_read(ab_buf_view(&text), false, &budget, &err);
    ab_buf_finish(&text);
    if (code) {
        budget_hint(r, ab_format("%s", err.text));
        return NULL;
    }
    ab_budget_text(&budget, canonical);
    return json_string(canonical);
}

/* --- code execution --------------------------------------------------------------------------------------- */

static json_t *code_mode(struct ab_reading *r, const char *written)
{
    static const struct ab_choice modes[] = {{"false", "none"}, {"none", 0}, {"local", 0}, {"docker", 0}, {0}};
    const char *mode = ab_read_choice(r, modes, written);
    if (!mode)
        return NULL;
    if (!strcmp(mode, "none"))
        return json_false();
    json_t *object = json_pack("{s:b}", "use_docker", !strcmp(mode, "docker"));
    json_t *out = ab_read_table(r, &ab_code_table, object);
    json_decref(object);
    return out;
}

json_t *ab_read_code_config(struct ab_reading *r, json_t *value)
{
    if (json_is_false(value))
        return json_false();
    if (json_is_string(value))
        return code_mode(r, json_string_value(value));
    if (json_is_object(value))
        return ab_read_table(r, &ab_code_table, value);
    ab_reading_fault(r,
                     ab_format("must be false, none, local, docker or an object, not %s", ab_kind_name(value)),
                     ab_format("false switches code execution off"));
    return NULL;
}

json_t *ab_read_work_dir(struct ab_reading *r, json_t *value)
{
    const char *dir = json_string_value(value);
    if (!dir || json_string_length(value) > 255) {
        ab_reading_fault(r, ab_format("must be the name of a folder"), ab_format("such as coding"));
        return NULL;
    }
    bool outside = *dir == '/' || *dir == '~' || strchr(dir, '\\');
    for (const char *p = dir; p && *p; p = strchr(p, '/'), p = p ? p + 1 : NULL)
        outside = outside || (!strncmp(p, "..", 2) && (!p[2] || p[2] == '/'));
    if (!outside)
        return *dir ? json_incref(value) : NULL;
    ab_reading_fault(r, ab_format("is outside of the job's own directory"),
                     ab_format("a folder inside of it, such as coding"));
    return NULL;
}

/* --- speakers --------------------------------------------------------------------------------------------- */

json_t *ab_read_repeat_speaker(struct ab_reading *r, json_t *value)
{
    if (json_is_boolean(value))
        return json_incref(value);
    if (json_is_array(value))
        return ab_read_names(r, value);
    ab_reading_fault(r, ab_format("must be true, false or a list of names, not %s", ab_kind_name(value)),
                     ab_format("the names of those who may speak twice in a row"));
    return NULL;
}

json_t *ab_read_transitions(struct ab_reading *r, json_t *value)
{
    if (!json_is_object(value)) {
        ab_reading_fault(r, ab_format("must be an object, not %s", ab_kind_name(value)),
                         ab_format("such as {writer: [critic], critic: [writer]}"));
        return NULL;
    }
    if (json_object_size(value) > AB_WORKFLOW_AGENTS_MAX) {
        ab_reading_fault(r, ab_format("has %zu members", json_object_size(value)),
                         ab_format("at most %d", AB_WORKFLOW_AGENTS_MAX));
        return NULL;
    }
    json_t *out = json_object(), *names;
    const char *key;
    json_object_foreach (value, key, names) {
        json_t *list = ab_read_member(r, value, key, ab_read_names);
        if (list)
            json_object_set_new(out, key, list);
    }
    return out;
}
