#include "common/wire/socket.h"

#include <czmq.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    SEND_QUEUE_MAX = 2000, /* packets to one slow peer inside libzmq; then the pipe is full */
    RECEIVE_QUEUE_MAX = 2000,
    HANDSHAKE_MS = 5000,
    LINGER_MS = 1000,
    OUTBOX_KEEP_BYTES = 2 * AB_PACKET_BYTES, /* memory that an empty outbox keeps */
};

/* czmq ends its context when the process exits, and that waits for every socket: a program that exits without closing
 * them would hang. So they are closed before. Like the context they belong to the process and its main thread. */
static struct open_socket {
    void *socket;
    struct open_socket *next;
} * open_sockets;

static void close_socket(void *socket)
{
    for (struct open_socket **at = &open_sockets; *at; at = &(*at)->next)
        if ((*at)->socket == socket) {
            struct open_socket *found = *at;
            *at = found->next;
            free(found);
            break;
        }
    zmq_close(socket);
}

static void close_sockets(void)
{
    while (open_sockets)
        close_socket(open_sockets->socket);
}

void *ab_zmq_context(void)
{
    static void *context;
    if (!context) {
        zsys_handler_set(NULL); /* signals belong to the loop */
        context = zsys_init();
        atexit(close_sockets); /* what was registered last is called first */
    }
    return context;
}

static void set_int(void *socket, int option, int value)
{
    int rc = zmq_setsockopt(socket, option, &value, sizeof value);
    assert(!rc);
    (void)rc;
}

static void *socket_create(int type, uint64_t body_bytes_max)
{
    void *socket = zmq_socket(ab_zmq_context(), type);
    assert(socket);
    int64_t packet_max = (int64_t)(body_bytes_max + AB_HEADER_MAX + AB_PACKET_HEAD);
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &packet_max, sizeof packet_max);
    set_int(socket, ZMQ_SNDHWM, SEND_QUEUE_MAX);
    set_int(socket, ZMQ_RCVHWM, RECEIVE_QUEUE_MAX);
    set_int(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
    set_int(socket, ZMQ_LINGER, LINGER_MS);
    struct open_socket *open = ab_alloc(sizeof *open);
    *open = (struct open_socket){.socket = socket, .next = open_sockets};
    open_sockets = open;
    return socket;
}

static int ipc_path(const char *endpoint, struct sockaddr_un *address, struct ab_error *err)
{
    const char *path = endpoint + strlen("ipc://");
    if (strlen(path) >= sizeof address->sun_path)
        return ab_fail(err, AB_EUSAGE,
                       "socket path %s is longer than %zu bytes, the system's limit; use a shorter --dir", path,
                       sizeof address->sun_path - 1);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, strlen(path));
    return 0;
}

/* libzmq would silently steal the path of a living server. */
static int refuse_live_socket(const struct sockaddr_un *address, struct ab_error *err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool live = fd >= 0 && !connect(fd, (const struct sockaddr *)address, sizeof *address);
    if (fd >= 0)
        close(fd);
    return live ? ab_fail(err, AB_EUSAGE, "%s is in use by a running service; stop it or use another --dir",
                          address->sun_path)
                : 0;
}

static int check_private(const struct sockaddr_un *address, struct ab_error *err)
{
    char folder[sizeof address->sun_path];
    snprintf(folder, sizeof folder, "%s", address->sun_path);
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
    struct stat st;
    const char *where = !slash ? "." : *folder ? folder : "/";
    if (stat(where, &st))
        return ab_fail(err, AB_EUSAGE, "folder %s for the socket: %s", where, strerror(errno));
    if ((st.st_mode & 077) || st.st_uid != geteuid())
        return ab_fail(err, AB_EUSAGE, "folder %s must belong to this user alone: chmod 700 %s", where, where);
    return 0;
}

static bool is_loopback(const char *endpoint)
{
    static const char *const allowed[] = {"tcp://127.", "tcp://[::1]:", "tcp://localhost:", "inproc://"};
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (!strncmp(endpoint, allowed[i], strlen(allowed[i])))
            return true;
    return false;
}

static int check_bind(const char *endpoint, struct ab_error *err)
{
    if (!strncmp(endpoint, "ipc://", 6)) {
        struct sockaddr_un address;
        int rc = ipc_path(endpoint, &address, err);
        if (!rc)
            rc = check_private(&address, err);
        return rc ? rc : refuse_live_socket(&address, err);
    }
    if (is_loopback(endpoint))
        return 0;
    return ab_fail(err, AB_EUSAGE,
                   "%s is neither ipc:// nor a loopback tcp:// address; unauthenticated sockets are not opened "
                   "to a network",
                   endpoint);
}

