/* Decimals of people and whole numbers of programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/money.h"

static void decimals_are_read_exactly(void **state)
{
    static const struct {
        const char *text;
        unsigned places;
        bool ok;
        uint64_t value;
    } rows[] = {
        {"1", 6, true, 1000000},
        {"0.1", 6, true, 100000},
        {".25", 2, true, 25},
        {"2.", 2, true, 200},
        {"0.000001", 6, true, 1},
        {"007", 0, true, 7},
        {"9223372036854775807", 0, true, INT64_MAX},
        {"9223372.036854775807", 12, true, INT64_MAX},
        {"9223372036854775808", 0, false, 0},
        {"9223373", 12, false, 0},
        {"0.0000001", 6, false, 0},
        {"1.0", 0, false, 0},
        {"", 6, false, 0},
        {".", 6, false, 0},
        {"1.2.3", 6, false, 0},
        {"-1", 6, false, 0},
        {"+1", 6, false, 0},
        {"1e3", 6, false, 0},
        {" 1", 6, false, 0},
        {"1 ", 6, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t value = 0;
        assert_int_equal(ab_decimal_read(ab_view_of(rows[i].text), rows[i].places, &value), rows[i].ok);
        assert_int_equal(value, rows[i].value);
    }
}

static void numbers_are_written_as_people_do(void **state)
{
    static const struct {
        uint64_t value;
        unsigned places, least;
        const char *text;
    } rows[] = {
        {2500000, 6, 2, "2.50"},
        {1, 6, 2, "0.000001"},
        {0, 6, 2, "0.00"},
        {100, 2, 0, "1"},
        {INT64_MAX, 12, 2, "9223372.036854775807"},
        {15, 1, 0, "1.5"},
        {1200, 0, 0, "1200"},
    };
    char text[AB_USD_TEXT];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(ab_decimal_text(rows[i].value, rows[i].places, rows[i].least, text), rows[i].text);
    assert_string_equal(ab_usd_text(2500000, text), "0.0000025");
    assert_string_equal(ab_usd_text(UINT64_C(1234567890123), text), "1.234568");
    assert_string_equal(ab_usd_text(UINT64_C(1500000000000), text), "1.50");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimals_are_read_exactly),
        cmocka_unit_test(numbers_are_written_as_people_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
