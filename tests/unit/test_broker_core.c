/* The broker's core, rule by rule, without sockets: what it sends and stores in answer to what comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/log.h"
#include "tests/unit/broker_world.h"

/* ---- taking jobs ---- */

static void accepted_only_after_the_commit(void **state)
{
    struct world *world = *state;
    struct ab_accepted accepted;
    world_submit(world, CLIENT, 5, "ann", NULL);
    world_tick(world, 1);
    assert_int_equal(world_count(world, CLIENT, AB_ACCEPTED), 0);
    world_store(world, 1);
    assert_non_null(world_find(world, CLIENT, AB_ACCEPTED, &accepted));
    assert_int_equal(accepted.rid, 5);
    assert_int_equal(accepted.n, 1);
    assert_true(accepted.created);
}

static void same_submit_gives_the_same_answer_and_one_job(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 8);
    for (int i = 0; i < 3; i++)
        world_submit(world, CLIENT, 5, "ann", NULL);
    world_store_all(world);
    assert_int_equal(world_count(world, CLIENT, AB_ACCEPTED), 3);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 1);
    world_submit(world, CLIENT, 5, "ann", "priority=3");
    world_store_all(world);
    world_assert_error(world, CLIENT, "conflict", NULL);
}

/* The first answer was lost, the batch is sent again: `created` is false, yet nobody has queued the job. */
static void a_resent_submit_is_queued(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 8);
    world_submit(world, CLIENT, 5, "ann", NULL);
    world_store_unanswered(world, 1);
    world_store_all(world);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 1);
}

static void nothing_is_taken_before_the_open_jobs_are_known(void **state)
{
    struct world cold;
    (void)state;
    world_init(&cold);
    world_client(&cold, CLIENT);
    world_worker(&cold, WORKER, "w", 1);
    world_submit(&cold, CLIENT, 1, "ann", NULL);
    struct ab_failure failure;
    assert_non_null(world_find(&cold, CLIENT, AB_ERROR, &failure));
    assert_true(ab_view_is(failure.code, "unavailable"));
    assert_int_equal(failure.retry_after_ms, 200);
    assert_true(failure.retryable);
    assert_int_equal(world_count(&cold, WORKER, AB_WELCOME), 0);
    world_start(&cold);
    assert_int_equal(world_count(&cold, WORKER, AB_WELCOME), 1);
    world_finish(&cold);
}

static void admission_is_bounded_before_anything_is_stored(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    core_destroy(world.core);
    world.core = NULL;
    world.config.queue_jobs_max = 3;
    world.config.tenant_jobs_max = 2;
    world_restart(&world);
    world_client(&world, CLIENT);
    for (unsigned i = 1; i <= 2; i++)
        world_submit(&world, CLIENT, i, "ann", NULL);
    world_store_all(&world);
    world_submit(&world, CLIENT, 3, "ann", NULL);
    world_assert_error(&world, CLIENT, "busy", NULL);
    world_submit(&world, CLIENT, 4, "bob", NULL);
    world_submit(&world, CLIENT, 5, "eve", NULL); /* the fourth, while the third is being stored */
    world_assert_error(&world, CLIENT, "busy", NULL);
    assert_int_equal(world.ops_n, 1);
    world.full = true;
    world_submit(&world, CLIENT, 6, "eve", NULL);
    world_assert_error(&world, CLIENT, "unavailable", NULL);
    world_finish(&world);
}

static void refusals_of_storage_reach_the_client(void **state)
{
    struct world *world = *state;
    world_submit(world, CLIENT, 5, "ann", NULL);
    world_refuse(world, AB_EUNKNOWN_WORKFLOW);
    world_assert_error(world, CLIENT, "unknown_workflow", NULL);
    world_submit(world, CLIENT, 5, "ann", NULL);
    world_refuse(world, AB_EUNAVAILABLE);
    world_assert_error(world, CLIENT, "unavailable", NULL);
    world_submit(world, CLIENT, 5, "ann", NULL);
    world_store_all(world);
    assert_int_equal(world_count(world, CLIENT, AB_ACCEPTED), 1);
}

/* ---- dispatch ---- */

