/* Retention: what ended longer ago than it goes away, in gaps and in slices of a few milliseconds.
 *
 * A pass walks the ended jobs from the oldest on, until it meets one that was accepted within the retention:
 *   - its journal and inbox go; a question or answer that is still shown in its session keeps input and end event;
 *   - without such a message all of it goes, so that its id is free, which is safe once the id itself is so old that
 *     submit refuses it. The last job stays, because commit numbers are counted from it.
 * If jobs went, workflows that no job, session or saved name uses any more follow: mark, then sweep.
 *
 * Everything here may be cut off between two slices; the next pass begins anew. Nothing of it is needed for correctness.
 */
#include "storage/sqlite/db.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"

enum {
    SLICE_US = 2000,
    SLICE_ROWS = 1000,
    BUSY_MS = 1000,           /* between slices while there is other work */
    PASS_MS = 60 * 60 * 1000, /* between passes */
};

enum stage { REST, JOBS, MARK_JOBS, MARK_SESSIONS, MARK_SAVED, SWEEP };

struct purge {
    enum stage stage;
    int64_t pass_ms;          /* wall: the next pass begins */
    int64_t slice_ms;         /* monotonic: the last slice */
    int64_t cutoff_ms;        /* wall: what ended before it is old */
    int64_t at;               /* the last key looked at in this stage */
    uint64_t jobs, workflows; /* removed in this pass */
    bool noted;               /* the cutoff is in the file */
    uint8_t *used; /* bits of workflows that are in use, up to `used_max`; NULL: nothing is being marked */
    int64_t used_max;
};

/* A slice that is being done. */
struct slice {
    struct db *db;
    struct purge *purge;
    int64_t until_us;
    bool changed;
};

static bool over(const struct slice *slice)
{
    return ab_mono_us() >= slice->until_us;
}

struct purge *purge_create(void)
{
    return ab_calloc(1, sizeof(struct purge));
}

void purge_destroy(struct purge *purge)
{
    if (!purge)
        return;
    free(purge->used);
    free(purge);
}

void purge_used(struct purge *purge, int64_t workflow)
{
    if (purge && purge->used && workflow <= purge->used_max)
        purge->used[workflow / 8] |= (uint8_t)(1 << workflow % 8);
}

static void enter(struct purge *purge, enum stage stage)
{
    purge->stage = stage;
    purge->at = 0;
}

/* ---- jobs ---- */
struct old_job {
    uint64_t n;
    struct ab_id id;
    int64_t session, event; /* 0: none */
};

static int run_n(struct slice *slice, enum sql_id id, int64_t first, int64_t second, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(slice->db, id);
    bind_int(s, 1, first);
    if (sqlite3_bind_parameter_count(s) > 1)
        bind_opt(s, 2, second);
    int code = db_run(slice->db, s, err);
    slice->changed |= !code && sqlite3_changes(slice->db->handle);
    return code;
}

/* The check must know that journals may begin late: said once, before the first row goes. */
static int note_cutoff(struct slice *slice, struct ab_error *err)
{
    if (slice->purge->noted)
        return 0;
    sqlite3_stmt *s = db_sql(slice->db, SQL_META_RAISE);
    bind_text(s, 1, ab_view_of("purged_ms"));
    bind_int(s, 2, slice->purge->cutoff_ms);
    slice->purge->noted = true;
    return db_run(slice->db, s, err);
}

/* Events but its end, oldest first. 1: there are more, and no time. */
static int remove_journal(struct slice *slice, const struct old_job *job, struct ab_error *err)
{
    for (;;) {
        int code = run_n(slice, SQL_EVENTS_PURGE, (int64_t)job->n, job->event, err);
        if (code || !sqlite3_changes(slice->db->handle))
            return code;
        if (over(slice))
            return 1;
    }
}

/* Whether its session still shows its question or its answer. */
static int is_shown(struct db *db, const struct old_job *job, struct ab_error *err)
{
    for (unsigned sub = POS_QUESTION; job->session && sub <= POS_ANSWER; sub++) {
        sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_GET);
        bind_int(s, 1, job->session);
        bind_int(s, 2, pos_of(job->n, sub));
        int got = db_row(db, s, err);
        if (got < 0 || (got && !col_int(s, 0)))
            return got;
    }
    return 0;
}

