/* bench_http DIR PORT PID: what HTTP costs over ZeroMQ, and what thousands of idle event streams cost. DIR: of a service
 * with a worker; PORT, PID: of its gateway.
 *
 *   noop     one at a time, in turn over ZeroMQ and over HTTP: submit a job of one scripted reply, get its end
 *   streams  STREAMS event streams of one job that waits for a person: the gateway's memory, and from the answer that is
 *            sent to that job until the last stream has its event
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/autobots.h"
#include "tests/bench/bench.h"

enum { JOBS = 1000, WARM = 50, STREAMS = 5000, ANSWER_MAX = 1 << 16 };

static const char noop[] = "{\"name\":\"noop\",\"agents\":[{\"name\":\"a\",\"script\":[\"done\"]}]}";
static const char asking[] =
    "{\"name\":\"asking\",\"type\":\"default\",\"agents\":["
    "{\"agent\":{\"name\":\"user\",\"type\":\"userproxy\",\"config\":{\"human_input_mode\":\"ALWAYS\",\"llm_"
    "config\":false,"
    "\"max_consecutive_auto_reply\":100}},\"link\":{\"agent_type\":\"sender\"}},"
    "{\"agent\":{\"name\":\"a\",\"type\":\"assistant\",\"config\":{\"llm_config\":{\"config_list\":[{\"model\":"
    "\"script\","
    "\"api_type\":\"script\",\"script\":{\"echo\":true}}]}}},\"link\":{\"agent_type\":\"receiver\"}}]}";

/* ---- ZeroMQ ---- */

struct end {
    struct autobots *bots;
    bool ended;
};

static void on_event(void *context, const struct autobots_event *event)
{
    ((struct end *)context)->ended |= event->end != NULL;
}

static void on_error(void *context, const struct autobots_error *error)
{
    (void)context;
    bench_die("watch: %s", error->text);
}

/* As the gateway does it. */
static void on_accepted(void *context, const struct autobots_answer *answer)
{
    struct end *end = context;
    struct autobots_error err;
    struct autobots_watch watch = {.on_event = on_event, .on_error = on_error, .context = end};
    if (answer->error)
        bench_die("submit: %s", answer->error->text);
    if (autobots_start_watch(end->bots, answer->job, &watch, &err))
        bench_die("watch: %s", err.text);
}

static int64_t over_zmq(struct autobots *bots)
{
    struct end end = {.bots = bots};
    struct autobots_error err;
    char id[AUTOBOTS_ID_TEXT];
    struct autobots_job job = {.workflow = noop, .text = "x"};
    int64_t began = bench_now_ns();
    if (autobots_start_submit(bots, &job, id, on_accepted, &end, &err))
        bench_die("submit: %s", err.text);
    while (!end.ended)
        autobots_step(bots, -1);
    return bench_now_ns() - began;
}

/* ---- HTTP ---- */

