/* core.h: what is asked of a server, in which era, and what its answers mean. */
#include <stdlib.h>
#include <strings.h>

#include "common/tree.h"
#include "common/version.h"
#include "common/wire/schema.h"
#include "worker/mcp/core_inside.h"

static const char *const legacy_versions[] = {"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"};

static bool is_legacy_version(const char *version)
{
    for (size_t i = 0; version && i < sizeof legacy_versions / sizeof *legacy_versions; i++)
        if (!strcmp(legacy_versions[i], version))
            return true;
    return false;
}

static void set_text(char **to, const char *text)
{
    struct ab_view whole = ab_view(text ? text : "", text ? strnlen(text, 200) : 0);
    while (!ab_utf8_ok(whole)) /* whole characters */
        whole.n--;
    free(*to);
    *to = ab_view_dup(whole);
}

/* --- tools/list ----------------------------------------------------------------------------------------------- */

static void ask_page(struct mcp_core *core, const char *cursor, int64_t now_ms)
{
    json_t *params = cursor ? json_pack("{ss}", "cursor", cursor) : json_object();
    core_request(core, REQUEST_LIST, params,
                 core->state == MCP_READY ? now_ms + core->times.start_ms : INT64_MAX);
}

void era_list(struct mcp_core *core, int64_t now_ms)
{
    core->relist_ms = INT64_MAX;
    core->dirty = false;
    mcp_tools_unref(core->listing);
    core->listing = mcp_tools_create();
    ask_page(core, NULL, now_ms);
}

static void list_later(struct mcp_core *core, int64_t now_ms)
{
    if (now_ms - core->listed_ms >= MCP_RELIST_MS_MAX || !core->pace_ms)
        core->pace_ms = MCP_RELIST_MS;
    int64_t at = core->listed_ms + core->pace_ms;
    core->relist_ms = at > now_ms ? at : now_ms;
    core->pace_ms = core->pace_ms * 2 < MCP_RELIST_MS_MAX ? core->pace_ms * 2 : MCP_RELIST_MS_MAX;
}

void era_list_changed(struct mcp_core *core, int64_t now_ms)
{
    if (core->listing)
        core->dirty = true;
    else if (core->state == MCP_READY && core->relist_ms == INT64_MAX)
        list_later(core, now_ms);
}

void mcp_core_refresh(struct mcp_core *core, int64_t now_ms)
{
    if (core->state == MCP_READY && now_ms >= core->fresh_until_ms)
        era_list_changed(core, now_ms);
}

/* For a list that is renewed, the one before is as good. */
void era_list_failed(struct mcp_core *core, struct mcp_call *call, const char *why, int64_t now_ms)
{
    bool renewed = core->state == MCP_READY, listing = call->kind == REQUEST_LIST;
    core_drop(core, call);
    if (!listing)
        return;
    mcp_tools_unref(core->listing);
    core->listing = NULL;
    core->listed_ms = now_ms;
    core->fresh_until_ms = now_ms + MCP_UNTOLD_TTL_MS;
    if (renewed)
        core->ops->told(core->user, "mcp.list_failed", why);
    else
        core_break(core, AB_EINVALID, "%s", why);
}

static void list_ready(struct mcp_core *core, int64_t ttl_ms, int64_t now_ms)
{
    mcp_tools_end(core->listing);
    if (core->listing->left_out.n)
        core->ops->told(core->user, "mcp.tools_left_out", ab_buf_cstr(&core->listing->left_out));
    bool same = core->tools && mcp_tools_same(core->tools, core->listing);
    if (same) {
        mcp_tools_unref(core->listing);
    } else {
        mcp_tools_unref(core->tools);
        core->tools = core->listing;
    }
    core->listing = NULL;
    core->listed_ms = now_ms;
    core->fresh_until_ms = now_ms + ttl_ms;
    bool first = core->state != MCP_READY;
    if (core->dirty)
        list_later(core, now_ms);
    if (first && core->dirty && core->changes++ < MCP_CHANGES_AT_START_MAX)
        return; /* a server that is still adding tools: the first list is made anew */
    if (first || !same)
        core_set_state(core, MCP_READY);
    if (first)
        core_send_waiting(core);
}

static int64_t ttl_of(const struct mcp_core *core, const json_t *page)
{
    int64_t otherwise = core->tells_changes ? INT64_MAX / 4 : MCP_UNTOLD_TTL_MS;
    int64_t ttl_ms = ab_tree_int(page, "ttlMs", otherwise);
    return ttl_ms < MCP_RELIST_MS ? MCP_RELIST_MS : ttl_ms > INT64_MAX / 4 ? INT64_MAX / 4 : ttl_ms;
}

static void on_page(struct mcp_core *core, struct mcp_call *call, const json_t *page, int64_t now_ms)
{
    struct ab_error why = {0};
    const char *cursor = NULL;
    if (!core->listing || mcp_tools_add(core->listing, page, &cursor, &why)) {
        era_list_failed(core, call, why.text, now_ms);
        return;
    }
    core_drop(core, call);
    if (cursor)
        ask_page(core, cursor, now_ms);
    else
        list_ready(core, ttl_of(core, page), now_ms);
}

