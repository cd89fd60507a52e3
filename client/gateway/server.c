/* The gateway's loop: MHD's epoll descriptor, the client library's, signals; and once per wake-up everything that is due. */
#include "client/gateway/server.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/gateway/feed.h"
#include "client/gateway/listen.h"
#include "client/gateway/stream.h"
#include "client/gateway/wait.h"
#include "common/clock.h"
#include "common/log.h"

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t deadline(void *owner, int64_t now)
{
    struct gateway *gateway = owner;
    MHD_UNSIGNED_LONG_LONG ms;
    int64_t soonest = now + autobots_deadline_ms(gateway->bots);
    if (gateway->daemon && MHD_get_timeout(gateway->daemon, &ms) == MHD_YES)
        soonest = earlier(soonest, now + (int64_t)(ms > SWEEP_MS ? SWEEP_MS : ms));
    soonest = earlier(soonest, gateway->swept_ms + SWEEP_MS);
    return earlier(soonest, waits_deadline(gateway));
}

static bool on_bots(void *owner)
{
    struct gateway *gateway = owner;
    gateway->now_ms = ab_mono_ms();
    autobots_run(gateway->bots);
    return false;
}

static void run_http(struct gateway *gateway)
{
    MHD_UNSIGNED_LONG_LONG ms;
    if (!gateway->daemon)
        return;
    bool due = MHD_get_timeout(gateway->daemon, &ms) == MHD_YES && !ms;
    if (!gateway->resumed && !due)
        return;
    gateway->resumed = false;
    MHD_run(gateway->daemon);
}

static bool idle(const struct gateway *gateway)
{
    for (const struct conn *conn = gateway->conns; conn; conn = conn->next)
        if (conn->call)
            return false;
    return true;
}

static void tick(void *owner, int64_t now)
{
    struct gateway *gateway = owner;
    gateway->now_ms = now;
    autobots_run(gateway->bots);
    waits_expire(gateway, now);
    if (now - gateway->swept_ms >= SWEEP_MS) {
        gateway->swept_ms = now;
        streams_comment(gateway, now);
        auth_tick(gateway, now);
        boards_look(gateway);
        http_sweep(gateway, now);
        gateway->resumed = true; /* MHD listens again only in a later run than the one that made room */
    }
    run_http(gateway);
    if (gateway->stopping && (now >= gateway->stop_at_ms || idle(gateway)))
        ab_loop_stop(gateway->loop);
}

/* Streams end: their clients come back to whoever is there then. Other answers get a moment. */
static void signalled(void *owner, int signo)
{
    struct gateway *gateway = owner;
    if (signo == SIGHUP || gateway->stopping)
        return;
    if (!gateway->daemon) {
        ab_loop_stop(gateway->loop);
        return;
    }
    gateway->stopping = true;
    gateway->stop_at_ms = ab_mono_ms() + DRAIN_MS_MAX;
    gateway->swept_ms = 0;
    gateway->listen_fd = -1;
    int fd = MHD_quiesce_daemon(gateway->daemon);
    if (fd >= 0)
        close(fd);
    streams_end(gateway);
}

/* ---- starting ---- */

static int serve(struct gateway *gateway, struct ab_error *err)
{
    char url[LISTEN_URL_MAX];
    if (http_start(gateway, err))
        return err->code;
    listen_url(gateway->listen_fd, url);
    ab_log(AB_INFO, "gateway.ready", "url", url, NULL);
    return 0;
}

static int check_tokens(const struct gateway *gateway, const struct autobots_answer *answer,
                        struct ab_error *err)
{
    char url[LISTEN_URL_MAX];
    json_t *tree = NULL;
    if (answer->error) {
        memcpy(err, answer->error, sizeof *err);
        return err->code;
    }
    listen_url(gateway->listen_fd, url);
    int rc = ab_json_parse(ab_view_of(answer->json), &tree, err);
    if (!rc && !ab_tree_int(tree, "tokens", 0))
        rc = ab_fail_at(err, AB_EUSAGE, "http", LISTEN_NEEDS_TOKEN, url);
    json_decref(tree);
    return rc;
}