static int remove_hidden(struct slice *slice, const struct old_job *job, struct ab_error *err)
{
    int code = 0;
    for (unsigned sub = POS_QUESTION; !code && job->session && sub <= POS_ANSWER; sub++)
        code = run_n(slice, SQL_MESSAGE_REMOVE, job->session, pos_of(job->n, sub), err);
    return code;
}

/* Nothing shows it: all of it, or all but its row. */
static int remove_job(struct slice *slice, const struct old_job *job, struct ab_error *err)
{
    struct db *db = slice->db;
    int64_t n = (int64_t)job->n;
    bool whole = job->n != db->n_last && ab_id_ms(job->id) < slice->purge->cutoff_ms;
    int code = run_n(slice, SQL_END_FORGET, n, 0, err);
    if (!code && job->event)
        code = run_n(slice, SQL_EVENT_REMOVE, job->event, 0, err);
    if (!code)
        code = run_n(slice, SQL_SECRETS_REMOVE, n, 0, err);
    if (code || !whole)
        return code ? code : run_n(slice, SQL_JOB_FORGET, n, 0, err);
    slice->purge->jobs++;
    if ((code = remove_hidden(slice, job, err)) || (code = run_n(slice, SQL_END_REMOVE, n, 0, err)) ||
        (code = run_n(slice, SQL_BUDGETS_FORGET_JOB, n, 0, err)) ||
        (code = run_n(slice, SQL_IMPORT_REMOVE, n, 0, err)))
        return code;
    return run_n(slice, SQL_JOB_REMOVE, n, 0, err);
}

/* 1: not done, no time. */
static int purge_job(struct slice *slice, const struct old_job *job, struct ab_error *err)
{
    int code = note_cutoff(slice, err);
    if (code || (code = remove_journal(slice, job, err)) ||
        (code = run_n(slice, SQL_INBOX_REMOVE, (int64_t)job->n, 0, err)) ||
        (code = run_n(slice, SQL_FILES_REMOVE, (int64_t)job->n, 0, err)) ||
        (code = run_n(slice, SQL_FILES_UNCOUNT, (int64_t)job->n, 0, err)))
        return code;
    int shown = is_shown(slice->db, job, err);
    return shown < 0 ? shown : shown ? 0 : remove_job(slice, job, err);
}

/* The next ended job of the walk. 1: it is old; 2: it is not, but later ones may be; 0: no more. */
static int next_old(struct slice *slice, struct old_job *job, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(slice->db, SQL_ENDED_AFTER);
    bind_int(s, 1, slice->purge->at);
    int got = db_row(slice->db, s, err);
    if (got <= 0 || col_int(s, 5) >= slice->purge->cutoff_ms)
        return got < 0 ? got : 0;
    *job = (struct old_job){
        .n = (uint64_t)col_int(s, 0), .id = col_id(s, 1), .session = col_int(s, 2), .event = col_int(s, 3)};
    return col_int(s, 4) < slice->purge->cutoff_ms ? 1 : 2;
}

static int do_jobs(struct slice *slice, struct ab_error *err)
{
    struct purge *purge = slice->purge;
    for (int rows = 0; rows < SLICE_ROWS && !over(slice); rows++) {
        struct old_job job;
        int got = next_old(slice, &job, err);
        if (got < 0)
            return got;
        if (!got) {
            enter(purge, purge->jobs ? MARK_JOBS : REST);
            return 0;
        }
        if (got == 1 && (got = purge_job(slice, &job, err)))
            return got < 0 ? got : 0;
        purge->at = (int64_t)job.n;
    }
    return 0;
}

/* ---- workflows ---- */
static void begin_marking(struct slice *slice)
{
    struct purge *purge = slice->purge;
    purge->used_max = db_number(slice->db, "SELECT coalesce(max(key),0) FROM workflows", 0);
    free(purge->used);
    purge->used = ab_calloc(1, (size_t)purge->used_max / 8 + 1);
}

/* Rows of jobs, sessions or saved workflows: what workflow each names. */
static int do_marking(struct slice *slice, enum sql_id rows_id, enum stage next, struct ab_error *err)
{
    struct purge *purge = slice->purge;
    if (!purge->used)
        begin_marking(slice);
    sqlite3_stmt *s = db_sql(slice->db, rows_id);
    bind_int(s, 1, purge->at);
    for (int rows = 0; rows < SLICE_ROWS && !over(slice); rows++) {
        int got = db_row(slice->db, s, err);
        if (got < 0)
            return got;
        if (!got) {
            enter(purge, next);
            return 0;
        }
        purge->at = col_int(s, 0);
        purge_used(purge, col_int(s, 1));
    }
    return 0;
}

