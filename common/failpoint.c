#include "common/failpoint.h"

#ifdef AB_FAILPOINTS

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

enum { POINTS_MAX = 16 };

static struct point {
    char name[64];
    enum { KILL, DELAY, FAIL } action;
    unsigned delay_ms;
    unsigned long nth, count; /* nth 0 = every time */
} points[POINTS_MAX];
static int points_n = -1;

static void bad(const char *text)
{
    fprintf(stderr, "AUTOBOTS_FAILPOINT: '%s' is not name:kill|error|delay=MS[:nth]\n", text);
    _exit(100);
}

static void parse_action(struct point *point, const char *action, const char *whole)
{
    if (!strcmp(action, "kill"))
        point->action = KILL;
    else if (!strcmp(action, "error"))
        point->action = FAIL;
    else if (sscanf(action, "delay=%u", &point->delay_ms) == 1)
        point->action = DELAY;
    else
        bad(whole);
}

static void parse(void)
{
    points_n = 0;
    const char *text = getenv("AUTOBOTS_FAILPOINT");
    while (text && *text) {
        char one[128], action[32];
        size_t n = strcspn(text, ",");
        snprintf(one, sizeof one, "%.*s", (int)n, text);
        text += n + (text[n] == ',');
        if (points_n == POINTS_MAX)
            bad(one);
        struct point *point = &points[points_n++];
        if (sscanf(one, "%63[^:]:%31[^:]:%lu", point->name, action, &point->nth) < 2)
            bad(one);
        parse_action(point, action, one);
    }
}

bool ab_failpoint_hit(const char *name)
{
    if (points_n < 0)
        parse();
    for (int i = 0; i < points_n; i++) {
        struct point *point = &points[i];
        if (strcmp(point->name, name))
            continue;
        point->count++;
        if (point->nth && point->count != point->nth)
            continue;
        ab_log(AB_WARN, "failpoint", "name", name, "count", ab_num((long long)point->count), NULL);
        if (point->action == KILL)
            raise(SIGKILL);
        if (point->action == DELAY)
            nanosleep(&(struct timespec){point->delay_ms / 1000, (long)(point->delay_ms % 1000) * 1000000},
                      NULL);
        return point->action == FAIL;
    }
    return false;
}

#else
typedef int ab_failpoint_unused; /* a translation unit must not be empty */
#endif
