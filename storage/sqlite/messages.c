/* Messages. A job's question and answer are rows without a body: their text stands in the job's input and in its end
 * event. A saved message is its whole record.
 */
#include "storage/sqlite/search.h"

#include "common/clock.h"

/* ---- records ---- */
const char *msg_id_made(struct ab_id job, unsigned sub, char text[MSG_ID_MAX])
{
    char id[AB_ID_TEXT];
    int n = snprintf(text, MSG_ID_MAX, "%s.%s", ab_id_text(job, id), sub == POS_ANSWER ? "assistant" : "user");
    return n < MSG_ID_MAX ? text : "";
}

int content_check(struct ab_view content, struct ab_error *err)
{
    struct ab_reader reader = ab_reader(content);
    struct ab_view part;
    uint32_t parts;
    if (ab_any_str(content).p)
        return 0;
    if (ab_read_array(&reader, &parts))
        return ab_fail_at(err, AB_EINVALID, "content",
                          "is a text, or an array of parts such as {type: text, text: …}");
    while (parts--)
        if (ab_read_any(&reader, &part) || !ab_any_str(ab_map_get(part, "type")).n)
            return ab_fail_at(err, AB_EINVALID, "content", "has a part that is no map with a type");
    return 0;
}

/* The parts of a user's message: what there must be in them, one of two. */
static const struct {
    const char *type, *member, *or_member;
} part_kinds[] = {
    {"text", "text", NULL},
    {"image", "url", "data"},
    {"image_url", "image_url", NULL},
    {"file", "data", "file"},
    {"input_audio", "input_audio", NULL},
};

static int part_check(struct ab_view part, struct ab_error *err)
{
    struct ab_view type = ab_any_str(ab_map_get(part, "type"));
    for (size_t i = 0; i < sizeof part_kinds / sizeof *part_kinds; i++) {
        const char *member = part_kinds[i].member, *other = part_kinds[i].or_member;
        if (!ab_view_is(type, part_kinds[i].type))
            continue;
        if (ab_map_get(part, member).p || (other && ab_map_get(part, other).p))
            return 0;
        return ab_fail_at(err, AB_EINVALID, "content", "has a part of type %s without %s%s%s",
                          part_kinds[i].type, member, other ? " or " : "", other ? other : "");
    }
    return ab_fail_at(err, AB_EINVALID, "content",
                      "has a part of type %.*s: text, image, image_url, file or input_audio",
                      AB_VIEW_FMT(type));
}

int content_check_parts(struct ab_view content, struct ab_error *err)
{
    struct ab_reader reader = ab_reader(content);
    struct ab_view part;
    uint32_t parts;
    int code = content_check(content, err);
    if (code || ab_any_str(content).p || ab_read_array(&reader, &parts))
        return code;
    while (!code && parts-- && !ab_read_any(&reader, &part))
        code = part_check(part, err);
    return code;
}

int history_check(struct ab_view history, struct ab_error *err)
{
    struct ab_reader reader = ab_reader(history);
    struct ab_view message;
    uint32_t n = 0;
    int code = 0;
    if (history.p && ab_read_array(&reader, &n))
        return ab_fail_at(err, AB_EINVALID, "history", "is an array of {role, content}");
    while (!code && n-- && !ab_read_any(&reader, &message)) {
        struct ab_view role = ab_any_str(ab_map_get(message, "role"));
        if (!ab_view_is(role, "user") && !ab_view_is(role, "assistant") && !ab_view_is(role, "system"))
            return ab_fail_at(err, AB_EINVALID, "history",
                              "has a message whose role is not user, assistant or system");
        code = content_check_parts(ab_map_get(message, "content"), err);
    }
    return code;
}

/* Who and where: the same for all messages of a listing. */
struct place {
    struct ab_view user, session;
};

static int place_of(struct db *db, int64_t session, struct place *place, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_SESSION_ID);
    bind_int(s, 1, session);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got ? got : ab_fail_at(err, AB_ENOTFOUND, "session", "the session is gone");
    *place = (struct place){.session = col_text(s, 0), .user = col_text(s, 1)};
    return 0;
}

