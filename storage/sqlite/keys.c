/* Names to integer keys: users, sessions, workflows; cursors and limits of listings. */
#include "storage/sqlite/db.h"

#include <stdlib.h>

#include "storage/workflow_check.h"

/* ---- the cache ---- */
static unsigned slot_of(struct ab_view name)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (uint8_t)name.p[i]) * 16777619u;
    return (h ^ h >> 15) % NAME_CACHE_MAX;
}

static int64_t cached(const struct name_cache *cache, struct ab_view name)
{
    unsigned at = slot_of(name);
    if (!cache || !cache->slots[at].key || cache->slots[at].n != name.n ||
        memcmp(cache->slots[at].name, name.p, name.n))
        return 0;
    return cache->slots[at].key;
}

static int64_t cache_put(struct name_cache *cache, struct ab_view name, int64_t key)
{
    unsigned at = slot_of(name);
    if (cache && name.n <= sizeof cache->slots[at].name) {
        cache->slots[at].key = key;
        cache->slots[at].n = (uint8_t)name.n;
        memcpy(cache->slots[at].name, name.p, name.n);
    }
    return key;
}

/* The key in the statement's first row; 0 if there is none. */
static int64_t first_key(struct db *db, sqlite3_stmt *s, struct ab_error *err)
{
    int got = db_row(db, s, err);
    return got <= 0 ? got : col_int(s, 0);
}

/* ---- users ---- */
int64_t user_find(struct db *db, struct ab_view name, struct ab_error *err)
{
    int64_t key = cached(db->users, name);
    if (key)
        return key;
    sqlite3_stmt *s = db_sql(db, SQL_USER_GET);
    bind_text(s, 1, name);
    key = first_key(db, s, err);
    return key > 0 ? cache_put(db->users, name, key) : key;
}

int64_t user_make(struct db *db, struct ab_view name, struct ab_error *err)
{
    if (!name.n)
        return ab_fail_at(err, AB_EINVALID, "user", "the user's name is empty");
    int64_t key = user_find(db, name, err);
    if (key)
        return key;
    sqlite3_stmt *s = db_sql(db, SQL_USER_ADD);
    bind_text(s, 1, name);
    int code = db_run(db, s, err);
    return code ? code : cache_put(db->users, name, sqlite3_last_insert_rowid(db->handle));
}

/* ---- sessions ---- */
int64_t session_find(struct db *db, int64_t user, struct ab_view id, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_SESSION_KEY);
    bind_int(s, 1, user);
    bind_text(s, 2, id);
    return first_key(db, s, err);
}

int64_t session_make(struct db *db, int64_t user, struct ab_view id, int64_t workflow, struct ab_error *err)
{
    int64_t key = (int64_t)db->session_next;
    sqlite3_stmt *s = db_sql(db, SQL_SESSION_ADD);
    bind_int(s, 1, key);
    bind_int(s, 2, user);
    bind_text(s, 3, id);
    bind_int(s, 4, db->now_ms);
    bind_opt(s, 5, workflow);
    int code = db_run(db, s, err);
    if (code)
        return code;
    db->session_next++;
    return key;
}

int64_t session_require(struct db *db, struct ab_view user, struct ab_view id, struct ab_error *err)
{
    int64_t key = user_find(db, user, err);
    if (key > 0)
        key = session_find(db, key, id, err);
    if (!key)
        return ab_fail_at(err, AB_ENOTFOUND, "session", "user %.*s has no session %.*s", AB_VIEW_FMT(user),
                          AB_VIEW_FMT(id));
    return key;
}

/* ---- workflows ---- */
static int64_t workflow_of_hash(struct db *db, struct ab_view hash, struct ab_error *err)
{
    int64_t key = cached(db->workflows, hash);
    if (!key) {
        sqlite3_stmt *s = db_sql(db, SQL_WORKFLOW_KEY);
        bind_blob(s, 1, hash);
        key = first_key(db, s, err);
        if (key > 0)
            cache_put(db->workflows, hash, key);
    }
    if (key > 0)
        purge_used(db->purge, key);
    return key;
}

int workflow_is_stored(struct db *db, struct ab_view hash, struct ab_error *err)
{
    int64_t key = workflow_of_hash(db, hash, err);
    return key < 0 ? (int)key : key > 0;
}

static int64_t workflow_add(struct db *db, struct ab_view hash, struct ab_view text,
                            const struct ab_workflow *workflow, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_WORKFLOW_ADD);
    bind_blob(s, 1, hash);
    bind_text(s, 2, ab_view_of(workflow->name));
    bind_text(s, 3, text);
    bind_text(s, 4, ab_view_of(workflow->budget));
    int code = db_run(db, s, err);
    if (workflow->budget)
        db->workflow_budgets_any = 1;
    if (code)
        return code;
    int64_t key = sqlite3_last_insert_rowid(db->handle);
    purge_used(db->purge, key);
    return cache_put(db->workflows, hash, key);
}

int64_t workflow_key(struct db *db, struct ab_view hash, struct ab_view text, struct ab_view user,
                     struct ab_error *err)
{
    if (hash.n != AB_HASH_BYTES)
        return ab_fail_at(err, AB_EINVALID, "hash", "a workflow's hash has %d bytes, not %zu", AB_HASH_BYTES,
                          hash.n);
    int64_t key = workflow_of_hash(db, hash, err);
    if (key)
        return key;
    if (!text.p)
        return ab_fail_at(err, AB_EUNKNOWN_WORKFLOW, "hash",
                          "no workflow with this hash is stored: send its text");
    struct ab_workflow *workflow = NULL;
    struct saved_names saved = {db, user};
    struct workflow_names names = {user.n ? workflow_named : NULL, &saved};
    bool changed;
    int code = workflow_check(hash, text, &names, &workflow, &changed, db->faults, err);
    if (!code && changed) {
        hash = ab_view(workflow->hash, sizeof workflow->hash);
        text = ab_view(workflow->text, workflow->text_bytes);
        key = workflow_of_hash(db, hash, err);
    }
    key = code ? code : key ? key : workflow_add(db, hash, text, workflow, err);
    ab_workflow_destroy(workflow);
    return key;
}

/* ---- pages ---- */
int cursor_read(struct ab_view text, int64_t *cursor, struct ab_error *err)
{
    int64_t value = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || value > (INT64_MAX - 9) / 10)
            return ab_fail_at(err, AB_EINVALID, "after",
                              "not a cursor of this listing: pass the answer's next");
        value = value * 10 + (text.p[i] - '0');
    }
    *cursor = value;
    return 0;
}

uint64_t limit_of(uint64_t asked)
{
    return asked ? asked : AB_PAGE_DEFAULT;
}
