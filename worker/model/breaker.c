/* breaker.h. A worker talks to a handful of endpoints: a linear table is the right size. */
#include "worker/model/breaker.h"

#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"

static struct breaker *find(const struct breakers *breakers, const char *base_url)
{
    for (size_t i = 0; i < breakers->n; i++)
        if (!strcmp(breakers->items[i].base_url, base_url))
            return &breakers->items[i];
    return NULL;
}

static struct breaker *oldest(const struct breakers *breakers)
{
    struct breaker *found = &breakers->items[0];
    for (size_t i = 1; i < breakers->n; i++)
        if (breakers->items[i].used_ms < found->used_ms)
            found = &breakers->items[i];
    return found;
}

static struct breaker *add(struct breakers *breakers, const char *base_url)
{
    struct breaker *breaker;
    if (breakers->n < BREAKERS_MAX) {
        breakers->items = ab_realloc(breakers->items, (breakers->n + 1) * sizeof *breakers->items);
        breaker = &breakers->items[breakers->n++];
    } else {
        breaker = oldest(breakers);
        free(breaker->base_url);
    }
    *breaker = (struct breaker){.base_url = ab_strdup(base_url)};
    return breaker;
}

bool breakers_allow(const struct breakers *breakers, const char *base_url, int64_t now_ms)
{
    const struct breaker *breaker = find(breakers, base_url);
    if (!breaker || breaker->failures < BREAKER_FAILURES_MAX)
        return true;
    return now_ms >= breaker->open_until_ms && !breaker->probing;
}

void breakers_begin(struct breakers *breakers, const char *base_url, int64_t now_ms)
{
    struct breaker *breaker = find(breakers, base_url);
    if (!breaker)
        breaker = add(breakers, base_url);
    breaker->used_ms = now_ms;
    if (breaker->failures >= BREAKER_FAILURES_MAX)
        breaker->probing = true;
}

void breakers_end(struct breakers *breakers, const char *base_url, bool failed, int64_t now_ms)
{
    struct breaker *breaker = find(breakers, base_url);
    if (!breaker)
        return;
    breaker->probing = false;
    breaker->failures = failed ? breaker->failures + 1 : 0;
    if (breaker->failures >= BREAKER_FAILURES_MAX)
        breaker->open_until_ms = now_ms + BREAKER_OPEN_MS;
}

void breakers_abandon(struct breakers *breakers, const char *base_url)
{
    struct breaker *breaker = find(breakers, base_url);
    if (breaker)
        breaker->probing = false;
}

size_t breakers_open(const struct breakers *breakers, int64_t now_ms)
{
    size_t n = 0;
    for (size_t i = 0; i < breakers->n; i++)
        n += breakers->items[i].failures >= BREAKER_FAILURES_MAX && now_ms < breakers->items[i].open_until_ms;
    return n;
}

void breakers_finish(struct breakers *breakers)
{
    for (size_t i = 0; i < breakers->n; i++)
        free(breakers->items[i].base_url);
    free(breakers->items);
    *breakers = (struct breakers){0};
}