/* Content and metadata of an answer, from the job's end event. */
static int read_answer(struct db *db, uint64_t n, struct ab_message_record *m, int64_t *at_ms,
                       struct ab_buf *text, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_END_GET);
    bind_int(s, 1, (int64_t)n);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got;
    *at_ms = col_int(s, 1);
    sqlite3_stmt *event = db_sql(db, SQL_EVENT_BODY);
    bind_int(event, 1, col_int(s, 2));
    if ((got = db_row(db, event, err)) <= 0)
        return got;
    struct ab_view body = col_blob(event, 0);
    m->content = ab_map_get(body, "content");
    m->metadata = ab_map_get(body, "result");
    struct ab_reader when = ab_reader(ab_map_get(body, "at_ms")); /* what whoever watched it was told */
    uint64_t ended_ms;
    if (!ab_read_uint(&when, &ended_ms) && ended_ms && ended_ms <= INT64_MAX)
        *at_ms = (int64_t)ended_ms;
    if (!m->content.p) {
        ab_buf_clear(text);
        ab_pack_str(text, ab_view_of(""));
        m->content = ab_buf_view(text);
    }
    return 1;
}

/* A message of a job; 0 if its text is gone, 1 if *m is filled. */
static int read_job_message(struct db *db, int64_t pos, struct ab_message_record *m, int64_t *at_ms,
                            struct ab_buf *text, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_JOB_BY_N);
    bind_int(s, 1, (int64_t)pos_n(pos));
    int got = db_row(db, s, err);
    if (got <= 0 || col_null(s, 4))
        return got < 0 ? got : 0;
    m->job = col_id(s, 0);
    *at_ms = col_int(s, 3);
    if (pos_sub(pos) == POS_ANSWER) {
        m->role = ab_view_of("assistant");
        return read_answer(db, pos_n(pos), m, at_ms, text, err);
    }
    struct ab_input input;
    m->role = ab_view_of("user");
    if (ab_decode(&ab_input_schema, col_blob(s, 4), &input, NULL))
        return 0;
    m->content = input.content;
    m->metadata = input.metadata;
    m->msg_id = input.msg_id;
    m->root_msg_id = input.root_msg_id;
    m->timestamp = input.timestamp;
    m->personalize = input.personalize;
    m->ra = input.ra;
    m->code = input.code;
    return 1;
}

/* Appends one message's record: 1, or 0 if there is nothing to show. */
static int record_add(struct db *db, const struct place *place, int64_t pos, struct ab_view body,
                      struct ab_buf *out, struct ab_error *err)
{
    if (body.p) {
        ab_buf_add(out, body.p, body.n);
        return 1;
    }
    struct ab_message_record m = {.user_id = place->user, .session_id = place->session};
    int64_t at_ms = 0;
    char id[MSG_ID_MAX], iso[AB_ISO8601_MAX];
    struct ab_buf text = {0};
    int got = read_job_message(db, pos, &m, &at_ms, &text, err);
    if (got > 0) {
        if (!m.msg_id.n)
            m.msg_id = ab_view_of(msg_id_made(m.job, pos_sub(pos), id));
        if (!m.timestamp.n)
            m.timestamp = ab_view_of(ab_iso8601(at_ms, iso));
        ab_encode(out, &ab_message_record_schema, &m);
    }
    ab_buf_finish(&text);
    return got;
}

int message_record(struct db *db, int64_t session, int64_t pos, struct ab_buf *out, struct ab_error *err)
{
    struct place place;
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_GET);
    bind_int(s, 1, session);
    bind_int(s, 2, pos);
    int got = db_row(db, s, err);
    if (got <= 0 || col_int(s, 0))
        return got < 0 ? got : 0;
    got = place_of(db, session, &place, err);
    return got ? got : record_add(db, &place, pos, col_blob(s, 1), out, err);
}

int message_content(struct db *db, int64_t pos, struct ab_view body, struct ab_view *content,
                    struct ab_error *err)
{
    struct ab_message_record m = {0};
    struct ab_buf text = {0};
    int64_t at_ms;
    if (body.p) {
        *content = ab_map_get(body, "content");
        return content->p != NULL;
    }
    int got = read_job_message(db, pos, &m, &at_ms, &text, err);
    *content = m.content;
    if (text.n) /* it says nothing */
        got = 0;
    ab_buf_finish(&text);
    return got;
}

/* ---- rows ---- */
int message_add(struct db *db, int64_t session, int64_t pos, struct ab_view body, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_ADD);
    bind_int(s, 1, session);
    bind_int(s, 2, pos);
    bind_blob(s, 3, body);
    int code = db_run(db, s, err);
    return code ? code : search_note(db, session, pos, err);
}