static void a_job_runs_to_its_end(void **state)
{
    struct world *world = *state;
    struct ab_lease lease;
    world_worker(world, WORKER, "w", 1);
    world_submit(world, CLIENT, 5, "ann", "watch=all");
    world_store(world, 1);
    world_tick(world, 0);
    struct ab_job job = world_take(world, WORKER); /* started is not on disk yet */
    assert_int_equal(job.attempt, 1);
    assert_int_equal(job.seq, 1);
    assert_int_equal(job.token, 1ull << 40 | 1);
    world_events(world, WORKER, &job, 2, NULL, NULL, false);
    world_store(world, 1);
    assert_int_equal(world_count(world, WORKER, AB_COMMITTED), 0);
    world_store(world, 1);
    assert_non_null(world_find(world, WORKER, AB_COMMITTED, &lease));
    assert_int_equal(lease.seq, 2);
    world_events(world, WORKER, &job, 3, "succeeded", NULL, false);
    world_store_all(world);
    assert_string_equal(world_last_state(world, 5), "succeeded");
    assert_int_equal(world_count(world, CLIENT, AB_EVENT), 3);
    assert_int_equal(world->core->jobs.by_n.n, 0);
    assert_int_equal(world->core->queue.tenants.map.n + world->core->queue.flows.map.n, 0);
}

static void never_more_than_the_credit(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 4);
    world_say(world, CORE_WORKERS, WORKER, AB_CREDIT, &(struct ab_credit){.credit = 2}, ab_view(NULL, 0));
    for (unsigned i = 1; i <= 10; i++)
        world_submit(world, CLIENT, i, "ann", NULL);
    world_store_all(world);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 2);
    struct ab_job job = world_take(world, WORKER);
    world_events(world, WORKER, &job, 2, "succeeded", NULL, false);
    world_store_all(world);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 3);
    world_say(world, CORE_WORKERS, WORKER, AB_CREDIT, &(struct ab_credit){.credit = 0}, ab_view(NULL, 0));
    job = world_take(world, WORKER);
    world_events(world, WORKER, &job, 2, "succeeded", NULL, false);
    world_store_all(world);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 3);
}

static void jobs_spread_over_the_workers(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w1", 8);
    world_worker(world, WORKER2, "w2", 8);
    for (unsigned i = 1; i <= 8; i++)
        world_submit(world, CLIENT, i, "ann", NULL);
    world_store_all(world);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 4);
    assert_int_equal(world_count(world, WORKER2, AB_JOB), 4);
}

static void tenants_share_fairly(void **state)
{
    struct world *world = *state;
    enum { SLOTS = 4 };
    unsigned a_started = 0, b_ended = 0, b_started = 0;
    bool counting = false;
    for (unsigned i = 1; i <= 1000; i++)
        world_submit(world, CLIENT, i, "ann", NULL);
    world_store_all(world);
    world_worker(world, WORKER, "w", SLOTS);
    struct ab_job jobs[SLOTS];
    world_tick(world, 0);
    for (int i = 0; i < SLOTS; i++)
        jobs[i] = world_take(world, WORKER);
    for (unsigned i = 0; i < 10; i++)
        world_submit(world, OTHER, 2000 + i, "bob", NULL);
    world_store_all(world);
    for (int round = 0; b_ended < 10; round++) {
        struct ab_job *job = &jobs[round % SLOTS];
        counting = true;
        b_ended += ab_view_is(job->user, "bob");
        world_events(world, WORKER, job, 2, "succeeded", NULL, false);
        world_store_all(world);
        *job = world_take(world, WORKER);
        a_started += ab_view_is(job->user, "ann");
        b_started += ab_view_is(job->user, "bob");
        assert_true(round < 100);
    }
    assert_true(counting && b_started == 10);
    assert_true(a_started < 30);
}

static void priority_then_commit_order_within_a_tenant(void **state)
{
    struct world *world = *state;
    static const unsigned order[] = {3, 1, 2};
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_submit(world, CLIENT, 2, "ann", NULL);
    world_submit(world, CLIENT, 3, "ann", "priority=5");
    world_store_all(world);
    world_worker(world, WORKER, "w", 3);
    world_tick(world, 0);
    for (int i = 0; i < 3; i++) {
        struct ab_job job = world_take(world, WORKER);
        assert_true(ab_id_eq(job.job, world_id(order[i])));
    }
}

static void one_job_of_a_session_at_a_time_in_commit_order(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 8);
    world_submit(world, CLIENT, 1, "ann", "session=s");
    world_submit(world, CLIENT, 2, "ann", "session=s");
    world_submit(world, CLIENT, 3, "ann", "session=s priority=9");
    world_submit(world, CLIENT, 4, "ann", "session=t");
    world_store_all(world);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 2);
    struct ab_job first = world_take(world, WORKER);
    if (ab_id_eq(first.job, world_id(4)))
        first = world_take(world, WORKER);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(ab_id_eq(first.job, world_id(i)));
        world_forget_sent(world);
        first.user = ab_view(NULL, 0);
        world_events(world, WORKER, &first, 2, "succeeded", NULL, false);
        world_store_all(world);
        if (i < 3)
            first = world_take(world, WORKER);
    }
    assert_int_equal(world->core->queue.sessions.map.n, 1);
}

