/* Model calls: one reply for one agent, over HTTP (`openai`) or from a scenario (`script`).
 *
 * The client owns everything between "ask" and "answer": the order of the endpoints to try, keys, retries,
 * back-off, time-outs, circuit breakers, streaming. Its user starts a call, gets text as it comes and exactly
 * one on_done. It knows nothing of jobs, journals or workflows.
 *
 * Loop: no threads and no blocking. Put model_client_fd() (an epoll descriptor) into the loop's poll for input,
 * wait at most until model_client_deadline_ms(), then call model_client_run(). One thread only.
 *
 * Callbacks come from model_client_run() only, never from inside model_call_start() or model_call_cancel(). A
 * callback may start and cancel calls, this one included; after on_done or a cancel the handle is gone.
 *
 * Secrets: a key is looked up by the endpoint's base URL (worker/secrets.h) or comes with the request; it goes
 * to that URL and nowhere else, is wiped when the call ends, and is scrubbed from every text this module returns.
 */
#ifndef AB_WORKER_MODEL_MODEL_H
#define AB_WORKER_MODEL_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/error.h"

struct secrets;
struct model_client;
struct model_call;

enum {
    MODEL_ENDPOINTS_MAX = 16,              /* rows of a config_list */
    MODEL_TIMEOUT_MS_DEFAULT = 600 * 1000, /* one attempt, from its start to its last byte */
    MODEL_CONNECT_TIMEOUT_MS = 10 * 1000,
    MODEL_RETRIES_DEFAULT = 2,                  /* per endpoint, as the official SDKs do */
    MODEL_REPLY_BYTES_MAX = 16 * 1024 * 1024,   /* content, reasoning and arguments of one reply */
    MODEL_REQUEST_BYTES_MAX = 64 * 1024 * 1024, /* serialised body */
    MODEL_CONNECTING_MAX = 32,                  /* calls at once between start and "connected"; others queue */
};

/* What the client needs from its process. All of it must outlive the client. */
struct model_host {
    void *user;
    int64_t (*now_ms)(void *user);  /* monotonic */
    int64_t (*unix_ms)(void *user); /* wall clock, only for a Retry-After that is a date */
    /* One line for the log, already scrubbed; NULL = silent. severity: 'd' debug, 'i' info, 'w' warning. */
    void (*log)(void *user, char severity, const char *text);
    const struct secrets *secrets; /* NULL = no keys: only endpoints with a key of their own work */
    bool strict;                   /* only base URLs listed in `secrets` may be called */
    bool offline;                  /* every endpoint is served by `script`; no network at all */
    int retries_max;               /* per endpoint; negative = MODEL_RETRIES_DEFAULT */
    uint64_t seed;                 /* of the jitter */
    const char *user_agent;        /* NULL = "autobots" */
};

/* One row of an agent's config_list. */
struct model_endpoint {
    const char *api_type;    /* NULL or "openai": Bearer; "azure": header api-key; "script": no network */
    const char *model;       /* the model's name */
    const char *base_url;    /* NULL = the worker's row for this model's name, else its default */
    const char *api_version; /* azure: query parameter api-version; NULL = none */
    struct ab_view api_key;  /* a key that came with the request, in clear; absent = look it up */
    json_t *script;          /* SCRIPT of common/workflow/workflow.h, for api_type script; NULL = echo */
};

/* All pointers are borrowed for the time of model_call_start() only, except the json_t, of which the client takes
 * references: the caller must not change them before on_done. */
struct model_request {
    const struct model_endpoint *endpoints; /* tried in order */
    size_t endpoint_count;                  /* 1…MODEL_ENDPOINTS_MAX; 0 = AB_ENOMODEL */
    const char *agent;                      /* name, for messages */
    json_t *messages;                       /* array in OpenAI's shape, required */
    json_t *tools;                          /* array or NULL */
    json_t *tool_choice;                    /* string, object or NULL */
    json_t *parallel_tool_calls;            /* true, false or NULL */
    json_t *response_format;                /* object in OpenAI's shape, or NULL */
    json_t *extra_body;                     /* object merged into the body last, or NULL */
    uint64_t call_index; /* which of this agent's calls this is, from 0: picks the scripted reply */
    double temperature;  /* NAN = not sent */
    int max_tokens;      /* 0 = not sent */
    int timeout_ms;      /* per attempt; 0 = MODEL_TIMEOUT_MS_DEFAULT */
    int64_t total_ms;    /* of the whole call, retries and fall-backs included; 0 = no bound */
    bool stream;
    bool cache;         /* an identical request with the same seed is answered from this worker's memory */
    int64_t cache_seed; /* meaningful with cache */
    const char *idempotency_key; /* sent as Idempotency-Key; the same for each attempt; NULL = none */
};

