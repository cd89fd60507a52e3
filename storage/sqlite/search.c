/* What is asked of the text index: messages, and sessions by what stands in them. What is answered is read from the messages
 * as they are now, and looked through again: the index only says where to look.
 */
#include "storage/sqlite/search.h"

#include <stdlib.h>

#include "common/clock.h"

enum {
    HITS_MAX = 10000,   /* the newest so many rows of the index are ranked */
    NOTED_SEEN = 20000, /* rows of `unindexed` that are looked at for the user's own */
    PAGE_US = 100000,   /* then a page ends, whatever its limit says */
    CURSOR_MAX = 80,
};

struct hit {
    int64_t score, pos, session; /* in this order, the greatest first */
};

static int by_rank(const void *a, const void *b)
{
    const struct hit *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    if (x->pos != y->pos)
        return x->pos < y->pos ? 1 : -1;
    return (x->session < y->session) - (x->session > y->session);
}

/* Where the page before ended: "score.pos.session". */
static int read_cursor(struct ab_view text, struct hit *hit, struct ab_error *err)
{
    int64_t *parts[] = {&hit->score, &hit->pos, &hit->session};
    const char *at = text.p;
    for (int i = 0; i < 3; i++) {
        size_t left = text.n - (size_t)(at - text.p);
        const char *dot = i < 2 ? memchr(at, '.', left) : at + left;
        if (!dot || dot == at)
            return ab_fail_at(err, AB_EINVALID, "after", "not a cursor of this search: pass the answer's next");
        int code = cursor_read(ab_view(at, (size_t)(dot - at)), parts[i], err);
        if (code)
            return code;
        at = dot + (i < 2);
    }
    return 0;
}

/* ---- one search ---- */
struct search {
    struct db *db;
    struct query *query;
    int64_t user, session; /* keys; session 0: all */
    struct ab_buf hits;    /* struct hit */
    bool capped;
};

static struct ab_view place_of(const struct search *search, char text[SEARCH_PLACE_MAX])
{
    int n = search->session ? snprintf(text, SEARCH_PLACE_MAX, "u%lld s%lld", (long long)search->user,
                                       (long long)search->session)
                            : snprintf(text, SEARCH_PLACE_MAX, "u%lld", (long long)search->user);
    return ab_view(text, (size_t)n);
}

static sqlite3_stmt *find(const struct search *search, enum sql_id id, unsigned term, struct ab_buf *match)
{
    char place[SEARCH_PLACE_MAX];
    query_match(search->query, term, place_of(search, place), match);
    sqlite3_stmt *s = db_sql(search->db, id);
    bind_text(s, 1, ab_buf_view(match));
    bind_int(s, 2, HITS_MAX);
    return s;
}

static int gather(struct search *search, bool newest, struct ab_error *err)
{
    struct ab_buf match = {0};
    sqlite3_stmt *s = find(search, SQL_WORDS_FIND, WORDS_TERMS_MAX, &match);
    int got;
    while ((got = db_row(search->db, s, err)) > 0) {
        struct hit hit = {newest ? 0 : col_int(s, 2), col_int(s, 1), col_int(s, 0)};
        ab_buf_add(&search->hits, &hit, sizeof hit);
    }
    ab_buf_finish(&match);
    size_t n = search->hits.n / sizeof(struct hit);
    search->capped = n == HITS_MAX;
    if (n > 1)
        qsort(search->hits.p, n, sizeof(struct hit), by_rank);
    return got;
}

/* Some of the user's messages are not in the index yet. */
static int is_behind(struct db *db, int64_t user, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_META_GET);
    bind_text(s, 1, ab_view_of("words_session"));
    int got = db_row(db, s, err);
    if (got)
        return got;
    s = db_sql(db, SQL_UNINDEXED_OF_USER);
    bind_int(s, 1, user);
    bind_int(s, 2, NOTED_SEEN);
    got = db_row(db, s, err);
    return got > 0 ? (int)col_int(s, 0) : got;
}

/* ---- messages ---- */

static struct ab_id id_in(struct ab_view record, const char *key)
{
    struct ab_id id = {{0}};
    struct ab_reader reader = ab_reader(ab_map_get(record, key));
    struct ab_view bytes;
    if (!ab_read_bin(&reader, &bytes) && bytes.n == AB_ID_BYTES)
        memcpy(id.b, bytes.p, AB_ID_BYTES);
    return id;
}

