/* The broker's core: what watchers are shown, when, and that nothing is shown twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/log.h"
#include "tests/unit/broker_world.h"

/* ---- watching ---- */

static void a_late_watcher_sees_all_and_then_live(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    for (uint64_t seq = 2; seq <= 6; seq++)
        world_events(world, WORKER, &job, seq, NULL, NULL, false);
    world_store_all(world);
    world_watch(world, OTHER, 1, 0, NULL, false);
    world_tick(world, 1);
    world_events(world, WORKER, &job, 7, NULL, NULL, false); /* committed while a page is on its way */
    world_store_all(world);
    world_events(world, WORKER, &job, 8, "succeeded", NULL, false);
    world_store_all(world);
    world->sent_at = 0;
    world_assert_events(world, OTHER, 1, 8);
    assert_int_equal(world->core->watchers.n, 0);
    world_watch(world, CLIENT, 1, 3, NULL, false); /* of a job that has ended, from the middle */
    world_store_all(world);
    world->sent_at = 0;
    world_assert_events(world, CLIENT, 4, 8);
}

static void a_full_pipe_falls_back_to_pages(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, "watch=all");
    world->busy[CLIENT] = true;
    for (uint64_t seq = 2; seq <= 5; seq++)
        world_events(world, WORKER, &job, seq, NULL, NULL, false);
    world_store_all(world);
    world_tick(world, 100);
    world->busy[CLIENT] = false;
    world_events(world, WORKER, &job, 6, "succeeded", NULL, false);
    world_store_all(world);
    world_tick(world, 100);
    world_store_all(world);
    world->sent_at = 0;
    world_assert_events(world, CLIENT, 1, 6);
}

static void want_end_gives_the_end_only(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, "watch=end");
    struct ab_event event;
    world_events(world, WORKER, &job, 2, NULL, NULL, false);
    world_events(world, WORKER, &job, 3, "failed", NULL, false);
    world_store_all(world);
    world_watch(world, OTHER, 1, 0, "end", false);
    world_store_all(world);
    world->sent_at = 0;
    for (uint32_t peer = CLIENT; peer <= OTHER; peer++) {
        world->sent_at = 0;
        assert_non_null(world_find(world, peer, AB_EVENT, &event));
        assert_int_equal(event.seq, 3);
        assert_true(ab_view_is(event.end, "failed"));
        assert_int_equal(world_count(world, peer, AB_EVENT), 1);
    }
}

static void nobody_waits_behind_the_end(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    world_watch(world, OTHER, 1, 7, NULL, false); /* behind what will be the end */
    world_events(world, WORKER, &job, 2, "succeeded", NULL, false);
    world_store_all(world);
    for (uint64_t after = 2; after <= 9; after += 7) {
        world_watch(world, CLIENT, 1, after, NULL, false);
        world_store_all(world);
        world_assert_error(world, CLIENT, "already_ended", NULL);
    }
    world_tick(world, 1000);
    world_store_all(world);
    world->sent_at = 0;
    world_assert_error(world, OTHER, "already_ended", NULL);
    assert_int_equal(world_count(world, OTHER, AB_EVENT), 0);
    assert_int_equal(world->core->watchers.n, 0);
}

static void watching_what_is_not_there_or_not_ones_own(void **state)
{
    struct world *world = *state;
    world_watch(world, CLIENT, 99, 0, NULL, false);
    world_store_all(world);
    world_assert_error(world, CLIENT, "not_found", NULL);
    world_submit(world, CLIENT, 1, "bob", NULL);
    world_store_all(world);
    world_watch(world, CLIENT, 1, 0, NULL, false); /* as ann */
    world_assert_error(world, CLIENT, "not_found", NULL);
    assert_int_equal(world->core->watchers.n, 0);
}

static void delta(struct world *world, const struct ab_job *job, uint64_t attempt, uint64_t offset,
                  const char *text)
{
    const struct ab_delta message = {.job = job->job,
                                     .token = job->token,
                                     .step = ab_view_of("a:1"),
                                     .agent = ab_view_of("a"),
                                     .attempt = attempt,
                                     .offset = offset,
                                     .text = ab_view_of(text)};
    world_say(world, CORE_WORKERS, WORKER, AB_DELTA, &message, ab_view(NULL, 0));
}

static void deltas_begin_with_what_is_written_already(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, "watch=all deltas");
    struct ab_delta got;
    struct ab_notice notice;
    assert_true(job.watched);
    delta(world, &job, 1, 0, "Hel");
    delta(world, &job, 1, 3, "lo");
    world_watch(world, OTHER, 1, 1, NULL, true);
    assert_non_null(world_find(world, OTHER, AB_DELTA, &got));
    assert_true(ab_view_is(got.text, "Hello") && got.offset == 0);
    delta(world, &job, 1, 5, "!");
    assert_non_null(world_find(world, OTHER, AB_DELTA, &got));
    assert_true(ab_view_is(got.text, "!") && got.offset == 5 && !got.token);
    delta(world, &job, 2, 0, "New"); /* another attempt at the step */
    world_watch(world, CLIENT, 1, 1, NULL, true);
    world->sent_at = world->sent_n - 1;
    assert_non_null(world_find(world, CLIENT, AB_DELTA, &got));
    assert_true(ab_view_is(got.text, "New"));
    struct ab_job quiet = world_running(world, 2, NULL);
    assert_false(quiet.watched);
    world_watch(world, OTHER, 2, 1, NULL, true);
    assert_non_null(world_find(world, WORKER, AB_NOTICE, &notice));
    assert_true(ab_view_is(notice.kind, "watched") && notice.k == 0 && notice.token == quiet.token);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    ab_log_init("test", AB_ERROR_LEVEL, false);
    const struct CMUnitTest tests[] = {
        TEST(a_late_watcher_sees_all_and_then_live),
        TEST(a_full_pipe_falls_back_to_pages),
        TEST(want_end_gives_the_end_only),
        TEST(nobody_waits_behind_the_end),
        TEST(watching_what_is_not_there_or_not_ones_own),
        TEST(deltas_begin_with_what_is_written_already),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
