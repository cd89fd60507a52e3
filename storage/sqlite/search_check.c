/* The text index against the messages: see the invariant in search.h. */
#include "storage/sqlite/search.h"

#include <stdlib.h>

/* Whether the row of message_words has as many words as its message now has. `sizes`: FTS5's varints, one per column. */
static bool fits(struct db *db, struct ab_view sizes, struct ab_view text)
{
    struct ab_buf room = {0};
    size_t at = 0, words = 0;
    while (at < sizes.n && (uint8_t)sizes.p[at] & 0x80) /* over the first column */
        at++;
    for (at++; at < sizes.n; at++)
        words = words << 7 | ((uint8_t)sizes.p[at] & 0x7f);
    bool same = words == words_count(db->words, words_spaced(text, &room));
    ab_buf_finish(&room);
    return same;
}

static const char *fault_of(struct db *db, sqlite3_stmt *s, struct ab_error *err)
{
    struct ab_buf text = {0};
    const char *what = NULL;
    int got = search_text(db, col_int(s, 1), col_int(s, 2), &text, err);
    if (got < 0)
        what = "cannot be read";
    else if (!got)
        what = "is in the text index, but not shown";
    else if (col_null(s, 3))
        what = "has no words in the text index";
    else if (!fits(db, col_blob(s, 3), ab_buf_view(&text)))
        what = "has other words in the text index";
    ab_buf_finish(&text);
    return what;
}

int search_check(struct db *db, FILE *out, struct ab_error *err)
{
    static const char query[] = "SELECT d.doc,d.session,d.pos,z.sz FROM message_docs d LEFT JOIN "
                                "message_words_docsize z ON z.id=d.doc";
    sqlite3_stmt *s = NULL;
    int faults = 0, rc = sqlite3_prepare_v2(db->handle, query, -1, &s, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(s);
        const char *what = rc == SQLITE_ROW ? fault_of(db, s, err) : NULL;
        if (what) {
            fprintf(out, "message %lld/%lld %s\n", (long long)col_int(s, 1), (long long)col_int(s, 2), what);
            faults++;
        }
        db_release(db);
    }
    int code = rc == SQLITE_DONE ? faults : db_fail(db->handle, rc, "checking the text index", err);
    sqlite3_finalize(s);
    return code;
}
