/* Model calls of jobs: the request from an effect, the text as it streams, the reply as an event.
 *
 * A reply is journaled at once, with all that follows from it; what depends on it waits for COMMITTED (steps.c). A job may
 * have several calls under way, each known by its step. If one of them fails for now, the others are waited for before
 * the attempt is given up: what they bring is paid for.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/wire/tree.h"
#include "worker/skills.h"

enum { CALL_KEY_BYTES = AB_ID_TEXT + ENGINE_STEP_MAX };

/* --- streamed text -------------------------------------------------------------------------------------------- */

void calls_flush_text(struct run *run)
{
    struct call *call;
    TAILQ_FOREACH(call, &run->calls, in_run)
    feed_flush(run, &call->feed);
}

/* What is no agent's turn is not shown while it is written. */
static void on_delta(void *user, struct ab_view text)
{
    struct call *call = user;
    if (!call->effect.purpose)
        feed_add(call->run, &call->feed, text);
}

static void on_attempt(void *user, unsigned attempt)
{
    struct call *call = user;
    (void)attempt;
    feed_clear(&call->feed);
    call->feed.attempt++;
}

/* --- the request ---------------------------------------------------------------------------------------------- */

static int open_secret(const struct run *run, int index, struct ab_buf *key, struct ab_error *err)
{
    struct ab_reader reader = ab_reader(ab_buf_view(&run->secrets));
    struct ab_view sealed = {0};
    uint32_t n = 0;

    if (!run->secrets.n || ab_read_array(&reader, &n) || index < 0 || (uint32_t)index >= n)
        return ab_fail(err, AB_EINVALID, "the workflow names request key %d, but %u came with the job", index,
                       n);
    for (int i = 0; i <= index; i++)
        if (ab_read_bin(&reader, &sealed))
            return ab_fail(err, AB_EINVALID, "the job's sealed keys are damaged");
    return secrets_open(&run->worker->pair, ab_view(run->job.b, AB_ID_BYTES), sealed, key, err);
}

static int fill_endpoints(const struct run *run, const struct ab_llm *llm, struct model_endpoint *endpoints,
                          struct ab_buf *keys, struct ab_error *err)
{
    int code = 0;
    for (size_t i = 0; !code && i < llm->n_entries; i++) {
        const struct ab_llm_entry *entry = &llm->entries[i];
        endpoints[i] = (struct model_endpoint){.api_type = ab_provider_name(entry->provider),
                                               .model = entry->model,
                                               .base_url = entry->base_url,
                                               .api_version = entry->api_version,
                                               .script = entry->script};
        if (entry->secret >= 0)
            code = open_secret(run, entry->secret, &keys[i], err);
        if (keys[i].n)
            endpoints[i].api_key = ab_buf_view(&keys[i]);
    }
    return code;
}

static void on_done(void *user, struct model_reply *reply, const struct model_failure *failure);

/* A new reference; NULL: none is made. */
static json_t *tool_choice(const struct engine_effect *effect)
{
    const char *choice = effect->tools_closed ? "none" : effect->tool_choice;
    if (choice && strcmp(choice, "none") && strcmp(choice, "required"))
        return json_pack("{ss s{ss}}", "type", "function", "function", "name", choice);
    return choice ? json_string(choice) : NULL;
}

