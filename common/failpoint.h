/* Fail points: AUTOBOTS_FAILPOINT=name:action[:nth][,…] in debug and asan builds.
 * action: kill (SIGKILL to itself), delay=MS, error. nth: only the n-th time (default: every time).
 * In release builds AB_FAILPOINT(name) is the constant false. */
#ifndef AB_COMMON_FAILPOINT_H
#define AB_COMMON_FAILPOINT_H

#include <stdbool.h>

#ifdef AB_FAILPOINTS
/* True if the action is `error`: the caller behaves as if the step had failed. */
bool ab_failpoint_hit(const char *name);
#define AB_FAILPOINT(name) ab_failpoint_hit(name)
#else
#define AB_FAILPOINT(name) false
#endif

#endif
