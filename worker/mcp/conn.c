/* conn.h. Callbacks of transports and of the core only note what happened: what follows from it (a start, an end, telling the
 * holders) is done by conn_tick(), when none of them is on the stack. */
#include "worker/mcp/conn.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/mcp/keeper.h"

enum { ROOM_AGAIN_MS = 100 /* between looks whether there is room for one more process */ };

static void log_about(const struct mcp_conn *conn, enum ab_log_level level, const char *event, const char *text)
{
    struct ab_buf clean = {0};
    ab_buf_text(&clean, text);
    mcp_launch_scrub(&conn->launch, &clean);
    ab_log(level, event, "server", conn->server->name, "for", conn->whose, "text", ab_buf_cstr(&clean), NULL);
    ab_buf_finish(&clean);
}

/* --- the core's wishes ---------------------------------------------------------------------------------------- */

static void core_send(void *user, const struct mcp_message *message)
{
    struct mcp_conn *conn = user;
    if (conn->stdio)
        stdio_send(conn->stdio, message->text);
    if (conn->remote)
        remote_send(conn->remote, message);
}

static void core_abandon_request(void *user, int64_t id)
{
    struct mcp_conn *conn = user;
    if (conn->remote)
        remote_abandon(conn->remote, id);
}

static void core_changed(void *user)
{
    ((struct mcp_conn *)user)->changed = true;
}

static void core_told(void *user, const char *event, const char *text)
{
    log_about(user, AB_WARN, event, text);
}

static const struct mcp_core_ops core_ops = {core_send, core_abandon_request, core_changed, core_told};

/* --- what the transports tell --------------------------------------------------------------------------------- */

static void on_line(void *user, struct ab_view line)
{
    struct mcp_conn *conn = user;
    mcp_core_take(conn->core, line, RPC_NO_ID, ab_mono_ms());
}

static void on_too_long(void *user, int64_t id, uint64_t bytes)
{
    struct mcp_conn *conn = user;
    mcp_core_too_long(conn->core, id, bytes, ab_mono_ms());
}

static void on_log(void *user, const char *line)
{
    log_about(user, AB_INFO, "mcp.stderr", line);
}

static void on_ended(void *user, int code, const char *why)
{
    struct mcp_conn *conn = user;
    bool cannot = code == KEEPER_CANNOT_START;
    conn->ended = true;
    conn->exit_code = code;
    conn->why = (struct ab_error){0};
    ab_fail(&conn->why, cannot ? AB_EUSAGE : AB_EUNAVAILABLE, "%s", why);
    conn->at_probe = mcp_core_lost(conn->core, &conn->why) && !cannot;
}

static const struct stdio_ops stdio_ops = {on_line, on_too_long, on_log, on_ended};

static void on_message(void *user, struct ab_view text, int64_t id)
{
    struct mcp_conn *conn = user;
    mcp_core_take(conn->core, text, id, ab_mono_ms());
    if (!mcp_core_waits_for(conn->core, id))
        remote_answered(conn->remote, id, ab_mono_ms());
}

static void on_failed(void *user, int64_t id, int status, struct ab_view text, bool in_session)
{
    struct mcp_conn *conn = user;
    struct ab_buf clean = {0}; /* before a piece of it is shown */
    ab_buf_add(&clean, text.p, text.n);
    mcp_launch_scrub(&conn->launch, &clean);
    mcp_core_failed(conn->core, id, status, ab_buf_view(&clean), in_session, ab_mono_ms());
    ab_buf_finish(&clean);
}

static const struct remote_ops remote_ops = {on_message, on_too_long, on_failed};

/* --- beginning and end ---------------------------------------------------------------------------------------- */

