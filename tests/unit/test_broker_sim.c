/* A seeded simulation of the broker's core: workers that crash, fall silent and come back, a storage that is slow,
 * refuses, and is asked twice because answers were lost, pipes that are full, brokers that are restarted. Whatever
 * happens: every accepted job ends exactly once, only the holder of a token writes under it, watchers see 1, 2, 3 …
 * to the end, and no worker is given more than its credit.
 *
 * AUTOBOTS_SIM_SEED=N runs that seed alone; AUTOBOTS_SIM_RUNS=N so many from a random one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/log.h"
#include "tests/unit/broker_world.h"

enum {
    JOBS = 120,
    WORKERS = 5,
    CLIENTS = 4,
    HELD_MAX = 64,
    STEPS = 6000,
    DRAIN_STEPS = 20000,
    RUNS = 20,
    CREDIT = 2,
};

enum kind { TURN, END, WAIT, RETRY, PAUSE };
struct held {
    struct ab_id id;
    uint64_t token, committed, attempt;
    bool waits, cancel; /* for COMMITTED; was told to stop */
    bool pause;         /* was told to let go */
    enum kind kind;     /* of what it sent last */
};
struct worker {
    uint32_t peer; /* 0: not connected */
    struct held held[HELD_MAX];
    int n;
};
enum { UNSENT, SENT, ACCEPTED, TAKEN }; /* TAKEN: its message was the answer to a job's question */
struct job_plan {
    int state;
    char more[64];
    uint64_t next[CLIENTS]; /* expected by each watcher; 0 = does not watch, UINT64_MAX = saw the end */
    bool cancelled;
};
struct sim {
    struct world world;
    uint64_t seed, random;
    bool calm;
    struct worker workers[WORKERS];
    uint32_t clients[CLIENTS], peers;
    struct job_plan jobs[JOBS + 1];
};

static uint64_t roll(struct sim *sim, uint64_t n)
{
    uint64_t z = sim->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % n;
}

