/* How many jobs a second the storage service takes by itself: batches as a broker sends them (submit, started, end
 * with a 1 KiB input and a 1 KiB answer), several in flight.
 *
 *   bench_store [--chat] [--jobs N] [--batch OPS] [--flight BATCHES] [--dir FOLDER] STORAGE-PROGRAM
 *
 * --chat: each job has a session of its own and leaves two messages. Starts the program in FOLDER (default: a new one
 * under TMPDIR), ends it, and removes what it made. Prints one line.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/wire/operations.h"
#include "common/wire/socket.h"
#include "common/workflow/workflow.h"
#include "tests/bench/bench.h"

enum { BODY_MAX = 64 << 20, FLIGHT_MAX = 64, JOBS_DEFAULT = 200000, STEPS = 3 };

struct bench {
    bool chat;
    size_t jobs, batch, flight;
    const char *program;
    char dir[256];
    pid_t pid;
    void *socket;
    uint64_t epoch, rid;
    /* jobs by step: queue[1] have been submitted, queue[2] have started */
    uint64_t *queue[STEPS];
    size_t head[STEPS], tail[STEPS], submitted, ended;
    struct {
        uint64_t rid;
        size_t ops[STEPS]; /* how many submits, starts, ends, in this order */
        uint64_t *first_start;
        int64_t sent_ns;
    } open[FLIGHT_MAX];
    struct ab_buf body, request, events, packed;
    char payload[BENCH_PAYLOAD];
    char *workflow;
    uint8_t hash[AB_HASH_BYTES];
    int64_t *latency;
    size_t latencies, answered_ops;
};

/* ---- requests ---- */
static void add_op(struct bench *b, enum ab_op op, const struct ab_schema *schema, const void *request)
{
    ab_pack_array(&b->body, 2);
    ab_pack_uint(&b->body, op);
    ab_buf_clear(&b->packed);
    ab_encode(&b->packed, schema, request);
    ab_pack_bin(&b->body, ab_buf_view(&b->packed));
}

static void add_submit(struct bench *b)
{
    ab_buf_clear(&b->request);
    ab_pack_map(&b->request, 1);
    ab_pack_str(&b->request, ab_view_of("content"));
    ab_pack_str(&b->request, ab_view(b->payload, BENCH_PAYLOAD));
    struct ab_op_submit r = {
        .job = ab_id_make(ab_wall_ms()),
        .user = ab_view_of("bench"),
        .no_session = !b->chat,
        .hash = ab_view(b->hash, sizeof b->hash),
        .workflow = b->submitted < b->batch ? ab_view_of(b->workflow) : (struct ab_view){0},
        .input = ab_buf_view(&b->request),
    };
    add_op(b, AB_OP_submit, &ab_op_submit_schema, &r);
    b->submitted++;
}

static void add_append(struct bench *b, uint64_t n, uint64_t seq, const char *end)
{
    struct ab_op_append r = {.n = n, .seq = seq, .token = b->epoch << 40 | n, .count = 1};
    r.events = ab_buf_view(&b->events);
    r.end = ab_view_of(end);
    add_op(b, AB_OP_append, &ab_op_append_schema, &r);
}

static void add_start(struct bench *b, uint64_t n)
{
    struct ab_started event = {.attempt = 1, .worker = ab_view_of("bench:1"), .at_ms = 1};
    ab_buf_clear(&b->events);
    ab_pack_array(&b->events, 1);
    ab_event_encode(&b->events, AB_KIND_STARTED, &event);
    add_append(b, n, 1, NULL);
}

static void add_end(struct bench *b, uint64_t n)
{
    struct ab_end event = {.state = ab_view_of("succeeded"), .stop_reason = ab_view_of("bench"), .at_ms = 1};
    event.content = ab_view(b->payload, BENCH_PAYLOAD);
    ab_buf_clear(&b->events);
    ab_pack_array(&b->events, 1);
    ab_event_encode(&b->events, AB_KIND_END, &event);
    add_append(b, n, 2, "succeeded");
}

static size_t at_most(size_t have, size_t room)
{
    return have < room ? have : room;
}

