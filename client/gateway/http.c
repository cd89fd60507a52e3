/* HTTP as libmicrohttpd speaks it: connections, bodies, sleeping and waking, the end of a request.
 *
 * MHD calls on_request() several times for one request: with the headers, with each piece of the body, and from then on
 * whenever the connection is awake until an answer is queued. A handler that has no answer yet puts the connection to
 * sleep (MHD_suspend_connection); while it sleeps MHD does not look at its socket, so http_sweep() does.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "client/gateway/gateway.h"
#include "client/gateway/metrics.h"
#include "client/gateway/stream.h"
#include "common/clock.h"
#include "common/log.h"

/* ---- a request's life ---- */

struct call *call_hold(struct call *call)
{
    call->refs++;
    return call;
}

static void body_release(struct call *call)
{
    call->gateway->uploads -= call->body.n;
    ab_buf_finish(&call->body);
}

void call_drop(struct call *call)
{
    if (--call->refs)
        return;
    *(call->prev ? &call->prev->next : &call->gateway->calls) = call->next;
    if (call->next)
        call->next->prev = call->prev;
    if (call->response)
        MHD_destroy_response(call->response);
    body_release(call);
    json_decref(call->args);
    free(call->user);
    free(call->acts_for);
    free(call);
}

void call_wake(struct call *call)
{
    if (!call->suspended)
        return;
    call->suspended = false;
    call->gateway->resumed = true;
    MHD_resume_connection(call->connection);
}

struct ab_view call_header(const struct call *call, const char *name)
{
    const char *value = MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, name);
    return ab_view_of(value);
}

static struct conn *conn_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* "http://HOST/path" is as good as "/path" with that host (RFC 9112, 3.2.2). */
static void read_target(struct call *call, const char *target)
{
    static const char *const schemes[] = {"http://", "https://"};
    call->path = ab_view_of(target);
    call->host = call_header(call, "Host");
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(schemes[i]);
        if (strncasecmp(target, schemes[i], n))
            continue;
        call->host = ab_view(target + n, strcspn(target + n, "/"));
        call->path = ab_view_of(target[n + call->host.n] ? target + n + call->host.n : "/");
    }
}

static struct call *call_create(struct gateway *gateway, struct MHD_Connection *connection, const char *url)
{
    struct call *call = ab_calloc(1, sizeof *call);
    call->gateway = gateway;
    call->connection = connection;
    call->refs = 1;
    call->next = gateway->calls;
    if (call->next)
        call->next->prev = call;
    gateway->calls = call;
    read_target(call, url);
    call->started_us = ab_mono_us();
    call->conn = conn_of(connection);
    call->conn->call = call;
    call->conn->phase = CONN_BODY;
    call->conn->since_ms = gateway->now_ms;
    gateway->counters.requests++;
    return call;
}

/* ---- the headers ---- */

static bool has_body(const struct call *call, uint64_t *bytes)
{
    struct ab_view length = call_header(call, "Content-Length");
    *bytes = length.n ? strtoull(length.p, NULL, 10) : 0;
    return *bytes || call_header(call, "Transfer-Encoding").n;
}

void call_refuse(struct call *call, int status, const struct ab_error *error)
{
    if (call->refusal.code)
        return;
    call->refusal = *error;
    call->refusal_status = status;
    body_release(call);
}

static bool is_json(struct ab_view type)
{
    static const char json[] = "application/json";
    size_t n = sizeof json - 1;
    return type.n >= n && !strncasecmp(type.p, json, n) &&
           (type.n == n || type.p[n] == ';' || type.p[n] == ' ');
}

static void check_body_headers(struct call *call)
{
    struct ab_error err;
    uint64_t bytes, max = call->gateway->body_bytes_max;
    struct ab_view type = call_header(call, "Content-Type"), coding = call_header(call, "Content-Encoding");
    if (!has_body(call, &bytes))
        return;
    if (bytes > max) {
        call->closing = true;
        ab_fail_at(&err, AB_ETOOLARGE, "body",
                   "a body has at most %llu bytes here (message_bytes_max); this one has %llu",
                   (unsigned long long)max, (unsigned long long)bytes);
        call_refuse(call, MHD_HTTP_CONTENT_TOO_LARGE, &err);
    } else if (call->gateway->uploads + bytes > UPLOAD_BYTES_MAX) {
        call->closing = true;
        call->gateway->counters.refused_busy++;
        ab_fail(&err, AB_EBUSY, "too many bodies are coming in at once; try again");
        err.retry_after_ms = 1000;
        call_refuse(call, MHD_HTTP_SERVICE_UNAVAILABLE, &err);
    } else if (coding.n && strcasecmp(coding.p, "identity")) {
        ab_fail_at(&err, AB_EINVALID, "Content-Encoding", "send the body as it is: no coding is undone here");
        call_refuse(call, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, &err);
    } else if (type.n && !is_json(type) && !(call->route && call->route->flags & ROUTE_SEED)) {
        ab_fail_at(&err, AB_EINVALID, "Content-Type", "send JSON, and say so: Content-Type: application/json");
        call_refuse(call, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, &err);
    }
}