struct model_usage {
    bool reported;  /* false: the numbers are estimates (bytes / 4) */
    int64_t prompt; /* tokens */
    int64_t completion;
    int64_t cached;    /* part of prompt */
    int64_t reasoning; /* part of completion */
};

struct model_reply {
    char *content;   /* UTF-8; "" if there is none */
    char *reasoning; /* NULL if there is none */
    char *refusal;   /* NULL if there is none */
    json_t
        *tool_calls; /* array in OpenAI's shape, unknown fields kept, each with an id; NULL if there are none */
    char *finish_reason; /* stop, length, tool_calls, content_filter or the server's own word */
    char *model;         /* as the server names it, else as requested */
    char *request_id;    /* x-request-id, else the reply's id; NULL if unknown */
    struct model_usage usage;
    size_t endpoint;    /* index of the endpoint that answered */
    unsigned attempts;  /* attempts made in all, 1 = the first one worked */
    int64_t latency_ms; /* start of the call to the end of the reply, waiting included */
    int64_t first_ms;   /* start of the successful attempt to its first text; -1 if there was none */
    bool offline;       /* made by `script` */
    bool cached;        /* of an earlier identical request: costs nothing; usage is that request's */
};
void model_reply_finish(struct model_reply *reply);

enum model_failure_kind {
    MODEL_FAILED_CONFIG, /* no endpoint, no key, URL not allowed: nothing was sent (AB_ENOMODEL, AB_EDENIED, …) */
    MODEL_FAILED_CONNECT, /* no connection, TLS, or it broke before or during the reply */
    MODEL_FAILED_TIMEOUT,
    MODEL_FAILED_TOTAL,   /* the request's total_ms is over */
    MODEL_FAILED_STATUS,  /* an HTTP status or an error in the stream */
    MODEL_FAILED_QUOTA,   /* insufficient_quota: final */
    MODEL_FAILED_CONTEXT, /* too long for the model's context: trim the history and ask again */
    MODEL_FAILED_REPLY,   /* the answer is not what the protocol promises */
};
struct model_failure {
    enum model_failure_kind kind; /* of the last endpoint tried */
    int http_status;              /* 0 = none */
    unsigned attempts;            /* attempts that were sent */
    struct ab_error error;        /* scrubbed */
};

struct model_callbacks {
    /* More text of the answer (never reasoning). NULL allowed. */
    void (*on_delta)(void *user, struct ab_view text);
    /* More reasoning. NULL allowed. */
    void (*on_reasoning)(void *user, struct ab_view text);
    /* A new attempt (2, 3 …) begins although text was already given: forget that text. NULL allowed. */
    void (*on_attempt)(void *user, unsigned attempt);
    /* The end. Exactly one of reply and failure is set; both are borrowed, but the callee may move members out of
     * *reply by nulling them. */
    void (*on_done)(void *user, struct model_reply *reply, const struct model_failure *failure);
};

/* Never NULL unless libcurl or epoll refuse (*err). */
struct model_client *model_client_create(const struct model_host *host, struct ab_error *err);
/* Cancels what is still running, without callbacks. NULL is allowed. */
void model_client_destroy(struct model_client *client);

int model_client_fd(const struct model_client *client);
/* When model_client_run() must be called at the latest, on the host's now_ms; INT64_MAX = only for the descriptor. */
int64_t model_client_deadline_ms(const struct model_client *client);
/* Does all that is due; callbacks happen here. Never blocks. */
void model_client_run(struct model_client *client, int64_t now_ms);

/* Starts a call. Fails only for a request that is wrong in itself (AB_EINVALID); whatever is wrong with keys,
 * URLs or the network is told by on_done. The handle is valid until on_done or model_call_cancel(). */
int model_call_start(struct model_client *client, const struct model_request *request,
                     const struct model_callbacks *callbacks, void *user, struct model_call **out,
                     struct ab_error *err);
/* Closes the connection at once; no callback follows. NULL is allowed. */
void model_call_cancel(struct model_call *call);

struct model_stats {
    uint64_t started, succeeded, failed, cancelled; /* calls */
    uint64_t attempts, retries, fallbacks, cache_hits;
    size_t running;       /* calls now */
    size_t connecting;    /* of them, not connected yet */
    size_t queued;        /* of them, waiting for a place among the connecting */
    size_t breakers_open; /* endpoints that are out of turn because they failed */
};
void model_client_stats(const struct model_client *client, struct model_stats *stats);

#endif