static int start(struct call *call, struct ab_error *err)
{
    struct run *run = call->run;
    const struct engine_effect *effect = &call->effect;
    static const struct model_callbacks callbacks = {
        .on_delta = on_delta, .on_attempt = on_attempt, .on_done = on_done};
    const struct ab_llm *llm = effect->llm;
    struct model_endpoint endpoints[MODEL_ENDPOINTS_MAX] = {0};
    struct ab_buf keys[MODEL_ENDPOINTS_MAX] = {0};
    char id[AB_ID_TEXT], key[CALL_KEY_BYTES];
    double timeout_ms = llm->timeout_s * 1000;
    int64_t max_tokens = call->max_tokens ? call->max_tokens : llm->max_tokens;

    snprintf(key, sizeof key, "%s:%s", ab_id_text(run->job, id), effect->step);
    struct model_request request = {.endpoints = endpoints,
                                    .endpoint_count = llm->n_entries,
                                    .agent = effect->agent,
                                    .tools = toolkit_described(run, effect),
                                    .tool_choice = tool_choice(effect),
                                    .parallel_tool_calls = effect->parallel_tool_calls,
                                    .response_format = effect->response_format,
                                    .extra_body = llm->extra_body,
                                    .cache = llm->cache_seed >= 0,
                                    .cache_seed = llm->cache_seed,
                                    .call_index = effect->call_index,
                                    .temperature = llm->temperature,
                                    .max_tokens = max_tokens > INT32_MAX ? INT32_MAX : (int)max_tokens,
                                    .timeout_ms = timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms,
                                    .total_ms = effect->left_ms,
                                    .stream = true,
                                    .idempotency_key = key};
    int code = fill_endpoints(run, llm, endpoints, keys, err);
    if (!code) {
        request.messages = engine_messages(run->engine, effect, call->trimmed);
        skills_tell(run, effect, request.messages);
        code = model_call_start(run->worker->models, &request, &callbacks, call, &call->handle, err);
        json_decref(request.messages);
    }
    json_decref(request.tools);
    json_decref(request.tool_choice);
    for (size_t i = 0; i < llm->n_entries; i++)
        secrets_wipe(&keys[i]);
    return code;
}

void call_forget(struct call *call)
{
    if (call->run->reserving == call)
        call->run->reserving = NULL;
    model_call_cancel(call->handle);
    feed_clear(&call->feed);
    TAILQ_REMOVE(&call->run->calls, call, in_run);
    call->run->calls_n--;
    free(call);
}

void calls_abort(struct run *run)
{
    while (!TAILQ_EMPTY(&run->calls))
        call_forget(TAILQ_FIRST(&run->calls));
}

/* For good at once; for now when the other calls are over. The call is gone already. */
void run_give_up(struct run *run, const struct ab_error *error)
{
    if (!error->retryable)
        journal_end(run, "failed", "error", error);
    else if (!run->gave_up.code)
        run->gave_up = *error;
    run_wake(run);
}

struct call *call_of(const struct run *run, const char *step)
{
    struct call *call;
    TAILQ_FOREACH(call, &run->calls, in_run)
    if (!strcmp(call->effect.step, step))
        return call;
    return NULL;
}

struct call *call_make(struct run *run, const struct engine_effect *effect)
{
    struct call *call = ab_calloc(1, sizeof *call);
    call->run = run;
    call->effect = *effect;
    feed_init(run, &call->feed, call->effect.step, call->effect.agent);
    TAILQ_INSERT_TAIL(&run->calls, call, in_run);
    run->calls_n++;
    return call;
}

void call_begin(struct call *call)
{
    struct run *run = call->run;
    struct ab_error err = {0};
    if (AB_FAILPOINT("worker.before_call"))
        ab_fail(&err, AB_EUNAVAILABLE, "fail point worker.before_call");
    else
        start(call, &err);
    if (!err.code)
        return;
    call_forget(call);
    run_give_up(run, &err);
}

void call_start(struct run *run, const struct engine_effect *effect)
{
    if (!call_of(run, effect->step) && run->calls_n < effect->calls_left)
        call_begin(call_make(run, effect));
}

/* --- the reply ------------------------------------------------------------------------------------------------ */

static struct ab_view clip(const char *text, size_t bytes_max)
{
    struct ab_view view = ab_view_of(text);
    if (view.p)
        view.n = feed_whole(view.p, view.n, bytes_max);
    return view;
}

static uint64_t count(int64_t value)
{
    return value > 0 ? (uint64_t)value : 0;
}

static const char *asked_model(const struct ab_llm *llm, const struct model_reply *reply)
{
    return reply->endpoint < llm->n_entries ? llm->entries[reply->endpoint].model : NULL;
}

static void count_reply(struct worker_counters *all, const struct ab_model_reply *reply)
{
    all->calls++;
    all->calls_cached += reply->cached;
    all->calls_unpriced += !reply->cost_pico_usd.is;
    all->prompt_tokens += reply->prompt_tokens;
    all->completion_tokens += reply->completion_tokens;
    all->cached_tokens += reply->cached_tokens;
    all->reasoning_tokens += reply->reasoning_tokens;
    all->cost_pico_usd += reply->cost_pico_usd.value;
    all->latency_ms += reply->latency_ms;
}

