/* The same load on Redis streams: `bench_redis PORT JOBS WINDOW open|closed "SERVER PIDS"`.
 *
 * A job: XADD of 1 KiB (durable at its answer: appendfsync always) · XREADGROUP by the worker · XADD of a 1 KiB
 * result, XACK and XDEL in one pipeline. Pipelined through hiredis, up to four producers and four workers. The window as
 * in bench_load.c; here the client learns of an end for nothing, through shared memory.
 */
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"

enum { FETCH_MAX = 200, LANES_MAX = 4 };

/* A producer and a worker each; Redis syncs once for all that reached it in one turn of its loop, so that more
 * connections make it faster. Any worker may get any lane's jobs. */
struct lane {
    struct load *load;
    pthread_t producer, worker;
    char name[24];
    size_t first, jobs, window;
    _Atomic size_t done; /* of its producer's jobs */
};

struct load {
    int port;
    bool open;
    size_t jobs, window; /* of all lanes */
    _Atomic size_t done;
    int64_t *sent, *ack, *cycle; /* ns, by job */
    size_t lanes_n;
    struct lane lanes[LANES_MAX];
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
        size_t lane = number / (load->jobs / load->lanes_n);
        atomic_fetch_add(&load->lanes[lane < load->lanes_n ? lane : load->lanes_n - 1].done, 1);
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

/* With a closed window and nothing to read, done is watched; the workers run on other threads. */
static void *producer(void *arg)
{
    struct lane *lane = arg;
    struct load *load = lane->load;
    redisContext *redis = dial(load->port);
    for (size_t sent = 0, acked = 0; acked < lane->jobs;) {
        while (sent < lane->jobs && sent - (load->open ? acked : atomic_load(&lane->done)) < lane->window) {
            load->sent[lane->first + sent] = bench_now_ns();
            add(redis, "jobs", lane->first + sent++);
        }
        if (sent == acked)
            sched_yield();
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
    size_t n = load->lanes_n = load->window < LANES_MAX ? 1 : LANES_MAX;
    for (size_t i = 0; i < n; i++) {
        struct lane *lane = &load->lanes[i];
        lane->load = load;
        lane->first = load->jobs / n * i;
        lane->jobs = i + 1 < n ? load->jobs / n : load->jobs - lane->first;
        lane->window = load->window / n;
        snprintf(lane->name, sizeof lane->name, "w%zu", i);
    }
    for (size_t i = 0; i < n; i++) {
        pthread_create(&load->lanes[i].worker, NULL, worker, &load->lanes[i]);
        pthread_create(&load->lanes[i].producer, NULL, producer, &load->lanes[i]);
    }
    for (size_t i = 0; i < n; i++) {
        pthread_join(load->lanes[i].producer, NULL);
        pthread_join(load->lanes[i].worker, NULL);
    }
}

int main(int argc, char **argv)
{
    if (argc != 6)
        bench_die("usage: bench_redis PORT JOBS WINDOW open|closed \"SERVER PIDS\"");
    struct load load = {.port = (int)strtol(argv[1], NULL, 10),
                        .jobs = strtoul(argv[2], NULL, 10),
                        .window = strtoul(argv[3], NULL, 10),
                        .open = !strcmp(argv[4], "open")};
    bench_fill(payload, sizeof payload);
    load.sent = calloc(load.jobs, sizeof *load.sent);
    load.ack = calloc(load.jobs, sizeof *load.ack);
    load.cycle = calloc(load.jobs, sizeof *load.cycle);
    redisContext *redis = dial(load.port);
    redisAppendCommand(redis, "FLUSHALL");
    redisAppendCommand(redis, "XGROUP CREATE jobs g 0 MKSTREAM");
    freeReplyObject(reply(redis));
    freeReplyObject(reply(redis));
    double cpu = bench_cpu_list(argv[5]);
    int64_t start = bench_now_ns();
    run(&load);
    double seconds = (double)(bench_now_ns() - start) / 1e9;
    char name[64];
    snprintf(name, sizeof name, "redis noop %s window=%zu", argv[4], load.window);
    bench_print(name, load.jobs, seconds, bench_cpu_list(argv[5]) - cpu, load.ack, load.cycle);
    return 0;
}
