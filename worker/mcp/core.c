/* core.h: the requests that are under way, and time. What their answers mean is in era.c. */
#include <stdlib.h>

#include "common/tree.h"
#include "common/version.h"
#include "worker/mcp/core_inside.h"

/* --- requests ------------------------------------------------------------------------------------------------- */

static struct mcp_call *find(const struct mcp_core *core, int64_t id)
{
    struct mcp_call *call;
    TAILQ_FOREACH(call, &core->calls, in_core)
    if (call->id == id && id != RPC_NO_ID)
        return call;
    return NULL;
}

struct mcp_call *core_under_way(const struct mcp_core *core, enum request kind)
{
    struct mcp_call *call;
    TAILQ_FOREACH(call, &core->calls, in_core)
    if (call->kind == kind && call->id != RPC_NO_ID)
        return call;
    return NULL;
}

void core_drop(struct mcp_core *core, struct mcp_call *call)
{
    TAILQ_REMOVE(&core->calls, call, in_core);
    core->n -= call->kind == REQUEST_CALL;
    json_decref(call->params);
    free(call->key);
    free(call);
}

/* The call is over before its user is told: what he does then finds it gone. */
void core_end_call(struct mcp_core *core, struct mcp_call *call, const json_t *result,
                   const struct ab_error *error)
{
    mcp_done_fn *done = call->done;
    void *user = call->user;
    core_drop(core, call);
    if (done)
        done(user, result, error);
}

static void put_meta(const struct mcp_core *core, const struct mcp_call *call, json_t *params)
{
    json_t *meta = json_object();
    if (core->era != MCP_LEGACY || call->kind == REQUEST_DISCOVER)
        json_object_update_new(meta, json_pack("{ss s{ss ss} s{}}", "io.modelcontextprotocol/protocolVersion",
                                               MCP_MODERN_VERSION, "io.modelcontextprotocol/clientInfo", "name",
                                               "autobots", "version", AB_VERSION,
                                               "io.modelcontextprotocol/clientCapabilities"));
    if (call->kind == REQUEST_CALL) {
        json_object_set_new(meta, "progressToken", json_integer(call->id));
        json_object_set_new(meta, "autobots/idempotencyKey", json_string(call->key));
    }
    if (json_object_size(meta))
        json_object_set(params, "_meta", meta);
    json_decref(meta);
}

static void transmit(struct mcp_core *core, struct mcp_call *call)
{
    static const char *const methods[] = {
        [REQUEST_DISCOVER] = "server/discover",
        [REQUEST_INITIALIZE] = "initialize",
        [REQUEST_LIST] = "tools/list",
        [REQUEST_CALL] = "tools/call",
        [REQUEST_LISTEN] = "subscriptions/listen",
        [REQUEST_ALIVE] = "server/discover",
        [REQUEST_PING] = "ping",
    };
    json_t *params = json_copy(call->params);
    call->id = ++core->last_id;
    put_meta(core, call, params);
    char *text = rpc_request(call->id, methods[call->kind], params);
    bool modern = core->era == MCP_MODERN || call->kind == REQUEST_DISCOVER;
    struct mcp_message message = {.text = ab_view_of(text),
                                  .id = call->id,
                                  .method = methods[call->kind],
                                  .version = modern           ? MCP_MODERN_VERSION
                                             : *core->version ? core->version
                                                              : NULL,
                                  .modern = modern,
                                  .tool = call->tool,
                                  .arguments = json_object_get(call->params, "arguments")};
    core->ops->send(core->user, &message);
    free(text);
}

/* Takes params. */
static struct mcp_call *make(struct mcp_core *core, enum request kind, json_t *params, int64_t deadline_ms)
{
    struct mcp_call *call = ab_calloc(1, sizeof *call);
    *call =
        (struct mcp_call){.kind = kind, .params = params, .deadline_ms = deadline_ms, .last_ms = deadline_ms};
    TAILQ_INSERT_TAIL(&core->calls, call, in_core);
    return call;
}

void core_request(struct mcp_core *core, enum request kind, json_t *params, int64_t deadline_ms)
{
    transmit(core, make(core, kind, params ? params : json_object(), deadline_ms));
}