static void journal_reply(struct run *run, const struct engine_effect *effect, uint64_t trimmed,
                          const struct model_reply *reply)
{
    const char *text = *reply->content || !reply->refusal ? reply->content : reply->refusal;
    const struct ab_llm *llm = effect->llm;
    enum ab_provider provider = reply->offline || reply->endpoint >= llm->n_entries
                                    ? AB_PROVIDER_SCRIPT
                                    : llm->entries[reply->endpoint].provider;
    struct ab_buf tool_calls = {0};
    struct ab_error err = {0};

    if (reply->tool_calls)
        ab_tree_pack(&tool_calls, reply->tool_calls);
    struct ab_model_reply event = {.step = ab_view_of(effect->step),
                                   .agent = ab_view_of(effect->agent),
                                   .to = ab_view_of(effect->to),
                                   .provider = ab_view_of(ab_provider_name(provider)),
                                   .model = clip(reply->model ? reply->model : "", 255),
                                   .content = ab_view_of(text),
                                   .reasoning = ab_view_of(reply->reasoning),
                                   .finish_reason =
                                       clip(reply->finish_reason ? reply->finish_reason : "stop", 31),
                                   .prompt_tokens = count(reply->usage.prompt),
                                   .completion_tokens = count(reply->usage.completion),
                                   .cached_tokens = count(reply->usage.cached),
                                   .reasoning_tokens = count(reply->usage.reasoning),
                                   .trimmed_tokens = trimmed,
                                   .estimated = !reply->usage.reported,
                                   .offline = reply->offline,
                                   .cached = reply->cached,
                                   .latency_ms = count(reply->latency_ms),
                                   .tries = reply->attempts,
                                   .request_id = clip(reply->request_id, 255),
                                   .at_ms = (uint64_t)ab_wall_ms()};
    event.cost_pico_usd = pricing_of(run->worker, event.provider, asked_model(llm, reply), &event);
    count_reply(&run->worker->counters, &event);
    if (effect->purpose)
        event.purpose = ab_view_of(effect->purpose);
    if (effect->chosen)
        event.chosen = ab_view_of(effect->chosen);
    if (reply->tool_calls)
        event.tool_calls = ab_buf_view(&tool_calls);
    if (journal_add(run, AB_KIND_MODEL_REPLY, &event, &err))
        run_give_up(run, &err);
    ab_buf_finish(&tool_calls);
}

/* A model whose context is too small for what it was sent gets less of it, once. */
static bool trim(struct call *call, const struct model_failure *failure, struct ab_error *err)
{
    if (!failure || failure->kind != MODEL_FAILED_CONTEXT || call->trimmed || call->run->gave_up.code)
        return false;
    call->trimmed = engine_trim(call->run->engine, &call->effect);
    return call->trimmed && !start(call, err);
}

static void on_done(void *user, struct model_reply *reply, const struct model_failure *failure)
{
    struct call *call = user;
    struct run *run = call->run;
    struct engine_effect effect = call->effect;
    struct ab_error err = {0};

    feed_flush(run, &call->feed);
    call->handle = NULL;
    feed_clear(&call->feed);
    run_wake(run);
    if (trim(call, failure, &err))
        return;
    uint64_t trimmed = call->trimmed;
    call_forget(call);
    if (err.code) {
        run_give_up(run, &err);
    } else if (AB_FAILPOINT("worker.after_reply")) {
        ab_fail(&err, AB_EUNAVAILABLE, "fail point worker.after_reply");
        run_give_up(run, &err);
    } else if (reply) {
        journal_reply(run, &effect, trimmed, reply);
    } else if (failure->kind == MODEL_FAILED_TOTAL) { /* as if the cap was met between two calls */
        journal_end(run, "succeeded", engine_stop_name(ENGINE_STOP_SECONDS), NULL);
    } else {
        run_give_up(run, &failure->error);
    }
}
