/* Sessions: making, listing, naming, clearing, deleting them.
 */
#include "storage/sqlite/budgets.h"
#include "storage/sqlite/usage.h"

#include "common/clock.h"
#include "storage/workflow_check.h"

/* Columns of SQL_SESSION_COLUMNS. */
enum { COL_KEY, COL_ID, COL_CREATED, COL_NAME, COL_DESCRIPTION, COL_FLOW, COL_TEXT };

int session_record(struct db *db, struct ab_view user, sqlite3_stmt *row, struct ab_buf *out,
                   struct ab_error *err)
{
    (void)db;
    char iso[AB_ISO8601_MAX];
    struct ab_buf flow = {0};
    struct ab_session_record r = {
        .user_id = user,
        .session_id = col_text(row, COL_ID),
        .timestamp = ab_view_of(ab_iso8601(col_int(row, COL_CREATED), iso)),
        .name = col_text(row, COL_NAME),
        .description = col_text(row, COL_DESCRIPTION),
        .flow_config = col_blob(row, COL_FLOW),
    };
    int code = 0;
    if (!r.flow_config.p && !col_null(row, COL_TEXT)) {
        code = workflow_pack(col_text(row, COL_TEXT), &flow, err);
        r.flow_config = ab_buf_view(&flow);
    }
    if (!code)
        ab_encode(out, &ab_session_record_schema, &r);
    ab_buf_finish(&flow);
    return code;
}

static int list_rows(struct db *db, struct ab_view user, sqlite3_stmt *s, uint64_t limit, struct list *list,
                     int64_t *next, struct ab_error *err)
{
    int64_t last = 0;
    int got;
    while ((got = db_row(db, s, err)) > 0) {
        if (list->n == limit || list_full(list)) {
            *next = last;
            return 0;
        }
        last = col_int(s, COL_KEY);
        if ((got = session_record(db, user, s, &list->buf, err)))
            return got;
        list->n++;
    }
    return got;
}

/* Answers one session (key > 0) or a page of the user's. */
static int answer_sessions(struct db *db, struct ab_view user, int64_t key, int64_t after, uint64_t limit,
                           struct ab_buf *answer, struct ab_error *err)
{
    struct list list;
    int64_t next = 0, owner = user_find(db, user, err);
    char cursor[24];
    sqlite3_stmt *s = db_sql(db, key ? SQL_SESSION_RECORD : SQL_SESSIONS_OF_USER);
    bind_int(s, 1, key ? key : owner);
    if (!key)
        bind_int(s, 2, after);
    list_init(&list);
    int code = owner < 0 ? (int)owner : list_rows(db, user, s, limit, &list, &next, err);
    if (!code) {
        struct ab_op_sessions_answer a = {.sessions = list_done(&list)};
        if (next)
            a.next = ab_view(cursor, (size_t)snprintf(cursor, sizeof cursor, "%lld", (long long)next));
        ab_encode(answer, &ab_op_sessions_answer_schema, &a);
    }
    list_finish(&list);
    return code;
}

int session_answer(struct db *db, struct ab_view user, int64_t key, struct ab_buf *answer, struct ab_error *err)
{
    return answer_sessions(db, user, key, 0, 1, answer, err);
}

int op_get_sessions(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_get_sessions *r = request;
    int64_t after, key = 0;
    int code = cursor_read(r->after, &after, err);
    if (code)
        return code;
    if (r->session.n && (key = session_require(db, r->user, r->session, err)) < 0)
        return (int)key;
    return answer_sessions(db, r->user, key, after, limit_of(r->limit), answer, err);
}

/* ---- making and naming ---- */
static int set_names(struct db *db, int64_t key, struct ab_view name, struct ab_view description,
                     struct ab_error *err)
{
    if (!name.p && !description.p)
        return 0;
    sqlite3_stmt *s = db_sql(db, SQL_SESSION_NAME);
    bind_int(s, 1, key);
    bind_text(s, 2, name);
    bind_text(s, 3, description);
    return db_run(db, s, err);
}

static int set_flow(struct db *db, int64_t key, struct ab_view flow, struct ab_error *err)
{
    if (!flow.p)
        return 0;
    sqlite3_stmt *s = db_sql(db, SQL_SESSION_FLOW);
    bind_int(s, 1, key);
    bind_blob(s, 2, flow);
    return db_run(db, s, err);
}