/* Sends the next batch: ends first, then starts, then new jobs. False if there is nothing to send now. */
static bool send_batch(struct bench *b, size_t slot)
{
    size_t room = b->batch;
    size_t ends = at_most(b->tail[2] - b->head[2], room),
           starts = at_most(b->tail[1] - b->head[1], room - ends);
    size_t submits = at_most(b->jobs - b->submitted, at_most(room - ends - starts, (b->batch + 2) / 3));
    if (!(submits + starts + ends))
        return false;
    ab_buf_clear(&b->body);
    ab_pack_array(&b->body, (uint32_t)(submits + starts + ends));
    for (size_t i = 0; i < submits; i++)
        add_submit(b);
    b->open[slot].first_start = &b->queue[1][b->head[1]];
    for (size_t i = 0; i < starts; i++)
        add_start(b, b->queue[1][b->head[1]++]);
    for (size_t i = 0; i < ends; i++)
        add_end(b, b->queue[2][b->head[2]++]);
    b->open[slot].ops[0] = submits;
    b->open[slot].ops[1] = starts;
    b->open[slot].ops[2] = ends;
    b->open[slot].rid = ++b->rid;
    b->open[slot].sent_ns = bench_now_ns();
    if (ab_send(b->socket, NULL, AB_BATCH, &(struct ab_batch){.rid = b->rid, .epoch = b->epoch},
                ab_buf_view(&b->body)))
        bench_die("cannot send a batch");
    return true;
}

/* ---- answers ---- */
static void receive(struct bench *b, struct ab_message *m, uint8_t command)
{
    struct ab_error err = {0};
    for (;;) {
        zmq_pollitem_t item = {.socket = b->socket, .events = ZMQ_POLLIN};
        if (zmq_poll(&item, 1, 60000) <= 0)
            bench_die("storage does not answer");
        int got = ab_message_receive(b->socket, m, &err);
        if (got < 0)
            bench_die("%s", err.text);
        if (got && m->command == command)
            return;
        if (got && (m->command == AB_ERROR || m->command == AB_REJECT))
            bench_die("storage refused: %.*s", AB_VIEW_FMT(ab_any_str(ab_map_get(m->header, "text"))));
        ab_message_close(m);
    }
}

static struct ab_view answer_of(struct ab_reader *reader)
{
    struct ab_view code, answer;
    uint32_t pair;
    if (ab_read_array(reader, &pair) || ab_read_str(reader, &code) || ab_read_any(reader, &answer))
        bench_die("malformed answer");
    if (!ab_view_is(code, "ok"))
        bench_die("%.*s: %.*s", AB_VIEW_FMT(code), AB_VIEW_FMT(ab_any_str(ab_map_get(answer, "text"))));
    return answer;
}

static size_t take_answer(struct bench *b)
{
    struct ab_message m = {0};
    struct ab_results results;
    receive(b, &m, AB_RESULTS);
    if (ab_message_header(&m, &results, NULL))
        bench_die("malformed RESULTS");
    size_t slot = 0;
    while (slot < b->flight && b->open[slot].rid != results.rid)
        slot++;
    struct ab_reader reader = ab_reader(m.body);
    uint32_t count;
    ab_read_array(&reader, &count);
    b->answered_ops += count;
    for (size_t i = 0; i < b->open[slot].ops[0]; i++) {
        struct ab_op_submit_answer a;
        if (ab_decode(&ab_op_submit_answer_schema, answer_of(&reader), &a, NULL))
            bench_die("malformed answer to submit");
        b->queue[1][b->tail[1]++] = a.n;
    }
    for (size_t i = 0; i < b->open[slot].ops[1]; i++) {
        answer_of(&reader);
        b->queue[2][b->tail[2]++] = b->open[slot].first_start[i];
    }
    for (size_t i = 0; i < b->open[slot].ops[2]; i++)
        answer_of(&reader);
    b->ended += b->open[slot].ops[2];
    b->latency[b->latencies++] = bench_now_ns() - b->open[slot].sent_ns;
    b->open[slot].rid = 0;
    ab_message_close(&m);
    return slot;
}