void *ab_router_create(const char *endpoint, uint64_t body_bytes_max, struct ab_error *err)
{
    if (check_bind(endpoint, err))
        return NULL;
    void *socket = socket_create(ZMQ_ROUTER, body_bytes_max);
    set_int(socket, ZMQ_ROUTER_MANDATORY, 1);
    if (!zmq_bind(socket, endpoint))
        return socket;
    ab_fail(err, errno == EADDRINUSE ? AB_EUSAGE : AB_ESYSTEM, "cannot listen on %s: %s", endpoint,
            zmq_strerror(errno));
    close_socket(socket);
    return NULL;
}

void *ab_dealer_create(const char *endpoint, uint64_t body_bytes_max, struct ab_error *err)
{
    struct sockaddr_un address;
    if (!strncmp(endpoint, "ipc://", 6) && ipc_path(endpoint, &address, err))
        return NULL;
    void *socket = socket_create(ZMQ_DEALER, body_bytes_max);
    set_int(socket, ZMQ_IMMEDIATE, 1);
    set_int(socket, ZMQ_RECONNECT_IVL, 20);
    set_int(socket, ZMQ_RECONNECT_IVL_MAX, 100);
    if (!zmq_connect(socket, endpoint))
        return socket;
    ab_fail(err, AB_EUSAGE, "cannot connect to %s: %s", endpoint, zmq_strerror(errno));
    close_socket(socket);
    return NULL;
}

void ab_socket_destroy(void *socket)
{
    if (socket)
        close_socket(socket);
}

int ab_socket_fd(void *socket)
{
    int fd = -1;
    size_t n = sizeof fd;
    zmq_getsockopt(socket, ZMQ_FD, &fd, &n);
    return fd;
}

/* ---- in ---- */

/* Takes the next frame into m->frame; *more: others of the same ZeroMQ message follow. 1, 0: nothing is there, or
 * AB_ESYSTEM. */
static int take_frame(void *socket, struct ab_message *m, bool *more)
{
    if (m->open)
        zmq_msg_close(&m->frame);
    zmq_msg_init(&m->frame);
    m->open = zmq_msg_recv(&m->frame, socket, ZMQ_DONTWAIT) >= 0;
    *more = m->open && zmq_msg_more(&m->frame);
    return m->open ? 1 : errno == EAGAIN || errno == EINTR ? 0 : AB_ESYSTEM;
}

static struct ab_view frame_view(struct ab_message *m)
{
    return ab_view(zmq_msg_data(&m->frame), zmq_msg_size(&m->frame));
}

static bool is_router(void *socket)
{
    int type = 0;
    size_t n = sizeof type;
    zmq_getsockopt(socket, ZMQ_TYPE, &type, &n);
    return type == ZMQ_ROUTER;
}

/* As take_frame: the packet of the next ZeroMQ message, and the peer it is from. Frames that should not be are counted
 * and dropped. */
static int take_packet(void *socket, struct ab_message *m, struct ab_error *err)
{
    bool more;
    int frames = 1;
    int rc = take_frame(socket, m, &more);
    m->route.n = 0;
    if (rc > 0 && is_router(socket)) {
        struct ab_view route = frame_view(m);
        m->route.n = (uint8_t)(route.n > AB_ROUTE_MAX ? AB_ROUTE_MAX : route.n);
        memcpy(m->route.b, route.p, m->route.n);
        if (!more)
            return ab_fail(err, AB_EINVALID, "a message without a packet");
        rc = take_frame(socket, m, &more);
    }
    for (; rc > 0 && more; frames++)
        rc = take_frame(socket, m, &more);
    if (rc < 0)
        return ab_fail(err, AB_ESYSTEM, "receive: %s", zmq_strerror(errno));
    return rc > 0 && frames > 1 ? ab_fail(err, AB_EINVALID, "a packet is one frame, not %d", frames) : rc;
}

static int next_message(struct ab_message *m, struct ab_error *err)
{
    struct ab_envelope envelope;
    if (m->taken++ == AB_PACKET_MESSAGES_MAX)
        return ab_fail(err, AB_ETOOLARGE, "a packet holds at most %d messages", AB_PACKET_MESSAGES_MAX);
    int rc = ab_packet_take(&m->rest, &envelope, err);
    if (rc)
        return rc;
    m->version = envelope.version;
    m->command = envelope.command;
    m->header = envelope.header;
    m->body = envelope.body;
    return 1;
}

int ab_message_receive(void *socket, struct ab_message *m, struct ab_error *err)
{
    if (!ab_message_more(m)) {
        int rc = take_packet(socket, m, err);
        if (rc != 1)
            return rc;
        m->rest = frame_view(m);
        m->taken = 0;
    }
    int rc = next_message(m, err);
    if (rc < 0)
        m->rest.n = 0;
    return rc;
}

