/* See prices.h. */
#include "worker/prices.h"

#include <stdlib.h>

/* --- the table ------------------------------------------------------------------------------------------------ */

void prices_finish(struct prices *prices)
{
    free(prices->rows);
    ab_buf_finish(&prices->packed);
    *prices = (struct prices){0};
}

static int read_rows(struct prices *prices, struct ab_error *err)
{
    struct ab_reader reader = ab_reader(ab_buf_view(&prices->packed));
    struct ab_view row;
    uint32_t n;
    if (ab_read_array(&reader, &n) || n > AB_PRICES_MAX)
        return ab_fail_at(err, AB_EINVALID, "prices", "is no array of at most %d rows", AB_PRICES_MAX);
    prices->rows = ab_calloc(n ? n : 1, sizeof *prices->rows);
    for (; prices->n < n; prices->n++) {
        if (ab_read_any(&reader, &row))
            return ab_fail_at(err, AB_EINVALID, "prices", "a row cannot be read");
        int code = ab_decode(&ab_price_schema, row, &prices->rows[prices->n], err);
        if (code)
            return code;
    }
    return 0;
}

int prices_take(struct prices *prices, struct ab_view answer, struct ab_error *err)
{
    struct ab_op_list_prices_answer list;
    int code = ab_decode(&ab_op_list_prices_answer_schema, answer, &list, err);
    if (code || (!list.prices.p && prices->known))
        return code;
    struct prices fresh = {.version = list.version, .known = true};
    ab_buf_add(&fresh.packed, list.prices.p ? list.prices.p : "\x90", list.prices.p ? list.prices.n : 1);
    code = read_rows(&fresh, err);
    if (code) {
        prices_finish(&fresh);
        return code;
    }
    prices_finish(prices);
    *prices = fresh;
    return 0;
}

/* --- which row ------------------------------------------------------------------------------------------------ */

/* One character of the name, however many bytes it has. */
static struct ab_view after_character(struct ab_view text)
{
    do {
        text.p++;
        text.n--;
    } while (text.n && ((unsigned char)*text.p & 0xc0) == 0x80);
    return text;
}

/* At a mismatch the last * takes one character more: linear but for that, whatever the pattern. */
bool prices_match(struct ab_view pattern, struct ab_view name)
{
    struct ab_view star = {0}, again = {0};
    while (name.n) {
        if (pattern.n && *pattern.p == '*') {
            pattern = star = ab_view(pattern.p + 1, pattern.n - 1);
            again = name;
        } else if (pattern.n && *pattern.p == '?') {
            pattern = ab_view(pattern.p + 1, pattern.n - 1);
            name = after_character(name);
        } else if (pattern.n && *pattern.p == *name.p) {
            pattern = ab_view(pattern.p + 1, pattern.n - 1);
            name = ab_view(name.p + 1, name.n - 1);
        } else if (star.p) {
            pattern = star;
            name = again = ab_view(again.p + 1, again.n - 1);
        } else {
            return false;
        }
    }
    while (pattern.n && *pattern.p == '*')
        pattern = ab_view(pattern.p + 1, pattern.n - 1);
    return !pattern.n;
}

static bool better(const struct ab_price *a, const struct ab_price *b)
{
    if (a->model.n != b->model.n)
        return a->model.n > b->model.n;
    if (!a->provider.n != !b->provider.n)
        return a->provider.n;
    return a->from_ms > b->from_ms;
}

const struct ab_price *prices_find(const struct prices *prices, struct ab_view provider, struct ab_view model,
                                   int64_t at_ms)
{
    const struct ab_price *best = NULL;
    for (size_t i = 0; i < prices->n; i++) {
        const struct ab_price *row = &prices->rows[i];
        if (row->from_ms <= (uint64_t)(at_ms > 0 ? at_ms : 0) &&
            (!row->provider.n || ab_view_eq(row->provider, provider)) && (!best || better(row, best)) &&
            prices_match(row->model, model))
            best = row;
    }
    return best;
}

/* --- what it costs -------------------------------------------------------------------------------------------- */

static uint64_t add_product(uint64_t sum, uint64_t tokens, uint64_t price)
{
    uint64_t product;
    if (__builtin_mul_overflow(tokens, price, &product) || __builtin_add_overflow(sum, product, &sum) ||
        sum > PRICES_COST_MAX)
        return PRICES_COST_MAX;
    return sum;
}

static uint64_t or_else(struct ab_maybe price, uint64_t otherwise)
{
    return price.is ? price.value : otherwise;
}

uint64_t prices_cost(const struct ab_price *price, const struct prices_tokens *tokens)
{
    uint64_t cached = tokens->cached < tokens->prompt ? tokens->cached : tokens->prompt;
    uint64_t thoughts = tokens->reasoning < tokens->completion ? tokens->reasoning : tokens->completion;
    uint64_t cost = add_product(0, tokens->prompt - cached, price->input_pico_usd);
    cost = add_product(cost, cached, or_else(price->cached_input_pico_usd, price->input_pico_usd));
    cost = add_product(cost, tokens->completion - thoughts, price->output_pico_usd);
    return add_product(cost, thoughts, or_else(price->reasoning_pico_usd, price->output_pico_usd));
}