static void limits_of_tenant_key_and_pool(void **state)
{
    const struct core_limit limits[] = {
        {LIMIT_TENANT, {NULL, 0}, 2},
        {LIMIT_TENANT, {"bob", 3}, 3},
        {LIMIT_KEY, {"crm", 3}, 1},
        {LIMIT_POOL, {"default", 7}, 6},
    };
    struct world world;
    (void)state;
    world_init(&world);
    core_destroy(world.core);
    world.core = NULL;
    world.config.limits = limits;
    world.config.limits_n = sizeof limits / sizeof *limits;
    world_restart(&world);
    world_client(&world, CLIENT);
    world_worker(&world, WORKER, "w", 50);
    for (unsigned i = 1; i <= 5; i++)
        world_submit(&world, CLIENT, i, "ann", NULL);
    world_store_all(&world);
    assert_int_equal(world_count(&world, WORKER, AB_JOB), 2);
    for (unsigned i = 11; i <= 15; i++)
        world_submit(&world, CLIENT, i, "bob", "key=crm");
    world_store_all(&world);
    assert_int_equal(world_count(&world, WORKER, AB_JOB), 3); /* one of the key */
    for (unsigned i = 21; i <= 25; i++)
        world_submit(&world, CLIENT, i, "bob", NULL);
    world_store_all(&world);
    assert_int_equal(world_count(&world, WORKER, AB_JOB), 5);
    for (unsigned i = 31; i <= 35; i++)
        world_submit(&world, CLIENT, i, "eve", NULL);
    world_store_all(&world);
    assert_int_equal(world_count(&world, WORKER, AB_JOB), 6);
    for (int ended = 0; ended < 20; ended++) {
        struct ab_job job = world_take(&world, WORKER);
        world_events(&world, WORKER, &job, 2, "succeeded", NULL, false);
        world_store_all(&world);
    }
    assert_int_equal(world.core->ended, 20);
    world_finish(&world);
}

static void a_scheduled_job_waits_for_its_time(void **state)
{
    struct world *world = *state;
    char more[64];
    world_worker(world, WORKER, "w", 1);
    snprintf(more, sizeof more, "not_before=%lld", (long long)world->wall_ms + 5000);
    world_submit(world, CLIENT, 1, "ann", more);
    world_store_all(world);
    world_tick(world, 900);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 0);
    assert_int_equal(world->core->jobs.states[JOB_SCHEDULED], 1);
    for (int i = 0; i < 5; i++)
        world_tick(world, 900);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 1);
}

/* ---- failures ---- */

static void failed_attempts_back_off_and_end(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    int64_t waited = 0;
    for (unsigned attempt = 1; attempt <= 5; attempt++) {
        assert_int_equal(job.attempt, attempt);
        world_events(world, WORKER, &job, job.seq + 1, NULL, NULL, true);
        world_store_all(world);
        if (attempt == 5)
            break;
        assert_int_equal(world->core->jobs.states[JOB_SCHEDULED], 1);
        int64_t wait = (int64_t)world_job(world, 1)->wake_at_ms - world->wall_ms;
        assert_in_range(wait, 500 << (attempt - 1), 1000 << (attempt - 1));
        waited += wait;
        world_pass(world, wait + 500, WORKER);
        world_store_all(world);
        job = world_take(world, WORKER);
    }
    assert_true(waited > 0);
    assert_string_equal(world_last_state(world, 1), "failed");
    struct ab_end end;
    struct ab_error err;
    struct world_job *row = world_job(world, 1);
    assert_int_equal(ab_decode(&ab_end_schema, ab_buf_view(&row->events[row->events_n - 1].bytes), &end, &err),
                     0);
    assert_true(ab_view_is(end.code, "model") && ab_view_is(end.text, "boom"));
}

