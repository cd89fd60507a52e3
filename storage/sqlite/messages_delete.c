/* Deleting messages: one, or all of a session. What a job's message says stands in the job, so that goes along.
 * A session may be long: it goes in steps of STORE_STEP_US, oldest messages first, each a transaction of its own and whole
 * in itself. Whoever is cut off in the middle begins with what is left.
 */
#include "storage/sqlite/search.h"

#include "common/clock.h"

/* ---- one ---- */
static int id_remove(struct db *db, int64_t user, struct ab_view id, struct ab_error *err)
{
    if (!id.n)
        return 0;
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_ID_REMOVE);
    bind_int(s, 1, user);
    bind_text(s, 2, id);
    return db_run(db, s, err);
}

/* Its row goes; it must be in the text index no more. */
static int row_remove(struct db *db, int64_t session, int64_t pos, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_REMOVE);
    bind_int(s, 1, session);
    bind_int(s, 2, pos);
    return db_run(db, s, err);
}

static bool job_ended(struct db *db, uint64_t n)
{
    sqlite3_stmt *s = db_sql(db, SQL_END_GET);
    bind_int(s, 1, (int64_t)n);
    return db_row(db, s, NULL) > 0;
}

/* Where the message with this id stands: ids that clients chose first, then those made of a job's id. 1: found. */
static int message_find(struct db *db, int64_t user, struct ab_view id, int64_t *session, int64_t *pos,
                        struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_ID_GET);
    bind_int(s, 1, user);
    bind_text(s, 2, id);
    int got = db_row(db, s, err);
    if (got) {
        *session = col_int(s, 0);
        *pos = col_int(s, 1);
        return got;
    }
    struct ab_id job;
    char made[MSG_ID_MAX];
    if (id.n < AB_ID_TEXT || !ab_id_parse(ab_view(id.p, AB_ID_TEXT - 1), &job))
        return 0;
    unsigned sub = ab_view_is(id, msg_id_made(job, POS_ANSWER, made)) ? POS_ANSWER : POS_QUESTION;
    if (!ab_view_is(id, msg_id_made(job, sub, made)))
        return 0;
    s = db_sql(db, SQL_JOB_BY_ID);
    bind_id(s, 1, &job);
    got = db_row(db, s, err);
    if (got <= 0 || col_int(s, 1) != user)
        return got < 0 ? got : 0;
    *session = col_int(s, 2);
    *pos = pos_of((uint64_t)col_int(s, 0), sub);
    return 1;
}

/* A saved message goes; a job's is hidden and its text removed, at once or when the job ends. */
static int message_delete(struct db *db, int64_t user, int64_t session, int64_t pos, struct ab_view id,
                          struct ab_error *err)
{
    int code = id_remove(db, user, id, err);
    if (code)
        return code;
    if (pos_sub(pos) >= POS_SAVED) {
        code = search_forget(db, session, pos, err);
        return code ? code : row_remove(db, session, pos, err);
    }
    if ((code = message_hide(db, session, pos, err)) || !job_ended(db, pos_n(pos)))
        return code;
    return redact_message(db, session, pos, err);
}

/* The same request again; *session stays 0 if that is gone too. */
static int deleted_before(struct db *db, int64_t user, struct ab_view id, int64_t *session,
                          struct ab_error *err)
{
    int64_t key = 0;
    int got = gone_is(db, user, GONE_MESSAGE, id, &key, err);
    *session = 0;
    if (got <= 0)
        return got ? got
                   : ab_fail_at(err, AB_ENOTFOUND, "msg_id", "this user has no message %.*s", AB_VIEW_FMT(id));
    sqlite3_stmt *s = db_sql(db, SQL_SESSION_ID);
    bind_int(s, 1, key);
    if ((got = db_row(db, s, err)) > 0)
        *session = key;
    return got < 0 ? got : 0;
}

static int delete_one(struct db *db, const struct ab_op_delete_message *r, int64_t *session,
                      struct ab_error *err)
{
    int64_t user = user_find(db, r->user, err), pos = 0;
    int got = user <= 0 ? (int)user : message_find(db, user, r->msg_id, session, &pos, err);
    if (got < 0)
        return got;
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_GET);
    bind_int(s, 1, *session);
    bind_int(s, 2, pos);
    if (got && (got = db_row(db, s, err)) < 0)
        return got;
    if (!got || col_int(s, 0))
        return deleted_before(db, user, r->msg_id, session, err);
    if (r->session.n) {
        int64_t named = session_find(db, user, r->session, err);
        if (named != *session)
            return named < 0 ? (int)named
                             : ab_fail_at(err, AB_ENOTFOUND, "session", "the message is in another session");
    }
    got = gone_add(db, user, GONE_MESSAGE, r->msg_id, *session, err);
    return got ? got : message_delete(db, user, *session, pos, r->msg_id, err);
}

