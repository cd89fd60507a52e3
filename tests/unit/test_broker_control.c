/* The broker's core: words to a job. Cancel, pause, resume, input, in any order, whatever the job is doing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/log.h"
#include "tests/unit/broker_world.h"

static uint32_t in_state(const struct world *world, enum job_state state)
{
    return world->core->jobs.states[state];
}

/* ---- questions with an end ---- */

static void a_question_whose_time_is_over_runs_again(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    world->wake_at_ms = (uint64_t)world->wall_ms + 5000;
    world_events(world, WORKER, &job, 2, NULL, "person", false);
    world_store_all(world);
    for (int restarted = 0; restarted < 2; restarted++) {
        world_assert_status(world, 1, "waiting", "person, until");
        assert_int_equal(world_status(world, 1).wake_at_ms, world->wake_at_ms);
        world_restart(world);
        world_client(world, CLIENT);
    }
    world_forget_sent(world);
    world_worker(world, WORKER, "w", 8);
    world_pass(world, 4500, WORKER);
    world_store_all(world);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 0);
    world_pass(world, 1000, WORKER);
    world_store_all(world);
    assert_int_equal(world_take(world, WORKER).attempt, 2);
}

static void a_question_may_end_while_it_is_paused(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    world->wake_at_ms = (uint64_t)world->wall_ms + 2000;
    world_events(world, WORKER, &job, 2, NULL, "person", false);
    world_inbox(world, 1, "pause");
    world_store_all(world);
    world_pass(world, 4000, WORKER);
    world_store_all(world);
    world_assert_status(world, 1, "paused", "paused");
    world_inbox(world, 1, "resume");
    world_store_all(world);
    assert_int_equal(world_take(world, WORKER).attempt, 2);
}

/* ---- cancel, input ---- */

static void cancel_before_it_runs(void **state)
{
    struct world *world = *state;
    world_submit(world, CLIENT, 1, "ann", "watch=all");
    world_store_all(world);
    world_inbox(world, 1, "cancel");
    world_store(world, 1);
    assert_int_equal(world_count(world, CLIENT, AB_RECEIPT), 1);
    world_store_all(world);
    assert_string_equal(world_last_state(world, 1), "cancelled");
    assert_int_equal(world_count(world, CLIENT, AB_EVENT), 1);
    world_inbox(world, 1, "cancel");
    world_store_all(world);
    world_assert_error(world, CLIENT, "already_ended", NULL);
}

static void cancel_while_it_runs_and_the_worker_obeys(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    struct ab_notice notice;
    world_inbox(world, 1, "cancel");
    world_store_all(world);
    assert_non_null(world_find(world, WORKER, AB_NOTICE, &notice));
    assert_true(ab_view_is(notice.kind, "cancel") && notice.k == 1 && notice.token == job.token);
    world_events(world, WORKER, &job, 2, "cancelled", NULL, false);
    world_store_all(world);
    assert_string_equal(world_last_state(world, 1), "cancelled");
    world_pass(world, 6000, WORKER);
    assert_int_equal(world_job(world, 1)->ends, 1);
}

static void cancel_while_it_runs_and_the_worker_does_not(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    world_inbox(world, 1, "cancel");
    world_store_all(world);
    world_pass(world, 4500, WORKER);
    assert_string_equal(world_last_state(world, 1), "");
    world_events(world, WORKER, &job, 2, NULL, NULL, false); /* in flight when the grace is over */
    world_pass(world, 1000, WORKER);
    assert_non_null(world_find(world, WORKER, AB_STALE, NULL));
    world_store_all(world);
    assert_string_equal(world_last_state(world, 1), "cancelled");
    assert_int_equal(world_job(world, 1)->events_n, 3);
}

static void a_waiting_job_holds_no_slot_and_wakes_on_input(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 1);
    struct ab_job job = world_running(world, 1, NULL);
    world_events(world, WORKER, &job, 2, NULL, "person", false);
    world_submit(world, CLIENT, 2, "ann", NULL);
    world_store_all(world);
    struct ab_job other = world_take(world, WORKER);
    assert_true(ab_id_eq(other.job, world_id(2)));
    world_inbox(world, 1, "input");
    world_store_all(world);
    assert_int_equal(world->core->jobs.states[JOB_READY], 1);
    world_events(world, WORKER, &other, 2, "succeeded", NULL, false);
    world_store_all(world);
    struct ab_job again = world_take(world, WORKER);
    assert_true(ab_id_eq(again.job, world_id(1)) && again.attempt == 2 && again.seq == 3);
}

