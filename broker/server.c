/* The shell: does what the core says. Two ROUTERs, a DEALER to storage, one loop; each wake-up drains its sockets
 * up to a bound, then ticks: timers, dispatch, one batch to storage.
 */
#include "broker/server.h"

#include <signal.h>
#include <stdlib.h>

#include "broker/core.h"
#include "broker/link.h"
#include "broker/routes.h"
#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/version.h"

enum {
    DRAIN_MAX = 1000,            /* messages of one socket in one wake-up */
    DRAIN_MS_MAX = 20,           /* the same in time: heartbeats must go out whatever comes in */
    STOP_MS = 2000,              /* for answers of storage after SIGTERM */
    FLUSH_MS = 10,               /* between attempts to send what a full pipe held back */
    LIMITS_MAX = 100000,         /* rows of `limits` */
    ANSWER_BYTES_MAX = 16 << 20, /* of storage, besides an input: a batch of results, a page */
};

struct server {
    struct core *core;
    struct link *link;
    struct ab_loop *loop;
    struct routes routes;
    void *storage;
    struct core_limit *limits;
    struct ab_message in[2], results; /* of the ROUTERs, by enum core_side; of storage */
    bool undrained[2];                /* by enum core_side */
    bool jobs_sent;                   /* JOB was, since the last flush */
    bool stopping;
    int64_t stop_ms;
};

static void tell_time(struct server *server)
{
    core_clock(server->core, ab_mono_ms(), ab_wall_ms());
}

/* ---- what the core wants ---- */

static int op_send(void *owner, uint32_t peer, enum ab_command command, const void *message,
                   struct ab_view body, bool keep)
{
    struct server *server = owner;
    if (AB_FAILPOINT("broker.before_send") && !keep)
        return AB_EBUSY;
    if (command == AB_ACCEPTED && AB_FAILPOINT("broker.before_accepted"))
        return 0;
    server->jobs_sent |= command == AB_JOB;
    return routes_send(&server->routes, peer, command, message, body, keep);
}

static void op_forget(void *owner, uint32_t peer)
{
    struct server *server = owner;
    routes_forget(&server->routes, peer);
}

static void op_write(void *owner, enum ab_op op, const void *request, const struct ticket *ticket)
{
    struct server *server = owner;
    link_write(server->link, op, request, ticket);
}

static void op_read(void *owner, enum ab_op op, const void *request, const struct ticket *ticket)
{
    struct server *server = owner;
    link_read(server->link, op, request, ticket);
}

static bool op_full(void *owner)
{
    const struct server *server = owner;
    return server->stopping || link_full(server->link);
}

static const struct core_ops core_ops = {
    .send = op_send, .forget = op_forget, .write = op_write, .read = op_read, .full = op_full};

/* ---- what the link wants ---- */

static int link_send(void *owner, enum ab_command command, const void *message, struct ab_view body)
{
    struct server *server = owner;
    return ab_send(server->storage, NULL, command, message, body);
}

static void link_answered(void *owner, const struct ticket *ticket, struct ab_view request, int code,
                          const struct ab_error *err, struct ab_view answer)
{
    struct server *server = owner;
    core_answered(server->core, ticket, request, code, err, answer);
}

static void link_up(void *owner, bool up)
{
    struct server *server = owner;
    core_storage_up(server->core, up);
}

static void link_notice(void *owner, const struct ab_notice *notice)
{
    struct server *server = owner;
    core_storage_notice(server->core, notice);
}

static uint64_t link_epoch(void *owner)
{
    const struct server *server = owner;
    return core_epoch(server->core);
}

static const struct link_ops link_ops = {
    .send = link_send, .answered = link_answered, .up = link_up, .notice = link_notice, .epoch = link_epoch};

/* ---- sockets ---- */

/* True: more may be waiting. */
static bool drain_router(struct server *server, enum core_side side)
{
    struct ab_message *message = &server->in[side];
    struct ab_error err = {0};
    bool drained = false;
    int64_t until_ms = ab_mono_ms() + DRAIN_MS_MAX;
    tell_time(server);
    for (int taken = 0; ab_message_more(message) || (taken < DRAIN_MAX && ab_mono_ms() < until_ms); taken++) {
        int rc = ab_message_receive(server->routes.sockets[side], message, &err);
        drained = !rc || (rc < 0 && !message->route.n);
        if (drained)
            break;
        uint32_t peer = routes_id(&server->routes, side, &message->route);
        if (rc < 0)
            core_garbage(server->core, side, peer, &err);
        else if (!AB_FAILPOINT("broker.received"))
            core_message(server->core, side, peer, message->version, message->command, message->header,
                         message->body);
    }
    server->undrained[side] = !drained;
    return !drained;
}

