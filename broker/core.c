/* Messages in, answers in: who may send what, and who handles it. The rules themselves are in the other files. */
#include "broker/internal.h"

#include <assert.h>
#include <stdlib.h>

#include "common/log.h"

/* ---- life ---- */

void core_config_default(struct core_config *config)
{
    *config = (struct core_config){
        .heartbeat_ms = 2500,
        .lease_ms = 10000,
        .cancel_grace_ms = 5000,
        .backoff_ms = 1000,
        .backoff_ms_max = 60000,
        .failures_max = 5,
        .crashes_max = 3,
        .body_bytes_max = 8 << 20,
        .input_bytes_max = 64 << 20,
        .seed = 1,
    };
}

static bool by_deadline(const struct job *a, const struct job *b)
{
    return a->deadline_ms < b->deadline_ms;
}

static bool by_lease(const struct job *a, const struct job *b)
{
    return a->lease_key_ms < b->lease_key_ms;
}

struct core *core_create(const struct core_config *config, const struct core_ops *ops, void *owner)
{
    struct core *core = ab_calloc(1, sizeof *core);
    core->config = *config;
    core->ops = ops;
    core->owner = owner;
    core->random = config->seed;
    core->start_id = config->start_id;
    core->deadlines = (struct heap){.kind = HEAP_DEADLINE, .before = by_deadline};
    core->leases = (struct heap){.kind = HEAP_LEASE, .before = by_lease};
    jobs_init(&core->jobs);
    followers_init(&core->followers);
    queue_init(&core->queue, config->limits, config->limits_n);
    return core;
}

static void free_jobs(struct core *core)
{
    size_t at = 0;
    for (struct job *job; (job = map_each(&core->jobs.by_n, &at));) {
        watch_job_ended(core, job);
        worker_remove(job);
        free(job->verdict_text);
        free(job->wait_why);
        job_drop_input(&core->jobs, job);
        free(job);
    }
}

static void free_peers(struct core *core)
{
    size_t at = 0;
    for (struct peer *peer; (peer = map_each(&core->peers.by_id, &at));) {
        watch_drop_all(core, peer);
        follow_drop_all(core, peer);
    }
    peers_finish(&core->peers);
}

void core_destroy(struct core *core)
{
    if (!core)
        return;
    free_jobs(core);
    free_peers(core);
    map_finish(&core->watchers.by_serial);
    followers_finish(&core->followers);
    heap_finish(&core->deadlines);
    heap_finish(&core->leases);
    jobs_finish(&core->jobs);
    queue_finish(&core->queue);
    for (size_t i = 0; i < core->stalled_n; i++)
        ab_blob_destroy(core->stalled[i].request);
    free(core->stalled);
    free(core->cancelling);
    free(core->loaded);
    ab_buf_finish(&core->scratch);
    ab_buf_finish(&core->body);
    free(core);
}

void core_clock(struct core *core, int64_t now_ms, int64_t wall_ms)
{
    if (!core->now_ms)
        core->start_ms = core->tick_ms = now_ms;
    core->now_ms = now_ms;
    core->wall_ms = wall_ms;
}

/* The lease clock follows the clock, but not through a long wake-up or a pause of our own: nobody's silence is to blame for
 * it. Who has to be silent for some heartbeats to be gone was read at twice as many wake-ups. */
static void lease_clock(struct core *core)
{
    int64_t passed = core->now_ms - core->tick_ms, half = core->config.heartbeat_ms / 2;
    int64_t most = half < PAUSE_MS ? half : PAUSE_MS;
    core->lease_now_ms += passed < most ? passed : most;
    core->tick_ms = core->now_ms;
}

uint64_t core_epoch(const struct core *core)
{
    return core->epoch;
}

void core_stop(struct core *core)
{
    core->stopping = true;
}

bool core_superseded(const struct core *core)
{
    return core->superseded;
}