void core_notify(struct mcp_core *core, const char *method, json_t *params)
{
    char *text = rpc_notification(method, params);
    struct mcp_message message = {.text = ab_view_of(text),
                                  .method = method,
                                  .version = core->era == MCP_MODERN ? MCP_MODERN_VERSION : core->version,
                                  .modern = core->era == MCP_MODERN};
    core->ops->send(core->user, &message);
    free(text);
}

void core_answer(struct mcp_core *core, char *text)
{
    struct mcp_message message = {.text = ab_view_of(text),
                                  .version = core->era == MCP_MODERN ? MCP_MODERN_VERSION : core->version,
                                  .modern = core->era == MCP_MODERN};
    core->ops->send(core->user, &message);
    free(text);
}

/* Nobody waits for it any more. */
void core_abandon(struct mcp_core *core, struct mcp_call *call, const char *why)
{
    int64_t id = call->id;
    core_drop(core, call);
    if (id == RPC_NO_ID)
        return;
    if (!core->http || core->era == MCP_LEGACY)
        core_notify(core, "notifications/cancelled",
                    json_pack("{sI ss}", "requestId", (json_int_t)id, "reason", why));
    core->ops->abandon(core->user, id);
}

/* What the server has by that name must be the tool that was offered, and perhaps approved: it may have been started again, or
 * have changed its list, since. */
static int check_tool(const struct mcp_core *core, const char *name, const char *digest, struct ab_error *err)
{
    const struct mcp_tool *tool = mcp_tools_find(core->tools, name);
    if (tool && !strcmp(tool->digest, digest))
        return 0;
    return ab_fail(err, AB_ECONFLICT, "its tool %.128s %s since it was offered; it was not called", name,
                   tool ? "has changed" : "is gone");
}

void core_send_waiting(struct mcp_core *core)
{
    struct mcp_call *call, *next;
    for (call = TAILQ_FIRST(&core->calls); call; call = next) {
        struct ab_error why = {0};
        next = TAILQ_NEXT(call, in_core);
        if (call->kind != REQUEST_CALL || call->id != RPC_NO_ID)
            continue;
        if (!check_tool(core, ab_tree_str(call->params, "name"), call->digest, &why)) {
            transmit(core, call);
            continue;
        }
        core_end_call(core, call, NULL, &why);
        next = TAILQ_FIRST(&core->calls); /* others may be gone with it */
    }
}

/* --- states --------------------------------------------------------------------------------------------------- */

void core_set_state(struct mcp_core *core, enum mcp_state state)
{
    core->state = state;
    if (state == MCP_READY)
        core->start_by_ms = INT64_MAX;
    core->ops->changed(core->user);
}

static struct mcp_call *first_that_fails(const struct mcp_core *core, bool waiting_too)
{
    struct mcp_call *call;
    TAILQ_FOREACH(call, &core->calls, in_core)
    if (call->id != RPC_NO_ID || waiting_too)
        return call;
    return NULL;
}

/* All requests, but calls that wait only if those too; of each call its user is told. */
static void fail_all(struct mcp_core *core, bool waiting_too, const struct ab_error *why)
{
    struct mcp_call *call;
    while ((call = first_that_fails(core, waiting_too)))
        core_end_call(core, call, NULL, why);
}

void core_break(struct mcp_core *core, int code, const char *format, ...)
{
    va_list args;
    char text[AB_ERROR_TEXT_MAX];
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ab_fail(&core->error, code, "%s", text);
    core->start_by_ms = core->relist_ms = INT64_MAX;
    if (core->state == MCP_INITIALIZING) /* what was known of its era may be wrong */
        core->era = MCP_UNKNOWN;
    core->state = MCP_BROKEN;
    fail_all(core, true, &core->error);
    core->ops->changed(core->user);
}

void mcp_core_start(struct mcp_core *core, int64_t now_ms)
{
    core->error = (struct ab_error){0};
    core->garbage = 0;
    core->changes = 0;
    core->pace_ms = 0;
    core->dirty = false;
    core->relist_ms = INT64_MAX;
    core->start_by_ms = now_ms + core->times.start_ms;
    if (core->era == MCP_LEGACY)
        era_initialize(core, now_ms);
    else
        era_probe(core, now_ms);
}

