/* Jobs as clients see them: one, and listings.
 */
#include "storage/sqlite/db.h"

#include "common/version.h"

enum { PREFIX_MIN = 4, CANDIDATES_MAX = 5 };

/* ---- one record ---- */
/* Columns of SQL_JOB_COLUMNS. */
enum {
    COL_N,
    COL_ID,
    COL_USER,
    COL_SESSION,
    COL_WORKFLOW,
    COL_CREATED,
    COL_NOT_BEFORE,
    COL_INPUT,
    COL_END,
    COL_ENDED,
    COL_END_EVENT,
    COL_OPEN,
    COL_WAKE,
    COL_HASH,
    COL_IMPORTED,
    COL_FORK_OF,
    COL_FORK_SEQ
};

struct progress {
    uint64_t seq, attempt;
    bool started, paused;
};

static int progress_of(struct db *db, uint64_t n, struct progress *p, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_EVENTS_KINDS);
    bind_int(s, 1, (int64_t)n);
    int got;
    while ((got = db_row(db, s, err)) > 0) {
        int64_t kind = col_int(s, 3);
        p->seq = (uint64_t)col_int(s, 1);
        p->attempt += kind == AB_KIND_STARTED;
        if (kind == AB_KIND_STARTED)
            p->started = true;
        else if (kind == AB_KIND_ATTEMPT_FAILED || kind == AB_KIND_WAITING || kind == AB_KIND_PAUSED)
            p->started = false;
    }
    return got;
}

static const char *state_of(const struct db *db, sqlite3_stmt *s, const struct progress *p)
{
    if (!col_null(s, COL_END))
        return end_names[col_int(s, COL_END) % END_N];
    if (p->paused)
        return "paused";
    if (open_waits((uint8_t)col_int(s, COL_OPEN)))
        return "waiting";
    if (p->started)
        return "running";
    if (col_int(s, COL_OPEN) == OPEN_RETRY)
        return "retry";
    return col_int(s, COL_NOT_BEFORE) > db->now_ms ? "scheduled" : "ready";
}

/* Appends the record of job n, with raw also its input; 0 if there is none (its content was deleted), 1 if there is. */
static int record_add(struct db *db, uint64_t n, bool raw, struct ab_buf *out, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_JOB_RECORD);
    bind_int(s, 1, (int64_t)n);
    int got = db_row(db, s, err);
    struct progress p = {0};
    if (got <= 0 || (got = progress_of(db, n, &p, err)) < 0 ||
        (col_null(s, COL_END) && (got = job_paused(db, n, err)) < 0))
        return got;
    p.paused = got > 0;
    struct ab_job_record r = {
        .id = col_id(s, COL_ID),
        .n = n,
        .user = col_text(s, COL_USER),
        .session = col_text(s, COL_SESSION),
        .workflow = col_text(s, COL_WORKFLOW),
        .hash = col_blob(s, COL_HASH),
        .fork_of = col_id(s, COL_FORK_OF),
        .fork_seq = (uint64_t)col_int(s, COL_FORK_SEQ),
        .state = ab_view_of(state_of(db, s, &p)),
        .attempt = p.attempt,
        .seq = p.seq,
        .created_ms = (uint64_t)col_int(s, COL_CREATED),
        .ended_ms = (uint64_t)col_int(s, COL_ENDED),
        .content = ab_map_get(col_blob(s, COL_INPUT), "content"),
        .imported_ms = (uint64_t)col_int(s, COL_IMPORTED),
        .input = raw ? col_blob(s, COL_INPUT) : (struct ab_view){0},
    };
    if (!col_null(s, COL_END_EVENT)) {
        sqlite3_stmt *end = db_sql(db, SQL_EVENT_BODY);
        bind_int(end, 1, col_int(s, COL_END_EVENT));
        if ((got = db_row(db, end, err)) < 0)
            return got;
        r.end = got ? col_blob(end, 0) : (struct ab_view){0};
    }
    ab_encode(out, &ab_job_record_schema, &r);
    return 1;
}

/* ---- finding one ---- */
static int no_such_job(struct ab_view job, struct ab_error *err)
{
    return ab_fail_at(err, AB_ENOTFOUND, "job", "this user has no job %.*s", AB_VIEW_FMT(job));
}

static int find_last(struct db *db, int64_t user, struct ab_view job, uint64_t *n, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_JOBS_OF_USER);
    bind_int(s, 1, user);
    bind_int(s, 2, INT64_MAX);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got ? got : no_such_job(job, err);
    *n = (uint64_t)col_int(s, 0);
    return 0;
}

