/* Halted queues: what people said is to stand still. A halt is of a pool's queue (or every pool's), for all users or one.
 * Pure; the rows are storage's, this is the broker's copy of them.
 */
#ifndef AB_BROKER_HALTS_H
#define AB_BROKER_HALTS_H

#include "common/wire/operations.h"

/* In the order of their strength. */
enum halt_state { HALT_NONE, HALT_PAUSED, HALT_DRAINING, HALT_STATES_N };
extern const char *const halt_names[HALT_STATES_N];
enum halt_state halt_state_of(struct ab_view name); /* HALT_STATES_N: there is no such state */

struct halt {
    char *pool, *of, *by, *reason; /* of: "" = all users; owned */
    uint64_t at_ms;
    enum halt_state state;
};
struct halts {
    struct halt *all; /* at most AB_QUEUES_MAX */
    size_t n;
};

/* In place of what was said of the same queue. */
void halts_set(struct halts *halts, const struct ab_queue_halt *halt);
/* The strongest that holds the jobs of this user back in this pool; NULL: none. user empty: those of all users only. */
const struct halt *halts_of(const struct halts *halts, struct ab_view pool, struct ab_view user);
void halts_finish(struct halts *halts);

#endif
