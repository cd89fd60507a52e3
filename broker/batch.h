/* A batch of operations for storage: the body of one BATCH, and what each answer belongs to. Owned by the link. */
#ifndef AB_BROKER_BATCH_H
#define AB_BROKER_BATCH_H

#include "broker/core.h"

struct op {
    uint32_t start;     /* of [op, request] in the batch's body */
    uint32_t at, bytes; /* its request */
    struct ticket ticket;
};
struct batch {
    struct batch *next;
    uint64_t rid;
    struct ab_buf body; /* array32 head, patched when it is sealed, and [op, request] each */
    struct op *ops;
    uint32_t n, cap;
    bool sent;
};

void batch_clear(struct batch *batch); /* empty, its memory kept */
/* Appends [op, request]; returns the bytes of the request. */
size_t batch_add(struct batch *batch, enum ab_op op, const void *request, const struct ticket *ticket);
/* Appends a copy of an operation of another batch. */
void batch_copy(struct batch *batch, const struct batch *from, const struct op *op);
void batch_seal(struct batch *batch);    /* the body is whole */
void batch_destroy(struct batch *batch); /* NULL is allowed */

#endif
