/* The back end of containers: the Docker Engine API (dockerd, podman) over its unix socket.
 *
 *   create → attach → start → … output … → wait → inspect → delete
 *
 * The version spoken is the newest that both sides know (GET /version); what is used of it has been the same since
 * 1.25. The job's directory is mounted as /workspace, so the daemon must be on the worker's machine. Nothing is pulled: an
 * image that is not there is an error that says so. Containers of dead workers of this machine are removed by the next
 * probe; each has the worker's process id and host name as labels.
 */
#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/tree.h"
#include "worker/exec/internal.h"

enum {
    API_LEAST = 25, /* 1.25: NetworkDisabled, Init, PidsLimit, no-new-privileges */
    API_NEWEST = 47,
    ANSWER_BYTES_MAX = 1 << 20,
    ANSWER_MS_MAX = 30000, /* for each request but attach and wait */
    FRAME_HEAD = 8,
    NAME_BYTES = 96,
    USER_INSIDE = 65534,
    USER_PROCESSES = 4096, /* of that user in all containers; PidsLimit bounds each of them */
};

struct docker {
    CURLM *multi;
    int epoll;
    int64_t at_ms; /* when curl wants to be called */
    int version;   /* 1.N; 0: not asked yet */
    unsigned long made;
};

/* One request. */
struct request {
    struct exec_run *run;
    CURL *easy;
    struct curl_slist *headers;
    char *json;
    struct ab_buf answer;
    bool attach, over;
    void (*done)(struct exec_run *run, long status, const json_t *answer, const char *fault);
    SLIST_ENTRY(request) in_run;
};
struct container {
    SLIST_HEAD(requests, request) requests;
    char name[NAME_BYTES];
    struct ab_buf frames; /* of attach, not yet read */
    bool made, gone;
    bool heard; /* attach was answered: what follows is not missed */
    bool start_sent, attached, kill_due;
    int exit_code;
};

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

static struct docker *docker_of(struct exec *exec)
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

static void request_free(struct exec_run *run, struct request *request)
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
    request_free(run, request);
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
static size_t on_header(char *line, size_t one, size_t n, void *user)
{
    const struct request *request = user;
    n *= one;
    if (n == 2 && !memcmp(line, "\r\n", 2))
        request->run->container->heard = true;
    return n;
}

static struct request *ask(struct exec_run *run, const char *method, json_t *body,
                           void (*done)(struct exec_run *, long, const json_t *, const char *),
                           const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Takes the body. */
static struct request *ask(struct exec_run *run, const char *method, json_t *body,
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

/* --- a container's life ------------------------------------------------------------------------------------------ */

static void give_up(struct exec_run *run, const char *doing, const char *fault)
{
    if (!run->error.code)
        ab_fail(&run->error, AB_EUNAVAILABLE, "the container service at %s could not %s: %s",
                run->exec->options.docker_socket, doing, fault);
}

static void on_deleted(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)answer;
    if (fault && status != 404) /* another delete of it may be under way: 409 */
        ab_log(AB_WARN, "exec.container", "name", run->container->name, "delete", fault, NULL);
    run->container->gone = true;
    run_gone(run);
}

static void remove_container(struct exec_run *run)
{
    if (run->container->gone)
        return;
    while (!SLIST_EMPTY(&run->container->requests))
        request_free(run, SLIST_FIRST(&run->container->requests));
    if (run->container->made)
        ask(run, "DELETE", NULL, on_deleted, "/containers/%s?force=1&v=1", run->container->name);
    else
        on_deleted(run, 0, NULL, NULL);
}

static void on_inspected(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)status;
    (void)fault;
    if (ab_tree_bool(json_object_get(answer, "State"), "OOMKilled", false) && !run->stopped)
        run->stopped = ab_format("it used more than %llu MiB of memory",
                                 (unsigned long long)run->exec->options.memory_bytes_max >> 20);
    remove_container(run);
}

/* Its end and that of its output come in any order. */
static void end_if(struct exec_run *run)
{
    if (run->ran && run->container->exit_code >= 0 && !run->container->attached)
        ask(run, "GET", NULL, on_inspected, "/containers/%s/json", run->container->name);
}

static void on_waited(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)status;
    if (fault) {
        give_up(run, "wait for a container", fault);
        remove_container(run);
        return;
    }
    run->container->exit_code = (int)ab_tree_int(answer, "StatusCode", EXEC_KILLED);
    if (!run->stopped)
        run->exit_code = run->container->exit_code;
    end_if(run);
}

static void on_started(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)status;
    (void)answer;
    if (fault) {
        give_up(run, "start a container", fault);
        remove_container(run);
        return;
    }
    run->ran = true;
    struct request *wait = ask(run, "POST", NULL, on_waited, "/containers/%s/wait", run->container->name);
    curl_easy_setopt(wait->easy, CURLOPT_TIMEOUT_MS, 0L);
}

