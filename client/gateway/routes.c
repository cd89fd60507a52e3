/* Finding routes, and what they take. The tables stand in the files of their handlers. */
#include "client/gateway/routes.h"

#include <assert.h>

const struct route *const route_tables[] = {routes_service, routes_submit, routes_jobs, routes_stored,
                                            routes_seed,    routes_models, routes_chat, routes_responses,
                                            routes_queues,  NULL};

/* The next segment of a path; false at its end. */
static bool segment(struct ab_view *path, struct ab_view *out)
{
    if (!path->n || *path->p != '/')
        return false;
    const char *start = path->p + 1, *end = memchr(start, '/', path->n - 1);
    *out = ab_view(start, end ? (size_t)(end - start) : path->n - 1);
    *path = ab_view(out->p + out->n, path->n - 1 - out->n);
    return true;
}

static bool is_value(struct ab_view pattern)
{
    return pattern.n > 2 && pattern.p[0] == '{';
}

static bool matches(struct ab_view pattern, struct ab_view path, struct ab_view values[ROUTE_VALUES_MAX])
{
    struct ab_view want, got;
    int n = 0;
    for (;;) {
        bool more = segment(&pattern, &want);
        if (more != segment(&path, &got))
            return false;
        if (!more)
            return true;
        if (is_value(want) ? !got.n : !ab_view_eq(want, got))
            return false;
        if (is_value(want)) {
            assert(n < ROUTE_VALUES_MAX);
            values[n++] = got;
        }
    }
}

static void add_method(struct ab_buf *allow, const char *method)
{
    if (allow->n)
        ab_buf_text(allow, ", ");
    ab_buf_text(allow, method);
    if (!strcmp(method, "GET"))
        ab_buf_text(allow, ", HEAD");
}

enum route_found route_find(const char *method, struct ab_view path, const struct route **route,
                            struct ab_view values[ROUTE_VALUES_MAX], struct ab_buf *allow)
{
    enum route_found found = ROUTE_UNKNOWN;
    for (size_t t = 0; route_tables[t]; t++)
        for (const struct route *r = route_tables[t]; r->method; r++) {
            if (!matches(ab_view_of(r->path), path, values))
                continue;
            found = ROUTE_OTHER_METHOD;
            if (allow)
                add_method(allow, r->method);
            if (strcmp(method, r->method))
                continue;
            *route = r;
            return ROUTE_FOUND;
        }
    if (allow && found == ROUTE_OTHER_METHOD)
        add_method(allow, "OPTIONS");
    return found;
}

/* ---- arguments ---- */

static const enum arg_type types[] = {
    [AB_BOOL] = ARG_BOOL,  [AB_UINT] = ARG_UINT, [AB_INT] = ARG_INT, [AB_STR] = ARG_STRING,
    [AB_BIN] = ARG_STRING, [AB_ID] = ARG_ID,     [AB_ANY] = ARG_ANY, [AB_MAYBE] = ARG_UINT,
};
#define COUNT(...) +1
_Static_assert(sizeof types / sizeof *types == 0 AB_FIELD_TYPES(COUNT),
               "a type of field has no type of argument");

/* `user` is the gateway's to fill in, unless the route is of all users: then it may be a filter. */
static size_t operation_args(const char *operation, bool all_users, struct arg args[ROUTE_FIELDS_MAX])
{
    const struct ab_op_row *op = ab_op_by_name(ab_view_of(operation));
    size_t n = 0;
    assert(op && op->request->n < ROUTE_FIELDS_MAX);
    for (int i = 0; i < op->request->n; i++) {
        const struct ab_field *field = &op->request->fields[i];
        if (all_users || strcmp(field->key, "user"))
            args[n++] = (struct arg){.name = field->key,
                                     .type = types[field->type],
                                     .required = field->required,
                                     .max = field->type == AB_BIN ? 2 * field->max : field->max,
                                     .doc = field->doc};
    }
    return n;
}

size_t route_args(const struct route *route, struct arg args[ROUTE_FIELDS_MAX])
{
    size_t n = 0;
    if (route->args)
        for (; route->args[n].name; n++) {
            assert(n < ROUTE_FIELDS_MAX - 1);
            args[n] = route->args[n];
        }
    else if (route->operation)
        n = operation_args(route->operation, route->flags & ROUTE_PUBLIC, args);
    if (!(route->flags & (ROUTE_PUBLIC | ROUTE_SEED)))
        args[n++] = (struct arg){.name = "user",
                                 .type = ARG_STRING,
                                 .query = true,
                                 .max = AB_USER_MAX,
                                 .doc = "whom the request acts for (default: default_user_id)"};
    return n;
}

int route_value_index(const struct route *route, const char *name)
{
    struct ab_view path = ab_view_of(route->path), part;
    size_t n = strlen(name);
    for (int i = 0; segment(&path, &part);)
        if (is_value(part)) {
            if (part.n == n + 2 && !memcmp(part.p + 1, name, n))
                return i;
            i++;
        }
    return -1;
}

enum arg_place route_place(const struct route *route, const struct arg *arg)
{
    if (route_value_index(route, arg->name) >= 0)
        return PLACE_PATH;
    bool in_query = arg->query || !strcmp(route->method, "GET") || !strcmp(route->method, "DELETE");
    return in_query ? PLACE_QUERY : PLACE_BODY;
}

const char *route_common_answers(const struct route *route, bool body)
{
    if (route->flags & ROUTE_SEED)
        return body ? "400 401 403 413 429 503" : "400 401 403 429 503";
    if (!route->operation && !route->args && !body) /* asks nobody */
        return route->scope == SCOPE_NONE ? "400 403 429 503 504" : "400 401 403 429 503 504";
    return body ? "400 401 403 413 415 429 500 503 504" : "400 401 403 429 500 503 504";
}
