/* The broker's core where something is wrong: hostile values, refusals for no known reason, lost notices, places in the
 * queue that are given and not taken. Each of these once stopped a job for ever or took innocent ones along.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/log.h"
#include "tests/unit/broker_world.h"

static void cancel(struct world *world, unsigned number)
{
    const struct ab_inbox message = {.rid = 77,
                                     .job = world_id(number),
                                     .user = ab_view_of("ann"),
                                     .id = world_id(1000000 + number),
                                     .kind = ab_view_of("cancel")};
    world_say(world, CORE_CLIENTS, CLIENT, AB_INBOX, &message, ab_view(NULL, 0));
}

/* ---- values ---- */

/* `levels` arrays in each other. */
static struct ab_view nested(char *room, size_t levels)
{
    memset(room, 0x91, levels);
    room[levels] = 0x01;
    return ab_view(room, levels + 1);
}

/* Deeper inside of a batch than alone: storage could not read that batch, and would refuse what others sent. */
static void what_would_be_too_deep_in_a_batch_is_refused_alone(void **state)
{
    struct world *world = *state;
    static const char hash[AB_HASH_BYTES];
    char room[64];
    world_worker(world, WORKER, "w", 1);
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    struct ab_job job = world_take(world, WORKER);
    struct ab_submit submit = {
        .rid = 1, .job = world_id(7), .user = ab_view_of("ann"), .hash = ab_view(hash, sizeof hash)};
    for (size_t levels = AB_DEPTH_SENT_MAX; levels < AB_DEPTH_MAX + 2; levels++) {
        struct ab_view body = nested(room, levels);
        world_say(world, CORE_CLIENTS, CLIENT, AB_SUBMIT, &submit, body);
        world_assert_error(world, CLIENT, "invalid", "body");
        const struct ab_events events = {.job = job.job, .token = job.token, .seq = 2, .count = 1};
        world_say(world, CORE_WORKERS, WORKER, AB_EVENTS, &events, body);
        world_assert_error(world, WORKER, "invalid", "body");
    }
    submit.secrets = nested(room, AB_DEPTH_MAX - 1);
    world_say(world, CORE_CLIENTS, CLIENT, AB_SUBMIT, &submit, ab_view("\x80", 1));
    world_assert_error(world, CLIENT, "invalid", "secrets");
    assert_int_equal(world->ops_n, 0);
}

static void times_beyond_all_time_are_refused(void **state)
{
    struct world *world = *state;
    world_submit(world, CLIENT, 1, "ann", "deadline=18446744073709551615");
    world_assert_error(world, CLIENT, "invalid", "deadline_ms");
    world_submit(world, CLIENT, 1, "ann", "not_before=9223372036854775808");
    world_assert_error(world, CLIENT, "invalid", "not_before_ms");
    world_worker(world, WORKER, "w", 1);
    world_submit(world, CLIENT, 2, "ann", NULL);
    world_store_all(world);
    struct ab_job job = world_take(world, WORKER);
    const struct ab_events events = {.job = job.job,
                                     .token = job.token,
                                     .seq = 2,
                                     .count = 1,
                                     .wait = ab_view_of("timer"),
                                     .wake_at_ms = UINT64_MAX};
    world_say(world, CORE_WORKERS, WORKER, AB_EVENTS, &events, ab_view("\x91\x01", 2));
    world_assert_error(world, WORKER, "invalid", "wake_at_ms");
}

/* Keys of a message may be any bytes, and an error may quote them. */
static void every_error_is_text(void **state)
{
    struct world *world = *state;
    static const char header[] = "\x81\xa4\xff\xfe\xfd\xfc\xc1";
    core_message(world->core, CORE_CLIENTS, CLIENT, 1, AB_SUBMIT, ab_view(header, sizeof header - 1),
                 ab_view(NULL, 0));
    world_assert_error(world, CLIENT, "invalid", NULL); /* decodes: so its text is UTF-8 */
}

