/* Group commit: operations run as they arrive in one open transaction; their answers are kept until it is on disk.
 *
 *   group_batch / group_query …      any number, then
 *   group_commit                     one sync; answers become final: their own, or `unavailable` for all
 *   group_each                       hands out the answers; the group is empty afterwards
 */
#ifndef STORAGE_GROUP_H
#define STORAGE_GROUP_H

#include "common/wire/socket.h"
#include "storage/store.h"

struct group_answer {
    struct ab_route route;
    uint64_t rid;
    bool batch;     /* else a QUERY */
    uint32_t ops;   /* of a batch */
    bool refused;   /* a QUERY: `body` is an encoded failure, else an answer map */
    size_t at, end; /* of its body in `bodies` */
};

struct group {
    struct store *store;
    bool open;            /* a transaction is */
    struct ab_error down; /* code: the database failed and nothing of this group counts */
    unsigned ops;
    struct ab_buf bodies, answer, faults;
    struct group_answer *answers;
    size_t n, cap;
    void *decoded; /* room for any request */
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
/* AB_ESYSTEM: a sync failed; the process must end and answer nobody. */
int group_commit(struct group *group, struct ab_error *err);
typedef void group_send_fn(void *context, const struct group_answer *answer, struct ab_view body);
void group_each(struct group *group, group_send_fn *send, void *context);

#endif
