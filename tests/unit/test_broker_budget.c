/* The broker's core: what storage says of budgets reaches workers, and jobs that wait for room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/budget.h"
#include "common/log.h"
#include "tests/unit/broker_world.h"

static void say_event(struct world *world, const struct ab_job *job, uint64_t seq, enum ab_event_kind kind,
                      const void *event, const char *wait)
{
    struct ab_buf body = {0};
    const struct ab_events events = {
        .job = job->job, .token = job->token, .seq = seq, .count = 1, .wait = ab_view_of(wait)};
    ab_pack_array(&body, 1);
    ab_event_encode(&body, kind, event);
    world_say(world, CORE_WORKERS, WORKER, AB_EVENTS, &events, ab_buf_view(&body));
    ab_buf_finish(&body);
}

static void call(struct world *world, const struct ab_job *job, uint64_t seq)
{
    const struct ab_call_started started = {
        .step = ab_view_of("chat:1"), .agent = ab_view_of("bot"), .tokens = 9, .at_ms = 1};
    say_event(world, job, seq, AB_KIND_CALL_STARTED, &started, NULL);
}

static void park(struct world *world, const struct ab_job *job, uint64_t seq)
{
    const struct ab_waiting waiting = {
        .reason = ab_view_of("budget"), .budget = ab_view_of("user ann: full"), .tokens = 9, .at_ms = 1};
    say_event(world, job, seq, AB_KIND_WAITING, &waiting, "budget");
    world_store_all(world);
    world_assert_status(world, 1, "waiting", "budget: user ann: full");
}

static void assert_refused(struct world *world)
{
    struct ab_lease conflict;
    assert_non_null(world_find(world, WORKER, AB_CONFLICT, &conflict));
    assert_true(ab_view_is(conflict.why, "refused by the test's storage"));
    assert_true(conflict.budget & AB_UNDER_BUDGET);
    assert_int_equal(world_count(world, WORKER, AB_STALE), 0);
}

static void a_refused_call_leaves_the_job_with_its_worker(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    call(world, &job, 2);
    world_refuse(world, AB_EBUDGET);
    assert_refused(world);
    world_assert_status(world, 1, "running", "");
    world_events(world, WORKER, &job, 2, "succeeded", NULL, false); /* its seq is free */
    world_store_all(world);
    assert_string_equal(world_last_state(world, 1), "succeeded");
}

static void a_refusal_is_final_also_behind_a_full_disk(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    call(world, &job, 2);
    world_refuse(world, AB_EUNAVAILABLE);
    assert_int_equal(world_count(world, WORKER, AB_CONFLICT), 0);
    world_pass(world, 1000, WORKER);
    world_refuse(world, AB_EBUDGET);
    assert_refused(world);
    park(world, &job, 2);
}

static void a_job_that_waits_for_room_goes_on_when_storage_says_so(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    park(world, &job, 2);
    const struct ab_notice other = {.job = world_id(7), .kind = ab_view_of("budget")};
    const struct ab_notice notice = {.job = world_id(1), .kind = ab_view_of("budget")};
    core_storage_notice(world->core, &other);
    world_tick(world, 1);
    world_assert_status(world, 1, "waiting", "budget");
    core_storage_notice(world->core, &notice);
    core_storage_notice(world->core, &notice);
    world_tick(world, 1);
    world_store_all(world);
    assert_int_equal(world_take(world, WORKER).attempt, 2);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 2);
}

static void a_word_that_was_missed_is_read_when_storage_is_back(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    park(world, &job, 2);
    core_storage_up(world->core, false);
    core_storage_up(world->core, true);
    world_store_all(world);
    world_assert_status(world, 1, "waiting", "budget"); /* nothing was missed */
    world_job(world, 1)->wait[0] = 0;
    core_storage_up(world->core, false);
    core_storage_up(world->core, true);
    world_store_all(world);
    assert_int_equal(world_take(world, WORKER).attempt, 2);
}

static void its_own_limits_wake_it_by_its_inbox(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    park(world, &job, 2);
    world_inbox(world, 1, "budget");
    world_store_all(world);
    assert_int_equal(world_take(world, WORKER).attempt, 2);
}

static void a_paused_job_does_not_wake(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    park(world, &job, 2);
    world_inbox(world, 1, "pause");
    world_store_all(world);
    const struct ab_notice notice = {.job = world_id(1), .kind = ab_view_of("budget")};
    core_storage_notice(world->core, &notice);
    world_store_all(world);
    world_assert_status(world, 1, "paused", "paused");
    world_inbox(world, 1, "resume");
    world_store_all(world);
    assert_int_equal(world_take(world, WORKER).attempt, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    ab_log_init("test", AB_ERROR_LEVEL, false);
    const struct CMUnitTest tests[] = {
        TEST(a_refused_call_leaves_the_job_with_its_worker),
        TEST(a_refusal_is_final_also_behind_a_full_disk),
        TEST(a_job_that_waits_for_room_goes_on_when_storage_says_so),
        TEST(a_word_that_was_missed_is_read_when_storage_is_back),
        TEST(its_own_limits_wake_it_by_its_inbox),
        TEST(a_paused_job_does_not_wake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
