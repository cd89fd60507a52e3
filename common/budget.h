/* Budgets as people write them: "tokens=100000,usd=0.5,calls=20,turns=40,seconds=600". The same text stands on the command
 * line, in workflows, on the wire and in the database; amounts are whole numbers of each unit's smallest part.
 */
#ifndef AB_COMMON_BUDGET_H
#define AB_COMMON_BUDGET_H

#include "common/bytes.h"
#include "common/error.h"

/* Unit, name, decimals that are kept, meaning. Their numbers are in the database: a new one goes to the end. */
#define AB_BUDGET_UNITS(X)                                                                                     \
    X(TOKENS, "tokens", 0, "of prompts and completions together")                                              \
    X(USD, "usd", 12, "money, by the price rows of the service")                                               \
    X(CALLS, "calls", 0, "calls of models")                                                                    \
    X(TURNS, "turns", 0, "messages of agents, made by a model or not")                                         \
    X(SECONDS, "seconds", 3, "time that models took to answer")

enum ab_budget_unit {
#define X(NAME, name, places, doc) AB_BUDGET_##NAME,
    AB_BUDGET_UNITS(X)
#undef X
        AB_BUDGET_UNITS_N
};
enum { AB_BUDGET_TEXT_MAX = 160, AB_BUDGET_AMOUNT_TEXT = 48 };

/* What a job's worker must know before it calls a model: `budget` of COMMITTED, CONFLICT and JOB. */
enum {
    AB_UNDER_BUDGET = 1, /* no call without a call_started on disk */
    AB_UNDER_USD = 2,    /* none whose cost has no bound */
    AB_UNDER_TOKENS = 4, /* none without max_tokens; also of AB_UNDER_USD */
};

const char *ab_budget_unit_name(enum ab_budget_unit unit);
/* AB_BUDGET_UNITS_N if it is none. */
enum ab_budget_unit ab_budget_unit_of(struct ab_view name);

struct ab_budget {
    struct ab_maybe limit[AB_BUDGET_UNITS_N];
    bool none[AB_BUDGET_UNITS_N]; /* "usd=none": the limit is to be taken away */
};
/* AB_EINVALID with what is wrong and what to write. At least one unit, none twice; `none` only if it is allowed. */
int ab_budget_read(struct ab_view text, bool none_allowed, struct ab_budget *budget, struct ab_error *err);
/* The same back, in the order of the units. */
void ab_budget_text(const struct ab_budget *budget, char text[AB_BUDGET_TEXT_MAX]);
/* "0.50 USD", "1200 tokens" */
const char *ab_budget_amount(enum ab_budget_unit unit, uint64_t amount, char text[AB_BUDGET_AMOUNT_TEXT]);

#endif
