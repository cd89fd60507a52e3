/* Limits on memory and processes of a whole run, by control groups below the worker's own, where the system lets it make
 * them: version 1 (as root), or version 2 (delegated: systemd `Delegate=yes`, or root). Where it does not, none is active,
 * and the run's other limits (rlimits) remain. */
#ifndef AB_WORKER_EXEC_CGROUP_H
#define AB_WORKER_EXEC_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

enum { CGROUP_MEMORY, CGROUP_PIDS, CGROUP_CONTROLLERS };

struct cgroups {
    char *base
        [CGROUP_CONTROLLERS]; /* folder in which groups are made; NULL: not active. Version 2: both the same */
    bool unified;
    char *own; /* version 2: the group into which the worker moved itself; NULL: it did not */
    unsigned long made;
};
/* root: where the control groups are mounted; self: /proc/self/cgroup. Both are given for tests. */
void cgroups_init(struct cgroups *groups, const char *root, const char *self);
void cgroups_finish(struct cgroups *groups);

struct cgroup {
    char *path[CGROUP_CONTROLLERS]; /* owned; version 2: the first only */
    int procs[CGROUP_CONTROLLERS];  /* to which "0" is written by who joins; -1: none */
    bool unified;
};
int cgroup_create(struct cgroups *groups, uint64_t memory_bytes, unsigned processes, struct cgroup *out,
                  struct ab_error *err);
void cgroup_joined(struct cgroup *group);        /* closes `procs` */
bool cgroup_ran_out(const struct cgroup *group); /* a process was killed for memory */
void cgroup_finish(struct cgroup *group);        /* removes it; its processes are gone */

#endif
