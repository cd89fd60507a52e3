/* The text index, message by message. See search.h. */
#include "storage/sqlite/search.h"

int search_note(struct db *db, int64_t session, int64_t pos, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_UNINDEXED_ADD);
    bind_int(s, 1, pos);
    bind_int(s, 2, session);
    feeder_noted(db->feeder);
    return db_run(db, s, err);
}

int search_text(struct db *db, int64_t session, int64_t pos, struct ab_buf *text, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_GET);
    bind_int(s, 1, session);
    bind_int(s, 2, pos);
    int got = db_row(db, s, err);
    if (got <= 0 || col_int(s, 0))
        return got < 0 ? got : 0;
    struct ab_view content;
    got = message_content(db, pos, col_blob(s, 1), &content, err);
    if (got > 0)
        words_text(content, text);
    return got < 0 ? got : 1;
}

/* The words that say whose and where. */
static struct ab_view place_text(int64_t user, int64_t session, char text[SEARCH_PLACE_MAX])
{
    return ab_view(
        text, (size_t)snprintf(text, SEARCH_PLACE_MAX, "u%lld s%lld", (long long)user, (long long)session));
}

static int64_t user_of(struct db *db, int64_t session, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_SESSION_USER);
    bind_int(s, 1, session);
    int got = db_row(db, s, err);
    return got <= 0 ? got : col_int(s, 0);
}

static int64_t doc_of(struct db *db, int64_t session, int64_t pos, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_DOC_GET);
    bind_int(s, 1, session);
    bind_int(s, 2, pos);
    int got = db_row(db, s, err);
    return got <= 0 ? got : col_int(s, 0);
}

/* FTS5 is told of the row's words: that they come, or that they go. */
static int tell_words(struct db *db, enum sql_id how, int64_t doc, int64_t session, struct ab_view text,
                      struct ab_error *err)
{
    char place[SEARCH_PLACE_MAX];
    struct ab_buf room = {0};
    int64_t user = user_of(db, session, err);
    if (user < 0)
        return (int)user;
    sqlite3_stmt *s = db_sql(db, how);
    bind_int(s, 1, doc);
    bind_text(s, 2, place_text(user, session, place));
    bind_text(s, 3, words_spaced(text, &room));
    int code = db_run(db, s, err);
    ab_buf_finish(&room);
    return code;
}

int search_add(struct db *db, int64_t session, int64_t pos, struct ab_error *err)
{
    int64_t doc = doc_of(db, session, pos, err);
    if (doc)
        return doc < 0 ? (int)doc : 0;
    struct ab_buf text = {0};
    int code = search_text(db, session, pos, &text, err);
    if (code > 0) {
        sqlite3_stmt *s = db_sql(db, SQL_DOC_ADD);
        bind_int(s, 1, session);
        bind_int(s, 2, pos);
        code = db_run(db, s, err);
        if (!code)
            code = tell_words(db, SQL_WORDS_ADD, sqlite3_last_insert_rowid(db->handle), session,
                              ab_buf_view(&text), err);
    }
    ab_buf_finish(&text);
    return code;
}

int search_forget(struct db *db, int64_t session, int64_t pos, struct ab_error *err)
{
    int64_t doc = doc_of(db, session, pos, err);
    if (doc < 0)
        return (int)doc;
    sqlite3_stmt *s = db_sql(db, doc ? SQL_DOC_REMOVE : SQL_UNINDEXED_REMOVE);
    bind_int(s, 1, doc ? doc : pos);
    if (!doc)
        bind_int(s, 2, session);
    int code = db_run(db, s, err);
    if (code || !doc)
        return code;
    struct ab_buf text = {0};
    code = search_text(db, session, pos, &text, err);
    if (code > 0)
        code = tell_words(db, SQL_WORDS_REMOVE, doc, session, ab_buf_view(&text), err);
    ab_buf_finish(&text);
    if (!code) {
        s = db_sql(db, SQL_META_PUT);
        bind_text(s, 1, ab_view_of("words_merge"));
        bind_int(s, 2, 1);
        code = db_run(db, s, err);
    }
    feeder_taken_out(db->feeder);
    return code;
}
