/* Requests to the container service: libcurl in an epoll set, frames of attach. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/tree.h"
#include "worker/exec/docker.h"

/* --- curl in an epoll set -------------------------------------------------------------------------------------- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *known)
{
    struct docker *docker = user;
    struct epoll_event event = {
        .events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u), .data.fd = fd};
    (void)easy;
    (void)known;
    if (what == CURL_POLL_REMOVE)
        epoll_ctl(docker->epoll, EPOLL_CTL_DEL, fd, NULL);
    else if (epoll_ctl(docker->epoll, EPOLL_CTL_MOD, fd, &event) && errno == ENOENT)
        epoll_ctl(docker->epoll, EPOLL_CTL_ADD, fd, &event);
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *user)
{
    struct docker *docker = user;
    (void)multi;
    docker->at_ms = ms < 0 ? INT64_MAX : ab_mono_ms() + ms;
    return 0;
}

struct docker *docker_of(struct exec *exec)
{
    if (exec->docker)
        return exec->docker;
    struct docker *docker = exec->docker = ab_calloc(1, sizeof *docker);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = exec};
    docker->at_ms = INT64_MAX;
    docker->epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(exec->epoll, EPOLL_CTL_ADD, docker->epoll, &event);
    docker->multi = curl_multi_init();
    curl_multi_setopt(docker->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(docker->multi, CURLMOPT_SOCKETDATA, docker);
    curl_multi_setopt(docker->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(docker->multi, CURLMOPT_TIMERDATA, docker);
    return docker;
}

void docker_forget_request(struct exec_run *run, struct request *request)
{
    curl_multi_remove_handle(run->exec->docker->multi, request->easy);
    curl_easy_cleanup(request->easy);
    curl_slist_free_all(request->headers);
    SLIST_REMOVE(&run->container->requests, request, request, in_run);
    ab_buf_finish(&request->answer);
    free(request->json);
    free(request);
}

static void finish_request(struct request *request, CURLcode result)
{
    struct exec_run *run = request->run;
    void (*done)(struct exec_run *, long, const json_t *, const char *) = request->done;
    long status = 0;
    json_t *tree = NULL;
    char fault[256] = "";
    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    if (request->answer.n)
        tree = json_loadb(request->answer.p, request->answer.n, 0, NULL);
    if (result != CURLE_OK)
        snprintf(fault, sizeof fault, "%s", curl_easy_strerror(result));
    else if (status >= 400)
        snprintf(fault, sizeof fault, "%ld %s", status,
                 ab_tree_str(tree, "message") ? ab_tree_str(tree, "message") : "");
    docker_forget_request(run, request);
    done(run, status, tree, *fault ? fault : NULL);
    json_decref(tree);
}

static void take_done(struct docker *docker)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(docker->multi, &left))) {
        struct request *request = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
        finish_request(request, result);
    }
}

void docker_events(struct exec *exec)
{
    struct docker *docker = exec->docker;
    struct epoll_event events[16];
    int running, n = epoll_wait(docker->epoll, events, 16, 0);
    for (int i = 0; i < n; i++) {
        int bits = (events[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
                   (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (events[i].events & EPOLLERR ? CURL_CSELECT_ERR : 0);
        curl_multi_socket_action(docker->multi, events[i].data.fd, bits, &running);
    }
    take_done(docker);
}

void docker_time(struct exec *exec, int64_t now_ms)
{
    int running;
    if (!exec->docker || now_ms < exec->docker->at_ms)
        return;
    exec->docker->at_ms = INT64_MAX;
    curl_multi_socket_action(exec->docker->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    take_done(exec->docker);
}

int64_t docker_deadline_ms(const struct exec *exec)
{
    return exec->docker ? exec->docker->at_ms : INT64_MAX;
}

void docker_destroy(struct exec *exec)
{
    if (!exec->docker)
        return;
    curl_multi_cleanup(exec->docker->multi);
    close(exec->docker->epoll);
    free(exec->docker);
    exec->docker = NULL;
}

/* --- requests --------------------------------------------------------------------------------------------------- */

/* Frames of attach: one byte of stream, three of nothing, four of length, then the bytes. */
static void read_frames(struct exec_run *run)
{
    struct ab_buf *frames = &run->container->frames;
    size_t at = 0;
    while (frames->n - at >= FRAME_HEAD) {
        const unsigned char *head = (const unsigned char *)frames->p + at;
        size_t bytes = (size_t)head[4] << 24 | (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7];
        if (frames->n - at - FRAME_HEAD < bytes)
            break;
        run_text(run, ab_view(frames->p + at + FRAME_HEAD, bytes));
        at += FRAME_HEAD + bytes;
    }
    frames->n -= at;
    if (at)
        memmove(frames->p, frames->p + at, frames->n);
}

static size_t on_bytes(char *bytes, size_t one, size_t n, void *user)
{
    struct request *request = user;
    long status = 0;
    n *= one;
    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    if (request->attach && status < 300) {
        ab_buf_add(&request->run->container->frames, bytes, n);
        read_frames(request->run);
        return request->run->container->frames.n > EXEC_FLOOD_BYTES_MAX ? 0 : n;
    }
    if (request->answer.n + n > ANSWER_BYTES_MAX)
        return 0;
    ab_buf_add(&request->answer, bytes, n);
    return n;
}

/* The empty line that ends the head of attach's answer. */
size_t docker_on_header(char *line, size_t one, size_t n, void *user)
{
    const struct request *request = user;
    n *= one;
    if (n == 2 && !memcmp(line, "\r\n", 2))
        request->run->container->heard = true;
    return n;
}

/* Takes the body. */
struct request *docker_ask(struct exec_run *run, const char *method, json_t *body,
                           void (*done)(struct exec_run *, long, const json_t *, const char *),
                           const char *format, ...)
{
    struct docker *docker = docker_of(run->exec);
    struct request *request = ab_calloc(1, sizeof *request);
    char path[512], url[640];
    va_list args;
    va_start(args, format);
    vsnprintf(path, sizeof path, format, args);
    va_end(args);
    if (docker->version)
        snprintf(url, sizeof url, "http://docker/v1.%d%s", docker->version, path);
    else
        snprintf(url, sizeof url, "http://docker%s", path);
    request->run = run;
    request->done = done;
    request->json = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    request->headers = curl_slist_append(NULL, "Content-Type: application/json");
    request->headers = curl_slist_append(request->headers, "Expect:");
    request->easy = curl_easy_init();
    curl_easy_setopt(request->easy, CURLOPT_UNIX_SOCKET_PATH, run->exec->options.docker_socket);
    curl_easy_setopt(request->easy, CURLOPT_URL, url);
    curl_easy_setopt(request->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(request->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(request->easy, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER, request->headers);
    curl_easy_setopt(request->easy, CURLOPT_TIMEOUT_MS, (long)ANSWER_MS_MAX);
    curl_easy_setopt(request->easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(request->easy, CURLOPT_WRITEDATA, request);
    curl_easy_setopt(request->easy, CURLOPT_PRIVATE, request);
    if (strcmp(method, "POST") == 0)
        curl_easy_setopt(request->easy, CURLOPT_POSTFIELDS, request->json ? request->json : "");
    SLIST_INSERT_HEAD(&run->container->requests, request, in_run);
    curl_multi_add_handle(docker->multi, request->easy);
    return request;
}
