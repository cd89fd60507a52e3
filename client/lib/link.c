/* One link: a DEALER to broker or storage, its greeting, its heartbeat, and what comes in over it.
 *
 * Owns the socket. Knows nothing of what requests mean: it hands answers to request.c and events to watch.c.
 */
#include <sys/epoll.h>

#include "client/lib/internal.h"
#include "common/clock.h"
#include "common/version.h"

void link_init(struct link *link, struct autobots *client, const char *service, const char *endpoint)
{
    *link = (struct link){.client = client,
                          .service = service,
                          .endpoint = endpoint ? ab_strdup(endpoint) : NULL,
                          .greeting = 1,
                          .heartbeat_ms = HEARTBEAT_MS};
}

static void close_socket(struct link *link)
{
    if (link->socket)
        link_flush(link);
    ab_outbox_finish(&link->outbox);
    ab_socket_destroy(link->socket);
    link->socket = NULL;
}

void link_finish(struct link *link)
{
    close_socket(link);
    free(link->endpoint);
    link->endpoint = NULL;
}

static void link_open(struct link *link)
{
    link->socket = ab_dealer_create(link->endpoint, BODY_BYTES_MAX, &link->rejected);
    if (!link->socket)
        return;
    struct epoll_event watch = {.events = EPOLLIN, .data.ptr = link};
    if (epoll_ctl(link->client->epoll_fd, EPOLL_CTL_ADD, ab_socket_fd(link->socket), &watch)) {
        ab_fail(&link->rejected, AB_ESYSTEM, "cannot wait for the %s's socket: %m", link->service);
        ab_socket_destroy(link->socket);
        link->socket = NULL;
        return;
    }
    link->state = LINK_GREETING;
    link->greeted_ms = INT64_MIN / 2;
}

int link_send(struct link *link, enum ab_command command, const void *message, struct ab_view body)
{
    if (!link->socket || link->outbox.rc)
        return AB_EUNAVAILABLE;
    ab_outbox_add(&link->outbox, link->socket, NULL, command, message, body);
    link->said_ms = ab_mono_ms();
    return 0;
}

void link_flush(struct link *link)
{
    if (link->socket && ab_outbox_bytes(&link->outbox))
        ab_outbox_flush(&link->outbox, link->socket, NULL);
}

static void link_hello(struct link *link, int64_t now)
{
    struct ab_hello hello = {.role = ab_view_of("client"),
                             .vmin = AB_VERSION_MIN,
                             .vmax = AB_VERSION_MAX,
                             .build = ab_view_of(link->client->program)};
    ab_outbox_clear(&link->outbox); /* in the new session all is sent again */
    if (!ab_send(link->socket, NULL, AB_HELLO, &hello, ab_view(NULL, 0)))
        link->greeted_ms = now;
    else /* no connection yet, and the socket does not announce one reliably */
        link->greeted_ms = now - GREET_AGAIN_MS + CONNECTING_MS;
}

void link_greet(struct link *link)
{
    if (!link->socket)
        return;
    link->state = LINK_GREETING;
    link->greeted_ms = INT64_MIN / 2;
}

static void link_beat(struct link *link, int64_t now)
{
    struct ab_heartbeat beat = {0};
    if (now - link->heard_ms > SILENT_BEATS * link->heartbeat_ms)
        link_greet(link);
    else if (now - link->said_ms >= link->heartbeat_ms / 2)
        link_send(link, AB_HEARTBEAT, &beat, ab_view(NULL, 0));
}

void link_tick(struct link *link, int64_t now)
{
    if (!link->socket && link->endpoint && !link->rejected.code)
        link_open(link);
    if (!link->socket)
        return;
    if (link->state == LINK_UP)
        link_beat(link, now);
    if (link->state == LINK_GREETING && now - link->greeted_ms >= GREET_AGAIN_MS)
        link_hello(link, now);
}

int64_t link_deadline(const struct link *link, int64_t now)
{
    if (!link->socket)
        return INT64_MAX;
    if (link->state == LINK_GREETING)
        return link->greeted_ms + GREET_AGAIN_MS;
    if (ab_outbox_bytes(&link->outbox))
        return link->outbox.rc ? now + FULL_PIPE_MS : now;
    int64_t silence = link->heard_ms + SILENT_BEATS * link->heartbeat_ms + 1;
    int64_t beat = link->said_ms + link->heartbeat_ms / 2;
    return silence < beat ? silence : beat;
}

bool link_readable(struct link *link)
{
    int events = 0;
    size_t bytes = sizeof events;
    return link->socket && !zmq_getsockopt(link->socket, ZMQ_EVENTS, &events, &bytes) && (events & ZMQ_POLLIN);
}

static void take_endpoint(struct autobots *client, struct ab_view endpoint)
{
    if (client->storage_given || !endpoint.n || client->storage.socket)
        return;
    free(client->storage.endpoint);
    client->storage.endpoint = ab_view_dup(endpoint);
}

