/* http.h on libcurl. Owns the multi handle, the epoll descriptor and every easy handle. */
#include "worker/model/http.h"

#include <assert.h>
#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87 or newer is needed: older ones block when a transfer is stopped during name resolution"
#endif

enum transfer_state { QUEUED, CONNECTING, CONNECTED };

struct http_transfer {
    struct http_pool *pool;
    struct http_transfer *prev, *next; /* in the queue, meaningful while QUEUED */
    enum transfer_state state;
    const struct http_ops *ops;
    void *user;
    CURL *easy;
    struct curl_slist *headers;
    bool (*may_connect)(void *user, const struct sockaddr *address);
    int status; /* 0 until the head of the final response is complete */
    char error[CURL_ERROR_SIZE];
};

struct http_pool {
    CURLM *multi;
    int epoll_fd;
    int64_t now_ms;                     /* of the last run */
    int64_t deadline_ms;                /* curl's timer; INT64_MAX = none */
    struct http_transfer *first, *last; /* queue */
    size_t queued, connecting;
    bool in_curl; /* curl is on the stack: it must not be called again */
    char *user_agent;
    char *ca_file; /* SSL_CERT_FILE, else the system's bundle; NULL = whatever curl finds */
};

/* --- queue ----------------------------------------------------------------------------------------------------- */

static void enqueue(struct http_pool *pool, struct http_transfer *transfer)
{
    transfer->prev = pool->last;
    *(pool->last ? &pool->last->next : &pool->first) = transfer;
    pool->last = transfer;
    pool->queued++;
}

static void dequeue(struct http_pool *pool, struct http_transfer *transfer)
{
    *(transfer->prev ? &transfer->prev->next : &pool->first) = transfer->next;
    *(transfer->next ? &transfer->next->prev : &pool->last) = transfer->prev;
    transfer->prev = transfer->next = NULL;
    pool->queued--;
}

/* The only place where the state changes, so that the count of connecting ones is right. */
static void set_state(struct http_transfer *transfer, enum transfer_state state)
{
    struct http_pool *pool = transfer->pool;
    if (transfer->state == state)
        return;
    assert(state > transfer->state);
    if (transfer->state == QUEUED)
        dequeue(pool, transfer);
    if (transfer->state == CONNECTING)
        pool->connecting--;
    if (state == CONNECTING)
        pool->connecting++;
    transfer->state = state;
}

/* --- what curl calls ------------------------------------------------------------------------------------------- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *pool_p, void *known)
{
    struct http_pool *pool = pool_p;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(pool->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* fails if curl has closed it already */
        return 0;
    }
    struct epoll_event event = {.data.fd = fd};
    event.events =
        (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) | (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    if (epoll_ctl(pool->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event)) {
        int other = errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
        if (epoll_ctl(pool->epoll_fd, other, fd, &event))
            return -1;
    }
    curl_multi_assign(pool->multi, fd, pool);
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *pool_p)
{
    struct http_pool *pool = pool_p;
    (void)multi;
    pool->deadline_ms = timeout_ms < 0 ? INT64_MAX : pool->now_ms + timeout_ms;
    return 0;
}

/* curl's own sockets would be inherited by the programs a worker starts. */
static curl_socket_t open_socket(void *transfer_p, curlsocktype purpose, struct curl_sockaddr *address)
{
    const struct http_transfer *transfer = transfer_p;
    (void)purpose;
    if (transfer->may_connect && !transfer->may_connect(transfer->user, &address->addr))
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static int on_connected(void *transfer_p, char *remote, char *local, int remote_port, int local_port)
{
    (void)remote;
    (void)local;
    (void)remote_port;
    (void)local_port;
    set_state(transfer_p, CONNECTED);
    return CURL_PREREQFUNC_OK;
}

static int end_of_head(struct http_transfer *transfer)
{
    long status = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200)
        return 0;
    transfer->status = (int)status;
    return transfer->ops->on_head(transfer->user, transfer->status);
}

