/* See budget.h. */
#include "common/budget.h"

#include <stdio.h>

#include "common/money.h"

static const struct {
    const char *name;
    unsigned places;
} units[AB_BUDGET_UNITS_N] = {
#define X(NAME, name, places, doc) {name, places},
    AB_BUDGET_UNITS(X)
#undef X
};

const char *ab_budget_unit_name(enum ab_budget_unit unit)
{
    return units[unit].name;
}

enum ab_budget_unit ab_budget_unit_of(struct ab_view name)
{
    int unit = 0;
    while (unit < AB_BUDGET_UNITS_N && !ab_view_is(name, units[unit].name))
        unit++;
    return (enum ab_budget_unit)unit;
}

static int read_one(struct ab_view item, bool none_allowed, struct ab_budget *budget, struct ab_error *err)
{
    const char *equals = memchr(item.p, '=', item.n);
    size_t name_bytes = equals ? (size_t)(equals - item.p) : item.n;
    enum ab_budget_unit unit = ab_budget_unit_of(ab_view(item.p, name_bytes));
    struct ab_view amount = equals ? ab_view(equals + 1, item.n - name_bytes - 1) : (struct ab_view){0};
    uint64_t value = 0;
    if (unit == AB_BUDGET_UNITS_N)
        return ab_fail_at(
            err, AB_EINVALID, "budget",
            "%.*s is no limit: write tokens=N, usd=N, calls=N, turns=N, seconds=N, with commas between",
            item.n ? (int)(item.n < 60 ? item.n : 60) : 7, item.n ? item.p : "nothing");
    if (budget->limit[unit].is || budget->none[unit])
        return ab_fail_at(err, AB_EINVALID, "budget", "%s stands there twice", units[unit].name);
    if (none_allowed && ab_view_is(amount, "none")) {
        budget->none[unit] = true;
        return 0;
    }
    if (!ab_decimal_read(amount, units[unit].places, &value))
        return ab_fail_at(err, AB_EINVALID, "budget",
                          "%s=%.*s is no amount: a number with at most %u decimals%s", units[unit].name,
                          (int)(amount.n < 60 ? amount.n : 60), amount.p ? amount.p : "", units[unit].places,
                          none_allowed ? ", or none" : "");
    budget->limit[unit] = ab_some(value);
    return 0;
}

int ab_budget_read(struct ab_view text, bool none_allowed, struct ab_budget *budget, struct ab_error *err)
{
    *budget = (struct ab_budget){0};
    const char *at = text.p ? text.p : "", *end = at + text.n;
    for (;;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        int code = read_one(ab_view(at, (size_t)((comma ? comma : end) - at)), none_allowed, budget, err);
        if (code || !comma)
            return code;
        at = comma + 1;
    }
}

void ab_budget_text(const struct ab_budget *budget, char text[AB_BUDGET_TEXT_MAX])
{
    char amount[AB_USD_TEXT];
    size_t n = 0;
    *text = 0;
    for (int unit = 0; unit < AB_BUDGET_UNITS_N; unit++) {
        if (!budget->limit[unit].is && !budget->none[unit])
            continue;
        const char *value = budget->none[unit]
                                ? "none"
                                : ab_decimal_text(budget->limit[unit].value, units[unit].places, 0, amount);
        n += (size_t)snprintf(text + n, AB_BUDGET_TEXT_MAX - n, "%s%s=%s", n ? "," : "", units[unit].name,
                              value);
    }
}

const char *ab_budget_amount(enum ab_budget_unit unit, uint64_t amount, char text[AB_BUDGET_AMOUNT_TEXT])
{
    char number[AB_USD_TEXT];
    if (unit == AB_BUDGET_USD)
        snprintf(text, AB_BUDGET_AMOUNT_TEXT, "%s USD", ab_usd_text(amount, number));
    else
        snprintf(text, AB_BUDGET_AMOUNT_TEXT, "%s %s", ab_decimal_text(amount, units[unit].places, 0, number),
                 units[unit].name);
    return text;
}