static void on_welcome(struct link *link, const struct ab_message *m, int64_t now)
{
    struct ab_welcome welcome;
    struct autobots *client = link->client;
    if (ab_message_header(m, &welcome, NULL))
        return;
    link->state = LINK_UP;
    link->greeting++;
    client->pending = true;
    link->heard_ms = link->said_ms = now;
    link->heartbeat_ms = welcome.heartbeat_ms ? (int64_t)welcome.heartbeat_ms : HEARTBEAT_MS;
    link->body_bytes_max = welcome.body_bytes_max;
    if (link != &client->broker)
        return;
    client->seal_key_known = welcome.seal_key.n == sizeof client->seal_key;
    if (client->seal_key_known)
        memcpy(client->seal_key, welcome.seal_key.p, sizeof client->seal_key);
    take_endpoint(client, welcome.storage);
}

static void on_reject(struct link *link, const struct ab_message *m, int64_t now)
{
    struct ab_failure failure;
    (void)now;
    if (ab_message_header(m, &failure, NULL))
        return;
    struct ab_error error;
    ab_error_from(&failure, &error);
    if (error.retryable) { /* e.g. the service is still starting: greet again after a while */
        link->greeted_ms = now;
        return;
    }
    link->rejected = error;
    close_socket(link);
    link->state = LINK_CLOSED;
}

/* An ERROR without a known request: only "say HELLO first" concerns the link. */
static void on_error(struct link *link, const struct ab_message *m, int64_t now)
{
    struct ab_failure failure;
    struct ab_error error;
    if (ab_message_header(m, &failure, NULL))
        return;
    ab_error_from(&failure, &error);
    struct request *request = failure.rid ? request_find(link->client, failure.rid) : NULL;
    bool session_lost = error.code == AB_EDENIED && (!request || request->denied_in != link->greeting - 1);
    if (request && request->link == link && !session_lost) {
        struct reply reply = {AB_ERROR, &failure, m->body, &error};
        request_answered(request, &reply, now);
        return;
    }
    if (!session_lost)
        return;
    /* A service that restarted does not know us. If it is the request itself that is denied, it will be again. */
    if (request)
        request->denied_in = link->greeting;
    if (link->state == LINK_UP)
        link_greet(link);
}

static void on_answer(struct link *link, const struct ab_message *m, int64_t now)
{
    union {
        struct ab_accepted accepted;
        struct ab_receipt receipt;
        struct ab_result result;
    } header;
    if (ab_message_header(m, &header, NULL))
        return;
    uint64_t rid = m->command == AB_ACCEPTED  ? header.accepted.rid
                   : m->command == AB_RECEIPT ? header.receipt.rid
                                              : header.result.rid;
    struct request *request = request_find(link->client, rid);
    if (!request || request->link != link)
        return; /* the second answer to a request that was sent twice */
    struct reply reply = {(enum ab_command)m->command, &header, m->body, NULL};
    request_answered(request, &reply, now);
}

static void on_event(struct link *link, const struct ab_message *m, int64_t now)
{
    struct ab_event event;
    (void)now;
    if (!ab_message_header(m, &event, NULL))
        watch_event(link->client, &event, m->body);
}

static void on_delta(struct link *link, const struct ab_message *m, int64_t now)
{
    struct ab_delta delta;
    (void)now;
    if (!ab_message_header(m, &delta, NULL))
        watch_delta(link->client, &delta);
}

static void on_following(struct link *link, const struct ab_message *m, int64_t now)
{
    struct ab_following following;
    (void)now;
    if (!ab_message_header(m, &following, NULL))
        follow_begun(link->client, &following);
}

static void on_changed(struct link *link, const struct ab_message *m, int64_t now)
{
    struct ab_changed changed;
    (void)now;
    if (!ab_message_header(m, &changed, NULL))
        follow_changed(link->client, &changed);
}

static void on_ping(struct link *link, const struct ab_message *m, int64_t now)
{
    struct ab_ping ping;
    (void)now;
    if (!ab_message_header(m, &ping, NULL))
        link_send(link, AB_PONG, &ping, ab_view(NULL, 0));
}

static const struct {
    enum ab_command command;
    void (*handle)(struct link *link, const struct ab_message *m, int64_t now);
} handlers[] = {
    {AB_EVENT, on_event},    {AB_DELTA, on_delta},     {AB_RESULT, on_answer},       {AB_ACCEPTED, on_answer},
    {AB_RECEIPT, on_answer}, {AB_WELCOME, on_welcome}, {AB_FOLLOWING, on_following}, {AB_CHANGED, on_changed},
    {AB_ERROR, on_error},    {AB_REJECT, on_reject},   {AB_PING, on_ping},
};

bool link_receive(struct link *link, int64_t now)
{
    struct ab_message m = {0};
    int n = 0, got = 0;
    for (; link->socket && (n < RECEIVE_MAX || ab_message_more(&m)); n++) {
        got = ab_message_receive(link->socket, &m, NULL);
        if (got == AB_EINVALID || got == AB_ETOOLARGE)
            continue;
        if (got != 1)
            break;
        link->heard_ms = now;
        for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++)
            if (handlers[i].command == m.command) {
                handlers[i].handle(link, &m, now);
                break;
            }
    }
    ab_message_close(&m);
    return n >= RECEIVE_MAX;
}
