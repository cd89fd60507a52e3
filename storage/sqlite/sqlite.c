/* The SQLite back end of the store: transactions, operation dispatch, the size of the write-ahead log.
 *
 * The writer owns the file's only writing connection and everything it remembers (heads, keys, counters); all of
 * that is forgotten on a rollback and read again. Readers are connections of their own, one per thread.
 */
#include "storage/sqlite/search.h"
#include "storage/sqlite/usage.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"

enum {
    OP_NUMBERS = 128,
    TEND_BYTES = 16 << 20 /* so much more log is worth a checkpoint beside the writer */
};

static op_fn *const op_table[OP_NUMBERS] = {
#define X(name, number, kind, by, request, answer, doc) [number] = SELECT_##kind(op_##name),
#define SELECT_READ(fn)                                 fn
#define SELECT_WRITE(fn)                                fn
#define SELECT_BROKER(fn)                               NULL
    AB_OPERATIONS(X)
#undef X
};

static struct db *db_of(struct store *store)
{
    return (struct db *)(void *)store;
}

static int remember_last_id(struct db *db, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_JOB_LAST_ID);
    int got = db_row(db, s, err);
    db->id_last = got > 0 ? col_id(s, 0) : (struct ab_id){{0}};
    db_release(db);
    return got < 0 ? got : 0;
}

/* Reads what the writer counts from. */
static int remember(struct db *db, struct ab_error *err)
{
    int64_t n = db_number(db, "SELECT coalesce(max(n),0) FROM jobs", -1);
    int64_t epoch = db_number(db, "SELECT value FROM meta WHERE key='epoch'", -1);
    int64_t session = db_number(db,
                                "SELECT max(value,(SELECT coalesce(max(key),0)+1 FROM sessions)) FROM meta"
                                " WHERE key='session_next'",
                                -1);
    if (n < 0 || epoch < 0 || session < 0)
        return db_fail(db->handle, sqlite3_extended_errcode(db->handle), "reading the counters", err);
    db->n_last = (uint64_t)n;
    db->epoch_id = (struct ab_id){{0}};
    db->epoch = (uint64_t)epoch;
    db->session_next = (uint64_t)session;
    return remember_last_id(db, err);
}

/* ---- transactions ---- */
int db_begin(struct db *db, int64_t now_ms, struct ab_error *err)
{
    db->now_ms = now_ms;
    db->notices_n = 0;
    int code = db_run(db, db_sql(db, SQL_BEGIN_WRITE), err);
    db_release(db);
    /* After a rollback the counters may be ahead of the tables: read them again, inside the transaction. */
    if (!code && db->rc) {
        code = remember(db, err);
        if (code)
            db->store.ops->rollback(&db->store);
    }
    if (code)
        db->shared->broken_rc = db->rc ? db->rc : SQLITE_IOERR;
    else
        db->rc = 0;
    db->store.broken = false;
    return code;
}

static int begin(struct store *store, int64_t now_ms, struct ab_error *err)
{
    struct db *db = db_of(store);
    if (!AB_FAILPOINT("storage.begin"))
        return db_begin(db, now_ms, err);
    db->shared->broken_rc = SQLITE_IOERR;
    return ab_fail(err, AB_EUNAVAILABLE, "fail point storage.begin");
}

/* What may be ahead of the tables after something was taken back. */
static void forget(struct db *db, size_t notices_n)
{
    heads_clear(&db->heads);
    memset(db->users, 0, sizeof *db->users);
    memset(db->workflows, 0, sizeof *db->workflows);
    db->notices_n = notices_n;
    db->budgets_any = db->workflow_budgets_any = db->drains_any = -1;
    feeder_unsure(db->feeder);
}

bool db_step_over(const struct db *db)
{
    return AB_FAILPOINT("storage.step") || ab_mono_us() >= db->step_us;
}

/* After the last write of an operation. */
static bool operation_failpoint(void)
{
    return AB_FAILPOINT("storage.operation");
}

/* Clients' operations may find out late that they cannot go on: a savepoint takes back what they wrote. The broker's
 * check before they write, and a savepoint would cost them more than all else (it copies each page they touch). */