static void a_deadline_ends_what_runs_and_what_waits(void **state)
{
    struct world *world = *state;
    char more[64];
    snprintf(more, sizeof more, "deadline=%lld", (long long)world->wall_ms + 1500);
    struct ab_job job = world_running(world, 1, more);
    world_submit(world, CLIENT, 2, "ann", "pool=nobody deadline=1700000001500");
    world_store_all(world);
    world_pass(world, 2000, WORKER);
    struct ab_notice notice;
    assert_non_null(world_find(world, WORKER, AB_NOTICE, &notice));
    assert_true(ab_view_is(notice.kind, "cancel"));
    world_events(world, WORKER, &job, 2, "succeeded", NULL, false);
    world_store_all(world);
    assert_string_equal(world_last_state(world, 1), "expired");
    assert_string_equal(world_last_state(world, 2), "expired");
}

/* ---- storage trouble ---- */

static void appends_refused_as_unavailable_are_tried_again_in_order(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 1);
    world_submit(world, CLIENT, 1, "ann", "watch=all");
    world_store(world, 1);
    world_tick(world, 0);
    struct ab_job job = world_take(world, WORKER);
    world_events(world, WORKER, &job, 2, NULL, NULL, false);
    world_refuse(world, AB_EUNAVAILABLE); /* started */
    world_store(world, 1);                /* the event: a gap now */
    world_events(world, WORKER, &job, 3, "succeeded", NULL, false);
    assert_int_equal(world->ops_n, 0);
    world_pass(world, 1000, WORKER);
    world_store_all(world);
    assert_string_equal(world_last_state(world, 1), "succeeded");
    world->sent_at = 0;
    world_assert_events(world, CLIENT, 1, 3);
}

static void an_end_whose_answer_comes_after_the_crash_counts(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    world_worker(world, WORKER2, "w2", 1);
    world_events(world, WORKER, &job, 2, "succeeded", NULL, false);
    core_peer_gone(world->core, WORKER);
    world_tick(world, 1);
    world_store_all(world);
    assert_string_equal(world_last_state(world, 1), "succeeded");
    assert_int_equal(world_count(world, WORKER2, AB_JOB), 0);
    assert_int_equal(world->core->jobs.by_n.n, 0);
}

static void a_refused_start_for_a_newer_token_supersedes_the_broker(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 1);
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store(world, 1);
    world_tick(world, 0);
    world_refuse(world, AB_ESTALE);
    assert_true(core_superseded(world->core));
}

/* ---- restart ---- */

static void a_restart_rebuilds_everything(void **state)
{
    struct world *world = *state;
    struct ab_job run = world_running(world, 1, "session=s"), parked = world_running(world, 2, NULL);
    struct ab_lease lease;
    world_events(world, WORKER, &run, 2, NULL, NULL, false);
    world_events(world, WORKER, &parked, 2, NULL, "person", false);
    world_submit(world, CLIENT, 3, "ann", "session=s");
    world_submit(world, CLIENT, 4, "ann", "pool=other");
    world_submit(world, CLIENT, 5, "ann", NULL);
    world_store_all(world);
    world_forget_sent(world);
    world_restart(world);
    assert_int_equal(core_epoch(world->core), 2);
    assert_int_equal(world->core->jobs.by_n.n, 5);
    assert_int_equal(world->core->jobs.states[JOB_ORPHAN], 2); /* 1 and 5 */
    assert_int_equal(world->core->jobs.states[JOB_WAITING], 1);
    world_worker(world, 30, "w", 8);
    world_say(world, CORE_WORKERS, 30, AB_ATTACH, &(struct ab_lease){.job = run.job, .token = run.token},
              ab_view(NULL, 0));
    assert_non_null(world_find(world, 30, AB_COMMITTED, &lease));
    assert_int_equal(lease.seq, 2);
    world_store_all(world);
    assert_int_equal(world_count(world, 30, AB_JOB), 0); /* 3 waits for its session, 4 for another pool */
    world_events(world, 30, &run, 3, "succeeded", NULL, false);
    world_store_all(world);
    struct ab_job next = world_take(world, 30);
    assert_true(ab_id_eq(next.job, world_id(3)));
    world_events(world, 30, &next, next.seq + 1, "succeeded", NULL, false);
    world_store_all(world);
    world_pass(world, 11000, 30); /* nobody attached 5: no blame, a new attempt */
    world_store_all(world);
    next = world_take(world, 30);
    assert_true(ab_id_eq(next.job, world_id(5)) && next.attempt == 2);
    assert_int_equal(jobs_by_n(&world->core->jobs, 5)->crashes, 0);
    assert_true(next.token >> 40 == 2);
}

/* ---- bad input ---- */

