/* What calls cost: keeps the service's price rows fresh, and prices replies by them. The rows are read before the first
 * call and then as often as PRICING_EVERY_MS, so that a changed price counts soon; most answers say "as before". */
#include "common/clock.h"
#include "common/log.h"
#include "worker/worker.h"

/* Runs whose calls waited for the first answer go on. */
static void on_prices(struct worker *worker, struct run *none, struct ab_view answer,
                      const struct ab_error *error)
{
    struct ab_error err = {0};
    struct run *run;
    (void)none;
    worker->pricing.asked = false;
    worker->pricing.at_ms = ab_mono_ms() + PRICING_EVERY_MS;
    if (error)
        err = *error;
    else
        prices_take(&worker->pricing.prices, answer, &err);
    if (err.code) /* a storage that has none */
        ab_log(AB_WARN, "prices.unknown", "code", ab_code_name(err.code), "text", err.text, NULL);
    if (worker->pricing.ready)
        return;
    worker->pricing.ready = true;
    TAILQ_FOREACH(run, &worker->all, in_all)
    run_wake(run);
}

void pricing_tick(struct worker *worker, int64_t now_ms)
{
    struct pricing *pricing = &worker->pricing;
    struct ab_op_list_prices request = {.version = pricing->prices.version};
    if (!worker->storage.open || pricing->asked || now_ms < pricing->at_ms)
        return;
    pricing->asked = true;
    queries_ask(worker, NULL, AB_OP_list_prices, &request, on_prices);
}

int64_t pricing_deadline(const struct worker *worker)
{
    return worker->storage.open && !worker->pricing.asked ? worker->pricing.at_ms : INT64_MAX;
}

/* By the name that the endpoint gave its model, which is the more exact one, else by the one it was asked for. */
struct ab_maybe pricing_of(const struct worker *worker, struct ab_view provider, const char *asked,
                           const struct ab_model_reply *reply)
{
    const struct prices *prices = &worker->pricing.prices;
    const struct prices_tokens tokens = {.prompt = reply->prompt_tokens,
                                         .completion = reply->completion_tokens,
                                         .cached = reply->cached_tokens,
                                         .reasoning = reply->reasoning_tokens};
    if (reply->cached)
        return ab_some(0);
    const struct ab_price *price = prices_find(prices, provider, reply->model, (int64_t)reply->at_ms);
    if (!price && asked)
        price = prices_find(prices, provider, ab_view_of(asked), (int64_t)reply->at_ms);
    return price ? ab_some(prices_cost(price, &tokens)) : (struct ab_maybe){0};
}
