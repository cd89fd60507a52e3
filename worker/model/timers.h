/* A binary heap of deadlines. Each timer sits in the struct it belongs to; the heap only points to it. Pure. */
#ifndef AB_WORKER_MODEL_TIMERS_H
#define AB_WORKER_MODEL_TIMERS_H

#include <stddef.h>
#include <stdint.h>

struct timer {
    void (*due)(struct timer *timer, int64_t now_ms); /* for who pops it */
    int64_t at_ms;
    size_t place; /* 1-based in the heap; 0 = not set */
};
/* Zero-initialised is empty. */
struct timers {
    struct timer **heap;
    size_t n, cap;
};

void timer_set(struct timers *timers, struct timer *timer, int64_t at_ms); /* moves it if it is set */
void timer_clear(struct timers *timers, struct timer *timer);    /* nothing happens if it is not set */
int64_t timers_next_ms(const struct timers *timers);             /* INT64_MAX if there is none */
struct timer *timers_pop(struct timers *timers, int64_t now_ms); /* one that is due, cleared; or NULL */
void timers_finish(struct timers *timers);

#endif
