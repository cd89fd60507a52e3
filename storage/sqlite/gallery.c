/* The gallery: snapshots of sessions, public to read, changed by their publisher only.
 */
#include "storage/sqlite/db.h"

#include <ctype.h>

#include "common/clock.h"
#include "storage/workflow_check.h"

enum {
    COL_KEY,
    COL_ID,
    COL_USER,
    COL_NAME,
    COL_DESCRIPTION,
    COL_SESSION,
    COL_MESSAGES,
    COL_TAGS,
    COL_CREATED,
    COL_WORDS
};
enum { SEARCH_WORDS_MAX = 8, TAGS_MAX = 64 };

/* ---- records ---- */
static void record_add(sqlite3_stmt *s, struct ab_buf *out)
{
    char iso[AB_ISO8601_MAX];
    struct ab_gallery_record r = {
        .id = col_text(s, COL_ID),
        .user_id = col_text(s, COL_USER),
        .name = col_text(s, COL_NAME),
        .description = col_text(s, COL_DESCRIPTION),
        .session = col_blob(s, COL_SESSION),
        .messages = col_blob(s, COL_MESSAGES),
        .tags = col_blob(s, COL_TAGS),
        .timestamp = ab_view_of(ab_iso8601(col_int(s, COL_CREATED), iso)),
    };
    ab_encode(out, &ab_gallery_record_schema, &r);
}

static int answer_item(struct db *db, struct ab_view id, struct ab_buf *answer, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_GALLERY_GET);
    bind_text(s, 1, id);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got ? got : ab_fail_at(err, AB_ENOTFOUND, "gallery", "there is no item %.*s", AB_VIEW_FMT(id));
    struct ab_buf record = {0};
    record_add(s, &record);
    struct ab_op_gallery_item a = {.gallery = ab_buf_view(&record)};
    ab_encode(answer, &ab_op_gallery_item_schema, &a);
    ab_buf_finish(&record);
    return 0;
}

/* ---- publishing ---- */

/* Every text in a msgpack value, one per line: what a search looks at. */
static void texts_of(struct ab_view value, struct ab_buf *out)
{
    struct ab_reader reader = ab_reader(value);
    uint32_t n;
    struct ab_view text = ab_any_str(value), item;
    if (text.n) {
        ab_buf_add(out, text.p, text.n);
        ab_buf_char(out, '\n');
    } else if (!ab_read_array(&reader, &n)) {
        while (n-- && !ab_read_any(&reader, &item))
            texts_of(item, out);
    } else if (reader = ab_reader(value), !ab_read_map(&reader, &n)) {
        while (n-- && !ab_read_any(&reader, &item) && !ab_read_any(&reader, &item))
            texts_of(item, out);
    }
}

static void message_texts(struct ab_view messages, struct ab_buf *out)
{
    struct ab_reader reader = ab_reader(messages);
    struct ab_view item;
    uint32_t n;
    if (!ab_read_array(&reader, &n))
        while (n-- && !ab_read_any(&reader, &item))
            texts_of(ab_map_get(item, "content"), out);
}

/* tags is an array of texts; absent = none. */
static int read_tags(struct ab_view *tags, struct ab_error *err)
{
    static const char none[] = "\x90"; /* the empty array */
    if (!tags->p)
        *tags = ab_view(none, 1);
    struct ab_reader reader = ab_reader(*tags);
    struct ab_view tag;
    uint32_t n;
    if (ab_read_array(&reader, &n) || n > TAGS_MAX)
        return ab_fail_at(err, AB_EINVALID, "tags", "is an array of at most %d texts", TAGS_MAX);
    while (n--)
        if (ab_read_str(&reader, &tag) || !ab_utf8_ok(tag) || tag.n > AB_TAG_BYTES_MAX)
            return ab_fail_at(err, AB_EINVALID, "tags", "is an array of texts of at most %d bytes",
                              AB_TAG_BYTES_MAX);
    return 0;
}