int message_hide(struct db *db, int64_t session, int64_t pos, struct ab_error *err)
{
    int code = search_forget(db, session, pos, err);
    if (code)
        return code;
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_HIDE);
    bind_int(s, 1, session);
    bind_int(s, 2, pos);
    return db_run(db, s, err);
}

/* ---- listings ---- */
int messages_list(struct db *db, int64_t session, int64_t after, uint64_t limit, struct list *list,
                  int64_t *next, struct ab_error *err)
{
    struct place place;
    int got = place_of(db, session, &place, err);
    if (got)
        return got;
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGES_AFTER);
    bind_int(s, 1, session);
    bind_int(s, 2, after - 1); /* cursors are pos + 1, so that 0 means none */
    int64_t last = 0;
    while ((got = db_row(db, s, err)) > 0) {
        if (list->n >= limit || list_full(list)) {
            *next = last;
            return 0;
        }
        last = col_int(s, 0) + 1;
        got = record_add(db, &place, col_int(s, 0), col_blob(s, 1), &list->buf, err);
        if (got < 0)
            return got;
        list->n += (uint32_t)got;
    }
    return got;
}

/* {id, role, content} of one record. */
static void history_item(struct ab_view record, struct ab_buf *out)
{
    static const char *const keys[][2] = {{"id", "msg_id"}, {"role", "role"}, {"content", "content"}};
    ab_pack_map(out, 3);
    for (int i = 0; i < 3; i++) {
        struct ab_view value = ab_map_get(record, keys[i][1]);
        ab_pack_str(out, ab_view_of(keys[i][0]));
        if (value.p)
            ab_buf_add(out, value.p, value.n);
        else
            ab_pack_nil(out);
    }
}

/* The newest first from the table, then turned round. */
int message_history(struct db *db, int64_t session, uint64_t n, uint64_t limit, struct list *list,
                    struct ab_error *err)
{
    struct place place;
    if (!session || place_of(db, session, &place, NULL))
        return 0; /* no session, or gone: no history */
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGES_BEFORE);
    bind_int(s, 1, session);
    bind_int(s, 2, pos_of(n, 0));
    size_t starts[AB_PAGE_MAX + 1], count = 0;
    struct ab_buf items = {0}, record = {0};
    int got;
    while (count < limit && count < AB_PAGE_MAX && items.n < STORE_PAGE_BYTES &&
           (got = db_row(db, s, err)) > 0) {
        ab_buf_clear(&record);
        if ((got = record_add(db, &place, col_int(s, 0), col_blob(s, 1), &record, err)) < 0)
            break;
        if (!got)
            continue;
        starts[count++] = items.n;
        history_item(ab_buf_view(&record), &items);
    }
    starts[count] = items.n;
    for (size_t i = count; i-- > 0;)
        ab_buf_add(&list->buf, items.p + starts[i], starts[i + 1] - starts[i]);
    list->n = (uint32_t)count;
    ab_buf_finish(&record);
    ab_buf_finish(&items);
    return db->store.broken ? AB_EUNAVAILABLE : 0;
}

int messages_answer(struct db *db, int64_t session, int64_t after, uint64_t limit, struct ab_buf *answer,
                    struct ab_error *err)
{
    struct list list;
    int64_t next = 0;
    char cursor[24];
    list_init(&list);
    int code = session ? messages_list(db, session, after, limit, &list, &next, err) : 0;
    if (!code) {
        struct ab_op_messages_answer a = {.messages = list_done(&list)};
        if (next)
            a.next = ab_view(cursor, (size_t)snprintf(cursor, sizeof cursor, "%lld", (long long)next));
        ab_encode(answer, &ab_op_messages_answer_schema, &a);
    }
    list_finish(&list);
    return code;
}

/* An unknown session has no messages: a program may ask before it has sent the first. */
int op_load_messages(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_load_messages *r = request;
    int64_t after, key = user_find(db, r->user, err);
    int code = cursor_read(r->after, &after, err);
    if (code)
        return code;
    if (key > 0)
        key = session_find(db, key, r->session, err);
    return key < 0 ? (int)key : messages_answer(db, key, after, limit_of(r->limit), answer, err);
}

/* ---- saving ---- */