/* ---- the run ---- */
static void start(struct bench *b)
{
    b->pid = fork();
    if (b->pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (!b->pid) {
        execl(b->program, b->program, "--dir", b->dir, "--log-level", "warn", (char *)NULL);
        bench_die("cannot run %s: %s", b->program, strerror(errno));
    }
    char endpoint[300];
    struct ab_message m = {0};
    snprintf(endpoint, sizeof endpoint, "ipc://%s/storage.sock", b->dir);
    b->socket = ab_dealer_create(endpoint, BODY_MAX, NULL);
    struct ab_hello hello = {.role = ab_view_of("broker"), .vmin = 1, .vmax = 1};
    int64_t until = bench_now_ns() + 10000000000;
    while (ab_send(b->socket, NULL, AB_HELLO, &hello, (struct ab_view){0}))
        if (bench_now_ns() > until || zmq_poll(NULL, 0, 10) < 0)
            bench_die("no storage at %s", endpoint);
    receive(b, &m, AB_WELCOME);
    ab_message_close(&m);
    ab_pack_array(&b->body, 1);
    add_op(b, AB_OP_epoch, &ab_op_epoch_schema, &(struct ab_op_epoch){.build = ab_view_of("bench")});
    ab_send(b->socket, NULL, AB_BATCH, &(struct ab_batch){.rid = ++b->rid}, ab_buf_view(&b->body));
    receive(b, &m, AB_RESULTS);
    struct ab_reader reader = ab_reader(m.body);
    uint32_t one;
    struct ab_op_epoch_answer a = {0};
    if (ab_read_array(&reader, &one) || ab_decode(&ab_op_epoch_answer_schema, answer_of(&reader), &a, NULL))
        bench_die("malformed answer to epoch");
    b->epoch = a.epoch;
    ab_message_close(&m);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void run(struct bench *b)
{
    double cpu = bench_cpu_seconds(b->pid);
    int64_t began = bench_now_ns();
    size_t open = 0;
    for (size_t slot = 0; slot < b->flight; slot++)
        open += send_batch(b, slot);
    while (open) {
        size_t slot = take_answer(b);
        open--;
        for (slot = 0; slot < b->flight; slot++)
            if (!b->open[slot].rid)
                open += send_batch(b, slot);
    }
    double seconds = (double)(bench_now_ns() - began) / 1e9;
    if (b->ended != b->jobs)
        bench_die("%zu of %zu jobs ended", b->ended, b->jobs);
    cpu = bench_cpu_seconds(b->pid) - cpu;
    qsort(b->latency, b->latencies, sizeof *b->latency, by_size);
    printf("store-%s batch=%zu flight=%zu jobs=%zu jobs/s=%.0f ops/s=%.0f server_us/job=%.1f batch_p50_us=%lld "
           "batch_p99_us=%lld\n",
           b->chat ? "chat" : "noop", b->batch, b->flight, b->jobs, (double)b->jobs / seconds,
           (double)b->answered_ops / seconds, cpu * 1e6 / (double)b->jobs,
           (long long)b->latency[b->latencies / 2] / 1000,
           (long long)b->latency[b->latencies * 99 / 100] / 1000);
}

static void finish(struct bench *b)
{
    static const char *const files[] = {"database.sqlite", "database.sqlite-wal", "database.sqlite-shm",
                                        "storage.lock", "storage.sock"};
    char path[320];
    ab_socket_destroy(b->socket);
    kill(b->pid, SIGTERM);
    waitpid(b->pid, NULL, 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", b->dir, files[i]);
        unlink(path);
    }
    rmdir(b->dir);
}

static size_t number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || !value)
        bench_die("%s is no positive number", text);
    return value;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"chat", 0, NULL, 'c'},  {"jobs", 1, NULL, 'j'},
                                            {"batch", 1, NULL, 'b'}, {"flight", 1, NULL, 'f'},
                                            {"dir", 1, NULL, 'd'},   {0}};
    struct bench b = {.jobs = JOBS_DEFAULT, .batch = 1000, .flight = 3};
    const char *tmp = getenv("TMPDIR");
    snprintf(b.dir, sizeof b.dir, "%s/bench-store-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'c')
            b.chat = true;
        else if (c == 'j')
            b.jobs = number(optarg);
        else if (c == 'b')
            b.batch = number(optarg);
        else if (c == 'f')
            b.flight = at_most(number(optarg), FLIGHT_MAX);
        else if (c == 'd')
            snprintf(b.dir, sizeof b.dir, "%s/bench-store-XXXXXX", optarg);
        else
            return 100;
    }
    if (optind != argc - 1 || !mkdtemp(b.dir))
        bench_die(
            "usage: bench_store [--chat] [--jobs N] [--batch OPS] [--flight BATCHES] [--dir FOLDER] PROGRAM");
    b.program = argv[optind];
    for (int i = 1; i < STEPS; i++)
        b.queue[i] = ab_calloc(b.jobs, sizeof *b.queue[i]);
    b.latency = ab_calloc(b.jobs * STEPS + 64, sizeof *b.latency);
    bench_fill(b.payload, BENCH_PAYLOAD);
    static const char text[] = "{\"name\":\"bench\",\"agents\":[{\"agent\":{\"name\":\"u\",\"type\":"
                               "\"userproxy\"},\"link\":{\"agent_type\":"
                               "\"sender\"}},{\"agent\":{\"name\":\"a\",\"type\":\"assistant\",\"config\":{"
                               "\"llm_config\":{\"config_list\":"
                               "[{\"model\":\"script\",\"api_type\":\"script\",\"script\":{\"echo\":true}}]}}},"
                               "\"link\":{\"agent_type\":"
                               "\"receiver\"}}]}";
    b.workflow = ab_strdup(text);
    ab_workflow_hash(ab_view_of(text), b.hash);
    start(&b);
    run(&b);
    finish(&b);
    return 0;
}