static void a_wait_is_refused_when_the_inbox_has_more(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    world_inbox(world, 1, "input");
    world_events(world, WORKER, &job, 2, NULL, "person", false);
    world_store_all(world);
    assert_non_null(world_find(world, WORKER, AB_CONFLICT, NULL));
    assert_int_equal(world->core->jobs.states[JOB_RUNNING], 1);
    world_events(world, WORKER, &job, 2, "succeeded", NULL, false);
    world_store_all(world);
    assert_string_equal(world_last_state(world, 1), "succeeded");
}

/* ---- pause, resume ---- */

static void a_ready_job_is_paused_at_once_and_goes_on(void **state)
{
    struct world *world = *state;
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    world_inbox(world, 1, "pause");
    world_store_all(world);
    assert_int_equal(world_count(world, CLIENT, AB_RECEIPT), 1);
    world_assert_status(world, 1, "paused", "paused");
    world_worker(world, WORKER, "w", 1);
    world_store_all(world);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 0);
    world_inbox(world, 1, "resume");
    world_store_all(world);
    assert_int_equal(world_take(world, WORKER).attempt, 1);
    assert_int_equal(world_count(world, WORKER, AB_NOTICE), 0); /* what was is over */
}

static void a_running_job_is_paused_when_its_worker_lets_go(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 1);
    struct ab_job job = world_running(world, 1, NULL);
    world_submit(world, CLIENT, 2, "ann", NULL);
    world_inbox(world, 1, "pause");
    world_store_all(world);
    world_assert_notice(world, WORKER, "pause");
    world_assert_status(world, 1, "pausing", "");
    world_events(world, WORKER, &job, 2, NULL, NULL, false); /* the call under way */
    world_store_all(world);
    world_assert_status(world, 1, "pausing", "");
    world_pauses(world, WORKER, &job, 3);
    world_store_all(world);
    struct ab_job other = world_take(world, WORKER); /* the slot is free */
    world_assert_status(world, 1, "paused", "paused");
    assert_true(ab_id_eq(other.job, world_id(2)));
    world_inbox(world, 1, "resume");
    world_events(world, WORKER, &other, 2, "succeeded", NULL, false);
    world_store_all(world);
    job = world_take(world, WORKER);
    assert_int_equal(job.attempt, 2);
    assert_int_equal(job.seq, 4);
    assert_int_equal(jobs_by_n(&world->core->jobs, 1)->failures, 0);
}

static void resumed_before_its_worker_let_go(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    world_inbox(world, 1, "pause");
    world_inbox(world, 1, "resume");
    world_store_all(world);
    world_assert_notice(world, WORKER, "pause");
    world_assert_notice(world, WORKER, "resume");
    world_assert_status(world, 1, "running", "");
    world_pauses(world, WORKER, &job, 2); /* it was too late: it runs again at once */
    world_store_all(world);
    assert_int_equal(world_take(world, WORKER).attempt, 2);
}

static void a_waiting_job_is_paused_and_returns_to_its_question(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    world_events(world, WORKER, &job, 2, NULL, "person", false);
    world_inbox(world, 1, "pause");
    world_store_all(world);
    world_assert_status(world, 1, "paused", "paused: on request; it also waits");
    world_inbox(world, 1, "resume");
    world_store_all(world);
    world_assert_status(world, 1, "waiting", "person");
    assert_int_equal(world_count(world, WORKER, AB_JOB), 1);
}

static void an_answer_to_a_paused_job_is_taken_when_it_is_resumed(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    world_events(world, WORKER, &job, 2, NULL, "person", false);
    world_inbox(world, 1, "pause");
    world_inbox(world, 1, "input");
    world_store_all(world);
    world_assert_status(world, 1, "paused", "paused");
    assert_int_equal(world_count(world, WORKER, AB_JOB), 1);
    world_inbox(world, 1, "resume");
    world_store_all(world);
    assert_int_equal(world_take(world, WORKER).attempt, 2);
}

