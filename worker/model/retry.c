/* The policy of retry.h. */
#include "worker/model/retry.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

bool retry_wanted(const struct retry_facts *facts)
{
    if (facts->final)
        return false;
    if (facts->should_retry && !strcasecmp(facts->should_retry, "true"))
        return true;
    if (facts->should_retry && !strcasecmp(facts->should_retry, "false"))
        return false;
    int status = facts->http_status;
    return status == 0 || status == 408 || status == 409 || status == 429 || status >= 500;
}

/* A decimal number of units of `unit_ms`; -1 if the text is something else. */
static int64_t number_ms(const char *text, double unit_ms)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end || errno || !(value >= 0) || value > 1e9)
        return -1;
    return (int64_t)(value * unit_ms + 0.5);
}

int64_t retry_date_ms(const char *text)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char month[4], zone[4];
    int consumed = 0;
    struct tm tm = {0};
    const char *comma = strchr(text, ',');
    if (!comma || sscanf(comma + 1, " %2d %3s %4d %2d:%2d:%2d %3s%n", &tm.tm_mday, month, &tm.tm_year,
                         &tm.tm_hour, &tm.tm_min, &tm.tm_sec, zone, &consumed) != 7)
        return -1;
    const char *found = strlen(month) == 3 ? strstr(months, month) : NULL;
    if (!found || (found - months) % 3 || strcmp(zone, "GMT") || comma[1 + consumed])
        return -1;
    bool in_range = tm.tm_mday >= 1 && tm.tm_mday <= 31 && tm.tm_hour >= 0 && tm.tm_hour <= 23 &&
                    tm.tm_min >= 0 && tm.tm_min <= 59 && tm.tm_sec >= 0 && tm.tm_sec <= 60 &&
                    tm.tm_year >= 1970;
    if (!in_range)
        return -1;
    tm.tm_mon = (int)(found - months) / 3;
    tm.tm_year -= 1900;
    return (int64_t)timegm(&tm) * 1000;
}

int64_t retry_after_ms(const struct retry_facts *facts, int64_t unix_ms)
{
    int64_t ms = facts->retry_after_ms ? number_ms(facts->retry_after_ms, 1) : -1;
    if (ms >= 0 || !facts->retry_after)
        return ms;
    ms = number_ms(facts->retry_after, 1000);
    if (ms >= 0)
        return ms;
    int64_t date_ms = retry_date_ms(facts->retry_after);
    if (date_ms < 0)
        return -1;
    return date_ms > unix_ms ? date_ms - unix_ms : 0;
}

/* splitmix64: any seed is a good one. */
static uint64_t step_rng(uint64_t *rng)
{
    uint64_t z = *rng += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

int64_t retry_backoff_ms(unsigned n, uint64_t *rng)
{
    int64_t ms = n < 5 ? (int64_t)RETRY_FIRST_MS << n : RETRY_BACKOFF_MS_MAX;
    if (ms > RETRY_BACKOFF_MS_MAX)
        ms = RETRY_BACKOFF_MS_MAX;
    uint64_t jitter_max = (uint64_t)ms / 4;
    return ms - (int64_t)(step_rng(rng) % (jitter_max + 1));
}

/* The first usable endpoint from `from` on, else the last one; `endpoints` if there is none left. */
static size_t next_endpoint(const struct model_plan *plan, size_t from, const bool *usable)
{
    for (size_t i = from; usable && i < plan->endpoints; i++)
        if (usable[i])
            return i;
    if (!usable || from >= plan->endpoints)
        return from;
    return from ? plan->endpoints - 1 : 0;
}

static struct model_step enter(struct model_plan *plan, size_t endpoint, int64_t give_up_ms)
{
    if (endpoint >= plan->endpoints)
        return (struct model_step){.what = STEP_GIVE_UP, .endpoint = plan->endpoint, .delay_ms = give_up_ms};
    plan->endpoint = endpoint;
    plan->retries = 0;
    return (struct model_step){.what = STEP_ATTEMPT, .endpoint = endpoint};
}

struct model_step model_plan_first(struct model_plan *plan, const bool *usable)
{
    return enter(plan, next_endpoint(plan, 0, usable), -1);
}

struct model_step model_plan_skip(struct model_plan *plan, const bool *usable)
{
    return enter(plan, next_endpoint(plan, plan->endpoint + 1, usable), -1);
}

struct model_step model_plan_after(struct model_plan *plan, const struct retry_facts *facts, const bool *usable,
                                   int64_t unix_ms, uint64_t *rng)
{
    int64_t asked_ms = retry_after_ms(facts, unix_ms);
    bool again = retry_wanted(facts) && plan->retries < plan->retries_max && asked_ms <= RETRY_AFTER_MS_MAX;
    if (!again)
        return enter(plan, next_endpoint(plan, plan->endpoint + 1, usable), asked_ms);
    int64_t delay_ms = asked_ms >= 0 ? asked_ms : retry_backoff_ms(plan->retries, rng);
    plan->retries++;
    return (struct model_step){.what = STEP_ATTEMPT, .endpoint = plan->endpoint, .delay_ms = delay_ms};
}
