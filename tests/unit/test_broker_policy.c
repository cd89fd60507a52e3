/* The broker's core: messages to a session whose job has not ended, and jobs that go on from a copy of others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/log.h"
#include "tests/unit/broker_world.h"

/* ---- messages to a busy session ---- */

static struct ab_accepted accepted_next(struct world *world)
{
    struct ab_accepted accepted;
    assert_non_null(world_find(world, CLIENT, AB_ACCEPTED, &accepted));
    return accepted;
}

static void a_message_is_the_answer_a_job_waits_for(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, "session=s");
    world_events(world, WORKER, &job, 2, NULL, "person", false);
    world_store_all(world);
    world_forget_sent(world);
    world_submit(world, CLIENT, 2, "ann", "session=s watch=all");
    world_store_all(world);
    struct ab_accepted accepted = accepted_next(world);
    assert_true(ab_id_eq(accepted.job, world_id(1)) && accepted.input == 1 && accepted.seq == 2 &&
                accepted.rid == 2);
    struct ab_job again = world_take(world, WORKER);
    assert_true(ab_id_eq(again.job, world_id(1)) && again.attempt == 2);
    assert_int_equal(world->jobs_n, 1);
    struct ab_event event; /* it watches behind the question */
    world->sent_at = 0;
    assert_non_null(world_find(world, CLIENT, AB_EVENT, &event));
    assert_int_equal(event.seq, 3);
    world_submit(world, CLIENT, 2, "ann", "session=s watch=all"); /* sent again: the same answer, no new job */
    world_store_all(world);
    accepted = accepted_next(world);
    assert_true(ab_id_eq(accepted.job, world_id(1)) && accepted.input == 1 && !accepted.created);
    world_events(world, WORKER, &again, again.seq + 1, "succeeded", NULL, false);
    world_store_all(world);
    world_restart(world);
    world_client(world, CLIENT);
    world_submit(world, CLIENT, 2, "ann", "session=s"); /* and after everything is over */
    world_store_all(world);
    assert_true(ab_id_eq(accepted_next(world).job, world_id(1)));
    assert_int_equal(world->jobs_n, 1);
}

static void of_two_answers_one_is_a_job_of_its_own(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, "session=s");
    world_events(world, WORKER, &job, 2, NULL, "person", false);
    world_store_all(world);
    world_forget_sent(world);
    world_submit(world, CLIENT, 2, "ann", "session=s"); /* both are decided before either is on disk */
    world_submit(world, CLIENT, 3, "ann", "session=s");
    world_store_all(world);
    assert_true(ab_id_eq(accepted_next(world).job, world_id(1)));
    struct ab_accepted second = accepted_next(world);
    assert_true(ab_id_eq(second.job, world_id(3)) && !second.input);
    world_assert_status(world, 3, "ready", "session");
}

static void what_is_no_answer(void **state)
{
    static const char *const ways[] = {"session=s busy=new_job", "session=s not_before=1800000000000",
                                       "session=t", ""};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct world *world;
        (void)state;
        world_setup((void **)&world);
        struct ab_job job = world_running(world, 1, "session=s");
        world_events(world, WORKER, &job, 2, NULL, "person", false);
        world_store_all(world);
        world_submit(world, CLIENT, 2, "ann", ways[i]);
        world_submit(world, CLIENT, 3, "bob", "session=s"); /* another user's session */
        world_store_all(world);
        world_assert_status(world, 1, "waiting", "person");
        assert_int_equal(world->jobs_n, 3);
        world_teardown((void **)&world);
    }
}

static void a_timer_is_not_answered(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, "session=s");
    world_events(world, WORKER, &job, 2, NULL, "timer", false);
    world_store_all(world);
    for (int restarted = 0; restarted < 2; restarted++) {
        world_submit(world, CLIENT, 2, "ann", "session=s");
        world_store_all(world);
        world_assert_status(world, 1, "waiting", "schedule");
        world_assert_status(world, 2, "ready", "session");
        world_restart(world);
        world_client(world, CLIENT);
    }
}

