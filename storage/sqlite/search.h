/* Full-text search over messages: what keeps the index right.
 *
 * message_words is a contentless FTS5 table of (place, text): place holds words for the user and the session, so that a search
 * meets nobody else's rows; texts are not stored twice. message_docs gives each of its rows the message it stands for.
 *
 * A message that is added is noted in `unindexed`, in the same transaction, and indexed later by the feeder in small
 * transactions of its own, which take it from there. One whose text changes or goes is taken out before that happens, in
 * the same transaction: FTS5 must be given the very text that it was given at first. So at each commit every
 * message that is shown is in message_docs, or in unindexed, or in front of the cursor of a rebuild; nothing else is.
 *
 * The words of what was taken out stay in the segments of the index until these are merged. The feeder does that once
 * nothing else is to be done.
 */
#ifndef STORAGE_SQLITE_SEARCH_H
#define STORAGE_SQLITE_SEARCH_H

#include "storage/sqlite/db.h"
#include "storage/sqlite/words.h"

/* ---- the index (search_index.c) ---- */

/* The message was added, or its text is another one now. */
int search_note(struct db *db, int64_t session, int64_t pos, struct ab_error *err);
/* Its text is about to change, or it goes. */
int search_forget(struct db *db, int64_t session, int64_t pos, struct ab_error *err);
/* Puts it into the index, if it is shown and not there. */
int search_add(struct db *db, int64_t session, int64_t pos, struct ab_error *err);
/* What a message says, as it is searched; nothing if it is not shown. Appends to `text`. 1: it is shown. */
int search_text(struct db *db, int64_t session, int64_t pos, struct ab_buf *text, struct ab_error *err);

/* ---- feeding it (search_feed.c) ---- */
struct feeder *feeder_create(void);
void feeder_destroy(struct feeder *feeder);
/* At the start: an index that another version has made, or any (`anew`), is emptied and made anew, beside everything else. */
int feeder_begin(struct db *db, bool anew, struct ab_error *err);
/* Something was noted, or taken out; or, after a rollback, nobody knows. */
void feeder_noted(struct feeder *feeder);
void feeder_taken_out(struct feeder *feeder);
void feeder_unsure(struct feeder *feeder);
/* Does a slice of what there is to do. 1: there is more. Negative: a sync failed. */
int feeder_slice(struct db *db, int64_t now_ms, bool idle, struct ab_error *err);

/* ---- checking it (search_check.c) ---- */
/* Prints each fault; returns how many. */
int search_check(struct db *db, FILE *out, struct ab_error *err);

#endif