static int start_process(struct mcp_conn *conn, int64_t now_ms, struct ab_error *err)
{
    struct stdio_spec spec = {conn->launch.command, conn->launch.env, conn->server->cwd};
    if (!mcp_may_start(conn->mcp, now_ms))
        return ab_fail(err, AB_EBUSY, "there are %zu processes of MCP servers already (mcp_processes_max)",
                       conn->mcp->processes_max);
    conn->stdio = stdio_start(conn->mcp->epoll, &spec, &stdio_ops, conn, now_ms, err);
    return conn->stdio ? 0 : err->code;
}

static void note_failure(struct mcp_conn *conn, int64_t now_ms)
{
    unsigned doublings = conn->fails < 8 ? conn->fails : 8;
    int64_t wait_ms = (int64_t)MCP_BACKOFF_MS << doublings;
    conn->fails++;
    conn->again_ms = now_ms + (wait_ms < MCP_BACKOFF_MS_MAX ? wait_ms : MCP_BACKOFF_MS_MAX);
}

/* Those who wait are told; whoever comes later makes it be tried again. */
static void give_up(struct mcp_conn *conn, const struct ab_error *why)
{
    log_about(conn, AB_WARN, "mcp.failed", why->text);
    conn->failed = *why;
    conn->server->era = MCP_UNKNOWN; /* it may be another server now */
    if (mcp_core_state(conn->core) != MCP_BROKEN || !mcp_core_idle(conn->core))
        mcp_core_give_up(conn->core, why);
}

/* As long as a start may take. */
static bool wait_for_room(struct mcp_conn *conn, int64_t now_ms)
{
    conn->queued_ms = conn->queued_ms ? conn->queued_ms : now_ms;
    conn->again_ms = now_ms + ROOM_AGAIN_MS;
    return now_ms < conn->queued_ms + conn->server->times.start_ms;
}

static void start(struct mcp_conn *conn, int64_t now_ms)
{
    const struct mcp_server *server = conn->server;
    struct ab_error err = {0};
    mcp_launch_finish(&conn->launch);
    int code = mcp_launch_make(server, &conn->launch, &err);
    if (!code && !server->url)
        code = start_process(conn, now_ms, &err);
    else if (!code)
        conn->remote = remote_create(conn->mcp->http, server->url, (const char *const *)conn->launch.headers,
                                     &remote_ops, conn);
    if (code == AB_EBUSY && wait_for_room(conn, now_ms))
        return;
    conn->queued_ms = 0;
    if (code) {
        note_failure(conn, now_ms);
        give_up(conn, &err);
        return;
    }
    char *what = ab_strdup(server->url ? server->url : conn->launch.command[0]);
    what[strcspn(what, "?")] = 0; /* behind it there may be a key */
    log_about(conn, AB_INFO, "mcp.start", what);
    free(what);
    mcp_core_start(conn->core, now_ms);
}

static void stop(struct mcp_conn *conn, int64_t now_ms)
{
    if (conn->stdio) {
        stdio_close(conn->stdio, now_ms);
        mcp_bury(conn->mcp, conn->stdio);
    }
    if (conn->remote && remote_say_goodbye(conn->remote))
        mcp_leave(conn->mcp, conn->remote);
    else
        remote_destroy(conn->remote);
    conn->stdio = NULL;
    conn->remote = NULL;
}

struct mcp_conn *conn_create(struct mcp *mcp, struct mcp_server *server, const char *whose)
{
    struct mcp_conn *conn = ab_calloc(1, sizeof *conn);
    conn->mcp = mcp;
    conn->server = server;
    conn->whose = ab_strdup(whose);
    conn->core = mcp_core_create(&server->times, server->url != NULL, server->era, &core_ops, conn);
    TAILQ_INIT(&conn->holds);
    TAILQ_INSERT_TAIL(&mcp->conns, conn, in_all);
    return conn;
}

void conn_destroy(struct mcp_conn *conn, int64_t now_ms)
{
    TAILQ_REMOVE(&conn->mcp->conns, conn, in_all);
    if (conn->stdio || conn->remote)
        log_about(conn, AB_INFO, "mcp.stop", "nobody needs it any more");
    stop(conn, now_ms);
    mcp_core_destroy(conn->core);
    mcp_launch_finish(&conn->launch);
    free(conn->whose);
    free(conn);
}