/* The greeting is over. */
static void list_first(struct mcp_core *core, const json_t *capabilities, int64_t now_ms)
{
    const json_t *tools = json_object_get(capabilities, "tools");
    core->tells_changes = ab_tree_bool(tools, "listChanged", false) && !core->http;
    core_set_state(core, MCP_LISTING);
    if (core->tells_changes && core->era == MCP_MODERN)
        core_request(core, REQUEST_LISTEN, json_pack("{s{sb}}", "notifications", "toolsListChanged", 1),
                     INT64_MAX);
    if (tools) {
        era_list(core, now_ms);
        return;
    }
    core->listing = mcp_tools_create();
    list_ready(core, INT64_MAX / 4, now_ms);
}

/* --- the greeting --------------------------------------------------------------------------------------------- */

void era_probe(struct mcp_core *core, int64_t now_ms)
{
    core_set_state(core, MCP_PROBING);
    core_request(core, REQUEST_DISCOVER, NULL, now_ms + core->times.probe_ms);
}

void era_initialize(struct mcp_core *core, int64_t now_ms)
{
    (void)now_ms;
    set_text(&core->version, NULL);
    core->era = MCP_LEGACY;
    core_set_state(core, MCP_INITIALIZING);
    core_request(core, REQUEST_INITIALIZE,
                 json_pack("{ss s{} s{ss ss}}", "protocolVersion", MCP_LEGACY_VERSION, "capabilities",
                           "clientInfo", "name", "autobots", "version", AB_VERSION),
                 INT64_MAX);
}

static bool names_version(const json_t *list, bool legacy)
{
    size_t i;
    json_t *one;
    json_array_foreach (list, i, one) {
        const char *version = json_string_value(one);
        if (version && (legacy ? is_legacy_version(version) : !strcmp(version, MCP_MODERN_VERSION)))
            return true;
    }
    return false;
}

/* A modern server that does not speak our revision may have an older one in common with us. */
static void no_modern_version(struct mcp_core *core, const json_t *versions, int64_t now_ms)
{
    struct ab_buf text = {0};
    if (names_version(versions, true)) {
        era_initialize(core, now_ms);
        return;
    }
    ab_json_text_max(versions ? versions : json_null(), &text, 200);
    core_break(core, AB_EVERSION, "it speaks none of our revisions (%s and older), but %s", MCP_MODERN_VERSION,
               ab_buf_cstr(&text));
    ab_buf_finish(&text);
}

static void on_discovered(struct mcp_core *core, struct mcp_call *call, const json_t *result, int64_t now_ms)
{
    const json_t *versions = json_object_get(result, "supportedVersions");
    const json_t *server = json_object_get(result, "serverInfo");
    struct mcp_call *initialize;
    core_drop(core, call);
    if (!json_is_array(versions)) { /* whatever that is, it is no answer to our question */
        if (core->state == MCP_PROBING)
            era_initialize(core, now_ms);
        return;
    }
    if (!names_version(versions, false)) {
        if (core->state == MCP_PROBING)
            no_modern_version(core, versions, now_ms);
        return;
    }
    core->era = MCP_MODERN;
    if ((initialize = core_under_way(core, REQUEST_INITIALIZE))) /* the answer came late */
        core_drop(core, initialize);
    if (!server) /* where the released revision has it */
        server = json_object_get(json_object_get(result, "_meta"), "io.modelcontextprotocol/serverInfo");
    set_text(&core->version, MCP_MODERN_VERSION);
    set_text(&core->name, ab_tree_str(server, "name"));
    list_first(core, json_object_get(result, "capabilities"), now_ms);
}

static void on_initialized(struct mcp_core *core, struct mcp_call *call, const json_t *result, int64_t now_ms)
{
    const char *version = ab_tree_str(result, "protocolVersion");
    struct mcp_call *probe = core_under_way(core, REQUEST_DISCOVER);
    core_drop(core, call);
    if (probe)
        core_drop(core, probe);
    if (!is_legacy_version(version)) {
        core_break(core, AB_EVERSION, "it answers initialize with revision %.40s, which is not spoken here",
                   version ? version : "(none)");
        return;
    }
    set_text(&core->version, version);
    set_text(&core->name, ab_tree_str(json_object_get(result, "serverInfo"), "name"));
    core_notify(core, "notifications/initialized", NULL);
    list_first(core, json_object_get(result, "capabilities"), now_ms);
}

static void not_told_any_more(struct mcp_core *core, struct mcp_call *listen, int64_t now_ms)
{
    core_drop(core, listen);
    core->tells_changes = false;
    core->fresh_until_ms = now_ms + MCP_UNTOLD_TTL_MS;
}

/* --- answers -------------------------------------------------------------------------------------------------- */

