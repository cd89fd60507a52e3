/* The broker's core: who follows a user's jobs is told of each change once, in order, of that user only, and after a gap to list
 * anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/log.h"
#include "tests/unit/broker_world.h"

enum { RID = 77 };

static void say_follow(struct world *world, uint32_t peer, const char *user, uint64_t after, uint64_t rid)
{
    const struct ab_follow message = {.rid = rid, .user = ab_view_of(user), .after = after};
    world_say(world, CORE_CLIENTS, peer, AB_FOLLOW, &message, ab_view(NULL, 0));
}

/* The cursor of the answer, which is the peer's next one. */
static uint64_t begun(struct world *world, uint32_t peer, bool reset)
{
    struct ab_following got;
    assert_non_null(world_find(world, peer, AB_FOLLOWING, &got));
    assert_int_equal(got.reset, reset);
    return got.cursor;
}

/* Its next change is of this job; the cursor. */
static uint64_t changed(struct world *world, uint32_t peer, unsigned number)
{
    struct ab_changed got;
    assert_non_null(world_find(world, peer, AB_CHANGED, &got));
    assert_true(ab_id_eq(got.job, world_id(number)));
    return got.cursor;
}

static void assert_no_more(struct world *world, uint32_t peer)
{
    struct ab_changed got;
    assert_null(world_find(world, peer, AB_CHANGED, &got));
}

static void each_change_of_a_job_is_told_when_it_is_on_disk(void **state)
{
    struct world *world = *state;
    say_follow(world, OTHER, "ann", 0, RID);
    uint64_t last = begun(world, OTHER, true), cursor;
    world_submit(world, CLIENT, 1, "ann", NULL);
    assert_no_more(world, OTHER); /* storage has not answered */
    world_store_all(world);
    cursor = changed(world, OTHER, 1);
    assert_true(cursor > last);
    world_worker(world, WORKER, "w", 4);
    world_tick(world, 1);
    world_store_all(world);
    struct ab_job job = world_take(world, WORKER);
    changed(world, OTHER, 1); /* started */
    world_events(world, WORKER, &job, 2, NULL, NULL, false);
    world_store_all(world);
    assert_no_more(world, OTHER); /* a turn: it is what it was */
    world_inbox(world, 1, "pause");
    world_store_all(world);
    changed(world, OTHER, 1);
    world_pauses(world, WORKER, &job, 3);
    world_store_all(world);
    changed(world, OTHER, 1);
    world_inbox(world, 1, "cancel");
    world_store_all(world);
    world_tick(world, 1);
    world_store_all(world);
    last = changed(world, OTHER, 1); /* the word */
    cursor = changed(world, OTHER, 1);
    assert_true(cursor == last + 1);
    assert_string_equal(world_last_state(world, 1), "cancelled");
    assert_no_more(world, OTHER);
}

static void another_users_jobs_are_not_told(void **state)
{
    struct world *world = *state;
    say_follow(world, OTHER, "eve", 0, RID);
    uint64_t from = begun(world, OTHER, true);
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    world_submit(world, CLIENT, 2, "eve", NULL);
    world_store_all(world);
    changed(world, OTHER, 2);
    assert_no_more(world, OTHER);
    say_follow(world, CLIENT, "eve", from, RID); /* from the kept ones, too */
    begun(world, CLIENT, false);
    world->sent_at = 0;
    changed(world, CLIENT, 2);
    assert_no_more(world, CLIENT);
    say_follow(world, CLIENT, "", 0, RID);
    world_assert_error(world, CLIENT, "invalid", "user");
}

static void who_comes_back_is_told_what_it_missed(void **state)
{
    struct world *world = *state;
    say_follow(world, OTHER, "ann", 0, RID);
    begun(world, OTHER, true);
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    uint64_t cursor = changed(world, OTHER, 1);
    const struct ab_unfollow stop = {.rid = RID};
    world_say(world, CORE_CLIENTS, OTHER, AB_UNFOLLOW, &stop, ab_view(NULL, 0));
    assert_int_equal(world->core->followers.n, 0);
    for (unsigned i = 2; i <= 4; i++) {
        world_submit(world, CLIENT, i, "ann", NULL);
        world_store_all(world);
    }
    assert_no_more(world, OTHER);
    say_follow(world, OTHER, "ann", cursor, RID);
    assert_int_equal(begun(world, OTHER, false), cursor);
    for (unsigned i = 2; i <= 4; i++)
        cursor = changed(world, OTHER, i);
    say_follow(world, OTHER, "ann", cursor, RID); /* the same request again */
    assert_int_equal(begun(world, OTHER, false), cursor);
    assert_int_equal(world->core->followers.n, 1);
    assert_no_more(world, OTHER);
}

