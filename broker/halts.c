/* See halts.h. */
#include "broker/halts.h"

#include <stdlib.h>

const char *const halt_names[HALT_STATES_N] = {"running", "paused", "draining"};

enum halt_state halt_state_of(struct ab_view name)
{
    int state = 0;
    while (state < HALT_STATES_N && !ab_view_is(name, halt_names[state]))
        state++;
    return (enum halt_state)state;
}

static void clear(struct halt *halt)
{
    free(halt->pool);
    free(halt->of);
    free(halt->by);
    free(halt->reason);
}

static void take_out(struct halts *halts, const struct ab_queue_halt *said)
{
    for (size_t i = 0; i < halts->n; i++)
        if (ab_view_is(said->pool, halts->all[i].pool) && ab_view_eq(said->of, ab_view_of(halts->all[i].of))) {
            clear(&halts->all[i]);
            halts->all[i] = halts->all[--halts->n];
            return;
        }
}

static char *text_of(struct ab_view text)
{
    return text.p ? ab_view_dup(text) : ab_strdup("");
}

void halts_set(struct halts *halts, const struct ab_queue_halt *said)
{
    enum halt_state state = halt_state_of(said->state);
    take_out(halts, said);
    if (state == HALT_NONE || state == HALT_STATES_N || halts->n == AB_QUEUES_MAX)
        return;
    halts->all = ab_realloc(halts->all, (halts->n + 1) * sizeof *halts->all);
    halts->all[halts->n++] = (struct halt){.pool = text_of(said->pool),
                                           .of = text_of(said->of),
                                           .by = text_of(said->by),
                                           .reason = text_of(said->reason),
                                           .at_ms = said->at_ms,
                                           .state = state};
}

const struct halt *halts_of(const struct halts *halts, struct ab_view pool, struct ab_view user)
{
    const struct halt *found = NULL;
    for (size_t i = 0; i < halts->n; i++) {
        const struct halt *halt = &halts->all[i];
        bool here = !strcmp(halt->pool, "*") || ab_view_is(pool, halt->pool);
        if (here && (!*halt->of || ab_view_is(user, halt->of)) && (!found || halt->state > found->state))
            found = halt;
    }
    return found;
}

void halts_finish(struct halts *halts)
{
    for (size_t i = 0; i < halts->n; i++)
        clear(&halts->all[i]);
    free(halts->all);
    *halts = (struct halts){0};
}
