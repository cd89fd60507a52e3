/* User ids for code of a worker that runs as root. The kernel counts no processes of root's, so that no limit on them would
 * hold, and what root owns lies open to root; so each run gets an id that nobody else on the machine has, for as long as it
 * lasts, and a user namespace whose root that is: in there its sandbox can be made also where users may not make namespaces
 * themselves. A worker that is not root runs code as itself and needs none of this. */
#ifndef AB_WORKER_EXEC_USERS_H
#define AB_WORKER_EXEC_USERS_H

#include "common/error.h"
#include "worker/exec/exec.h"

enum {
    USERS_N = EXEC_RUNS_MAX + 1, /* one for each run, and for a probe beside them */
    USER_INSIDE = 65534,         /* what all of them are called inside */
};

struct users {
    unsigned first;     /* ids first … first + USERS_N - 1 are this worker's; 0: it has none */
    int space[USERS_N]; /* user namespaces, made when first wanted; -1: not yet */
    bool taken[USERS_N];
};

/* range: FIRST-LAST, or empty: the worker's are derived from its process id. AB_EINVALID if they cannot be used. */
int users_init(struct users *users, const char *range, struct ab_error *err);
void users_finish(struct users *users);

struct user {
    unsigned id; /* 0: the worker's own */
    int at;      /* in `users` */
};
/* *space is borrowed; -1 if the worker's own id is used. */
int users_take(struct users *users, struct user *user, int *space, struct ab_error *err);
void users_give_back(struct users *users, struct user *user);

/* Files of a run's private file system are made as its user: its namespace knows no other. Of this thread only; what lies
 * between must be short, and acts with that user's rights. */
struct acting {
    int dumpable, death_signal, parent;
};
void user_act(const struct user *user, struct acting *was);
void user_act_no_more(const struct user *user, const struct acting *was);

#endif