bool mcp_core_lost(struct mcp_core *core, const struct ab_error *why)
{
    bool at_probe = core->state == MCP_PROBING && !core->http;
    core->state = MCP_DOWN;
    core->start_by_ms = core->relist_ms = INT64_MAX;
    mcp_tools_unref(core->listing);
    core->listing = NULL;
    core->error = *why;
    if (at_probe) /* some legacy servers end at what they do not know */
        core->era = MCP_LEGACY;
    fail_all(core, false, why);
    return at_probe;
}

void mcp_core_give_up(struct mcp_core *core, const struct ab_error *why)
{
    core_break(core, why->code, "%s", why->text);
}

/* --- what comes in -------------------------------------------------------------------------------------------- */

static void garbage(struct mcp_core *core, int64_t answers, struct ab_view text, const char *why,
                    int64_t now_ms)
{
    struct rpc_scan scan = {0};
    rpc_scan(&scan, text);
    struct mcp_call *call = find(core, answers != RPC_NO_ID ? answers : scan.id);
    char *shown = ab_format("%s: %.*s", why, (int)(text.n < 200 ? text.n : 200), text.p);
    core->ops->told(core->user, "mcp.garbage", shown);
    free(shown);
    if (call) {
        struct rpc failure = {.kind = RPC_ERROR, .id = call->id, .message = why};
        era_error(core, call, &failure, now_ms);
    } else if (++core->garbage > MCP_GARBAGE_MAX) {
        core_break(core, AB_EINVALID, "it writes what are no messages: %s", why);
    }
}

static void on_progress(struct mcp_core *core, const json_t *params, int64_t now_ms)
{
    struct mcp_call *call = find(core, ab_tree_int(params, "progressToken", RPC_NO_ID));
    if (!call || call->kind != REQUEST_CALL)
        return;
    int64_t at = now_ms + core->times.call_ms;
    call->deadline_ms = at < call->last_ms ? at : call->last_ms;
}

static void on_notification(struct mcp_core *core, const struct rpc *rpc, int64_t now_ms)
{
    if (!strcmp(rpc->method, "notifications/progress"))
        on_progress(core, rpc->params, now_ms);
    else if (!strcmp(rpc->method, "notifications/tools/list_changed"))
        era_list_changed(core, now_ms);
}

/* We declare no capabilities: a server may only ask whether we are there. Its id is given back: it must be what an id may be. */
static void on_request(struct mcp_core *core, const struct rpc *rpc)
{
    if (!json_is_integer(rpc->own_id) &&
        (!json_is_string(rpc->own_id) || json_string_length(rpc->own_id) > MCP_ID_BYTES_MAX)) {
        core->ops->told(core->user, "mcp.garbage", "a request whose id is neither a number nor a short text");
        return;
    }
    core_answer(core, !strcmp(rpc->method, "ping")
                          ? rpc_answer(rpc->own_id, NULL)
                          : rpc_refusal(rpc->own_id, RPC_METHOD_NOT_FOUND, "this client does not offer that"));
}

static void take_one(struct mcp_core *core, const json_t *tree, struct ab_view text, int64_t answers,
                     int64_t now_ms)
{
    struct rpc rpc;
    struct ab_error why = {0};
    if (rpc_read(tree, &rpc, &why)) {
        garbage(core, answers, text, why.text, now_ms);
        return;
    }
    if (rpc.kind == RPC_REQUEST || rpc.kind == RPC_NOTIFICATION) {
        if (rpc.kind == RPC_REQUEST)
            on_request(core, &rpc);
        else
            on_notification(core, &rpc, now_ms);
        return;
    }
    /* an error about a request as a whole may name none */
    struct mcp_call *call = find(core, rpc.id != RPC_NO_ID     ? rpc.id
                                       : rpc.kind == RPC_ERROR ? answers
                                                               : RPC_NO_ID);
    if (!call)
        core->ops->told(core->user, "mcp.unasked", "an answer to nothing, or a second one");
    else if (rpc.kind == RPC_RESULT)
        era_result(core, call, rpc.result, now_ms);
    else
        era_error(core, call, &rpc, now_ms);
}

