/* What was deleted last. A request whose answer was lost is sent again, and must then be answered as the first time,
 * not with `not_found`. The newest GONE_MAX deletions are remembered: by then nobody sends an old one again.
 */
#include "storage/sqlite/db.h"

enum { GONE_MAX = 10000 };

int gone_add(struct db *db, int64_t user, enum gone_kind kind, struct ab_view id, int64_t session,
             struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_GONE_ADD);
    bind_int(s, 1, user);
    bind_int(s, 2, kind);
    bind_text(s, 3, id);
    bind_opt(s, 4, session);
    int code = db_run(db, s, err);
    if (code)
        return code;
    s = db_sql(db, SQL_GONE_TRIM);
    bind_int(s, 1, sqlite3_last_insert_rowid(db->handle) - GONE_MAX);
    return db_run(db, s, err);
}

int gone_is(struct db *db, int64_t user, enum gone_kind kind, struct ab_view id, int64_t *session,
            struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_GONE_GET);
    bind_int(s, 1, user);
    bind_int(s, 2, kind);
    bind_text(s, 3, id);
    int got = db_row(db, s, err);
    if (got > 0 && session)
        *session = col_int(s, 0);
    return got;
}