/* splitmix64 */
uint64_t core_random(struct core *core)
{
    uint64_t z = core->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t core_token(struct core *core)
{
    return core->epoch << 40 | ++core->counter;
}

/* ---- out ---- */

int core_send(struct core *core, struct peer *peer, enum ab_command command, const void *message,
              struct ab_view body, bool keep)
{
    if (!peer || peer->lost)
        return AB_ENOTFOUND;
    int rc = core->ops->send(core->owner, peer->id, command, message, body, keep);
    if (rc == AB_ENOTFOUND)
        peers_mark_lost(&core->peers, peer);
    else if (!rc)
        peer->sent_ms = core->now_ms;
    return rc;
}

struct ab_failure core_failure(const struct ab_error *err)
{
    struct ab_failure failure;
    ab_error_to(err, &failure);
    return failure;
}

void core_error(struct core *core, struct peer *peer, uint64_t rid, const struct job *job,
                const struct ab_error *err)
{
    struct ab_failure failure = core_failure(err);
    failure.rid = rid;
    if (job)
        failure.job = job->id;
    core_send(core, peer, AB_ERROR, &failure, ab_view(NULL, 0), true);
}

void core_write(struct core *core, enum ab_op op, const void *request, const struct ticket *ticket)
{
    core->ops->write(core->owner, op, request, ticket);
}

void core_read(struct core *core, enum ab_op op, const void *request, const struct ticket *ticket)
{
    core->ops->read(core->owner, op, request, ticket);
}

/* ---- in ---- */

static void on_ping(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    (void)body;
    core_send(core, peer, AB_PONG, message, ab_view(NULL, 0), true);
}

static void on_pong(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    (void)core, (void)peer, (void)message, (void)body; /* that it was heard is all */
}

static void on_error(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    const struct ab_failure *failure = message;
    char text[AB_ERROR_TEXT_MAX];
    (void)core, (void)body;
    snprintf(text, sizeof text, "%.*s", AB_VIEW_FMT(failure->text));
    ab_log(AB_WARN, "peer.error", "peer", peer->name, "text", text, NULL);
}

enum { BY_CLIENT = 1 << CORE_CLIENTS, BY_WORKER = 1 << CORE_WORKERS, BY_BOTH = BY_CLIENT | BY_WORKER };

static const struct row {
    uint8_t by;
    bool needs_storage; /* refused until the open jobs are known */
    void (*handle)(struct core *core, struct peer *peer, const void *message, struct ab_view body);
} rows[256] = {
    [AB_ERROR] = {BY_BOTH, false, on_error},         [AB_PING] = {BY_BOTH, false, on_ping},
    [AB_PONG] = {BY_BOTH, false, on_pong},           [AB_HEARTBEAT] = {BY_BOTH, false, on_heartbeat},
    [AB_SUBMIT] = {BY_CLIENT, true, on_submit},      [AB_WATCH] = {BY_CLIENT, true, on_watch},
    [AB_UNWATCH] = {BY_CLIENT, false, on_unwatch},   [AB_INBOX] = {BY_CLIENT, true, on_inbox},
    [AB_QUERY] = {BY_BOTH, false, on_query},         [AB_CREDIT] = {BY_WORKER, false, on_credit},
    [AB_EVENTS] = {BY_WORKER, true, on_events},      [AB_DELTA] = {BY_WORKER, false, on_delta},
    [AB_ATTACH] = {BY_WORKER, true, on_attach},      [AB_RELEASE] = {BY_WORKER, true, on_release},
    [AB_DRAIN] = {BY_WORKER, false, on_drain},       [AB_FOLLOW] = {BY_CLIENT, true, on_follow},
    [AB_UNFOLLOW] = {BY_CLIENT, false, on_unfollow},
};

/* The rid of a header that may be anything, so that even a bad request is answered as itself. */
static uint64_t guess_rid(struct ab_view header)
{
    struct ab_view raw = ab_map_get(header, "rid");
    struct ab_reader reader = ab_reader(raw);
    uint64_t rid = 0;
    return raw.p && !ab_read_uint(&reader, &rid) ? rid : 0;
}

static int check_message(struct core *core, const struct peer *peer, uint8_t version, uint8_t command,
                         struct ab_view body, struct ab_error *err)
{
    const struct ab_command_row *known = ab_command_row(command);
    const struct row *row = &rows[command];
    if (version < AB_VERSION_MIN || version > AB_VERSION_MAX)
        return ab_fail(err, AB_EVERSION, "version %u is not spoken here, only %d to %d", version,
                       AB_VERSION_MIN, AB_VERSION_MAX);
    if (!peer)
        return ab_fail(err, AB_EDENIED, "say HELLO first");
    if (!known)
        return ab_fail(err, AB_EINVALID, "unknown command %u", command);
    if (!(row->by & 1 << peer->side))
        return ab_fail(err, AB_EDENIED, "a %s may not send %s",
                       peer->side == CORE_WORKERS ? "worker" : "client", known->name);
    if (body.n > core->config.body_bytes_max)
        return ab_fail(err, AB_ETOOLARGE, "the body has %zu bytes; message_bytes_max is %llu", body.n,
                       (unsigned long long)core->config.body_bytes_max);
    if (row->needs_storage && core->phase != PHASE_READY) {
        ab_fail(err, AB_EUNAVAILABLE, "the broker is starting: storage has not answered yet");
        err->retry_after_ms = RETRY_AFTER_MS;
        return err->code;
    }
    return 0;
}

static void refuse(struct core *core, struct peer *peer, uint32_t id, struct ab_view header,
                   const struct ab_error *err)
{
    if (peer)
        core_error(core, peer, guess_rid(header), NULL, err);
    else
        answer_stranger(core, id, AB_ERROR, guess_rid(header), err);
}

void core_message(struct core *core, enum core_side side, uint32_t id, uint8_t version, uint8_t command,
                  struct ab_view header, struct ab_view body)
{
    union {
        struct ab_submit submit;
        struct ab_failure failure;
        struct ab_inbox inbox;
        struct ab_delta delta;
        struct ab_events events;
        struct ab_watch watch;
        max_align_t align;
        char room[1024];
    } message;
    struct ab_error err = {0};
    struct peer *peer = peers_find(&core->peers, id);
    if (command == AB_HELLO && version >= AB_VERSION_MIN && version <= AB_VERSION_MAX) {
        on_hello(core, side, id, header);
        return;
    }
    if (peer)
        peer->heard_ms = core->lease_now_ms;
    int rc = check_message(core, peer, version, command, body, &err);
    if (!rc) {
        const struct ab_schema *schema = ab_command_row(command)->schema;
        assert(schema->size <= sizeof message);
        rc = ab_decode(schema, header, &message, &err);
    }
    if (rc)
        refuse(core, peer, id, header, &err);
    else
        rows[command].handle(core, peer, &message, body);
}

void core_garbage(struct core *core, enum core_side side, uint32_t id, const struct ab_error *err)
{
    (void)side;
    refuse(core, peers_find(&core->peers, id), id, ab_view(NULL, 0), err);
}

void core_peer_gone(struct core *core, uint32_t id)
{
    struct peer *peer = peers_find(&core->peers, id);
    if (peer)
        peers_mark_lost(&core->peers, peer);
}

/* ---- storage ---- */

static void (*const answered[TICKET_KINDS])(struct core *core, const struct answer *answer) = {
    [TICKET_EPOCH] = epoch_answered, [TICKET_OPEN_JOBS] = open_jobs_answered, [TICKET_SUBMIT] = submit_answered,
    [TICKET_INBOX] = inbox_answered, [TICKET_STARTED] = started_answered,     [TICKET_EVENTS] = events_answered,
    [TICKET_END] = end_answered,     [TICKET_LOAD] = load_answered,           [TICKET_RESYNC] = resync_answered,
    [TICKET_PAGE] = page_answered,   [TICKET_CANCELS] = cancels_answered,     [TICKET_QUEUE] = queue_answered,
};

void core_answered(struct core *core, const struct ticket *ticket, struct ab_view request, int code,
                   const struct ab_error *err, struct ab_view answer)
{
    assert(ticket->kind < TICKET_KINDS);
    const struct answer a = {.ticket = ticket, .request = request, .code = code, .err = err, .body = answer};
    answered[ticket->kind](core, &a);
}

void core_storage_up(struct core *core, bool up)
{
    core->storage_up = up;
    if (up && core->phase == PHASE_COLD)
        rebuild_start(core);
    else if (up && core->phase == PHASE_READY)
        cancels_read(core, 0);
}

void core_storage_notice(struct core *core, const struct ab_notice *notice)
{
    struct job *job = jobs_find(&core->jobs, notice->job);
    if (job)
        job_inbox(core, job, notice->k, notice->kind, notice->ask, notice->text);
}

/* ---- time ---- */

/* Heartbeats to the idle; the silent are gone. */
static void sweep_peers(struct core *core, bool drained)
{
    static const struct ab_heartbeat heartbeat;
    int64_t period = core->config.heartbeat_ms;
    size_t at = 0;
    for (struct peer *peer; (peer = map_each(&core->peers.by_id, &at));) {
        if (peer->sent_ms + period / 2 <= core->now_ms)
            core_send(core, peer, AB_HEARTBEAT, &heartbeat, ab_view(NULL, 0), false);
        if (drained && peer->heard_ms + period * SILENT_HEARTBEATS <= core->lease_now_ms) {
            if (peer->side == CORE_WORKERS)
                ab_log(AB_WARN, "worker.silent", "worker", peer->name, NULL);
            peers_mark_lost(&core->peers, peer);
        }
    }
}

static void queue_due_jobs(struct core *core)
{
    for (struct job *job; (job = queue_due(&core->queue, core->wall_ms));)
        (job->resync ? job_resync_due : job_queue)(core, job);
}

void core_tick(struct core *core, bool drained)
{
    lease_clock(core);
    if (core->now_ms >= core->sweep_ms) {
        sweep_peers(core, drained);
        int64_t step = core->config.heartbeat_ms / 4;
        core->sweep_ms = core->now_ms + (step < SWEEP_MS_MAX ? step : SWEEP_MS_MAX);
    }
    remove_lost(core);
    rebuild_tick(core);
    if (core->phase == PHASE_READY) {
        if (drained)
            leases_expire(core);
        stalled_again(core);
        queue_due_jobs(core);
        deadlines_expire(core);
        cancels_expire(core);
        if (!core->stopping)
            dispatch(core);
        remove_lost(core);
    }
    watch_tick(core);
    follow_tick(core);
}

static int64_t wall_to_mono(const struct core *core, int64_t wall_ms)
{
    int64_t wait = wall_ms - core->wall_ms;
    return core->now_ms + (wait < 0 ? 0 : wait);
}

int64_t core_deadline(const struct core *core)
{
    int64_t at = core->sweep_ms, due = queue_next_ms(&core->queue);
    if (core->peers.lost)
        return core->now_ms;
    if (core->phase != PHASE_READY)
        return at;
    const struct job *deadline = heap_top(&core->deadlines), *lease = heap_top(&core->leases);
    if (due != INT64_MAX && wall_to_mono(core, due) < at)
        at = wall_to_mono(core, due);
    if (deadline && wall_to_mono(core, deadline->deadline_ms) < at)
        at = wall_to_mono(core, deadline->deadline_ms);
    if (lease && core->now_ms + lease->lease_key_ms - core->lease_now_ms < at)
        at = core->now_ms + lease->lease_key_ms - core->lease_now_ms;
    if (core->stalled_n && core->stalled_ms < at)
        at = core->stalled_ms;
    if (core->cancelling_n && core->now_ms + STEP_MS < at)
        at = core->now_ms + STEP_MS;
    if (core->followers.behind_first && core->follow_ms < at)
        at = core->follow_ms;
    if (core->watchers.behind_first && core->now_ms + WATCH_RETRY_MS < at)
        at = core->now_ms + WATCH_RETRY_MS;
    return at;
}
