/* The gateway's rates: a second's worth at once, then as many as there may be, each address by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client/gateway/rate.h"

static void test_a_second_may_be_taken_at_once_and_then_the_rate(void **state)
{
    struct rates *rates = calloc(1, sizeof *rates);
    rates->per_second = 100;
    for (int i = 0; i < 100; i++)
        assert_int_equal(rate_take(rates, 7, 5000000), 0);
    uint32_t wait_ms = rate_take(rates, 7, 5000000);
    assert_in_range(wait_ms, 1, 11);
    assert_int_equal(rate_wait(rates, 7, 5000000), wait_ms); /* takes nothing, however often */
    assert_int_equal(rate_wait(rates, 8, 5000000), 0);
    assert_int_equal(rate_take(rates, 8, 5000000), 0); /* another address */
    assert_int_equal(rate_take(rates, 7, 5000000 + (int64_t)wait_ms * 1000), 0);
    assert_int_not_equal(rate_take(rates, 7, 5000000 + (int64_t)wait_ms * 1000), 0);
    int taken = 0;
    for (int64_t us = 6000000; us < 16000000; us += 1000) /* 1000 asked for in a second */
        taken += !rate_take(rates, 7, us);
    assert_in_range(taken, 1000, 1100);
    free(rates);
}

static void test_no_limit_is_none(void **state)
{
    struct rates *rates = calloc(1, sizeof *rates);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(rate_take(rates, 7, 0), 0);
    free(rates);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_second_may_be_taken_at_once_and_then_the_rate),
        cmocka_unit_test(test_no_limit_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
