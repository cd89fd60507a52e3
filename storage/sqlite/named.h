/* What a user keeps under names, in versions: workflows (library.c) and skills (skills.c). Their rows differ; what is done with
 * names and versions is here. A version never changes; the newest is what a name alone means.
 */
#ifndef STORAGE_SQLITE_NAMED_H
#define STORAGE_SQLITE_NAMED_H

#include "storage/sqlite/db.h"

struct named {
    const char *what;                     /* in errors: "workflow" */
    enum sql_id last, get, before, after; /* bound to user, name and, for get and before, a version */
    enum sql_id remove;                   /* bound to user and name */
    int col_name, col_version, col_hash;  /* of the rows of the first four, and of named_saved()'s `same` */
    enum gone_kind gone;                  /* what its deletions are remembered as */
};

/* 1 and *row, or 0. version 0: the newest. user 0: nobody, who has nothing. */
int named_find(struct db *db, const struct named *kind, int64_t user, struct ab_view name, uint64_t version,
               sqlite3_stmt **row, struct ab_error *err);
/* not_found, at `version` unless that is 0, else at `name`. */
int named_missing(const struct named *kind, struct ab_view user, struct ab_view name, uint64_t version,
                  struct ab_error *err);
/* Whether saving is nothing new: 1 and *row for the same request again (`same` finds the version that has its id; NULL: it has
 * none) and for the content that the newest version has already. 0: *newest is that version, or as it was if there is none. */
int named_saved(struct db *db, const struct named *kind, sqlite3_stmt *same, int64_t user, struct ab_view name,
                struct ab_view hash, sqlite3_stmt **row, int64_t *newest, struct ab_error *err);

struct named_page {
    int64_t user;
    struct ab_view name, after; /* the newest of each name behind `after`, or the versions of `name` below it */
    uint64_t limit;
    /* Appends the row's record; false: it is not wanted. */
    bool (*add)(const void *request, sqlite3_stmt *row, struct ab_buf *out);
    const void *request;
};
/* `next` gets the last row that was looked at, if there may be more. */
int named_list(struct db *db, const struct named *kind, const struct named_page *page, struct list *list,
               struct ab_buf *next, struct ab_error *err);
/* All versions; sent again it is answered like the first time. */
int named_delete(struct db *db, const struct named *kind, struct ab_view user, struct ab_view name,
                 struct ab_buf *answer, struct ab_error *err);

#endif
