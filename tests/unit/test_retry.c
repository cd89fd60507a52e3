/* Retries, plans over endpoints, circuit breakers and the timers' heap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/bytes.h"
#include "worker/model/breaker.h"
#include "worker/model/retry.h"
#include "worker/model/timers.h"

static void statuses_and_advice(void **state)
{
    static const struct {
        struct retry_facts facts;
        bool wanted;
    } rows[] = {
        {{.http_status = 0}, true},
        {{.http_status = 408}, true},
        {{.http_status = 409}, true},
        {{.http_status = 429}, true},
        {{.http_status = 500}, true},
        {{.http_status = 529}, true},
        {{.http_status = 200}, false},
        {{.http_status = 307}, false},
        {{.http_status = 400}, false},
        {{.http_status = 401}, false},
        {{.http_status = 404}, false},
        {{.http_status = 500, .should_retry = "false"}, false},
        {{.http_status = 400, .should_retry = "true"}, true},
        {{.http_status = 400, .should_retry = "perhaps"}, false},
        {{.http_status = 429, .final = true}, false},
        {{.http_status = 429, .final = true, .should_retry = "true"}, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(retry_wanted(&rows[i].facts), rows[i].wanted);
}

static void the_wait_a_server_asks_for(void **state)
{
    const int64_t now_ms = 784111770000; /* Sun, 06 Nov 1994 08:49:30 GMT */
    static const struct {
        const char *ms, *after;
        int64_t expected_ms;
    } rows[] = {
        {NULL, NULL, -1},
        {"250", NULL, 250},
        {"250", "9", 250},
        {"1.6", NULL, 2},
        {"soon", "3", 3000},
        {NULL, "0.5", 500},
        {NULL, "0", 0},
        {NULL, "-3", -1},
        {NULL, "3 minutes", -1},
        {NULL, "nan", -1},
        {NULL, "inf", -1},
        {NULL, "", -1},
        {NULL, "Sun, 06 Nov 1994 08:49:37 GMT", 7000},
        {NULL, "Sun, 06 Nov 1994 08:49:07 GMT", 0},
        {NULL, "Sun, 06 Now 1994 08:49:37 GMT", -1},
        {NULL, "Sun, 66 Nov 1994 08:49:37 GMT", -1},
        {NULL, "Sun, 06 Nov 1994 08:49:37 CET", -1},
        {NULL, "06 Nov 1994 08:49:37 GMT", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct retry_facts facts = {.retry_after_ms = rows[i].ms, .retry_after = rows[i].after};
        assert_int_equal(retry_after_ms(&facts, now_ms), rows[i].expected_ms);
    }
    assert_int_equal(retry_date_ms("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777000);
}

static void back_off_doubles_to_its_cap_with_jitter(void **state)
{
    static const int64_t full_ms[] = {500, 1000, 2000, 4000, 8000, 8000, 8000};
    uint64_t rng = 42, again = 42;
    for (unsigned n = 0; n < 7; n++) {
        int64_t least = INT64_MAX, most = 0;
        for (int i = 0; i < 500; i++) {
            int64_t ms = retry_backoff_ms(n, &rng);
            assert_int_equal(ms, retry_backoff_ms(n, &again));
            least = ms < least ? ms : least;
            most = ms > most ? ms : most;
        }
        assert_in_range(least, full_ms[n] * 3 / 4, full_ms[n] * 78 / 100);
        assert_in_range(most, full_ms[n] * 97 / 100, full_ms[n]);
    }
    assert_in_range(retry_backoff_ms(4000000000u, &rng), 6000, 8000);
}

static const struct retry_facts ill = {.http_status = 500}, refused = {.http_status = 401};

static void an_endpoint_is_retried_then_the_next_one_tried(void **state)
{
    struct model_plan plan = {.endpoints = 2, .retries_max = 2};
    uint64_t rng = 1;
    assert_int_equal(model_plan_first(&plan, NULL).endpoint, 0);
    for (int endpoint = 0; endpoint < 2; endpoint++) {
        for (int retry = 0; retry < 2; retry++) {
            struct model_step step = model_plan_after(&plan, &ill, NULL, 0, &rng);
            assert_int_equal(step.what, STEP_ATTEMPT);
            assert_int_equal(step.endpoint, endpoint);
            assert_in_range(step.delay_ms, 375 << retry, 500 << retry);
        }
        struct model_step step = model_plan_after(&plan, &ill, NULL, 0, &rng);
        assert_int_equal(step.what, endpoint ? STEP_GIVE_UP : STEP_ATTEMPT);
        assert_int_equal(step.delay_ms, endpoint ? -1 : 0);
    }
}

static void a_final_refusal_goes_to_the_next_endpoint_at_once(void **state)
{
    struct model_plan plan = {.endpoints = 2, .retries_max = 2};
    uint64_t rng = 1;
    model_plan_first(&plan, NULL);
    struct model_step step = model_plan_after(&plan, &refused, NULL, 0, &rng);
    assert_int_equal(step.what, STEP_ATTEMPT);
    assert_int_equal(step.endpoint, 1);
    assert_int_equal(model_plan_after(&plan, &refused, NULL, 0, &rng).what, STEP_GIVE_UP);
}

static void a_wait_that_is_too_long_is_not_waited(void **state)
{
    struct model_plan plan = {.endpoints = 1, .retries_max = 2};
    uint64_t rng = 1;
    struct retry_facts facts = {.http_status = 429, .retry_after = "60"};
    model_plan_first(&plan, NULL);
    struct model_step step = model_plan_after(&plan, &facts, NULL, 0, &rng);
    assert_int_equal(step.what, STEP_ATTEMPT);
    assert_int_equal(step.delay_ms, 60000);
    facts.retry_after = "61";
    step = model_plan_after(&plan, &facts, NULL, 0, &rng);
    assert_int_equal(step.what, STEP_GIVE_UP);
    assert_int_equal(step.delay_ms, 61000);
}

static void breakers_only_order_the_endpoints(void **state)
{
    static const bool first_out[] = {false, true, true}, all_out[] = {false, false, false};
    struct model_plan plan = {.endpoints = 3, .retries_max = 0};
    uint64_t rng = 1;
    assert_int_equal(model_plan_first(&plan, first_out).endpoint, 1);
    assert_int_equal(model_plan_first(&plan, all_out).endpoint, 0);
    struct model_step step = model_plan_after(&plan, &ill, all_out, 0, &rng);
    assert_int_equal(step.what, STEP_ATTEMPT);
    assert_int_equal(step.endpoint, 2);
    assert_int_equal(model_plan_after(&plan, &ill, all_out, 0, &rng).what, STEP_GIVE_UP);
    model_plan_first(&plan, NULL);
    assert_int_equal(model_plan_skip(&plan, NULL).endpoint, 1);
    assert_int_equal(model_plan_skip(&plan, NULL).endpoint, 2);
    assert_int_equal(model_plan_skip(&plan, NULL).what, STEP_GIVE_UP);
}

static void a_breaker_opens_half_opens_and_closes(void **state)
{
    struct breakers breakers = {0};
    const char *url = "http://a/v1";
    int64_t now_ms = 1000;
    for (int i = 0; i < BREAKER_FAILURES_MAX; i++) {
        assert_true(breakers_allow(&breakers, url, now_ms));
        breakers_begin(&breakers, url, now_ms);
        breakers_end(&breakers, url, true, now_ms);
    }
    assert_false(breakers_allow(&breakers, url, now_ms + BREAKER_OPEN_MS - 1));
    assert_true(breakers_allow(&breakers, "http://b/v1", now_ms));
    now_ms += BREAKER_OPEN_MS;
    assert_true(breakers_allow(&breakers, url, now_ms));
    breakers_begin(&breakers, url, now_ms);
    assert_false(breakers_allow(&breakers, url, now_ms)); /* one at a time */
    breakers_abandon(&breakers, url);
    assert_true(breakers_allow(&breakers, url, now_ms));
    breakers_begin(&breakers, url, now_ms);
    breakers_end(&breakers, url, true, now_ms);
    assert_false(breakers_allow(&breakers, url, now_ms + 1));
    breakers_begin(&breakers, url, now_ms + BREAKER_OPEN_MS);
    breakers_end(&breakers, url, false, now_ms + BREAKER_OPEN_MS);
    assert_true(breakers_allow(&breakers, url, now_ms + BREAKER_OPEN_MS));
    breakers_finish(&breakers);
}

static void the_number_of_breakers_is_capped(void **state)
{
    struct breakers breakers = {0};
    for (int i = 0; i < 2 * BREAKERS_MAX; i++) {
        char *url = ab_format("http://h%d", i);
        breakers_begin(&breakers, url, i);
        free(url);
    }
    assert_int_equal(breakers.n, BREAKERS_MAX);
    breakers_finish(&breakers);
}

static void timers_come_in_order(void **state)
{
    enum { N = 500 };
    struct timers timers = {0};
    struct timer all[N] = {0};
    uint64_t x = 12345;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < N; i++) {
            x = x * 6364136223846793005 + 1442695040888963407;
            if (x >> 62)
                timer_set(&timers, &all[i], (int64_t)(x >> 40) % 1000);
            else
                timer_clear(&timers, &all[i]);
        }
    }
    size_t set = 0, popped = 0;
    for (int i = 0; i < N; i++)
        set += all[i].place != 0;
    assert_int_equal(timers.n, set);
    assert_true(set > N / 2);
    int64_t last_ms = timers_next_ms(&timers);
    assert_null(timers_pop(&timers, last_ms - 1));
    for (struct timer *timer; (timer = timers_pop(&timers, 1000)); popped++) {
        assert_true(timer->at_ms >= last_ms);
        last_ms = timer->at_ms;
    }
    assert_int_equal(popped, set);
    assert_int_equal(timers_next_ms(&timers), INT64_MAX);
    timers_finish(&timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_and_advice),
        cmocka_unit_test(the_wait_a_server_asks_for),
        cmocka_unit_test(back_off_doubles_to_its_cap_with_jitter),
        cmocka_unit_test(an_endpoint_is_retried_then_the_next_one_tried),
        cmocka_unit_test(a_final_refusal_goes_to_the_next_endpoint_at_once),
        cmocka_unit_test(a_wait_that_is_too_long_is_not_waited),
        cmocka_unit_test(breakers_only_order_the_endpoints),
        cmocka_unit_test(a_breaker_opens_half_opens_and_closes),
        cmocka_unit_test(the_number_of_breakers_is_capped),
        cmocka_unit_test(timers_come_in_order),
    };
    return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
