/* The broker's core: leases that run out, workers that die or come back, and which job is to blame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/log.h"
#include "tests/unit/broker_world.h"

/* ---- leases, crashes ---- */

static void a_silent_worker_loses_its_jobs_and_is_stale(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    world_pass(world, 9000, 0);
    world_worker(world, WORKER2, "w2", 1);
    world_store_all(world);
    struct ab_job again = world_take(world, WORKER2);
    assert_int_equal(again.attempt, 2);
    assert_true(again.token > job.token);
    assert_int_equal(again.seq, 2); /* two started events; the journal is inline */
    size_t rows = world_job(world, 1)->events_n;
    world_worker(world, WORKER, "w", 1); /* it comes back */
    world_say(world, CORE_WORKERS, WORKER, AB_ATTACH,
              &(struct ab_lease){.job = job.job, .token = job.token, .seq = 1}, ab_view(NULL, 0));
    assert_non_null(world_find(world, WORKER, AB_STALE, NULL));
    world_events(world, WORKER, &job, 2, "succeeded", NULL, false);
    assert_non_null(world_find(world, WORKER, AB_STALE, NULL));
    world_store_all(world);
    assert_int_equal(world_job(world, 1)->events_n, rows);
}

static void a_pause_of_the_loop_expires_nothing(void **state)
{
    struct world *world = *state;
    world_running(world, 1, NULL);
    world_tick(world, 3600000);
    world_tick(world, 100);
    assert_int_equal(world->core->jobs.states[JOB_RUNNING], 1);
    assert_non_null(peers_find(&world->core->peers, WORKER));
}

/* The loop takes longer than the silence that ends a peer, again and again; who is read each time stays. */
static void a_slow_loop_loses_nobody_who_is_read(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    struct ab_buf tokens = {0};
    ab_pack_array(&tokens, 1);
    ab_pack_uint(&tokens, job.token);
    int64_t slow_ms = (int64_t)world->config.heartbeat_ms * (SILENT_HEARTBEATS + 1);
    for (int i = 0; i < 10; i++) {
        world_tick(world, slow_ms);
        world_say(world, CORE_WORKERS, WORKER, AB_HEARTBEAT,
                  &(struct ab_heartbeat){.tokens = ab_buf_view(&tokens)}, ab_view(NULL, 0));
    }
    ab_buf_finish(&tokens);
    assert_int_equal(world->core->jobs.states[JOB_RUNNING], 1);
    int wakes = 0;
    for (; peers_find(&world->core->peers, WORKER); wakes++) {
        world_tick(world, slow_ms);
        assert_true(wakes < 100); /* but a dead one goes, however slow the loop is */
    }
    assert_true(wakes >= SILENT_HEARTBEATS * 2);
}

static void a_lease_is_renewed_by_its_token_only(void **state)
{
    struct world *world = *state;
    struct ab_job kept = world_running(world, 1, NULL), lost = world_running(world, 2, NULL);
    struct ab_buf tokens = {0};
    ab_pack_array(&tokens, 1);
    ab_pack_uint(&tokens, kept.token);
    const struct ab_heartbeat beat = {.tokens = ab_buf_view(&tokens)};
    for (int i = 0; i < 24; i++) {
        world_say(world, CORE_WORKERS, WORKER, AB_HEARTBEAT, &beat, ab_view(NULL, 0));
        world_tick(world, 500);
    }
    ab_buf_finish(&tokens);
    struct ab_lease stale;
    assert_non_null(world_find(world, WORKER, AB_STALE, &stale));
    assert_int_equal(stale.token, lost.token);
    assert_ptr_not_equal(jobs_by_token(&world->core->jobs, kept.token), NULL);
    assert_int_equal(world->core->jobs.states[JOB_RUNNING], 1);
}

static void release_gives_back_without_blame(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    for (unsigned attempt = 2; attempt <= 8; attempt++) {
        world_say(world, CORE_WORKERS, WORKER, AB_RELEASE,
                  &(struct ab_lease){.job = job.job, .token = job.token}, ab_view(NULL, 0));
        world_store_all(world);
        job = world_take(world, WORKER);
        assert_int_equal(job.attempt, attempt);
    }
    assert_int_equal(jobs_by_n(&world->core->jobs, 1)->crashes, 0);
}