/* All pages of the session's messages. */
static int all_messages(struct db *db, int64_t session, struct list *list, struct ab_error *err)
{
    int64_t next = 0;
    do {
        struct list page;
        int64_t after = next;
        list_init(&page);
        next = 0;
        int code = messages_list(db, session, after, AB_PAGE_MAX, &page, &next, err);
        struct ab_view bytes = list_done(&page);
        if (!code)
            ab_buf_add(&list->buf, bytes.p + LIST_HEAD, bytes.n - LIST_HEAD);
        list->n += page.n;
        list_finish(&page);
        if (code)
            return code;
        if (list->buf.n > STORE_GALLERY_BYTES_MAX)
            return ab_fail(err, AB_ETOOLARGE,
                           "the session's messages are over %d bytes, the most an item holds",
                           STORE_GALLERY_BYTES_MAX);
    } while (next);
    return 0;
}

static int insert(struct db *db, const struct ab_gallery_record *r, int64_t user, int64_t at_ms,
                  struct ab_error *err)
{
    struct ab_buf words = {0};
    texts_of(r->tags, &words);
    message_texts(r->messages, &words);
    sqlite3_stmt *s = db_sql(db, SQL_GALLERY_ADD);
    bind_text(s, 1, r->id);
    bind_int(s, 2, user);
    bind_int(s, 3, at_ms);
    bind_text(s, 4, r->name);
    bind_text(s, 5, r->description);
    bind_blob(s, 6, r->session);
    bind_blob(s, 7, r->messages);
    bind_blob(s, 8, r->tags);
    bind_text(s, 9, ab_buf_view(&words));
    int code = db_run(db, s, err);
    ab_buf_finish(&words);
    return code;
}

static int publish_into(struct db *db, const struct ab_op_publish *r, int64_t key, struct ab_view id,
                        struct ab_error *err)
{
    struct ab_buf session = {0};
    struct list messages;
    list_init(&messages);
    sqlite3_stmt *s = db_sql(db, SQL_SESSION_RECORD);
    bind_int(s, 1, key);
    int code = db_row(db, s, err);
    if (code >= 0)
        code = session_record(db, r->user, s, &session, err);
    if (!code)
        code = all_messages(db, key, &messages, err);
    struct ab_gallery_record record = {
        .id = id, .name = r->name, .description = r->description, .tags = r->tags};
    if (!code) {
        record.session = ab_buf_view(&session);
        record.messages = list_done(&messages);
        code = insert(db, &record, user_find(db, r->user, err), db->now_ms, err);
    }
    list_finish(&messages);
    ab_buf_finish(&session);
    return code;
}

/* 1: this user has published an item with this id: the answer to it was lost. */
static int published_before(struct db *db, struct ab_view user, struct ab_view id, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_GALLERY_GET);
    bind_text(s, 1, id);
    int got = db_row(db, s, err);
    if (got > 0 && !ab_view_eq(user, col_text(s, COL_USER)))
        return ab_fail_at(err, AB_ECONFLICT, "id", "this id is taken by another item");
    return got;
}

int op_publish_session(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    struct ab_op_publish r = *(const struct ab_op_publish *)request;
    int code = read_tags(&r.tags, err);
    if (code)
        return code;
    char text[AB_ID_TEXT];
    struct ab_id made = ab_id_make(db->now_ms);
    if (r.id.n && (!ab_id_parse(r.id, &made) || !ab_id_ok(made)))
        return ab_fail_at(err, AB_EINVALID, "id", "an item's id is a UUID of version 7");
    struct ab_view id = ab_view_of(ab_id_text(made, text));
    if (r.id.n && (code = published_before(db, r.user, id, err)))
        return code < 0 ? code : answer_item(db, id, answer, err);
    int64_t key = session_require(db, r.user, r.session, err);
    code = key < 0 ? (int)key : publish_into(db, &r, key, id, err);
    return code ? code : answer_item(db, id, answer, err);
}

/* ---- importing ---- */

