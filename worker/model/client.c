/* The model client: calls from start to end. See model.h for its contract, internal.h for its parts.
 *
 * A call waits for its attempt, tries, and either ends or waits again; its one timer is the wait or the time-out. All
 * of that happens in model_client_run(). A call that is cancelled inside a callback is only marked: its memory may be
 * in use further up the stack, so it is freed when the run is over.
 */
#include "worker/model/internal.h"
#include "worker/model/usage.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

enum { TIMERS_PER_RUN = 1024 };

static int64_t now_ms(const struct model_client *client)
{
    return client->host.now_ms(client->host.user);
}

static void say(struct model_call *call, char severity, char *text)
{
    struct model_client *client = call->client;
    struct ab_view key = ab_view_of(call_endpoint(call)->key);
    if (client->host.log) {
        secrets_scrub(client->host.secrets, key, text);
        client->host.log(client->host.user, severity, text);
    }
    free(text);
}

/* --- ends ------------------------------------------------------------------------------------------------------ */

void model_reply_finish(struct model_reply *reply)
{
    free(reply->content);
    free(reply->reasoning);
    free(reply->refusal);
    json_decref(reply->tool_calls);
    free(reply->finish_reason);
    free(reply->model);
    free(reply->request_id);
    *reply = (struct model_reply){0};
}

static void call_free(struct model_call *call)
{
    if (call->attempt)
        call_endpoint(call)->backend->stop(call);
    for (size_t i = 0; i < call->plan.endpoints; i++)
        endpoint_finish(&call->endpoints[i]);
    free(call->endpoints);
    free(call->agent);
    free(call->idempotency_key);
    json_decref(call->messages);
    json_decref(call->tools);
    json_decref(call->parallel_tool_calls);
    json_decref(call->tool_choice);
    json_decref(call->response_format);
    json_decref(call->extra_body);
    free(call);
}

/* Takes the call out of everything but memory. */
static void call_unlink(struct model_call *call)
{
    struct model_client *client = call->client;
    assert(call->state != CALL_ENDED);
    call->state = CALL_ENDED;
    timer_clear(&client->timers, &call->timer);
    *(call->prev ? &call->prev->next : &client->calls) = call->next;
    if (call->next)
        call->next->prev = call->prev;
    call->prev = call->next = NULL;
    client->stats.running--;
}

static void call_end(struct model_call *call, struct model_reply *reply)
{
    struct model_client *client = call->client;
    call_unlink(call);
    if (reply)
        client->stats.succeeded++;
    else
        client->stats.failed++;
    call->failure.attempts = call->attempts;
    call->callbacks.on_done(call->user, reply, reply ? NULL : &call->failure);
    call_free(call);
}

void model_call_cancel(struct model_call *call)
{
    if (!call || call->state == CALL_ENDED)
        return;
    struct model_client *client = call->client;
    if (call->state == CALL_TRYING && call_endpoint(call)->backend->network)
        breakers_abandon(&client->breakers, call_endpoint(call)->base_url);
    call_unlink(call);
    client->stats.cancelled++;
    if (!client->running) {
        call_free(call);
        return;
    }
    call->next = client->dead;
    client->dead = call;
}

static void free_dead(struct model_client *client)
{
    while (client->dead) {
        struct model_call *call = client->dead;
        client->dead = call->next;
        call_free(call);
    }
}

/* Ends the call with a reply, which is consumed. */
static void finish_with(struct model_call *call, struct model_reply *reply)
{
    if (call->state != CALL_ENDED) { /* else its last piece of text made its user cancel it */
        reply->endpoint = call->plan.endpoint;
        reply->attempts = call->attempts;
        reply->latency_ms = now_ms(call->client) - call->started_ms;
        reply->first_ms = call->first_ms;
        call_end(call, reply);
    }
    model_reply_finish(reply);
}

/* --- attempts -------------------------------------------------------------------------------------------------- */

/* Which endpoints are in turn; false = all of them. */
static bool find_usable(const struct model_call *call, bool usable[MODEL_ENDPOINTS_MAX])
{
    struct model_client *client = call->client;
    bool any_out = false;
    for (size_t i = 0; i < call->plan.endpoints; i++) {
        const struct endpoint *endpoint = &call->endpoints[i];
        usable[i] =
            !endpoint->base_url || breakers_allow(&client->breakers, endpoint->base_url, now_ms(client));
        any_out |= !usable[i];
    }
    return any_out;
}

