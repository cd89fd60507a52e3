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