/* --- what follows --------------------------------------------------------------------------------------------- */

enum mcp_hold_state conn_state(const struct mcp_conn *conn)
{
    if (conn->failed.code)
        return MCP_HOLD_FAILED;
    return mcp_core_tools(conn->core) && !conn->anew && mcp_core_state(conn->core) != MCP_LISTING
               ? MCP_HOLD_READY
               : MCP_HOLD_STARTING;
}

static bool wanted(const struct mcp_conn *conn)
{
    bool running = conn->stdio || conn->remote;
    bool waited_for = !TAILQ_EMPTY(&conn->holds) && conn_state(conn) == MCP_HOLD_STARTING;
    return !running && (waited_for || !mcp_core_idle(conn->core));
}

/* The process is gone. */
static void take_end(struct mcp_conn *conn, int64_t now_ms)
{
    conn->ended = false;
    log_about(conn, AB_WARN, "mcp.ended", conn->why.text);
    stop(conn, now_ms);
    if (conn->at_probe)
        return; /* it is started again at once, and greeted as older servers are */
    note_failure(conn, now_ms);
    if (conn->exit_code == KEEPER_CANNOT_START || conn->fails >= MCP_STARTS_MAX) {
        struct ab_error final = {0}; /* it would be no better the next time */
        ab_fail(&final, AB_EUSAGE, "%s", conn->why.text);
        give_up(conn, &final);
    }
}

static void take_change(struct mcp_conn *conn, int64_t now_ms)
{
    enum mcp_state state = mcp_core_state(conn->core);
    struct mcp_hold *hold;
    conn->changed = false;
    if (state == MCP_BROKEN && (conn->stdio || conn->remote)) {
        stop(conn, now_ms);
        note_failure(conn, now_ms);
        give_up(conn, mcp_core_error(conn->core));
    }
    if (state == MCP_READY) {
        conn->server->era = mcp_core_era(conn->core);
        conn->failed = (struct ab_error){0};
        conn->fails = 0;
        conn->anew = false;
    }
    TAILQ_FOREACH(hold, &conn->holds, in_conn)
    hold->changed(hold->owner);
}

int64_t conn_deadline_ms(const struct mcp_conn *conn)
{
    int64_t at = mcp_core_deadline_ms(conn->core);
    if (conn->changed || conn->ended)
        return 0;
    if (wanted(conn) && conn->again_ms < at)
        at = conn->again_ms;
    if (conn->stdio && stdio_deadline_ms(conn->stdio) < at)
        at = stdio_deadline_ms(conn->stdio);
    if (conn->remote && remote_deadline_ms(conn->remote) < at)
        at = remote_deadline_ms(conn->remote);
    if (TAILQ_EMPTY(&conn->holds)) {
        int64_t idle = conn->idle_ms + (conn->server->per == MCP_PER_JOB ? 0 : MCP_IDLE_MS);
        at = idle < at ? idle : at;
    }
    return at;
}

bool conn_tick(struct mcp_conn *conn, int64_t now_ms)
{
    if (conn->remote)
        remote_tick(conn->remote, now_ms);
    if (conn->stdio)
        stdio_tick(conn->stdio, now_ms);
    mcp_core_tick(conn->core, now_ms);
    if (conn->ended)
        take_end(conn, now_ms);
    if (conn->changed)
        take_change(conn, now_ms);
    if (TAILQ_EMPTY(&conn->holds) &&
        now_ms >= conn->idle_ms + (conn->server->per == MCP_PER_JOB ? 0 : MCP_IDLE_MS)) {
        conn_destroy(conn, now_ms);
        return false;
    }
    if (wanted(conn) && now_ms >= conn->again_ms)
        start(conn, now_ms);
    return true;
}
