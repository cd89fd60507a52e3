#include "common/clock.h"

#include <stdio.h>
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