/* The longest text that a worker may give, cut within a character: the end is written all the same. */
static void a_cut_text_does_not_spoil_the_end(void **state)
{
    struct world *world = *state;
    struct ab_buf text = {0}, body = {0};
    ab_buf_char(&text, 'x');
    ab_buf_char(&text, 'x');
    while (text.n + 3 <= AB_ERROR_TEXT_MAX)
        ab_buf_text(&text, "\xe2\x82\xac");
    world_worker(world, WORKER, "w", 1);
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    for (unsigned attempt = 1; !*world_job(world, 1)->end; attempt++) {
        assert_true(attempt <= 5);
        struct ab_job job = world_take(world, WORKER);
        const struct ab_attempt_failed failed = {
            .attempt = attempt, .code = ab_view_of("model"), .text = ab_buf_view(&text), .at_ms = 1};
        ab_buf_clear(&body);
        ab_pack_array(&body, 1);
        ab_event_encode(&body, AB_KIND_ATTEMPT_FAILED, &failed);
        const struct ab_events events = {.job = job.job,
                                         .token = job.token,
                                         .seq = job.seq + 1,
                                         .count = 1,
                                         .retry = true,
                                         .wake_at_ms = (uint64_t)world->wall_ms + 1};
        world_say(world, CORE_WORKERS, WORKER, AB_EVENTS, &events, ab_buf_view(&body));
        world_store_all(world);
        world_tick(world, 10);
        world_store_all(world);
    }
    assert_string_equal(world_job(world, 1)->end, "failed");
    const struct world_job *job = world_job(world, 1);
    assert_true(ab_any_ok(ab_buf_view(&job->events[job->events_n - 1].bytes)));
    ab_buf_finish(&text);
    ab_buf_finish(&body);
}

/* ---- the queue ---- */

static void sessions_of_two_users_have_nothing_in_common(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 8);
    world_submit(world, CLIENT, 1, "ann", "session=main");
    world_submit(world, OTHER, 2, "bob", "session=main");
    world_submit(world, OTHER, 3, "bob", "session=main");
    world_store_all(world);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 2);
    for (int i = 0; i < 2; i++)
        assert_true(ab_view_is(world_take(world, WORKER).session, "main"));
}

/* A place under the key's limit was free, the job it was given to was cancelled before it took it. */
static void a_key_goes_on_when_the_woken_job_is_cancelled(void **state)
{
    const struct core_limit limits[] = {{LIMIT_KEY, {"crm", 3}, 1}};
    struct world world;
    (void)state;
    world_init(&world);
    core_destroy(world.core);
    world.core = NULL;
    world.config.limits = limits;
    world.config.limits_n = 1;
    world_restart(&world);
    world_client(&world, CLIENT);
    world_worker(&world, WORKER, "w", 50);
    for (unsigned i = 1; i <= 3; i++)
        world_submit(&world, CLIENT, i, "ann", "key=crm");
    world_store_all(&world);
    struct ab_job job = world_take(&world, WORKER);
    world_say(&world, CORE_WORKERS, WORKER, AB_CREDIT, &(struct ab_credit){.credit = 0}, ab_view(NULL, 0));
    world_events(&world, WORKER, &job, 2, "succeeded", NULL, false);
    world_store_all(&world); /* job 2 has the place, and there is no credit */
    cancel(&world, 2);
    world_store_all(&world);
    assert_string_equal(world_job(&world, 2)->end, "cancelled");
    world_say(&world, CORE_WORKERS, WORKER, AB_CREDIT, &(struct ab_credit){.credit = 50}, ab_view(NULL, 0));
    world_store_all(&world);
    assert_true(ab_id_eq(world_take(&world, WORKER).job, world_id(3)));
    world_finish(&world);
}

/* Also by what is still on its way to disk. */
static void a_tenants_limit_counts_what_is_being_stored(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    core_destroy(world.core);
    world.core = NULL;
    world.config.tenant_jobs_max = 2;
    world_restart(&world);
    world_client(&world, CLIENT);
    for (unsigned i = 1; i <= 5; i++)
        world_submit(&world, CLIENT, i, "ann", NULL);
    world_submit(&world, CLIENT, 6, "bob", NULL);
    assert_int_equal(world_count(&world, CLIENT, AB_ERROR), 3);
    world_store_all(&world);
    assert_int_equal(world_count(&world, CLIENT, AB_ACCEPTED), 3);
    assert_int_equal(world.core->queue.tenants.map.n, 2);
    cancel(&world, 1);
    cancel(&world, 2);
    world_store_all(&world);
    assert_int_equal(world.core->queue.tenants.map.n, 1);
    world_submit(&world, CLIENT, 7, "ann", NULL);
    world_store_all(&world);
    assert_int_equal(world_count(&world, CLIENT, AB_ACCEPTED), 4);
    world_finish(&world);
}

/* ---- storage ---- */

/* It wrote the cancel of a deleted session's job and died before it said so. */
static void a_cancel_whose_notice_was_lost_is_found_when_storage_is_back(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 8);
    for (unsigned i = 1; i <= 8; i++)
        world_submit(world, CLIENT, i, "ann", NULL);
    world_store_all(world);
    for (unsigned i = 1; i <= 8; i++) {
        struct ab_job job = world_take(world, WORKER);
        world_events(world, WORKER, &job, 2, NULL, "person", false);
    }
    world_store_all(world);
    core_storage_up(world->core, false);
    for (unsigned i = 2; i <= 8; i += 2) {
        world_job(world, i)->cancel = true;
        world_job(world, i)->inbox_k = 1;
    }
    core_storage_up(world->core, true);
    world_refuse(world, AB_EBUSY); /* the first try fails */
    world_tick(world, 1000);
    world_store_all(world);
    for (unsigned i = 1; i <= 8; i++)
        assert_string_equal(world_job(world, i)->end, i % 2 ? "" : "cancelled");
}