static void a_lone_killer_is_dead_after_three_crashes(void **state)
{
    struct world *world = *state;
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    for (uint32_t i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "w%u", i);
        world_worker(world, 100 + i, name, 4);
        world_store_all(world);
        world_take(world, 100 + i);
        core_peer_gone(world->core, 100 + i);
        world_tick(world, 0);
        assert_int_equal(world->ops_n, i == 2); /* one end */
        world_store_all(world);
    }
    assert_string_equal(world_last_state(world, 1), "dead");
    assert_int_equal(world->core->jobs.by_n.n, 0);
}

static void crashes_are_counted_over_restarts(void **state)
{
    struct world *world = *state;
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    for (uint32_t i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "w%u", i);
        world_worker(world, 100 + i, name, 4);
        world_store_all(world);
        struct ab_job job = world_take(world, 100 + i);
        world_restart(world);
        assert_int_equal(jobs_by_n(&world->core->jobs, 1)->crashes, i);
        world_worker(world, 200 + i, name, 4);
        world_say(world, CORE_WORKERS, 200 + i, AB_ATTACH,
                  &(struct ab_lease){.job = job.job, .token = job.token, .seq = job.seq}, ab_view(NULL, 0));
        assert_non_null(world_find(world, 200 + i, AB_COMMITTED, NULL));
        core_peer_gone(world->core, 200 + i);
        world_tick(world, 0);
        world_store_all(world);
    }
    assert_string_equal(world_last_state(world, 1), "dead");
}

static void a_job_that_gets_on_is_not_to_blame(void **state)
{
    struct world *world = *state;
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    for (uint32_t i = 0; i < 9; i++) {
        char name[8];
        snprintf(name, sizeof name, "w%u", i);
        world_worker(world, 100 + i, name, 4);
        world_store_all(world);
        struct ab_job job = world_take(world, 100 + i);
        if (i % 2)
            world_events(world, 100 + i, &job, job.seq + 1, NULL, NULL, false);
        world_store_all(world);
        core_peer_gone(world->core, 100 + i);
        world_tick(world, 0);
        world_store_all(world);
        assert_int_equal(world->core->jobs.by_n.n, 1);
    }
}

/* The worker ends what it holds, or dies of the killer (true). */
static bool worked_off(struct world *world, uint32_t peer, unsigned killer)
{
    struct ab_job held[64];
    int n = 0;
    while (n < 64 && world_find(world, peer, AB_JOB, &held[n])) {
        if (ab_id_eq(held[n].job, world_id(killer))) {
            core_peer_gone(world->core, peer);
            return true;
        }
        n++;
    }
    assert_true(n > 0);
    for (int i = 0; i < n; i++)
        world_events(world, peer, &held[i], held[i].seq + 1, "succeeded", NULL, false);
    return false;
}

/* Job 7 kills every worker it runs on: it ends as dead, and no other job does. */
static void suspects_shrink_until_the_killer_is_found(void **state)
{
    struct world *world = *state;
    enum { JOBS = 16, KILLER = 7 };
    uint32_t peer = 100;
    for (unsigned i = 1; i <= JOBS; i++)
        world_submit(world, CLIENT, i, "ann", NULL);
    world_store_all(world);
    int crashes = 0;
    for (; world->core->ended < JOBS; peer++) {
        char name[16];
        bool killed = false;
        snprintf(name, sizeof name, "w%u", peer);
        world_worker(world, peer, name, JOBS);
        world_store_all(world);
        while (!killed && world_count(world, peer, AB_JOB) && world->core->ended < JOBS) {
            killed = worked_off(world, peer, KILLER);
            world_store_all(world);
        }
        crashes += killed;
        assert_true(peer < 200);
    }
    for (unsigned i = 1; i <= JOBS; i++)
        assert_string_equal(world_last_state(world, i), i == KILLER ? "dead" : "succeeded");
    assert_in_range(crashes, 3, 9);
}

static void a_new_connection_of_the_same_worker_takes_its_jobs_over(void **state)
{
    struct world *world = *state;
    struct ab_job one = world_running(world, 1, NULL), two = world_running(world, 2, NULL);
    struct ab_lease lease;
    world_worker(world, WORKER2, "w", 8);
    world_say(world, CORE_WORKERS, WORKER2, AB_ATTACH, &(struct ab_lease){.job = one.job, .token = one.token},
              ab_view(NULL, 0));
    assert_non_null(world_find(world, WORKER2, AB_COMMITTED, &lease));
    assert_int_equal(lease.seq, 1);
    world_events(world, WORKER2, &one, 2, "succeeded", NULL, false);
    world_store_all(world);
    assert_string_equal(world_last_state(world, 1), "succeeded");
    world_pass(world, 3500, WORKER2); /* the other was not attached in time */
    world_store_all(world);
    struct ab_job again = world_take(world, WORKER2);
    assert_true(ab_id_eq(again.job, two.job) && again.attempt == 2);
}

