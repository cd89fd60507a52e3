/* See metrics.h. Names and units follow Prometheus' conventions: seconds, bytes, dollars; counters end in _total. */
#include "client/gateway/metrics.h"

#include <inttypes.h>
#include <stdlib.h>

#include "client/gateway/feed.h"
#include "client/gateway/stream.h"
#include "common/clock.h"
#include "common/log.h"

/* ---- counting ---- */

/* Upper bounds of the latency histogram. */
static const uint32_t bounds_ms[LATENCY_BUCKETS] = {1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30000};

void metrics_count(struct gateway *gateway, const struct call *call)
{
    struct counters *c = &gateway->counters;
    int64_t took_us = ab_mono_us() - call->started_us;
    int class = call->status / 100, bucket = 0;
    c->by_class[class > 0 && class < 6 ? class : 0]++;
    if (ab_log_wants(AB_DEBUG))
        ab_log(AB_DEBUG, "http.request", "route", call->route ? call->route->path : "-", "status",
               ab_num(call->status), "us", ab_num(took_us), NULL);
    if (call->stream) /* it took as long as its client liked */
        return;
    while (bucket < LATENCY_BUCKETS && took_us > (int64_t)bounds_ms[bucket] * 1000)
        bucket++;
    c->latency[bucket]++;
    c->latency_us += (uint64_t)took_us;
}

/* ---- writing ---- */

static void head(struct ab_buf *out, const char *name, const char *type, const char *help)
{
    ab_buf_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(struct ab_buf *out, const char *name, const char *type, const char *help, double value)
{
    head(out, name, type, help);
    ab_buf_format(out, "%s %.17g\n", name, value);
}

/* Text in a label: quotes, backslashes and newlines are escaped. */
static void label(struct ab_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            ab_buf_char(out, '\\');
        ab_buf_char(out, *text == '\n' ? ' ' : *text);
    }
}

/* One figure of a JSON object, and how it is told. */
struct figure {
    const char *key, *name, *type, *help;
    double factor; /* from the figure's unit to the metric's */
};

static void figures(struct ab_buf *out, const json_t *tree, const struct figure *list)
{
    for (; list->key; list++)
        one(out, list->name, list->type, list->help, ab_tree_number(tree, list->key, 0) * list->factor);
}

/* ---- the broker ---- */

static const struct figure broker_figures[] = {
    {"uptime_ms", "autobots_broker_uptime_seconds", "gauge", "since the broker was started", 1e-3},
    {"accepted", "autobots_jobs_accepted_total", "counter", "jobs accepted since the broker's start", 1},
    {"ended", "autobots_jobs_ended_total", "counter", "jobs ended since the broker's start", 1},
    {"ready", "autobots_queue_jobs", "gauge", "jobs that could run and wait for a worker", 1},
    {"oldest_ready_ms", "autobots_queue_oldest_seconds", "gauge", "age of the oldest of them", 1e-3},
    {"watchers", "autobots_watchers", "gauge", "watches of jobs", 1},
    {0},
};

static void job_states(struct ab_buf *out, const json_t *status)
{
    static const char *const states[] = {"scheduled", "ready", "running", "waiting", "paused"};
    head(out, "autobots_jobs", "gauge", "open jobs by state");
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        ab_buf_format(out, "autobots_jobs{state=\"%s\"} %" PRId64 "\n", states[i],
                      ab_tree_int(status, states[i], 0));
}

static const struct figure queue_figures[] = {
    {"open", "autobots_pool_jobs", "gauge", "jobs of the pool that have not ended", 1},
    {"ready", "autobots_pool_queue_jobs", "gauge", "of these: wait for their turn only", 1},
    {"running", "autobots_pool_running_jobs", "gauge", "of these: a worker has them", 1},
    {"oldest_ready_ms", "autobots_pool_oldest_seconds", "gauge",
     "age of the oldest one that is next in its queue", 1e-3},
    {"workers", "autobots_pool_workers", "gauge", "workers that serve the pool", 1},
    {"slots", "autobots_pool_slots", "gauge", "jobs these run at once", 1},
    {0},
};

static void queue_line(struct ab_buf *out, const char *name, const json_t *row, const char *state, double value)
{
    const char *pool = ab_tree_str(row, "pool");
    ab_buf_format(out, "%s{pool=\"", name);
    label(out, pool ? pool : "");
    ab_buf_format(out, state ? "\",state=\"%s\"} %.17g\n" : "\"%s} %.17g\n", state ? state : "", value);
}

