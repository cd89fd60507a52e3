/* Which price row counts for a call, and what the call costs by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "worker/prices.h"

static void patterns_fit_whole_names(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool fits;
    } rows[] = {
        {"gpt-4o", "gpt-4o", true},
        {"gpt-4o", "gpt-4o-mini", false},
        {"gpt-4o*", "gpt-4o-mini", true},
        {"gpt-4o*", "gpt-4o", true},
        {"*", "", true},
        {"*", "anything/at:all", true},
        {"", "", true},
        {"", "x", false},
        {"*-mini", "gpt-4o-mini", true},
        {"*-mini", "gpt-4o-mini-2024", false},
        {"gpt-?o", "gpt-4o", true},
        {"gpt-?o", "gpt-o", false},
        {"?", "é", true},
        {"a*b*c", "a-b-b-c", true},
        {"a*b*c", "a-c-b", false},
        {"*aab", "aaaaaab", true},
        {"[a-z]", "a", false},
        {"[a-z]", "[a-z]", true},
        {"**x", "x", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(prices_match(ab_view_of(rows[i].pattern), ab_view_of(rows[i].name)), rows[i].fits);
}

static struct prices table(const struct ab_price *rows, uint32_t n, uint64_t version)
{
    struct ab_buf list = {0}, answer = {0};
    struct prices prices = {0};
    ab_pack_array(&list, n);
    for (uint32_t i = 0; i < n; i++)
        ab_encode(&list, &ab_price_schema, &rows[i]);
    struct ab_op_list_prices_answer a = {.version = version, .prices = ab_buf_view(&list)};
    ab_encode(&answer, &ab_op_list_prices_answer_schema, &a);
    assert_int_equal(prices_take(&prices, ab_buf_view(&answer), NULL), 0);
    ab_buf_finish(&list);
    ab_buf_finish(&answer);
    return prices;
}

#define VIEW(text)                                                                                             \
    {                                                                                                          \
        text, sizeof text - 1                                                                                  \
    }

static void the_longest_pattern_then_the_latest_row_counts(void **state)
{
    static const struct ab_price rows[] = {
        {.model = VIEW("*"), .input_pico_usd = 1},
        {.model = VIEW("gpt-4o*"), .from_ms = 1000, .input_pico_usd = 2},
        {.model = VIEW("gpt-4o*"), .from_ms = 2000, .input_pico_usd = 3},
        {.model = VIEW("gpt-4o-mini*"), .from_ms = 5000, .input_pico_usd = 4},
        {.model = VIEW("gpt-4o*"), .provider = VIEW("azure"), .input_pico_usd = 5},
    };
    static const struct {
        const char *provider, *model;
        int64_t at_ms;
        uint64_t input;
    } calls[] = {
        {"openai", "llama", 9000, 1},          {"openai", "gpt-4o-mini", 999, 1},
        {"openai", "gpt-4o-mini", 1000, 2},    {"openai", "gpt-4o-mini", 4999, 3},
        {"openai", "gpt-4o-mini-24", 5000, 4}, {"openai", "gpt-4o", 5000, 3},
        {"azure", "gpt-4o", 5000, 5},          {"azure", "gpt-4o-mini", 5000, 4},
        {"azure", "gpt-4o-mini", -1, 5},
    };
    (void)state;
    struct prices prices = table(rows, sizeof rows / sizeof *rows, 1);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        const struct ab_price *row =
            prices_find(&prices, ab_view_of(calls[i].provider), ab_view_of(calls[i].model), calls[i].at_ms);
        assert_non_null(row);
        assert_int_equal(row->input_pico_usd, calls[i].input);
    }
    prices_finish(&prices);
    prices = table(rows + 1, 1, 2);
    assert_null(prices_find(&prices, ab_view_of("openai"), ab_view_of("llama"), 9000));
    prices_finish(&prices);
}

static void an_answer_without_rows_keeps_those_that_are_there(void **state)
{
    static const struct ab_price row = {.model = VIEW("*"), .input_pico_usd = 7};
    struct ab_buf answer = {0};
    (void)state;
    struct prices prices = table(&row, 1, 3);
    ab_encode(&answer, &ab_op_list_prices_answer_schema, &(struct ab_op_list_prices_answer){.version = 3});
    assert_int_equal(prices_take(&prices, ab_buf_view(&answer), NULL), 0);
    assert_int_equal(prices.n, 1);
    assert_int_equal(prices_take(&prices, ab_view("x", 1), NULL), AB_EINVALID);
    assert_int_equal(prices.n, 1);
    ab_buf_finish(&answer);
    prices_finish(&prices);
}

static void what_a_call_costs(void **state)
{
    /* 2.50, 1.25, 10 and 12 USD per million tokens */
    static const struct ab_price dear = {.input_pico_usd = 2500000,
                                         .cached_input_pico_usd = {true, 1250000},
                                         .output_pico_usd = 10000000,
                                         .reasoning_pico_usd = {true, 12000000}};
    static const struct ab_price plain = {.input_pico_usd = 1, .output_pico_usd = 3};
    static const struct ab_price half_free = {
        .input_pico_usd = 5, .cached_input_pico_usd = {true, 0}, .output_pico_usd = 0};
    static const struct ab_price top = {.input_pico_usd = AB_PRICE_MAX, .output_pico_usd = AB_PRICE_MAX};
    static const struct {
        const struct ab_price *price;
        struct prices_tokens tokens;
        uint64_t cost;
    } rows[] = {
        {&dear, {0, 0, 0, 0}, 0},
        {&dear, {1000000, 1000000, 0, 0}, UINT64_C(12500000000000)},
        {&dear,
         {1000, 500, 400, 100},
         600 * 2500000 + 400 * 1250000 + UINT64_C(400) * 10000000 + 100 * 12000000},
        {&dear, {100, 10, 900, 90}, 100 * 1250000 + 10 * 12000000}, /* a part is never more than the whole */
        {&plain, {10, 20, 5, 10}, 10 + 60},
        {&half_free, {10, 1000, 4, 0}, 30},
        {&top, {9223372, 0, 0, 0}, UINT64_C(9223372000000000000)},
        {&top, {9223373, 0, 0, 0}, PRICES_COST_MAX},
        {&top, {9000000, 9000000, 0, 0}, PRICES_COST_MAX},
        {&top, {UINT64_MAX, UINT64_MAX, 1, 1}, PRICES_COST_MAX},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(prices_cost(rows[i].price, &rows[i].tokens), rows[i].cost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_fit_whole_names),
        cmocka_unit_test(the_longest_pattern_then_the_latest_row_counts),
        cmocka_unit_test(an_answer_without_rows_keeps_those_that_are_there),
        cmocka_unit_test(what_a_call_costs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
