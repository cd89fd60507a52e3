/* The workflows of the jobs at hand, parsed once each, by the hash of their text. Pure bookkeeping: fetching is the
 * worker's. Entries in use stay; of the others the latest used are kept, up to two caps.
 */
#ifndef AB_WORKER_WORKFLOWS_H
#define AB_WORKER_WORKFLOWS_H

#include <sys/queue.h>

#include "common/workflow/workflow.h"

enum {
    WORKFLOWS_IDLE_MAX = 64,            /* entries that no job uses */
    WORKFLOWS_IDLE_BYTES_MAX = 4 << 20, /* of their texts */
};

struct workflow_entry {
    uint8_t hash[AB_WORKFLOW_HASH_BYTES];
    struct ab_workflow *workflow; /* NULL: not there yet, or `fault` says why it cannot be */
    struct ab_error fault;
    unsigned uses;
    TAILQ_ENTRY(workflow_entry) in_list; /* latest used first */
};
struct workflows {
    TAILQ_HEAD(workflow_list, workflow_entry) list;
    size_t idle, idle_bytes;
};

void workflows_init(struct workflows *workflows);
void workflows_finish(struct workflows *workflows);
/* The entry of a hash, made if it is not there; to be given back with workflows_put. */
struct workflow_entry *workflows_get(struct workflows *workflows, const uint8_t hash[AB_WORKFLOW_HASH_BYTES]);
void workflows_put(struct workflows *workflows, struct workflow_entry *entry); /* NULL is allowed */
/* Gives an entry its text; what is wrong with it becomes its fault. */
void workflows_fill(struct workflow_entry *entry, struct ab_view text);

#endif
