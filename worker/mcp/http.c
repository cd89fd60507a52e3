/* http.h. */
#include "worker/mcp/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/queue.h>

#include "worker/mcp/stdio.h"
#include "worker/model/sse.h"

enum { HEADERS_MAX = 64, BODY_SHOWN_BYTES = 4096 };

/* One message that came, kept until the tick. */
struct event {
    struct ab_blob *text;
    STAILQ_ENTRY(event) in_post;
};

struct post {
    struct remote *remote;
    struct http_transfer *transfer; /* NULL: it is over */
    int64_t id;
    char *text; /* its body; owned */
    bool initialize, in_session, goodbye;
    int status;
    bool events_type; /* a stream of events, else one JSON text */
    struct sse sse;
    struct ab_buf body;
    uint64_t too_long; /* bytes of it; 0: it was not */
    STAILQ_HEAD(event_list, event) events;
    size_t events_n, events_bytes;
    bool ended;
    int64_t close_ms; /* INT64_MAX: it is open until the server ends it */
    char why[200];    /* it ended badly; "": it did not */
    TAILQ_ENTRY(post) in_remote;
};

struct remote {
    struct http_pool *pool;
    const char *url;
    const char *const *headers;
    const struct remote_ops *ops;
    void *user;
    char *session; /* owned; NULL: none */
    TAILQ_HEAD(post_list, post) posts;
};

/* --- what comes back ------------------------------------------------------------------------------------------ */

static bool is_header(struct ab_view name, const char *wanted)
{
    return name.n == strlen(wanted) && !strncasecmp(name.p, wanted, name.n);
}

static void on_header(void *user, struct ab_view name, struct ab_view value)
{
    static const char events[] = "text/event-stream";
    struct post *post = user;
    if (is_header(name, "content-type"))
        post->events_type = value.n >= sizeof events - 1 && !strncasecmp(value.p, events, sizeof events - 1);
    if (post->initialize && is_header(name, "mcp-session-id") && value.n &&
        value.n <= REMOTE_SESSION_BYTES_MAX) {
        free(post->remote->session);
        post->remote->session = ab_view_dup(value);
    }
}

static int on_head(void *user, int status)
{
    struct post *post = user;
    post->status = status;
    return 0;
}

static int keep_event(struct post *post, struct ab_view text)
{
    if (post->events_n == REMOTE_EVENTS_MAX || text.n > REMOTE_EVENTS_BYTES_MAX - post->events_bytes) {
        post->too_long = post->events_bytes + text.n;
        return -1;
    }
    struct event *event = ab_calloc(1, sizeof *event);
    event->text = ab_blob_create(text);
    post->events_n++;
    post->events_bytes += text.n;
    STAILQ_INSERT_TAIL(&post->events, event, in_post);
    return 0;
}

static int on_event(void *user, struct ab_view data, struct ab_error *err)
{
    (void)err;
    for (size_t i = 0; i < data.n; i++) /* some servers begin with an event of nothing but white space */
        if (!strchr(" \t\r\n", data.p[i]))
            return keep_event(user, data);
    return 0;
}

static int on_body(void *user, struct ab_view bytes)
{
    struct post *post = user;
    struct ab_error err = {0};
    if (post->status == 200 && post->events_type) {
        int code = sse_feed(&post->sse, bytes, on_event, post, &err);
        if (code && !post->too_long)
            post->too_long = post->sse.bytes_max;
        return code ? -1 : 0;
    }
    size_t most = post->status == 200 ? MCP_MESSAGE_BYTES_MAX : BODY_SHOWN_BYTES;
    if (bytes.n > most - post->body.n) {
        if (post->status == 200)
            post->too_long = post->body.n + bytes.n;
        return -1;
    }
    ab_buf_add(&post->body, bytes.p, bytes.n);
    return 0;
}

static void on_end(void *user, const struct http_end *end)
{
    struct post *post = user;
    struct ab_error err = {0};
    post->transfer = NULL;
    post->ended = true;
    if (!end->ok)
        snprintf(post->why, sizeof post->why, "%s", *end->text ? end->text : "the connection was cut");
    else if (post->status == 200 && post->events_type)
        sse_end(&post->sse, on_event, post, &err);
    else if (post->status == 200 && post->body.n)
        keep_event(post, ab_buf_view(&post->body));
}