static void refuse_path(struct call *call, enum route_found found)
{
    struct ab_error err;
    if (found == ROUTE_UNKNOWN) {
        ab_fail(&err, AB_ENOTFOUND, "there is nothing at this path; GET /openapi.json lists what is");
        call_refuse(call, MHD_HTTP_NOT_FOUND, &err);
        return;
    }
    ab_fail(&err, AB_EUSAGE, "this path does not take that method; the header Allow has those it takes");
    call_refuse(call, MHD_HTTP_METHOD_NOT_ALLOWED, &err);
}

static enum MHD_Result begin(struct gateway *gateway, struct MHD_Connection *connection, const char *url,
                             const char *method, void **state)
{
    struct call *call = call_create(gateway, connection, url);
    struct ab_error err = {0};
    int status = MHD_HTTP_FORBIDDEN;
    *state = call;
    call->head = !strcmp(method, "HEAD");
    call->preflight = !strcmp(method, "OPTIONS");
    enum route_found found =
        route_find(call->head ? "GET" : method, call->path, &call->route, call->values, NULL);
    if (!guard_headers(call, &err, &status)) {
        call->closing = status == MHD_HTTP_BAD_REQUEST; /* where this request ends is not sure */
        call_refuse(call, status, &err);
    } else if (!guard_rate(call, &err))
        call_refuse(call, status_of(err.code), &err);
    else if (found == ROUTE_FOUND && call->route->scope != SCOPE_NONE && !auth_begin(call, &err, &status))
        call_refuse(call, status, &err);
    bool asks = call->preflight && (found == ROUTE_OTHER_METHOD || ab_view_is(call->path, "*"));
    if (found != ROUTE_FOUND && !asks)
        refuse_path(call, found);
    check_body_headers(call);
    if (call->refusal.code &&
        call_header(call, "Expect").n) /* who asks before sending a body need not send it */
        call->closing = true;
    return MHD_YES;
}

/* ---- the body ---- */

static enum MHD_Result take_body(struct call *call, const char *data, size_t bytes)
{
    struct gateway *gateway = call->gateway;
    struct ab_error err;
    if (call->refusal
            .code) { /* read it all the same, as far as is reasonable, so that the answer gets through */
        call->swallowed += bytes;
        return call->swallowed > 2 * gateway->body_bytes_max ? MHD_NO : MHD_YES;
    }
    if (call->body.n + bytes > gateway->body_bytes_max) {
        ab_fail_at(&err, AB_ETOOLARGE, "body", "a body has at most %llu bytes here (message_bytes_max)",
                   (unsigned long long)gateway->body_bytes_max);
        call_refuse(call, MHD_HTTP_CONTENT_TOO_LARGE, &err);
    } else if (gateway->uploads + bytes > UPLOAD_BYTES_MAX) {
        gateway->counters.refused_busy++;
        ab_fail(&err, AB_EBUSY, "too many bodies are coming in at once; try again");
        err.retry_after_ms = 1000;
        call_refuse(call, MHD_HTTP_SERVICE_UNAVAILABLE, &err);
    }
    if (call->refusal.code) {
        body_release(call);
        return MHD_YES;
    }
    ab_buf_add(&call->body, data, bytes);
    gateway->uploads += bytes;
    return MHD_YES;
}

/* ---- handler and answer ---- */

static const char *refusal_name(const struct call *call)
{
    switch (call->refusal_status) {
    case MHD_HTTP_UNAUTHORIZED:
        return "unauthorized";
    case MHD_HTTP_METHOD_NOT_ALLOWED:
        return "method_not_allowed";
    case MHD_HTTP_UNSUPPORTED_MEDIA_TYPE:
        return "unsupported_media_type";
    default:
        return ab_code_name(call->refusal.code);
    }
}

