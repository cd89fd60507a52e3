/* Watchers: who is shown a job's events, and how far each one is.
 *
 * The rule: an event is sent iff its seq is the watcher's next_seq. A watcher that has seen everything on disk is
 * live and gets each commit as it happens; one that has not is behind and is fed pages from storage, one in
 * flight. A watcher whose pipe is full is behind too and is fed at a later tick. So nothing is buffered here,
 * nothing skipped, nothing doubled, and a job that has ended is watched in the same way.
 */
#ifndef AB_BROKER_WATCHERS_H
#define AB_BROKER_WATCHERS_H

#include "broker/peers.h"

enum {
    WATCHERS_MAX = 1000000,    /* in all */
    WATCH_PAGES_MAX = 64,      /* pages in flight to storage */
    WATCH_PAGE_EVENTS = 500,   /* in one page */
    WATCH_RETRY_MS = 20,       /* after a full pipe */
    WATCH_AWAY_RETRY_MS = 200, /* storage could not answer */
    WATCH_TEXT_MAX = 64 << 10, /* of the step being written, kept per watched job */
};

enum watch_state {
    WATCH_LIVE,    /* has all that is on disk */
    WATCH_BEHIND,  /* wants a page at `again_ms` */
    WATCH_READING, /* a page is on its way */
};

struct watcher {
    uint64_t serial; /* its name in tickets; never used twice */
    struct peer *peer;
    struct watcher *peer_prev, *peer_next;
    struct job *job; /* NULL: not among the open jobs */
    struct watcher *job_prev, *job_next;
    struct watcher *behind_prev, *behind_next;
    struct ab_id id;
    char *user;
    uint64_t next_seq, rid;
    int64_t again_ms;
    enum watch_state state;
    bool end_only, deltas;
    bool text_behind; /* a delta was lost: sent the whole text with the next one */
};

/* The text of the step that is being written, its last WATCH_TEXT_MAX bytes. */
struct text {
    struct ab_buf step, agent, piece;
    uint64_t attempt, start; /* offset of piece[0] */
};

struct watchers {
    struct map by_serial;
    struct watcher *behind_first, *behind_last;
    uint64_t serials;
    uint32_t n, reading;
};

#endif
