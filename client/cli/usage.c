/* See usage.h. */
#include "client/cli/usage.h"

#include <stdio.h>
#include <string.h>

#include "common/bytes.h"
#include "common/money.h"
#include "common/tree.h"

void usage_add(struct usage *usage, const json_t *event)
{
    const char *kind = ab_tree_str(event, "kind");
    if (kind && !strcmp(kind, "forked")) /* what was before it is another job's */
        *usage = (struct usage){0};
    if (!kind || strcmp(kind, "model_reply"))
        return;
    usage->calls++;
    usage->tokens += ab_tree_int(event, "prompt_tokens", 0) + ab_tree_int(event, "completion_tokens", 0);
    int64_t cost = ab_tree_int(event, "cost_pico_usd", ab_tree_bool(event, "cached", false) ? 0 : -1);
    usage->priced_calls += cost >= 0;
    usage->cost_pico_usd +=
        cost > 0 ? (uint64_t)cost : 0; /* a journal has no room for calls that would wrap it */
}

const char *usage_cost(const struct usage *usage, char cost[USAGE_TEXT])
{
    char usd[AB_USD_TEXT];
    int64_t unpriced = usage->calls - usage->priced_calls;
    ab_usd_text(usage->cost_pico_usd, usd);
    if (usage->calls && !unpriced)
        snprintf(cost, USAGE_TEXT, "%s USD", usd);
    else if (usage->cost_pico_usd)
        snprintf(cost, USAGE_TEXT, "%s USD + %lld unpriced %s", usd, (long long)unpriced,
                 unpriced == 1 ? "call" : "calls");
    else
        snprintf(cost, USAGE_TEXT, "unpriced");
    return cost;
}

/* The same out of a result, where the cost of all calls is a number only if it is known of all. */
static struct usage usage_of(const json_t *total)
{
    int64_t calls = ab_tree_int(total, "calls", 0), cost = ab_tree_int(total, "cost_pico_usd", -1);
    bool known = json_is_number(json_object_get(total, "cost"));
    double part = ab_tree_number(total, known ? "cost" : "known_cost", 0);
    return (struct usage){.calls = calls,
                          .priced_calls = known ? calls : calls - ab_tree_int(total, "unpriced_calls", calls),
                          .cost_pico_usd = cost >= 0 ? (uint64_t)cost : (uint64_t)(part * 1e12 + 0.5)};
}

void usage_texts(const json_t *total, char tokens[USAGE_TEXT], char cost[USAGE_TEXT])
{
    struct usage usage = usage_of(total);
    snprintf(tokens, USAGE_TEXT, "-");
    snprintf(cost, USAGE_TEXT, "-");
    if (!total)
        return;
    snprintf(tokens, USAGE_TEXT, "%lld",
             (long long)(ab_tree_int(total, "prompt_tokens", 0) + ab_tree_int(total, "completion_tokens", 0)));
    usage_cost(&usage, cost);
}

char *usage_line(const json_t *total)
{
    char tokens[USAGE_TEXT], cost[USAGE_TEXT];
    struct ab_buf line = {0};
    long long calls = ab_tree_int(total, "calls", 0), cached_calls = ab_tree_int(total, "cached_calls", 0);
    usage_texts(total, tokens, cost);
    ab_buf_format(&line, "%lld %s", calls, calls == 1 ? "call" : "calls");
    if (cached_calls)
        ab_buf_format(&line, " (%lld from the cache)", cached_calls);
    ab_buf_format(
        &line, " · tokens: %lld in (%lld cached), %lld out · %s%s",
        (long long)ab_tree_int(total, "prompt_tokens", 0), (long long)ab_tree_int(total, "cached_tokens", 0),
        (long long)ab_tree_int(total, "completion_tokens", 0), strcmp(cost, "unpriced") ? "cost " : "", cost);
    return ab_buf_detach(&line);
}
