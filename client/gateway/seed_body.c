/* See seed_body.h. */
#include "client/gateway/seed_body.h"

#include <ctype.h>
#include <stdlib.h>

#include "common/workflow/workflow.h"

static void add_fault(json_t *detail, json_t *loc, const char *msg, const char *type)
{
    json_array_append_new(detail, json_pack("{s:o, s:s, s:s}", "loc", loc, "msg", msg, "type", type));
}

static void refuse(struct call *call, json_t *detail)
{
    call_answer(call, MHD_HTTP_UNPROCESSABLE_CONTENT, json_pack("{s:o}", "detail", detail));
}

/* ["body", "message", "role"] */
static json_t *loc_of(const char *path)
{
    json_t *loc = json_pack("[s]", "body");
    for (const char *at = path; *at;) {
        size_t n = strcspn(at, ".");
        json_array_append_new(loc, json_stringn(at, n));
        at += n + (at[n] == '.');
    }
    return loc;
}

/* ---- reading ---- */

json_t *seed_get(const json_t *body, const char *path)
{
    json_t *value = (json_t *)(uintptr_t)body;
    for (const char *at = path; *at && value;) {
        size_t n = strcspn(at, ".");
        char *key = ab_strndup(at, n);
        value = json_object_get(value, key);
        free(key);
        at += n + (at[n] == '.');
    }
    return json_is_null(value) ? NULL : value;
}

const char *seed_text(const json_t *body, const char *path)
{
    return json_string_value(seed_get(body, path));
}

static json_t *parent_of(const json_t *body, const char *path, const char **name)
{
    const char *dot = strrchr(path, '.');
    char *above = ab_strndup(path, dot ? (size_t)(dot - path) : 0);
    json_t *parent = seed_get(body, above);
    free(above);
    *name = dot ? dot + 1 : path;
    return parent;
}

/* ---- types, and the words of the seed's framework ---- */

static const struct {
    const char *msg, *type;
} wrong[] = {
    [ARG_STRING] = {"str type expected", "type_error.str"},
    [ARG_BOOL] = {"value could not be parsed to a boolean", "type_error.bool"},
    [ARG_OBJECT] = {"value is not a valid dict", "type_error.dict"},
    [ARG_STRINGS] = {"value is not a valid list of str", "type_error.list"},
    [ARG_CONTENT] = {"str or list type expected", "type_error.str"},
    [ARG_ANY] = {"", ""},
};

static bool fits(enum arg_type type, const json_t *value)
{
    switch (type) {
    case ARG_STRING:
        return json_is_string(value);
    case ARG_BOOL:
        return json_is_boolean(value);
    case ARG_OBJECT:
        return json_is_object(value);
    case ARG_STRINGS:
        for (size_t i = 0; i < json_array_size(value); i++)
            if (!json_is_string(json_array_get(value, i)))
                return false;
        return json_is_array(value);
    case ARG_CONTENT:
        return json_is_string(value) || json_is_array(value);
    default:
        return true;
    }
}

static void check(const json_t *body, const struct seed_field *field, json_t *detail)
{
    const char *name;
    json_t *parent = parent_of(body, field->path, &name), *value = json_object_get(parent, name);
    if (!json_is_object(parent)) /* is told of the parent */
        return;
    if ((field->type == ARG_STRING || field->type == ARG_CONTENT) && json_is_integer(value)) {
        char *text = ab_format("%lld", (long long)json_integer_value(value));
        json_object_set_new(parent, name, json_string(text));
        free(text);
        value = json_object_get(parent, name);
    }
    if (!value && field->required)
        add_fault(detail, loc_of(field->path), "field required", "value_error.missing");
    else if (json_is_null(value) && field->required)
        add_fault(detail, loc_of(field->path), "none is not an allowed value", "type_error.none.not_allowed");
    else if (value && !json_is_null(value) && !fits(field->type, value))
        add_fault(detail, loc_of(field->path), wrong[field->type].msg, wrong[field->type].type);
}

