/* What to do after a failed attempt: the same endpoint again, the next one, or give up. Pure: time and randomness
 * come in.
 *
 * The rules are those of the official SDKs: `x-should-retry` wins; else 408, 409, 429, 5xx and broken connections are
 * tried again. The delay is `retry-after-ms`, else `retry-after` (seconds or an HTTP date), else 0.5 s · 2ⁿ capped at
 * 8 s, minus up to 25 % of jitter. A wait longer than RETRY_AFTER_MS_MAX is not waited for.
 */
#ifndef AB_WORKER_MODEL_RETRY_H
#define AB_WORKER_MODEL_RETRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RETRY_FIRST_MS = 500,
    RETRY_BACKOFF_MS_MAX = 8000,
    RETRY_AFTER_MS_MAX = 60 * 1000,
    RETRY_MAX = 20, /* cap for retries_max */
};

/* What is known about a failed attempt. Header values are borrowed, as received; NULL = not sent. */
struct retry_facts {
    int http_status; /* 0: no HTTP status, the connection failed, broke or timed out */
    bool final;      /* no retry whatever the status says: quota spent, context too long, not our protocol */
    const char *should_retry;
    const char *retry_after_ms;
    const char *retry_after;
};

bool retry_wanted(const struct retry_facts *facts);
/* The wait the server asks for in ms, 0…; -1 if it does not. unix_ms is the wall clock, for dates. */
int64_t retry_after_ms(const struct retry_facts *facts, int64_t unix_ms);
/* The back-off before retry n (0 = the first) without advice of the server. *rng is stepped. */
int64_t retry_backoff_ms(unsigned n, uint64_t *rng);
/* An IMF-fixdate, "Sun, 06 Nov 1994 08:49:37 GMT", as Unix milliseconds; -1 if it is not one. */
int64_t retry_date_ms(const char *text);

/* The plan of one call over its endpoints. Plain data, owned by the caller. */
struct model_plan {
    size_t endpoints;
    unsigned retries_max; /* per endpoint */
    size_t endpoint;      /* current */
    unsigned retries;     /* made at the current endpoint */
};
struct model_step {
    enum model_step_what { STEP_ATTEMPT, STEP_GIVE_UP } what;
    size_t endpoint;
    int64_t delay_ms; /* before the attempt; when giving up: what the server asked for, or -1 */
};

/* Starts at the first endpoint that is usable, else at the first one. `usable` says per endpoint whether its breaker
 * lets calls through; NULL = all. A breaker never fails a call: an endpoint out of turn is used if it is the last. */
struct model_step model_plan_first(struct model_plan *plan, const bool *usable);
struct model_step model_plan_after(struct model_plan *plan, const struct retry_facts *facts, const bool *usable,
                                   int64_t unix_ms, uint64_t *rng);
/* The current endpoint cannot be used at all (no key, URL refused): on to the next one. */
struct model_step model_plan_skip(struct model_plan *plan, const bool *usable);

#endif