/* Hexadecimal digits, dashes left out, as the range of ids that begin with them. False if it is something else. */
static bool prefix_range(struct ab_view job, struct ab_id *low, struct ab_id *high)
{
    unsigned digits = 0;
    memset(low->b, 0, AB_ID_BYTES);
    memset(high->b, 0xff, AB_ID_BYTES);
    for (size_t i = 0; i < job.n; i++) {
        char c = job.p[i];
        if (c == '-')
            continue;
        int value = c >= '0' && c <= '9'                 ? c - '0'
                    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                         : -1;
        if (value < 0 || digits == 2 * AB_ID_BYTES)
            return false;
        unsigned shift = digits % 2 ? 0 : 4;
        low->b[digits / 2] |= (uint8_t)(value << shift);
        high->b[digits / 2] &= (uint8_t) ~((15 - value) << shift);
        digits++;
    }
    return digits >= PREFIX_MIN;
}

static int find_prefix(struct db *db, int64_t user, struct ab_view job, uint64_t *n, struct ab_error *err)
{
    struct ab_id low, high;
    if (!prefix_range(job, &low, &high))
        return ab_fail_at(err, AB_EINVALID, "job", "is an id, the first %d or more characters of one, or last",
                          PREFIX_MIN);
    sqlite3_stmt *s = db_sql(db, SQL_JOBS_BY_PREFIX);
    bind_id(s, 1, &low);
    bind_id(s, 2, &high);
    char candidates[CANDIDATES_MAX * (AB_ID_TEXT + 1)] = "";
    size_t used = 0;
    unsigned found = 0;
    int got, rows = 0;
    while ((got = db_row(db, s, err)) > 0 && found < CANDIDATES_MAX) {
        if (++rows > STORE_SCAN_ROWS_MAX)
            return ab_fail_at(err, AB_EINVALID, "job",
                              "is too short a prefix among so many jobs: give more characters");
        if (col_int(s, 2) != user)
            continue;
        char text[AB_ID_TEXT];
        *n = (uint64_t)col_int(s, 0);
        int put = snprintf(candidates + used, sizeof candidates - used, " %s", ab_id_text(col_id(s, 1), text));
        used += put > 0 ? (size_t)put : 0;
        found++;
    }
    if (got < 0)
        return got;
    if (!found)
        return no_such_job(job, err);
    if (found > 1)
        return ab_fail_at(err, AB_EINVALID, "job", "fits more than one job, give more characters:%s",
                          candidates);
    return 0;
}

int job_find(struct db *db, struct ab_view user_name, struct ab_view job, uint64_t *n, struct ab_error *err)
{
    int64_t user = user_find(db, user_name, err);
    *n = 0;
    if (user <= 0)
        return user ? (int)user : no_such_job(job, err);
    return ab_view_is(job, "last") ? find_last(db, user, job, n, err) : find_prefix(db, user, job, n, err);
}

int op_get_job(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_get_job *r = request;
    uint64_t n = 0;
    int code = job_find(db, r->user, r->job, &n, err);
    if (code)
        return code;
    struct ab_buf record = {0};
    code = record_add(db, n, r->raw, &record, err);
    if (code > 0) {
        struct ab_op_get_job_answer a = {.job = ab_buf_view(&record)};
        ab_encode(answer, &ab_op_get_job_answer_schema, &a);
    }
    ab_buf_finish(&record);
    return code > 0 ? 0 : code ? code : no_such_job(r->job, err);
}

/* ---- listings ---- */
enum filter { FILTER_NONE, FILTER_OPEN, FILTER_WAITING, FILTER_PAUSED, FILTER_END };
struct listing {
    enum filter filter;
    int end; /* FILTER_END: END_… */
    int64_t user;
    int64_t session; /* 0: any */
    int64_t since_ms;
};

static int read_filter(struct db *db, const struct ab_op_list_jobs *r, int64_t user, struct listing *l,
                       struct ab_error *err)
{
    *l = (struct listing){.user = user, .since_ms = (int64_t)r->since_ms, .end = end_of(r->state)};
    if (l->end)
        l->filter = FILTER_END;
    else if (ab_view_is(r->state, "open"))
        l->filter = FILTER_OPEN;
    else if (ab_view_is(r->state, "waiting"))
        l->filter = FILTER_WAITING;
    else if (ab_view_is(r->state, "paused"))
        l->filter = FILTER_PAUSED;
    else if (r->state.n)
        return ab_fail_at(err, AB_EINVALID, "state",
                          "is open, waiting, paused, succeeded, failed, cancelled, expired or dead, not %.*s",
                          AB_VIEW_FMT(r->state));
    if (r->session.n && (l->session = session_find(db, user, r->session, err)) <= 0)
        return l->session ? (int)l->session
                          : ab_fail_at(err, AB_ENOTFOUND, "session", "this user has no such session");
    return 0;
}

