/* Queues over HTTP: what waits in them, pausing and draining them. */
#include "client/gateway/gateway.h"

/* The figures of a pool are those of all its users: who may not see the service's is told of his own queues, whose rows
 * also say what halts them. */
static void on_own(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    json_t *tree = answer->error || !call->connection || auth_has(call, AB_SCOPE_ADMIN)
                       ? NULL
                       : json_loads(answer->json, 0, NULL);
    if (!tree) {
        call_answer_asked(context, answer);
        return;
    }
    json_t *rows = json_object_get(tree, "queues");
    for (size_t i = json_array_size(rows); i-- > 0;)
        if (!json_object_get(json_array_get(rows, i), "of"))
            json_array_remove(rows, i);
    call_answer(call, MHD_HTTP_OK, tree);
    call_drop(call);
}

static void own_handle(struct call *call)
{
    call_query(call, "queues", json_object(), on_own);
}

static void all_handle(struct call *call)
{
    call_query(call, "queues", json_pack("{s:b}", "all", 1), call_answer_asked);
}

/* ---- halting ---- */

static void on_control(void *context, const struct autobots_answer *answer, const char *state)
{
    struct call *call = context;
    if (answer->error)
        call_failed(call, answer);
    else
        call_answer(call, MHD_HTTP_OK,
                    json_pack("{s:O, s:O*, s:s}", "pool", json_object_get(call->args, "pool"), "of",
                              json_object_get(call->args, "of"), "state", state));
    call_drop(call);
}

static void control(struct call *call, const char *state, autobots_done *done)
{
    json_t *fields = json_copy(call->args);
    json_object_set_new(fields, "state", json_string(state));
    call_query(call, "control_queue", fields, done);
}

#define CONTROL(verb, state)                                                                                   \
    static void on_##verb(void *context, const struct autobots_answer *answer)                                 \
    {                                                                                                          \
        on_control(context, answer, state);                                                                    \
    }                                                                                                          \
    static void verb##_handle(struct call *call)                                                               \
    {                                                                                                          \
        control(call, state, on_##verb);                                                                       \
    }
CONTROL(pause, "paused")
CONTROL(drain, "draining")
CONTROL(resume, "running")

static const struct arg none[] = {{0}};
static const struct arg control_args[] = {
    {"pool", ARG_STRING, .required = true, .max = AB_NAME_MAX, .doc = "its queue; * is every pool's"},
    {"of", ARG_STRING, .max = AB_USER_MAX, .doc = "only jobs of this user; absent: of all"},
    {"reason", ARG_STRING, .max = AB_QUEUE_REASON_MAX,
     .doc = "shown wherever somebody asks why a job does not run"},
    {0},
};

const struct route routes_queues[] = {
    {"GET", "/api/queues", SCOPE_READ, 0, own_handle, .args = none, .answers = "200", .answer = "queues",
     .summary =
         "The user's queue in each pool: depth, oldest age, running, who halted it; for admin also the pools'"},
    {"GET", "/api/queues/all", SCOPE_ADMIN, 0, all_handle, .args = none, .answers = "200", .answer = "queues",
     .summary = "The same with the queues of all users"},
    {"POST", "/api/queues/{pool}/pause", SCOPE_ADMIN, 0, pause_handle, .args = control_args, .answers = "200",
     .shape = "Halted",
     .summary = "Give no more jobs of a pool to workers; new ones are taken, running ones go on"},
    {"POST", "/api/queues/{pool}/drain", SCOPE_ADMIN, 0, drain_handle, .args = control_args, .answers = "200",
     .shape = "Halted", .summary = "The same, and refuse new jobs with 503 and Retry-After"},
    {"POST", "/api/queues/{pool}/resume", SCOPE_ADMIN, 0, resume_handle, .args = control_args, .answers = "200",
     .shape = "Halted", .summary = "Let a queue that was paused or drained go on"},
    {0},
};