static int dial(int port)
{
    const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        bench_die("connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void say(int fd, const char *text, size_t n)
{
    if (send(fd, text, n, MSG_NOSIGNAL) != (ssize_t)n)
        bench_die("send: %s", strerror(errno));
}

/* A whole answer with Content-Length, NUL-terminated. */
static void hear(int fd, char text[ANSWER_MAX])
{
    size_t n = 0, whole = 0;
    while (!whole || n < whole) {
        ssize_t got = recv(fd, text + n, ANSWER_MAX - 1 - n, 0);
        if (got <= 0)
            bench_die("recv: %s", got ? strerror(errno) : "the gateway has hung up");
        n += (size_t)got;
        text[n] = 0;
        const char *body = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
        if (body && length)
            whole = (size_t)(body + 4 - text) + strtoul(length + 16, NULL, 10);
    }
}

static void post(int fd, const char *path, const char *body, char answer[ANSWER_MAX])
{
    char text[4096];
    int n = snprintf(text, sizeof text,
                     "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
                     "%zu\r\n\r\n%s",
                     path, strlen(body), body);
    say(fd, text, (size_t)n);
    hear(fd, answer);
    if (strncmp(answer, "HTTP/1.1 2", 10))
        bench_die("%s: %.200s", path, answer);
}

static int64_t over_http(int fd)
{
    char body[512], answer[ANSWER_MAX];
    snprintf(body, sizeof body, "{\"workflow\":%s,\"text\":\"x\",\"wait_ms\":20000}", noop);
    int64_t began = bench_now_ns();
    post(fd, "/api/jobs?user=bench", body, answer);
    if (!strstr(answer, "\"state\":\"succeeded\""))
        bench_die("the job has not succeeded: %.300s", answer);
    return bench_now_ns() - began;
}

/* ---- noop ---- */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void noop_run(struct autobots *bots, int port)
{
    static int64_t zmq[JOBS], http[JOBS];
    int fd = dial(port);
    for (int i = -WARM; i < JOBS; i++) {
        int64_t a = over_zmq(bots), b = over_http(fd);
        if (i >= 0) {
            zmq[i] = a;
            http[i] = b;
        }
    }
    close(fd);
    qsort(zmq, JOBS, sizeof *zmq, by_value);
    qsort(http, JOBS, sizeof *http, by_value);
    printf("http noop jobs=%d zmq_p50_us=%.0f http_p50_us=%.0f overhead_p50_us=%.0f zmq_p99_us=%.0f "
           "http_p99_us=%.0f\n",
           JOBS, (double)zmq[JOBS / 2] / 1e3, (double)http[JOBS / 2] / 1e3,
           (double)(http[JOBS / 2] - zmq[JOBS / 2]) / 1e3, (double)zmq[JOBS * 99 / 100] / 1e3,
           (double)http[JOBS * 99 / 100] / 1e3);
}

/* ---- streams ---- */

static long resident_kb(int pid)
{
    char path[64], line[256];
    long kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        sscanf(line, "VmRSS: %ld", &kb);
    if (file)
        fclose(file);
    return kb;
}

/* Until `what` has come on every stream; each counts once. */
static void hear_all(int epoll, bool heard[STREAMS], const char *what)
{
    static char text[ANSWER_MAX];
    struct epoll_event events[256];
    memset(heard, 0, STREAMS * sizeof *heard);
    for (int left = STREAMS; left;) {
        int n = epoll_wait(epoll, events, 256, 20000);
        if (n <= 0)
            bench_die("%d streams have heard nothing", left);
        for (int i = 0; i < n; i++) {
            int at = (int)(events[i].data.u64 >> 32), fd = (int)(events[i].data.u64 & UINT32_MAX);
            ssize_t got = recv(fd, text, sizeof text - 1, 0);
            if (got <= 0)
                bench_die("stream %d ended", at);
            text[got] = 0;
            if (!heard[at] && strstr(text, what)) {
                heard[at] = true;
                left--;
            }
        }
    }
}

static void open_streams(int epoll, int port, const char *job)
{
    char text[256];
    int n = snprintf(text, sizeof text,
                     "GET /api/jobs/%s/events?user=bench HTTP/1.1\r\nHost: localhost\r\n\r\n", job);
    for (int i = 0; i < STREAMS; i++) {
        int fd = dial(port);
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)i << 32 | (unsigned)fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        say(fd, text, (size_t)n);
    }
}

static void streams_run(int port, int pid)
{
    static bool heard[STREAMS];
    char body[1024], answer[ANSWER_MAX], job[AUTOBOTS_ID_TEXT] = "", path[128];
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int fd = dial(port), epoll = epoll_create1(EPOLL_CLOEXEC);
    long before_kb = resident_kb(pid);
    snprintf(body, sizeof body, "{\"workflow\":%s,\"text\":\"x\",\"wait_ms\":20000}", asking);
    post(fd, "/api/jobs?user=bench", body, answer);
    const char *id = strstr(answer, "\"job\":\"");
    memcpy(job, id + 7, AUTOBOTS_ID_TEXT - 1);
    open_streams(epoll, port, job);
    hear_all(epoll, heard, "\"kind\":\"waiting\"");
    long with_kb = resident_kb(pid);
    snprintf(path, sizeof path, "/api/jobs/%s/input?user=bench", job);
    int64_t began = bench_now_ns();
    post(fd, path, "{\"text\":\"go on\"}", answer);
    hear_all(epoll, heard, "\"kind\":\"started\"");
    int64_t took = bench_now_ns() - began;
    printf("http streams n=%d gateway_mb=%.1f kb_per_stream=%.1f event_to_all_ms=%.1f\n", STREAMS,
           (double)with_kb / 1024, (double)(with_kb - before_kb) / STREAMS, (double)took / 1e6);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        bench_die("usage: bench_http DIR PORT PID");
    struct autobots_error err;
    struct autobots *bots = autobots_open(&(struct autobots_options){.dir = argv[1], .user = "bench"}, &err);
    int port = (int)strtol(argv[2], NULL, 10), pid = (int)strtol(argv[3], NULL, 10);
    if (!bots || autobots_connect(bots, 10000, &err))
        bench_die("%s", err.text);
    noop_run(bots, port);
    autobots_close(bots);
    streams_run(port, pid);
    return 0;
}