void era_result(struct mcp_core *core, struct mcp_call *call, const json_t *result, int64_t now_ms)
{
    switch (call->kind) {
    case REQUEST_DISCOVER:
        on_discovered(core, call, result, now_ms);
        break;
    case REQUEST_INITIALIZE:
        on_initialized(core, call, result, now_ms);
        break;
    case REQUEST_LIST:
        on_page(core, call, result, now_ms);
        break;
    case REQUEST_CALL:
        core_end_call(core, call, result, NULL);
        break;
    case REQUEST_LISTEN:
        not_told_any_more(core, call, now_ms);
        break;
    default:
        core_drop(core, call);
    }
}

static bool is_modern_code(int64_t code)
{
    return code == RPC_HEADER_MISMATCH || code == RPC_MISSING_CAPABILITY || code == RPC_UNSUPPORTED_VERSION;
}

static void probe_refused(struct mcp_core *core, struct mcp_call *call, int64_t code, const json_t *data,
                          const char *text, int64_t now_ms)
{
    bool decided = core->state != MCP_PROBING;
    core_drop(core, call);
    if (decided)
        return;
    if (code == RPC_UNSUPPORTED_VERSION)
        no_modern_version(core, json_object_get(data, "supported"), now_ms);
    else if (is_modern_code(code))
        core_break(core, AB_EINVALID, "it refuses server/discover: %.200s", text);
    else
        era_initialize(core, now_ms);
}

static void call_refused(struct mcp_core *core, struct mcp_call *call, const char *text)
{
    struct ab_error error = {0};
    ab_fail(&error, AB_EINVALID, "%s", text);
    core_end_call(core, call, NULL, &error);
}

static void refused(struct mcp_core *core, struct mcp_call *call, int64_t code, const json_t *data,
                    const char *text, int64_t now_ms)
{
    switch (call->kind) {
    case REQUEST_DISCOVER:
        probe_refused(core, call, code, data, text, now_ms);
        break;
    case REQUEST_INITIALIZE:
        core_drop(core, call);
        core_break(core, AB_EINVALID, "it refuses initialize: %.300s", text);
        break;
    case REQUEST_LIST:
        era_list_failed(core, call, text, now_ms);
        break;
    case REQUEST_CALL:
        call_refused(core, call, text);
        break;
    case REQUEST_LISTEN:
        not_told_any_more(core, call, now_ms);
        break;
    default: /* also an error is a sign of life */
        core_drop(core, call);
    }
}

void era_error(struct mcp_core *core, struct mcp_call *call, const struct rpc *error, int64_t now_ms)
{
    refused(core, call, error->code, error->data, error->message, now_ms);
}

/* --- HTTP ----------------------------------------------------------------------------------------------------- */

/* The server has forgotten the session. It has not done what it was asked, so that it may be asked again, once. */
static bool session_lost(const struct mcp_core *core, const struct mcp_call *call,
                         const struct failure *failure)
{
    return core->era == MCP_LEGACY && failure->in_session && !call->again && call->kind != REQUEST_INITIALIZE &&
           call->kind != REQUEST_DISCOVER &&
           (failure->status == 404 || (failure->status == 400 && strcasestr(failure->text, "session")));
}

static void begin_again(struct mcp_core *core, struct mcp_call *call, int64_t now_ms)
{
    core->ops->told(core->user, "mcp.session_lost", "it has forgotten the session, and is greeted again");
    call->again = true;
    call->id = RPC_NO_ID; /* a call waits now; the list is asked for anyway */
    if (call->kind != REQUEST_CALL)
        core_drop(core, call);
    if (core->state == MCP_INITIALIZING)
        return;
    struct mcp_call *list;
    while ((list = core_under_way(core, REQUEST_LIST)))
        core_drop(core, list);
    core->start_by_ms = now_ms + core->times.start_ms;
    core->relist_ms = INT64_MAX;
    core->dirty = false;
    mcp_tools_unref(core->listing);
    core->listing = NULL;
    era_initialize(core, now_ms);
}

void era_failed(struct mcp_core *core, struct mcp_call *call, const struct failure *failure, int64_t now_ms)
{
    bool starting = call->kind == REQUEST_DISCOVER || call->kind == REQUEST_INITIALIZE;
    if (session_lost(core, call, failure)) {
        begin_again(core, call, now_ms);
    } else if (starting && core->state != MCP_READY && (failure->status == 401 || failure->status == 403)) {
        core_break(core, AB_EDENIED, "it refuses us (%.200s): see `headers` of its configuration",
                   failure->text);
    } else if (starting && core->state != MCP_READY && !failure->status) {
        core_break(core, AB_EUNAVAILABLE, "%.300s", failure->text);
    } else if (call->kind == REQUEST_PING || call->kind == REQUEST_ALIVE) {
        core_drop(core, call);
        if (!failure->status)
            core_break(core, AB_EUNAVAILABLE, "%.300s", failure->text);
    } else {
        refused(core, call, failure->code, failure->data, failure->text, now_ms);
    }
}
