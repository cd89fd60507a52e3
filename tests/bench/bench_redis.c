/* The same load on Redis streams: `bench_redis PORT JOBS WINDOW "SERVER PIDS"`.
 *
 * A job: XADD of 1 KiB (durable at its answer: appendfsync always) · XREADGROUP by the worker · XADD of a 1 KiB
 * result, XACK and XDEL in one pipeline. Pipelined through hiredis. The client learns of the end through shared
 * memory, which is more than a real client of Redis would get for free.
 */
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"

enum { FETCH_MAX = 200 };

struct load {
    int port;
    size_t jobs, window;
    _Atomic size_t done;
    int64_t *sent, *ack, *cycle; /* ns, by job */
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
    redisAppendCommand(redis, "XADD %s * n %zu d %b", stream, number, payload, sizeof payload);
}

static size_t serve(struct load *load, redisContext *redis)
{
    redisAppendCommand(redis, "XREADGROUP GROUP g w COUNT %d BLOCK 100 STREAMS jobs >", FETCH_MAX);
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
    struct load *load = arg;
    redisContext *redis = dial(load->port);
    while (atomic_load(&load->done) < load->jobs)
        atomic_fetch_add(&load->done, serve(load, redis));
    redisFree(redis);
    return NULL;
}

static void produce(struct load *load)
{
    redisContext *redis = dial(load->port);
    for (size_t sent = 0, acked = 0; acked < load->jobs;) {
        for (; sent < load->jobs && sent - atomic_load(&load->done) < load->window; sent++) {
            load->sent[sent] = bench_now_ns();
            add(redis, "jobs", sent);
        }
        for (; acked < sent; acked++) {
            freeReplyObject(reply(redis));
            load->ack[acked] = bench_now_ns() - load->sent[acked];
        }
    }
    redisFree(redis);
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
    pthread_t thread;
    pthread_create(&thread, NULL, worker, &load);
    produce(&load);
    pthread_join(thread, NULL);
    double seconds = (double)(bench_now_ns() - start) / 1e9;
    char name[64];
    snprintf(name, sizeof name, "redis noop window=%zu", load.window);
    bench_print(name, load.jobs, seconds, bench_cpu_list(argv[4]) - cpu, load.ack, load.cycle);
    return 0;
}
