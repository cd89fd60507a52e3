/* Binary heaps of jobs. A job knows its place, so that any job leaves its heap in O(log n).
 *
 * A heap uses one of the job's places (its kind); within a kind a job is in at most one heap at a time.
 */
#ifndef AB_BROKER_HEAP_H
#define AB_BROKER_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct job;

enum heap_kind { HEAP_QUEUE, HEAP_DEADLINE, HEAP_LEASE, HEAP_KINDS };

struct heap {
    struct job **at; /* at[1] … at[n]; at[0] is unused */
    uint32_t n, cap;
    enum heap_kind kind;
    bool (*before)(const struct job *a, const struct job *b);
};

void heap_push(struct heap *heap, struct job *job);
struct job *heap_top(const struct heap *heap); /* NULL if empty */
struct job *heap_pop(struct heap *heap);       /* NULL if empty */
void heap_remove(struct heap *heap, struct job *job);
bool heap_has(const struct heap *heap, const struct job *job);
void heap_finish(struct heap *heap);

#endif
