/* mcp.h: the set of servers. */
#include "worker/mcp/mcp.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/version.h"
#include "common/wire/schema.h"
#include "worker/mcp/conn.h"

enum { EVENTS_MAX = 64 /* in one go */ };

/* --- processes ------------------------------------------------------------------------------------------------ */

static size_t processes(const struct mcp *mcp)
{
    const struct mcp_conn *conn;
    size_t n = mcp->n_dying;
    TAILQ_FOREACH(conn, &mcp->conns, in_all)
    n += conn->stdio != NULL;
    return n;
}

/* The one that has been without a hold the longest makes room. */
bool mcp_may_start(struct mcp *mcp, int64_t now_ms)
{
    struct mcp_conn *conn, *idle = NULL;
    if (processes(mcp) < mcp->processes_max)
        return true;
    TAILQ_FOREACH(conn, &mcp->conns, in_all)
    if (conn->stdio && TAILQ_EMPTY(&conn->holds) && (!idle || conn->idle_ms < idle->idle_ms))
        idle = conn;
    if (idle)
        idle->idle_ms = now_ms - MCP_IDLE_MS; /* its own next tick ends it */
    return false;
}

void mcp_bury(struct mcp *mcp, struct stdio *stdio)
{
    mcp->dying = ab_realloc(mcp->dying, (mcp->n_dying + 1) * sizeof(struct stdio *));
    mcp->dying[mcp->n_dying++] = stdio;
}

void mcp_leave(struct mcp *mcp, struct remote *remote)
{
    mcp->leaving = ab_realloc(mcp->leaving, (mcp->n_leaving + 1) * sizeof(struct remote *));
    mcp->leaving[mcp->n_leaving++] = remote;
}

static void bring_out_the_dead(struct mcp *mcp, int64_t now_ms)
{
    size_t kept = 0;
    for (size_t i = 0; i < mcp->n_dying; i++)
        if (!stdio_tick(mcp->dying[i], now_ms))
            mcp->dying[kept++] = mcp->dying[i];
    mcp->n_dying = kept;
    kept = 0;
    for (size_t i = 0; i < mcp->n_leaving; i++) {
        remote_tick(mcp->leaving[i], now_ms);
        if (remote_busy(mcp->leaving[i]))
            mcp->leaving[kept++] = mcp->leaving[i];
        else
            remote_destroy(mcp->leaving[i]);
    }
    mcp->n_leaving = kept;
}

/* --- the loop ------------------------------------------------------------------------------------------------- */

