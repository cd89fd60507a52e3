/* Budgets as text, and the periods in which they start again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/budget.h"
#include "storage/sqlite/budgets.h"

static void limits_are_read_and_written_back(void **state)
{
    static const struct {
        const char *text, *canonical;
    } rows[] = {
        {"tokens=100000", "tokens=100000"},
        {"usd=0.5", "usd=0.5"},
        {"usd=0.000000000001", "usd=0.000000000001"},
        {"seconds=1.5,turns=3,tokens=0", "tokens=0,turns=3,seconds=1.5"},
        {"calls=none,usd=2.50", "usd=2.5,calls=none"},
        {"tokens=9223372036854775807,usd=none,calls=1,turns=2,seconds=3",
         "tokens=9223372036854775807,usd=none,calls=1,turns=2,seconds=3"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ab_budget budget;
        char text[AB_BUDGET_TEXT_MAX];
        assert_int_equal(ab_budget_read(ab_view_of(rows[i].text), true, &budget, NULL), 0);
        ab_budget_text(&budget, text);
        assert_string_equal(text, rows[i].canonical);
    }
}

static void faults_are_named(void **state)
{
    static const struct {
        const char *text, *said;
    } rows[] = {
        {"", "nothing is no limit"},
        {"euro=1", "euro=1"},
        {"tokens", "tokens= is no amount"},
        {"tokens=", "tokens="},
        {"tokens=1.5", "at most 0 decimals"},
        {"tokens=-1", "tokens=-1"},
        {"usd=0.0000000000001", "at most 12 decimals"},
        {"usd=none", "usd=none"},
        {"tokens=1,tokens=2", "twice"},
        {"tokens=1,", "nothing is no limit"},
        {"tokens=1 calls=2", "tokens=1 calls=2"},
        {"seconds=9223372036854775807", "seconds="},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ab_budget budget;
        struct ab_error err = {0};
        assert_int_equal(ab_budget_read(ab_view_of(rows[i].text), false, &budget, &err), AB_EINVALID);
        assert_non_null(strstr(err.text, rows[i].said));
    }
    assert_int_equal(ab_budget_read((struct ab_view){0}, true, &(struct ab_budget){0}, NULL), AB_EINVALID);
}

static void amounts_are_shown_with_their_unit(void **state)
{
    char text[AB_BUDGET_AMOUNT_TEXT];
    (void)state;
    assert_string_equal(ab_budget_amount(AB_BUDGET_USD, UINT64_C(500000000000), text), "0.50 USD");
    assert_string_equal(ab_budget_amount(AB_BUDGET_TOKENS, 1200, text), "1200 tokens");
    assert_string_equal(ab_budget_amount(AB_BUDGET_SECONDS, 1500, text), "1.5 seconds");
    assert_string_equal(ab_budget_amount(AB_BUDGET_USD, INT64_MAX, text), "9223372.036855 USD");
}

static void periods_begin_at_midnight_utc(void **state)
{
    static const struct {
        unsigned period;
        int64_t now_ms, start_ms, next_ms;
    } rows[] = {
        {PERIOD_DAY, 1709251199999, 1709164800000, 1709251200000},   /* 2024-02-29T23:59:59.999 */
        {PERIOD_DAY, 1709251200000, 1709251200000, 1709337600000},   /* 2024-03-01T00:00 */
        {PERIOD_MONTH, 1709251199999, 1706745600000, 1709251200000}, /* February */
        {PERIOD_MONTH, 1709251200000, 1709251200000, 1711929600000}, /* March */
        {PERIOD_MONTH, 1735689599999, 1733011200000, 1735689600000}, /* 2024-12-31T23:59:59.999 */
        {PERIOD_TOTAL, 1735689599999, 77, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(budget_period_start(rows[i].period, 77, rows[i].now_ms), rows[i].start_ms);
        assert_int_equal(budget_period_next(rows[i].period, rows[i].now_ms), rows[i].next_ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_are_read_and_written_back),
        cmocka_unit_test(faults_are_named),
        cmocka_unit_test(amounts_are_shown_with_their_unit),
        cmocka_unit_test(periods_begin_at_midnight_utc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
