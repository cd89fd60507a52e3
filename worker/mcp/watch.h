/* A descriptor in the epoll set of worker/mcp. */
#ifndef AB_WORKER_MCP_WATCH_H
#define AB_WORKER_MCP_WATCH_H

#include <sys/epoll.h>
#include <unistd.h>

struct mcp_watch {
    int fd; /* -1: none */
    void (*ready)(void *owner);
    void *owner;
};

static inline int mcp_watch_add(int epoll, struct mcp_watch *watch, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, watch->fd, &event);
}

static inline void mcp_watch_change(int epoll, struct mcp_watch *watch, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    epoll_ctl(epoll, EPOLL_CTL_MOD, watch->fd, &event);
}

static inline void mcp_watch_close(int epoll, struct mcp_watch *watch)
{
    if (watch->fd < 0)
        return;
    epoll_ctl(epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    close(watch->fd);
    watch->fd = -1;
}

#endif