void mcp_core_take(struct mcp_core *core, struct ab_view text, int64_t answers, int64_t now_ms)
{
    struct ab_error why = {0};
    json_t *tree = NULL, *one;
    size_t i;
    if (core->state == MCP_DOWN || core->state == MCP_BROKEN)
        return;
    if (rpc_values(text) > MCP_VALUES_MAX) {
        garbage(core, answers, text, "it sent a message of too many values", now_ms);
        return;
    }
    if (ab_json_parse(text, &tree, &why)) {
        char *what = ab_format("it sent what is no JSON: %s", why.text);
        garbage(core, answers, text, what, now_ms);
        free(what);
        return;
    }
    if (json_is_array(tree)) { /* revision 2025-03-26 had batches */
        json_array_foreach (tree, i, one)
            take_one(core, one, text, answers, now_ms);
    } else {
        take_one(core, tree, text, answers, now_ms);
    }
    json_decref(tree);
}

void mcp_core_too_long(struct mcp_core *core, int64_t id, uint64_t bytes, int64_t now_ms)
{
    struct mcp_call *call = find(core, id);
    char *why = ab_format("its message has %llu bytes, which is too long", (unsigned long long)bytes);
    struct rpc failure = {.kind = RPC_ERROR, .id = id, .message = why};
    core->ops->told(core->user, "mcp.too_long", why);
    if (call)
        era_error(core, call, &failure, now_ms);
    free(why);
}

void mcp_core_failed(struct mcp_core *core, int64_t id, int status, struct ab_view body, bool in_session,
                     int64_t now_ms)
{
    struct mcp_call *call = find(core, id);
    struct rpc rpc = {0};
    json_t *tree = NULL;
    if (!call)
        return;
    bool told =
        status && !ab_json_parse(body, &tree, NULL) && !rpc_read(tree, &rpc, NULL) && rpc.kind == RPC_ERROR;
    char *why = told     ? ab_format("HTTP %d: %s", status, rpc.message)
                : status ? ab_format("HTTP %d%s%.*s", status, body.n ? ": " : "",
                                     (int)(body.n < 160 ? body.n : 160), body.p)
                         : ab_format("%.*s", AB_VIEW_FMT(body));
    struct failure failure = {.status = status,
                              .code = told ? rpc.code : 0,
                              .data = told ? rpc.data : NULL,
                              .text = why,
                              .in_session = in_session};
    era_failed(core, call, &failure, now_ms);
    free(why);
    json_decref(tree);
}

/* --- time ----------------------------------------------------------------------------------------------------- */

int64_t mcp_core_deadline_ms(const struct mcp_core *core)
{
    const struct mcp_call *call;
    int64_t at = core->start_by_ms < core->relist_ms ? core->start_by_ms : core->relist_ms;
    TAILQ_FOREACH(call, &core->calls, in_core)
    at = call->deadline_ms < at ? call->deadline_ms : at;
    return at;
}

static void too_late(struct mcp_core *core, struct mcp_call *call, int64_t now_ms)
{
    mcp_done_fn *done = call->done;
    void *user = call->user;
    struct ab_error error = {0};
    bool sent = call->id != RPC_NO_ID;
    ab_fail(&error, AB_ETIMEOUT, sent ? "it gave no answer in time" : "it was not ready in time%s%s",
            core->error.code ? ": " : "", core->error.text);
    core_abandon(core, call, "no answer in time");
    if (sent && core->state == MCP_READY && !core_under_way(core, REQUEST_ALIVE) &&
        !core_under_way(core, REQUEST_PING))
        core_request(core, core->era == MCP_MODERN ? REQUEST_ALIVE : REQUEST_PING, NULL, now_ms + MCP_ALIVE_MS);
    done(user, NULL, &error);
}

static void expired(struct mcp_core *core, struct mcp_call *call, int64_t now_ms)
{
    switch (call->kind) {
    case REQUEST_DISCOVER: /* silence; but its answer may still come */
        call->deadline_ms = INT64_MAX;
        era_initialize(core, now_ms);
        break;
    case REQUEST_CALL:
        too_late(core, call, now_ms);
        break;
    case REQUEST_ALIVE:
    case REQUEST_PING:
        core_break(core, AB_ETIMEOUT, "it does not answer any more");
        break;
    default:
        era_list_failed(core, call, "no answer in time", now_ms);
    }
}