static bool on_clients(void *owner)
{
    return drain_router(owner, CORE_CLIENTS);
}

static bool on_workers(void *owner)
{
    return drain_router(owner, CORE_WORKERS);
}

static bool on_storage(void *owner)
{
    struct server *server = owner;
    struct ab_message *message = &server->results;
    int64_t until_ms = ab_mono_ms() + DRAIN_MS_MAX;
    tell_time(server);
    for (int taken = 0; ab_message_more(message) || (taken < DRAIN_MAX && ab_mono_ms() < until_ms); taken++) {
        struct ab_error err;
        int rc = ab_message_receive(server->storage, message, &err);
        if (!rc || (rc < 0 && rc != AB_EINVALID && rc != AB_ETOOLARGE))
            return false;
        if (rc > 0 && !AB_FAILPOINT("broker.before_results"))
            link_message(server->link, message->command, message->header, message->body, ab_mono_ms());
        (void)AB_FAILPOINT("broker.after_results");
    }
    return true;
}

/* ---- the loop ---- */

static void peer_gone(void *owner, uint32_t id)
{
    struct server *server = owner;
    core_peer_gone(server->core, id);
}

static void tick(void *owner, int64_t now_ms)
{
    struct server *server = owner;
    tell_time(server);
    core_tick(server->core, !server->undrained[CORE_CLIENTS] && !server->undrained[CORE_WORKERS]);
    link_tick(server->link, now_ms);
    routes_flush(&server->routes, peer_gone, server);
    if (server->jobs_sent)
        (void)AB_FAILPOINT("broker.after_job");
    server->jobs_sent = false;
    bool over = server->stopping && (link_idle(server->link) || now_ms >= server->stop_ms);
    if (over || core_superseded(server->core) || link_superseded(server->link))
        ab_loop_stop(server->loop);
}

static int64_t deadline(void *owner, int64_t now_ms)
{
    const struct server *server = owner;
    int64_t at = core_deadline(server->core), link = link_deadline(server->link, now_ms);
    at = link < at ? link : at;
    if (server->stopping && server->stop_ms < at)
        at = server->stop_ms;
    return server->routes.unflushed_n && now_ms + FLUSH_MS < at ? now_ms + FLUSH_MS : at;
}

static void signalled(void *owner, int signo)
{
    struct server *server = owner;
    if (signo == SIGHUP || server->stopping)
        return;
    ab_log(AB_INFO, "broker.stopping", NULL);
    server->stopping = true;
    server->stop_ms = ab_mono_ms() + STOP_MS;
    core_stop(server->core);
    ab_loop_remove(server->loop, server->routes.sockets[CORE_CLIENTS], 0);
    ab_loop_remove(server->loop, server->routes.sockets[CORE_WORKERS], 0);
}

static const struct ab_loop_ops loop_ops = {.deadline = deadline, .tick = tick, .signalled = signalled};

/* ---- configuration ---- */

static void read_limits_of(struct core_config *out, struct core_limit *rows, enum core_limit_kind kind,
                           const json_t *table)
{
    for (void *it = json_object_iter((json_t *)(uintptr_t)table); it;
         it = json_object_iter_next((json_t *)(uintptr_t)table, it)) {
        const char *name = json_object_iter_key(it);
        json_int_t most = json_integer_value(json_object_iter_value(it));
        if (out->limits_n == LIMITS_MAX || most < 1 || most > UINT32_MAX)
            continue; /* the configuration has checked it */
        rows[out->limits_n++] = (struct core_limit){
            .kind = kind, .name = ab_view_of(strcmp(name, "*") ? name : ""), .running_max = (uint32_t)most};
    }
}