static void a_wait_that_ends_a_pausing_attempt_is_kept(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    world_events(world, WORKER, &job, 2, NULL, "person", false); /* on its way before the pause */
    world_store_unanswered(world, 1);
    world_inbox(world, 1, "pause");
    world_store_all(world);
    world_assert_status(world, 1, "paused", "paused: on request; it also waits");
}

static void a_scheduled_job_keeps_its_time(void **state)
{
    struct world *world = *state;
    char more[64];
    snprintf(more, sizeof more, "not_before=%lld", (long long)world->wall_ms + 10000);
    world_worker(world, WORKER, "w", 8);
    world_submit(world, CLIENT, 1, "ann", more);
    world_store_all(world);
    for (int i = 0; i < 2; i++) {
        world_inbox(world, 1, i ? "resume" : "pause");
        world_store_all(world);
        world_assert_status(world, 1, i ? "scheduled" : "paused", i ? "schedule" : "paused");
        world_pass(world, 6000, WORKER);
        world_store_all(world);
    }
    assert_int_equal(world_take(world, WORKER).attempt, 1); /* 12 s later */
}

static void a_paused_job_keeps_its_place_in_its_session(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, "session=s");
    world_submit(world, CLIENT, 2, "ann", "session=s");
    world_submit(world, CLIENT, 3, "ann", "session=s");
    world_inbox(world, 2, "pause");
    world_store_all(world);
    world_events(world, WORKER, &job, 2, "succeeded", NULL, false);
    world_store_all(world);
    world_assert_status(world, 2, "paused", "paused");
    world_assert_status(world, 3, "ready", "session");
    world_inbox(world, 2, "resume");
    world_store_all(world);
    job = world_take(world, WORKER);
    assert_true(ab_id_eq(job.job, world_id(2)));
    world_inbox(world, 3, "pause");
    world_inbox(world, 3, "resume"); /* behind the other all the time */
    world_events(world, WORKER, &job, 2, "succeeded", NULL, false);
    world_store_all(world);
    assert_true(ab_id_eq(world_take(world, WORKER).job, world_id(3)));
}

/* It ran before an earlier job of its session, whose time had not come; after a restart that one is before it. */
static void a_paused_question_behind_an_earlier_job_stays_a_question(void **state)
{
    struct world *world = *state;
    char more[64];
    snprintf(more, sizeof more, "session=s not_before=%lld", (long long)world->wall_ms + 2000);
    world_submit(world, CLIENT, 1, "ann", more);
    struct ab_job job = world_running(world, 2, "session=s");
    world_events(world, WORKER, &job, 2, NULL, "person", false);
    world_inbox(world, 2, "pause");
    world_store_all(world);
    world_pass(world, 4000, WORKER);
    world_restart(world);
    world_client(world, CLIENT);
    world_worker(world, WORKER, "w", 8);
    world_inbox(world, 2, "resume");
    world_store_all(world);
    job = world_take(world, WORKER);
    assert_true(ab_id_eq(job.job, world_id(1)));
    world_events(world, WORKER, &job, 2, "succeeded", NULL, false);
    world_store_all(world);
    world_assert_status(world, 2, "waiting", "person");
}

static void a_deadline_ends_a_paused_job_and_so_does_cancel(void **state)
{
    struct world *world = *state;
    char more[64];
    snprintf(more, sizeof more, "deadline=%lld", (long long)world->wall_ms + 3000);
    world_submit(world, CLIENT, 1, "ann", more);
    world_submit(world, CLIENT, 2, "ann", NULL);
    world_inbox(world, 1, "pause");
    world_inbox(world, 2, "pause");
    world_store_all(world);
    world_pass(world, 4000, 0);
    world_inbox(world, 2, "cancel");
    world_store_all(world);
    assert_string_equal(world_last_state(world, 1), "expired");
    assert_string_equal(world_last_state(world, 2), "cancelled");
    assert_int_equal(in_state(world, JOB_PAUSED), 0);
}

static void a_failed_attempt_of_a_pausing_job_rests_until_it_is_resumed(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    world_inbox(world, 1, "pause");
    world_events(world, WORKER, &job, 2, NULL, NULL, true);
    world_store_all(world);
    world_assert_status(world, 1, "paused", "paused");
    world_pass(world, 5000, WORKER);
    world_store_all(world);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 1);
    world_inbox(world, 1, "resume");
    world_store_all(world);
    assert_int_equal(world_take(world, WORKER).attempt, 2); /* its back-off is over */
}