int op_delete_message(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_delete_message *r = request;
    int64_t session = 0;
    int code = 0;
    if (r->delete_all) {
        session = session_require(db, r->user, r->session, err);
        code =
            session < 0 ? (int)session : messages_remove(db, user_find(db, r->user, err), session, true, err);
    } else if (!r->msg_id.n) {
        code = ab_fail_at(err, AB_EINVALID, "msg_id", "name a message, or a session with delete_all");
    } else {
        code = delete_one(db, r, &session, err);
    }
    return code ? code : messages_answer(db, session, 0, AB_PAGE_MAX, answer, err);
}

/* Its events, oldest first, as far as the step's time goes: a journal may be long. */
static int remove_events(struct db *db, uint64_t n, struct ab_error *err)
{
    for (;;) {
        sqlite3_stmt *s = db_sql(db, SQL_EVENTS_PURGE);
        bind_int(s, 1, (int64_t)n);
        int code = db_run(db, s, err);
        if (code || !sqlite3_changes(db->handle))
            return code;
        if (db_step_over(db))
            return STORE_MORE;
    }
}

/* The answer of job n is shown no more from here on: what it points at goes away. */
static int hide_answer(struct db *db, int64_t session, uint64_t n, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_GET);
    bind_int(s, 1, session);
    bind_int(s, 2, pos_of(n, POS_ANSWER));
    int got = db_row(db, s, err);
    if (got <= 0 || col_int(s, 0))
        return got < 0 ? got : 0;
    ++*db->progress;
    return message_hide(db, session, pos_of(n, POS_ANSWER), err);
}

/* What an ended job held. Its end event first: whatever stands in the file between two steps is a job without content. */
static int remove_ended(struct db *db, int64_t session, uint64_t n, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_END_GET);
    bind_int(s, 1, (int64_t)n);
    int code = db_row(db, s, err);
    int64_t event = code > 0 ? col_int(s, 2) : 0;
    if (code < 0 || (code = hide_answer(db, session, n, err)))
        return code;
    if (event) {
        s = db_sql(db, SQL_END_FORGET);
        bind_int(s, 1, (int64_t)n);
        if ((code = db_run(db, s, err)))
            return code;
        s = db_sql(db, SQL_EVENT_REMOVE);
        bind_int(s, 1, event);
        if ((code = db_run(db, s, err)) || (code = job_purge(db, n, 0, err)))
            return code;
    }
    return remove_events(db, n, err);
}

/* What the session's job at `pos` (a question's row) held. */
static int remove_job(struct db *db, int64_t session, int64_t pos, bool keep, struct ab_error *err)
{
    uint64_t n = pos_n(pos);
    if (job_ended(db, n))
        return remove_ended(db, session, n, err);
    if (!keep)
        return job_send_cancel(db, n, "its session was deleted", err);
    return message_hide(db, session, pos, err);
}

static struct ab_view chosen_id(struct db *db, int64_t pos, struct ab_view body)
{
    if (pos_sub(pos) >= POS_SAVED)
        return ab_any_str(ab_map_get(body, "msg_id"));
    sqlite3_stmt *s = db_sql(db, SQL_JOB_BY_N);
    bind_int(s, 1, (int64_t)pos_n(pos));
    if (pos_sub(pos) == POS_ANSWER || db_row(db, s, NULL) <= 0)
        return (struct ab_view){0};
    return ab_any_str(ab_map_get(col_blob(s, 4), "msg_id"));
}

/* One row of the walk. STORE_MORE: its job holds more than one step removes; the row stays, hidden, until that is gone. */
static int remove_row(struct db *db, int64_t user, int64_t session, sqlite3_stmt *row, bool keep,
                      struct ab_error *err)
{
    int64_t pos = col_int(row, 0);
    bool question = pos_sub(pos) == POS_QUESTION, live = question && keep && !job_ended(db, pos_n(pos));
    bool shown = !col_int(row, 1);
    int code = id_remove(db, user, chosen_id(db, pos, col_blob(row, 2)), err);
    if (!code && shown)
        code = search_forget(db, session, pos, err);
    *db->progress += shown;
    if (!code && question)
        code = remove_job(db, session, pos, keep, err);
    if (code == STORE_MORE && shown) {
        int hidden = message_hide(db, session, pos, err);
        return hidden ? hidden : code;
    }
    return code || live ? code : row_remove(db, session, pos, err);
}

int messages_remove(struct db *db, int64_t user, int64_t session, bool keep, struct ab_error *err)
{
    for (int64_t pos = -1;;) {
        /* One row at a time, as the loop changes the table it walks. */
        sqlite3_stmt *s = db_sql(db, SQL_MESSAGES_ALL);
        bind_int(s, 1, session);
        bind_int(s, 2, pos);
        int got = db_row(db, s, err);
        if (got <= 0)
            return got;
        pos = col_int(s, 0);
        if ((got = remove_row(db, user, session, s, keep, err)))
            return got;
        if (db_step_over(db))
            return STORE_MORE;
    }
}