/* The record as it is stored: what the client left out is filled in. */
static void complete(struct ab_message_record *m, struct ab_view session, struct ab_view id,
                     struct ab_view timestamp)
{
    m->session_id = session;
    m->msg_id = id;
    if (!m->timestamp.n)
        m->timestamp = timestamp;
}

/* A message with this id is there: the same content again is answered as stored. */
static int saved_before(struct db *db, struct ab_message_record *m, int64_t session, int64_t pos,
                        struct ab_buf *out, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_GET);
    bind_int(s, 1, session);
    bind_int(s, 2, pos);
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    struct ab_view stored = got ? col_blob(s, 1) : (struct ab_view){0};
    if (stored.p) {
        complete(m, ab_any_str(ab_map_get(stored, "session_id")), m->msg_id,
                 ab_any_str(ab_map_get(stored, "timestamp")));
        ab_encode(out, &ab_message_record_schema, m);
    }
    if (!stored.p || !ab_view_eq(stored, ab_buf_view(out)))
        return ab_fail_at(err, AB_ECONFLICT, "msg_id", "this message id is taken by another message");
    return 0;
}

static int message_insert(struct db *db, int64_t user, int64_t session, struct ab_view id, struct ab_view body,
                          struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_LAST);
    bind_int(s, 1, session);
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    int64_t pos = col_int(s, 0) + 1, least = pos_of(db->n_last, POS_SAVED);
    if (pos < least)
        pos = least;
    if (pos_n(pos) > db->n_last)
        return ab_fail(err, AB_ETOOLARGE, "the session holds %d saved messages, the most it may",
                       1 << POS_BITS);
    int code = message_add(db, session, pos, body, err);
    if (code)
        return code;
    s = db_sql(db, SQL_MESSAGE_ID_ADD);
    bind_int(s, 1, user);
    bind_text(s, 2, id);
    bind_int(s, 3, session);
    bind_int(s, 4, pos);
    return db_run(db, s, err);
}

static int save_new(struct db *db, struct ab_message_record *m, int64_t user, struct ab_buf *out,
                    struct ab_error *err)
{
    char session_made[AB_ID_TEXT], id_made[AB_ID_TEXT], iso[AB_ISO8601_MAX];
    struct ab_view session = m->session_id, id = m->msg_id;
    if (!session.n)
        session = ab_view_of(ab_id_text(ab_id_make(db->now_ms), session_made));
    if (!id.n)
        id = ab_view_of(ab_id_text(ab_id_make(db->now_ms), id_made));
    complete(m, session, id, ab_view_of(ab_iso8601(db->now_ms, iso)));
    ab_encode(out, &ab_message_record_schema, m);
    int64_t key = session_find(db, user, session, err);
    if (!key)
        key = session_make(db, user, session, 0, err);
    return key < 0 ? (int)key : message_insert(db, user, key, id, ab_buf_view(out), err);
}

int message_save(struct db *db, struct ab_message_record *m, struct ab_buf *out, struct ab_error *err)
{
    int64_t user = user_make(db, m->user_id, err);
    if (user < 0)
        return (int)user;
    if (!m->msg_id.n)
        return save_new(db, m, user, out, err);
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_ID_GET);
    bind_int(s, 1, user);
    bind_text(s, 2, m->msg_id);
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    return got ? saved_before(db, m, col_int(s, 0), col_int(s, 1), out, err) : save_new(db, m, user, out, err);
}

int message_check(const struct ab_message_record *m, struct ab_error *err)
{
    if (!ab_view_is(m->role, "user") && !ab_view_is(m->role, "assistant"))
        return ab_fail_at(err, AB_EINVALID, "role", "is user or assistant, not %.*s", AB_VIEW_FMT(m->role));
    return content_check(m->content, err);
}

int op_save_message(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_save_message *r = request;
    struct ab_message_record m;
    int code = ab_decode(&ab_message_record_schema, r->message, &m, err);
    if (code || (code = message_check(&m, err)))
        return code;
    m.job = (struct ab_id){{0}}; /* only a job's own messages name it */
    struct ab_buf record = {0};
    code = message_save(db, &m, &record, err);
    if (!code) {
        struct ab_op_save_message_answer a = {.message = ab_buf_view(&record)};
        ab_encode(answer, &ab_op_save_message_answer_schema, &a);
    }
    ab_buf_finish(&record);
    return code;
}
