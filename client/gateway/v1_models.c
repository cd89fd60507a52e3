/* GET /v1/models: the workflows that a user may run, by name. The built-in one is `chat`, with the model that the
 * gateway's environment names in MODEL, or `chat/MODEL` with any. */
#include <stdlib.h>
#include <time.h>

#include "client/gateway/v1.h"
#include "common/workflow/workflow.h"

enum { MODELS_MAX = 20000 };

static const char builtin[] = AB_WORKFLOW_BUILTIN_NAME;

bool v1_model_fields(struct call *call, const char *model, json_t **fields)
{
    struct ab_error err;
    size_t n = sizeof builtin - 1;
    bool own = !strncmp(model, builtin, n) && (!model[n] || model[n] == '/');
    const char *which = !own ? NULL : model[n] ? model + n + 1 : getenv("MODEL");
    if (strlen(model) > (own ? n + 1 + 256 : AB_WORKFLOW_NAME_MAX)) {
        ab_fail_at(&err, AB_ENOTFOUND, "model", "no model has so long a name: GET /v1/models lists yours");
        call_fail_as(call, MHD_HTTP_NOT_FOUND, "model_not_found", &err, NULL);
        return false;
    }
    if (own && (!which || !*which)) {
        ab_fail_at(&err, AB_EINVALID, "model",
                   "the built-in workflow needs a model: ask for %s/NAME, or set MODEL where the gateway runs",
                   builtin);
        call_fail(call, &err, NULL);
        return false;
    }
    *fields =
        own ? json_pack("{s:s, s:s}", "name", builtin, "model", which) : json_pack("{s:s}", "name", model);
    return true;
}

/* ---- shapes ---- */

/* Of an ISO 8601 time in UTC, as storage writes it. */
static int64_t seconds_of(const char *iso)
{
    struct tm tm = {0};
    return iso && strptime(iso, "%Y-%m-%dT%H:%M:%S", &tm) ? timegm(&tm) : 0;
}

static json_t *model_of(struct call *call, const json_t *record)
{
    const char *name = ab_tree_str(record, "name");
    bool own = ab_tree_bool(record, "builtin", false);
    return v1_model(name ? name : "", seconds_of(ab_tree_str(record, "timestamp")),
                    own ? "autobots" : call->user);
}

/* ---- the list ---- */

static void forget_list(struct call *call)
{
    json_decref(call->state);
    call->state = NULL;
}

static void on_list(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    json_t *tree = v1_tree(call, answer), *record;
    const char *next = ab_tree_str(tree, "next");
    size_t i;
    json_array_foreach (json_object_get(tree, "workflows"), i, record)
        json_array_append_new(call->state, model_of(call, record));
    if (next && json_array_size(call->state) < MODELS_MAX)
        call_query(call, "list_workflows", json_pack("{s:s}", "after", next), on_list);
    else if (tree)
        call_answer(call, MHD_HTTP_OK,
                    json_pack("{s:s, s:O}", "object", "list", "data", (json_t *)call->state));
    json_decref(tree);
    call_drop(call);
}

static void list_handle(struct call *call)
{
    call->state = json_array();
    call->forget = forget_list;
    call_query(call, "list_workflows", json_object(), on_list);
}

/* ---- one ---- */

static void on_model(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    const char *asked = ab_tree_str(call->args, "model");
    struct ab_error err;
    json_t *tree = NULL;
    if (call->connection && answer->error && answer->error->code == AB_ENOTFOUND) {
        ab_fail_at(&err, AB_ENOTFOUND, "model", "the model %.64s does not exist: GET /v1/models lists yours",
                   asked);
        call_fail_as(call, MHD_HTTP_NOT_FOUND, "model_not_found", &err, NULL);
    } else if ((tree = v1_tree(call, answer))) {
        json_t *model = model_of(call, json_object_get(tree, "record"));
        json_object_set_new(model, "id", json_string(asked));
        call_answer(call, MHD_HTTP_OK, model);
    }
    json_decref(tree);
    call_drop(call);
}

static void model_handle(struct call *call)
{
    json_t *fields;
    const char *asked = ab_tree_str(call->args, "model");
    if (!strcmp(asked, builtin)) /* it is there, also if no model is named for it */
        call_answer(call, MHD_HTTP_OK, v1_model(builtin, 0, "autobots"));
    else if (v1_model_fields(call, asked, &fields))
        call_query(call, "get_workflow", fields, on_model);
}

static const struct arg list_args[] = {{0}};
static const struct arg model_args[] = {
    {"model", ARG_STRING, .required = true, .max = 400, .doc = "a workflow's name"}, {0}};

const struct route routes_models[] = {
    {"GET", "/v1/models", SCOPE_READ, ROUTE_OPENAI, list_handle, .args = list_args, .answers = "200",
     .shape = "ModelList", .summary = "The user's workflows, as models of OpenAI's API"},
    {"GET", "/v1/models/{model}", SCOPE_READ, ROUTE_OPENAI, model_handle, .args = model_args,
     .answers = "200 404", .shape = "Model", .summary = "One of them"},
    {0},
};
