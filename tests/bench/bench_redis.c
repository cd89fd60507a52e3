/* The same load on Redis streams: `bench_redis PORT JOBS WINDOW "SERVER PIDS"`.
 *
 * A job: XADD of 1 KiB (durable at its answer: appendfsync always) · XREADGROUP by the worker · XADD of a 1 KiB
 * result, XACK and XDEL in one pipeline. Pipelined through hiredis, up to four producers and four workers. Here the
 * window bounds what is not acknowledged yet, and nobody tells the client of a job's end: both in favour of Redis.
 */
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"

enum { FETCH_MAX = 200, LANES_MAX = 4 };

struct load {
    int port;
    size_t jobs, window; /* of all threads */
    _Atomic size_t done;
    int64_t *sent, *ack, *cycle; /* ns, by job */
};

/* A producer and a worker each; Redis syncs once for all that reached it in one turn of its loop, so that more
 * connections make it faster. */
struct lane {
    struct load *load;
    pthread_t producer, worker;
    char name[8];
    size_t first, jobs, window; /* of this lane */
};

static char payload[BENCH_PAYLOAD];

static redisContext *dial(int port)
{
    redisContext *redis = redisConnect("127.0.0.1", port);
    if (!redis || redis->err)
        bench_die("redis: %s", redis ? redis->errstr : "out of memory");
    return redis;
}

static redisReply *reply(redisContext *redis)
{
    void *answer;
    if (redisGetReply(redis, &answer) || ((redisReply *)answer)->type == REDIS_REPLY_ERROR)
        bench_die("redis: %s", redis->errstr);
    return answer;
}

static void add(redisContext *redis, const char *stream, size_t number)
{
    redisAppendCommand(redis, "XADD %s * n %lu d %b", stream, (unsigned long)number, payload, sizeof payload);
}

static size_t serve(struct load *load, const char *name, redisContext *redis)
{
    redisAppendCommand(redis, "XREADGROUP GROUP g %s COUNT %d BLOCK 100 STREAMS jobs >", name, FETCH_MAX);
    redisReply *batch = reply(redis);
    if (batch->type == REDIS_REPLY_NIL) {
        freeReplyObject(batch);
        return 0;
    }
    redisReply *entries = batch->element[0]->element[1];
    for (size_t i = 0; i < entries->elements; i++) {
        const char *id = entries->element[i]->element[0]->str;
        add(redis, "results", 0);
        redisAppendCommand(redis, "XACK jobs g %s", id);
        redisAppendCommand(redis, "XDEL jobs %s", id);
    }
    for (size_t i = 0; i < entries->elements * 3; i++)
        freeReplyObject(reply(redis));
    int64_t now = bench_now_ns();
    for (size_t i = 0; i < entries->elements; i++) {
        size_t number = strtoul(entries->element[i]->element[1]->element[1]->str, NULL, 10);
        load->cycle[number] = now - load->sent[number];
    }
    size_t n = entries->elements;
    freeReplyObject(batch);
    return n;
}

static void *worker(void *arg)
{
    struct lane *lane = arg;
    redisContext *redis = dial(lane->load->port);
    while (atomic_load(&lane->load->done) < lane->load->jobs)
        atomic_fetch_add(&lane->load->done, serve(lane->load, lane->name, redis));
    redisFree(redis);
    return NULL;
}

static void *producer(void *arg)
{
    struct lane *lane = arg;
    struct load *load = lane->load;
    redisContext *redis = dial(load->port);
    for (size_t sent = 0, acked = 0; acked < lane->jobs;) {
        while (sent < lane->jobs && sent - acked < lane->window) {
            load->sent[lane->first + sent] = bench_now_ns();
            add(redis, "jobs", lane->first + sent++);
        }
        /* half of what is under way, then the next half is sent: the pipe never runs dry */
        for (size_t half = (sent - acked + 1) / 2; half--; acked++) {
            freeReplyObject(reply(redis));
            load->ack[lane->first + acked] = bench_now_ns() - load->sent[lane->first + acked];
        }
    }
    redisFree(redis);
    return NULL;
}

static void run(struct load *load)
{
    struct lane lanes[LANES_MAX] = {0};
    size_t n = load->window < LANES_MAX ? 1 : LANES_MAX;
    for (size_t i = 0; i < n; i++) {
        lanes[i].load = load;
        lanes[i].first = load->jobs / n * i;
        lanes[i].jobs = i + 1 < n ? load->jobs / n : load->jobs - lanes[i].first;
        lanes[i].window = load->window / n;
        snprintf(lanes[i].name, sizeof lanes[i].name, "w%zu", i);
        pthread_create(&lanes[i].worker, NULL, worker, &lanes[i]);
        pthread_create(&lanes[i].producer, NULL, producer, &lanes[i]);
    }
    for (size_t i = 0; i < n; i++) {
        pthread_join(lanes[i].producer, NULL);
        pthread_join(lanes[i].worker, NULL);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        bench_die("usage: bench_redis PORT JOBS WINDOW \"SERVER PIDS\"");
    struct load load = {.port = (int)strtol(argv[1], NULL, 10),
                        .jobs = strtoul(argv[2], NULL, 10),
                        .window = strtoul(argv[3], NULL, 10)};
    bench_fill(payload, sizeof payload);
    load.sent = calloc(load.jobs, sizeof *load.sent);
    load.ack = calloc(load.jobs, sizeof *load.ack);
    load.cycle = calloc(load.jobs, sizeof *load.cycle);
    redisContext *redis = dial(load.port);
    redisAppendCommand(redis, "FLUSHALL");
    redisAppendCommand(redis, "XGROUP CREATE jobs g 0 MKSTREAM");
    freeReplyObject(reply(redis));
    freeReplyObject(reply(redis));
    double cpu = bench_cpu_list(argv[4]);
    int64_t start = bench_now_ns();
    run(&load);
    double seconds = (double)(bench_now_ns() - start) / 1e9;
    char name[64];
    snprintf(name, sizeof name, "redis noop window=%zu", load.window);
    bench_print(name, load.jobs, seconds, bench_cpu_list(argv[4]) - cpu, load.ack, load.cycle);
    return 0;
}
