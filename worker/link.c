/* See link.h. Owns the DEALER. */
#include "worker/link.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/version.h"

static void close_link(struct link *link, const char *why)
{
    if (link->open)
        ab_log(AB_WARN, "link.lost", "to", link->name, "why", why, NULL);
    link->open = false;
    link->said_ms = 0;
    ab_outbox_clear(&link->outbox); /* the owner says it again */
}

static void say_hello(struct link *link, int64_t now_ms)
{
    struct ab_hello hello = {.role = ab_view_of("worker"),
                             .vmin = AB_VERSION_MIN,
                             .vmax = AB_VERSION_MAX,
                             .build = ab_view_of(ab_build())};
    if (link->ops->hello)
        link->ops->hello(link->owner, &hello);
    link->said_ms = now_ms;
    if (ab_send(link->socket, NULL, AB_HELLO, &hello, (struct ab_view){0}))
        link->said_ms += LINK_CONNECT_MS - LINK_HELLO_AGAIN_MS; /* not connected yet */
}

static void on_welcome(struct link *link, const struct ab_message *m)
{
    struct ab_welcome welcome;
    struct ab_error err = {0};
    if (ab_message_header(m, &welcome, &err)) {
        ab_log(AB_WARN, "link.bad_welcome", "from", link->name, "error", err.text, NULL);
        return;
    }
    bool again = link->open;
    link->open = true;
    link->heartbeat_ms = welcome.heartbeat_ms ? (int64_t)welcome.heartbeat_ms : 1000;
    ab_log(again ? AB_DEBUG : AB_INFO, "link.open", "to", link->name, "endpoint", link->endpoint, "epoch",
           ab_num((long long)welcome.epoch), NULL);
    link->ops->opened(link->owner, &welcome);
}

static void on_reject(struct link *link, const struct ab_message *m)
{
    struct ab_failure failure;
    struct ab_error err = {0};
    if (!ab_message_header(m, &failure, &err))
        ab_error_from(&failure, &err);
    if (err.retryable)
        close_link(link, err.text);
    else
        link->ops->rejected(link->owner, &err);
}

/* True for an ERROR that says the other side does not know this connection: it was restarted. */
static bool is_stranger(const struct ab_message *m)
{
    struct ab_failure failure;
    return m->command == AB_ERROR && !ab_message_header(m, &failure, NULL) &&
           ab_view_is(failure.code, "denied") && !failure.rid && ab_id_zero(failure.job);
}

static void on_ping(struct link *link, const struct ab_message *m)
{
    struct ab_ping ping;
    if (!ab_message_header(m, &ping, NULL))
        link_send(link, AB_PONG, &ping, (struct ab_view){0});
}

static void on_message(struct link *link, const struct ab_message *m)
{
    if (m->command == AB_WELCOME)
        on_welcome(link, m);
    else if (m->command == AB_REJECT)
        on_reject(link, m);
    else if (m->command == AB_PING)
        on_ping(link, m);
    else if (is_stranger(m))
        close_link(link, "it was restarted");
    else if (link->open && m->command != AB_HEARTBEAT && m->command != AB_PONG)
        link->ops->message(link->owner, m);
}

static bool on_readable(void *owner)
{
    struct link *link = owner;
    for (int i = 0; i < LINK_BURST_MAX || ab_message_more(&link->in); i++) {
        struct ab_error err = {0};
        int rc = ab_message_receive(link->socket, &link->in, &err);
        if (!rc)
            return false;
        link->heard_ms = ab_mono_ms();
        if (rc < 0) {
            ab_log(AB_WARN, "link.bad_message", "from", link->name, "error", err.text, NULL);
            continue;
        }
        on_message(link, &link->in);
    }
    return true;
}

int link_start(struct link *link, struct ab_loop *loop, const char *endpoint, uint64_t body_bytes_max,
               struct ab_error *err)
{
    /* JOB holds an input and a page of the journal, which may be one event of the greatest size. */
    link->socket = ab_dealer_create(endpoint, 2 * body_bytes_max + LINK_BYTES_SPARE, err);
    if (!link->socket)
        return err ? err->code : AB_ESYSTEM;
    link->endpoint = ab_strdup(endpoint);
    link->loop = loop;
    link->open = false;
    link->said_ms = 0;
    ab_loop_add_socket(loop, link->socket, on_readable, link);
    return 0;
}

void link_finish(struct link *link)
{
    if (!link->socket)
        return;
    ab_loop_remove(link->loop, link->socket, -1);
    ab_message_close(&link->in);
    link_flush(link);
    ab_outbox_finish(&link->outbox);
    ab_socket_destroy(link->socket);
    free(link->endpoint);
    link->socket = NULL;
    link->endpoint = NULL;
    link->open = false;
}

static int64_t again_ms(const struct link *link)
{
    return link->open ? link->heartbeat_ms : LINK_HELLO_AGAIN_MS;
}

int64_t link_deadline(const struct link *link)
{
    return link->socket ? link->said_ms + again_ms(link) : INT64_MAX;
}

void link_tick(struct link *link, int64_t now_ms)
{
    if (!link->socket)
        return;
    if (link->open && now_ms - link->heard_ms > LINK_HEARTBEATS_LOST * link->heartbeat_ms)
        close_link(link, "it is silent");
    if (now_ms - link->said_ms < again_ms(link))
        return;
    if (!link->open) {
        say_hello(link, now_ms);
        return;
    }
    link->said_ms = now_ms;
    link->ops->heartbeat(link->owner);
}

int link_send(struct link *link, enum ab_command command, const void *message, struct ab_view body)
{
    if (!link->open || link->outbox.rc)
        return AB_EUNAVAILABLE;
    ab_outbox_add(&link->outbox, link->socket, NULL, command, message, body);
    return 0;
}

bool link_flush(struct link *link)
{
    return !link->open || !ab_outbox_bytes(&link->outbox) ||
           !ab_outbox_flush(&link->outbox, link->socket, NULL);
}