static struct ab_view trimmed(const char *p, size_t n)
{
    while (n && isspace((unsigned char)*p))
        p++, n--;
    while (n && isspace((unsigned char)p[n - 1]))
        n--;
    return ab_view(p, n);
}

static size_t on_header_line(char *line, size_t size, size_t n, void *transfer_p)
{
    struct http_transfer *transfer = transfer_p;
    struct ab_view text = trimmed(line, size * n);
    if (transfer->status) /* trailers */
        return size * n;
    if (!text.n)
        return end_of_head(transfer) ? 0 : size * n;
    const char *colon = memchr(text.p, ':', text.n);
    if (colon) {
        size_t name_bytes = (size_t)(colon - text.p);
        transfer->ops->on_header(transfer->user, trimmed(text.p, name_bytes),
                                 trimmed(colon + 1, text.n - name_bytes - 1));
    }
    return size * n;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *transfer_p)
{
    struct http_transfer *transfer = transfer_p;
    return transfer->ops->on_body(transfer->user, ab_view(bytes, size * n)) ? 0 : size * n;
}

/* --- pool ------------------------------------------------------------------------------------------------------ */

static void start_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static char *find_ca_file(void)
{
    const char *file = getenv("SSL_CERT_FILE");
    if (file && *file)
        return ab_strdup(file);
    file = curl_version_info(CURLVERSION_NOW)->cainfo;
    return file && !access(file, R_OK) ? ab_strdup(file) : NULL;
}

struct http_pool *http_pool_create(const char *user_agent, struct ab_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_curl);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        ab_fail(err, AB_ESYSTEM, "epoll_create1: %s", strerror(errno));
        return NULL;
    }
    CURLM *multi = curl_multi_init();
    if (!multi) {
        close(epoll_fd);
        ab_fail(err, AB_ESYSTEM, "libcurl cannot start");
        return NULL;
    }
    struct http_pool *pool = ab_calloc(1, sizeof *pool);
    *pool = (struct http_pool){
        .multi = multi, .epoll_fd = epoll_fd, .deadline_ms = INT64_MAX, .user_agent = ab_strdup(user_agent)};
    pool->ca_file = find_ca_file();
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, pool);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, pool);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)HTTP_IDLE_CONNECTIONS_MAX);
    return pool;
}

void http_pool_destroy(struct http_pool *pool)
{
    if (!pool)
        return;
    assert(!pool->queued && !pool->connecting);
    curl_multi_cleanup(pool->multi);
    close(pool->epoll_fd);
    free(pool->user_agent);
    free(pool->ca_file);
    free(pool);
}

int http_pool_fd(const struct http_pool *pool)
{
    return pool->epoll_fd;
}

int64_t http_pool_deadline_ms(const struct http_pool *pool)
{
    return pool->first && pool->connecting < HTTP_CONNECTING_MAX ? 0 : pool->deadline_ms;
}

size_t http_connecting(const struct http_pool *pool)
{
    return pool->connecting;
}

size_t http_queued(const struct http_pool *pool)
{
    return pool->queued;
}

/* --- transfers ------------------------------------------------------------------------------------------------- */

static void add_headers(struct http_transfer *transfer, const char *const *headers)
{
    for (; headers && *headers; headers++) {
        struct curl_slist *list = curl_slist_append(transfer->headers, *headers);
        if (!list)
            ab_out_of_memory();
        transfer->headers = list;
    }
}

static void configure(struct http_transfer *transfer, const struct http_request *request)
{
    CURL *easy = transfer->easy;
    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, transfer->pool->user_agent);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    if (!request->get) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body.n ? request->body.p : "");
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.n);
    }
    if (request->method)
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->total_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)HTTP_RECEIVE_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)HTTP_SEND_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* stopping does not wait for the resolver */
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
    if (transfer->pool->ca_file) {
        /* with a directory beside the file curl would parse both again for each connection: 25 ms a time */
        curl_easy_setopt(easy, CURLOPT_CAINFO, transfer->pool->ca_file);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    if (request->direct)
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header_line);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
}