static struct core_limit *read_limits(struct core_config *out, const json_t *tree)
{
    static const char *const names[LIMIT_KINDS] = {
        [LIMIT_TENANT] = "tenant", [LIMIT_KEY] = "concurrency_key", [LIMIT_POOL] = "pool"};
    size_t n = 0;
    for (int kind = 0; kind < LIMIT_KINDS; kind++)
        n += json_object_size(json_object_get(tree, names[kind]));
    struct core_limit *rows = ab_calloc(n + 1, sizeof *rows);
    for (int kind = 0; kind < LIMIT_KINDS; kind++)
        read_limits_of(out, rows, (enum core_limit_kind)kind, json_object_get(tree, names[kind]));
    out->limits = rows;
    return rows;
}

static struct core_limit *read_config(const struct ab_config *config, struct core_config *out)
{
    core_config_default(out);
    out->heartbeat_ms = (uint32_t)ab_config_int(config, AB_CONF_HEARTBEAT_MS);
    out->lease_ms = (uint32_t)ab_config_int(config, AB_CONF_LEASE_MS);
    out->body_bytes_max = (uint64_t)ab_config_int(config, AB_CONF_MESSAGE_BYTES_MAX);
    out->queue_jobs_max = (uint64_t)ab_config_int(config, AB_CONF_QUEUE_JOBS_MAX);
    out->queue_bytes_max = (uint64_t)ab_config_int(config, AB_CONF_QUEUE_BYTES_MAX);
    out->tenant_jobs_max = (uint64_t)ab_config_int(config, AB_CONF_TENANT_JOBS_MAX);
    out->storage = ab_config_text(config, AB_CONF_STORAGE_ENDPOINT);
    out->build = ab_build();
    out->seed = (uint64_t)ab_mono_us();
    out->start_id = ab_id_make(ab_wall_ms());
    return read_limits(out, ab_config_tree(config, AB_CONF_LIMITS));
}

/* ---- life ---- */

static int open_sockets(struct server *server, const struct ab_config *config, struct ab_error *err)
{
    uint64_t body_max = (uint64_t)ab_config_int(config, AB_CONF_MESSAGE_BYTES_MAX);
    void **sockets = server->routes.sockets;
    sockets[CORE_CLIENTS] = ab_router_create(ab_config_text(config, AB_CONF_ENDPOINT), body_max, err);
    if (!sockets[CORE_CLIENTS])
        return err->code;
    sockets[CORE_WORKERS] = ab_router_create(ab_config_text(config, AB_CONF_WORKER_ENDPOINT), body_max, err);
    if (!sockets[CORE_WORKERS])
        return err->code;
    server->storage = ab_dealer_create(ab_config_text(config, AB_CONF_STORAGE_ENDPOINT),
                                       2 * body_max + ANSWER_BYTES_MAX, err);
    return server->storage ? 0 : err->code;
}

static void run(struct server *server)
{
    server->loop = ab_loop_create(&loop_ops, server);
    ab_loop_add_socket(server->loop, server->storage, on_storage, server);
    ab_loop_add_socket(server->loop, server->routes.sockets[CORE_WORKERS], on_workers, server);
    ab_loop_add_socket(server->loop, server->routes.sockets[CORE_CLIENTS], on_clients, server);
    tell_time(server);
    ab_loop_run(server->loop);
    ab_loop_destroy(server->loop);
}

int server_run(const struct ab_config *config, struct ab_error *err)
{
    struct server server = {0};
    struct core_config core_config;
    int rc = open_sockets(&server, config, err);
    if (!rc) {
        server.limits = read_config(config, &core_config);
        server.core = core_create(&core_config, &core_ops, &server);
        server.link = link_create(&link_ops, &server, core_config.build);
        ab_log(AB_INFO, "broker.start", "clients", ab_config_text(config, AB_CONF_ENDPOINT), "workers",
               ab_config_text(config, AB_CONF_WORKER_ENDPOINT), "build", core_config.build, NULL);
        run(&server);
        if (core_superseded(server.core) || link_superseded(server.link))
            rc = ab_fail(err, AB_ESTALE, "a newer broker has taken over");
    }
    link_destroy(server.link);
    core_destroy(server.core);
    ab_message_close(&server.in[CORE_CLIENTS]);
    ab_message_close(&server.in[CORE_WORKERS]);
    ab_message_close(&server.results);
    routes_finish(&server.routes);
    ab_socket_destroy(server.routes.sockets[CORE_CLIENTS]);
    ab_socket_destroy(server.routes.sockets[CORE_WORKERS]);
    ab_socket_destroy(server.storage);
    free(server.limits);
    return rc;
}