static void a_pausing_job_whose_worker_dies_is_paused(void **state)
{
    struct world *world = *state;
    world_running(world, 1, NULL);
    world_inbox(world, 1, "pause");
    world_store_all(world);
    core_peer_gone(world->core, WORKER);
    world_tick(world, 0);
    world_worker(world, WORKER2, "w2", 8);
    world_store_all(world);
    world_assert_status(world, 1, "paused", "paused");
    assert_int_equal(world_count(world, WORKER2, AB_JOB), 0);
}

static void a_worker_that_comes_back_is_told_what_was_said_meanwhile(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    const struct ab_lease lease = {.job = job.job, .token = job.token};
    world_inbox(world, 1, "pause");
    world_store_all(world);
    world_forget_sent(world);
    world_worker(world, WORKER2, "w", 8); /* the same worker, on a new connection */
    world_say(world, CORE_WORKERS, WORKER2, AB_ATTACH, &lease, ab_view(NULL, 0));
    world_assert_notice(world, WORKER2, "pause");
    world_inbox(world, 1, "resume");
    world_store_all(world);
    world_worker(world, 12, "w", 8);
    world_say(world, CORE_WORKERS, 12, AB_ATTACH, &lease, ab_view(NULL, 0));
    world_assert_notice(world, 12, "resume");
}

static void a_job_resumed_with_an_open_pause_row_is_not_told_of_it(void **state)
{
    struct world *world = *state;
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_inbox(world, 1, "pause");
    world_inbox(world, 1, "resume");
    world_inbox(world, 1, "pause");
    world_inbox(world, 1, "resume");
    world_store_all(world);
    world_worker(world, WORKER, "w", 1);
    world_store_all(world);
    assert_int_equal(world_take(world, WORKER).attempt, 1);
    assert_int_equal(world_count(world, WORKER, AB_NOTICE), 0);
}

/* Every pair of words, said to a job in each of four situations: where it stands then. The same word twice is as once. */
static void words_in_any_order(void **state)
{
    enum { READY, RUNNING, WAITING, PAUSED, SITUATIONS };
    static const char *const kinds[] = {"pause", "resume", "cancel"};
    /* [first][second]; a running job's worker obeys at once */
    static const char *const expected[SITUATIONS][3][3] = {
        [READY] = {{"paused", "running", "cancelled"},
                   {"paused", "running", "cancelled"},
                   {"cancelled", "cancelled", "cancelled"}},
        [RUNNING] = {{"paused", "running", "cancelled"},
                     {"paused", "running", "cancelled"},
                     {"cancelled", "cancelled", "cancelled"}},
        [WAITING] = {{"paused", "waiting", "cancelled"},
                     {"paused", "waiting", "cancelled"},
                     {"cancelled", "cancelled", "cancelled"}},
        [PAUSED] = {{"paused", "running", "cancelled"},
                    {"paused", "running", "cancelled"},
                    {"cancelled", "cancelled", "cancelled"}},
    };
    (void)state;
    for (int at = 0; at < SITUATIONS; at++)
        for (int i = 0; i < 9; i++) {
            struct world *world;
            world_setup((void **)&world);
            if (at == RUNNING || at == WAITING) {
                struct ab_job job = world_running(world, 1, NULL);
                if (at == WAITING)
                    world_events(world, WORKER, &job, 2, NULL, "person", false);
            } else {
                world_submit(world, CLIENT, 1, "ann", NULL);
            }
            if (at == PAUSED)
                world_inbox(world, 1, "pause");
            world_store_all(world);
            for (int word = 0; word < 2; word++) {
                world_inbox(world, 1, kinds[word ? i % 3 : i / 3]);
                world_store_all(world);
                struct job *held = jobs_by_n(&world->core->jobs, 1);
                if (!held || held->state != JOB_RUNNING)
                    continue;
                const struct ab_job job = {.job = held->id, .token = held->token, .attempt = held->attempt};
                if (held->cancel)
                    world_events(world, WORKER, &job, held->seq + 1, "cancelled", NULL, false);
                else if (held->pause)
                    world_pauses(world, WORKER, &job, held->seq + 1);
                world_store_all(world);
            }
            if (at == READY || at == PAUSED)
                world_worker(world, WORKER, "w", 8);
            world_store_all(world);
            struct ab_view is = ab_view_of(world_last_state(world, 1));
            if (!is.n)
                is = world_status(world, 1).state;
            if (!ab_view_is(is, expected[at][i / 3][i % 3]))
                fail_msg("situation %d, %s then %s: %.*s, not %s", at, kinds[i / 3], kinds[i % 3],
                         AB_VIEW_FMT(is), expected[at][i / 3][i % 3]);
            world_teardown((void **)&world);
        }
}