#define CHECK(sim, what)                                                                                       \
    do {                                                                                                       \
        if (!(what))                                                                                           \
            fail_msg("seed %llu: %s", (unsigned long long)(sim)->seed, #what);                                 \
    } while (0)

static unsigned number_of(struct ab_id id)
{
    unsigned number = 0;
    for (int i = 0; i < 4; i++)
        number |= (unsigned)id.b[AB_ID_BYTES - 1 - i] << (8 * i);
    return number;
}

static void connect_client(struct sim *sim, int client)
{
    sim->clients[client] = ++sim->peers;
    CHECK(sim, sim->peers < WORLD_PEERS);
    world_client(&sim->world, sim->clients[client]);
}

static void connect_worker(struct sim *sim, int index)
{
    struct worker *worker = &sim->workers[index];
    char name[16];
    snprintf(name, sizeof name, "w%d", index);
    worker->peer = ++sim->peers;
    CHECK(sim, sim->peers < WORLD_PEERS);
    world_worker(&sim->world, worker->peer, name, CREDIT);
    for (int i = 0; i < worker->n; i++)
        world_say(&sim->world, CORE_WORKERS, worker->peer, AB_ATTACH,
                  &(struct ab_lease){.job = worker->held[i].id, .token = worker->held[i].token},
                  ab_view(NULL, 0));
}

/* ---- what the core sent ---- */

static struct worker *worker_of(struct sim *sim, uint32_t peer)
{
    for (int i = 0; i < WORKERS; i++)
        if (sim->workers[i].peer == peer)
            return &sim->workers[i];
    return NULL;
}

static struct held *held_by(struct worker *worker, uint64_t token)
{
    for (int i = 0; i < worker->n; i++)
        if (worker->held[i].token == token)
            return &worker->held[i];
    return NULL;
}

static void let_go(struct worker *worker, struct held *held)
{
    *held = worker->held[--worker->n];
}

static void send_events(struct sim *sim, struct worker *worker, struct held *held)
{
    static const char *const ends[] = {[END] = "succeeded"};
    const struct ab_job job = {.job = held->id, .token = held->token, .attempt = held->attempt};
    held->waits = true;
    if (held->kind == PAUSE) {
        world_pauses(&sim->world, worker->peer, &job, held->committed + 1);
        return;
    }
    world_events(&sim->world, worker->peer, &job, held->committed + 1,
                 held->kind == END ? (held->cancel ? "cancelled" : ends[END]) : NULL,
                 held->kind == WAIT ? "person" : NULL, held->kind == RETRY);
}

static void got_job(struct sim *sim, struct worker *worker, const struct ab_job *job)
{
    CHECK(sim, worker->n < CREDIT);
    CHECK(sim, !held_by(worker, job->token));
    worker->held[worker->n++] =
        (struct held){.id = job->job, .token = job->token, .committed = job->seq, .attempt = job->attempt};
}

static void got_committed(struct sim *sim, struct worker *worker, const struct ab_lease *lease)
{
    struct held *held = held_by(worker, lease->token);
    if (!held)
        return;
    if (lease->seq > held->committed) {
        CHECK(sim, held->waits || lease->seq == held->committed);
        held->committed = lease->seq;
        held->waits = false;
        if (held->kind != TURN)
            let_go(worker, held);
    } else if (held->waits) {
        send_events(sim, worker, held); /* the answer to ATTACH: what it sent may be lost */
    }
}

static void to_worker(struct sim *sim, struct worker *worker, const struct sent *sent)
{
    union {
        struct ab_job job;
        struct ab_lease lease;
        struct ab_notice notice;
        char room[1024];
    } m;
    struct ab_error err;
    struct held *held;
    const struct ab_schema *schema = ab_command_row((uint8_t)sent->command)->schema;
    if (ab_decode(schema, ab_buf_view(&sent->header), &m, &err))
        fail_msg("a header that cannot be read");
    switch (sent->command) {
    case AB_JOB:
        got_job(sim, worker, &m.job);
        break;
    case AB_COMMITTED:
        got_committed(sim, worker, &m.lease);
        break;
    case AB_STALE:
        if ((held = held_by(worker, m.lease.token)))
            let_go(worker, held);
        break;
    case AB_CONFLICT:
        if ((held = held_by(worker, m.lease.token)))
            held->waits = false;
        break;
    case AB_NOTICE:
        if ((held = held_by(worker, m.notice.token))) {
            held->cancel |= ab_view_is(m.notice.kind, "cancel");
            if (ab_view_is(m.notice.kind, "pause") || ab_view_is(m.notice.kind, "resume"))
                held->pause = ab_view_is(m.notice.kind, "pause");
        }
        break;
    default:
        break;
    }
}

static void to_client(struct sim *sim, int client, const struct sent *sent)
{
    struct ab_error err;
    if (sent->command == AB_ACCEPTED) {
        struct ab_accepted accepted;
        ab_decode(&ab_accepted_schema, ab_buf_view(&sent->header), &accepted, &err);
        struct job_plan *job = &sim->jobs[accepted.rid];
        int state = accepted.input ? TAKEN : ACCEPTED;
        CHECK(sim, accepted.rid >= 1 && accepted.rid <= JOBS);
        CHECK(sim, job->state < ACCEPTED || job->state == state); /* whatever was said the first time */
        CHECK(sim, (number_of(accepted.job) == accepted.rid) == !accepted.input);
        job->state = state;
    } else if (sent->command == AB_ERROR) {
        struct ab_failure failure;
        ab_decode(&ab_failure_schema, ab_buf_view(&sent->header), &failure, &err);
        if (failure.rid >= 1 && failure.rid <= JOBS && sim->jobs[failure.rid].state == SENT)
            sim->jobs[failure.rid].state = UNSENT;
    } else if (sent->command == AB_EVENT) {
        struct ab_event event;
        ab_decode(&ab_event_schema, ab_buf_view(&sent->header), &event, &err);
        uint64_t *next = &sim->jobs[number_of(event.job)].next[client];
        CHECK(sim, event.seq == *next);
        *next = event.end.n ? UINT64_MAX : event.seq + 1;
    }
}

/* Answers may make the world say more: by index, not by pointer. */
static void look(struct sim *sim)
{
    for (size_t i = 0; i < sim->world.sent_n; i++) {
        struct sent sent = sim->world.sent[i];
        struct worker *worker = worker_of(sim, sent.peer);
        if (worker)
            to_worker(sim, worker, &sent);
        for (int c = 0; c < CLIENTS; c++)
            if (sim->clients[c] == sent.peer)
                to_client(sim, c, &sent);
    }
    world_forget_sent(&sim->world);
}

/* ---- what may happen ---- */

static void submit(struct sim *sim, unsigned number)
{
    struct job_plan *job = &sim->jobs[number];
    world_submit(&sim->world, sim->clients[number % CLIENTS], number, number % 3 ? "ann" : "bob", job->more);
    if (job->state == UNSENT)
        job->state = SENT;
}

static void do_submit(struct sim *sim)
{
    submit(sim, (unsigned)roll(sim, JOBS) + 1);
}

static void watch(struct sim *sim, int client, unsigned number)
{
    struct job_plan *job = &sim->jobs[number];
    if (job->state != ACCEPTED || job->next[client] == UINT64_MAX)
        return;
    if (!job->next[client])
        job->next[client] = 1;
    const struct ab_watch message = {.rid = 100000 + number,
                                     .job = world_id(number),
                                     .user = ab_view_of(number % 3 ? "ann" : "bob"),
                                     .after = job->next[client] - 1};
    world_say(&sim->world, CORE_CLIENTS, sim->clients[client], AB_WATCH, &message, ab_view(NULL, 0));
}

static void do_watch(struct sim *sim)
{
    watch(sim, (int)roll(sim, CLIENTS), (unsigned)roll(sim, JOBS) + 1);
}

static void do_store(struct sim *sim)
{
    world_store(&sim->world, roll(sim, 20) + 1);
}

static void do_read(struct sim *sim)
{
    world_store_read(&sim->world);
}

static void do_lose_answers(struct sim *sim)
{
    size_t n = 0;
    while (n < sim->world.ops_n && !sim->world.ops[n].read)
        n++;
    if (n)
        world_store_unanswered(&sim->world, roll(sim, n) + 1);
}

static void do_refuse(struct sim *sim)
{
    for (uint64_t n = roll(sim, 12); n && sim->world.ops_n; n--)
        world_refuse(&sim->world, AB_EUNAVAILABLE);
}

static void work(struct sim *sim, struct worker *worker, struct held *held)
{
    if (held->waits)
        return;
    uint64_t what = roll(sim, 10);
    held->kind = held->pause && !held->cancel ? PAUSE
                 : held->cancel || what < 4   ? END
                 : what < 8 || sim->calm      ? TURN
                 : what < 9                   ? WAIT
                                              : RETRY;
    send_events(sim, worker, held);
}

static void do_work(struct sim *sim)
{
    struct worker *worker = &sim->workers[roll(sim, WORKERS)];
    if (worker->peer && worker->n)
        work(sim, worker, &worker->held[roll(sim, (uint64_t)worker->n)]);
}

static void do_crash(struct sim *sim)
{
    struct worker *worker = &sim->workers[roll(sim, WORKERS)];
    if (!worker->peer || roll(sim, 4))
        return;
    if (roll(sim, 2))
        core_peer_gone(sim->world.core, worker->peer);
    worker->peer = 0; /* else it is only silent */
    if (roll(sim, 2))
        worker->n = 0; /* else it comes back with what it had */
}

static void do_connect(struct sim *sim)
{
    int index = (int)roll(sim, WORKERS);
    if (!sim->workers[index].peer)
        connect_worker(sim, index);
}

static void do_release(struct sim *sim)
{
    struct worker *worker = &sim->workers[roll(sim, WORKERS)];
    if (!worker->peer || !worker->n || roll(sim, 10))
        return;
    struct held *held = &worker->held[roll(sim, (uint64_t)worker->n)];
    world_say(&sim->world, CORE_WORKERS, worker->peer, AB_RELEASE,
              &(struct ab_lease){.job = held->id, .token = held->token}, ab_view(NULL, 0));
    let_go(worker, held);
}

static void do_busy(struct sim *sim)
{
    uint32_t peer = sim->clients[roll(sim, CLIENTS)];
    sim->world.busy[peer] = !sim->world.busy[peer];
}

static void word(struct sim *sim, unsigned number, const char *kind)
{
    const struct ab_inbox message = {.rid = 200000 + number,
                                     .job = world_id(number),
                                     .user = ab_view_of(number % 3 ? "ann" : "bob"),
                                     .id = world_id((unsigned)(1000000 + roll(sim, 1u << 30))),
                                     .kind = ab_view_of(kind),
                                     .text = ab_view_of("x")};
    world_say(&sim->world, CORE_CLIENTS, sim->clients[0], AB_INBOX, &message, ab_view(NULL, 0));
}

static void do_inbox(struct sim *sim)
{
    unsigned number = (unsigned)roll(sim, JOBS) + 1;
    if (sim->jobs[number].state == ACCEPTED)
        word(sim, number, roll(sim, 8) ? "input" : "cancel");
}

static void do_pause(struct sim *sim)
{
    unsigned number = (unsigned)roll(sim, JOBS) + 1;
    if (sim->jobs[number].state == ACCEPTED)
        word(sim, number, roll(sim, 3) ? "pause" : "resume");
}

static void beat(struct sim *sim)
{
    for (int i = 0; i < WORKERS; i++) {
        struct worker *worker = &sim->workers[i];
        struct ab_buf tokens = {0};
        ab_pack_array(&tokens, (uint32_t)worker->n);
        for (int k = 0; k < worker->n; k++)
            ab_pack_uint(&tokens, worker->held[k].token);
        if (worker->peer)
            world_say(&sim->world, CORE_WORKERS, worker->peer, AB_HEARTBEAT,
                      &(struct ab_heartbeat){.tokens = ab_buf_view(&tokens)}, ab_view(NULL, 0));
        ab_buf_finish(&tokens);
    }
    for (int i = 0; i < CLIENTS; i++)
        world_say(&sim->world, CORE_CLIENTS, sim->clients[i], AB_HEARTBEAT, &(struct ab_heartbeat){0},
                  ab_view(NULL, 0));
}

static void do_time(struct sim *sim)
{
    beat(sim);
    world_tick(&sim->world, (int64_t)roll(sim, 700));
}

static void do_restart(struct sim *sim)
{
    if (roll(sim, 12))
        return;
    look(sim);
    if (roll(sim, 2))
        do_lose_answers(sim);
    world_restart(&sim->world);
    for (int i = 0; i < WORKERS; i++)
        if (sim->workers[i].peer)
            connect_worker(sim, i);
    for (int c = 0; c < CLIENTS; c++)
        connect_client(sim, c);
    for (unsigned number = 1; number <= JOBS; number++) {
        if (sim->jobs[number].state == SENT)
            sim->jobs[number].state = UNSENT;
        for (int c = 0; c < CLIENTS; c++)
            if (sim->jobs[number].next[c])
                watch(sim, c, number);
    }
}

static const struct {
    void (*act)(struct sim *sim);
    int weight;
} acts[] = {{do_submit, 10}, {do_watch, 8}, {do_store, 20}, {do_read, 5},    {do_lose_answers, 3},
            {do_refuse, 1},  {do_work, 30}, {do_crash, 1},  {do_connect, 4}, {do_release, 2},
            {do_busy, 2},    {do_inbox, 2}, {do_pause, 3},  {do_time, 8},    {do_restart, 1}};

static void step(struct sim *sim)
{
    int64_t at = (int64_t)roll(sim, 100);
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if ((at -= acts[i].weight) < 0) {
            acts[i].act(sim);
            break;
        }
    look(sim);
}

/* ---- the end of it ---- */

static bool all_done(struct sim *sim)
{
    for (unsigned number = 1; number <= JOBS; number++) {
        const struct world_job *row = world_job(&sim->world, number);
        if (sim->jobs[number].state == TAKEN)
            continue;
        if (sim->jobs[number].state != ACCEPTED || !row || !*row->end)
            return false;
        for (int c = 0; c < CLIENTS; c++)
            if (sim->jobs[number].next[c] && sim->jobs[number].next[c] != UINT64_MAX)
                return false;
    }
    return true;
}

/* Everybody behaves: now all of it must come to its end. */
static void drain(struct sim *sim)
{
    sim->calm = true;
    memset(sim->world.busy, 0, sizeof sim->world.busy);
    for (int i = 0; i < DRAIN_STEPS && !all_done(sim); i++) {
        unsigned number = (unsigned)i % JOBS + 1;
        const struct job *job = jobs_find(&sim->world.core->jobs, world_id(number));
        if (sim->jobs[number].state < ACCEPTED)
            submit(sim, number);
        else if (job && job->pause)
            word(sim, number, "resume");
        else if (job && job->state == JOB_WAITING)
            word(sim, number, "input");
        do_connect(sim);
        for (int w = 0; w < WORKERS; w++)
            for (int k = sim->workers[w].n - 1; k >= 0 && sim->workers[w].peer; k--)
                work(sim, &sim->workers[w], &sim->workers[w].held[k]);
        world_store(&sim->world, sim->world.ops_n);
        if (i % 4 == 0)
            beat(sim);
        world_tick(&sim->world, 100);
        look(sim);
    }
    world_store_all(&sim->world);
    look(sim);
}

/* What is in the journals was written by who held the token, and tokens only grow. */
static void check_journal(struct sim *sim, const struct world_job *row)
{
    uint64_t before = 0;
    for (size_t i = 0; i < row->events_n; i++) {
        struct ab_view event = ab_buf_view(&row->events[i].bytes);
        enum ab_event_kind kind = ab_event_kind(event);
        CHECK(sim, row->events[i].token >= before);
        CHECK(sim, kind != AB_KIND_STARTED || row->events[i].token > before);
        before = row->events[i].token;
        bool ours = kind == AB_KIND_STARTED ||
                    (kind == AB_KIND_END && !ab_view_is(ab_any_str(ab_map_get(event, "stop_reason")), "test"));
        struct ab_view at = ab_map_get(event, "at_ms");
        struct ab_reader reader = ab_reader(at);
        uint64_t at_ms = 0;
        CHECK(sim, !ab_read_uint(&reader, &at_ms));
        CHECK(sim, ours || at_ms == (before & 0xffffff));
        CHECK(sim, (kind == AB_KIND_END) == (i + 1 == row->events_n));
    }
}

static void run(uint64_t seed)
{
    static struct sim sim;
    static const char *const policies[] = {"", "", " busy=new_job", " busy=interrupt", " busy=reject"};
    sim = (struct sim){.seed = seed, .random = seed};
    world_init(&sim.world);
    core_destroy(sim.world.core);
    sim.world.core = NULL;
    sim.world.config.seed = seed;
    sim.world.config.crashes_max = 1000; /* nobody is to blame here */
    sim.world.config.failures_max = 1000;
    sim.world.config.input_bytes_max = 400; /* some inputs are read back */
    world_restart(&sim.world);
    for (int c = 0; c < CLIENTS; c++)
        connect_client(&sim, c);
    for (int i = 0; i < WORKERS - 1; i++)
        connect_worker(&sim, i);
    for (unsigned number = 1; number <= JOBS; number++)
        snprintf(sim.jobs[number].more, sizeof sim.jobs[number].more, "%s%u priority=%u%s",
                 roll(&sim, 2) ? "session=s" : "x", (unsigned)roll(&sim, 9), (unsigned)roll(&sim, 3),
                 policies[roll(&sim, 5)]);
    for (int i = 0; i < STEPS; i++)
        step(&sim);
    drain(&sim);
    unsigned taken = 0;
    for (unsigned number = 1; number <= JOBS; number++) {
        const struct world_job *row = world_job(&sim.world, number);
        taken += sim.jobs[number].state == TAKEN;
        CHECK(&sim, (sim.jobs[number].state == TAKEN) == !row);
        if (!row)
            continue;
        CHECK(&sim, sim.jobs[number].state == ACCEPTED);
        if (row->ends != 1)
            fail_msg("seed %llu: job %u has %llu ends", (unsigned long long)seed, number,
                     (unsigned long long)row->ends);
        check_journal(&sim, row);
        for (int c = 0; c < CLIENTS; c++)
            if (sim.jobs[number].next[c] && sim.jobs[number].next[c] != UINT64_MAX)
                fail_msg("seed %llu: client %d waits for event %llu of job %u", (unsigned long long)seed, c,
                         (unsigned long long)sim.jobs[number].next[c], number);
    }
    print_message("  %u messages were answers\n", taken);
    CHECK(&sim, sim.world.core->jobs.by_n.n == 0 && sim.world.core->watchers.n == 0);
    CHECK(&sim, sim.world.core->queue.tenants.map.n == 0 && sim.world.core->queue.sessions.map.n == 0);
    world_finish(&sim.world);
}

static void everything_ends_once_whatever_happens(void **state)
{
    const char *one = getenv("AUTOBOTS_SIM_SEED"), *many = getenv("AUTOBOTS_SIM_RUNS");
    uint64_t seed = one ? strtoull(one, NULL, 10) : many ? (uint64_t)ab_mono_us() : 1;
    uint64_t runs = one ? 1 : many ? strtoull(many, NULL, 10) : RUNS;
    (void)state;
    for (uint64_t i = 0; i < runs; i++) {
        print_message("seed %llu\n", (unsigned long long)(seed + i));
        run(seed + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_ends_once_whatever_happens)};
    ab_log_init("sim", getenv("AUTOBOTS_SIM_LOG") ? AB_DEBUG : AB_ERROR_LEVEL, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