/* 1: it was added; 0: it does not say that (any more). */
static int add_hit(struct search *search, const struct hit *hit, struct list *list, struct ab_error *err)
{
    struct ab_buf record = {0}, text = {0}, snippet = {0}, marks = {0};
    int got = message_record(search->db, hit->session, hit->pos, &record, err);
    sqlite3_stmt *s = db_sql(search->db, SQL_SESSION_USER);
    bind_int(s, 1, hit->session);
    if (got > 0 && (got = db_row(search->db, s, err)) > 0)
        got = col_int(s, 0) == search->user;
    if (got > 0) {
        words_text(ab_map_get(ab_buf_view(&record), "content"), &text);
        got = query_snippet(search->query, ab_buf_view(&text), &snippet, &marks);
    }
    if (got > 0) {
        struct ab_view r = ab_buf_view(&record);
        struct ab_search_hit row = {.session_id = ab_any_str(ab_map_get(r, "session_id")),
                                    .session_name = col_text(s, 1),
                                    .msg_id = ab_any_str(ab_map_get(r, "msg_id")),
                                    .role = ab_any_str(ab_map_get(r, "role")),
                                    .timestamp = ab_any_str(ab_map_get(r, "timestamp")),
                                    .job = id_in(r, "job"),
                                    .rank = (uint64_t)hit->score,
                                    .snippet = ab_buf_view(&snippet),
                                    .marks = ab_buf_view(&marks)};
        ab_encode(&list->buf, &ab_search_hit_schema, &row);
        list->n++;
    }
    ab_buf_finish(&record);
    ab_buf_finish(&text);
    ab_buf_finish(&snippet);
    ab_buf_finish(&marks);
    return got;
}

static int list_hits(struct search *search, const struct hit *after, uint64_t limit, struct list *list,
                     char next[CURSOR_MAX], struct ab_error *err)
{
    const struct hit *hits = (const struct hit *)(const void *)search->hits.p;
    size_t n = search->hits.n / sizeof *hits, last = n;
    int64_t until_us = ab_mono_us() + PAGE_US;
    for (size_t i = 0; i < n; i++) {
        if (after && by_rank(&hits[i], after) <= 0)
            continue;
        if (list->n >= limit || list_full(list) || (last < n && ab_mono_us() > until_us)) {
            snprintf(next, CURSOR_MAX, "%lld.%lld.%lld", (long long)hits[last].score, (long long)hits[last].pos,
                     (long long)hits[last].session);
            return 0;
        }
        int got = add_hit(search, &hits[i], list, err);
        if (got < 0)
            return got;
        last = i;
    }
    return 0;
}

static int answer_hits(struct search *search, const struct ab_op_search_messages *r, struct ab_buf *answer,
                       struct ab_error *err)
{
    struct hit after;
    struct list list;
    char next[CURSOR_MAX] = "";
    int code = r->after.n ? read_cursor(r->after, &after, err) : 0;
    if (code)
        return code;
    if (search->user && (code = gather(search, r->newest, err)))
        return code;
    int behind = search->user ? is_behind(search->db, search->user, err) : 0;
    list_init(&list);
    code = behind < 0 ? behind
                      : list_hits(search, r->after.n ? &after : NULL, limit_of(r->limit), &list, next, err);
    if (!code) {
        struct ab_op_search_messages_answer a = {.hits = list_done(&list),
                                                 .next = ab_view(*next ? next : NULL, strlen(next)),
                                                 .behind = behind,
                                                 .capped = search->capped};
        ab_encode(answer, &ab_op_search_messages_answer_schema, &a);
    }
    list_finish(&list);
    return code;
}

/* A user who is unknown has no messages. A session that is named must be there. */
static int open_search(struct db *db, struct ab_view user, struct ab_view session, struct ab_view text,
                       struct search *search, struct ab_error *err)
{
    *search = (struct search){.db = db};
    int64_t key = session.n ? session_require(db, user, session, err) : 0;
    if (key < 0)
        return (int)key;
    search->session = key;
    search->user = user_find(db, user, err);
    return search->user < 0 ? (int)search->user : query_create(db->words, text, &search->query, err);
}

static void close_search(struct search *search)
{
    query_destroy(search->query);
    ab_buf_finish(&search->hits);
}

