/* The broker's core: queues that people halt. What is in them stays in its order; what runs goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/log.h"
#include "tests/unit/broker_world.h"

static void control(struct world *world, const char *pool, const char *of, const char *state)
{
    const struct ab_op_control_queue request = {.user = ab_view_of("root"),
                                                .pool = ab_view_of(pool),
                                                .of = ab_view_of(of),
                                                .state = ab_view_of(state),
                                                .reason = ab_view_of("new prices")};
    struct ab_buf body = {0};
    ab_encode(&body, &ab_op_control_queue_schema, &request);
    world_say(world, CORE_CLIENTS, OTHER, AB_QUERY,
              &(struct ab_query){.rid = 7, .op = ab_view_of("control_queue")}, ab_buf_view(&body));
    ab_buf_finish(&body);
}

static void halt(struct world *world, const char *pool, const char *of, const char *state)
{
    control(world, pool, of, state);
    world_store_all(world);
}

/* The row of the pool, or of a user in it. */
static struct ab_queue_record row(struct world *world, const char *pool, const char *of, bool all)
{
    struct ab_buf body = {0};
    struct ab_op_queues_answer answer;
    struct ab_queue_record record;
    struct ab_view raw;
    uint32_t n;
    ab_encode(&body, &ab_op_queues_schema, &(struct ab_op_queues){.user = ab_view_of("ann"), .all = all});
    world_forget_sent(world);
    world_say(world, CORE_CLIENTS, OTHER, AB_QUERY, &(struct ab_query){.rid = 8, .op = ab_view_of("queues")},
              ab_buf_view(&body));
    ab_buf_finish(&body);
    const struct sent *sent = world_find(world, OTHER, AB_RESULT, NULL);
    assert_non_null(sent);
    assert_int_equal(ab_decode(&ab_op_queues_answer_schema, ab_buf_view(&sent->body), &answer, NULL), 0);
    struct ab_reader reader = ab_reader(answer.queues);
    assert_int_equal(ab_read_array(&reader, &n), 0);
    while (n--) {
        assert_int_equal(ab_read_any(&reader, &raw), 0);
        assert_int_equal(ab_decode(&ab_queue_record_schema, raw, &record, NULL), 0);
        if (ab_view_is(record.pool, pool) && (of ? ab_view_is(record.of, of) : !record.of.n))
            return record;
    }
    return (struct ab_queue_record){0};
}

static void a_paused_queue_gives_nothing_to_workers(void **state)
{
    struct world *world = *state;
    struct ab_job running = world_running(world, 1, NULL);
    halt(world, "default", NULL, "paused");
    assert_non_null(world_find(world, OTHER, AB_RESULT, NULL));
    for (unsigned i = 2; i <= 4; i++)
        world_submit(world, CLIENT, i, "ann", NULL);
    world_store_all(world);
    assert_int_equal(world_count(world, CLIENT, AB_ACCEPTED), 4);
    world_tick(world, 1000);
    world_store_all(world);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 1);
    world_assert_status(world, 2, "ready", "queue: that of pool default is paused: new prices");
    assert_int_equal(world_status(world, 2).position, 0);
    struct ab_queue_record queue = row(world, "default", NULL, false);
    assert_true(ab_view_is(queue.state, "paused") && ab_view_is(queue.by, "root") && queue.at_ms);
    assert_int_equal(queue.open, 4);
    assert_int_equal(queue.ready, 3);
    assert_int_equal(queue.running, 1);
    assert_true(queue.oldest_ready_ms >= 1000 && queue.workers == 1);
    world_events(world, WORKER, &running, 2, "succeeded", NULL, false); /* what runs goes on to its end */
    world_store_all(world);
    assert_string_equal(world_last_state(world, 1), "succeeded");
    halt(world, "default", NULL, "running");
    assert_true(ab_id_eq(world_take(world, WORKER).job, world_id(2)));
    assert_true(ab_view_is(row(world, "default", NULL, false).state, "running"));
}

static void a_user_is_halted_alone(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 4);
    halt(world, "*", "ann", "paused");
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_submit(world, CLIENT, 2, "bob", NULL);
    world_store_all(world);
    assert_true(ab_id_eq(world_take(world, WORKER).job, world_id(2)));
    world_assert_status(world, 1, "ready", "queue: that of pool default is paused for this user");
    assert_true(ab_view_is(row(world, "default", NULL, false).state, "running"));
    assert_true(ab_view_is(row(world, "default", "ann", false).state, "paused"));
    assert_false(row(world, "default", "bob", false).pool.n);
    assert_int_equal(row(world, "default", "bob", true).running, 1);
    halt(world, "default", "ann", "draining"); /* the stronger one counts, and the other stays */
    assert_true(ab_view_is(row(world, "default", "ann", false).state, "draining"));
    halt(world, "default", "ann", "running");
    assert_true(ab_view_is(row(world, "default", "ann", false).state, "paused"));
    assert_int_equal(world_count(world, WORKER, AB_JOB), 0);
    halt(world, "*", "ann", "running");
    assert_true(ab_id_eq(world_take(world, WORKER).job, world_id(1)));
}

static void a_halt_outlives_the_broker(void **state)
{
    struct world *world = *state;
    halt(world, "default", NULL, "paused");
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    world_restart(world);
    world_client(world, CLIENT);
    world_client(world, OTHER);
    world_worker(world, WORKER, "w", 1);
    world_tick(world, 1000);
    world_store_all(world);
    assert_int_equal(world_count(world, WORKER, AB_JOB), 0);
    world_assert_status(world, 1, "ready", "queue: that of pool default is paused");
    halt(world, "default", NULL, "running");
    assert_true(ab_id_eq(world_take(world, WORKER).job, world_id(1)));
}

static void what_is_not_on_disk_halts_nothing(void **state)
{
    struct world *world = *state;
    world_worker(world, WORKER, "w", 1);
    control(world, "default", NULL, "paused");
    world_refuse(world, AB_EUNAVAILABLE);
    world_assert_error(world, OTHER, "unavailable", NULL);
    world_submit(world, CLIENT, 1, "ann", NULL);
    world_store_all(world);
    world_take(world, WORKER);
    world_forget_sent(world);
    control(world, "default", NULL, "asleep");
    world_assert_error(world, OTHER, "invalid", "state");
    control(world, "", NULL, "paused");
    world_assert_error(world, OTHER, "invalid", "pool");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    ab_log_init("test", AB_ERROR_LEVEL, false);
    const struct CMUnitTest tests[] = {
        TEST(a_paused_queue_gives_nothing_to_workers),
        TEST(a_user_is_halted_alone),
        TEST(a_halt_outlives_the_broker),
        TEST(what_is_not_on_disk_halts_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
