/* What concerns the service and not one user: health, version, workers, the description of this API. */
#include "client/gateway/gateway.h"
#include "client/gateway/metrics.h"
#include "common/clock.h"

static void healthz_handle(struct call *call)
{
    call_answer(call, MHD_HTTP_OK, json_pack("{s:s}", "status", "ok"));
}

static void version_handle(struct call *call)
{
    call_answer(call, MHD_HTTP_OK, json_pack("{s:s}", "version", autobots_version()));
}

/* Ready: jobs are taken (the broker is there and has storage). */
static void on_ready(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct ab_error err;
    json_t *tree = NULL;
    if (answer->error)
        call_failed(call, answer);
    else if (ab_json_parse(ab_view_of(answer->json), &tree, &err))
        call_fail(call, &err, NULL);
    else if (!ab_tree_bool(tree, "storage", false)) {
        ab_fail(&err, AB_EUNAVAILABLE, "the broker has no storage");
        call_fail(call, &err, NULL);
    } else {
        json_t *ready = json_pack("{s:s}", "status", "ready");
        json_t *workers = json_object_get(tree, "workers");
        if (!auth_required(call->gateway->auth)) /* else the service's figures are its administrators' */
            json_object_set_new(ready, "workers", json_integer((json_int_t)json_array_size(workers)));
        call_answer(call, MHD_HTTP_OK, ready);
    }
    json_decref(tree);
    call_drop(call);
}

static void not_ready(struct call *call)
{
    struct ab_error err;
    ab_fail(&err, AB_EUNAVAILABLE, "the broker does not answer");
    call_fail(call, &err, NULL);
}

static void readyz_handle(struct call *call)
{
    call->late_ms = ab_mono_ms() + LATE_MS;
    call->late = not_ready;
    call_query(call, "status", json_object(), on_ready);
}

static void on_workers(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    json_t *tree = NULL;
    if (answer->error)
        call_failed(call, answer);
    else if (!ab_json_parse(ab_view_of(answer->json), &tree, NULL)) {
        json_t *list = json_object_get(tree, "workers");
        call_answer(call, MHD_HTTP_OK, json_pack("{s:o}", "workers", list ? json_incref(list) : json_array()));
    }
    json_decref(tree);
    call_drop(call);
}

static void workers_handle(struct call *call)
{
    call_query(call, "status", json_object(), on_workers);
}

const struct route routes_service[] = {
    {"GET", "/openapi.json", SCOPE_NONE, ROUTE_PUBLIC, openapi_handle, .answers = "200", .shape = "Document",
     .summary = "This description of the API"},
    {"GET", "/healthz", SCOPE_NONE, ROUTE_PUBLIC, healthz_handle, .answers = "200", .shape = "Health",
     .summary = "This process is alive"},
    {"GET", "/readyz", SCOPE_NONE, ROUTE_PUBLIC, readyz_handle, .answers = "200", .shape = "Health",
     .summary = "Jobs are taken"},
    {"GET", "/metrics", SCOPE_ADMIN, ROUTE_PUBLIC | ROUTE_TEXT, metrics_handle, .answers = "200",
     .summary = "Counters of all parts, as Prometheus reads them"},
    {"GET", "/api/events", SCOPE_READ, ROUTE_STREAM, board_handle, .answers = "200",
     .summary = "For dashboards: the user's newest jobs up to `listed`, then each as it changes, also behind "
                "Last-Event-ID; "
                "for admin also the service's status"},
    {"GET", "/api/version", SCOPE_NONE, ROUTE_PUBLIC, version_handle, .answers = "200", .shape = "Version",
     .summary = "The version that runs"},
    {"GET", "/api/status", SCOPE_ADMIN, ROUTE_PUBLIC, .operation = "status", .answers = "200",
     .summary = "Queue, workers and counters of the broker"},
    {"GET", "/api/workers", SCOPE_ADMIN, ROUTE_PUBLIC, workers_handle, .answers = "200", .shape = "Workers",
     .summary = "The workers that are there, what they run and what they did"},
    {"GET", "/api/storage", SCOPE_ADMIN, ROUTE_PUBLIC, .operation = "storage_status", .answers = "200",
     .summary = "Health and counters of storage"},
    {0},
};