static void refused_for(struct world *world, int64_t ms, int code)
{
    for (int64_t end = world->now_ms + ms; world->now_ms < end; world_tick(world, 250))
        for (size_t n = world->ops_n; n; n--)
            world_refuse(world, code);
}

/* However long storage refuses an end, the job is ended when it takes it. */
static void an_end_that_is_refused_is_not_given_up(void **state)
{
    struct world *world = *state;
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    cancel(world, 1);
    world_store(world, 1); /* the inbox row */
    size_t before = world->ops_n;
    assert_int_equal(before, 1);
    refused_for(world, 60000, AB_EINTERNAL);
    assert_string_equal(world_job(world, 1)->end, "");
    for (int i = 0; i < 200 && !*world_job(world, 1)->end; i++) {
        world_tick(world, 1000);
        world_store_all(world);
    }
    assert_string_equal(world_job(world, 1)->end, "cancelled");
    assert_int_equal(world->core->jobs.by_n.n, 0);
}

/* An append that was sent before its forerunner was refused comes back after that one was sent again. */
static void a_late_refusal_keeps_its_place(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 1);
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    struct ab_job job = world_take(world, WORKER);
    world_events(world, WORKER, &job, 2, NULL, NULL, false);
    world_events(world, WORKER, &job, 3, NULL, NULL, false);
    assert_int_equal(world->ops_n, 2);
    world_refuse(world, AB_EUNAVAILABLE);
    world_tick(world, 1000);
    world_refuse(world, AB_ECONFLICT); /* the gap */
    for (int i = 0; i < 4; i++) {
        world_tick(world, 1000);
        world_store_all(world);
    }
    assert_int_equal(world_job(world, 1)->events_n, 3);
    assert_int_equal(world_count(world, WORKER, AB_STALE), 0);
}

/* Nobody is shown events under numbers that are not theirs; the end is shown to who asks for it only. */
static void a_journal_without_its_beginning_is_expired(void **state)
{
    struct world *world = *state;
    struct ab_watch watch = {.rid = 5, .job = world_id(1), .user = ab_view_of("ann")};
    struct ab_event event;
    world_worker(world, WORKER, "w", 1);
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    struct ab_job job = world_take(world, WORKER);
    world_events(world, WORKER, &job, 2, NULL, NULL, false);
    world_events(world, WORKER, &job, 3, "succeeded", NULL, false);
    world_store_all(world);
    world_job(world, 1)->events_gone = 2;
    world_say(world, CORE_CLIENTS, CLIENT, AB_WATCH, &watch, ab_view(NULL, 0));
    world_store_all(world);
    world_assert_error(world, CLIENT, "expired", NULL);
    assert_int_equal(world_count(world, CLIENT, AB_EVENT), 0);
    watch.after = 2;
    world_say(world, CORE_CLIENTS, CLIENT, AB_WATCH, &watch, ab_view(NULL, 0));
    world_store_all(world);
    assert_non_null(world_find(world, CLIENT, AB_EVENT, &event));
    assert_int_equal(event.seq, 3);
    watch.after = 0;
    watch.want = ab_view_of("end");
    world_say(world, CORE_CLIENTS, OTHER, AB_WATCH, &watch, ab_view(NULL, 0));
    world_store_all(world);
    assert_non_null(world_find(world, OTHER, AB_EVENT, &event));
    assert_int_equal(event.seq, 3);
    assert_true(ab_view_is(event.end, "succeeded"));
    assert_int_equal(world->core->watchers.n, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    ab_log_init("test", AB_ERROR_LEVEL, false);
    const struct CMUnitTest tests[] = {
        TEST(what_would_be_too_deep_in_a_batch_is_refused_alone),
        TEST(times_beyond_all_time_are_refused),
        TEST(every_error_is_text),
        TEST(a_cut_text_does_not_spoil_the_end),
        TEST(sessions_of_two_users_have_nothing_in_common),
        TEST(a_key_goes_on_when_the_woken_job_is_cancelled),
        TEST(a_tenants_limit_counts_what_is_being_stored),
        TEST(a_cancel_whose_notice_was_lost_is_found_when_storage_is_back),
        TEST(an_end_that_is_refused_is_not_given_up),
        TEST(a_late_refusal_keeps_its_place),
        TEST(a_journal_without_its_beginning_is_expired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