int op_search_messages(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_search_messages *r = request;
    struct search search;
    int code = open_search(db, r->user, r->session, r->query, &search, err);
    if (!code)
        code = answer_hits(&search, r, answer, err);
    close_search(&search);
    return code;
}

/* ---- sessions ---- */

/* The sessions in which a term stands, ascending. */
struct found {
    struct ab_buf keys; /* int64_t */
};

static int by_key(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int find_sessions(struct search *search, unsigned term, struct found *found, struct ab_error *err)
{
    struct ab_buf match = {0};
    sqlite3_stmt *s = find(search, SQL_WORDS_FIND_SESSIONS, term, &match);
    int64_t key, last = 0;
    int got;
    while ((got = db_row(search->db, s, err)) > 0)
        if ((key = col_int(s, 0)) != last) {
            ab_buf_add(&found->keys, &key, sizeof key);
            last = key;
        }
    ab_buf_finish(&match);
    if (found->keys.n)
        qsort(found->keys.p, found->keys.n / sizeof key, sizeof key, by_key);
    return got;
}

/* Columns of SQL_SESSION_COLUMNS. */
enum { COL_KEY, COL_ID, COL_NAME = 3, COL_DESCRIPTION };

/* Each term stands in the session's name, description or id, also as a piece of a word, or in one of its messages. */
static bool fits(struct search *search, struct found *found, sqlite3_stmt *row)
{
    static const int columns[] = {COL_NAME, COL_DESCRIPTION, COL_ID};
    int64_t key = col_int(row, COL_KEY);
    for (unsigned term = 0; term < query_terms(search->query); term++) {
        const struct ab_buf *keys = &found[term].keys;
        bool is = keys->n && bsearch(&key, keys->p, keys->n / sizeof key, sizeof key, by_key);
        for (size_t i = 0; i < sizeof columns / sizeof *columns && !is; i++) {
            struct ab_view text = col_text(row, columns[i]);
            is = query_finds(search->query, term, text) ||
                 words_match(query_term(search->query, term), &text, 1);
        }
        if (!is)
            return false;
    }
    return true;
}

static int list_sessions(struct search *search, const struct ab_op_search_sessions *r, struct found *found,
                         int64_t after, struct list *list, int64_t *next, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(search->db, SQL_SESSIONS_OF_USER);
    bind_int(s, 1, search->user);
    bind_int(s, 2, after);
    uint64_t limit = limit_of(r->limit);
    int64_t last = 0;
    int got, rows = 0;
    while ((got = db_row(search->db, s, err)) > 0) {
        if (list->n >= limit || list_full(list) || ++rows > STORE_SCAN_ROWS_MAX) {
            *next = last;
            return 0;
        }
        last = col_int(s, COL_KEY);
        if (!fits(search, found, s))
            continue;
        if ((got = session_record(search->db, r->user, s, &list->buf, err)))
            return got;
        list->n++;
    }
    return got;
}

static int answer_sessions(struct search *search, const struct ab_op_search_sessions *r, struct ab_buf *answer,
                           struct ab_error *err)
{
    struct found found[WORDS_TERMS_MAX] = {0};
    struct list list;
    int64_t after, next = 0;
    char cursor[24];
    int code = cursor_read(r->after, &after, err);
    list_init(&list);
    for (unsigned i = 0; !code && search->user && i < query_terms(search->query); i++)
        code = find_sessions(search, i, &found[i], err);
    if (!code && search->user)
        code = list_sessions(search, r, found, after, &list, &next, err);
    if (!code) {
        struct ab_op_sessions_answer a = {.sessions = list_done(&list)};
        if (next)
            a.next = ab_view(cursor, (size_t)snprintf(cursor, sizeof cursor, "%lld", (long long)next));
        ab_encode(answer, &ab_op_sessions_answer_schema, &a);
    }
    for (unsigned i = 0; i < WORDS_TERMS_MAX; i++)
        ab_buf_finish(&found[i].keys);
    list_finish(&list);
    return code;
}

int op_search_sessions(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_search_sessions *r = request;
    struct search search;
    int code = open_search(db, r->user, (struct ab_view){0}, r->query, &search, err);
    if (!code)
        code = answer_sessions(&search, r, answer, err);
    close_search(&search);
    return code;
}
