/* See workflows.h. A list, not a table: a worker sees few different workflows at a time, and a look-up is one comparison
 * of 32 bytes each. */
#include "worker/workflows.h"

#include <stdlib.h>

void workflows_init(struct workflows *workflows)
{
    *workflows = (struct workflows){0};
    TAILQ_INIT(&workflows->list);
}

static void drop(struct workflows *workflows, struct workflow_entry *entry)
{
    TAILQ_REMOVE(&workflows->list, entry, in_list);
    ab_workflow_destroy(entry->workflow);
    free(entry);
}

void workflows_finish(struct workflows *workflows)
{
    while (!TAILQ_EMPTY(&workflows->list))
        drop(workflows, TAILQ_FIRST(&workflows->list));
}

static size_t text_bytes(const struct workflow_entry *entry)
{
    return entry->workflow ? entry->workflow->text_bytes : 0;
}

struct workflow_entry *workflows_get(struct workflows *workflows, const uint8_t hash[AB_WORKFLOW_HASH_BYTES])
{
    struct workflow_entry *entry;
    TAILQ_FOREACH(entry, &workflows->list, in_list)
    if (!memcmp(entry->hash, hash, sizeof entry->hash))
        break;
    if (!entry) {
        entry = ab_calloc(1, sizeof *entry);
        memcpy(entry->hash, hash, sizeof entry->hash);
    } else {
        TAILQ_REMOVE(&workflows->list, entry, in_list);
        if (!entry->uses) {
            workflows->idle--;
            workflows->idle_bytes -= text_bytes(entry);
        }
    }
    TAILQ_INSERT_HEAD(&workflows->list, entry, in_list);
    entry->uses++;
    return entry;
}

static void shrink(struct workflows *workflows)
{
    struct workflow_entry *before;
    for (struct workflow_entry *entry = TAILQ_LAST(&workflows->list, workflow_list); entry; entry = before) {
        before = TAILQ_PREV(entry, workflow_list, in_list);
        if (workflows->idle <= WORKFLOWS_IDLE_MAX && workflows->idle_bytes <= WORKFLOWS_IDLE_BYTES_MAX)
            return;
        if (entry->uses)
            continue;
        workflows->idle--;
        workflows->idle_bytes -= text_bytes(entry);
        drop(workflows, entry);
    }
}

void workflows_put(struct workflows *workflows, struct workflow_entry *entry)
{
    if (!entry || --entry->uses)
        return;
    if (!entry->workflow) { /* not worth keeping: the next job asks again */
        drop(workflows, entry);
        return;
    }
    workflows->idle++;
    workflows->idle_bytes += text_bytes(entry);
    shrink(workflows);
}

void workflows_fill(struct workflow_entry *entry, struct ab_view text)
{
    uint8_t hash[AB_WORKFLOW_HASH_BYTES];
    json_t *tree = NULL;

    ab_workflow_hash(text, hash);
    if (memcmp(hash, entry->hash, sizeof hash)) {
        ab_fail(&entry->fault, AB_EDAMAGED, "the workflow's text does not have the hash it is stored under");
        return;
    }
    if (!ab_json_parse(text, &tree, &entry->fault))
        ab_workflow_parse(tree, 0, &entry->workflow, NULL, NULL, &entry->fault);
    json_decref(tree);
}