static void a_paused_question_is_answered_too(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, "session=s");
    world_events(world, WORKER, &job, 2, NULL, "person", false);
    world_inbox(world, 1, "pause");
    world_store_all(world);
    world_restart(world);
    world_client(world, CLIENT);
    world_submit(world, CLIENT, 2, "ann", "session=s");
    world_store_all(world);
    assert_true(ab_id_eq(accepted_next(world).job, world_id(1)));
    world_assert_status(world, 1, "paused", "paused");
    world_worker(world, WORKER2, "w2", 8);
    world_inbox(world, 1, "resume");
    world_store_all(world);
    assert_int_equal(world_take(world, WORKER2).attempt, 2);
}

static void a_busy_session_rejects_and_names_the_job(void **state)
{
    struct world *world = *state;
    struct ab_failure failure;
    struct ab_job job = world_running(world, 1, "session=s");
    world_submit(world, CLIENT, 2, "ann", "session=s busy=reject");
    world_store_all(world);
    assert_non_null(world_find(world, CLIENT, AB_ERROR, &failure));
    assert_true(ab_view_is(failure.code, "conflict") && ab_id_eq(failure.job, world_id(1)) && failure.rid == 2);
    assert_false(failure.retryable);
    assert_int_equal(world->jobs_n, 1);
    world_events(world, WORKER, &job, 2, "succeeded", NULL, false);
    world_store_all(world);
    world_submit(world, CLIENT, 2, "ann", "session=s busy=reject"); /* idle now */
    world_submit(world, CLIENT, 3, "ann", "session=s busy=reject"); /* while that one is being stored */
    world_store_all(world);
    assert_true(ab_id_eq(accepted_next(world).job, world_id(2)));
    assert_non_null(world_find(world, CLIENT, AB_ERROR, &failure));
    assert_true(ab_id_eq(failure.job, world_id(2)) && failure.rid == 3);
    world_submit(world, CLIENT, 2, "ann", "session=s busy=reject"); /* sent again: it was taken */
    world_store_all(world);
    assert_true(ab_id_eq(accepted_next(world).job, world_id(2)));
}

static void a_late_answer_is_rejected_if_that_is_wished(void **state)
{
    struct world *world = *state;
    struct ab_failure failure;
    struct ab_job job = world_running(world, 1, "session=s");
    world_events(world, WORKER, &job, 2, NULL, "person", false);
    world_store_all(world);
    world_forget_sent(world);
    world_submit(world, CLIENT, 2, "ann", "session=s");
    world_submit(world, CLIENT, 3, "ann", "session=s busy=reject"); /* an answer too, when it is decided */
    world_store_all(world);
    assert_true(ab_id_eq(accepted_next(world).job, world_id(1)));
    world->sent_at = 0;
    assert_non_null(world_find(world, CLIENT, AB_ERROR, &failure));
    assert_true(failure.rid == 3 && ab_view_is(failure.code, "conflict") && ab_id_eq(failure.job, world_id(1)));
    assert_int_equal(world->jobs_n, 1);
}

static void what_was_taken_is_not_rejected_when_the_session_is_busy_again(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, "session=s busy=reject");
    world_events(world, WORKER, &job, 2, "succeeded", NULL, false);
    world_store_all(world);
    world_running(world, 2, "session=s");
    world_forget_sent(world);
    world_submit(world, CLIENT, 1, "ann", "session=s busy=reject");
    world_store_all(world);
    struct ab_accepted accepted = accepted_next(world);
    assert_true(ab_id_eq(accepted.job, world_id(1)) && ab_view_is(accepted.state, "succeeded"));
}

static void an_interruption_cancels_what_runs_and_comes_next(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, "session=s");
    world_submit(world, CLIENT, 2, "ann", "session=s busy=interrupt");
    world_store_all(world);
    world_assert_notice(world, WORKER, "cancel");
    world_assert_status(world, 2, "ready", "session");
    world_events(world, WORKER, &job, 2, "cancelled", NULL, false);
    world_store_all(world);
    assert_true(ab_id_eq(world_take(world, WORKER).job, world_id(2)));
    world_submit(world, CLIENT, 2, "ann", "session=s busy=interrupt"); /* sent again: it does not end itself */
    world_store_all(world);
    world_assert_status(world, 2, "running", "");
}

