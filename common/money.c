/* See money.h. */
#include "common/money.h"

#include <inttypes.h>
#include <stdio.h>

static bool add_digit(uint64_t *value, unsigned digit)
{
    if (*value > ((uint64_t)INT64_MAX - digit) / 10)
        return false;
    *value = *value * 10 + digit;
    return true;
}

bool ab_decimal_read(struct ab_view text, unsigned places, uint64_t *value)
{
    uint64_t sum = 0;
    unsigned digits = 0, decimals = 0;
    bool point = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9' || (point && decimals == places) || !add_digit(&sum, (unsigned)(c - '0')))
            return false;
        digits++;
        decimals += point;
    }
    for (; decimals < places; decimals++)
        if (!add_digit(&sum, 0))
            return false;
    if (digits)
        *value = sum;
    return digits;
}

const char *ab_decimal_text(uint64_t value, unsigned places, unsigned least, char text[AB_USD_TEXT])
{
    uint64_t whole = 1;
    for (unsigned i = 0; i < places; i++)
        whole *= 10;
    if (!places) {
        snprintf(text, AB_USD_TEXT, "%" PRIu64, value);
        return text;
    }
    int n = snprintf(text, AB_USD_TEXT, "%" PRIu64 ".%0*" PRIu64, value / whole, (int)places, value % whole);
    for (unsigned shown = places; shown > least && text[n - 1] == '0'; shown--)
        text[--n] = 0;
    if (text[n - 1] == '.')
        text[n - 1] = 0;
    return text;
}

const char *ab_usd_text(uint64_t pico_usd, char text[AB_USD_TEXT])
{
    static const uint64_t CENT = 10000000000, MICRO = 1000000;
    if (pico_usd >= CENT)
        pico_usd = (pico_usd + MICRO / 2) / MICRO * MICRO;
    return ab_decimal_text(pico_usd, AB_USD_PLACES, 2, text);
}
