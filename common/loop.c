#include "common/loop.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <zmq.h>

#include "common/bytes.h"
#include "common/clock.h"

struct item {
    bool (*handler)(void *owner);
    void *owner;
};

struct ab_loop {
    const struct ab_loop_ops *ops;
    void *owner;
    bool stop;
    int signals; /* signalfd; always items[0] */
    int n;
    zmq_pollitem_t polled[AB_LOOP_ITEMS_MAX + 1];
    struct item items[AB_LOOP_ITEMS_MAX + 1];
};

static bool on_signal(void *owner)
{
    struct ab_loop *loop = owner;
    struct signalfd_siginfo info;
    while (read(loop->signals, &info, sizeof info) == sizeof info)
        loop->ops->signalled(loop->owner, (int)info.ssi_signo);
    return false;
}

static void add(struct ab_loop *loop, void *socket, int fd, bool (*handler)(void *), void *owner)
{
    assert(loop->n <= AB_LOOP_ITEMS_MAX);
    loop->polled[loop->n] = (zmq_pollitem_t){.socket = socket, .fd = fd, .events = ZMQ_POLLIN};
    loop->items[loop->n++] = (struct item){handler, owner};
}

struct ab_loop *ab_loop_create(const struct ab_loop_ops *ops, void *owner)
{
    struct ab_loop *loop = ab_calloc(1, sizeof *loop);
    loop->ops = ops;
    loop->owner = owner;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    loop->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    assert(loop->signals >= 0);
    add(loop, NULL, loop->signals, on_signal, loop);
    return loop;
}

void ab_loop_destroy(struct ab_loop *loop)
{
    if (!loop)
        return;
    close(loop->signals);
    free(loop);
}

void ab_loop_add_socket(struct ab_loop *loop, void *zmq_socket, bool (*handler)(void *owner), void *owner)
{
    add(loop, zmq_socket, 0, handler, owner);
}

void ab_loop_add_fd(struct ab_loop *loop, int fd, bool (*handler)(void *owner), void *owner)
{
    add(loop, NULL, fd, handler, owner);
}

void ab_loop_remove(struct ab_loop *loop, void *zmq_socket, int fd)
{
    for (int i = 1; i < loop->n; i++) {
        if (loop->polled[i].socket != zmq_socket || (!zmq_socket && loop->polled[i].fd != fd))
            continue;
        loop->n--;
        loop->polled[i] = loop->polled[loop->n];
        loop->items[i] = loop->items[loop->n];
        return;
    }
}

static long wait_ms(struct ab_loop *loop, bool busy)
{
    if (busy)
        return 0;
    int64_t now = ab_mono_ms(), deadline = loop->ops->deadline(loop->owner, now);
    if (deadline == INT64_MAX)
        return -1;
    return deadline <= now ? 0 : deadline - now > 60000 ? 60000 : (long)(deadline - now);
}

void ab_loop_run(struct ab_loop *loop)
{
    bool busy = false;
    while (!loop->stop) {
        int ready = zmq_poll(loop->polled, loop->n, wait_ms(loop, busy));
        assert(ready >= 0 || errno == EINTR);
        busy = false;
        /* A handler may remove items: what moved into its place is found ready again in the next round. */
        for (int i = 0; ready > 0 && i < loop->n; i++)
            if (loop->polled[i].revents)
                busy |= loop->items[i].handler(loop->items[i].owner);
        loop->ops->tick(loop->owner, ab_mono_ms());
    }
}

void ab_loop_stop(struct ab_loop *loop)
{
    loop->stop = true;
}