void ab_message_close(struct ab_message *m)
{
    if (m->open)
        zmq_msg_close(&m->frame);
    m->open = false;
    m->rest.n = 0;
}

int ab_message_header(const struct ab_message *m, void *header, struct ab_error *err)
{
    const struct ab_command_row *row = ab_command_row(m->command);
    if (!row)
        return ab_fail(err, AB_EINVALID, "unknown command %u; this side speaks versions %d to %d", m->command,
                       AB_VERSION_MIN, AB_VERSION_MAX);
    return ab_decode(row->schema, m->header, header, err);
}

/* ---- out ---- */

/* A DEALER cannot tell "no connection" from "its pipe is full": both are "not now". */
static int send_failed(const struct ab_route *route)
{
    if (errno == EHOSTUNREACH)
        return AB_ENOTFOUND;
    return errno == EAGAIN && route ? AB_EBUSY : AB_EUNAVAILABLE;
}

/* A packet of two parts. Only the first frame can be refused: it is queued whole or not at all. */
static int send_packet(void *socket, const struct ab_route *route, struct ab_view first, struct ab_view second)
{
    zmq_msg_t packet;
    if (route && zmq_send(socket, route->b, route->n, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return send_failed(route);
    if (zmq_msg_init_size(&packet, first.n + second.n))
        ab_out_of_memory();
    memcpy(zmq_msg_data(&packet), first.p, first.n);
    if (second.n)
        memcpy((char *)zmq_msg_data(&packet) + first.n, second.p, second.n);
    if (zmq_msg_send(&packet, socket, ZMQ_DONTWAIT) >= 0)
        return 0;
    int rc = send_failed(route);
    zmq_msg_close(&packet);
    return rc;
}

int ab_send(void *socket, const struct ab_route *route, enum ab_command command, const void *message,
            struct ab_view body)
{
    static _Thread_local struct ab_buf head; /* reused: the hot path allocates nothing of its own */
    ab_buf_clear(&head);
    ab_packet_begin(&head, command, message, body.n);
    return send_packet(socket, route, ab_buf_view(&head), body);
}

size_t ab_outbox_bytes(const struct ab_outbox *outbox)
{
    return outbox->messages.n - outbox->sent;
}

/* A peer that is always a little behind never lets the outbox get empty: what has left is dropped in between. */
static void compact(struct ab_outbox *outbox)
{
    size_t left = ab_outbox_bytes(outbox);
    if (outbox->sent < left)
        return;
    memmove(outbox->messages.p, outbox->messages.p + outbox->sent, left);
    outbox->messages.n = left;
    outbox->sent = 0;
}

int ab_outbox_flush(struct ab_outbox *outbox, void *socket, const struct ab_route *route)
{
    struct ab_view all = ab_buf_view(&outbox->messages);
    outbox->rc = 0;
    while (outbox->sent < all.n && !outbox->rc) {
        struct ab_view left = ab_view(all.p + outbox->sent, all.n - outbox->sent);
        left.n = ab_packet_first(left);
        outbox->rc = send_packet(socket, route, left, (struct ab_view){0});
        outbox->sent += outbox->rc ? 0 : left.n;
    }
    if (outbox->rc)
        compact(outbox);
    else
        ab_outbox_clear(outbox);
    return outbox->rc;
}

void ab_outbox_add(struct ab_outbox *outbox, void *socket, const struct ab_route *route,
                   enum ab_command command, const void *message, struct ab_view body)
{
    ab_packet_add(&outbox->messages, command, message, body);
    if (!outbox->rc && ab_outbox_bytes(outbox) >= AB_PACKET_BYTES)
        ab_outbox_flush(outbox, socket, route);
}

void ab_outbox_clear(struct ab_outbox *outbox)
{
    outbox->sent = 0;
    outbox->rc = 0;
    ab_buf_clear(&outbox->messages);
    if (outbox->messages.cap > OUTBOX_KEEP_BYTES)
        ab_buf_finish(&outbox->messages);
}

void ab_outbox_finish(struct ab_outbox *outbox)
{
    ab_buf_finish(&outbox->messages);
    *outbox = (struct ab_outbox){0};
}

int ab_send_error(void *socket, const struct ab_route *route, enum ab_command command, uint64_t rid,
                  struct ab_id job, const struct ab_error *err)
{
    struct ab_failure failure;
    ab_error_to(err, &failure);
    failure.rid = rid;
    failure.job = job;
    return ab_send(socket, route, command, &failure, (struct ab_view){0});
}
