/* Following jobs. Any number of listeners may follow the same job; all of them share one watch of the client library,
 * which knows only one per job.
 *
 * The rule is the broker's: a listener gets an event iff its seq is the next one. One that has everything there is is
 * live and gets each event as the watch delivers it; one that lacks something reads pages of the journal from storage
 * until it has caught up. So whoever joins late, comes back, or reads slowly loses nothing, gets nothing twice, and
 * nothing is buffered for it here.
 *
 * Who may follow: the first answer of storage says whether the job is the listener's user's, before the watch is joined.
 */
#ifndef AUTOBOTS_GATEWAY_FEED_H
#define AUTOBOTS_GATEWAY_FEED_H

#include "client/gateway/gateway.h"

enum {
    FEED_PAGE_EVENTS = 200,    /* read from storage at once */
    FEED_STEPS_MAX = 16,       /* texts being written that are remembered, per job */
    FEED_TEXT_MAX = 256 << 10, /* bytes of each */
};

struct feed;
struct feed_event {
    const char *job, *kind;
    uint64_t seq;
    const char *end; /* end state on the last event, else NULL */
    struct ab_view json;
};

struct listener {
    struct gateway *gateway;
    struct feed *feed; /* NULL: not following */
    struct listener *prev, *next;
    char *job, *user;
    uint64_t seq; /* the last one delivered */
    bool reading; /* a page is on its way */
    bool behind;  /* wants a page, but has no room */
    bool deltas;
    bool text_behind;  /* missed a piece: is shown the whole text */
    struct page *page; /* the one on its way */
    /* Once, when storage has said that the job is there and the user's, before its first event; false: it was stopped.
     * NULL is allowed. */
    bool (*on_begin)(struct listener *listener);
    /* Each may stop its own listener, no other. on_event returns false if it has no more room: the event counts as delivered, the next
     * one waits for listener_go_on(). */
    bool (*on_event)(struct listener *listener, const struct feed_event *event);
    bool (*on_delta)(struct listener *listener, const struct autobots_delta *delta); /* NULL is allowed */
    /* It is stopped then. AB_EENDED: it began behind the last event of a job that has ended. */
    void (*on_error)(struct listener *listener, const struct ab_error *error);
};

/* `fresh`: the job was made by this very request, so it is the user's and its journal begins now. Otherwise the journal
 * is read first. job, user, seq (after), deltas and callbacks are set by the caller; job and user are copied. */
void listener_start(struct listener *listener, struct gateway *gateway, const char *job, const char *user,
                    bool fresh);
void listener_stop(struct listener *listener); /* of one that does not follow: nothing */
/* There is room again. */
void listener_go_on(struct listener *listener);

struct feeds *feeds_create(void);
void feeds_destroy(struct feeds *feeds); /* all listeners must be stopped */
/* For /metrics. */
size_t feeds_count(const struct feeds *feeds);

#endif