static void a_gap_is_told_and_nothing_is_kept_for_ever(void **state)
{
    struct world *world = *state;
    struct job any = {.id = world_id(9)};
    say_follow(world, OTHER, "ann", 0, RID);
    uint64_t cursor = begun(world, OTHER, true);
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    any.flow = jobs_by_n(&world->core->jobs, 1)->flow;
    world->busy[OTHER] = true;
    for (int i = 0; i < 2 * CHANGES_KEPT; i++)
        follow_change(world->core, &any);
    world->busy[OTHER] = false;
    world_forget_sent(world);
    world_tick(world, 2 * FOLLOW_RETRY_MS);
    uint64_t now = begun(world, OTHER, true);
    assert_true(now > cursor + 2 * CHANGES_KEPT);
    assert_int_equal(world_count(world, OTHER, AB_CHANGED), 0);
    follow_change(world->core, &any);
    assert_int_equal(changed(world, OTHER, 9), now + 1);
    say_follow(world, CLIENT, "ann", cursor, RID);
    assert_int_equal(begun(world, CLIENT, true), now + 1);
    say_follow(world, CLIENT, "ann", now + 1 - CHANGES_KEPT, RID); /* the oldest that is good */
    begun(world, CLIENT, false);
    assert_int_equal(world_count(world, CLIENT, AB_CHANGED), CHANGES_KEPT);
    say_follow(world, CLIENT, "ann", now + 100, RID); /* not told yet */
    begun(world, CLIENT, true);
}

static void a_full_pipe_loses_nothing(void **state)
{
    struct world *world = *state;
    say_follow(world, OTHER, "ann", 0, RID);
    begun(world, OTHER, true);
    world->busy[OTHER] = true;
    for (unsigned i = 1; i <= 3; i++) {
        world_submit(world, CLIENT, i, "ann", NULL);
        world_store_all(world);
    }
    world_tick(world, FOLLOW_RETRY_MS);
    assert_int_equal(world_count(world, OTHER, AB_CHANGED), 0);
    world->busy[OTHER] = false;
    world_tick(world, FOLLOW_RETRY_MS);
    for (unsigned i = 1; i <= 3; i++)
        changed(world, OTHER, i);
    world_submit(world, CLIENT, 4, "ann", NULL);
    world_store_all(world);
    changed(world, OTHER, 4);
    assert_no_more(world, OTHER);
}

static void a_new_broker_knows_no_cursor_of_the_old_one(void **state)
{
    struct world *world = *state;
    say_follow(world, OTHER, "ann", 0, RID);
    uint64_t cursor = begun(world, OTHER, true);
    world_restart(world);
    world_client(world, OTHER);
    world_forget_sent(world);
    say_follow(world, OTHER, "ann", cursor, RID);
    assert_true(begun(world, OTHER, true) > cursor);
}

static void who_is_gone_follows_nothing(void **state)
{
    struct world *world = *state;
    say_follow(world, OTHER, "ann", 0, RID);
    say_follow(world, OTHER, "ann", 0, RID + 1);
    say_follow(world, OTHER, "eve", 0, RID + 2);
    assert_int_equal(world->core->followers.n, 3);
    core_peer_gone(world->core, OTHER);
    world_tick(world, 1);
    assert_int_equal(world->core->followers.n, 0);
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    assert_no_more(world, OTHER);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    ab_log_init("test", AB_ERROR_LEVEL, false);
    const struct CMUnitTest tests[] = {
        TEST(each_change_of_a_job_is_told_when_it_is_on_disk),
        TEST(another_users_jobs_are_not_told),
        TEST(who_comes_back_is_told_what_it_missed),
        TEST(a_gap_is_told_and_nothing_is_kept_for_ever),
        TEST(a_full_pipe_loses_nothing),
        TEST(a_new_broker_knows_no_cursor_of_the_old_one),
        TEST(who_is_gone_follows_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