static void on_detached(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)status;
    (void)answer;
    run->container->attached = false;
    if (fault && !run->ran) {
        give_up(run, "attach to a container", fault);
        remove_container(run);
        return;
    }
    end_if(run);
}

static void on_created(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)answer;
    if (fault && status == 404)
        ab_fail(&run->error, AB_ESYSTEM,
                "code cannot be run: the container service at %s has no image %s; pull or build it there "
                "(docker pull "
                "%s), or set docker_image",
                run->exec->options.docker_socket, run->exec->options.docker_image,
                run->exec->options.docker_image);
    else if (fault)
        give_up(run, "make a container", fault);
    if (fault) {
        remove_container(run);
        return;
    }
    run->container->made = true;
    run->container->attached = true;
    struct request *attach = ask(run, "POST", NULL, on_detached,
                                 "/containers/%s/attach?stream=1&stdout=1&stderr=1", run->container->name);
    attach->attach = true;
    curl_easy_setopt(attach->easy, CURLOPT_TIMEOUT_MS, 0L);
    curl_easy_setopt(attach->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(attach->easy, CURLOPT_HEADERDATA, attach);
}

static json_t *limit(const char *name, json_int_t value)
{
    return json_pack("{s:s, s:I, s:I}", "Name", name, "Soft", value, "Hard", value);
}

static json_t *host_config(const struct exec_run *run)
{
    json_int_t memory = (json_int_t)run->exec->options.memory_bytes_max;
    char tmp[64];
    snprintf(tmp, sizeof tmp, "rw,nosuid,nodev,size=%d", EXEC_TMP_BYTES_MAX);
    json_t *host =
        json_pack("{s:s, s:I, s:I, s:i, s:i, s:b, s:b, s:[s], s:[s], s:{s:s}, s:{s:s}, s:[o,o,o,o]}",
                  "NetworkMode", "none", "Memory", memory, "MemorySwap", memory, "PidsLimit",
                  EXEC_PROCESSES_MAX, "ShmSize", EXEC_TMP_BYTES_MAX, "ReadonlyRootfs", 1, "Init", 0, "CapDrop",
                  "ALL", "SecurityOpt", "no-new-privileges", "Tmpfs", "/tmp", tmp, "LogConfig", "Type", "none",
                  "Ulimits", limit("nofile", EXEC_OPEN_FILES_MAX), limit("nproc", USER_PROCESSES),
                  limit("core", 0), limit("fsize", WORKDIR_FILE_BYTES_MAX));
    char *bind = run->probe ? NULL : ab_format("%s:/workspace:rw", workdir_path(run->request.dir));
    if (bind)
        json_object_set_new(host, "Binds", json_pack("[s]", bind));
    free(bind);
    return host;
}

static void create(struct exec_run *run)
{
    struct docker *docker = docker_of(run->exec);
    char host[64] = "", user[32], pid[24];
    if (gethostname(host, sizeof host - 1))
        host[0] = 0;
    unsigned inside = geteuid() ? (unsigned)geteuid() : USER_INSIDE;
    snprintf(user, sizeof user, "%u:%u", inside, inside);
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    snprintf(run->container->name, NAME_BYTES, "autobots-%s-%lu-%lx", pid, ++docker->made,
             (unsigned long)ab_mono_us());
    char *cwd = ab_format("/workspace%s%s", *run->request.folder ? "/" : "", run->request.folder);
    json_t *body = json_pack("{s:s, s:o, s:o, s:s, s:s, s:b, s:b, s:b, s:{s:s, s:s}, s:o}", "Image",
                             run->exec->options.docker_image, "Cmd", local_command(run), "Env",
                             local_environment(), "User", user, "WorkingDir", run->probe ? "/" : cwd,
                             "NetworkDisabled", 1, "AttachStdout", 1, "AttachStderr", 1, "Labels",
                             "autobots.pid", pid, "autobots.host", host, "HostConfig", host_config(run));
    free(cwd);
    struct request *request =
        ask(run, "POST", body, on_created, "/containers/create?name=%s", run->container->name);
    run->container->made = request != NULL; /* from here on there may be one */
}

/* --- the daemon -------------------------------------------------------------------------------------------------- */

static void on_removed(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)run;
    (void)status;
    (void)answer;
    (void)fault;
}

static void on_listed(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    char host[64] = "";
    json_t *one;
    size_t i;
    (void)status;
    (void)fault;
    if (gethostname(host, sizeof host - 1))
        host[0] = 0;
    json_array_foreach (answer, i, one) {
        const json_t *labels = json_object_get(one, "Labels");
        const char *pid = ab_tree_str(labels, "autobots.pid"), *where = ab_tree_str(labels, "autobots.host");
        long number = pid ? strtol(pid, NULL, 10) : 0;
        if (number > 0 && where && !strcmp(where, host) && kill((pid_t)number, 0) && errno == ESRCH)
            ask(run, "DELETE", NULL, on_removed, "/containers/%.80s?force=1&v=1", ab_tree_str(one, "Id"));
    }
    create(run);
}