static int run_guarded(struct db *db, op_fn *fn, const struct store_call *call, struct ab_error *err)
{
    size_t notices_n = db->notices_n;
    int code = db_run(db, db_sql(db, SQL_SAVE), err);
    if (code)
        return code;
    code = fn(db, call->request, call->answer, err);
    if (code >= 0 && operation_failpoint())
        code = ab_fail(err, AB_EUNAVAILABLE, "fail point storage.operation");
    db_release(db);
    if (code < 0 && !db->store.broken) {
        struct ab_error ignored;
        db_run(db, db_sql(db, SQL_SAVE_UNDO), &ignored);
        forget(db, notices_n);
    }
    if (!db->store.broken)
        db_run(db, db_sql(db, SQL_SAVE_DONE), code < 0 ? NULL : err);
    return db->store.broken && code >= 0 ? AB_EUNAVAILABLE : code;
}

/* One snapshot for all that the operation reads. */
static int run_reading(struct db *db, op_fn *fn, const struct store_call *call, struct ab_error *err)
{
    db->store.broken = false;
    int code = db_run(db, db_sql(db, SQL_BEGIN_READ), err);
    if (!code)
        code = fn(db, call->request, call->answer, err);
    db_release(db);
    if (!sqlite3_get_autocommit(db->handle))
        db_run(db, db_sql(db, SQL_COMMIT), NULL);
    return code;
}

static int run(struct store *store, int64_t now_ms, const struct store_call *call, struct ab_error *err)
{
    struct db *db = db_of(store);
    op_fn *fn = call->row->number < OP_NUMBERS ? op_table[call->row->number] : NULL;
    if (!fn || (call->row->kind == AB_OP_WRITE && !db->writer))
        return ab_fail(err, AB_EINTERNAL, "operation %s cannot be run here", call->row->name);
    size_t mark = call->answer->n;
    db->now_ms = now_ms;
    db->faults = call->faults;
    db->progress = call->progress;
    db->step_us = ab_mono_us() + STORE_STEP_US;
    ab_buf_clear(call->faults);
    int code;
    if (!db->writer) {
        code = run_reading(db, fn, call, err);
    } else if (call->row->by & AB_BY_CLIENT) {
        code = run_guarded(db, fn, call, err);
    } else {
        code = fn(db, call->request, call->answer, err);
        (void)operation_failpoint(); /* kill and delay only: what a broker's operation wrote stays */
    }
    db_release(db);
    /* A read whose failure nobody looked at (job_ended) counts too. */
    if (db->store.broken && (!code || (err && !err->code)))
        code = ab_fail(err, AB_EUNAVAILABLE, "%s: %s", call->row->name, sqlite3_errstr(db->rc));
    if (code)
        call->answer->n = mark;
    else if (db->writer)
        db->operations++;
    return code;
}

static void rollback(struct store *store)
{
    struct db *db = db_of(store);
    db_release(db);
    if (!sqlite3_get_autocommit(db->handle)) /* SQLite may have rolled back by itself */
        db_run(db, db_sql(db, SQL_ROLLBACK), NULL);
    db_release(db);
    forget(db, 0);
    usage_drop(db->usage);
    if (!db->rc)
        db->rc = SQLITE_ABORT;
    db->shared->broken_rc = db->rc;
    store->broken = false;
}

static int commit(struct store *store, struct ab_error *err)
{
    struct db *db = db_of(store);
    if (AB_FAILPOINT("storage.sync"))
        return ab_fail(err, AB_ESYSTEM, "fail point storage.sync");
    int64_t began_us = ab_mono_us();
    int code = usage_write(db, err);
    if (!code)
        code = db_run(db, db_sql(db, SQL_COMMIT), err);
    db_release(db);
    if (code)
        return code;
    db->shared->commit_us += (uint64_t)(ab_mono_us() - began_us);
    db->shared->broken_rc = 0;
    db->shared->operations = db->operations;
    db->shared->commits = ++db->commits;
    return 0;
}

static size_t notices(struct store *store, const struct store_notice **out)
{
    *out = db_of(store)->notices;
    return db_of(store)->notices_n;
}

static uint64_t epoch(struct store *store)
{
    return db_of(store)->epoch;
}

/* ---- the log's size ---- */
static int note_wal(void *arg, sqlite3 *handle, const char *name, int pages)
{
    (void)handle;
    (void)name;
    struct db *db = arg;
    db->shared->wal_bytes = (uint64_t)pages * 16384;
    return SQLITE_OK;
}