int mcp_fd(const struct mcp *mcp)
{
    return mcp->epoll;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t mcp_deadline_ms(const struct mcp *mcp)
{
    const struct mcp_conn *conn;
    int64_t at = http_pool_deadline_ms(mcp->http);
    TAILQ_FOREACH(conn, &mcp->conns, in_all)
    at = sooner(at, conn_deadline_ms(conn));
    for (size_t i = 0; i < mcp->n_dying; i++)
        at = sooner(at, stdio_deadline_ms(mcp->dying[i]));
    for (size_t i = 0; i < mcp->n_leaving; i++)
        at = sooner(at, remote_deadline_ms(mcp->leaving[i]));
    return at;
}

/* One at a time: a handler may close the others' descriptors. The pool's has none: it is looked at anyway. */
static void take_events(struct mcp *mcp)
{
    struct epoll_event event;
    for (int i = 0; i < EVENTS_MAX && epoll_wait(mcp->epoll, &event, 1, 0) > 0; i++) {
        struct mcp_watch *watch = event.data.ptr;
        if (watch)
            watch->ready(watch->owner);
    }
}

void mcp_run(struct mcp *mcp, int64_t now_ms)
{
    struct mcp_conn *conn, *next;
    take_events(mcp);
    http_run(mcp->http, now_ms);
    for (conn = TAILQ_FIRST(&mcp->conns); conn; conn = next) {
        next = TAILQ_NEXT(conn, in_all);
        conn_tick(conn, now_ms);
    }
    bring_out_the_dead(mcp, now_ms);
}

/* --- making --------------------------------------------------------------------------------------------------- */

static int make_set(struct mcp *mcp, struct ab_error *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    mcp->epoll = epoll_create1(EPOLL_CLOEXEC);
    mcp->http = mcp->epoll < 0 ? NULL : http_pool_create("autobots/" AB_VERSION, err);
    if (!mcp->http)
        return mcp->epoll < 0 ? ab_fail(err, AB_ESYSTEM, "epoll_create1: %s", strerror(errno)) : err->code;
    if (epoll_ctl(mcp->epoll, EPOLL_CTL_ADD, http_pool_fd(mcp->http), &event))
        return ab_fail(err, AB_ESYSTEM, "epoll_ctl: %s", strerror(errno));
    return 0;
}

char *mcp_options_of(const struct ab_config *config, struct mcp_options *options)
{
    const char *pins = ab_config_text(config, AB_CONF_MCP_PINS);
    char *path = *pins ? ab_strdup(pins) : ab_format("%s/mcp-pins.json", ab_config_text(config, AB_CONF_DIR));
    *options = (struct mcp_options){.servers = ab_config_tree(config, AB_CONF_MCP_SERVERS),
                                    .pins = path,
                                    .processes_max = (size_t)ab_config_int(config, AB_CONF_MCP_PROCESSES_MAX)};
    return path;
}

int mcp_create(const struct mcp_options *options, struct mcp **out, struct ab_error *err)
{
    struct mcp *mcp = ab_calloc(1, sizeof *mcp);
    const char *name;
    json_t *config;
    *out = mcp;
    TAILQ_INIT(&mcp->conns);
    mcp->processes_max = options->processes_max;
    mcp->pins = mcp_pins_create(options->pins);
    mcp->servers = ab_calloc(json_object_size(options->servers) + 1, sizeof *mcp->servers);
    json_object_foreach ((json_t *)(uintptr_t)options->servers, name, config)
        mcp_server_read(&mcp->servers[mcp->n_servers++], name, config);
    return make_set(mcp, err);
}

/* All at once, each as it is ended at any other time. */
static void wait_for_ends(struct mcp *mcp)
{
    int64_t now_ms = ab_mono_ms(), until_ms = now_ms + STDIO_EXIT_MS + STDIO_TERM_MS;
    for (; mcp->n_dying && now_ms < until_ms; now_ms = ab_mono_ms()) {
        struct pollfd one = {.fd = mcp->epoll, .events = POLLIN};
        int64_t at_ms = until_ms;
        for (size_t i = 0; i < mcp->n_dying; i++)
            at_ms = sooner(at_ms, stdio_deadline_ms(mcp->dying[i]));
        poll(&one, 1, at_ms > now_ms ? (int)(at_ms - now_ms) : 0);
        mcp_run(mcp, ab_mono_ms());
    }
}

void mcp_destroy(struct mcp *mcp)
{
    if (!mcp)
        return;
    while (!TAILQ_EMPTY(&mcp->conns))
        conn_destroy(TAILQ_FIRST(&mcp->conns), ab_mono_ms());
    wait_for_ends(mcp);
    for (size_t i = 0; i < mcp->n_dying; i++)
        stdio_destroy(mcp->dying[i]);
    for (size_t i = 0; i < mcp->n_leaving; i++)
        remote_destroy(mcp->leaving[i]);
    http_pool_destroy(mcp->http);
    if (mcp->epoll >= 0)
        close(mcp->epoll);
    mcp_pins_destroy(mcp->pins);
    free(mcp->servers);
    free(mcp->dying);
    free(mcp->leaving);
    free(mcp);
}

/* --- holds ---------------------------------------------------------------------------------------------------- */

static struct mcp_server *find(const struct mcp *mcp, const char *name)
{
    for (size_t i = 0; i < mcp->n_servers; i++)
        if (!strcmp(mcp->servers[i].name, name))
            return &mcp->servers[i];
    return NULL;
}

bool mcp_knows(const struct mcp *mcp, const char *server)
{
    return find(mcp, server) != NULL;
}

char *mcp_names(const struct mcp *mcp)
{
    struct ab_buf text = {0};
    for (size_t i = 0; i < mcp->n_servers; i++)
        ab_buf_format(&text, "%s%s", i ? ", " : "", mcp->servers[i].name);
    if (!text.n)
        ab_buf_text(&text, "none");
    return ab_buf_detach(&text);
}

struct mcp_hold *mcp_hold(struct mcp *mcp, const char *name, const char *job, const char *user,
                          void (*changed)(void *owner), void *owner)
{
    struct mcp_server *server = find(mcp, name);
    const char *whose = server->per == MCP_PER_JOB ? job : server->per == MCP_PER_USER ? user : "";
    struct mcp_conn *conn;
    TAILQ_FOREACH(conn, &mcp->conns, in_all)
    if (conn->server == server && !strcmp(conn->whose, whose))
        break;
    if (!conn)
        conn = conn_create(mcp, server, whose);
    struct mcp_hold *hold = ab_calloc(1, sizeof *hold);
    *hold = (struct mcp_hold){.conn = conn, .changed = changed, .owner = owner};
    TAILQ_INSERT_TAIL(&conn->holds, hold, in_conn);
    conn->failed = (struct ab_error){0}; /* tried again, when its back-off allows */
    conn->anew |= !conn->stdio && !conn->remote;
    mcp_core_refresh(conn->core, ab_mono_ms());
    return hold;
}

void mcp_release(struct mcp_hold *hold)
{
    if (!hold)
        return;
    TAILQ_REMOVE(&hold->conn->holds, hold, in_conn);
    hold->conn->idle_ms = ab_mono_ms();
    free(hold);
}

void mcp_hold_name_error(const struct mcp_hold *hold, struct ab_error *error)
{
    struct ab_buf text = {0};
    ab_buf_format(&text, "MCP server %s: %s", hold->conn->server->name, error->text);
    mcp_hold_scrub(hold, &text);
    while (text.n >= sizeof error->text || !ab_utf8_ok(ab_buf_view(&text)))
        text.n--;
    snprintf(error->text, sizeof error->text, "%s", ab_buf_cstr(&text));
    ab_buf_finish(&text);
}

void mcp_hold_scrub(const struct mcp_hold *hold, struct ab_buf *text)
{
    mcp_launch_scrub(&hold->conn->launch, text);
}

enum mcp_hold_state mcp_hold_state(const struct mcp_hold *hold, struct ab_error *err)
{
    struct mcp_conn *conn = hold->conn;
    enum mcp_hold_state state = conn_state(conn);
    struct ab_error why = conn->failed;
    if (state == MCP_HOLD_READY && mcp_pins_refresh(conn->mcp->pins, &why))
        state = MCP_HOLD_FAILED;
    if (state != MCP_HOLD_FAILED)
        return state;
    mcp_hold_name_error(hold, &why);
    *err = why;
    return state;
}

struct mcp_tools *mcp_hold_tools(const struct mcp_hold *hold)
{
    return mcp_core_tools(hold->conn->core);
}

const struct mcp_core *mcp_hold_core(const struct mcp_hold *hold)
{
    return hold->conn->core;
}

bool mcp_hold_may_offer(const struct mcp_hold *hold, const struct mcp_tool *tool, const char **why)
{
    return mcp_pins_allow(hold->conn->mcp->pins, hold->conn->server, tool, why);
}

struct mcp_call *mcp_hold_call(struct mcp_hold *hold, const struct mcp_tool *tool, const json_t *arguments,
                               const char *key, int64_t limit_ms, mcp_done_fn *done, void *user,
                               struct ab_error *err)
{
    struct mcp_call *call =
        mcp_core_call(hold->conn->core, tool, arguments, key, limit_ms, done, user, ab_mono_ms(), err);
    if (call)
        hold->conn->failed = (struct ab_error){0};
    else
        mcp_hold_name_error(hold, err);
    return call;
}

void mcp_hold_cancel(struct mcp_hold *hold, struct mcp_call *call)
{
    mcp_core_cancel(hold->conn->core, call, "the job needs it no more");
}