/* "1.41" → 41 */
static int minor_of(const char *version)
{
    return version && !strncmp(version, "1.", 2) ? (int)strtol(version + 2, NULL, 10) : 0;
}

static void on_version(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    int newest = minor_of(ab_tree_str(answer, "ApiVersion")),
        least = minor_of(ab_tree_str(answer, "MinAPIVersion"));
    int version = newest < API_NEWEST ? newest : API_NEWEST;
    (void)status;
    if (fault || !newest)
        ab_fail(&run->error, AB_ESYSTEM,
                "code cannot be run: no container service answers at %s (%s); start one, or "
                "set docker_socket",
                run->exec->options.docker_socket, fault ? fault : "it tells no version");
    else if (version < least || version < API_LEAST)
        ab_fail(&run->error, AB_ESYSTEM,
                "code cannot be run: the container service at %s speaks versions 1.%d to 1.%d of its API, this "
                "worker 1.%d "
                "to 1.%d",
                run->exec->options.docker_socket, least, newest, API_LEAST, API_NEWEST);
    if (run->error.code) {
        remove_container(run);
        return;
    }
    docker_of(run->exec)->version = version;
    ask(run, "GET", NULL, on_listed,
        "/containers/json?all=1&filters=%%7B%%22label%%22%%3A%%5B%%22autobots.pid%%22%%5D%%7D");
}

static int start_docker(struct exec_run *run, struct ab_error *err)
{
    run->container = ab_calloc(1, sizeof *run->container);
    run->container->exit_code = -1;
    SLIST_INIT(&run->container->requests);
    if (run->probe) {
        docker_of(run->exec)->version = 0;
        ask(run, "GET", NULL, on_version, "/version");
        return 0;
    }
    if (!geteuid() && workdir_give(run->request.dir, USER_INSIDE, err))
        return err->code;
    create(run);
    return 0;
}

/* May be called while curl hands bytes over, when none of its handles may be touched. */
static void kill_docker(struct exec_run *run)
{
    run->container->kill_due = true;
    exec_again(run->exec);
}

/* What callbacks of curl only took note of. */
static void tick_docker(struct exec_run *run)
{
    struct container *container = run->container;
    if (container->kill_due) {
        container->kill_due = false;
        remove_container(run);
    } else if (container->heard && !container->start_sent) {
        container->start_sent = true;
        ask(run, "POST", NULL, on_started, "/containers/%s/start", container->name);
    }
}

static void wait_docker(struct exec_run *run, int64_t until_ms)
{
    struct exec *exec = run->exec;
    while (!run->container->gone && ab_mono_ms() < until_ms) {
        struct pollfd one = {.fd = exec->docker->epoll, .events = POLLIN};
        tick_docker(run);
        int64_t left_ms = until_ms - ab_mono_ms(), curl_ms = exec->docker->at_ms - ab_mono_ms();
        left_ms = curl_ms < left_ms ? curl_ms : left_ms;
        poll(&one, 1, left_ms > 0 ? (int)left_ms : 0);
        docker_events(exec);
        docker_time(exec, ab_mono_ms());
    }
}

void docker_forget(struct exec_run *run)
{
    if (!run->container)
        return;
    while (!SLIST_EMPTY(&run->container->requests))
        request_free(run, SLIST_FIRST(&run->container->requests));
    ab_buf_finish(&run->container->frames);
    free(run->container);
    run->container = NULL;
}

static int judge_docker(const struct exec_run *probe, char protections[EXEC_PROTECTIONS_MAX],
                        struct ab_error *err)
{
    struct ab_buf text = {0};
    ab_buf_add(&text, probe->kept.p, probe->kept.n);
    const char *lacks = local_missing(ab_buf_cstr(&text), true, true);
    int code = 0;
    if (probe->exit_code || !probe->ran)
        code = ab_fail(err, AB_ESYSTEM,
                       "code cannot be run: a container of %s does not run a shell (exit code %d): %.*s",
                       probe->exec->options.docker_image, probe->exit_code, (int)strcspn(text.p, "\n"), text.p);
    else if (lacks)
        code = ab_fail(err, AB_ESYSTEM, "code cannot be run: containers have no %s here", lacks);
    else
        snprintf(protections, EXEC_PROTECTIONS_MAX,
                 "container of %.100s: namespaces pid net ipc uts mnt; read-only system; no capabilities; "
                 "seccomp; rlimits; "
                 "cgroup memory pids",
                 probe->exec->options.docker_image);
    ab_buf_finish(&text);
    return code;
}

const struct exec_backend exec_docker = {"docker",    ANSWER_MS_MAX, true,        start_docker,
                                         kill_docker, wait_docker,   tick_docker, judge_docker};