void mcp_core_tick(struct mcp_core *core, int64_t now_ms)
{
    struct mcp_call *call, *next;
    if (now_ms >= core->start_by_ms)
        core_break(core, AB_ETIMEOUT, "it was not ready within %lld s: no answer to %s",
                   (long long)(core->times.start_ms + 999) / 1000,
                   core->state == MCP_LISTING ? "tools/list" : "initialize");
    for (call = TAILQ_FIRST(&core->calls); call; call = next) {
        next = TAILQ_NEXT(call, in_core);
        if (now_ms < call->deadline_ms)
            continue;
        expired(core, call, now_ms);
        next = TAILQ_FIRST(&core->calls); /* others may be gone with it */
    }
    if (now_ms >= core->relist_ms)
        era_list(core, now_ms);
}

/* --- the interface -------------------------------------------------------------------------------------------- */

struct mcp_core *mcp_core_create(const struct mcp_times *times, bool http, enum mcp_era era,
                                 const struct mcp_core_ops *ops, void *user)
{
    struct mcp_core *core = ab_calloc(1, sizeof *core);
    *core = (struct mcp_core){.times = *times,
                              .http = http,
                              .era = era,
                              .ops = ops,
                              .user = user,
                              .version = ab_strdup(""),
                              .name = ab_strdup(""),
                              .start_by_ms = INT64_MAX,
                              .relist_ms = INT64_MAX};
    TAILQ_INIT(&core->calls);
    return core;
}

void mcp_core_destroy(struct mcp_core *core)
{
    if (!core)
        return;
    while (!TAILQ_EMPTY(&core->calls))
        core_drop(core, TAILQ_FIRST(&core->calls));
    mcp_tools_unref(core->tools);
    mcp_tools_unref(core->listing);
    free(core->version);
    free(core->name);
    free(core);
}

enum mcp_state mcp_core_state(const struct mcp_core *core)
{
    return core->state;
}

enum mcp_era mcp_core_era(const struct mcp_core *core)
{
    return core->era;
}

const char *mcp_core_version(const struct mcp_core *core)
{
    return core->version;
}

const char *mcp_core_server(const struct mcp_core *core)
{
    return core->name;
}

const struct ab_error *mcp_core_error(const struct mcp_core *core)
{
    return &core->error;
}

struct mcp_tools *mcp_core_tools(const struct mcp_core *core)
{
    return core->tools;
}

bool mcp_core_waits_for(const struct mcp_core *core, int64_t id)
{
    return find(core, id) != NULL;
}

bool mcp_core_idle(const struct mcp_core *core)
{
    return !core->n;
}

struct mcp_call *mcp_core_call(struct mcp_core *core, const struct mcp_tool *tool, const json_t *arguments,
                               const char *key, int64_t limit_ms, mcp_done_fn *done, void *user, int64_t now_ms,
                               struct ab_error *err)
{
    const struct mcp_times *times = &core->times;
    if (core->n >= MCP_CALLS_MAX) {
        ab_fail(err, AB_EBUSY, "%d calls are under way at it", MCP_CALLS_MAX);
        return NULL;
    }
    if (core->state == MCP_READY && check_tool(core, tool->name, tool->digest, err))
        return NULL;
    int64_t first_ms = times->call_ms, last_ms = times->call_max_ms;
    if (limit_ms) {
        first_ms = limit_ms < first_ms ? limit_ms : first_ms;
        last_ms = limit_ms < last_ms ? limit_ms : last_ms;
    }
    struct mcp_call *call =
        make(core, REQUEST_CALL, json_pack("{ss sO}", "name", tool->name, "arguments", arguments),
             now_ms + first_ms);
    core->n++;
    call->last_ms = now_ms + last_ms;
    call->tool = tool;
    call->done = done;
    call->user = user;
    call->key = ab_strdup(key);
    memcpy(call->digest, tool->digest, sizeof call->digest);
    if (core->state == MCP_READY)
        transmit(core, call);
    return call;
}

void mcp_core_cancel(struct mcp_core *core, struct mcp_call *call, const char *why)
{
    core_abandon(core, call, why);
}