/* A new session that is older than its row here says so itself. */
static int set_created(struct db *db, int64_t key, struct ab_view timestamp, struct ab_error *err)
{
    int64_t at_ms;
    if (!timestamp.n)
        return 0;
    if (!ab_iso8601_read(timestamp.p, timestamp.n, &at_ms))
        return ab_fail_at(err, AB_EINVALID, "session.timestamp", "is no ISO 8601 time: 2026-01-31T12:00:00Z");
    sqlite3_stmt *s = db_sql(db, SQL_SESSION_CREATED);
    bind_int(s, 1, key);
    bind_int(s, 2, at_ms);
    return db_run(db, s, err);
}

static int64_t make_as_asked(struct db *db, int64_t user, struct ab_view id, struct ab_view timestamp,
                             struct ab_error *err)
{
    int64_t key = session_make(db, user, id, 0, err);
    int code = key < 0 ? 0 : set_created(db, key, timestamp, err);
    return code ? code : key;
}

/* A session that is there already is made to look as asked: the same request again changes nothing. */
int op_create_session(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_create_session *r = request;
    struct ab_session_record session;
    int code = ab_decode(&ab_session_record_schema, r->session, &session, err);
    if (!code && session.flow_config.p)
        code = workflow_check_stored(session.flow_config, err);
    if (code)
        return code;
    if (!ab_view_eq(session.user_id, r->user))
        return ab_fail_at(err, AB_EDENIED, "session.user_id", "is not the user who asks");
    char made[AB_ID_TEXT];
    struct ab_view id = session.session_id;
    if (!id.n)
        id = ab_view_of(ab_id_text(ab_id_make(db->now_ms), made));
    int64_t user = user_make(db, r->user, err);
    int64_t key = user < 0 ? user : session_find(db, user, id, err);
    if (!key)
        key = make_as_asked(db, user, id, session.timestamp, err);
    if (key < 0)
        return (int)key;
    if ((code = set_names(db, key, session.name, session.description, err)) ||
        (code = set_flow(db, key, session.flow_config, err)))
        return code;
    return answer_sessions(db, r->user, 0, 0, AB_PAGE_MAX, answer, err);
}

int op_rename_session(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_rename_session *r = request;
    int64_t key = session_require(db, r->user, r->session, err);
    int code = key < 0 ? (int)key : set_names(db, key, r->name, r->description, err);
    return code ? code : answer_sessions(db, r->user, key, 0, 1, answer, err);
}

/* ---- deleting ---- */
int op_clear_session(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_session *r = request;
    int64_t key = session_require(db, r->user, r->session, err);
    int code = key < 0 ? (int)key : messages_remove(db, user_find(db, r->user, err), key, true, err);
    if (!code)
        ab_encode(answer, &ab_op_deleted_answer_schema,
                  &(struct ab_op_deleted_answer){.deleted = *db->progress});
    return code;
}

/* Keys are never given twice: a job that is still running must not find another session under its key. */
static int remember_next(struct db *db, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_META_SET);
    bind_text(s, 1, ab_view_of("session_next"));
    bind_int(s, 2, (int64_t)db->session_next);
    return db_run(db, s, err);
}

static int remove_session(struct db *db, int64_t user, int64_t key, struct ab_view id, struct ab_error *err)
{
    int code = messages_remove(db, user, key, false, err);
    if (code)
        return code;
    sqlite3_stmt *s = db_sql(db, SQL_SESSION_REMOVE);
    bind_int(s, 1, key);
    if ((code = db_run(db, s, err)) || (code = budget_forget(db, BUDGET_SESSION, key, err)) ||
        (code = usage_forget(db, key, err)) || (code = remember_next(db, err)))
        return code;
    return gone_add(db, user, GONE_SESSION, id, 0, err);
}

int op_delete_user_sessions(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_session *r = request;
    int64_t user = user_find(db, r->user, err);
    int64_t key = user <= 0 ? user : session_find(db, user, r->session, err);
    if (key < 0)
        return (int)key;
    int code = key    ? remove_session(db, user, key, r->session, err)
               : user ? gone_is(db, user, GONE_SESSION, r->session, NULL, err)
                      : 0;
    if (code < 0 || (key && code))
        return code;
    if (!key && !code) /* it never was there, or so long ago that nobody asks again */
        return (int)session_require(db, r->user, r->session, err);
    return answer_sessions(db, r->user, 0, 0, AB_PAGE_MAX, answer, err);
}