/* --- posts ---------------------------------------------------------------------------------------------------- */

static void post_free(struct post *post)
{
    struct event *event;
    TAILQ_REMOVE(&post->remote->posts, post, in_remote);
    http_stop(post->transfer);
    while ((event = STAILQ_FIRST(&post->events))) {
        STAILQ_REMOVE_HEAD(&post->events, in_post);
        ab_blob_destroy(event->text);
        free(event);
    }
    sse_finish(&post->sse);
    ab_buf_finish(&post->body);
    free(post->text);
    free(post);
}

struct headers {
    const char *items[HEADERS_MAX + 1];
    char *own[HEADERS_MAX]; /* those that were made here */
    size_t n, own_n;
};

static void add_header(struct headers *headers, char *line)
{
    if (headers->n == HEADERS_MAX) {
        free(line);
        return;
    }
    headers->own[headers->own_n++] = line;
    headers->items[headers->n++] = line;
}

static const json_t *at_path(const json_t *value, const json_t *path)
{
    size_t i;
    json_t *key;
    json_array_foreach (path, i, key)
        value = json_object_get(value, json_string_value(key));
    return value;
}

static void add_modern(struct headers *headers, const struct mcp_message *message)
{
    const struct mcp_tool *tool = message->tool;
    if (message->method)
        add_header(headers, ab_format("Mcp-Method: %s", message->method));
    if (!tool)
        return;
    json_t *name = json_string(tool->name);
    char *value = mcp_header_value(name);
    add_header(headers, ab_format("Mcp-Name: %s", value));
    free(value);
    json_decref(name);
    for (size_t i = 0; i < tool->headers_n; i++) {
        value = mcp_header_value(at_path(message->arguments, tool->headers[i].path));
        if (value) /* curl writes a header without a value as "Name;" */
            add_header(headers, ab_format(*value ? "%s: %s" : "%s;%s", tool->headers[i].name, value));
        free(value);
    }
}

static void write_headers(const struct remote *remote, const struct mcp_message *message,
                          struct headers *headers)
{
    headers->items[headers->n++] = "Content-Type: application/json";
    headers->items[headers->n++] = "Accept: application/json, text/event-stream";
    for (size_t i = 0; remote->headers[i] && headers->n < HEADERS_MAX / 2; i++)
        headers->items[headers->n++] = remote->headers[i];
    if (message->version)
        add_header(headers, ab_format("MCP-Protocol-Version: %s", message->version));
    if (message->modern)
        add_modern(headers, message);
    else if (remote->session)
        add_header(headers, ab_format("Mcp-Session-Id: %s", remote->session));
}

static void post_start(struct post *post, const struct headers *headers)
{
    static const struct http_ops ops = {on_header, on_head, on_body, on_end};
    struct http_request request = {.url = post->remote->url,
                                   .headers = headers->items,
                                   .body = ab_view_of(post->text),
                                   .method = post->goodbye ? "DELETE" : NULL,
                                   .get = post->goodbye,
                                   .connect_timeout_ms = REMOTE_CONNECT_MS,
                                   .total_timeout_ms = post->id == RPC_NO_ID ? REMOTE_NOTIFY_MS : 0};
    post->transfer = http_start(post->remote->pool, &request, &ops, post);
}

static void post(struct remote *remote, const struct mcp_message *message, bool goodbye)
{
    struct post *one = ab_calloc(1, sizeof *one);
    struct headers headers = {0};
    one->remote = remote;
    one->id = message->id;
    one->text = ab_strndup(message->text.p, message->text.n);
    one->goodbye = goodbye;
    one->close_ms = INT64_MAX;
    one->sse.bytes_max = MCP_MESSAGE_BYTES_MAX;
    STAILQ_INIT(&one->events);
    TAILQ_INSERT_TAIL(&remote->posts, one, in_remote);
    one->initialize = message->method && !strcmp(message->method, "initialize");
    if (one->initialize) {
        free(remote->session);
        remote->session = NULL;
    }
    one->in_session = remote->session && !message->modern;
    write_headers(remote, message, &headers);
    post_start(one, &headers);
    for (size_t i = 0; i < headers.own_n; i++)
        free(headers.own[i]);
}

/* --- the interface -------------------------------------------------------------------------------------------- */

