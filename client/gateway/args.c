/* A request's arguments: path, query and body, checked by the route's table, in one JSON object by their names. */
#include <ctype.h>
#include <stdlib.h>

#include "client/gateway/gateway.h"

enum { QUERY_ARGS_MAX = 32 };

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10 : -1;
}

static bool clean(const struct ab_buf *text)
{
    for (size_t i = 0; i < text->n; i++)
        if ((unsigned char)text->p[i] < 0x20 || text->p[i] == 0x7f)
            return false;
    return ab_utf8_ok(ab_buf_view(text));
}

char *percent_decode(struct ab_view text)
{
    struct ab_buf out = {0};
    bool ok = true;
    for (size_t i = 0; i < text.n && ok; i++) {
        if (text.p[i] != '%') {
            ab_buf_char(&out, text.p[i]);
            continue;
        }
        int high = i + 2 < text.n ? hex(text.p[i + 1]) : -1;
        int low = high >= 0 ? hex(text.p[i + 2]) : -1;
        ok = low >= 0;
        ab_buf_char(&out, (char)(high * 16 + low));
        i += 2;
    }
    if (ok && clean(&out))
        return ab_buf_detach(&out);
    ab_buf_finish(&out);
    return NULL;
}

/* ---- one value ---- */

static const struct {
    const char *expected;
} kinds[] = {
    [ARG_STRING] = {"a text"},
    [ARG_UINT] = {"a whole number, 0 or more"},
    [ARG_INT] = {"a whole number"},
    [ARG_BOOL] = {"true or false"},
    [ARG_ID] = {"an id of 36 characters (a UUID)"},
    [ARG_OBJECT] = {"an object"},
    [ARG_STRINGS] = {"an array of texts"},
    [ARG_CONTENT] = {"a text, or an array of parts"},
    [ARG_WORKFLOW] = {"a workflow (an object), or the name of a stored one"},
    [ARG_ANY] = {"anything"},
};

static bool is_id(const char *text)
{
    struct ab_id id;
    return text && strlen(text) == AB_ID_TEXT - 1 && ab_id_parse(ab_view_of(text), &id);
}

static bool all_strings(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i)))
            return false;
    return json_is_array(list);
}

static bool fits(const struct arg *arg, const json_t *value)
{
    switch (arg->type) {
    case ARG_STRING:
        return json_is_string(value);
    case ARG_UINT:
        return json_is_integer(value) && json_integer_value(value) >= 0;
    case ARG_INT:
        return json_is_integer(value);
    case ARG_BOOL:
        return json_is_boolean(value);
    case ARG_ID:
        return is_id(json_string_value(value));
    case ARG_OBJECT:
        return json_is_object(value);
    case ARG_STRINGS:
        return all_strings(value);
    case ARG_CONTENT:
        return json_is_string(value) || json_is_array(value);
    case ARG_WORKFLOW:
        return json_is_string(value) || json_is_object(value);
    case ARG_ANY:
        return true;
    }
    return false;
}

static int check(const struct arg *arg, const json_t *value, struct ab_error *err)
{
    if (!fits(arg, value))
        return ab_fail_at(err, AB_EINVALID, arg->name, "%s must be %s", arg->name, kinds[arg->type].expected);
    if (!arg->max)
        return 0;
    if (json_is_string(value) && json_string_length(value) > arg->max)
        return ab_fail_at(err, AB_EINVALID, arg->name, "%s has at most %llu bytes", arg->name,
                          (unsigned long long)arg->max);
    if (json_is_integer(value) && json_integer_value(value) > (json_int_t)arg->max)
        return ab_fail_at(err, AB_EINVALID, arg->name, "%s is at most %llu", arg->name,
                          (unsigned long long)arg->max);
    return 0;
}

/* Text of path or query as the argument's type; NULL if it is none. */
static json_t *from_text(const struct arg *arg, const char *text)
{
    char *end;
    switch (arg->type) {
    case ARG_UINT:
    case ARG_INT: {
        long long number = strtoll(text, &end, 10);
        bool digits = strspn(text + (*text == '-'), "0123456789") == strlen(text) - (*text == '-');
        return digits && *text && end != text && strlen(text) < 19 ? json_integer(number) : NULL;
    }
    case ARG_BOOL:
        return !strcmp(text, "true") || !strcmp(text, "1")    ? json_true()
               : !strcmp(text, "false") || !strcmp(text, "0") ? json_false()
                                                              : NULL;
    case ARG_STRING:
    case ARG_ID:
    case ARG_CONTENT:
        return json_string(text);
    case ARG_STRINGS:
        return json_pack("[s]", text);
    default:
        return json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    }
}

/* ---- the three places ---- */

struct reading {
    struct call *call;
    struct arg args[ROUTE_FIELDS_MAX];
    size_t n;
    int query_n;
    struct ab_error err;
};

static const struct arg *arg_of(const struct reading *r, const char *name, enum arg_place place)
{
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->args[i].name, name) && route_place(r->call->route, &r->args[i]) == place)
            return &r->args[i];
    return NULL;
}