/* Of each pool; of users only who is allowed to may know. */
static void queues(struct ab_buf *out, const json_t *list)
{
    static const char *const states[] = {"paused", "draining"};
    const json_t *row;
    size_t i;
    for (const struct figure *f = queue_figures; f->key; f++) {
        head(out, f->name, f->type, f->help);
        json_array_foreach (list, i, row)
            if (!json_object_get(row, "of"))
                queue_line(out, f->name, row, NULL, ab_tree_number(row, f->key, 0) * f->factor);
    }
    head(out, "autobots_pool_halted", "gauge", "whether people halted the pool's queue");
    json_array_foreach (list, i, row)
        for (size_t s = 0; s < 2 && !json_object_get(row, "of"); s++) {
            const char *state = ab_tree_str(row, "state");
            queue_line(out, "autobots_pool_halted", row, states[s], state && !strcmp(state, states[s]));
        }
}

/* Of each worker; `counters` of its entry, or the entry itself. */
static const struct figure worker_figures[] = {
    {"slots", "autobots_worker_slots", "gauge", "jobs the worker runs at once at most", 1},
    {"running", "autobots_worker_jobs", "gauge", "jobs it runs", 1},
    {"calls", "autobots_model_calls_total", "counter", "model calls that were answered", 1},
    {"calls_failed", "autobots_model_calls_failed_total", "counter", "model calls that failed for good", 1},
    {"calls_running", "autobots_model_calls", "gauge", "model calls under way", 1},
    {"calls_cached", "autobots_model_calls_cached_total", "counter", "calls answered from the worker's cache",
     1},
    {"calls_unpriced", "autobots_model_calls_unpriced_total", "counter", "calls of models without a price", 1},
    {"retries", "autobots_model_retries_total", "counter", "requests to models that were sent again", 1},
    {"fallbacks", "autobots_model_fallbacks_total", "counter",
     "calls that went on to the next entry of a config_list", 1},
    {"breakers_open", "autobots_model_breakers_open", "gauge", "endpoints out of turn because they failed", 1},
    {"latency_ms", "autobots_model_latency_seconds_total", "counter", "time that answered calls took, summed",
     1e-3},
    {"prompt_tokens", "autobots_model_prompt_tokens_total", "counter", "tokens of prompts", 1},
    {"completion_tokens", "autobots_model_completion_tokens_total", "counter", "tokens of completions", 1},
    {"cached_tokens", "autobots_model_cached_tokens_total", "counter",
     "tokens of prompts that endpoints had cached", 1},
    {"reasoning_tokens", "autobots_model_reasoning_tokens_total", "counter",
     "tokens of completions that were thoughts", 1},
    {"tool_calls", "autobots_tool_calls_total", "counter", "tool calls that are over, refused ones too", 1},
    {"tool_calls_failed", "autobots_tool_calls_failed_total", "counter",
     "tool calls that failed or were refused", 1},
    {"tool_ms", "autobots_tool_seconds_total", "counter", "time that tool calls took, summed", 1e-3},
    {"cost_pico_usd", "autobots_model_cost_dollars_total", "counter", "cost of priced calls", 1e-12},
    {0},
};

static void workers(struct ab_buf *out, const json_t *list)
{
    const json_t *worker;
    size_t i;
    for (const struct figure *f = worker_figures; f->key; f++) {
        head(out, f->name, f->type, f->help);
        json_array_foreach (list, i, worker) {
            const json_t *counters = json_object_get(worker, "counters");
            const json_t *from = json_object_get(worker, f->key) ? worker : counters;
            const char *name = ab_tree_str(worker, "name"), *pool = ab_tree_str(worker, "pool");
            ab_buf_format(out, "%s{worker=\"", f->name);
            label(out, name ? name : "");
            ab_buf_text(out, "\",pool=\"");
            label(out, pool ? pool : "");
            ab_buf_format(out, "\"} %.17g\n", ab_tree_number(from, f->key, 0) * f->factor);
        }
    }
}

/* ---- storage ---- */

static const struct figure storage_figures[] = {
    {"jobs", "autobots_storage_jobs_total", "counter", "jobs ever accepted", 1},
    {"open", "autobots_storage_jobs_open", "gauge", "jobs that have not ended", 1},
    {"commits", "autobots_storage_commits_total", "counter", "transactions since the start of storage", 1},
    {"operations", "autobots_storage_operations_total", "counter",
     "writing operations in them; by commits: the batch", 1},
    {"commit_us", "autobots_storage_commit_seconds_total", "counter", "time in commits; by commits: of one",
     1e-6},
    {"wal_bytes", "autobots_storage_wal_bytes", "gauge", "size of the write-ahead log", 1},
    {"unindexed", "autobots_storage_messages_unindexed", "gauge", "messages that a search does not find yet",
     1},
    {0},
};

/* ---- ourselves ---- */

