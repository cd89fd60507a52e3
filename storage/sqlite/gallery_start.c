/* A new session from an item of the gallery: its workflow, names and messages. An item may be long: it goes in steps of
 * STORE_STEP_US. The messages' ids are made of the session's, so that who is cut off asks again and it goes on.
 */
#include "storage/sqlite/db.h"

#include "common/clock.h"

enum { COL_SESSION = 5, COL_MESSAGES = 6 }; /* of SQL_GALLERY_COLUMNS */

struct start {
    int64_t user, key;
    struct ab_view user_name;
    char session[AB_ID_TEXT];
};

static const char *message_id(const struct start *start, uint64_t i, char text[AB_NAME_MAX])
{
    int n = snprintf(text, AB_NAME_MAX, "%s.%llu", start->session, (unsigned long long)i + 1);
    return n < AB_NAME_MAX ? text : "";
}

/* The session is there: this request has made it, or another one. */
static int made_before(struct db *db, const struct start *start, struct ab_view messages, struct ab_error *err)
{
    char id[AB_NAME_MAX];
    struct ab_reader reader = ab_reader(messages);
    uint32_t n;
    if (!ab_read_array(&reader, &n) && !n)
        return 0;
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_ID_GET);
    bind_int(s, 1, start->user);
    bind_text(s, 2, ab_view_of(message_id(start, 0, id)));
    int got = db_row(db, s, err);
    if (got < 0 || (got && col_int(s, 0) == start->key))
        return got < 0 ? got : 0;
    return ab_fail_at(err, AB_ECONFLICT, "session", "there is a session with this id already");
}

static int make_session(struct db *db, struct start *start, struct ab_view session, struct ab_error *err)
{
    static const struct {
        const char *key;
        enum sql_id sql;
        int at;
    } kept[] = {{"flow_config", SQL_SESSION_FLOW, 2},
                {"name", SQL_SESSION_NAME, 2},
                {"description", SQL_SESSION_NAME, 3}};
    int code = 0;
    if ((start->key = session_make(db, start->user, ab_view_of(start->session), 0, err)) < 0)
        return (int)start->key;
    for (size_t i = 0; i < sizeof kept / sizeof *kept && !code; i++) {
        struct ab_view value = ab_map_get(session, kept[i].key), text = ab_any_str(value);
        if (!(kept[i].sql == SQL_SESSION_FLOW ? value.p : text.p))
            continue;
        sqlite3_stmt *s = db_sql(db, kept[i].sql);
        sqlite3_clear_bindings(s);
        bind_int(s, 1, start->key);
        if (kept[i].sql == SQL_SESSION_FLOW)
            bind_blob(s, kept[i].at, value);
        else
            bind_text(s, kept[i].at, text);
        code = db_run(db, s, err);
    }
    return code;
}

/* What an item says of a message is not checked when it is imported: only what is known is taken, without its job. */
static int copy_message(struct db *db, const struct start *start, struct ab_view from, uint64_t i,
                        struct ab_error *err)
{
    char id[AB_NAME_MAX];
    struct ab_reader personalize = ab_reader(ab_map_get(from, "personalize"));
    struct ab_message_record m = {.user_id = start->user_name,
                                  .session_id = ab_view_of(start->session),
                                  .msg_id = ab_view_of(message_id(start, i, id)),
                                  .root_msg_id = ab_any_str(ab_map_get(from, "root_msg_id")),
                                  .role = ab_any_str(ab_map_get(from, "role")),
                                  .content = ab_map_get(from, "content"),
                                  .timestamp = ab_any_str(ab_map_get(from, "timestamp")),
                                  .ra = ab_any_str(ab_map_get(from, "ra")),
                                  .code = ab_any_str(ab_map_get(from, "code")),
                                  .metadata = ab_map_get(from, "metadata")};
    if (ab_read_bool(&personalize, &m.personalize))
        m.personalize = false;
    struct ab_buf record = {0};
    struct ab_error why = {0};
    int code = message_check(&m, &why);
    if (code)
        return ab_fail_at(err, code, "gallery", "message %llu of the item: %s %s", (unsigned long long)i + 1,
                          why.path, why.text);
    code = message_save(db, &m, &record, err);
    ab_buf_finish(&record);
    return code;
}

/* From *db->progress on. */
static int copy_messages(struct db *db, const struct start *start, struct ab_view messages,
                         struct ab_error *err)
{
    struct ab_reader reader = ab_reader(messages);
    struct ab_view item;
    uint32_t n = 0;
    if (ab_read_array(&reader, &n))
        return 0;
    for (uint64_t i = 0; i < n && !ab_read_any(&reader, &item); i++) {
        if (i < *db->progress)
            continue;
        int code = copy_message(db, start, item, i, err);
        if (code)
            return code;
        *db->progress = i + 1;
        if (i + 1 < n && db_step_over(db))
            return STORE_MORE;
    }
    return 0;
}

int op_start_gallery(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_start_gallery *r = request;
    struct start start = {.user_name = r->user};
    sqlite3_stmt *s = db_sql(db, SQL_GALLERY_GET);
    bind_text(s, 1, r->gallery);
    int code = db_row(db, s, err);
    if (code <= 0)
        return code
                   ? code
                   : ab_fail_at(err, AB_ENOTFOUND, "gallery", "there is no item %.*s", AB_VIEW_FMT(r->gallery));
    if (!ab_id_ok(r->session))
        return ab_fail_at(err, AB_EINVALID, "session", "the new session's id is a UUID of version 7");
    ab_id_text(r->session, start.session);
    if ((start.user = user_make(db, r->user, err)) < 0)
        return (int)start.user;
    if ((start.key = session_find(db, start.user, ab_view_of(start.session), err)) < 0)
        return (int)start.key;
    if (!start.key)
        code = *db->progress ? ab_fail_at(err, AB_ENOTFOUND, "session", "it was deleted meanwhile")
                             : make_session(db, &start, col_blob(s, COL_SESSION), err);
    else
        code = *db->progress ? 0 : made_before(db, &start, col_blob(s, COL_MESSAGES), err);
    if (!code)
        code = copy_messages(db, &start, col_blob(s, COL_MESSAGES), err);
    return code ? code : session_answer(db, r->user, start.key, answer, err);
}
