/* Redaction: the text of a deleted message, wherever the journal keeps a copy: the job's input, its turns and replies,
 * its end, and the history that later jobs of the session pinned. The events stay, so that journals have no gap; their
 * texts become a tombstone and their checksums are made anew.
 */
#include "storage/sqlite/search.h"

static const char tombstone[] = "[deleted]";
/* A shorter text is redacted only where it stands alone: "ok" is part of too many others. */
enum { CONTAINED_MIN = 8 };

/* ---- one value ---- */
struct needle {
    struct ab_view raw;  /* msgpack of the deleted content */
    struct ab_view text; /* of it, if it is a text */
};

static bool hit(struct ab_view value, const struct needle *needle)
{
    struct ab_view text = ab_any_str(value);
    if (!needle->text.n || !text.n)
        return value.n > 1 && ab_view_eq(value, needle->raw);
    if (needle->text.n < CONTAINED_MIN)
        return ab_view_eq(text, needle->text);
    return memmem(text.p, text.n, needle->text.p, needle->text.n) != NULL;
}

/* Copies a value with every hit replaced. Returns how many there were. */
static unsigned rewrite(struct ab_view value, const struct needle *needle, struct ab_buf *out)
{
    struct ab_reader reader = ab_reader(value);
    struct ab_view item;
    unsigned hits = 0;
    uint32_t n;
    if (hit(value, needle)) {
        ab_pack_str(out, ab_view_of(tombstone));
        return 1;
    }
    if (!ab_read_array(&reader, &n)) {
        ab_pack_array(out, n);
        while (n-- && !ab_read_any(&reader, &item))
            hits += rewrite(item, needle, out);
        return hits;
    }
    reader = ab_reader(value);
    if (!ab_read_map(&reader, &n)) {
        ab_pack_map(out, n);
        while (n-- && !ab_read_any(&reader, &item)) {
            ab_buf_add(out, item.p, item.n); /* the key */
            if (ab_read_any(&reader, &item))
                break;
            hits += rewrite(item, needle, out);
        }
        return hits;
    }
    ab_buf_add(out, value.p, value.n);
    return 0;
}

/* ---- events ---- */
static int event_set(struct db *db, int64_t event, struct ab_view body, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_EVENT_SET);
    bind_int(s, 1, event);
    bind_blob(s, 2, body);
    bind_int(s, 3, crc32c(body));
    return db_run(db, s, err);
}

/* All events of a job, or only those of one kind. */
static int redact_events(struct db *db, uint64_t n, enum ab_event_kind only, const struct needle *needle,
                         struct ab_error *err)
{
    struct ab_buf body = {0};
    sqlite3_stmt *s = db_sql(db, SQL_EVENTS_ALL);
    bind_int(s, 1, (int64_t)n);
    int got;
    while ((got = db_row(db, s, err)) > 0) {
        if (only != AB_KIND_UNKNOWN && col_int(s, 1) != only)
            continue;
        ab_buf_clear(&body);
        if (rewrite(col_blob(s, 2), needle, &body) &&
            (got = event_set(db, col_int(s, 0), ab_buf_view(&body), err)))
            break;
    }
    ab_buf_finish(&body);
    return got < 0 ? got : 0;
}

int redact_end(struct db *db, int64_t event, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_EVENT_BODY);
    bind_int(s, 1, event);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got;
    struct ab_end end;
    struct ab_view state = ab_any_str(ab_map_get(col_blob(s, 0), "state"));
    if (ab_decode(&ab_end_schema, col_blob(s, 0), &end,
                  NULL)) /* whoever wrote it: the job's end must not fail here */
        end = (struct ab_end){.state = state, .stop_reason = ab_view_of("its session was deleted")};
    end.content = end.result = end.text = (struct ab_view){0};
    struct ab_buf body = {0};
    ab_event_encode(&body, AB_KIND_END, &end);
    got = event_set(db, event, ab_buf_view(&body), err);
    ab_buf_finish(&body);
    return got;
}

/* ---- messages ---- */

/* The input keeps the message's id only. */
static int redact_input(struct db *db, uint64_t n, struct ab_view input, struct ab_error *err)
{
    struct ab_buf content = {0}, body = {0};
    ab_pack_str(&content, ab_view_of(tombstone));
    struct ab_input kept = {.content = ab_buf_view(&content),
                            .msg_id = ab_any_str(ab_map_get(input, "msg_id"))};
    ab_encode(&body, &ab_input_schema, &kept);
    sqlite3_stmt *s = db_sql(db, SQL_JOB_SET_INPUT);
    bind_int(s, 1, (int64_t)n);
    bind_blob(s, 2, ab_buf_view(&body));
    int code = db_run(db, s, err);
    ab_buf_finish(&body);
    ab_buf_finish(&content);
    return code;
}

/* A copy of what the message says, as msgpack; empty if it says nothing (any more). */
static int content_of(struct db *db, int64_t pos, struct ab_buf *out, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, pos_sub(pos) == POS_ANSWER ? SQL_END_GET : SQL_JOB_BY_N);
    bind_int(s, 1, (int64_t)pos_n(pos));
    int got = db_row(db, s, err);
    if (got <= 0)
        return got;
    struct ab_view holder = col_blob(s, 4); /* of a job: its input */
    if (pos_sub(pos) == POS_ANSWER) {
        sqlite3_stmt *event = db_sql(db, SQL_EVENT_BODY);
        bind_int(event, 1, col_int(s, 2));
        if ((got = db_row(db, event, err)) <= 0)
            return got;
        holder = col_blob(event, 0);
    }
    struct ab_view content = ab_map_get(holder, "content");
    ab_buf_add(out, content.p, content.n);
    return pos_sub(pos) == POS_ANSWER ? 0 : redact_input(db, pos_n(pos), holder, err);
}

/* The jobs that came later in the session have it in their history. */
static int redact_later(struct db *db, int64_t session, int64_t pos, const struct needle *needle,
                        struct ab_error *err)
{
    for (;;) {
        sqlite3_stmt *s = db_sql(db, SQL_MESSAGES_ALL);
        bind_int(s, 1, session);
        bind_int(s, 2, pos);
        int got = db_row(db, s, err);
        if (got <= 0)
            return got;
        pos = col_int(s, 0);
        if (pos_sub(pos) == POS_QUESTION && (got = redact_events(db, pos_n(pos), AB_KIND_BEGIN, needle, err)))
            return got;
    }
}

/* The job's journal. An answer that repeats its question is another one afterwards, for the text index too. */
static int redact_job(struct db *db, int64_t session, int64_t pos, const struct needle *needle,
                      struct ab_error *err)
{
    int64_t answer = pos_of(pos_n(pos), POS_ANSWER);
    bool other = pos_sub(pos) == POS_QUESTION;
    int code = other ? search_forget(db, session, answer, err) : 0;
    if (!code)
        code = redact_events(db, pos_n(pos), AB_KIND_UNKNOWN, needle, err);
    return code || !other ? code : search_note(db, session, answer, err);
}

int redact_message(struct db *db, int64_t session, int64_t pos, struct ab_error *err)
{
    struct ab_buf content = {0};
    int code = content_of(db, pos, &content, err);
    if (!code && content.n) {
        struct needle needle = {.raw = ab_buf_view(&content), .text = ab_any_str(ab_buf_view(&content))};
        code = redact_job(db, session, pos, &needle, err);
        if (!code)
            code = redact_later(db, session, pos, &needle, err);
    }
    ab_buf_finish(&content);
    return code;
}