/* Each user_id in the body is one that the request's token may name. */
static bool may_name_all(struct call *call, const json_t *body, const struct seed_field *fields)
{
    static const char name[] = "user_id";
    for (; fields->path; fields++) {
        size_t n = strlen(fields->path);
        if (n >= sizeof name - 1 && !strcmp(fields->path + n - (sizeof name - 1), name) &&
            !auth_may_name(call, seed_text(body, fields->path)))
            return false;
    }
    return true;
}

json_t *seed_body(struct call *call, const struct seed_field *fields)
{
    struct ab_error err;
    json_t *body = NULL, *detail = json_array();
    const struct seed_field *all = fields;
    bool there = call->body.n;
    if (!there)
        add_fault(detail, json_pack("[s]", "body"), "field required", "value_error.missing");
    else if (ab_json_parse(ab_buf_view(&call->body), &body, &err)) {
        char *text = ab_format("%s: %s", err.path, err.text);
        add_fault(detail, json_pack("[s]", "body"), text, "value_error.jsondecode");
        free(text);
    } else if (!json_is_object(body))
        add_fault(detail, json_pack("[s]", "body"), "value is not a valid dict", "type_error.dict");
    else
        for (; fields->path; fields++)
            check(body, fields, detail);
    if (!json_array_size(detail)) {
        json_decref(detail);
        if (may_name_all(call, body, all))
            return body;
        json_decref(body);
        return NULL;
    }
    json_decref(body);
    refuse(call, detail);
    return NULL;
}

/* ---- flow_config ---- */

/* "$.agents[0].agent.name" → ["body", "flow_config", "agents", 0, "agent", "name"] */
static json_t *loc_of_json_path(const char *path)
{
    json_t *loc = json_pack("[s, s]", "body", "flow_config");
    for (const char *at = path + (*path == '$'); *at;) {
        size_t n = strcspn(at + 1, ".[");
        if (*at == '[' && isdigit((unsigned char)at[1]))
            json_array_append_new(loc, json_integer(strtoll(at + 1, NULL, 10)));
        else if (*at == '.')
            json_array_append_new(loc, json_stringn(at + 1, n));
        else /* ["odd key"] and anything else: as it is written */
            json_array_append_new(loc, json_stringn(at, n + 1));
        at += n + 1;
    }
    return loc;
}

static void add_flow_fault(json_t *detail, const char *path, const char *what, const char *hint)
{
    bool missing = !strcmp(what, "is missing");
    char *text = missing ? ab_strdup("field required") : ab_format("%s%s%s", what, *hint ? "; " : "", hint);
    add_fault(detail, loc_of_json_path(path), text, missing ? "value_error.missing" : "value_error");
    free(text);
}

void seed_refuse_flow(struct call *call, const json_t *flow, const struct ab_error *error)
{
    struct ab_faults faults = {0};
    struct ab_workflow *workflow = NULL;
    json_t *detail = json_array(), *copy = json_deep_copy(flow);
    seed_strip_keys(copy);
    ab_workflow_parse(copy, 0, &workflow, &faults, NULL, NULL);
    for (size_t i = 0; i < faults.n; i++)
        add_flow_fault(detail, faults.items[i].path, faults.items[i].what, faults.items[i].hint);
    if (!faults.n)
        add_flow_fault(detail, error->path, error->text, "");
    ab_faults_finish(&faults);
    ab_workflow_destroy(workflow);
    json_decref(copy);
    refuse(call, detail);
}

void seed_strip_keys(json_t *tree)
{
    const char *key;
    json_t *value;
    void *next;
    size_t i;
    if (json_is_array(tree)) {
        json_array_foreach (tree, i, value)
            seed_strip_keys(value);
        return;
    }
    json_object_foreach_safe (tree, next, key, value)
        if (!strcmp(key, "api_key") && json_is_string(value))
            json_object_del(tree, key);
        else
            seed_strip_keys(value);
}