static void bad_messages_are_answered_and_hurt_nobody(void **state)
{
    struct world *world = *state;
    const struct ab_ping ping = {.rid = 3};
    struct ab_failure failure;
    world_say(world, CORE_CLIENTS, 50, AB_PING, &ping, ab_view(NULL, 0));
    world_assert_error(world, 50, "denied", NULL);
    core_message(world->core, CORE_CLIENTS, CLIENT, 1, 200, ab_view("\x80", 1), ab_view(NULL, 0));
    world_assert_error(world, CLIENT, "invalid", NULL);
    core_message(world->core, CORE_CLIENTS, CLIENT, 9, AB_PING, ab_view("\x80", 1), ab_view(NULL, 0));
    world_assert_error(world, CLIENT, "version", NULL);
    core_message(world->core, CORE_CLIENTS, CLIENT, 1, AB_SUBMIT, ab_view("\xc1\xff", 2), ab_view(NULL, 0));
    world_assert_error(world, CLIENT, "invalid", NULL);
    core_message(world->core, CORE_CLIENTS, CLIENT, 1, AB_SUBMIT,
                 ab_view("\x81\xa3"
                         "rid\x07",
                         6),
                 ab_view(NULL, 0));
    assert_non_null(world_find(world, CLIENT, AB_ERROR, &failure));
    assert_int_equal(failure.rid, 7);
    world_say(world, CORE_CLIENTS, CLIENT, AB_CREDIT, &(struct ab_credit){.credit = 1}, ab_view(NULL, 0));
    world_assert_error(world, CLIENT, "denied", NULL);
    static char big[9 << 20];
    core_message(world->core, CORE_CLIENTS, CLIENT, 1, AB_PING, ab_view("\x80", 1), ab_view(big, sizeof big));
    world_assert_error(world, CLIENT, "too_large", NULL);
    struct ab_error err = {0};
    ab_fail(&err, AB_EINVALID, "garbage");
    core_garbage(world->core, CORE_CLIENTS, 51, &err);
    world_assert_error(world, 51, "invalid", NULL);
    const struct ab_hello hello = {.role = ab_view_of("worker"), .vmin = 1, .vmax = 1};
    world_say(world, CORE_CLIENTS, 52, AB_HELLO, &hello, ab_view(NULL, 0));
    assert_non_null(world_find(world, 52, AB_REJECT, &failure));
    const struct ab_hello future = {.role = ab_view_of("client"), .vmin = 2, .vmax = 3};
    world_say(world, CORE_CLIENTS, 53, AB_HELLO, &future, ab_view(NULL, 0));
    assert_non_null(world_find(world, 53, AB_REJECT, &failure));
    assert_true(ab_view_is(failure.code, "version"));
    world_submit(world, CLIENT, 1, "ann", "watch=some");
    world_assert_error(world, CLIENT, "invalid", "watch");
    world_running(world, 2, NULL);
}

static void a_batch_cannot_be_broken_by_a_body(void **state)
{
    struct world *world = *state;
    struct ab_job job = world_running(world, 1, NULL);
    static const char hash[AB_HASH_BYTES];
    struct ab_submit submit = {
        .rid = 1, .job = world_id(7), .user = ab_view_of("ann"), .hash = ab_view(hash, sizeof hash)};
    static const struct ab_view bodies[] = {{"", 0}, {"\x92\x01", 2}, {"\x01\x02", 2}, {"\xc1", 1}};
    for (size_t i = 0; i < 4; i++) {
        world_say(world, CORE_CLIENTS, CLIENT, AB_SUBMIT, &submit, bodies[i]);
        world_assert_error(world, CLIENT, "invalid", "body");
        const struct ab_events events = {.job = job.job, .token = job.token, .seq = 2, .count = 1};
        world_say(world, CORE_WORKERS, WORKER, AB_EVENTS, &events, bodies[i]);
        world_assert_error(world, WORKER, "invalid", "body");
    }
    assert_int_equal(world->ops_n, 0);
}

/* ---- status ---- */

