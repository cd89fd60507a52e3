/* Circuit breakers, one per base URL: after BREAKER_FAILURES_MAX failures in a row an endpoint is out of turn for
 * BREAKER_OPEN_MS, then one call at a time may try it. Pure: now_ms comes in.
 *
 * It only orders the fall-backs: a call whose endpoints are all out of turn still uses one. Broken connections,
 * time-outs and 5xx count as failures; a 4xx shows that the endpoint is alive.
 */
#ifndef AB_WORKER_MODEL_BREAKER_H
#define AB_WORKER_MODEL_BREAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BREAKER_FAILURES_MAX = 5,
    BREAKER_OPEN_MS = 30 * 1000,
    BREAKERS_MAX = 256, /* endpoints remembered; the one used longest ago is forgotten first */
};

struct breaker {
    char *base_url;
    unsigned failures;     /* in a row */
    int64_t open_until_ms; /* meaningful from BREAKER_FAILURES_MAX failures on */
    int64_t used_ms;
    bool probing; /* half open: one call is trying */
};
/* Zero-initialised is empty. */
struct breakers {
    struct breaker *items;
    size_t n;
};

/* True if a call may use this endpoint now. Does not change anything: see breakers_begin(). */
bool breakers_allow(const struct breakers *breakers, const char *base_url, int64_t now_ms);
/* An attempt begins / ends. */
void breakers_begin(struct breakers *breakers, const char *base_url, int64_t now_ms);
void breakers_end(struct breakers *breakers, const char *base_url, bool failed, int64_t now_ms);
/* An attempt was given up by its caller: it says nothing about the endpoint. */
void breakers_abandon(struct breakers *breakers, const char *base_url);
/* How many endpoints no call may use now. */
size_t breakers_open(const struct breakers *breakers, int64_t now_ms);
void breakers_finish(struct breakers *breakers);

#endif
