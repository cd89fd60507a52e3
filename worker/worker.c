/* The process around the jobs: greeting, the broker's commands, credit, heartbeats, draining. */
#include "worker/codes.h"
#include "worker/worker.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/version.h"
#include "worker/exec/exec.h"
#include "worker/mcp/mcp.h"
#include "worker/tool/tool.h"

/* --- the broker's commands ------------------------------------------------------------------------------------ */

static void release(struct worker *worker, struct ab_id job, uint64_t token, uint64_t seq)
{
    struct ab_lease lease = {.job = job, .token = token, .seq = seq};
    if (link_send(&worker->broker, AB_RELEASE, &lease, (struct ab_view){0}))
        return; /* without a heartbeat that names it the lease runs out */
}

/* The run a lease is about, if it is still ours under that token. */
static struct run *run_of(struct worker *worker, struct ab_id job, uint64_t token)
{
    struct run *run = runs_find(worker, job);
    return run && run->token == token ? run : NULL;
}

static void on_job(struct worker *worker, const void *header, struct ab_view body)
{
    const struct ab_job *job = header;
    char id[AB_ID_TEXT];

    if (AB_FAILPOINT("worker.job_received") || worker->draining || worker->runs >= worker->slots ||
        job->hash.n != AB_WORKFLOW_HASH_BYTES) {
        release(worker, job->job, job->token, job->seq);
        return;
    }
    ab_log(AB_INFO, "job.start", "job", ab_id_text(job->job, id), "attempt", ab_num((long long)job->attempt),
           "token", ab_num((long long)job->token), NULL);
    runs_take(worker, job, body);
}

static void on_committed(struct worker *worker, const void *header, struct ab_view body)
{
    const struct ab_lease *lease = header;
    struct run *run = run_of(worker, lease->job, lease->token);
    (void)body;
    if (run)
        run->budget = (unsigned)lease->budget;
    if (run && journal_committed(run, lease->seq))
        run_drop(run);
}

static void on_stale(struct worker *worker, const void *header, struct ab_view body)
{
    const struct ab_lease *lease = header;
    struct run *run = runs_find(worker, lease->job);
    char id[AB_ID_TEXT];
    (void)body;
    if (!run || run->token > lease->token)
        return; /* of an older lease: this one is good */
    ab_log(AB_WARN, "job.stale", "job", ab_id_text(run->job, id), "token", ab_num((long long)run->token), NULL);
    run_drop(run);
}

static void on_conflict(struct worker *worker, const void *header, struct ab_view body)
{
    const struct ab_lease *lease = header;
    struct run *run = run_of(worker, lease->job, lease->token);
    (void)body;
    if (!run)
        return;
    run->budget = (unsigned)lease->budget;
    journal_conflict(run, lease);
}

static void on_notice(struct worker *worker, const void *header, struct ab_view body)
{
    const struct ab_notice *notice = header;
    struct run *run = run_of(worker, notice->job, notice->token);
    (void)body;
    if (!run)
        return;
    if (ab_view_is(notice->kind, "cancel") && !notice->k) {
        run_drop(run); /* its deadline passed: the broker writes the end itself */
        return;
    }
    if (ab_view_is(notice->kind, "watched"))
        run->watched = true;
    else if (ab_view_is(notice->kind, "cancel"))
        run_cancel(run, notice->text);
    else if (ab_view_is(notice->kind, "pause") || ab_view_is(notice->kind, "resume"))
        run->paused = ab_view_is(notice->kind, "pause");
    if (notice->k)
        run_hear_inbox(run, notice->k, notice->kind, notice->ask, notice->text);
    run_wake(run);
}

static void give_all_back(struct worker *worker)
{
    struct run *run;
    while ((run = TAILQ_FIRST(&worker->all))) {
        release(worker, run->job, run->token, run->committed_seq);
        run_drop(run);
    }
}

static void on_drain(struct worker *worker, const void *header, struct ab_view body)
{
    const struct ab_drain *drain = header;
    char reason[256];
    (void)body;
    snprintf(reason, sizeof reason, "%.*s", (int)drain->reason.n, drain->reason.p ? drain->reason.p : "");
    ab_log(AB_INFO, "worker.drain", "reason", reason, NULL);
    worker->draining = true;
    give_all_back(worker);
}