static void greet_as(struct world *world, uint32_t peer, const char *name, unsigned instance)
{
    const struct ab_hello hello = {.role = ab_view_of("worker"),
                                   .vmin = 1,
                                   .vmax = 1,
                                   .name = ab_view_of(name),
                                   .slots = 8,
                                   .instance = world_id(instance)};
    world_say(world, CORE_WORKERS, peer, AB_HELLO, &hello, ab_view(NULL, 0));
    world_say(world, CORE_WORKERS, peer, AB_CREDIT, &(struct ab_credit){.credit = 8}, ab_view(NULL, 0));
}

static void a_worker_that_says_hello_again_is_no_crash(void **state)
{
    struct world *world = *state;
    enum { FIRST = 70 };
    uint32_t peer = FIRST, rounds = world->config.crashes_max + 1;
    int64_t heartbeat_ms = world->config.heartbeat_ms;
    greet_as(world, peer, "w", 1);
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    struct ab_job job = world_take(world, peer);
    for (uint32_t i = 0; i < rounds; i++) {
        greet_as(world, ++peer, "w", 1);
        world_pass(world, heartbeat_ms * 3 / 2, peer);
        world_say(world, CORE_WORKERS, peer, AB_ATTACH,
                  &(struct ab_lease){.job = job.job, .token = job.token, .seq = 1}, ab_view(NULL, 0));
        assert_non_null(world_find(world, peer, AB_COMMITTED, NULL)); /* in time */
    }
    for (uint32_t i = 0; i < rounds; i++) { /* it has lost the job, and attaches nothing */
        greet_as(world, ++peer, "w", 1);
        world_pass(world, heartbeat_ms * 5 / 2, peer);
        world_store_all(world);
        assert_int_equal(world_take(world, peer).attempt, i + 2);
    }
}

static const char *called(struct world *world, uint32_t peer)
{
    const struct peer *worker = peers_find(&world->core->peers, peer);
    return worker ? worker->name : "(gone)";
}

static void living_workers_of_one_name_are_told_apart(void **state)
{
    struct world *world = *state;
    enum { FIRST = 70, SECOND, THIRD, AGAIN };
    greet_as(world, FIRST, "host:1", 1);
    greet_as(world, SECOND, "host:1", 2);
    greet_as(world, THIRD, "host:1", 3);
    assert_string_equal(called(world, FIRST), "host:1");
    assert_string_equal(called(world, SECOND), "host:1#2");
    assert_string_equal(called(world, THIRD), "host:1#3");
    greet_as(world, SECOND, "host:1", 2); /* says HELLO once more */
    assert_string_equal(called(world, SECOND), "host:1#2");
    greet_as(world, AGAIN, "host:1", 2); /* comes again by another connection: the former one goes */
    world_tick(world, 1);
    assert_string_equal(called(world, AGAIN), "host:1#2");
    assert_string_equal(called(world, SECOND), "(gone)");
    assert_string_equal(called(world, FIRST), "host:1");
    char longest[AB_NAME_MAX + 1] = "";
    for (size_t i = 0; i + 1 < AB_NAME_MAX; i += 2)
        memcpy(longest + i, "é", 2);
    greet_as(world, 80, longest, 4);
    greet_as(world, 81, longest, 5);
    assert_string_equal(called(world, 80), longest);
    struct ab_view cut = ab_view_of(called(world, 81));
    assert_true(cut.n <= AB_NAME_MAX && ab_utf8_ok(cut) && memmem(cut.p, cut.n, "#2", 2));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    ab_log_init("test", AB_ERROR_LEVEL, false);
    const struct CMUnitTest tests[] = {
        TEST(a_silent_worker_loses_its_jobs_and_is_stale),
        TEST(a_pause_of_the_loop_expires_nothing),
        TEST(a_slow_loop_loses_nobody_who_is_read),
        TEST(a_worker_that_says_hello_again_is_no_crash),
        TEST(a_lease_is_renewed_by_its_token_only),
        TEST(release_gives_back_without_blame),
        TEST(a_lone_killer_is_dead_after_three_crashes),
        TEST(crashes_are_counted_over_restarts),
        TEST(a_job_that_gets_on_is_not_to_blame),
        TEST(suspects_shrink_until_the_killer_is_found),
        TEST(a_new_connection_of_the_same_worker_takes_its_jobs_over),
        TEST(living_workers_of_one_name_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
