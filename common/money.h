/* Money is whole 1e-12 USD (pico-USD) everywhere; people write and read USD with decimals. No floating point. */
#ifndef AB_COMMON_MONEY_H
#define AB_COMMON_MONEY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"

enum { AB_USD_PLACES = 12, AB_USD_TEXT = 32 };

/* "12", "0.5", ".25" with at most so many decimals, as a whole number of the last place. False for anything else, and for
 * what is above INT64_MAX. */
bool ab_decimal_read(struct ab_view text, unsigned places, uint64_t *value);
/* Exactly, with at least `least` decimals: "0.50", "0.0000025". */
const char *ab_decimal_text(uint64_t value, unsigned places, unsigned least, char text[AB_USD_TEXT]);
/* The same of pico-USD, as far as it matters: from 0.01 USD on rounded to six decimals. */
const char *ab_usd_text(uint64_t pico_usd, char text[AB_USD_TEXT]);

#endif