static void set_timer(struct model_call *call, int64_t at_ms)
{
    timer_set(&call->client->timers, &call->timer, at_ms < call->end_ms ? at_ms : call->end_ms);
}

static void follow(struct model_call *call, struct model_step step)
{
    struct model_client *client = call->client;
    if (step.what == STEP_GIVE_UP) {
        if (step.delay_ms > 0)
            call->failure.error.retry_after_ms =
                step.delay_ms < UINT32_MAX ? (uint32_t)step.delay_ms : UINT32_MAX;
        call_end(call, NULL);
        return;
    }
    call->state = CALL_WAITING;
    set_timer(call, now_ms(client) + step.delay_ms);
}

/* The endpoint cannot be used: its fault is told only if no other one was really tried. */
static void skip(struct model_call *call, const struct ab_error *why)
{
    bool usable[MODEL_ENDPOINTS_MAX];
    if (!call->attempts && !call->failure.error.code) {
        call->failure = (struct model_failure){.kind = MODEL_FAILED_CONFIG, .error = *why};
        secrets_scrub(call->client->host.secrets, (struct ab_view){0}, call->failure.error.text);
    }
    call->client->stats.fallbacks += call->plan.endpoint + 1 < call->plan.endpoints;
    follow(call, model_plan_skip(&call->plan, find_usable(call, usable) ? usable : NULL));
}

/* Ends the call with a reply kept earlier, if there is one. */
static bool answer_from_cache(struct model_call *call)
{
    struct model_client *client = call->client;
    struct model_reply reply;
    if (!call->caching || !cache_find(&client->cache, call->cache_key, &reply))
        return false;
    client->stats.cache_hits++;
    reply.cached = true;
    call->attempt_ms = now_ms(client);
    if (*reply.content)
        call_text(call, ab_view_of(reply.content));
    finish_with(call, &reply);
    return true;
}

static void begin_attempt(struct model_call *call)
{
    struct model_client *client = call->client;
    const struct endpoint *endpoint = call_endpoint(call);
    if (endpoint->config_error.code) {
        skip(call, &endpoint->config_error);
        return;
    }
    call->caching = call->cache && endpoint->backend->key && endpoint->backend->key(call, call->cache_key);
    if (!call->text_given && answer_from_cache(call))
        return;
    call->attempts++;
    client->stats.attempts++;
    if (call->text_given && call->callbacks.on_attempt) {
        call->callbacks.on_attempt(call->user, call->attempts);
        if (call->state == CALL_ENDED)
            return;
    }
    call->text_given = false;
    call->first_ms = -1;
    call->attempt_ms = now_ms(client);
    call->state = CALL_TRYING;
    set_timer(call, call->attempt_ms + call->timeout_ms);
    if (endpoint->backend->network)
        breakers_begin(&client->breakers, endpoint->base_url, call->attempt_ms);
    endpoint->backend->begin(call);
}

static void time_out(struct model_call *call)
{
    char *text = ab_format("no complete answer within %d ms", call->timeout_ms);
    struct attempt_failure failure = {
        .kind = MODEL_FAILED_TIMEOUT, .code = AB_ETIMEOUT, .endpoint_is_ill = true, .text = text};
    call_endpoint(call)->backend->stop(call);
    call->attempt = NULL;
    call_failed(call, &failure);
    free(text);
}

/* Nothing more is tried, whatever it waits for. */
static void end_of_time(struct model_call *call)
{
    if (call->state == CALL_TRYING && call_endpoint(call)->backend->network)
        breakers_abandon(&call->client->breakers, call_endpoint(call)->base_url);
    call->failure = (struct model_failure){.kind = MODEL_FAILED_TOTAL};
    ab_fail(&call->failure.error, AB_ETIMEOUT, "agent \"%s\": the time for this call is over", call->agent);
    call->failure.error.retryable = false;
    call_end(call, NULL);
}

static void on_due(struct timer *timer, int64_t at_ms)
{
    struct model_call *call = (struct model_call *)(void *)((char *)timer - offsetof(struct model_call, timer));
    if (at_ms >= call->end_ms)
        end_of_time(call);
    else if (call->state == CALL_WAITING)
        begin_attempt(call);
    else
        time_out(call);
}

/* --- for back ends --------------------------------------------------------------------------------------------- */

