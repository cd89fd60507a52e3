/* Load on a running service: `bench_load DIR noop|chat JOBS WINDOW open|closed "SERVER PIDS"`.
 *
 * noop: durable jobs without a session, 1 KiB in, 1 KiB out; a worker of our own in a child process ends each at
 * once. chat: a two-agent chat in a new session, run by the service's real workers with the offline model.
 * closed: WINDOW jobs are in flight, counted until their end has reached the client. open: WINDOW submissions are not
 * acknowledged yet, however many jobs are queued; what a crowd of independent clients does.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/wire/socket.h"
#include "common/workflow/workflow.h"
#include "tests/bench/bench.h"

enum { WORKER_SLOTS = 4096, BODY_MAX = 8 << 20, TIMEOUT_MS = 60000 };

static const char noop_workflow[] =
    "{\"agents\":[{\"model\":\"script\",\"name\":\"a\",\"script\":{\"echo\":true}}],\"name\":\"noop\"}";

/* A connection: messages gather until there is nothing to read. */
struct line {
    void *socket;
    struct ab_message in;
    struct ab_outbox out;
};

static struct line dial(const char *dir, const char *name)
{
    struct ab_error err;
    char *endpoint = ab_format("ipc://%s/%s", dir, name);
    void *socket = ab_dealer_create(endpoint, BODY_MAX, &err);
    if (!socket)
        bench_die("%s: %s", endpoint, err.text);
    free(endpoint);
    return (struct line){.socket = socket};
}

static bool wait_in(void *socket, int timeout_ms)
{
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};
    return zmq_poll(&item, 1, timeout_ms) > 0;
}

static void say(struct line *line, enum ab_command command, const void *message, struct ab_view body)
{
    ab_outbox_add(&line->out, line->socket, NULL, command, message, body);
}

/* A full pipe empties: the peer is alive and the window bounds what is under way. */
static void must_flush(struct line *line)
{
    while (ab_outbox_bytes(&line->out) && ab_outbox_flush(&line->out, line->socket, NULL)) {
        zmq_pollitem_t item = {.socket = line->socket, .events = ZMQ_POLLOUT};
        if (zmq_poll(&item, 1, TIMEOUT_MS) <= 0)
            bench_die("cannot send");
    }
}

/* Into line->in; what was said leaves before it waits. */
static bool must_receive(struct line *line, int timeout_ms)
{
    struct ab_error err;
    int rc = ab_message_receive(line->socket, &line->in, &err);
    if (!rc)
        must_flush(line);
    if (!rc && wait_in(line->socket, timeout_ms))
        rc = ab_message_receive(line->socket, &line->in, &err);
    if (rc < 0)
        bench_die("receive: %s", err.text);
    return rc > 0;
}

static void greet(struct line *line, const char *role, uint64_t slots)
{
    struct ab_hello hello = {.role = ab_view_of(role),
                             .vmin = 1,
                             .vmax = 1,
                             .slots = slots,
                             .name = ab_view_of("bench"),
                             .build = ab_view_of("bench")};
    say(line, AB_HELLO, &hello, (struct ab_view){0});
    if (!must_receive(line, TIMEOUT_MS) || line->in.command != AB_WELCOME)
        bench_die("no WELCOME");
}

/* ---- the worker ---- */

static void end_job(struct line *line, struct ab_view content)
{
    static struct ab_buf body;
    struct ab_job job;
    struct ab_error err;
    if (ab_message_header(&line->in, &job, &err))
        bench_die("JOB: %s", err.text);
    struct ab_end end = {.state = ab_view_of("succeeded"),
                         .stop_reason = ab_view_of("done"),
                         .content = content,
                         .at_ms = (uint64_t)ab_wall_ms()};
    ab_buf_clear(&body);
    ab_pack_array(&body, 1);
    ab_event_encode(&body, AB_KIND_END, &end);
    struct ab_events events = {
        .job = job.job, .token = job.token, .seq = job.seq + 1, .count = 1, .end = end.state};
    say(line, AB_EVENTS, &events, ab_buf_view(&body));
}

static void worker(const char *dir)
{
    char content[BENCH_PAYLOAD];
    bench_fill(content, sizeof content);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct line line = dial(dir, "worker.sock");
    greet(&line, "worker", WORKER_SLOTS);
    struct ab_credit credit = {.credit = WORKER_SLOTS};
    say(&line, AB_CREDIT, &credit, (struct ab_view){0});
    for (;;) {
        if (!must_receive(&line, 500))
            say(&line, AB_HEARTBEAT, &(struct ab_heartbeat){0}, (struct ab_view){0});
        else if (line.in.command == AB_JOB)
            end_job(&line, ab_view(content, sizeof content));
    }
}

/* ---- the client ---- */

struct flight {
    struct ab_id id;
    int64_t sent_ns;
    bool acked;
};

struct load {
    struct line line;
    bool chat, open;
    size_t jobs, window, sent, acked, done;
    struct flight *flights; /* by rid */
    int64_t *ack, *cycle;
    struct ab_buf body;
    struct ab_view workflow;
    uint8_t hash[AB_HASH_BYTES];
};

