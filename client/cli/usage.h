/* Tokens and calls so far, summed up from a job's events. What a run cost in the end its result says. */
#ifndef AUTOBOTS_CLI_USAGE_H
#define AUTOBOTS_CLI_USAGE_H

#include <jansson.h>
#include <stdint.h>

struct usage {
    int64_t calls, tokens;
    int64_t priced_calls;   /* of the calls: what they cost is known */
    uint64_t cost_pico_usd; /* of these */
};

/* Counts the event if it is a model's reply. */
void usage_add(struct usage *usage, const json_t *event);
/* Tokens and cost of a job record that has ended as short texts, "-" for what is not known, "unpriced" for a cost
 * that nobody has a price for. */
enum { USAGE_TEXT = 64 };
void usage_texts(const json_t *total, char tokens[USAGE_TEXT], char cost[USAGE_TEXT]);
/* "2 calls · tokens: 93 in (0 cached), 39 out · cost 0.0123 USD" of the same; malloc'ed. */
char *usage_line(const json_t *total);
/* What the run cost so far: "0.0123 USD", "unpriced", or "0.0123 USD + 2 unpriced calls". */
const char *usage_cost(const struct usage *usage, char cost[USAGE_TEXT]);

#endif