void call_text(struct model_call *call, struct ab_view text)
{
    if (call->state == CALL_ENDED)
        return;
    if (call->first_ms < 0)
        call->first_ms = now_ms(call->client) - call->attempt_ms;
    call->text_given = true;
    if (call->callbacks.on_delta)
        call->callbacks.on_delta(call->user, text);
}

void call_reasoning(struct model_call *call, struct ab_view text)
{
    if (call->state == CALL_ENDED)
        return;
    call->text_given = true;
    if (call->callbacks.on_reasoning)
        call->callbacks.on_reasoning(call->user, text);
}

void call_succeeded(struct model_call *call, struct model_reply *reply)
{
    struct model_client *client = call->client;
    const struct endpoint *endpoint = call_endpoint(call);
    assert(!call->attempt);
    if (call->state == CALL_ENDED) { /* cancelled by its last piece of text */
        model_reply_finish(reply);
        return;
    }
    if (endpoint->backend->network)
        breakers_end(&client->breakers, endpoint->base_url, false, now_ms(client));
    if (!reply->usage.reported)
        usage_estimate(reply, call->messages);
    if (!reply->model)
        reply->model = ab_strdup(endpoint->model);
    if (call->caching)
        cache_add(&client->cache, call->cache_key, reply);
    finish_with(call, reply);
}

/* "agent "writer", model m at https://…: what"; without secrets. */
static void describe(struct model_call *call, const struct attempt_failure *failure)
{
    const struct endpoint *endpoint = call_endpoint(call);
    char *text = ab_format("agent \"%s\", model \"%s\"%s%s: %s", call->agent, endpoint->model,
                           endpoint->base_url ? " at " : "", endpoint->base_url ? endpoint->base_url : "",
                           failure->text);
    secrets_scrub(call->client->host.secrets, ab_view_of(endpoint->key), text);
    call->failure = (struct model_failure){.kind = failure->kind, .http_status = failure->facts.http_status};
    ab_fail(&call->failure.error, failure->code, "%s", text);
    call->failure.error.retryable = retry_wanted(&failure->facts);
    free(text);
}

void call_failed(struct model_call *call, const struct attempt_failure *failure)
{
    struct model_client *client = call->client;
    bool usable[MODEL_ENDPOINTS_MAX];
    assert(!call->attempt);
    if (call->state == CALL_ENDED)
        return;
    timer_clear(&client->timers, &call->timer);
    if (call_endpoint(call)->backend->network)
        breakers_end(&client->breakers, call_endpoint(call)->base_url, failure->endpoint_is_ill,
                     now_ms(client));
    describe(call, failure);
    size_t endpoint = call->plan.endpoint;
    bool some_out = find_usable(call, usable);
    struct model_step step = model_plan_after(&call->plan, &failure->facts, some_out ? usable : NULL,
                                              client->host.unix_ms(client->host.user), &client->rng);
    bool same = step.what == STEP_ATTEMPT && step.endpoint == endpoint;
    client->stats.retries += same;
    client->stats.fallbacks += step.what == STEP_ATTEMPT && !same;
    say(call, 'w',
        ab_format("%s (attempt %u; %s)", call->failure.error.text, call->attempts,
                  step.what == STEP_GIVE_UP ? "giving up"
                  : same                    ? "trying again"
                                            : "trying the next endpoint"));
    follow(call, step);
}

/* --- public ---------------------------------------------------------------------------------------------------- */

struct model_client *model_client_create(const struct model_host *host, struct ab_error *err)
{
    struct http_pool *http = http_pool_create(host->user_agent ? host->user_agent : "autobots", err);
    if (!http)
        return NULL;
    struct model_client *client = ab_calloc(1, sizeof *client);
    client->host = *host;
    client->http = http;
    client->rng = host->seed;
    return client;
}

void model_client_destroy(struct model_client *client)
{
    if (!client)
        return;
    assert(!client->running);
    while (client->calls)
        model_call_cancel(client->calls);
    http_pool_destroy(client->http);
    timers_finish(&client->timers);
    breakers_finish(&client->breakers);
    cache_finish(&client->cache);
    free(client);
}

int model_client_fd(const struct model_client *client)
{
    return http_pool_fd(client->http);
}

int64_t model_client_deadline_ms(const struct model_client *client)
{
    int64_t timer_ms = timers_next_ms(&client->timers), http_ms = http_pool_deadline_ms(client->http);
    return timer_ms < http_ms ? timer_ms : http_ms;
}