static int check_import(const struct ab_op_import_gallery *r, struct ab_gallery_record *item, int64_t *at_ms,
                        struct ab_error *err)
{
    struct ab_reader session = ab_reader(item->session), messages = ab_reader(item->messages);
    uint32_t n;
    if (!item->id.n)
        return ab_fail_at(err, AB_EINVALID, "gallery.id", "is empty");
    if (item->user_id.n && !ab_view_eq(item->user_id, r->user))
        return ab_fail_at(err, AB_EDENIED, "gallery.user_id", "is not the user who asks");
    if (!ab_iso8601_read(item->timestamp.p, item->timestamp.n, at_ms))
        return ab_fail_at(err, AB_EINVALID, "gallery.timestamp", "is no ISO 8601 time: 2026-01-31T12:00:00Z");
    if (ab_read_map(&session, &n))
        return ab_fail_at(err, AB_EINVALID, "gallery.session", "is no session record");
    if (ab_read_array(&messages, &n))
        return ab_fail_at(err, AB_EINVALID, "gallery.messages", "is no array of message records");
    if (item->messages.n > STORE_GALLERY_BYTES_MAX)
        return ab_fail_at(err, AB_ETOOLARGE, "gallery.messages", "are over %d bytes, the most an item holds",
                          STORE_GALLERY_BYTES_MAX);
    return read_tags(&item->tags, err);
}

/* 1: this very item is there. What may be renamed does not count. */
static int imported_before(struct db *db, struct ab_view user, const struct ab_gallery_record *item,
                           struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_GALLERY_GET);
    bind_text(s, 1, item->id);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got;
    if (ab_view_eq(user, col_text(s, COL_USER)) && ab_view_eq(item->session, col_blob(s, COL_SESSION)) &&
        ab_view_eq(item->messages, col_blob(s, COL_MESSAGES)) && ab_view_eq(item->tags, col_blob(s, COL_TAGS)))
        return 1;
    return ab_fail_at(err, AB_ECONFLICT, "gallery.id", "this id is taken by another item");
}

static int import_new(struct db *db, struct ab_view user, const struct ab_gallery_record *item, int64_t at_ms,
                      struct ab_error *err)
{
    int code = workflow_check_stored(item->session, err);
    if (!code)
        code = workflow_check_stored(item->messages, err);
    int64_t key = code ? code : user_make(db, user, err);
    return key < 0 ? (int)key : insert(db, item, key, at_ms, err);
}

int op_import_gallery(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_import_gallery *r = request;
    struct ab_gallery_record item;
    int64_t at_ms = 0;
    int code = ab_decode(&ab_gallery_record_schema, r->gallery, &item, err);
    if (code || (code = check_import(r, &item, &at_ms, err)))
        return code;
    int before = imported_before(db, r->user, &item, err);
    if (before < 0 || (!before && (code = import_new(db, r->user, &item, at_ms, err))))
        return before < 0 ? before : code;
    struct ab_buf record = {0};
    sqlite3_stmt *s = db_sql(db, SQL_GALLERY_GET);
    bind_text(s, 1, item.id);
    code = db_row(db, s, err);
    if (code > 0) {
        record_add(s, &record);
        struct ab_op_import_gallery_answer a = {.gallery = ab_buf_view(&record), .created = !before};
        ab_encode(answer, &ab_op_import_gallery_answer_schema, &a);
    }
    ab_buf_finish(&record);
    return code < 0 ? code : 0;
}

/* ---- reading ---- */
static bool has_tag(struct ab_view tags, struct ab_view tag)
{
    struct ab_reader reader = ab_reader(tags);
    struct ab_view one;
    uint32_t n;
    if (!ab_read_array(&reader, &n))
        while (n-- && !ab_read_str(&reader, &one))
            if (ab_view_eq(one, tag))
                return true;
    return false;
}

/* `word` somewhere in `text`, ignoring the case of ASCII letters. */
static bool contains(struct ab_view text, struct ab_view word)
{
    for (size_t at = 0; at + word.n <= text.n; at++)
        if (!strncasecmp(text.p + at, word.p, word.n))
            return true;
    return false;
}

static bool any_contains(const struct ab_view *texts, size_t n, struct ab_view word)
{
    while (n && !contains(texts[n - 1], word))
        n--;
    return n;
}

bool words_match(struct ab_view search, const struct ab_view *texts, size_t n)
{
    size_t at = 0;
    for (int words = 0; words < SEARCH_WORDS_MAX; words++) {
        while (at < search.n && isspace((unsigned char)search.p[at]))
            at++;
        size_t start = at;
        while (at < search.n && !isspace((unsigned char)search.p[at]))
            at++;
        if (at == start)
            return true;
        if (!any_contains(texts, n, ab_view(search.p + start, at - start)))
            return false;
    }
    return true;
}

