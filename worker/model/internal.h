/* What client.c, endpoint.c and the back ends share. Nobody outside this folder includes it.
 *
 *   client.c    a call's life: plan, waits, time-outs, callbacks, end
 *   endpoint.c  which back end, URL and key an endpoint of a request means
 *   openai.c, script.c   back ends: one attempt each
 */
#ifndef AB_WORKER_MODEL_INTERNAL_H
#define AB_WORKER_MODEL_INTERNAL_H

#include "worker/model/breaker.h"
#include "worker/model/cache.h"
#include "worker/model/http.h"
#include "worker/model/model.h"
#include "worker/model/retry.h"
#include "worker/model/timers.h"
#include "worker/secrets.h"

struct model_backend;

/* An endpoint of a running call. */
struct endpoint {
    const struct model_backend *backend;
    char *model;       /* never NULL */
    char *base_url;    /* normal form; NULL if there is none or it is wrong: see config_error */
    char *api_version; /* NULL: none */
    bool azure;
    char *key; /* in clear, wiped with the call; NULL: none is sent */
    json_t *script;
    struct ab_error config_error; /* code 0: usable */
};

struct model_client {
    struct model_host host;
    struct http_pool *http;
    struct timers timers;
    struct breakers breakers;
    struct cache cache;
    struct model_call *calls; /* running, doubly linked */
    struct model_call *dead;  /* cancelled inside a callback; freed at the end of the run */
    bool running;             /* model_client_run is on the stack */
    uint64_t rng;
    struct model_stats stats;
};

enum call_state {
    CALL_WAITING, /* for the next attempt; the timer says when */
    CALL_TRYING,  /* the back end is at work; the timer is the time-out */
    CALL_ENDED,   /* told, or cancelled: nothing may happen any more */
};

struct model_call {
    struct model_client *client;
    struct model_call *prev, *next;
    enum call_state state;
    struct timer timer;
    struct model_callbacks callbacks;
    void *user;

    struct endpoint *endpoints;
    struct model_plan plan;
    char *agent;           /* "" if not given */
    char *idempotency_key; /* NULL: none */
    json_t *messages, *tools, *tool_choice, *parallel_tool_calls, *response_format, *extra_body;
    uint64_t call_index;
    double temperature;
    int max_tokens;
    int timeout_ms;
    int64_t end_ms; /* not a moment longer; INT64_MAX: no bound */
    bool stream;
    bool cache;   /* asked for */
    bool caching; /* in the current attempt */
    int64_t cache_seed;
    uint8_t cache_key[CACHE_KEY_BYTES]; /* if caching */

    unsigned attempts; /* begun */
    bool text_given;   /* in an attempt since the last on_attempt */
    int64_t started_ms, attempt_ms, first_ms;
    struct model_failure failure; /* of the last attempt that failed; attempts 0 = only of the configuration */
    void *attempt;                /* the back end's; NULL between attempts */
};

struct model_backend {
    const char *api_type;
    const char *also_api_type; /* another name, or NULL */
    bool network;
    /* What makes the reply, for cache.h; false if this request cannot be made. NULL: no caching. */
    bool (*key)(const struct model_call *call, uint8_t key[CACHE_KEY_BYTES]);
    /* Begins an attempt; sets call->attempt. Ends with call_succeeded() or call_failed(), not before it returned. */
    void (*begin)(struct model_call *call);
    /* Frees call->attempt and closes what it has open. */
    void (*stop)(struct model_call *call);
};
extern const struct model_backend model_openai, model_script;

static inline struct endpoint *call_endpoint(const struct model_call *call)
{
    return &call->endpoints[call->plan.endpoint];
}

/* --- client.c, for back ends ------------------------------------------------------------------------------------ */

void call_text(struct model_call *call, struct ab_view text);
void call_reasoning(struct model_call *call, struct ab_view text);
/* The attempt is over and call->attempt is freed already. *reply is consumed. The call may be gone afterwards. */
void call_succeeded(struct model_call *call, struct model_reply *reply);
/* text is scrubbed here. retry_after: see retry.h. The call may be gone afterwards. */
struct attempt_failure {
    enum model_failure_kind kind;
    int code;                 /* AB_E… */
    struct retry_facts facts; /* borrowed */
    bool endpoint_is_ill;     /* counts for the circuit breaker */
    const char *text;         /* what went wrong, without agent and URL; borrowed */
};
void call_failed(struct model_call *call, const struct attempt_failure *failure);

/* --- endpoint.c ------------------------------------------------------------------------------------------------ */

/* Decides back end, URL and key. What is wrong is kept in config_error until its turn comes. */
void endpoint_init(struct endpoint *endpoint, const struct model_host *host,
                   const struct model_endpoint *source, const char *agent);
void endpoint_finish(struct endpoint *endpoint);

#endif
