/* list.h. Blocks: a program of its own. */
#include "worker/mcp/list.h"

#include <poll.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/tree.h"
#include "common/workflow/tools.h"
#include "worker/mcp/mcp.h"

enum { USAGE = 100, POLL_MS_MAX = 1000 };

static void on_changed(void *owner)
{
    (void)owner; /* they are looked at anyway */
}

/* --- what is told --------------------------------------------------------------------------------------------- */

static json_t *tell_tool(const struct mcp_hold *hold, const char *server, const struct mcp_tool *tool)
{
    char called[AB_TOOL_NAME_MAX + 1];
    const char *why;
    bool may = mcp_hold_may_offer(hold, tool, &why);
    ab_tool_mcp_name(server, tool->name, called);
    return json_pack("{ss ss ss sO sb ss sb ss*}", "name", tool->name, "called", called, "description",
                     tool->description, "parameters", tool->input, "idempotent", tool->idempotent, "digest",
                     tool->digest, "ok", may, "why", why);
}

static json_t *tell_server(const struct mcp_hold *hold, const char *server, bool *ok)
{
    struct ab_error err = {0};
    *ok = mcp_hold_state(hold, &err) == MCP_HOLD_READY;
    if (!*ok)
        return json_pack("{ss sb ss}", "server", server, "ok", 0, "error", err.text);
    struct mcp_tools *tools = mcp_hold_tools(hold);
    const struct mcp_core *core = mcp_hold_core(hold);
    json_t *list = json_array();
    for (size_t i = 0; i < tools->n; i++)
        json_array_append_new(list, tell_tool(hold, server, &tools->items[i]));
    return json_pack("{ss sb ss ss so ss%}", "server", server, "ok", 1, "name", mcp_core_server(core),
                     "revision", mcp_core_version(core), "tools", list, "left_out",
                     tools->left_out.n ? tools->left_out.p : "", tools->left_out.n);
}

static bool print_server(const struct mcp_hold *hold, const char *server, FILE *out)
{
    struct ab_buf text = {0};
    bool ok;
    json_t *told = tell_server(hold, server, &ok);
    ab_json_text(told, &text);
    fprintf(out, "%s\n", ab_buf_cstr(&text));
    ab_buf_finish(&text);
    json_decref(told);
    return ok;
}

/* --- asking --------------------------------------------------------------------------------------------------- */

static bool all_known(struct mcp_hold **holds, size_t n)
{
    struct ab_error err;
    for (size_t i = 0; i < n; i++)
        if (mcp_hold_state(holds[i], &err) == MCP_HOLD_STARTING)
            return false;
    return true;
}

/* Each server comes to an answer by itself. */
static void wait_for(struct mcp *mcp, struct mcp_hold **holds, size_t n)
{
    while (!all_known(holds, n)) {
        struct pollfd one = {.fd = mcp_fd(mcp), .events = POLLIN};
        int64_t left_ms = mcp_deadline_ms(mcp) - ab_mono_ms();
        poll(&one, 1, left_ms < 0 ? 0 : left_ms > POLL_MS_MAX ? POLL_MS_MAX : (int)left_ms);
        mcp_run(mcp, ab_mono_ms());
    }
}

static int ask(struct mcp *mcp, const json_t *servers, const char *only, FILE *out)
{
    struct mcp_hold **holds = ab_calloc(json_object_size(servers) + 1, sizeof(struct mcp_hold *));
    size_t n = 0, failed = 0, i = 0;
    const char *name;
    json_t *one;
    json_object_foreach ((json_t *)(uintptr_t)servers, name, one)
        if (!*only || !strcmp(only, name))
            holds[n++] = mcp_hold(mcp, name, "list", "list", on_changed, NULL);
    wait_for(mcp, holds, n);
    json_object_foreach ((json_t *)(uintptr_t)servers, name, one)
        if (!*only || !strcmp(only, name))
            failed += !print_server(holds[i++], name, out);
    for (i = 0; i < n; i++)
        mcp_release(holds[i]);
    free(holds);
    return failed ? 1 : 0;
}

int mcp_list(const struct ab_config *config, const char *server, FILE *out)
{
    struct mcp_options options;
    struct mcp *mcp;
    struct ab_error err = {0};
    ab_log_init("worker", AB_ERROR_LEVEL, false);
    char *pins = mcp_options_of(config, &options);
    int code = mcp_create(&options, &mcp, &err);
    if (code) {
        fprintf(stderr, "autobots-worker: %s\n", err.text);
        code = USAGE;
    } else if (*server && !mcp_knows(mcp, server)) {
        char *names = mcp_names(mcp);
        fprintf(stderr, "autobots-worker: no MCP server `%.64s` is configured (mcp_servers); there are: %s\n",
                server, names);
        free(names);
        code = USAGE;
    } else {
        code = ask(mcp, options.servers, server, out);
    }
    mcp_destroy(mcp);
    free(pins);
    return code;
}
