#include "common/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_us(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t ab_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

int64_t ab_mono_ms(void)
{
    return ab_mono_us() / 1000;
}

int64_t ab_wall_ms(void)
{
    return read_us(CLOCK_REALTIME) / 1000;
}

const char *ab_iso8601(int64_t wall_ms, char text[AB_ISO8601_MAX])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm))
        tm = (struct tm){.tm_year = 70, .tm_mday = 1};
    size_t n = strftime(text, AB_ISO8601_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, AB_ISO8601_MAX - n, ".%03dZ", (int)(wall_ms % 1000));
    return text;
}

/* ---- reading ---- */

/* Takes exactly `digits` digits that make a number from least to most. */
static bool take_number(const char **at, int digits, int least, int most, int *number)
{
    *number = 0;
    for (; digits; digits--, ++*at) {
        if (**at < '0' || **at > '9')
            return false;
        *number = *number * 10 + (**at - '0');
    }
    return *number >= least && *number <= most;
}

static bool take_char(const char **at, const char *any)
{
    if (!**at || !strchr(any, **at))
        return false;
    ++*at;
    return true;
}

/* ".123456": what is finer than a millisecond is dropped. */
static bool take_fraction(const char **at, int *ms)
{
    int digits = 0;
    *ms = 0;
    for (; **at >= '0' && **at <= '9'; ++*at)
        if (digits++ < 3)
            *ms = *ms * 10 + (**at - '0');
    for (int left = digits; left < 3; left++)
        *ms *= 10;
    return digits > 0;
}

/* "12:00[:00[.123]]" */
static bool take_time(const char **at, struct tm *tm, int *ms)
{
    if (!take_number(at, 2, 0, 23, &tm->tm_hour) || !take_char(at, ":") ||
        !take_number(at, 2, 0, 59, &tm->tm_min))
        return false;
    if (!take_char(at, ":"))
        return true;
    if (!take_number(at, 2, 0, 60, &tm->tm_sec))
        return false;
    return !take_char(at, ".,") || take_fraction(at, ms);
}

/* "", "Z", "+01:00" or "+0100" */
static bool take_zone(const char **at, int *minutes)
{
    int hours, rest, sign = **at == '-' ? -1 : 1;
    if (!**at || take_char(at, "Zz"))
        return true;
    if (!take_char(at, "+-") || !take_number(at, 2, 0, 23, &hours))
        return false;
    take_char(at, ":");
    if (!take_number(at, 2, 0, 59, &rest))
        return false;
    *minutes = sign * (hours * 60 + rest);
    return true;
}

bool ab_iso8601_read(const char *text, size_t bytes, int64_t *wall_ms)
{
    char copy[64];
    const char *at = copy;
    struct tm tm = {0};
    int year, month, ms = 0, zone = 0;
    if (!bytes || bytes >= sizeof copy || memchr(text, 0, bytes))
        return false;
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
    if (!take_number(&at, 4, 1970, 9999, &year) || !take_char(&at, "-") ||
        !take_number(&at, 2, 1, 12, &month) || !take_char(&at, "-") || !take_number(&at, 2, 1, 31, &tm.tm_mday))
        return false;
    if (take_char(&at, "Tt ") && (!take_time(&at, &tm, &ms) || !take_zone(&at, &zone)))
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    int day = tm.tm_mday;
    int64_t seconds = timegm(&tm);
    if (*at || tm.tm_mday < day) /* the 31st of February */
        return false;
    *wall_ms = (seconds - zone * 60) * 1000 + ms;
    return *wall_ms >= 0;
}
