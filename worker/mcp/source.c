/* source.h: from a server's tools to an agent's, from a call of worker/tool to one of the server's. Owns the list behind each
 * tool that was offered, until the offer is closed. */
#include "worker/mcp/source.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/tree.h"
#include "common/workflow/tools.h"
#include "worker/mcp/content.h"

/* One list that was offered. */
struct list {
    struct mcp_tools *tools;
    struct binding *bindings; /* one for each of them */
};

/* What ops find in tool->data. */
struct binding {
    struct opened *opened;
    const struct mcp_tool *tool;
};

struct opened {
    struct mcp_hold *hold;
    struct tool_offer *offer;
    const char *server;
    const json_t *allow; /* borrowed; NULL: all */
    struct list *lists;
    size_t n;
    bool failed;
};

struct started {
    const struct binding *binding;
    struct mcp_call *call;
    tool_done_fn *done;
    void *user;
};

/* --- calls ---------------------------------------------------------------------------------------------------- */

static void give(const struct started *started, const json_t *result, struct ab_error *why)
{
    const struct mcp_hold *hold = started->binding->opened->hold;
    struct ab_buf text = {0};
    json_t *parts = NULL;
    struct tool_result out = {0};
    int code = mcp_content_read(started->binding->tool, result, &text, &parts, &out.failed, why);
    if (!code) {
        mcp_hold_scrub(hold, &text);
        out.text = ab_buf_view(&text);
        out.parts = parts;
        started->done(started->user, &out, NULL);
    }
    json_decref(parts);
    ab_buf_finish(&text);
}

static void on_done(void *user, const json_t *result, const struct ab_error *error)
{
    struct started *started = user;
    struct ab_error why = {0};
    if (error)
        why = *error;
    else
        give(started, result, &why);
    if (why.code) {
        mcp_hold_name_error(started->binding->opened->hold, &why);
        started->done(started->user, NULL, &why);
    }
    free(started);
}

static void *start(const struct tool *tool, const json_t *arguments, const struct tool_context *context,
                   tool_done_fn *done, void *user, struct ab_error *err)
{
    const struct binding *binding = tool->data;
    if (context->again && *context->version && strcmp(context->version, binding->tool->digest)) {
        ab_fail(err, AB_ECONFLICT, "the tool has changed since the call was begun, whose outcome is unknown");
        return NULL;
    }
    struct started *started = ab_calloc(1, sizeof *started);
    *started = (struct started){.binding = binding, .done = done, .user = user};
    started->call = mcp_hold_call(binding->opened->hold, binding->tool, arguments, context->key,
                                  context->timeout_ms, on_done, started, err);
    if (started->call)
        return started;
    free(started);
    return NULL;
}

static void cancel(void *user)
{
    struct started *started = user;
    mcp_hold_cancel(started->binding->opened->hold, started->call);
    free(started);
}

static const struct tool_ops ops = {.start = start, .cancel = cancel};

