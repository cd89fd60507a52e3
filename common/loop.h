/* The loop of every server: one zmq_poll over a handful of items, one deadline, signals as a descriptor.
 *
 *   deadline()  → how long may we wait (monotonic ms, INT64_MAX = for ever)
 *   poll        → on each ready item its handler, which drains it up to a bound
 *   tick(now)   → once per wake-up, after the handlers: timers, then flush what was gathered
 *
 * Work batches by itself: everything that arrived while one wake-up was handled is handled in the next one.
 */
#ifndef AB_COMMON_LOOP_H
#define AB_COMMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>

enum { AB_LOOP_ITEMS_MAX = 8 };

struct ab_loop;
struct ab_loop_ops {
    int64_t (*deadline)(void *owner, int64_t now_ms);
    void (*tick)(void *owner, int64_t now_ms);
    void (*signalled)(void *owner, int signo); /* SIGTERM, SIGINT, SIGHUP */
};

/* Blocks SIGTERM, SIGINT, SIGHUP (and ignores SIGPIPE): call before any thread is started. */
struct ab_loop *ab_loop_create(const struct ab_loop_ops *ops, void *owner);
void ab_loop_destroy(struct ab_loop *loop);
/* handler returns true if it left work behind (its bound was reached): the loop does not sleep then. */
void ab_loop_add_socket(struct ab_loop *loop, void *zmq_socket, bool (*handler)(void *owner), void *owner);
void ab_loop_add_fd(struct ab_loop *loop, int fd, bool (*handler)(void *owner), void *owner);
void ab_loop_remove(struct ab_loop *loop, void *zmq_socket, int fd);
/* Runs until ab_loop_stop. */
void ab_loop_run(struct ab_loop *loop);
void ab_loop_stop(struct ab_loop *loop);

#endif
