/* One SQLite connection: opening it with the settings that durability needs, its prepared statements, and errors. */
#include "storage/sqlite/db.h"

#include <stdlib.h>

#include "storage/sqlite/words.h"

enum {
    PAGE_BYTES = 16384,
    WRITER_CACHE_KIB = 32 << 10,
    READER_CACHE_KIB = 8 << 10,
    READER_MAP_BYTES = 256 << 20,
    LOOKASIDE_BYTES = 1200, /* SQLite's own memory for small things, without malloc: … */
    LOOKASIDE_SLOTS = 400,  /* … the default of 40 is used up by our statements */
};

static const char *const sql_text[SQL_N] = {
#define X(name, text) [SQL_##name] = text,
    SQL_STATEMENTS(X)
#undef X
};

const char *const end_names[END_N] = {"", "succeeded", "failed", "cancelled", "expired", "dead"};

int end_of(struct ab_view name)
{
    for (int i = END_SUCCEEDED; i < END_N; i++)
        if (ab_view_is(name, end_names[i]))
            return i;
    return END_NONE;
}

/* ---- errors ---- */
static int code_of_rc(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
        return AB_EUNAVAILABLE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return AB_EDAMAGED;
    case SQLITE_TOOBIG:
        return AB_ETOOLARGE;
    default:
        return AB_EINTERNAL;
    }
}

int db_fail(sqlite3 *handle, int rc, const char *doing, struct ab_error *err)
{
    bool sync_failed = rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC;
    int code = sync_failed ? AB_ESYSTEM : code_of_rc(rc);
    const char *hint = (rc & 0xff) == SQLITE_FULL ? ": the disk is full, free some space"
                       : code == AB_EDAMAGED      ? ": run autobots-storage --check, then restore a copy"
                                                  : "";
    return ab_fail(err, code, "%s: %s (%d)%s", doing, handle ? sqlite3_errmsg(handle) : sqlite3_errstr(rc), rc,
                   hint);
}

/* ---- statements ---- */
sqlite3_stmt *db_sql(struct db *db, enum sql_id id)
{
    sqlite3_stmt *s = db->statements[id];
    if (db->in_use[id]) {
        sqlite3_reset(s);
    } else {
        db->in_use[id] = true;
        db->used[db->used_n++] = (uint8_t)id;
    }
    return s;
}

_Static_assert(SQL_N <= 256, "used[] counts in bytes");

void db_release(struct db *db)
{
    for (unsigned i = 0; i < db->used_n; i++) {
        db->in_use[db->used[i]] = false;
        sqlite3_reset(db->statements[db->used[i]]);
        sqlite3_clear_bindings(db->statements[db->used[i]]);
    }
    db->used_n = 0;
}

static int broken(struct db *db, struct ab_error *err)
{
    db->rc = sqlite3_extended_errcode(db->handle);
    db->store.broken = true;
    return db_fail(db->handle, db->rc, db->writer ? "writing the database" : "reading the database", err);
}

int db_row(struct db *db, sqlite3_stmt *statement, struct ab_error *err)
{
    int rc = sqlite3_step(statement);
    return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : broken(db, err);
}

int db_run(struct db *db, sqlite3_stmt *statement, struct ab_error *err)
{
    int got = db_row(db, statement, err);
    if (got < 0)
        return got;
    sqlite3_reset(statement);
    return 0;
}

int db_exec(struct db *db, const char *text, struct ab_error *err)
{
    if (sqlite3_exec(db->handle, text, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return db_fail(db->handle, sqlite3_extended_errcode(db->handle), "preparing the database", err);
}

int64_t db_number(struct db *db, const char *text, int64_t otherwise)
{
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db->handle, text, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        otherwise = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return otherwise;
}

/* ---- the connection ---- */
int db_connect(struct db *db, const char *path, struct ab_error *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (db->writer ? SQLITE_OPEN_CREATE : 0);
    db->path = ab_strdup(path);
    int rc = sqlite3_open_v2(path, &db->handle, flags, NULL);
    if (rc != SQLITE_OK) {
        char *doing = ab_format("opening %s", path);
        rc = db_fail(db->handle, rc, doing, err);
        free(doing);
        return rc;
    }
    sqlite3_extended_result_codes(db->handle, 1);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_LOOKASIDE, NULL, LOOKASIDE_BYTES, LOOKASIDE_SLOTS);
    sqlite3_busy_timeout(db->handle, 5000);
    /* Nobody may smuggle in behaviour through a changed schema. */
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    char *text = ab_format("PRAGMA page_size=%d;PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;"
                           "PRAGMA wal_autocheckpoint=0;PRAGMA journal_size_limit=%d;PRAGMA secure_delete=ON;"
                           "PRAGMA temp_store=MEMORY;PRAGMA cache_size=-%d;PRAGMA mmap_size=%d;%s",
                           PAGE_BYTES, STORE_WAL_BYTES_MAX, db->writer ? WRITER_CACHE_KIB : READER_CACHE_KIB,
                           db->writer ? 0 : READER_MAP_BYTES, db->writer ? "" : "PRAGMA query_only=1;");
    int code = db_exec(db, text, err);
    free(text);
    return code;
}

int db_prepare(struct db *db, struct ab_error *err)
{
    int code = words_create(db->handle, &db->words, err);
    if (code)
        return code;
    for (int i = 0; i < SQL_N; i++)
        if (sqlite3_prepare_v3(db->handle, sql_text[i], -1, SQLITE_PREPARE_PERSISTENT, &db->statements[i],
                               NULL) != SQLITE_OK)
            return db_fail(db->handle, sqlite3_extended_errcode(db->handle), sql_text[i], err);
    return 0;
}

void db_disconnect(struct db *db)
{
    for (int i = 0; i < SQL_N; i++)
        sqlite3_finalize(db->statements[i]);
    words_destroy(db->words);
    sqlite3_close(db->handle);
    free(db->path);
}

/* ---- lists ---- */

void list_init(struct list *list)
{
    *list = (struct list){0};
    ab_buf_add(&list->buf, "\xdd\0\0\0", LIST_HEAD); /* array 32; the NUL of the literal is its fifth byte */
}

struct ab_view list_done(struct list *list)
{
    for (int i = 0; i < 4; i++)
        list->buf.p[1 + i] = (char)(list->n >> (24 - 8 * i));
    return ab_buf_view(&list->buf);
}

void list_finish(struct list *list)
{
    ab_buf_finish(&list->buf);
}