static void add_allow(struct call *call)
{
    struct ab_buf allow = {0};
    const struct route *route;
    struct ab_view values[ROUTE_VALUES_MAX];
    if (route_find("", call->path, &route, values, &allow) == ROUTE_UNKNOWN) /* of "*" */
        ab_buf_text(&allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    call_header_add(call, "Allow", ab_buf_cstr(&allow));
    ab_buf_finish(&allow);
}

static void answer_refusal(struct call *call)
{
    call_fail_as(call, call->refusal_status, refusal_name(call), &call->refusal, NULL);
    if (call->refusal_status == MHD_HTTP_METHOD_NOT_ALLOWED)
        add_allow(call);
    if (call->refusal_status == MHD_HTTP_UNAUTHORIZED)
        call_header_add(call, "WWW-Authenticate", "Bearer realm=\"autobots\"");
}

static void run_handler(struct call *call)
{
    call->begun = true;
    call->conn->phase = CONN_BUSY;
    if (call->refusal.code)
        answer_refusal(call);
    else if (call->preflight) {
        call_answer_empty(call, MHD_HTTP_NO_CONTENT);
        add_allow(call);
    } else if (args_read(call)) {
        (call->route->handle ? call->route->handle : forward_handle)(call);
        body_release(call);
    }
}

void call_go_on(struct call *call)
{
    if (call->suspended && !call->begun)
        run_handler(call);
}

static enum MHD_Result queue_answer(struct call *call)
{
    if (call->closing)
        MHD_add_response_header(call->response, "Connection", "close");
    call->conn->phase = CONN_BUSY;
    enum MHD_Result rc = MHD_queue_response(call->connection, (unsigned)call->status, call->response);
    MHD_destroy_response(call->response);
    call->response = NULL;
    return rc;
}

static enum MHD_Result on_request(void *owner, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data, size_t *bytes,
                                  void **state)
{
    struct call *call = *state;
    (void)version;
    if (!call) {
        enum MHD_Result rc = begin(owner, connection, url, method, state);
        call = *state;
        if (!call->closing)
            return rc;
        run_handler(call); /* the body is not even read */
        return queue_answer(call);
    }
    if (*bytes) {
        enum MHD_Result rc = take_body(call, data, *bytes);
        *bytes = 0;
        return rc;
    }
    if (call->abandoned)
        return MHD_NO;
    if (!call->begun && !call->checking)
        run_handler(call);
    if (call->response)
        return queue_answer(call);
    call->suspended = true;
    MHD_suspend_connection(connection);
    return MHD_YES;
}

static void on_completed(void *owner, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode how)
{
    struct call *call = *state;
    struct gateway *gateway = owner;
    (void)connection;
    (void)how;
    if (!call)
        return;
    *state = NULL;
    metrics_count(gateway, call);
    call->conn->call = NULL;
    call->conn->phase = CONN_IDLE;
    call->conn->used = true;
    call->conn->since_ms = gateway->now_ms;
    auth_end(call);
    call->connection = NULL;
    call->path = call->host = ab_view(NULL, 0);
    call->conn = NULL;
    call->suspended = false;
    if (call->forget)
        call->forget(call);
    call->forget = NULL;
    stream_destroy(call->stream);
    call->stream = NULL;
    call_drop(call);
}

/* ---- connections ---- */

static void conn_open(struct gateway *gateway, struct MHD_Connection *connection, void **context)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct conn *conn = ab_calloc(1, sizeof *conn);
    conn->gateway = gateway;
    conn->fd = info ? info->connect_fd : -1;
    conn->since_ms = gateway->now_ms;
    conn->next = gateway->conns;
    if (conn->next)
        conn->next->prev = conn;
    gateway->conns = conn;
    gateway->connections_n++;
    *context = conn;
}

static void conn_close(struct gateway *gateway, struct conn *conn)
{
    *(conn->prev ? &conn->prev->next : &gateway->conns) = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    gateway->connections_n--;
    free(conn);
}

static void on_connection(void *owner, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        conn_open(owner, connection, context);
    else if (*context)
        conn_close(owner, *context);
}