static void status_says_where_a_job_stands_and_why(void **state)
{
    struct world *world = *state;
    world_submit(world, CLIENT, 1, "ann", "session=s");
    world_submit(world, CLIENT, 2, "ann", "session=s");
    world_submit(world, CLIENT, 3, "ann", NULL);
    world_submit(world, CLIENT, 4, "ann", "not_before=1800000000000");
    world_store_all(world);
    world_assert_status(world, 1, "ready", "credit");
    assert_int_equal(world_status(world, 1).position, 1);
    assert_int_equal(world_status(world, 3).position, 2);
    world_assert_status(world, 2, "ready", "session");
    world_assert_status(world, 4, "scheduled", "schedule");
    assert_true(ab_view_is(world_status(world, 99).state, "not_found"));
    world_worker(world, WORKER, "w", 1);
    world_store_all(world);
    struct ab_job job = world_take(world, WORKER);
    assert_true(ab_view_is(world_status(world, 1).state, "running"));
    assert_true(ab_view_is(world_status(world, 1).worker, "w"));
    world_events(world, WORKER, &job, 2, NULL, "person", false);
    world_store_all(world);
    world_assert_status(world, 1, "waiting", "person");
    const struct sent *sent;
    struct ab_op_status_answer all;
    struct ab_error err;
    world_say(world, CORE_CLIENTS, CLIENT, AB_QUERY, &(struct ab_query){.rid = 1, .op = ab_view_of("status")},
              ab_view("\x80", 1));
    sent = world_find(world, CLIENT, AB_RESULT, NULL);
    assert_non_null(sent);
    assert_int_equal(ab_decode(&ab_op_status_answer_schema, ab_buf_view(&sent->body), &all, &err), 0);
    assert_true(all.storage && all.waiting == 1 && all.scheduled == 1 && all.running == 1 && all.ready == 1);
    world_say(world, CORE_CLIENTS, CLIENT, AB_QUERY,
              &(struct ab_query){.rid = 1, .op = ab_view_of("get_gallery")}, ab_view("\x80", 1));
    world_assert_error(world, CLIENT, "denied", "op");
}

static void a_lost_client_leaves_nothing_behind(void **state)
{
    struct world *world = *state;
    world_running(world, 1, "watch=all deltas");
    world_watch(world, OTHER, 1, 0, NULL, false);
    world->gone[CLIENT] = true;
    core_peer_gone(world->core, OTHER);
    world_events(world, WORKER, &(struct ab_job){.job = world_id(1), .token = 1ull << 40 | 1}, 2, NULL, NULL,
                 false);
    world_store_all(world);
    assert_int_equal(world->core->watchers.n, 0);
    assert_null(peers_find(&world->core->peers, CLIENT));
    assert_null(peers_find(&world->core->peers, OTHER));
    assert_true(world->forgotten >= 2);
}

/* Its connection broke between two messages that were read at once. */
static void a_peer_may_be_lost_and_greet_in_one_wake_up(void **state)
{
    struct world *world = *state;
    world_running(world, 1, "watch=all");
    core_peer_gone(world->core, CLIENT);
    world_client(world, CLIENT);
    core_peer_gone(world->core, WORKER);
    world_worker(world, WORKER, "w", 8);
    world_store_all(world);
    assert_int_equal(world->core->watchers.n, 0);
    assert_non_null(peers_find(&world->core->peers, CLIENT));
    assert_int_equal(world_take(world, WORKER).attempt, 2);
}

static void records_are_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct job) <= 288);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    ab_log_init("test", AB_ERROR_LEVEL, false);
    const struct CMUnitTest tests[] = {
        TEST(accepted_only_after_the_commit),
        TEST(same_submit_gives_the_same_answer_and_one_job),
        TEST(a_resent_submit_is_queued),
        TEST(nothing_is_taken_before_the_open_jobs_are_known),
        TEST(admission_is_bounded_before_anything_is_stored),
        TEST(refusals_of_storage_reach_the_client),
        TEST(a_job_runs_to_its_end),
        TEST(never_more_than_the_credit),
        TEST(jobs_spread_over_the_workers),
        TEST(tenants_share_fairly),
        TEST(priority_then_commit_order_within_a_tenant),
        TEST(one_job_of_a_session_at_a_time_in_commit_order),
        TEST(limits_of_tenant_key_and_pool),
        TEST(a_scheduled_job_waits_for_its_time),
        TEST(failed_attempts_back_off_and_end),
        TEST(a_deadline_ends_what_runs_and_what_waits),
        TEST(appends_refused_as_unavailable_are_tried_again_in_order),
        TEST(an_end_whose_answer_comes_after_the_crash_counts),
        TEST(a_refused_start_for_a_newer_token_supersedes_the_broker),
        TEST(a_restart_rebuilds_everything),
        TEST(bad_messages_are_answered_and_hurt_nobody),
        TEST(a_batch_cannot_be_broken_by_a_body),
        TEST(status_says_where_a_job_stands_and_why),
        TEST(a_lost_client_leaves_nothing_behind),
        TEST(a_peer_may_be_lost_and_greet_in_one_wake_up),
        TEST(records_are_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
