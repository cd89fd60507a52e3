/* timers.h: sift up, sift down. */
#include "worker/model/timers.h"

#include <stdlib.h>

#include "common/bytes.h"

static void put(struct timers *timers, size_t place, struct timer *timer)
{
    timers->heap[place - 1] = timer;
    timer->place = place;
}

/* Moves the timer from `place` to where it belongs. */
static void settle(struct timers *timers, size_t place, struct timer *timer)
{
    while (place > 1 && timers->heap[place / 2 - 1]->at_ms > timer->at_ms) {
        put(timers, place, timers->heap[place / 2 - 1]);
        place /= 2;
    }
    for (size_t child; (child = 2 * place) <= timers->n; place = child) {
        if (child < timers->n && timers->heap[child]->at_ms < timers->heap[child - 1]->at_ms)
            child++;
        if (timers->heap[child - 1]->at_ms >= timer->at_ms)
            break;
        put(timers, place, timers->heap[child - 1]);
    }
    put(timers, place, timer);
}

void timer_set(struct timers *timers, struct timer *timer, int64_t at_ms)
{
    timer->at_ms = at_ms;
    if (timer->place) {
        settle(timers, timer->place, timer);
        return;
    }
    if (timers->n == timers->cap) {
        timers->cap = timers->cap ? 2 * timers->cap : 64;
        timers->heap = ab_realloc(timers->heap, timers->cap * sizeof(struct timer *));
    }
    timers->n++;
    settle(timers, timers->n, timer);
}

void timer_clear(struct timers *timers, struct timer *timer)
{
    size_t place = timer->place;
    if (!place)
        return;
    timer->place = 0;
    struct timer *last = timers->heap[--timers->n];
    if (last != timer)
        settle(timers, place, last);
}

int64_t timers_next_ms(const struct timers *timers)
{
    return timers->n ? timers->heap[0]->at_ms : INT64_MAX;
}

struct timer *timers_pop(struct timers *timers, int64_t now_ms)
{
    if (!timers->n || timers->heap[0]->at_ms > now_ms)
        return NULL;
    struct timer *timer = timers->heap[0];
    timer_clear(timers, timer);
    return timer;
}

void timers_finish(struct timers *timers)
{
    free(timers->heap);
    *timers = (struct timers){0};
}