static bool of_open(enum filter filter)
{
    return filter == FILTER_OPEN || filter == FILTER_WAITING || filter == FILTER_PAUSED;
}

/* Whether the job in this row of JOBS_OF_USER or OPEN_BEFORE is asked for; negative on failure. */
static int wanted(struct db *db, const struct listing *l, sqlite3_stmt *row, struct ab_error *err)
{
    if (of_open(l->filter)) {
        if (l->filter == FILTER_WAITING && !open_waits((uint8_t)col_int(row, 1)))
            return 0;
        int paused = l->filter == FILTER_OPEN ? 0 : job_paused(db, (uint64_t)col_int(row, 0), err);
        if (paused < 0 || (l->filter != FILTER_OPEN && paused != (l->filter == FILTER_PAUSED)))
            return paused < 0 ? paused : 0;
        sqlite3_stmt *s = db_sql(db, SQL_JOB_BY_N);
        bind_int(s, 1, col_int(row, 0));
        int got = db_row(db, s, err);
        return got <= 0 ? got
                        : col_int(s, 1) == l->user && (!l->session || col_int(s, 2) == l->session) &&
                              col_int(s, 3) >= l->since_ms;
    }
    if ((l->session && col_int(row, 1) != l->session) || col_int(row, 2) < l->since_ms)
        return 0;
    if (l->filter == FILTER_NONE)
        return 1;
    sqlite3_stmt *s = db_sql(db, SQL_END_GET);
    bind_int(s, 1, col_int(row, 0));
    int got = db_row(db, s, err);
    return got <= 0 ? got : col_int(s, 0) == l->end;
}

static int list_into(struct db *db, const struct ab_op_list_jobs *r, int64_t user, struct list *list,
                     uint64_t *next, struct ab_error *err)
{
    struct listing l;
    int got = read_filter(db, r, user, &l, err);
    if (got)
        return got;
    bool open = of_open(l.filter);
    sqlite3_stmt *s = db_sql(db, open ? SQL_OPEN_BEFORE : SQL_JOBS_OF_USER);
    if (!open)
        bind_int(s, 1, user);
    bind_int(s, 2, r->after ? (int64_t)r->after : INT64_MAX);
    uint64_t limit = limit_of(r->limit), last = 0;
    int rows = 0;
    while ((got = db_row(db, s, err)) > 0) {
        if (list->n == limit || list_full(list) || ++rows > STORE_SCAN_ROWS_MAX) {
            *next = last;
            return 0;
        }
        last = (uint64_t)col_int(s, 0);
        if ((got = wanted(db, &l, s, err)) > 0) {
            got = record_add(db, last, false, &list->buf, err);
            list->n += got > 0;
        }
        if (got < 0)
            return got;
    }
    return got;
}

int op_list_jobs(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_list_jobs *r = request;
    struct ab_op_list_jobs_answer a = {0};
    struct list list;
    list_init(&list);
    int64_t user = user_find(db, r->user, err);
    int code = user <= 0 ? (int)user : list_into(db, r, user, &list, &a.next, err);
    if (!code) {
        a.jobs = list_done(&list);
        ab_encode(answer, &ab_op_list_jobs_answer_schema, &a);
    }
    list_finish(&list);
    return code;
}

int op_storage_status(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    (void)request;
    struct ab_op_storage_status_answer a = {
        .schema = migrations_n,
        .commits = db->shared->commits,
        .operations = db->shared->operations,
        .commit_us = db->shared->commit_us,
        .wal_bytes = db->shared->wal_bytes,
    };
    int rc = db->shared->broken_rc;
    if (rc)
        a.writable = ab_view_of(sqlite3_errstr(rc));
    sqlite3_stmt *s = db_sql(db, SQL_JOBS_COUNT);
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    a.jobs = (uint64_t)col_int(s, 0);
    s = db_sql(db, SQL_OPEN_COUNT);
    if ((got = db_row(db, s, err)) < 0)
        return got;
    a.open = (uint64_t)col_int(s, 0);
    s = db_sql(db, SQL_UNINDEXED_COUNT);
    if ((got = db_row(db, s, err)) < 0)
        return got;
    a.unindexed = (uint64_t)col_int(s, 0);
    s = db_sql(db, SQL_META_GET);
    bind_text(s, 1, ab_view_of("words_session"));
    if ((got = db_row(db, s, err)) < 0)
        return got;
    a.reindexing = got;
    a.build = ab_view_of(ab_build());
    ab_encode(answer, &ab_op_storage_status_answer_schema, &a);
    return 0;
}
