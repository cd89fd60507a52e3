/* Batches; see batch.h. */
#include "broker/batch.h"

#include <stdlib.h>

enum { BATCH_HEAD_BYTES = 5, BIN_HEAD_BYTES = 5 };

/* The four bytes of a length in front of `at`, known only afterwards. */
static void put_length(struct ab_buf *buf, size_t at, size_t n)
{
    for (int i = 0; i < 4; i++)
        buf->p[at - 4 + (size_t)i] = (char)(n >> (24 - 8 * i));
}

void batch_clear(struct batch *batch)
{
    batch->next = NULL;
    batch->n = 0;
    batch->sent = false;
    ab_buf_clear(&batch->body);
    ab_buf_add(&batch->body, "\xdd\0\0\0\0", BATCH_HEAD_BYTES);
}

/* The operation, whose [op, request] begins at `start` of this batch. */
static void add_op(struct batch *batch, const struct op *op, size_t start)
{
    if (batch->n == batch->cap) {
        batch->cap = batch->cap ? batch->cap * 2 : 64;
        batch->ops = ab_realloc(batch->ops, batch->cap * sizeof *batch->ops);
    }
    batch->ops[batch->n] = *op;
    batch->ops[batch->n].at = (uint32_t)(start + op->at - op->start);
    batch->ops[batch->n++].start = (uint32_t)start;
}

size_t batch_add(struct batch *batch, enum ab_op op, const void *request, const struct ticket *ticket)
{
    size_t start = batch->body.n;
    ab_pack_array(&batch->body, 2);
    ab_pack_uint(&batch->body, op);
    ab_buf_add(&batch->body, "\xc6\0\0\0\0", BIN_HEAD_BYTES);
    size_t at = batch->body.n;
    ab_encode(&batch->body, ab_op_by_number(op)->request, request);
    put_length(&batch->body, at, batch->body.n - at);
    const struct op one = {(uint32_t)start, (uint32_t)at, (uint32_t)(batch->body.n - at), *ticket};
    add_op(batch, &one, start);
    return one.bytes;
}

void batch_copy(struct batch *batch, const struct batch *from, const struct op *op)
{
    size_t start = batch->body.n;
    ab_buf_add(&batch->body, from->body.p + op->start, op->at + op->bytes - op->start);
    add_op(batch, op, start);
}

void batch_seal(struct batch *batch)
{
    put_length(&batch->body, BATCH_HEAD_BYTES, batch->n);
}

void batch_destroy(struct batch *batch)
{
    if (!batch)
        return;
    ab_buf_finish(&batch->body);
    free(batch->ops);
    free(batch);
}
