/* Prices: the rows of the service, the one that counts for a call, and what a call costs by it. Pure: no I/O, no clock.
 *
 * Money is whole 1e-12 USD (pico-USD), so that a price of 1e-6 USD per million tokens is still a whole number and sums
 * are exact. What would not fit stays at PRICES_COST_MAX.
 */
#ifndef AB_WORKER_PRICES_H
#define AB_WORKER_PRICES_H

#include "common/wire/operations.h"

#define PRICES_COST_MAX ((uint64_t)INT64_MAX) /* 9.2 million USD */

struct prices {
    struct ab_price *rows; /* their texts are in `packed` */
    size_t n;
    struct ab_buf packed;
    uint64_t version;
    bool known; /* read from storage at least once */
};

/* Takes an answer of list_prices over: all its rows, or none if the version is the one that is here. */
int prices_take(struct prices *prices, struct ab_view answer, struct ab_error *err);
void prices_finish(struct prices *prices);

/* The row of a model of that provider at that time: of those in force the one with the longest pattern, of these one
 * that names the provider, of these the latest. NULL: unpriced. Valid until the next prices_take. */
const struct ab_price *prices_find(const struct prices *prices, struct ab_view provider, struct ab_view model,
                                   int64_t at_ms);

/* Tokens of a call as endpoints report them: cached ones are among the prompt's, reasoning ones among the completion's
 * (what is above is taken for all of them). */
struct prices_tokens {
    uint64_t prompt, completion, cached, reasoning;
};
uint64_t prices_cost(const struct ab_price *price, const struct prices_tokens *tokens);

/* True if the pattern fits the whole name: * is any text, ? any one character, all else itself. */
bool prices_match(struct ab_view pattern, struct ab_view name);

#endif
