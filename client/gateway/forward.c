/* Routes that are an operation: the arguments become its request, its answer becomes ours. */
#include <stdlib.h>

#include "client/gateway/gateway.h"

typedef int start_query(struct autobots *client, const char *operation, const char *request,
                        autobots_done *done, void *context, struct autobots_error *err);

static void ask(struct call *call, start_query *start, const char *operation, json_t *fields,
                autobots_done *done)
{
    struct autobots_error err;
    const struct ab_op_row *op = ab_op_by_name(ab_view_of(operation));
    bool asked = fields;
    for (int i = 0; op && call->user && i < op->request->n; i++)
        if (!strcmp(op->request->fields[i].key,
                    "user")) /* also where an operation could do without: then it is not asked for one */
            json_object_set_new(fields, "user", json_string(call->user));
    char *text = json_dumps(fields, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(fields);
    call_hold(call);
    if (!asked) /* without them storage would answer another question */
        err = (struct autobots_error){.code = AB_EINVALID, .text = "what is asked for is not UTF-8"};
    if (!asked || start(call->gateway->bots, operation, text, done, call, &err)) {
        struct autobots_answer answer = {.error = &err};
        done(call, &answer);
    }
    free(text);
}

void call_query(struct call *call, const char *operation, json_t *fields, autobots_done *done)
{
    ask(call, autobots_start_query, operation, fields, done);
}

void call_raw_query(struct call *call, const char *operation, json_t *fields, autobots_done *done)
{
    ask(call, autobots_start_raw_query, operation, fields, done);
}

void call_answer_asked(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    if (answer->error)
        call_failed(call, answer);
    else
        call_answer_text(call, MHD_HTTP_OK, "application/json", ab_format("%s\n", answer->json));
    call_drop(call);
}

void forward_handle(struct call *call)
{
    struct arg args[ROUTE_FIELDS_MAX];
    size_t n = route_args(call->route, args);
    json_t *fields = json_object();
    for (size_t i = 0; i < n; i++) {
        bool whose = !strcmp(args[i].name, "user") && !(call->route->flags & ROUTE_PUBLIC);
        json_t *value = whose ? NULL : json_object_get(call->args, args[i].name);
        if (value)
            json_object_set(fields, args[i].field ? args[i].field : args[i].name, value);
    }
    call_query(call, call->route->operation, fields, call_answer_asked);
}