static void own_latency(struct ab_buf *out, const struct counters *c)
{
    static const char name[] = "autobots_http_request_seconds";
    uint64_t sum = 0;
    head(out, name, "histogram", "time of requests of this gateway, streams aside");
    for (int i = 0; i < LATENCY_BUCKETS; i++) {
        sum += c->latency[i];
        ab_buf_format(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, bounds_ms[i] / 1e3, sum);
    }
    sum += c->latency[LATENCY_BUCKETS];
    ab_buf_format(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.17g\n%s_count %" PRIu64 "\n", name, sum,
                  name, (double)c->latency_us / 1e6, name, sum);
}

static void own(struct ab_buf *out, const struct gateway *gateway)
{
    const struct counters *c = &gateway->counters;
    struct stream_lag lag = streams_lag(gateway, gateway->now_ms);
    head(out, "autobots_http_requests_total", "counter",
         "requests of this gateway that ended, by class of status");
    for (int i = 1; i < 6; i++)
        ab_buf_format(out, "autobots_http_requests_total{class=\"%dxx\"} %" PRIu64 "\n", i, c->by_class[i]);
    own_latency(out, c);
    one(out, "autobots_http_connections", "gauge", "open connections", gateway->connections_n);
    one(out, "autobots_http_streams", "gauge", "open event streams", gateway->streams_n);
    one(out, "autobots_http_streams_opened_total", "counter", "event streams since the start",
        (double)c->streams_opened);
    one(out, "autobots_http_jobs_followed", "gauge", "jobs that are watched for streams",
        (double)feeds_count(gateway->feeds));
    one(out, "autobots_http_stream_events_total", "counter", "events written to streams",
        (double)c->events_sent);
    one(out, "autobots_http_stream_deltas_total", "counter", "pieces of turns written to streams",
        (double)c->deltas_sent);
    one(out, "autobots_http_stream_deltas_dropped_total", "counter", "pieces that slow clients were not sent",
        (double)c->deltas_dropped);
    one(out, "autobots_http_stream_lag_bytes", "gauge",
        "bytes that clients have not read yet, the most of one stream", (double)lag.bytes_max);
    one(out, "autobots_http_stream_lag_seconds", "gauge", "how long the slowest stream has not caught up",
        (double)lag.ms_max / 1e3);
    one(out, "autobots_http_refused_busy_total", "counter", "requests refused because too much came at once",
        (double)c->refused_busy);
}

/* ---- the handler: broker and storage are asked. Who does not answer in time is down ---- */

enum { BROKER, QUEUES, STORAGE, PARTS };
struct gathering {
    int asked;
    json_t *answers[PARTS]; /* NULL: none came */
};

static void forget(struct call *call)
{
    struct gathering *g = call->state;
    for (int part = 0; part < PARTS; part++)
        json_decref(g->answers[part]);
    free(g);
    call->state = NULL;
}

static void tell(struct call *call)
{
    struct gathering *g = call->state;
    struct ab_buf out = {0};
    const json_t *broker = g->answers[BROKER], *storage = g->answers[STORAGE];
    head(&out, "autobots_up", "gauge", "whether a part of the service answers");
    ab_buf_format(&out, "autobots_up{part=\"broker\"} %d\nautobots_up{part=\"storage\"} %d\n", broker != NULL,
                  storage != NULL);
    if (broker) {
        figures(&out, broker, broker_figures);
        job_states(&out, broker);
        workers(&out, json_object_get(broker, "workers"));
    }
    if (g->answers[QUEUES])
        queues(&out, json_object_get(g->answers[QUEUES], "queues"));
    if (storage)
        figures(&out, storage, storage_figures);
    own(&out, call->gateway);
    call_answer_text(call, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", ab_buf_detach(&out));
}

static void take(struct call *call, const struct autobots_answer *answer, int part)
{
    struct gathering *g = call->state;
    if (call->connection && !call->status) {
        if (!answer->error)
            ab_json_parse(ab_view_of(answer->json), &g->answers[part], NULL);
        if (!--g->asked)
            tell(call);
    }
    call_drop(call);
}

static void on_storage(void *context, const struct autobots_answer *answer)
{
    take(context, answer, STORAGE);
}

static void on_queues(void *context, const struct autobots_answer *answer)
{
    take(context, answer, QUEUES);
}

static void on_broker(void *context, const struct autobots_answer *answer)
{
    take(context, answer, BROKER);
}

void metrics_handle(struct call *call)
{
    struct gathering *g = call->state = ab_calloc(1, sizeof *g);
    call->forget = forget;
    call->late_ms = ab_mono_ms() + LATE_MS;
    call->late = tell;
    g->asked = PARTS;
    call_query(call, "status", json_object(), on_broker);
    call_query(call, "queues", json_object(), on_queues);
    call_query(call, "storage_status", json_object(), on_storage);
}
