#include "common/wire/socket.h"

#include <czmq.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    SEND_QUEUE_MAX = 10000, /* messages to one slow peer inside libzmq; then the pipe is full */
    RECEIVE_QUEUE_MAX = 10000,
    HANDSHAKE_MS = 5000,
    LINGER_MS = 1000,
    COMMAND_BYTES = 4,
    MESSAGE_PARTS = 3,
};

void *ab_zmq_context(void)
{
    static void *context;
    if (!context) {
        zsys_handler_set(NULL); /* signals belong to the loop */
        context = zsys_init();
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
    int64_t message_max = (int64_t)(body_bytes_max > AB_HEADER_MAX ? body_bytes_max : AB_HEADER_MAX);
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &message_max, sizeof message_max);
    set_int(socket, ZMQ_SNDHWM, SEND_QUEUE_MAX);
    set_int(socket, ZMQ_RCVHWM, RECEIVE_QUEUE_MAX);
    set_int(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
    set_int(socket, ZMQ_LINGER, LINGER_MS);
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
    zmq_close(socket);
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
    zmq_close(socket);
    return NULL;
}

void ab_socket_destroy(void *socket)
{
    if (socket)
        zmq_close(socket);
}

int ab_socket_fd(void *socket)
{
    int fd = -1;
    size_t n = sizeof fd;
    zmq_getsockopt(socket, ZMQ_FD, &fd, &n);
    return fd;
}

/* Takes one message's frames; those over the expected number are counted and dropped. Returns the count, 0 if
 * nothing is there, negative on a socket error. */
static int take_parts(void *socket, struct ab_message *m, int expected)
{
    int n = 0;
    for (bool more = true; more; n++) {
        zmq_msg_t extra;
        zmq_msg_init(&extra);
        zmq_msg_t *part = n < expected ? &m->parts[n] : &extra;
        zmq_msg_init(part);
        if (zmq_msg_recv(part, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(part);
            return n == 0 && (errno == EAGAIN || errno == EINTR) ? 0 : AB_ESYSTEM;
        }
        more = zmq_msg_more(part);
        if (n >= expected)
            zmq_msg_close(&extra);
        else
            m->parts_n = n + 1;
    }
    return n;
}

static struct ab_view part_view(zmq_msg_t *part)
{
    return ab_view(zmq_msg_data(part), zmq_msg_size(part));
}

static int parse_parts(struct ab_message *m, int taken, int first, struct ab_error *err)
{
    if (taken != first + MESSAGE_PARTS)
        return ab_fail(err, AB_EINVALID, "a message has 3 frames (command, header, body), not %d",
                       taken - first);
    struct ab_view command = part_view(&m->parts[first]);
    if (command.n != COMMAND_BYTES || command.p[0] != 'A' || command.p[1] != 'B')
        return ab_fail(err, AB_EINVALID, "the first frame must be the 4 bytes 'A' 'B' version command");
    m->version = (uint8_t)command.p[2];
    m->command = (uint8_t)command.p[3];
    m->header = part_view(&m->parts[first + 1]);
    m->body = part_view(&m->parts[first + 2]);
    if (m->header.n > AB_HEADER_MAX)
        return ab_fail(err, AB_ETOOLARGE, "the header has %zu bytes; at most %d are allowed", m->header.n,
                       AB_HEADER_MAX);
    return 0;
}

int ab_message_receive(void *socket, struct ab_message *m, struct ab_error *err)
{
    int type = 0;
    size_t n = sizeof type;
    m->parts_n = 0;
    m->route.n = 0;
    zmq_getsockopt(socket, ZMQ_TYPE, &type, &n);
    int first = type == ZMQ_ROUTER;
    int taken = take_parts(socket, m, first + MESSAGE_PARTS);
    if (taken <= 0)
        return taken ? ab_fail(err, AB_ESYSTEM, "receive: %s", zmq_strerror(errno)) : 0;
    if (first) {
        struct ab_view route = part_view(&m->parts[0]);
        m->route.n = (uint8_t)(route.n > AB_ROUTE_MAX ? AB_ROUTE_MAX : route.n);
        memcpy(m->route.b, route.p, m->route.n);
    }
    int rc = parse_parts(m, taken, first, err);
    if (!rc)
        return 1;
    ab_message_close(m);
    return rc;
}

void ab_message_close(struct ab_message *m)
{
    for (int i = 0; i < m->parts_n; i++)
        zmq_msg_close(&m->parts[i]);
    m->parts_n = 0;
}

int ab_message_header(const struct ab_message *m, void *header, struct ab_error *err)
{
    const struct ab_command_row *row = ab_command_row(m->command);
    if (!row)
        return ab_fail(err, AB_EINVALID, "unknown command %u; this side speaks versions %d to %d", m->command,
                       AB_VERSION_MIN, AB_VERSION_MAX);
    return ab_decode(row->schema, m->header, header, err);
}

/* A DEALER cannot tell "no connection" from "its pipe is full": both are "not now". */
static int send_failed(const struct ab_route *route)
{
    if (errno == EHOSTUNREACH)
        return AB_ENOTFOUND;
    return errno == EAGAIN && route ? AB_EBUSY : AB_EUNAVAILABLE;
}

int ab_send(void *socket, const struct ab_route *route, enum ab_command command, const void *message,
            struct ab_view body)
{
    static _Thread_local struct ab_buf header; /* reused: the hot path allocates nothing of its own */
    const struct ab_command_row *row = ab_command_row((uint8_t)command);
    const char first[COMMAND_BYTES] = {'A', 'B', AB_VERSION_MAX, (char)command};
    ab_buf_clear(&header);
    ab_encode(&header, row->schema, message);
    /* Only the first frame can be refused: a message is queued whole or not at all. */
    if (route && zmq_send(socket, route->b, route->n, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return send_failed(route);
    if (zmq_send(socket, first, sizeof first, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return send_failed(route);
    if (zmq_send(socket, header.p, header.n, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return send_failed(route);
    if (zmq_send(socket, body.p ? body.p : "", body.n, ZMQ_DONTWAIT) < 0)
        return send_failed(route);
    return 0;
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