static void pauses_survive_a_restart(void **state)
{
    struct world *world = *state;
    struct ab_job run = world_running(world, 1, NULL), waits = world_running(world, 2, NULL),
                  rested = world_running(world, 3, "session=s");
    world_events(world, WORKER, &waits, 2, NULL, "person", false);
    world_submit(world, CLIENT, 4, "ann", "session=s");
    world_submit(world, CLIENT, 5, "ann", NULL);
    for (unsigned number = 1; number <= 5; number++)
        world_inbox(world, number, "pause");
    world_store_all(world);
    world_pauses(world, WORKER, &rested, 2);
    world_store_all(world);
    world_forget_sent(world);
    world_restart(world);
    assert_int_equal(in_state(world, JOB_PAUSED), 4); /* all but the running one */
    world_client(world, CLIENT);
    world_worker(world, WORKER, "w", 8);
    world_store_all(world);
    world_assert_status(world, 1, "pausing", ""); /* its worker may come back */
    world_say(world, CORE_WORKERS, WORKER, AB_ATTACH, &(struct ab_lease){.job = run.job, .token = run.token},
              ab_view(NULL, 0));
    world_assert_notice(world, WORKER, "pause");
    world_pauses(world, WORKER, &run, world_job(world, 1)->events_n + 1);
    world_pass(world, 11000, WORKER);
    world_store_all(world);
    assert_int_equal(in_state(world, JOB_PAUSED), 5);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 0);
    world_inbox(world, 4, "resume");
    world_inbox(world, 2, "resume");
    world_store_all(world);
    world_assert_status(world, 2, "waiting", "person");
    world_assert_status(world, 4, "ready", "session"); /* the older one still has it */
    world_inbox(world, 3, "resume");
    world_store_all(world);
    assert_true(ab_id_eq(world_take(world, WORKER).job, world_id(3)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    ab_log_init("test", AB_ERROR_LEVEL, false);
    const struct CMUnitTest tests[] = {
        TEST(a_question_whose_time_is_over_runs_again),
        TEST(a_question_may_end_while_it_is_paused),
        TEST(cancel_before_it_runs),
        TEST(cancel_while_it_runs_and_the_worker_obeys),
        TEST(cancel_while_it_runs_and_the_worker_does_not),
        TEST(a_waiting_job_holds_no_slot_and_wakes_on_input),
        TEST(a_wait_is_refused_when_the_inbox_has_more),
        TEST(a_ready_job_is_paused_at_once_and_goes_on),
        TEST(a_paused_question_behind_an_earlier_job_stays_a_question),
        TEST(a_running_job_is_paused_when_its_worker_lets_go),
        TEST(resumed_before_its_worker_let_go),
        TEST(a_waiting_job_is_paused_and_returns_to_its_question),
        TEST(an_answer_to_a_paused_job_is_taken_when_it_is_resumed),
        TEST(a_wait_that_ends_a_pausing_attempt_is_kept),
        TEST(a_scheduled_job_keeps_its_time),
        TEST(a_paused_job_keeps_its_place_in_its_session),
        TEST(a_deadline_ends_a_paused_job_and_so_does_cancel),
        TEST(a_failed_attempt_of_a_pausing_job_rests_until_it_is_resumed),
        TEST(a_pausing_job_whose_worker_dies_is_paused),
        TEST(a_worker_that_comes_back_is_told_what_was_said_meanwhile),
        TEST(a_job_resumed_with_an_open_pause_row_is_not_told_of_it),
        cmocka_unit_test(words_in_any_order),
        TEST(pauses_survive_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