static void submit(struct load *load)
{
    struct flight *flight = &load->flights[load->sent];
    flight->id = ab_id_make(ab_wall_ms());
    flight->sent_ns = bench_now_ns();
    struct ab_submit submit = {
        .rid = ++load->sent,
        .job = flight->id,
        .user = ab_view_of("bench"),
        .hash = ab_view(load->hash, sizeof load->hash),
        .workflow = load->sent == 1 ? load->workflow : (struct ab_view){0},
        .no_session = !load->chat,
        .watch = ab_view_of("end"),
    };
    say(&load->line, AB_SUBMIT, &submit, ab_buf_view(&load->body));
}

/* Ends come mostly in the order of submission, so the search is short. */
static size_t find(const struct load *load, struct ab_id id, size_t from)
{
    for (size_t i = from; i < load->sent; i++)
        if (ab_id_eq(load->flights[i].id, id))
            return i;
    bench_die("an event of a job that was not submitted");
}

static void on_accepted(struct load *load, const struct ab_message *m)
{
    struct ab_accepted accepted;
    if (ab_message_header(m, &accepted, NULL) || !accepted.rid || accepted.rid > load->sent)
        bench_die("bad ACCEPTED");
    struct flight *flight = &load->flights[accepted.rid - 1];
    load->ack[accepted.rid - 1] = bench_now_ns() - flight->sent_ns;
    flight->acked = true;
    load->acked++;
}

static void on_event(struct load *load, const struct ab_message *m, size_t *oldest)
{
    struct ab_event event;
    if (ab_message_header(m, &event, NULL))
        bench_die("bad EVENT");
    if (!event.end.p)
        return;
    if (!ab_view_is(event.end, "succeeded"))
        bench_die("a job ended as %.*s", AB_VIEW_FMT(event.end));
    size_t i = find(load, event.job, *oldest);
    if (!load->flights[i].acked)
        bench_die("an end before its ACCEPTED");
    load->cycle[i] = bench_now_ns() - load->flights[i].sent_ns;
    load->done++;
    while (*oldest < load->sent && load->cycle[*oldest])
        (*oldest)++;
}

static void on_message(struct load *load, size_t *oldest)
{
    const struct ab_message *m = &load->line.in;
    struct ab_failure failure;
    switch (m->command) {
    case AB_ACCEPTED:
        on_accepted(load, m);
        break;
    case AB_EVENT:
        on_event(load, m, oldest);
        break;
    case AB_ERROR:
        if (!ab_message_header(m, &failure, NULL))
            bench_die("ERROR %.*s: %.*s", AB_VIEW_FMT(failure.code), AB_VIEW_FMT(failure.text));
        bench_die("ERROR");
    }
}

static void run(struct load *load)
{
    size_t oldest = 0;
    submit(load); /* with the workflow's text; the others name its hash */
    while (load->done < load->jobs) {
        bool first = load->done == 0;
        while (load->sent < load->jobs && !first &&
               load->sent - (load->open ? load->acked : load->done) < load->window)
            submit(load);
        if (!must_receive(&load->line, TIMEOUT_MS))
            bench_die("nothing for 60 s: %zu sent, %zu done", load->sent, load->done);
        do
            on_message(load, &oldest);
        while (ab_message_more(&load->line.in) &&
               ab_message_receive(load->line.socket, &load->line.in, NULL) > 0);
    }
}

static void prepare(struct load *load, const char *dir)
{
    char payload[BENCH_PAYLOAD];
    bench_fill(payload, sizeof payload);
    struct ab_buf content = {0};
    ab_pack_str(&content, ab_view(payload, sizeof payload));
    struct ab_input input = {.content = ab_buf_view(&content)};
    ab_encode(&load->body, &ab_input_schema, &input);
    ab_buf_finish(&content);
    load->workflow = ab_view_of(noop_workflow);
    ab_workflow_hash(load->workflow, load->hash);
    load->flights = ab_calloc(load->jobs, sizeof *load->flights);
    load->ack = ab_calloc(load->jobs, sizeof *load->ack);
    load->cycle = ab_calloc(load->jobs, sizeof *load->cycle);
    load->line = dial(dir, "client.sock");
    greet(&load->line, "client", 0);
}

int main(int argc, char **argv)
{
    if (argc != 7)
        bench_die("usage: bench_load DIR noop|chat JOBS WINDOW open|closed \"SERVER PIDS\"");
    struct load load = {.chat = !strcmp(argv[2], "chat"),
                        .open = !strcmp(argv[5], "open"),
                        .jobs = strtoul(argv[3], NULL, 10),
                        .window = strtoul(argv[4], NULL, 10)};
    pid_t child = 0;
    if (!load.chat && !(child = fork())) /* before any ZeroMQ context exists */
        worker(argv[1]);
    prepare(&load, argv[1]);
    double cpu = bench_cpu_list(argv[6]);
    int64_t start = bench_now_ns();
    run(&load);
    double seconds = (double)(bench_now_ns() - start) / 1e9;
    char *name = ab_format("autobots %s %s window=%zu", argv[2], argv[5], load.window);
    bench_print(name, load.jobs, seconds, bench_cpu_list(argv[6]) - cpu, load.ack, load.cycle);
    ab_outbox_finish(&load.line.out);
    ab_message_close(&load.line.in);
    ab_socket_destroy(load.line.socket);
    if (child) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    return 0;
}
