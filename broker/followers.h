/* Followers: who is told that a job of a user has changed, so that lists of jobs need not be asked for again and again.
 *
 * A change is a job's id and a number, which grows by one with each change of any job: submitted, given to a worker, parked,
 * paused, failed an attempt, a word in its inbox, ended. What the job is now, storage says. The last CHANGES_KEPT are kept: who
 * comes back with the number it had (or had a full pipe) is told those after it; who was away for longer is told to list anew
 * (`reset`). Numbers are of one epoch of the broker: after its restart all list anew. So nothing is kept per follower.
 */
#ifndef AB_BROKER_FOLLOWERS_H
#define AB_BROKER_FOLLOWERS_H

#include "broker/names.h"
#include "common/id.h"

enum {
    FOLLOWERS_MAX = 100000, /* in all */
    CHANGES_KEPT = 4096,    /* of all users */
    FOLLOW_LOOKS = 256,     /* followers with full pipes that one tick serves */
    FOLLOW_RETRY_MS = 20,   /* after a full pipe */
};

struct peer;

struct followed {
    struct name name; /* the user's */
    struct follower *followers;
};

struct follower {
    struct peer *peer;
    struct follower *peer_prev, *peer_next;
    struct followed *user;
    struct follower *user_prev, *user_next;
    struct follower *behind_prev, *behind_next;
    uint64_t rid;  /* of its FOLLOW: its name at its peer */
    uint64_t next; /* behind: the first change it has not been told */
    bool behind;
};

struct change {
    struct followed *user; /* NULL: none yet */
    struct ab_id job;
};

struct followers {
    struct names users;
    struct change kept[CHANGES_KEPT]; /* change i at i % CHANGES_KEPT */
    uint64_t changes;                 /* so far; the last one's number */
    struct follower *behind_first, *behind_last;
    uint32_t n;
};

#endif
