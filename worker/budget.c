/* Calls of jobs under a budget: none is made before what it may take is reserved on disk, by a `call_started` of its own.
 *
 * Storage decides, in the transaction that would write it. Refused, the event is taken back. A call whose length nobody has
 * bounded is tried with a shorter bound if the budget is nearly spent; else the job parks once its other calls are over.
 * One reservation of a job is under way at a time.
 */
#include <stdlib.h>

#include "common/budget.h"
#include "common/clock.h"
#include "worker/worker.h"

enum { BYTES_PER_TOKEN = 3 }; /* of a prompt, when it is estimated */

/* max_tokens of a call that names none, under a budget of tokens or money; the next one if that has no room. */
static const uint32_t tokens_tried[] = {4096, 1024, 256};
enum { TRIES = sizeof tokens_tried / sizeof *tokens_tried };

static uint64_t larger(struct ab_maybe a, uint64_t b)
{
    return a.is && a.value > b ? a.value : b;
}

static uint64_t json_bytes(const json_t *tree)
{
    return tree ? json_dumpb(tree, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) : 0;
}

static uint64_t prompt_tokens(struct run *run, const struct engine_effect *effect)
{
    json_t *messages = engine_messages(run->engine, effect, 0), *tools = toolkit_described(run, effect);
    uint64_t bytes = json_bytes(messages) + json_bytes(tools) + json_bytes(effect->response_format) +
                     json_bytes(effect->llm->extra_body);
    json_decref(messages);
    json_decref(tools);
    return (bytes + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN;
}

/* What the call costs at most by one endpoint's price; absent: it has none. */
static struct ab_maybe cost_at(const struct worker *worker, const char *provider, const char *model,
                               const struct prices_tokens *tokens)
{
    const struct ab_price *row =
        prices_find(&worker->pricing.prices, ab_view_of(worker->host.offline ? "script" : provider),
                    ab_view_of(model), ab_wall_ms());
    if (!row)
        return (struct ab_maybe){0};
    struct ab_price dearest = {
        .input_pico_usd = larger(row->cached_input_pico_usd, row->input_pico_usd),
        .output_pico_usd = larger(row->reasoning_pico_usd, row->output_pico_usd),
    };
    return ab_some(prices_cost(&dearest, tokens));
}

/* Of the dearest endpoint, for any may have to answer. *unpriced: one without a price. */
static struct ab_maybe cost_of(const struct worker *worker, const struct ab_llm *llm,
                               const struct prices_tokens *tokens, const struct ab_llm_entry **unpriced)
{
    static const struct ab_llm_entry offline = {.provider = AB_PROVIDER_SCRIPT, .model = ""};
    const struct ab_llm_entry *entries = llm->n_entries ? llm->entries : &offline;
    struct ab_maybe most = ab_some(0);
    *unpriced = NULL;
    for (size_t i = 0; i < (llm->n_entries ? llm->n_entries : 1); i++) {
        struct ab_maybe cost = cost_at(worker, ab_provider_name(entries[i].provider), entries[i].model, tokens);
        if (!cost.is) {
            *unpriced = &entries[i];
            return cost;
        }
        most.value = larger(cost, most.value);
    }
    return most;
}

static void refuse_unpriced(struct run *run, const struct engine_effect *effect,
                            const struct ab_llm_entry *entry)
{
    struct ab_error err = {0};
    ab_fail(&err, AB_EBUDGET,
            "agent \"%s\": the job is under a budget in USD, and model \"%.100s\" (%s) has no price; set one: "
            "autobots "
            "prices set '%.100s' --input USD --output USD",
            effect->agent, entry->model, ab_provider_name(entry->provider), entry->model);
    journal_end(run, "failed", "error", &err);
}

static bool own_bound(const struct run *run, const struct ab_llm *llm)
{
    return llm->max_tokens > 0 || !(run->budget & AB_UNDER_TOKENS);
}

void budget_reserve(struct run *run, const struct engine_effect *effect)
{
    const struct ab_llm *llm = effect->llm;
    const struct ab_llm_entry *unpriced;
    struct ab_error err = {0};

    if (call_of(run, effect->step) || run->reserving || run->no_room || run->calls_n >= effect->calls_left ||
        !journal_settled(run))
        return;
    uint64_t max_tokens = own_bound(run, llm) ? (uint64_t)llm->max_tokens : tokens_tried[run->budget_tries];
    struct prices_tokens tokens = {.prompt = prompt_tokens(run, effect), .completion = max_tokens};
    struct ab_call_started call = {.step = ab_view_of(effect->step),
                                   .agent = ab_view_of(effect->agent),
                                   .model = ab_view_of(llm->n_entries ? llm->entries[0].model : NULL),
                                   .tokens = tokens.prompt + tokens.completion,
                                   .max_tokens = max_tokens,
                                   .cost_pico_usd = cost_of(run->worker, llm, &tokens, &unpriced),
                                   .turn = !effect->purpose,
                                   .at_ms = (uint64_t)ab_wall_ms()};
    if (unpriced && run->budget & AB_UNDER_USD) {
        refuse_unpriced(run, effect, unpriced);
        return;
    }
    run->wanted = (struct ab_waiting){
        .tokens = call.tokens, .cost_pico_usd = call.cost_pico_usd, .turn = call.turn, .agent = call.agent};
    run->reserving = call_make(run, effect);
    run->reserving->max_tokens = (uint32_t)max_tokens;
    run->reserved_seq = run->committed_seq + 1;
    if (journal_add(run, AB_KIND_CALL_STARTED, &call, &err))
        journal_end(run, "failed", "error", &err);
    else
        run->unsent.call = true;
}

void budget_go_on(struct run *run)
{
    struct call *call = run->reserving;
    if (!call || run->committed_seq < run->reserved_seq)
        return;
    run->reserving = NULL;
    if (run->gave_up.code || run->paused)
        call_forget(call);
    else
        call_begin(call);
}

void budget_refused(struct run *run, struct ab_view why, bool later)
{
    if (!run->reserving)
        return; /* it was given up meanwhile */
    bool shorter = !later && !own_bound(run, run->reserving->effect.llm) && run->budget_tries + 1 < TRIES;
    call_forget(run->reserving);
    run->reserving = NULL;
    if (shorter)
        run->budget_tries++;
    else
        run->no_room = ab_view_dup(why);
}

void budget_try_again(struct run *run)
{
    free(run->no_room);
    run->no_room = NULL;
}
