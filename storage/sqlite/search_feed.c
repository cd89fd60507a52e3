/* The feeder: brings messages into the text index behind the commits that made them. It works in slices, each a
 * transaction of its own and nothing that anybody waits for:
 *
 *   1. what was noted in `unindexed`, in the order of its jobs;
 *   2. while meta has words_session, words_pos: all messages of the file behind that place, to make the index anew;
 *   3. while meta has words_merge: the segments of the index into one, so that what was taken out is overwritten.
 *
 * A slice may be lost: what it has done stands in its own transaction, with what it took off the list. So its commit is not
 * synced; the next one that is, takes it along. While others write it takes at most 1/SHARE of the time.
 */
#include "storage/sqlite/search.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"

enum {
    BUSY_US = 2000,
    IDLE_US = 5000,
    SHARE = 50,
    MERGE_PAGES = 16,    /* of one step of a merge */
    MERGE_REST = 20,     /* times as long as the last merge took, before the next one */
    RETRY_US = 10000000, /* after a slice that failed */
    NOTED_MAX = 1000,    /* of one slice */
};

struct feeder {
    int noted, remaking, merge; /* 1: there is something to do; 0: no; -1: not known */
    bool merging;               /* the first step of a merge was done */
    int64_t next_us;            /* monotonic: not before … */
    int64_t next_merge_us;
    int64_t merge_us; /* spent in this merge */
};

struct feeder *feeder_create(void)
{
    struct feeder *feeder = ab_calloc(1, sizeof *feeder);
    feeder_unsure(feeder);
    return feeder;
}

void feeder_destroy(struct feeder *feeder)
{
    free(feeder);
}

void feeder_noted(struct feeder *feeder)
{
    feeder->noted = 1;
}

void feeder_taken_out(struct feeder *feeder)
{
    feeder->merge = 1;
    feeder->merging = false;
}

void feeder_unsure(struct feeder *feeder)
{
    feeder->noted = feeder->remaking = feeder->merge = -1;
}

static int meta_put(struct db *db, const char *key, int64_t value, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_META_PUT);
    bind_text(s, 1, ab_view_of(key));
    bind_int(s, 2, value);
    return db_run(db, s, err);
}

static int meta_remove(struct db *db, const char *key, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_META_REMOVE);
    bind_text(s, 1, ab_view_of(key));
    return db_run(db, s, err);
}

/* 1: there is such a row. */
static int meta_get(struct db *db, const char *key, int64_t *value, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_META_GET);
    bind_text(s, 1, ab_view_of(key));
    int got = db_row(db, s, err);
    *value = got > 0 ? col_int(s, 0) : 0;
    return got;
}

/* ---- the start ---- */
static int empty_index(struct db *db, struct ab_error *err)
{
    char text[512];
    int n = snprintf(text, sizeof text,
                     "BEGIN IMMEDIATE;INSERT INTO message_words(message_words) VALUES('delete-all');"
                     "DELETE FROM message_docs;DELETE FROM unindexed;INSERT OR REPLACE INTO meta VALUES"
                     "('words',%d),('words_session',0),('words_pos',0);COMMIT",
                     WORDS_VERSION);
    int code = n < (int)sizeof text ? db_exec(db, text, err) : AB_EINTERNAL;
    if (code)
        db_exec(db, "ROLLBACK", NULL);
    else if (db->n_last)
        ab_log(AB_INFO, "search.remade", "text", "the text index is made anew, beside everything else", NULL);
    return code;
}

int feeder_begin(struct db *db, bool anew, struct ab_error *err)
{
    anew |= db_number(db, "SELECT value FROM meta WHERE key='words'", 0) != WORDS_VERSION;
    int code = anew ? empty_index(db, err) : 0;
    struct feeder *feeder = db->feeder;
    feeder->noted = (int)db_number(db, "SELECT EXISTS(SELECT 1 FROM unindexed)", -1);
    feeder->remaking = (int)db_number(db, "SELECT count(*) FROM meta WHERE key='words_session'", -1);
    feeder->merge = (int)db_number(db, "SELECT count(*) FROM meta WHERE key='words_merge'", -1);
    return code;
}

/* ---- what a slice does: 0 done, 1 no time, negative a failure ---- */
static int do_noted(struct db *db, int64_t until_us, struct ab_error *err)
{
    for (int i = 0; i < NOTED_MAX; i++) {
        sqlite3_stmt *s = db_sql(db, SQL_UNINDEXED_FIRST);
        int got = db_row(db, s, err);
        if (got <= 0) {
            db->feeder->noted = got ? db->feeder->noted : 0;
            return got;
        }
        int64_t pos = col_int(s, 0), session = col_int(s, 1);
        s = db_sql(db, SQL_UNINDEXED_REMOVE);
        bind_int(s, 1, pos);
        bind_int(s, 2, session);
        int code = db_run(db, s, err);
        if (code || (code = search_add(db, session, pos, err)))
            return code;
        if (ab_mono_us() >= until_us)
            return 1;
    }
    return 1;
}

