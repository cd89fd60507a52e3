/* See named.h. */
#include "storage/sqlite/named.h"

static sqlite3_stmt *bound(struct db *db, enum sql_id which, int64_t user, struct ab_view name)
{
    sqlite3_stmt *s = db_sql(db, which);
    bind_int(s, 1, user);
    bind_text(s, 2, name);
    return s;
}

int named_find(struct db *db, const struct named *kind, int64_t user, struct ab_view name, uint64_t version,
               sqlite3_stmt **row, struct ab_error *err)
{
    *row = bound(db, version ? kind->get : kind->last, user, name);
    if (version)
        bind_int(*row, 3, version > INT64_MAX ? 0 : (int64_t)version);
    return db_row(db, *row, err);
}

int named_missing(const struct named *kind, struct ab_view user, struct ab_view name, uint64_t version,
                  struct ab_error *err)
{
    if (version)
        return ab_fail_at(err, AB_ENOTFOUND, "version", "user %.*s has no version %llu of a %s %.*s",
                          AB_VIEW_FMT(user), (unsigned long long)version, kind->what, AB_VIEW_FMT(name));
    return ab_fail_at(err, AB_ENOTFOUND, "name", "user %.*s has no %s %.*s", AB_VIEW_FMT(user), kind->what,
                      AB_VIEW_FMT(name));
}

int named_saved(struct db *db, const struct named *kind, sqlite3_stmt *same, int64_t user, struct ab_view name,
                struct ab_view hash, sqlite3_stmt **row, int64_t *newest, struct ab_error *err)
{
    int got = 0;
    if (same) {
        *row = same;
        if ((got = db_row(db, same, err)) < 0)
            return got;
        if (got && !ab_view_eq(col_blob(same, kind->col_hash), hash))
            return ab_fail_at(err, AB_ECONFLICT, "id", "this id is taken by another content");
        if (got)
            return 1;
    }
    if ((got = named_find(db, kind, user, name, 0, row, err)) <= 0)
        return got;
    *newest = col_int(*row, kind->col_version);
    return ab_view_eq(col_blob(*row, kind->col_hash), hash);
}

int named_list(struct db *db, const struct named *kind, const struct named_page *page, struct list *list,
               struct ab_buf *next, struct ab_error *err)
{
    bool versions = page->name.n;
    int64_t below = 0;
    int rows = 0, got = versions ? cursor_read(page->after, &below, err) : 0;
    if (got)
        return got;
    struct ab_view from = versions ? page->name : page->after.p ? page->after : ab_view_of("");
    sqlite3_stmt *s = bound(db, versions ? kind->before : kind->after, page->user, from);
    if (versions)
        bind_int(s, 3, below ? below : INT64_MAX);
    struct ab_buf last = {0};
    while ((got = db_row(db, s, err)) > 0) {
        if (list->n >= limit_of(page->limit) || list_full(list) || ++rows > STORE_SCAN_ROWS_MAX) {
            ab_buf_add(next, last.p, last.n);
            got = 0;
            break;
        }
        list->n += page->add(page->request, s, &list->buf);
        ab_buf_clear(&last);
        /* A number as text, if it is one. */
        struct ab_view at = col_text(s, versions ? kind->col_version : kind->col_name);
        ab_buf_add(&last, at.p, at.n);
    }
    ab_buf_finish(&last);
    return got;
}

int named_delete(struct db *db, const struct named *kind, struct ab_view user, struct ab_view name,
                 struct ab_buf *answer, struct ab_error *err)
{
    int64_t key = user_find(db, user, err);
    if (key < 0)
        return (int)key;
    int code = db_run(db, bound(db, kind->remove, key, name), err);
    if (code)
        return code;
    struct ab_op_deleted_answer a = {.deleted = (uint64_t)sqlite3_changes(db->handle)};
    code =
        a.deleted ? gone_add(db, key, kind->gone, name, 0, err) : gone_is(db, key, kind->gone, name, NULL, err);
    if (code < 0 || (!a.deleted && !code))
        return code ? code : named_missing(kind, user, name, 0, err);
    ab_encode(answer, &ab_op_deleted_answer_schema, &a);
    return 0;
}