static void on_tokens(void *context, const struct autobots_answer *answer)
{
    struct gateway *gateway = context;
    if (check_tokens(gateway, answer, &gateway->failed) || serve(gateway, &gateway->failed))
        ab_loop_stop(gateway->loop);
}

/* An address that others reach is served only if there is a token. While storage does not answer, signals are heard. */
static int ask_for_tokens(struct gateway *gateway, struct ab_error *err)
{
    struct autobots_error error;
    if (!autobots_start_query(gateway->bots, "check_token", NULL, on_tokens, gateway, &error))
        return 0;
    memcpy(err, &error, sizeof *err);
    return err->code;
}

static int open_all(struct gateway *gateway, struct ab_error *err)
{
    struct autobots_error error;
    const char *storage = strcmp(ab_config_source(gateway->config, AB_CONF_STORAGE_ENDPOINT), "default") ||
                                  !strcmp(ab_config_source(gateway->config, AB_CONF_ENDPOINT), "default")
                              ? ab_config_text(gateway->config, AB_CONF_STORAGE_ENDPOINT)
                              : NULL; /* the broker names it */
    struct autobots_options options = {.endpoint = ab_config_text(gateway->config, AB_CONF_ENDPOINT),
                                       .storage = storage,
                                       .user = ab_config_text(gateway->config, AB_CONF_DEFAULT_USER_ID),
                                       .program = "autobots-gateway"};
    const char *address = ab_config_text(gateway->config, AB_CONF_HTTP);
    if (listen_off(address))
        return ab_fail_at(err, AB_EUSAGE, "http", "off: there is nothing to do");
    gateway->listen_fd = listen_open(address, err);
    if (gateway->listen_fd < 0)
        return gateway->listen_fd;
    gateway->loopback = listen_is_loopback(gateway->listen_fd);
    gateway->auth = auth_create(!gateway->loopback || ab_config_enum(gateway->config, AB_CONF_HTTP_AUTH) == 1,
                                ab_config_int(gateway->config, AB_CONF_HTTP_TOKEN_RATE));
    gateway->bots = autobots_open(&options, &error);
    if (!gateway->bots) {
        memcpy(err, &error, sizeof *err);
        return err->code;
    }
    ab_loop_add_fd(gateway->loop, autobots_fd(gateway->bots), on_bots, gateway);
    return gateway->loopback ? serve(gateway, err) : ask_for_tokens(gateway, err);
}

int gateway_run(const struct ab_config *config, struct ab_error *err)
{
    static const struct ab_loop_ops ops = {deadline, tick, signalled};
    struct gateway gateway = {.config = config,
                              .listen_fd = -1,
                              .started_ms = ab_mono_ms(),
                              .idle_ms = ab_config_int(config, AB_CONF_HTTP_IDLE_MS),
                              .slow_ms = ab_config_int(config, AB_CONF_HTTP_SLOW_MS),
                              .body_bytes_max = (uint64_t)ab_config_int(config, AB_CONF_MESSAGE_BYTES_MAX)};
    gateway.now_ms = gateway.swept_ms = gateway.started_ms;
    gateway.loop = ab_loop_create(&ops, &gateway);
    gateway.feeds = feeds_create();
    gateway.rates = ab_calloc(1, sizeof *gateway.rates);
    gateway.rates->per_second = ab_config_int(config, AB_CONF_HTTP_RATE);
    int rc = open_all(&gateway, err);
    if (!rc) {
        ab_loop_run(gateway.loop);
        *err = gateway.failed;
        rc = err->code;
    }
    if (gateway.daemon)
        http_stop(&gateway);
    else if (gateway.listen_fd >= 0)
        close(gateway.listen_fd);
    autobots_close(gateway.bots);
    calls_forget(&gateway);
    feeds_destroy(gateway.feeds);
    free(gateway.openapi);
    free(gateway.rates);
    auth_destroy(gateway.auth);
    ab_loop_destroy(gateway.loop);
    return rc;
}
