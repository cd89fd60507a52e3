/* Group commit: operations run as they arrive in one open transaction; their answers are kept until it is on disk.
 *
 *   group_batch / group_query …      any number, then
 *   group_commit                     one sync; answers become final: their own, or `unavailable` for all but the one
 *                                    operation whose fault it was
 *   group_each                       hands out the answers; the group is empty afterwards
 */
#ifndef STORAGE_GROUP_H
#define STORAGE_GROUP_H

#include "common/wire/socket.h"
#include "storage/store.h"

enum {
    GROUP_BYTES_MAX = 16 << 20, /* of answers: then the group is committed, though more waits */
    BATCH_FAULTS_BYTES_MAX =
        4 << 20,          /* of answers to one batch: above it refusals come without their lists of faults */
    GROUP_PARTS_MAX = 64, /* long operations under way at once; more are `busy` */
};

struct group_answer {
    struct ab_route route;
    uint64_t rid;
    bool batch;     /* else a QUERY */
    uint32_t ops;   /* of a batch */
    uint32_t run;   /* of these, so far */
    bool refused;   /* a QUERY: `body` is an encoded failure, else an answer map */
    size_t at, end; /* of its body in `bodies` */
};

struct group {
    struct store *store;
    bool open;            /* a transaction is */
    struct ab_error down; /* code: the database failed and nothing of this group counts */
    /* The operation that failed it, if the fault is its own (not the disk's): it alone gets the error, the others are
     * `unavailable`, sent again, and succeed without it. */
    bool culprit;
    size_t culprit_answer;
    uint32_t culprit_op;
    unsigned ops;
    struct ab_buf bodies, answer, faults;
    struct group_answer *answers;
    size_t n, cap;
    void *decoded; /* room for any request */
    /* QUERYs that have done a part (STORE_MORE): each goes on in the next transaction, and is answered when it is done. */
    struct group_part {
        struct ab_route route;
        uint64_t rid, progress;
        const struct ab_op_row *op;
        struct ab_buf request;
    } parts[GROUP_PARTS_MAX];
    size_t parts_n;
    struct group_item {
        uint64_t number;
        struct ab_view request;
    } items[STORE_OPS_MAX]; /* of the batch being run */
};

void group_init(struct group *group, struct store *store);
void group_finish(struct group *group);
/* Runs a BATCH's operations. AB_EINVALID or AB_ETOOLARGE: the body is no batch and nothing was run. */
int group_batch(struct group *group, const struct ab_route *route, const struct ab_batch *header,
                struct ab_view body, int64_t wall_ms, struct ab_error *err);
/* Runs one writing operation. What refuses it is in its answer. */
void group_query(struct group *group, const struct ab_route *route, uint64_t rid, const struct ab_op_row *op,
                 struct ab_view request, int64_t wall_ms);
/* One more step of the long operation whose turn it is. Whoever asked need not be there any more. */
void group_again(struct group *group, int64_t wall_ms);
/* AB_ESYSTEM: a sync failed; the process must end and answer nobody. */
int group_commit(struct group *group, struct ab_error *err);
typedef void group_send_fn(void *context, const struct group_answer *answer, struct ab_view body);
void group_each(struct group *group, group_send_fn *send, void *context);

#endif
