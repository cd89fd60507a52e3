/* What the rule tests of the core share: the started world, and what they expect of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/broker_world.h"

int world_setup(void **state)
{
    static struct world world;
    world_init(&world);
    world_start(&world);
    world_client(&world, CLIENT);
    world_client(&world, OTHER);
    world_forget_sent(&world);
    *state = &world;
    return 0;
}

int world_teardown(void **state)
{
    world_finish(*state);
    return 0;
}

struct ab_job world_take(struct world *world, uint32_t worker)
{
    struct ab_job job;
    assert_non_null(world_find(world, worker, AB_JOB, &job));
    return job;
}

void world_assert_error(struct world *world, uint32_t peer, const char *code, const char *path)
{
    struct ab_failure failure;
    assert_non_null(world_find(world, peer, AB_ERROR, &failure));
    if (!ab_view_is(failure.code, code) || (path && !ab_view_is(failure.path, path)))
        fail_msg("expected %s at %s, got %.*s at %.*s: %.*s", code, path ? path : "", AB_VIEW_FMT(failure.code),
                 AB_VIEW_FMT(failure.path), AB_VIEW_FMT(failure.text));
    assert_true(failure.text.n > 0);
}

const char *world_last_state(struct world *world, unsigned number)
{
    return world_job(world, number)->end;
}

void world_inbox(struct world *world, unsigned number, const char *kind)
{
    static uint32_t made;
    const struct ab_inbox message = {.rid = 77,
                                     .job = world_id(number),
                                     .user = ab_view_of("ann"),
                                     .id = world_id(1000000 + ++made),
                                     .kind = ab_view_of(kind),
                                     .text = ab_view_of("text")};
    world_say(world, CORE_CLIENTS, CLIENT, AB_INBOX, &message, ab_view(NULL, 0));
}

struct ab_job world_running(struct world *world, unsigned number, const char *more)
{
    if (!world->core->queue.all_pools || !world->core->queue.all_pools->workers)
        world_worker(world, WORKER, "w", 8);
    world_submit(world, CLIENT, number, "ann", more);
    world_store_all(world);
    return world_take(world, WORKER);
}

void world_pass(struct world *world, int64_t ms, uint32_t beating)
{
    static const struct ab_heartbeat beat;
    for (; ms > 0; ms -= 500) {
        world_say(world, CORE_CLIENTS, CLIENT, AB_HEARTBEAT, &beat, ab_view(NULL, 0));
        if (beating)
            world_say(world, CORE_WORKERS, beating, AB_HEARTBEAT, &beat, ab_view(NULL, 0));
        world_tick(world, 500);
    }
}

struct ab_op_job_status_answer world_status(struct world *world, unsigned number)
{
    struct ab_buf body = {0};
    const struct ab_op_job_status request = {.user = ab_view_of("ann"), .job = world_id(number)};
    struct ab_op_job_status_answer answer;
    struct ab_error err;
    ab_encode(&body, &ab_op_job_status_schema, &request);
    world_say(world, CORE_CLIENTS, CLIENT, AB_QUERY,
              &(struct ab_query){.rid = 1, .op = ab_view_of("job_status")}, ab_buf_view(&body));
    ab_buf_finish(&body);
    const struct sent *sent = world_find(world, CLIENT, AB_RESULT, NULL);
    assert_non_null(sent);
    assert_int_equal(ab_decode(&ab_op_job_status_answer_schema, ab_buf_view(&sent->body), &answer, &err), 0);
    return answer;
}

void world_assert_status(struct world *world, unsigned number, const char *state, const char *why)
{
    struct ab_op_job_status_answer status = world_status(world, number);
    assert_true(ab_view_is(status.state, state));
    assert_true(!*why || (status.why.n >= strlen(why) && !memcmp(status.why.p, why, strlen(why))));
}

void world_assert_events(struct world *world, uint32_t peer, uint64_t from, uint64_t to)
{
    struct ab_event event;
    for (uint64_t seq = from; seq <= to; seq++) {
        assert_non_null(world_find(world, peer, AB_EVENT, &event));
        assert_int_equal(event.seq, seq);
    }
    assert_null(world_find(world, peer, AB_EVENT, &event));
}

void world_watch(struct world *world, uint32_t peer, unsigned number, uint64_t after, const char *want,
                 bool deltas)
{
    const struct ab_watch message = {.rid = 9,
                                     .job = world_id(number),
                                     .user = ab_view_of("ann"),
                                     .after = after,
                                     .want = ab_view_of(want),
                                     .deltas = deltas};
    world_say(world, CORE_CLIENTS, peer, AB_WATCH, &message, ab_view(NULL, 0));
}

void world_assert_notice(struct world *world, uint32_t worker, const char *kind)
{
    struct ab_notice notice;
    assert_non_null(world_find(world, worker, AB_NOTICE, &notice));
    assert_true(ab_view_is(notice.kind, kind));
}