static int do_remaking(struct db *db, int64_t until_us, struct ab_error *err)
{
    int64_t session, pos;
    int got = meta_get(db, "words_session", &session, err);
    if (got <= 0) {
        db->feeder->remaking = got;
        return got;
    }
    got = meta_get(db, "words_pos", &pos, err);
    while (got > 0 && ab_mono_us() < until_us) {
        sqlite3_stmt *s = db_sql(db, SQL_MESSAGES_NEXT);
        bind_int(s, 1, session);
        bind_int(s, 2, pos);
        if ((got = db_row(db, s, err)) <= 0)
            break;
        session = col_int(s, 0);
        pos = col_int(s, 1);
        int code = search_add(db, session, pos, err);
        if (code)
            return code;
    }
    if (got < 0)
        return got;
    if (got) {
        int code = meta_put(db, "words_session", session, err);
        return code || (code = meta_put(db, "words_pos", pos, err)) ? code : 1;
    }
    db->feeder->remaking = 0;
    int code = meta_remove(db, "words_session", err);
    return code ? code : meta_remove(db, "words_pos", err);
}

/* A negative number of pages puts all segments into one merge, further steps with a positive one go on with it, until one
 * changes nothing (its own row counts as one change). */
static int do_merge(struct db *db, int64_t until_us, struct ab_error *err)
{
    struct feeder *feeder = db->feeder;
    int64_t wanted, before, began_us = ab_mono_us();
    int got = meta_get(db, "words_merge", &wanted, err);
    if (got <= 0) {
        feeder->merge = got;
        return got;
    }
    while (got > 0 && ab_mono_us() < until_us) {
        before = sqlite3_total_changes(db->handle);
        sqlite3_stmt *s = db_sql(db, SQL_WORDS_MERGE);
        bind_int(s, 1, feeder->merging ? MERGE_PAGES : -MERGE_PAGES);
        int code = db_run(db, s, err);
        if (code)
            return code;
        got = !feeder->merging || sqlite3_total_changes(db->handle) - before > 1;
        feeder->merging = true;
    }
    feeder->merge_us += ab_mono_us() - began_us;
    if (got)
        return got;
    feeder->merge = 0;
    feeder->merging = false;
    feeder->next_merge_us = ab_mono_us() + MERGE_REST * feeder->merge_us;
    feeder->merge_us = 0;
    return meta_remove(db, "words_merge", err);
}

/* ---- slices ---- */
static int work(struct db *db, bool idle, struct ab_error *err)
{
    struct feeder *feeder = db->feeder;
    int64_t now_us = ab_mono_us(), until_us = now_us + (idle ? IDLE_US : BUSY_US);
    int code = feeder->noted ? do_noted(db, until_us, err) : 0;
    if (!code && feeder->remaking)
        code = do_remaking(db, until_us, err);
    if (!code && idle && feeder->merge && now_us >= feeder->next_merge_us)
        code = do_merge(db, until_us, err);
    return code;
}

static int do_slice(struct db *db, int64_t now_ms, bool idle, struct ab_error *err)
{
    if (AB_FAILPOINT("storage.feed"))
        return ab_fail(err, AB_EUNAVAILABLE, "fail point storage.feed");
    int code = db_exec(db, "PRAGMA synchronous=NORMAL", err);
    if (!code)
        code = db_begin(db, now_ms, err);
    int more = code ? code : work(db, idle, err);
    db_release(db);
    if (more >= 0 && (code = db_run(db, db_sql(db, SQL_COMMIT), err)))
        more = code;
    db_release(db);
    AB_FAILPOINT("storage.fed");
    return more;
}

/* What it did is undone. The index is no reason to stop: it is tried again later, and the log says why. */
static void give_up(struct db *db, const struct ab_error *why)
{
    int rc = db->shared->broken_rc;
    ab_log(AB_WARN, "search.failed", "code", ab_code_name(why->code), "text", why->text, NULL);
    db->store.ops->rollback(&db->store);
    if (why->code != AB_EUNAVAILABLE) /* a damaged index keeps nobody from writing */
        db->shared->broken_rc = rc;
    feeder_unsure(db->feeder);
    db->feeder->merging = false;
    db->feeder->next_us = ab_mono_us() + RETRY_US;
}

int feeder_slice(struct db *db, int64_t now_ms, bool idle, struct ab_error *err)
{
    struct feeder *feeder = db->feeder;
    int64_t began_us = ab_mono_us();
    bool merge = feeder->merge && idle;
    if (!feeder->noted && !feeder->remaking && !merge)
        return 0;
    if (began_us < feeder->next_us || (!feeder->noted && !feeder->remaking && began_us < feeder->next_merge_us))
        return 1;
    struct ab_error why = {0};
    int more = do_slice(db, now_ms, idle, &why);
    if (more < 0)
        give_up(db, &why);
    int code = db_exec(db, "PRAGMA synchronous=FULL", err);
    if (code)
        return code;
    if (more >= 0 && !idle)
        feeder->next_us = ab_mono_us() + SHARE * (ab_mono_us() - began_us);
    return feeder->noted || feeder->remaking || feeder->merge;
}