static int do_mark_jobs(struct slice *slice, struct ab_error *err)
{
    return do_marking(slice, SQL_JOBS_WORKFLOWS, MARK_SESSIONS, err);
}

static int do_mark_sessions(struct slice *slice, struct ab_error *err)
{
    return do_marking(slice, SQL_SESSIONS_WORKFLOWS, MARK_SAVED, err);
}

static int do_mark_saved(struct slice *slice, struct ab_error *err)
{
    return do_marking(slice, SQL_SAVED_WORKFLOWS, SWEEP, err);
}

static int do_sweep(struct slice *slice, struct ab_error *err)
{
    struct purge *purge = slice->purge;
    for (int rows = 0; rows < SLICE_ROWS && !over(slice); rows++) {
        int64_t key = ++purge->at;
        if (key > purge->used_max) {
            free(purge->used);
            purge->used = NULL;
            enter(purge, REST);
            return 0;
        }
        if (purge->used[key / 8] >> key % 8 & 1)
            continue;
        int code = run_n(slice, SQL_WORKFLOW_REMOVE, key, 0, err);
        if (code)
            return code;
        purge->workflows += (uint64_t)sqlite3_changes(slice->db->handle);
        memset(slice->db->workflows, 0, sizeof *slice->db->workflows); /* the key may be given again */
    }
    return 0;
}

/* ---- slices ---- */
static int (*const stages[])(struct slice *slice, struct ab_error *err) = {[JOBS] = do_jobs,
                                                                           [MARK_JOBS] = do_mark_jobs,
                                                                           [MARK_SESSIONS] = do_mark_sessions,
                                                                           [MARK_SAVED] = do_mark_saved,
                                                                           [SWEEP] = do_sweep};

static void begin_pass(struct db *db, struct purge *purge, int64_t now_ms)
{
    purge->pass_ms = now_ms + PASS_MS;
    purge->cutoff_ms = now_ms - db->retention_ms;
    purge->jobs = purge->workflows = 0;
    purge->noted = false;
    enter(purge, JOBS);
}

static int do_slice(struct slice *slice, int64_t now_ms, struct ab_error *err)
{
    struct db *db = slice->db;
    int code = db_begin(db, now_ms, err);
    if (!code)
        code = stages[slice->purge->stage](slice, err);
    db_release(db);
    if (!code)
        code =
            slice->changed ? db->store.ops->commit(&db->store, err) : db_run(db, db_sql(db, SQL_COMMIT), err);
    db_release(db);
    return code;
}

/* What the slice did is undone, the pass is given up: the disk may be full, and the next pass begins anew. */
static void give_up(struct db *db, struct purge *purge, const struct ab_error *why)
{
    ab_log(AB_WARN, "purge.failed", "code", ab_code_name(why->code), "text", why->text, NULL);
    if (why->code != AB_ESYSTEM)
        db->store.ops->rollback(&db->store);
    free(purge->used);
    purge->used = NULL;
    enter(purge, REST);
}

int purge_slice(struct db *db, int64_t now_ms, bool idle, struct ab_error *err)
{
    struct purge *purge = db->purge;
    int64_t mono_ms = ab_mono_ms();
    if (!db->retention_ms || (!idle && mono_ms - purge->slice_ms < BUSY_MS))
        return 0;
    if (purge->stage == REST && now_ms < purge->pass_ms)
        return 0;
    purge->slice_ms = mono_ms;
    if (purge->stage == REST)
        begin_pass(db, purge, now_ms);
    struct slice slice = {.db = db, .purge = purge, .until_us = ab_mono_us() + SLICE_US};
    struct ab_error why = {0};
    int code = do_slice(&slice, now_ms, &why);
    if (code) {
        give_up(db, purge, &why);
        if (why.code != AB_ESYSTEM)
            return 0;
        *err = why;
        return err->code;
    }
    if (purge->stage == REST && purge->jobs)
        ab_log(AB_INFO, "purge.done", "jobs", ab_num((long long)purge->jobs), "workflows",
               ab_num((long long)purge->workflows), NULL);
    return purge->stage != REST;
}