static bool has_words(sqlite3_stmt *s, struct ab_view search)
{
    const struct ab_view texts[] = {col_text(s, COL_NAME), col_text(s, COL_DESCRIPTION),
                                    col_text(s, COL_WORDS)};
    return words_match(search, texts, sizeof texts / sizeof *texts);
}

static int list_items(struct db *db, const struct ab_op_get_gallery *r, int64_t after, struct list *list,
                      int64_t *next, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_GALLERY_AFTER);
    bind_int(s, 1, after);
    uint64_t limit = limit_of(r->limit);
    int64_t last = 0;
    int got, rows = 0;
    while ((got = db_row(db, s, err)) > 0) {
        if (list->n == limit || list_full(list) || ++rows > STORE_SCAN_ROWS_MAX) {
            *next = last;
            return 0;
        }
        last = col_int(s, COL_KEY);
        if ((r->user.n && !ab_view_eq(r->user, col_text(s, COL_USER))) ||
            (r->tag.n && !has_tag(col_blob(s, COL_TAGS), r->tag)) || (r->search.n && !has_words(s, r->search)))
            continue;
        record_add(s, &list->buf);
        list->n++;
    }
    return got;
}

static int list_one(struct db *db, struct ab_view id, struct list *list, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_GALLERY_GET);
    bind_text(s, 1, id);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got ? got : ab_fail_at(err, AB_ENOTFOUND, "gallery", "there is no item %.*s", AB_VIEW_FMT(id));
    record_add(s, &list->buf);
    list->n = 1;
    return 0;
}

int op_get_gallery(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_get_gallery *r = request;
    int64_t after, next = 0;
    char cursor[24];
    int code = cursor_read(r->after, &after, err);
    if (code)
        return code;
    struct list list;
    list_init(&list);
    code = r->gallery.n ? list_one(db, r->gallery, &list, err) : list_items(db, r, after, &list, &next, err);
    if (!code) {
        struct ab_op_gallery_answer a = {.gallery = list_done(&list)};
        if (next)
            a.next = ab_view(cursor, (size_t)snprintf(cursor, sizeof cursor, "%lld", (long long)next));
        ab_encode(answer, &ab_op_gallery_answer_schema, &a);
    }
    list_finish(&list);
    return code;
}

/* ---- changing ---- */
static int require_publisher(struct db *db, struct ab_view user, struct ab_view id, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_GALLERY_GET);
    bind_text(s, 1, id);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got ? got : ab_fail_at(err, AB_ENOTFOUND, "gallery", "there is no item %.*s", AB_VIEW_FMT(id));
    if (!ab_view_eq(user, col_text(s, COL_USER)))
        return ab_fail_at(err, AB_EDENIED, "user", "only who published an item may change it");
    return 0;
}

int op_rename_gallery(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_rename_gallery *r = request;
    int code = require_publisher(db, r->user, r->gallery, err);
    if (code)
        return code;
    sqlite3_stmt *s = db_sql(db, SQL_GALLERY_NAME);
    bind_text(s, 1, r->gallery);
    bind_text(s, 2, r->name);
    bind_text(s, 3, r->description);
    code = db_run(db, s, err);
    return code ? code : answer_item(db, r->gallery, answer, err);
}

static int remove_item(struct db *db, int64_t user, struct ab_view id, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_GALLERY_REMOVE);
    bind_text(s, 1, id);
    int code = db_run(db, s, err);
    return code ? code : gone_add(db, user, GONE_GALLERY, id, 0, err);
}

int op_delete_gallery(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_delete_gallery *r = request;
    int64_t user = user_find(db, r->user, err);
    int gone = user <= 0 ? (int)user : gone_is(db, user, GONE_GALLERY, r->gallery, NULL, err);
    if (gone < 0)
        return gone;
    struct ab_error why = {0};
    int code = require_publisher(db, r->user, r->gallery, &why);
    if (!code)
        code = remove_item(db, user, r->gallery, &why);
    else if (code == AB_ENOTFOUND && gone)
        code = 0;
    if (code)
        *err = why;
    else
        ab_encode(answer, &ab_op_deleted_answer_schema, &(struct ab_op_deleted_answer){.deleted = 1});
    return code;
}