struct http_transfer *http_start(struct http_pool *pool, const struct http_request *request,
                                 const struct http_ops *ops, void *user)
{
    struct http_transfer *transfer = ab_calloc(1, sizeof *transfer);
    transfer->pool = pool;
    transfer->ops = ops;
    transfer->user = user;
    transfer->may_connect = request->may_connect;
    transfer->easy = curl_easy_init();
    if (!transfer->easy)
        ab_out_of_memory();
    add_headers(transfer, request->headers);
    configure(transfer, request);
    enqueue(pool, transfer);
    return transfer;
}

/* One of the headers may be a key. */
static void wipe_headers(struct curl_slist *headers)
{
    for (struct curl_slist *item = headers; item; item = item->next)
        sodium_memzero(item->data, strlen(item->data));
    curl_slist_free_all(headers);
}

static void transfer_free(struct http_transfer *transfer)
{
    struct http_pool *pool = transfer->pool;
    assert(!pool->in_curl);
    bool added = transfer->state != QUEUED;
    set_state(transfer, CONNECTED);
    pool->in_curl = true;
    if (added)
        curl_multi_remove_handle(pool->multi, transfer->easy);
    curl_easy_cleanup(transfer->easy);
    pool->in_curl = false;
    wipe_headers(transfer->headers);
    free(transfer);
}

void http_stop(struct http_transfer *transfer)
{
    if (transfer)
        transfer_free(transfer);
}

static void end_transfer(struct http_transfer *transfer, CURLcode code)
{
    char text[CURL_ERROR_SIZE];
    const struct http_ops *ops = transfer->ops;
    void *user = transfer->user;
    const char *words = transfer->error[0] ? transfer->error : curl_easy_strerror(code);
    memcpy(text, words, strnlen(words, sizeof text - 1) + 1);
    text[sizeof text - 1] = 0;
    struct http_end end = {.ok = code == CURLE_OK, .timed_out = code == CURLE_OPERATION_TIMEDOUT, .text = text};
    transfer_free(transfer);
    ops->on_end(user, &end);
}

/* --- run ------------------------------------------------------------------------------------------------------- */

static void act(struct http_pool *pool, curl_socket_t fd, int what)
{
    int running;
    pool->in_curl = true;
    curl_multi_socket_action(pool->multi, fd, what, &running);
    pool->in_curl = false;
}

static void run_sockets(struct http_pool *pool)
{
    struct epoll_event events[HTTP_EVENTS_PER_RUN];
    int n = epoll_wait(pool->epoll_fd, events, HTTP_EVENTS_PER_RUN, 0);
    for (int i = 0; i < n; i++) {
        uint32_t ready = events[i].events;
        int what = (ready & EPOLLIN ? CURL_CSELECT_IN : 0) | (ready & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (ready & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
        act(pool, events[i].data.fd, what);
    }
}

static void reap(struct http_pool *pool)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(pool->multi, &left))) {
        void *transfer = NULL;
        CURLcode code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        end_transfer(transfer, code);
    }
}

static void begin_queued(struct http_pool *pool)
{
    while (pool->first && pool->connecting < HTTP_CONNECTING_MAX) {
        struct http_transfer *transfer = pool->first;
        set_state(transfer, CONNECTING);
        pool->in_curl = true;
        CURLMcode code = curl_multi_add_handle(pool->multi, transfer->easy);
        pool->in_curl = false;
        if (code)
            ab_out_of_memory();
    }
}

void http_run(struct http_pool *pool, int64_t now_ms)
{
    pool->now_ms = now_ms;
    run_sockets(pool);
    begin_queued(pool);
    if (now_ms >= pool->deadline_ms) {
        pool->deadline_ms = INT64_MAX;
        act(pool, CURL_SOCKET_TIMEOUT, 0);
    }
    reap(pool);
}