/* When many places are taken, those that only wait for another request are given up. */
static bool too_late(const struct conn *conn, int64_t now, bool crowded)
{
    const struct gateway *gateway = conn->gateway;
    if (conn->phase == CONN_BUSY)
        return false;
    bool waits = conn->phase == CONN_IDLE && conn->used;
    int64_t max = !waits ? gateway->slow_ms : crowded ? 0 : gateway->idle_ms;
    return now - conn->since_ms > max;
}

/* Connections that sleep are not watched by MHD: who hung up is found out here. */
static void find_gone(struct gateway *gateway, struct pollfd *items, struct conn **conns, int n)
{
    if (!n || poll(items, (nfds_t)n, 0) <= 0)
        return;
    for (int i = 0; i < n; i++)
        if (items[i].revents & (POLLRDHUP | POLLHUP | POLLERR)) {
            struct call *call = conns[i]->call;
            call->abandoned = true;
            gateway->resumed = true;
            call_wake(call);
        }
}

void http_sweep(struct gateway *gateway, int64_t now)
{
    struct pollfd *items = ab_calloc((size_t)gateway->connections_n + 1, sizeof *items);
    struct conn **asleep = ab_calloc((size_t)gateway->connections_n + 1, sizeof(struct conn *));
    bool crowded = gateway->connections_n > gateway->connections_max / 10 * 9;
    int n = 0;
    for (struct conn *conn = gateway->conns; conn; conn = conn->next) {
        struct call *call = conn->call;
        if (call && call->late_ms && call->late_ms <= now && !call->status)
            call->late(call);
        if (call && call->suspended) {
            items[n] = (struct pollfd){.fd = conn->fd, .events = POLLRDHUP};
            asleep[n++] = conn;
        } else if (too_late(conn, now, crowded))
            shutdown(conn->fd, SHUT_RDWR); /* MHD sees the end of it and lets go */
    }
    find_gone(gateway, items, asleep, n);
    free(items);
    free(asleep);
}

/* ---- starting and stopping ---- */

static size_t leave_encoded(void *owner, struct MHD_Connection *connection, char *text)
{
    (void)owner;
    (void)connection;
    return strlen(text);
}

__attribute__((format(printf, 2, 0))) static void on_log(void *owner, const char *format, va_list args)
{
    char text[256];
    (void)owner;
    if (!ab_log_wants(AB_DEBUG))
        return;
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = 0;
    ab_log(AB_DEBUG, "http.note", "text", text, NULL);
}

static int connections_possible(int wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return wanted;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t most = limit.rlim_cur > 2 * CONNECTION_FDS_SPARE ? limit.rlim_cur - CONNECTION_FDS_SPARE
                                                            : CONNECTION_FDS_SPARE;
    return (rlim_t)wanted > most ? (int)most : wanted;
}

static bool on_ready(void *owner)
{
    struct gateway *gateway = owner;
    gateway->now_ms = ab_mono_ms();
    MHD_run(gateway->daemon);
    return false;
}

int http_start(struct gateway *gateway, struct ab_error *err)
{
    gateway->connections_max =
        connections_possible((int)ab_config_int(gateway->config, AB_CONF_HTTP_CONNECTIONS_MAX));
    gateway->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_EPOLL_TURBO | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        on_request, gateway, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET,
        gateway->listen_fd, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES_MAX,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        gateway->loopback ? 0 : (unsigned)ab_config_int(gateway->config, AB_CONF_HTTP_ADDRESS_CONNECTIONS_MAX),
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)gateway->connections_max, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)STALL_S_MAX, MHD_OPTION_NOTIFY_COMPLETED, on_completed, gateway, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, gateway, MHD_OPTION_UNESCAPE_CALLBACK, leave_encoded, NULL,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        gateway->daemon ? MHD_get_daemon_info(gateway->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info)
        return ab_fail(err, AB_ESYSTEM, "libmicrohttpd does not start");
    ab_loop_add_fd(gateway->loop, info->epoll_fd, on_ready, gateway);
    return 0;
}

void http_stop(struct gateway *gateway)
{
    if (!gateway->daemon)
        return;
    for (struct conn *conn = gateway->conns; conn; conn = conn->next)
        if (conn->call) {
            conn->call->abandoned = true;
            call_wake(conn->call);
        }
    MHD_run(gateway->daemon);
    MHD_stop_daemon(gateway->daemon); /* closes the listening socket too */
    gateway->daemon = NULL;
}

void calls_forget(struct gateway *gateway)
{
    while (gateway->calls) {
        gateway->calls->refs = 1;
        call_drop(gateway->calls);
    }
}