struct remote *remote_create(struct http_pool *pool, const char *url, const char *const *headers,
                             const struct remote_ops *ops, void *user)
{
    struct remote *remote = ab_calloc(1, sizeof *remote);
    *remote = (struct remote){.pool = pool, .url = url, .headers = headers, .ops = ops, .user = user};
    TAILQ_INIT(&remote->posts);
    return remote;
}

void remote_destroy(struct remote *remote)
{
    if (!remote)
        return;
    while (!TAILQ_EMPTY(&remote->posts))
        post_free(TAILQ_FIRST(&remote->posts));
    free(remote->session);
    free(remote);
}

bool remote_say_goodbye(struct remote *remote)
{
    while (!TAILQ_EMPTY(&remote->posts))
        post_free(TAILQ_FIRST(&remote->posts));
    remote->ops = NULL;
    if (!remote->session)
        return false;
    post(remote, &(struct mcp_message){.text = ab_view("", 0)}, true);
    return true;
}

bool remote_busy(const struct remote *remote)
{
    return !TAILQ_EMPTY(&remote->posts);
}

static size_t notifies(const struct remote *remote)
{
    const struct post *one;
    size_t n = 0;
    TAILQ_FOREACH(one, &remote->posts, in_remote)
    n += one->id == RPC_NO_ID && !one->ended;
    return n;
}

void remote_send(struct remote *remote, const struct mcp_message *message)
{
    if (message->id != RPC_NO_ID || notifies(remote) < REMOTE_NOTIFIES_MAX)
        post(remote, message, false);
}

static struct post *find(const struct remote *remote, int64_t id)
{
    struct post *one;
    TAILQ_FOREACH(one, &remote->posts, in_remote)
    if (one->id == id && id != RPC_NO_ID)
        return one;
    return NULL;
}

void remote_abandon(struct remote *remote, int64_t id)
{
    struct post *one = find(remote, id);
    if (one) {
        one->id = RPC_NO_ID; /* freed at the next tick: it may be the one that is being told of */
        one->ended = true;
        http_stop(one->transfer);
        one->transfer = NULL;
    }
}

void remote_answered(struct remote *remote, int64_t id, int64_t now_ms)
{
    struct post *one = find(remote, id);
    if (one && one->close_ms == INT64_MAX)
        one->close_ms = now_ms + REMOTE_LINGER_MS;
}

int64_t remote_deadline_ms(const struct remote *remote)
{
    const struct post *one;
    int64_t at = INT64_MAX;
    TAILQ_FOREACH(one, &remote->posts, in_remote)
    {
        if (one->ended || !STAILQ_EMPTY(&one->events))
            return 0;
        at = one->close_ms < at ? one->close_ms : at;
    }
    return at;
}

/* Each is told of, unless nobody wants to know any more. */
static void tell_events(struct post *one)
{
    struct event *event;
    while ((event = STAILQ_FIRST(&one->events))) {
        STAILQ_REMOVE_HEAD(&one->events, in_post);
        one->events_n--;
        one->events_bytes -= ab_blob_view(event->text).n;
        if (one->remote->ops)
            one->remote->ops->message(one->remote->user, ab_blob_view(event->text), one->id);
        ab_blob_destroy(event->text);
        free(event);
    }
}

/* A request whose message came is no more known by its id: what is said here then changes nothing. */
static void tell_end(struct post *one)
{
    const struct remote_ops *ops = one->remote->ops;
    void *user = one->remote->user;
    if (!ops || one->id == RPC_NO_ID)
        return;
    if (one->too_long)
        ops->too_long(user, one->id, one->too_long);
    else if (one->status && one->status != 200)
        ops->failed(user, one->id, one->status, ab_buf_view(&one->body), one->in_session);
    else
        ops->failed(user, one->id, 0,
                    ab_view_of(*one->why ? one->why : "the server's answer ended without a message"),
                    one->in_session);
}

void remote_tick(struct remote *remote, int64_t now_ms)
{
    struct post *one, *next;
    for (one = TAILQ_FIRST(&remote->posts); one; one = next) {
        tell_events(one);
        if (now_ms >= one->close_ms)
            remote_abandon(remote, one->id);
        if (one->ended)
            tell_end(one);
        next = TAILQ_NEXT(one, in_remote); /* now: telling may have begun others, at the end */
        if (one->ended)
            post_free(one);
    }
}