void model_client_run(struct model_client *client, int64_t at_ms)
{
    assert(!client->running);
    client->running = true;
    http_run(client->http, at_ms);
    for (int i = 0; i < TIMERS_PER_RUN; i++) {
        struct timer *timer = timers_pop(&client->timers, at_ms);
        if (!timer)
            break;
        timer->due(timer, at_ms);
    }
    client->running = false;
    free_dead(client);
}

static int check(const struct model_request *request, const struct model_callbacks *callbacks,
                 struct ab_error *err)
{
    if (!json_is_array(request->messages))
        return ab_fail_at(err, AB_EINVALID, "messages", "a model call needs an array of messages");
    if (request->endpoint_count > MODEL_ENDPOINTS_MAX)
        return ab_fail_at(err, AB_EINVALID, "config_list", "more than %d endpoints", MODEL_ENDPOINTS_MAX);
    if (request->extra_body && !json_is_object(request->extra_body))
        return ab_fail_at(err, AB_EINVALID, "extra_body", "extra_body must be an object");
    assert(callbacks->on_done);
    return 0;
}

static void copy_request(struct model_call *call, const struct model_request *request)
{
    call->agent = ab_strdup(request->agent ? request->agent : "");
    call->idempotency_key = request->idempotency_key ? ab_strdup(request->idempotency_key) : NULL;
    call->messages = json_incref(request->messages);
    call->tools = json_incref(request->tools);
    call->parallel_tool_calls = json_incref(request->parallel_tool_calls);
    call->tool_choice = json_incref(request->tool_choice);
    call->response_format = json_incref(request->response_format);
    call->extra_body = json_incref(request->extra_body);
    call->call_index = request->call_index;
    call->temperature = request->temperature;
    call->max_tokens = request->max_tokens;
    call->timeout_ms = request->timeout_ms > 0 ? request->timeout_ms : MODEL_TIMEOUT_MS_DEFAULT;
    call->end_ms = request->total_ms > 0 && request->total_ms < INT64_MAX - call->started_ms
                       ? call->started_ms + request->total_ms
                       : INT64_MAX;
    call->stream = request->stream;
    call->cache = request->cache;
    call->cache_seed = request->cache_seed;
}

static void copy_endpoints(struct model_call *call, const struct model_request *request)
{
    const struct model_host *host = &call->client->host;
    int retries_max = host->retries_max < 0 ? MODEL_RETRIES_DEFAULT : host->retries_max;
    size_t n = request->endpoint_count;
    static const struct model_endpoint offline = {.api_type = "script"}, none = {.api_type = "openai"};
    call->plan.endpoints = n ? n : 1; /* none: one that cannot be used, and says so in its turn */
    call->plan.retries_max = (unsigned)(retries_max < RETRY_MAX ? retries_max : RETRY_MAX);
    call->endpoints = ab_calloc(call->plan.endpoints, sizeof *call->endpoints);
    for (size_t i = 0; i < n; i++)
        endpoint_init(&call->endpoints[i], host, &request->endpoints[i], call->agent);
    if (!n)
        endpoint_init(&call->endpoints[0], host, host->offline ? &offline : &none, call->agent);
}

int model_call_start(struct model_client *client, const struct model_request *request,
                     const struct model_callbacks *callbacks, void *user, struct model_call **out,
                     struct ab_error *err)
{
    bool usable[MODEL_ENDPOINTS_MAX];
    int rc = check(request, callbacks, err);
    if (rc)
        return rc;
    struct model_call *call = ab_calloc(1, sizeof *call);
    call->client = client;
    call->callbacks = *callbacks;
    call->user = user;
    call->started_ms = now_ms(client);
    call->timer.due = on_due;
    call->first_ms = -1;
    copy_request(call, request);
    copy_endpoints(call, request);
    call->next = client->calls;
    if (client->calls)
        client->calls->prev = call;
    client->calls = call;
    client->stats.started++;
    client->stats.running++;
    follow(call, model_plan_first(&call->plan, find_usable(call, usable) ? usable : NULL));
    *out = call;
    return 0;
}

void model_client_stats(const struct model_client *client, struct model_stats *stats)
{
    *stats = client->stats;
    stats->connecting = http_connecting(client->http);
    stats->queued = http_queued(client->http);
    stats->breakers_open = breakers_open(&client->breakers, now_ms(client));
}