/* --- offers --------------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct opened *opened, const char *name, bool *by_name)
{
    size_t i;
    json_t *one;
    *by_name = false;
    json_array_foreach (opened->allow, i, one)
        *by_name |= !strcmp(json_string_value(one), name);
    return *by_name || !opened->allow;
}

static int missing_tool(const struct opened *opened, const struct mcp_tools *tools, struct ab_error *err)
{
    size_t i;
    json_t *one;
    json_array_foreach (opened->allow, i, one) {
        if (mcp_tools_find(tools, json_string_value(one)))
            continue;
        struct ab_buf names = {0};
        for (size_t k = 0; k < tools->n && names.n < 300; k++)
            ab_buf_format(&names, "%s%.60s", k ? ", " : "", tools->items[k].name);
        ab_fail(err, AB_ENOTFOUND, "it has no tool `%.100s`, which the workflow allows; it has: %s",
                json_string_value(one), names.n ? ab_buf_cstr(&names) : "none");
        ab_buf_finish(&names);
        return err->code;
    }
    return 0;
}

static int offer_one(struct opened *opened, const struct mcp_tool *tool, struct binding *binding,
                     struct ab_error *err)
{
    char name[AB_TOOL_NAME_MAX + 1];
    bool by_name;
    const char *why;
    if (!is_wanted(opened, tool->name, &by_name))
        return 0;
    bool may = mcp_hold_may_offer(opened->hold, tool, &why);
    if (why)
        ab_log(AB_WARN, may ? "mcp.tool_changed" : "mcp.tool_withheld", "server", opened->server, "tool",
               tool->name, "text", why, NULL);
    if (!may)
        return by_name
                   ? ab_fail(err, AB_EDENIED,
                             "its tool %.100s is not used: %s; `autobots mcp pin %s` approves what it is now",
                             tool->name, why, opened->server)
                   : 0;
    *binding = (struct binding){opened, tool};
    ab_tool_mcp_name(opened->server, tool->name, name);
    struct tool_spec spec = {.name = name,
                             .description = tool->description,
                             .parameters = tool->input,
                             .version = tool->digest,
                             .idempotent = tool->idempotent,
                             .ops = &ops,
                             .data = binding};
    struct ab_error fault = {0};
    if (!tool_offer_add(opened->offer, &spec, &fault))
        return 0;
    if (by_name)
        return ab_fail(err, fault.code, "its tool %.100s cannot be used: %.300s", tool->name, fault.text);
    ab_log(AB_WARN, "mcp.tool_left_out", "server", opened->server, "tool", tool->name, "text", fault.text,
           NULL);
    return 0;
}

/* What the workflow names must be there when the job's agent begins; what goes, or changes, later is left out. */
static int offer_all(struct opened *opened, struct mcp_tools *tools, struct ab_error *err)
{
    bool first = !opened->n;
    opened->lists = ab_realloc(opened->lists, (opened->n + 1) * sizeof *opened->lists);
    struct list *list = &opened->lists[opened->n++];
    *list = (struct list){mcp_tools_ref(tools), ab_calloc(tools->n + 1, sizeof *list->bindings)};
    int code = first ? missing_tool(opened, tools, err) : 0;
    tool_offer_clear(opened->offer);
    for (size_t i = 0; i < tools->n && !code; i++) {
        code = offer_one(opened, &tools->items[i], &list->bindings[i], err);
        if (code && !first) {
            ab_log(AB_WARN, "mcp.tool_left_out", "server", opened->server, "tool", tools->items[i].name, "text",
                   err->text, NULL);
            code = 0;
        }
    }
    return code;
}

static void fail(struct opened *opened, const struct ab_error *why)
{
    opened->failed = true;
    tool_offer_fail(opened->offer, why);
}

static void look(void *owner)
{
    struct opened *opened = owner;
    struct ab_error err = {0};
    enum mcp_hold_state state = mcp_hold_state(opened->hold, &err);
    if (opened->failed || state == MCP_HOLD_STARTING || (opened->n && state == MCP_HOLD_FAILED))
        return;
    if (state == MCP_HOLD_FAILED) {
        fail(opened, &err);
        return;
    }
    struct mcp_tools *tools = mcp_hold_tools(opened->hold);
    if (opened->n && (opened->lists[opened->n - 1].tools == tools || opened->n >= MCP_OFFERS_MAX))
        return;
    if (offer_all(opened, tools, &err)) {
        mcp_hold_name_error(opened->hold, &err);
        fail(opened, &err);
    } else {
        tool_offer_ready(opened->offer);
    }
}

static void not_configured(const struct mcp *mcp, const struct tool_scope *scope, const char *server,
                           struct tool_offer *offer)
{
    struct ab_error err = {0};
    char *names = mcp_names(mcp);
    ab_fail(&err, AB_EINVALID,
            "no MCP server `%s`, which the agent %s names, is configured for this worker (mcp_servers); there "
            "are: %s",
            server, scope->agent, names);
    free(names);
    tool_offer_fail(offer, &err);
}

static void *open_entry(void *self, const struct tool_scope *scope, const json_t *entry,
                        struct tool_offer *offer)
{
    struct mcp *mcp = self;
    const char *server = ab_tree_str(entry, "mcp");
    if (!mcp_knows(mcp, server)) {
        not_configured(mcp, scope, server, offer);
        return NULL;
    }
    struct opened *opened = ab_calloc(1, sizeof *opened);
    opened->offer = offer;
    opened->server = server;
    opened->allow = json_object_get(entry, "allow");
    opened->hold = mcp_hold(mcp, server, scope->job, scope->user, look, opened);
    look(opened);
    return opened;
}

static void close_entry(void *user)
{
    struct opened *opened = user;
    mcp_release(opened->hold);
    for (size_t i = 0; i < opened->n; i++) {
        mcp_tools_unref(opened->lists[i].tools);
        free(opened->lists[i].bindings);
    }
    free(opened->lists);
    free(opened);
}

const struct tool_source mcp_tool_source = {.kind = "mcp", .open = open_entry, .close = close_entry};