/* What the broker says about one job's message: try later, or that message is not acceptable. */
static void on_error(struct worker *worker, const void *header, struct ab_view body)
{
    const struct ab_failure *failure = header;
    struct run *run = runs_find(worker, failure->job);
    struct ab_error err = {0};
    char id[AB_ID_TEXT];
    (void)body;

    ab_error_from(failure, &err);
    ab_log(AB_WARN, "broker.error", "job", run ? ab_id_text(run->job, id) : "", "code", ab_code_name(err.code),
           "text", err.text, NULL);
    if (!run)
        return;
    if (!err.retryable) {
        if (journal_refused(run, &err))
            run_drop(run);
        return;
    }
    run->again_ms = ab_mono_ms() + (err.retry_after_ms ? err.retry_after_ms : WORKER_REFUSED_MS);
    run->attach_due |= run->attaching;
    journal_resend(run);
}

static const struct {
    enum ab_command command;
    void (*take)(struct worker *worker, const void *header, struct ab_view body);
} takes[] = {
    {AB_JOB, on_job},       {AB_COMMITTED, on_committed}, {AB_STALE, on_stale}, {AB_CONFLICT, on_conflict},
    {AB_NOTICE, on_notice}, {AB_DRAIN, on_drain},         {AB_ERROR, on_error},
};

union any_header {
    struct ab_job job;
    struct ab_lease lease;
    struct ab_notice notice;
    struct ab_drain drain;
    struct ab_failure failure;
};

static void broker_message(void *owner, const struct ab_message *m)
{
    struct worker *worker = owner;
    union any_header header;
    struct ab_error err = {0};

    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++) {
        if (takes[i].command != m->command)
            continue;
        if (ab_message_header(m, &header, &err))
            break;
        takes[i].take(worker, &header, m->body);
        return;
    }
    ab_log(AB_WARN, "broker.not_understood", "command", ab_num(m->command), "error", err.text, NULL);
}

/* --- greeting and heartbeats ---------------------------------------------------------------------------------- */

static void broker_hello(void *owner, struct ab_hello *hello)
{
    struct worker *worker = owner;
    hello->name = ab_view_of(worker->name);
    hello->pool = ab_view_of(worker->pool);
    hello->slots = worker->slots;
    hello->instance = worker->instance;
    hello->seal_key = ab_view(worker->pair.public_key, sizeof worker->pair.public_key);
}

static void rejected(void *owner, const struct ab_error *err)
{
    struct worker *worker = owner;
    ab_log(AB_ERROR_LEVEL, "worker.rejected", "code", ab_code_name(err->code), "text", err->text, NULL);
    worker->exit_code = 111;
    ab_loop_stop(worker->loop);
}

static void storage_opened(void *owner, const struct ab_welcome *welcome)
{
    (void)welcome;
    queries_resend(owner);
}

static void storage_message(void *owner, const struct ab_message *m)
{
    queries_answer(owner, m);
}

static void storage_heartbeat(void *owner)
{
    struct worker *worker = owner;
    struct ab_heartbeat heartbeat = {0};
    link_send(&worker->storage, AB_HEARTBEAT, &heartbeat, (struct ab_view){0});
}

static const struct link_ops storage_ops = {
    .opened = storage_opened, .message = storage_message, .heartbeat = storage_heartbeat, .rejected = rejected};

static void connect_storage(struct worker *worker, const struct ab_welcome *welcome)
{
    char endpoint[512];
    struct ab_error err = {0};
    snprintf(endpoint, sizeof endpoint, "%.*s", (int)welcome->storage.n,
             welcome->storage.p ? welcome->storage.p : "");
    if (!*endpoint || (worker->storage.endpoint && !strcmp(worker->storage.endpoint, endpoint)))
        return;
    link_finish(&worker->storage);
    if (link_start(&worker->storage, worker->loop, endpoint, worker->body_bytes_max, &err))
        ab_log(AB_ERROR_LEVEL, "storage.endpoint", "error", err.text, NULL);
}

/* After each greeting: the broker may have been restarted, so each job is claimed again before anything is said of it. */
static void broker_opened(void *owner, const struct ab_welcome *welcome)
{
    struct worker *worker = owner;
    struct run *run;

    if (welcome->body_bytes_max)
        worker->body_bytes_max = welcome->body_bytes_max;
    connect_storage(worker, welcome);
    worker->draining = false;
    worker->credit_told = UINT64_MAX;
    TAILQ_FOREACH(run, &worker->all, in_all)
    {
        run->attach_due = true;
        journal_resend(run);
    }
}