/* Over the bound: everybody waits until the log is empty. RESTART lets the next commit write it from its start. */
static int empty_log(struct db *db, struct ab_error *err)
{
    checkpointer_wait(db->checkpointer);
    int rc = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
    if (rc == SQLITE_IOERR_FSYNC)
        return db_fail(db->handle, rc, "checkpoint", err);
    if (rc != SQLITE_OK)
        ab_log(AB_WARN, "checkpoint.failed", "text", sqlite3_errmsg(db->handle), "code", ab_num(rc), NULL);
    return 0;
}

static int tend_log(struct db *db, bool idle, struct ab_error *err)
{
    int failed = checkpointer_failed(db->checkpointer);
    if (failed)
        return db_fail(NULL, failed, "checkpoint", err);
    uint64_t bytes = db->shared->wal_bytes;
    if (bytes < db->wal_asked)
        db->wal_asked = 0; /* the log began again */
    if (bytes > STORE_WAL_BYTES_MAX) {
        db->wal_asked = 0;
        return empty_log(db, err);
    }
    if (bytes > db->wal_asked + (idle ? 0 : TEND_BYTES)) {
        db->wal_asked = bytes;
        checkpointer_wake(db->checkpointer);
    }
    return 0;
}

static int tend(struct store *store, int64_t now_ms, bool idle, struct ab_error *err)
{
    struct db *db = db_of(store);
    int code = tend_log(db, idle, err);
    int purged = code ? code : purge_slice(db, now_ms, idle, err);
    int fed = purged < 0 ? purged : feeder_slice(db, now_ms, idle, err);
    return fed < 0 ? fed : fed || purged;
}

/* ---- opening and closing ---- */
static void close_store(struct store *store)
{
    struct db *db = db_of(store);
    if (db->writer) {
        checkpointer_destroy(db->checkpointer);
        purge_destroy(db->purge);
        usage_destroy(db->usage);
        feeder_destroy(db->feeder);
        heads_finish(&db->heads);
        free(db->users);
        free(db->workflows);
        free(db->notices);
        free(db->shared);
    }
    ab_buf_finish(&db->scratch);
    db_disconnect(db);
    free(db);
}

static int open_reader(struct store *writer, struct store **out, struct ab_error *err);

static const struct store_ops sqlite_ops = {
    .name = "sqlite",
    .begin = begin,
    .run = run,
    .commit = commit,
    .rollback = rollback,
    .notices = notices,
    .epoch = epoch,
    .tend = tend,
    .reader = open_reader,
    .close = close_store,
};

static int open_reader(struct store *writer, struct store **out, struct ab_error *err)
{
    struct db *db = ab_calloc(1, sizeof *db);
    db->store.ops = &sqlite_ops;
    db->shared = db_of(writer)->shared;
    int code = db_connect(db, db_of(writer)->path, err);
    if (!code)
        code = db_prepare(db, err);
    if (code) {
        close_store(&db->store);
        return code;
    }
    *out = &db->store;
    return 0;
}

/* Cheap checks of every start: header, version, schema, and that the first pages can be read. */
static int open_file(struct db *db, const char *path, struct ab_error *err)
{
    struct stat st;
    bool fresh = stat(path, &st) != 0 || st.st_size == 0;
    int code = db_connect(db, path, err);
    if (!code)
        code = db_migrate(db, migrations, migrations_n, err);
    if (!code && !fresh)
        code = db_check_schema(db, err);
    if (!code)
        code = db_prepare(db, err);
    if (!code)
        code = remember(db, err);
    return code;
}

int store_sqlite_open(const struct store_options *options, struct store **out, struct ab_error *err)
{
    struct db *db = ab_calloc(1, sizeof *db);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* nobody asks, and counting takes a lock for each malloc */
    db->store.ops = &sqlite_ops;
    db->writer = true;
    db->budgets_any = db->workflow_budgets_any = db->drains_any = -1;
    db->budget_version = 1;
    db->retention_ms = options->retention_ms;
    db->users = ab_calloc(1, sizeof *db->users);
    db->workflows = ab_calloc(1, sizeof *db->workflows);
    db->shared = ab_calloc(1, sizeof *db->shared);
    db->purge = purge_create();
    db->usage = usage_create();
    db->feeder = feeder_create();
    char *path = ab_format("%s/database.sqlite", options->dir);
    int code = open_file(db, path, err);
    if (!code)
        code = feeder_begin(db, options->reindex, err);
    if (!code)
        code = checkpointer_create(path, &db->checkpointer, err);
    free(path);
    if (code) {
        close_store(&db->store);
        return code;
    }
    sqlite3_wal_hook(db->handle, note_wal, db);
    *out = &db->store;
    return 0;
}
