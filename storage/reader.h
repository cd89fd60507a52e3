/* The reader: one thread with a connection of its own that runs reading operations, so that a long listing delays no
 * commit. The main thread hands requests in and takes answers out through a pair of inproc sockets.
 */
#ifndef STORAGE_READER_H
#define STORAGE_READER_H

#include "common/wire/socket.h"
#include "storage/store.h"

enum { READS_MAX = 1000 /* handed in and not answered; more are refused as busy */ };

struct reader;
struct reader_answer {
    struct ab_route route;
    uint64_t rid;
    struct ab_error err; /* code 0: `body` is the answer map */
    struct ab_view body; /* valid until the next reader_take */
};

/* name: of its end of the pair; each reader of a process has another. */
int reader_create(struct store *writer, const char *name, struct reader **out, struct ab_error *err);
void reader_destroy(struct reader *reader); /* NULL is allowed; waits for the running read */
void *reader_socket(struct reader *reader); /* readable when reader_take has something */
/* Copies the request. AB_EBUSY over READS_MAX. */
int reader_put(struct reader *reader, const struct ab_route *route, uint64_t rid, const struct ab_op_row *op,
               struct ab_view request, struct ab_error *err);
bool reader_take(struct reader *reader, struct reader_answer *answer);

#endif