static void an_interruption_reaches_a_job_that_is_being_stored(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 8);
    world_submit(world, CLIENT, 1, "ann", "session=s");
    world_submit(world, CLIENT, 2, "ann", "session=s busy=interrupt");
    world_store_all(world);
    assert_true(world_job(world, 1)->cancel);
    world_restart(world); /* before anybody heeded it */
    world_client(world, CLIENT);
    world_pass(world, 16000, 0);
    world_store_all(world);
    assert_string_equal(world_last_state(world, 1), "cancelled");
    assert_string_equal(world_last_state(world, 2), "");
}

static void an_unknown_policy_is_refused(void **state)
{
    struct world *world = *state;
    world_submit(world, CLIENT, 1, "ann", "busy=later");
    world_assert_error(world, CLIENT, "invalid", "if_busy");
    assert_int_equal(world->ops_n, 0);
}

/* ---- forks ---- */

static void a_fork_is_dispatched_with_its_journal(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    struct ab_accepted accepted;
    world_events(world, WORKER, &job, 2, NULL, NULL, false);
    world_store_all(world);
    struct ab_submit fork = {.rid = 9,
                             .job = world_id(2),
                             .user = ab_view_of("ann"),
                             .fork_of = world_id(1),
                             .fork_seq = 2,
                             .watch = ab_view_of("all")};
    world_say(world, CORE_CLIENTS, CLIENT, AB_SUBMIT, &fork, ab_view("\xc0", 1));
    world_store_unanswered(world, 1); /* the batch is sent twice */
    world_store_all(world);
    assert_non_null(world_find(world, CLIENT, AB_ACCEPTED, &accepted));
    struct ab_job first = world_take(world, WORKER);
    assert_true(ab_id_eq(first.job, world_id(2)) && first.attempt == 1 && first.seq == 4);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 2);
    world_events(world, WORKER, &first, 5, "succeeded", NULL, false);
    world_store_all(world);
    assert_int_equal(world_count(world, CLIENT, AB_EVENT), 5); /* copies, forked, started, end: 1 to 5 */
    assert_string_equal(world_last_state(world, 2), "succeeded");
}

static void what_a_fork_leaves_out_must_be_of_another_job(void **state)
{
    struct world *world = *state;
    struct ab_submit plain = {.rid = 9, .job = world_id(2), .user = ab_view_of("ann")};
    world_say(world, CORE_CLIENTS, CLIENT, AB_SUBMIT, &plain, ab_view("\xc0", 1));
    world_assert_error(world, CLIENT, "invalid", "hash");
    uint8_t hash[AB_HASH_BYTES] = {0};
    plain.hash = ab_view(hash, sizeof hash);
    plain.fork_seq = 3;
    world_say(world, CORE_CLIENTS, CLIENT, AB_SUBMIT, &plain, ab_view("\xc0", 1));
    world_assert_error(world, CLIENT, "invalid", "fork_of");
    assert_int_equal(world->ops_n, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    ab_log_init("test", AB_ERROR_LEVEL, false);
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_the_answer_a_job_waits_for),
        TEST(of_two_answers_one_is_a_job_of_its_own),
        cmocka_unit_test(what_is_no_answer),
        TEST(a_timer_is_not_answered),
        TEST(a_paused_question_is_answered_too),
        TEST(a_busy_session_rejects_and_names_the_job),
        TEST(a_late_answer_is_rejected_if_that_is_wished),
        TEST(what_was_taken_is_not_rejected_when_the_session_is_busy_again),
        TEST(an_interruption_cancels_what_runs_and_comes_next),
        TEST(an_interruption_reaches_a_job_that_is_being_stored),
        TEST(an_unknown_policy_is_refused),
        TEST(a_fork_is_dispatched_with_its_journal),
        TEST(what_a_fork_leaves_out_must_be_of_another_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