static void pack_counters(const struct worker *worker, struct ab_buf *out)
{
    struct model_stats stats;
    model_client_stats(worker->models, &stats);
    const struct {
        const char *name;
        uint64_t value;
    } all[] = {
#define X(name) {#name, worker->counters.name},
        WORKER_COUNTERS(X)
#undef X
            {"calls_failed", stats.failed},
        {"calls_running", stats.running},
        {"retries", stats.retries},
        {"fallbacks", stats.fallbacks},
        {"breakers_open", stats.breakers_open},
    };
    ab_pack_map(out, sizeof all / sizeof *all);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        ab_pack_str(out, ab_view_of(all[i].name));
        ab_pack_uint(out, all[i].value);
    }
}

static void broker_heartbeat(void *owner)
{
    struct worker *worker = owner;
    struct ab_buf tokens = {0};
    struct run *run;

    ab_pack_array(&tokens, (uint32_t)worker->runs);
    TAILQ_FOREACH(run, &worker->all, in_all)
    ab_pack_uint(&tokens, run->token);
    struct ab_buf counters = {0};
    pack_counters(worker, &counters);
    struct ab_heartbeat heartbeat = {.tokens = ab_buf_view(&tokens), .counters = ab_buf_view(&counters)};
    link_send(&worker->broker, AB_HEARTBEAT, &heartbeat, (struct ab_view){0});
    ab_buf_finish(&tokens);
    ab_buf_finish(&counters);
}

static const struct link_ops broker_ops = {.hello = broker_hello,
                                           .opened = broker_opened,
                                           .message = broker_message,
                                           .heartbeat = broker_heartbeat,
                                           .rejected = rejected};

/* --- the loop ------------------------------------------------------------------------------------------------- */

/* Credit is a capacity: the broker counts what it gave us. It is told once per greeting, and 0 to stop the flow. */
static void tell_credit(struct worker *worker)
{
    struct ab_credit credit = {.credit = worker->draining ? 0 : worker->slots};
    if (credit.credit == worker->credit_told || !worker->broker.open)
        return;
    if (link_send(&worker->broker, AB_CREDIT, &credit, (struct ab_view){0}))
        worker->unsent = true;
    else
        worker->credit_told = credit.credit;
}

static bool on_models(void *owner)
{
    struct worker *worker = owner;
    model_client_run(worker->models, ab_mono_ms());
    return false;
}

static bool on_exec(void *owner)
{
    struct worker *worker = owner;
    exec_poll(worker->exec, ab_mono_ms());
    return false;
}

static bool on_tools(void *owner)
{
    struct worker *worker = owner;
    tools_run(worker->tools, ab_mono_ms());
    return false;
}