static int take_text(struct reading *r, const struct arg *arg, struct ab_view raw)
{
    char *text = percent_decode(raw);
    if (!text)
        return ab_fail_at(&r->err, AB_EINVALID, arg->name,
                          "%s is no text: percent-encoded UTF-8 without control characters", arg->name);
    json_t *value = from_text(arg, text);
    free(text);
    if (!value)
        return ab_fail_at(&r->err, AB_EINVALID, arg->name, "%s must be %s", arg->name,
                          kinds[arg->type].expected);
    int rc = check(arg, value, &r->err);
    if (!rc)
        json_object_set(r->call->args, arg->name, value);
    json_decref(value);
    return rc;
}

static int read_path(struct reading *r)
{
    int rc = 0;
    for (size_t i = 0; i < r->n && !rc; i++) {
        int at = route_value_index(r->call->route, r->args[i].name);
        if (at >= 0)
            rc = take_text(r, &r->args[i], r->call->values[at]);
    }
    return rc;
}

static enum MHD_Result query_arg(void *owner, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct reading *r = owner;
    (void)kind;
    char *name = percent_decode(ab_view_of(key));
    const struct arg *arg = name ? arg_of(r, name, PLACE_QUERY) : NULL;
    bool lenient = r->call->route->flags & (ROUTE_SEED | ROUTE_OPENAI);
    if (++r->query_n > QUERY_ARGS_MAX)
        ab_fail_at(&r->err, AB_EINVALID, "query", "more than %d arguments in the query", QUERY_ARGS_MAX);
    else if (!arg && !lenient)
        ab_fail_at(&r->err, AB_EINVALID, name ? name : "query", "this path takes no such argument");
    else if (arg && json_object_get(r->call->args, arg->name))
        ab_fail_at(&r->err, AB_EINVALID, arg->name, "%s stands twice", arg->name);
    else if (arg)
        take_text(r, arg, ab_view_of(value ? value : ""));
    free(name);
    return r->err.code ? MHD_NO : MHD_YES;
}

static int take_member(struct reading *r, const char *key, json_t *value)
{
    const struct arg *arg = arg_of(r, key, PLACE_BODY);
    if (!arg)
        return ab_fail_at(&r->err, AB_EINVALID, key, "there is no such field; GET /openapi.json lists them");
    if (json_is_null(value)) /* not given */
        return 0;
    int rc = check(arg, value, &r->err);
    if (!rc)
        json_object_set(r->call->args, arg->name, value);
    return rc;
}

static bool takes_body(const struct reading *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (route_place(r->call->route, &r->args[i]) == PLACE_BODY)
            return true;
    return false;
}

static int read_body(struct reading *r)
{
    struct call *call = r->call;
    json_t *tree = NULL;
    const char *key;
    json_t *value;
    if (!call->body.n)
        return 0;
    if (!takes_body(r))
        return ab_fail_at(&r->err, AB_EINVALID, "body", "this path takes no body");
    int rc = ab_json_parse(ab_buf_view(&call->body), &tree, &r->err);
    if (!rc && !json_is_object(tree))
        rc = ab_fail_at(&r->err, AB_EINVALID, "body", "the body must be a JSON object");
    if (!rc)
        json_object_foreach (tree, key, value)
            if ((rc = take_member(r, key, value)))
                break;
    json_decref(tree);
    return rc;
}

static int check_required(struct reading *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->args[i].required && !json_object_get(r->call->args, r->args[i].name))
            return ab_fail_at(&r->err, AB_EINVALID, r->args[i].name, "%s is missing: %s", r->args[i].name,
                              *r->args[i].doc ? r->args[i].doc : kinds[r->args[i].type].expected);
    return 0;
}

/* The users that the arguments name; those in the seed's bodies are looked at where these are read. */
static bool may_name(struct call *call)
{
    return auth_may_name(call, ab_tree_str(call->args, "user")) &&
           auth_may_name(call, ab_tree_str(call->args, "user_id"));
}

static int check_named(struct reading *r)
{
    const struct call *call = r->call;
    const char *user = ab_tree_str(call->args, "user") ?: ab_tree_str(call->args, "user_id");
    bool in_body =
        call->route->flags & ROUTE_SEED && call->route->flags & ROUTE_RAW; /* the seed's: required there */
    if (!auth_must_name(call) || call->route->flags & ROUTE_PUBLIC || in_body)
        return 0;
    return user && *user && !ab_auth_for_all(user)
               ? 0
               : ab_fail_at(
                     &r->err, AB_EINVALID, "user",
                     "this token acts for whom each request names: user=…, or the header X-Autobots-User");
}

bool args_read(struct call *call)
{
    struct reading *r = ab_calloc(1, sizeof *r);
    r->call = call;
    r->n = route_args(call->route, r->args);
    call->args = json_object();
    int rc = read_path(r);
    if (!rc)
        MHD_get_connection_values(call->connection, MHD_GET_ARGUMENT_KIND, query_arg, r);
    rc = rc ? rc : r->err.code;
    if (!rc && !(call->route->flags & ROUTE_RAW))
        rc = read_body(r);
    if (!rc)
        rc = check_required(r);
    if (!rc)
        rc = check_named(r);
    if (rc)
        call_fail(call, &r->err, NULL);
    else if (!may_name(call))
        rc = AB_EDENIED;
    else if (!(call->route->flags & (ROUTE_PUBLIC | ROUTE_SEED)))
        guard_user(call, ab_tree_str(call->args, "user"));
    free(r);
    return !rc;
}
