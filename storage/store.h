/* The store: what the server asks of a database. One writer handle, owned by the main thread, and reader handles,
 * each owned by one thread. A back end fills struct store_ops; the server never sees a row.
 *
 * Writing:  begin · run × n · commit, or rollback. Each run succeeds or is refused by itself and a refused one
 * has changed nothing. One that gives STORE_MORE has done a part. If the database itself fails (disk full, I/O error) run returns that error, `broken` is set
 * until the rollback, and nothing of the transaction may be acknowledged.
 * Reading:  run on a reader; each run sees one snapshot, which holds every commit that returned before it began.
 */
#ifndef STORAGE_STORE_H
#define STORAGE_STORE_H

#include "common/wire/operations.h"

enum {
    STORE_OPS_MAX = 1000,        /* in one transaction */
    STORE_PAGE_BYTES = 1 << 20,  /* a listing stops at this size, whatever its limit says */
    STORE_SCAN_ROWS_MAX = 20000, /* rows one read looks at before it gives its cursor back */
    STORE_WAL_BYTES_MAX = 64 << 20,
    STORE_GALLERY_BYTES_MAX = 16 << 20, /* one snapshot */
    STORE_STEP_US = 10000, /* of one operation in one transaction; a longer one goes on in the next */
};

/* Of run(): what it did so far may be committed; the same call again goes on with it. */
enum { STORE_MORE = 1 };

struct store_options {
    const char *dir;
    /* What ended longer ago is removed, and an older job id that is not there is refused as expired; 0: never. */
    int64_t retention_ms;
    bool reindex; /* empty the text index, so that it is made anew */
};

/* A word to the broker about a job, to be sent once the transaction that made it is on disk. */
struct store_notice {
    struct ab_id job;
    uint64_t k;       /* the inbox row; 0: none */
    const char *kind; /* static */
};

struct store_call {
    const struct ab_op_row *row;
    const void *request;   /* decoded by row->request */
    struct ab_buf *answer; /* an answer map is appended; untouched if refused */
    struct ab_buf *faults; /* cleared; if refused, a msgpack array of {path, what, hint} or empty */
    uint64_t *progress;    /* 0 at first, then the operation's own, from one run of it to the next */
};

struct store;
struct store_ops {
    const char *name;
    int (*begin)(struct store *store, int64_t now_ms, struct ab_error *err);
    int (*run)(struct store *store, int64_t now_ms, const struct store_call *call, struct ab_error *err);
    /* AB_ESYSTEM: a sync failed. What is on disk is unknown: the process must end without answering. */
    int (*commit)(struct store *store, struct ab_error *err);
    void (*rollback)(struct store *store);
    /* Notices of the transaction just committed; the caller sends them before the next begin. */
    size_t (*notices)(struct store *store, const struct store_notice **notices);
    /* The epoch on disk, of the broker that may write. */
    uint64_t (*epoch)(struct store *store);
    /* A moment to look after the files, between transactions. `idle`: nobody waits. 1: there is more to do, a little
     * later. Fails only as commit does. */
    int (*tend)(struct store *store, int64_t now_ms, bool idle, struct ab_error *err);
    int (*reader)(struct store *writer, struct store **reader, struct ab_error *err);
    void (*close)(struct store *store);
};

/* Back ends begin with this. */
struct store {
    const struct store_ops *ops;
    bool broken; /* the open transaction can only be rolled back */
};

/* Opens DIR/database.sqlite, made if absent, migrated if older (after a copy), refused if newer or damaged. */
int store_sqlite_open(const struct store_options *options, struct store **out, struct ab_error *err);
/* Reads all of it and prints what is wrong, one line each, to `out`. Returns how many faults; negative: could not
 * check. Changes nothing. */
int store_sqlite_check(const char *dir, FILE *out, struct ab_error *err);

static inline void store_close(struct store *store)
{
    if (store)
        store->ops->close(store);
}

#endif