static bool on_mcp(void *owner)
{
    struct worker *worker = owner;
    mcp_run(worker->mcp, ab_mono_ms());
    return false;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t deadline(void *owner, int64_t now_ms)
{
    struct worker *worker = owner;
    int64_t at = sooner(link_deadline(&worker->broker), link_deadline(&worker->storage));
    at = sooner(at, exec_deadline_ms(worker->exec));
    at = sooner(at, sooner(queries_deadline(worker, now_ms), model_client_deadline_ms(worker->models)));
    at = sooner(at, sooner(pricing_deadline(worker), tools_deadline_ms(worker->tools)));
    at = sooner(at, sooner(toolcalls_deadline(worker), toolkits_deadline(worker)));
    at = sooner(at, mcp_deadline_ms(worker->mcp));
    return worker->unsent ? sooner(at, now_ms + WORKER_RETRY_MS) : at;
}

static void wake_unsent(struct worker *worker)
{
    struct run *run;
    worker->unsent = false;
    TAILQ_FOREACH(run, &worker->all, in_all)
    if (run->attach_due || (run->in_flight.count && !run->sent))
        run_wake(run);
}

static void tick(void *owner, int64_t now_ms)
{
    struct worker *worker = owner;
    struct run *run;

    if (model_client_deadline_ms(worker->models) <= now_ms)
        model_client_run(worker->models, now_ms);
    if (exec_deadline_ms(worker->exec) <= now_ms)
        exec_poll(worker->exec, now_ms);
    if (tools_deadline_ms(worker->tools) <= now_ms)
        tools_run(worker->tools, now_ms);
    toolcalls_tick(worker, now_ms);
    toolkits_tick(worker, now_ms);
    if (mcp_deadline_ms(worker->mcp) <= now_ms)
        mcp_run(worker->mcp, now_ms);
    link_tick(&worker->broker, now_ms);
    link_tick(&worker->storage, now_ms);
    queries_tick(worker, now_ms);
    pricing_tick(worker, now_ms);
    if (worker->unsent)
        wake_unsent(worker);
    while ((run = TAILQ_FIRST(&worker->awake))) {
        TAILQ_REMOVE(&worker->awake, run, in_awake);
        run->awake = false;
        run_step(run);
    }
    tell_credit(worker);
    bool left = link_flush(&worker->broker);
    if (!link_flush(&worker->storage) || !left)
        worker->unsent = true;
}

/* Gives back what runs, so that others go on with it at once. */
static void signalled(void *owner, int signo)
{
    struct worker *worker = owner;
    struct ab_drain drain = {.reason = ab_view_of("the worker stops")};

    if (signo == SIGHUP)
        return;
    ab_log(AB_INFO, "worker.stops", "runs", ab_num((long long)worker->runs), NULL);
    link_send(&worker->broker, AB_DRAIN, &drain, (struct ab_view){0});
    worker->draining = true;
    give_all_back(worker);
    ab_loop_stop(worker->loop);
}

/* --- making --------------------------------------------------------------------------------------------------- */

static int64_t host_now(void *user)
{
    (void)user;
    return ab_mono_ms();
}

static int64_t host_unix(void *user)
{
    (void)user;
    return ab_wall_ms();
}

static void host_log(void *user, char severity, const char *text)
{
    (void)user;
    ab_log(severity == 'w' ? AB_WARN : severity == 'i' ? AB_INFO : AB_DEBUG, "model", "text", text, NULL);
}

/* The rows of `models`, then the one of OPENAI_API_KEY. */
static int load_secrets(struct worker *worker, struct ab_error *err)
{
    size_t i;
    json_t *row;
    json_array_foreach (ab_config_tree(worker->config, AB_CONF_MODELS), i, row) {
        struct secrets_row one = {.model_pattern = json_string_value(json_object_get(row, "name")),
                                  .base_url = json_string_value(json_object_get(row, "base_url")),
                                  .api_key_env = json_string_value(json_object_get(row, "api_key_env")),
                                  .api_key_file = json_string_value(json_object_get(row, "api_key_file"))};
        int code = secrets_add(worker->secrets, &one, err);
        if (code)
            return code;
    }
    return secrets_add_openai(worker->secrets, err);
}

/* All workers of a pool share the key pair, or a key sealed for one could not be used by another. */
static int load_pair(struct worker *worker, struct ab_error *err)
{
    char *path = ab_format("%s/pool-%s.key", ab_config_text(worker->config, AB_CONF_DIR), worker->pool);
    int code = strchr(worker->pool, '/') ? ab_fail(err, AB_EUSAGE, "a pool's name has no `/`: %s", worker->pool)
                                         : secrets_pair_load(&worker->pair, path, err);
    free(path);
    return code;
}

static int start_models(struct worker *worker, struct ab_error *err)
{
    worker->host = (struct model_host){.user = worker,
                                       .now_ms = host_now,
                                       .unix_ms = host_unix,
                                       .log = host_log,
                                       .secrets = worker->secrets,
                                       .offline = ab_config_bool(worker->config, AB_CONF_OFFLINE),
                                       .retries_max = -1,
                                       .seed = (uint64_t)ab_mono_us() ^ (uint64_t)getpid() << 32,
                                       .user_agent = "autobots/" AB_VERSION};
    worker->models = model_client_create(&worker->host, err);
    return worker->models ? 0 : err->code;
}

/* The sandbox itself is looked at when code is first run: workers of jobs without code need none. */
static int start_exec(struct worker *worker, struct ab_error *err)
{
    struct exec_options options = exec_options_of(worker->config);
    const char *work_dir = ab_config_text(worker->config, AB_CONF_WORK_DIR);
    char *otherwise = ab_format("%s/work", ab_config_text(worker->config, AB_CONF_DIR));
    int code = exec_create(&options, &worker->exec, err);
    if (!code)
        code = workdirs_create(*work_dir ? work_dir : otherwise, &worker->workdirs, err);
    free(otherwise);
    return code;
}

/* Servers are started when a job wants them. */
static int start_mcp(struct worker *worker, struct ab_error *err)
{
    struct mcp_options options;
    worker->mcp_pins = mcp_options_of(worker->config, &options);
    return mcp_create(&options, &worker->mcp, err);
}

static void name_worker(struct worker *worker)
{
    char host[HOST_NAME_MAX + 1] = "";
    if (gethostname(host, sizeof host - 1))
        host[0] = 0;
    snprintf(worker->name, sizeof worker->name, "%.64s:%ld", *host ? host : "worker", (long)getpid());
}

int worker_init(struct worker *worker, const struct ab_config *config, struct ab_error *err)
{
    static const struct ab_loop_ops loop_ops = {deadline, tick, signalled};

    *worker = (struct worker){.config = config, .credit_told = UINT64_MAX};
    TAILQ_INIT(&worker->all);
    TAILQ_INIT(&worker->awake);
    TAILQ_INIT(&worker->queries.list);
    workflows_init(&worker->workflows);
    name_worker(worker);
    worker->instance = ab_id_make(ab_wall_ms());
    worker->pool = ab_config_text(config, AB_CONF_POOL);
    worker->slots = (size_t)ab_config_int(config, AB_CONF_SLOTS);
    worker->body_bytes_max = (uint64_t)ab_config_int(config, AB_CONF_MESSAGE_BYTES_MAX);
    worker->limits = (struct engine_limits){(uint64_t)ab_config_int(config, AB_CONF_JOB_CALLS_MAX),
                                            (uint64_t)ab_config_int(config, AB_CONF_JOB_TOKENS_MAX),
                                            (uint64_t)ab_config_int(config, AB_CONF_JOB_SECONDS_MAX)};
    worker->loop = ab_loop_create(&loop_ops, worker);
    worker->secrets = secrets_create();
    worker->broker = (struct link){.name = "broker", .ops = &broker_ops, .owner = worker};
    worker->storage = (struct link){.name = "storage", .ops = &storage_ops, .owner = worker};
    int code = load_secrets(worker, err);
    if (!code)
        code = load_pair(worker, err);
    if (!code)
        code = start_models(worker, err);
    if (!code)
        code = start_exec(worker, err);
    if (!code)
        code = start_mcp(worker, err);
    if (!code)
        code = toolkits_start(worker, err);
    if (code)
        return code;
    ab_loop_add_fd(worker->loop, mcp_fd(worker->mcp), on_mcp, worker);
    ab_loop_add_fd(worker->loop, tools_fd(worker->tools), on_tools, worker);
    ab_loop_add_fd(worker->loop, exec_fd(worker->exec), on_exec, worker);
    ab_loop_add_fd(worker->loop, model_client_fd(worker->models), on_models, worker);
    return link_start(&worker->broker, worker->loop, ab_config_text(config, AB_CONF_WORKER_ENDPOINT),
                      worker->body_bytes_max, err);
}

int worker_run(struct worker *worker)
{
    ab_log(AB_INFO, "worker.start", "name", worker->name, "pool", worker->pool, "slots",
           ab_num((long long)worker->slots), "broker", worker->broker.endpoint, "offline",
           worker->host.offline ? "true" : "false", "build", ab_build(), NULL);
    ab_loop_run(worker->loop);
    return worker->exit_code;
}

void worker_finish(struct worker *worker)
{
    while (!TAILQ_EMPTY(&worker->all))
        run_drop(TAILQ_FIRST(&worker->all));
    queries_finish(worker);
    link_finish(&worker->broker);
    link_finish(&worker->storage);
    model_client_destroy(worker->models);
    exec_destroy(worker->exec);
    tools_destroy(worker->tools);
    mcp_destroy(worker->mcp);
    free(worker->mcp_pins);
    workdirs_destroy(worker->workdirs);
    workflows_finish(&worker->workflows);
    prices_finish(&worker->pricing.prices);
    secrets_pair_finish(&worker->pair);
    secrets_destroy(worker->secrets);
    ab_loop_destroy(worker->loop);
}
