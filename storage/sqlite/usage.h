/* What models were used for whom: calls, tokens, money and jobs, summed per day, agent and model, once for the user and
 * once for the session.
 *
 * Counted with the events that say so, in their transaction: a `model_reply` when it is appended, a job when it ends. So a
 * fork's copies and imported runs, which nobody appended, count nothing, and what was counted stays when journals go. A
 * session's sums go with the session; those of its user, which hold the same once more, stay.
 *
 * The sums of one transaction are gathered in memory and written before its commit: the hot path writes a few rows for a
 * thousand jobs.
 */
#ifndef STORAGE_SQLITE_USAGE_H
#define STORAGE_SQLITE_USAGE_H

#include "storage/sqlite/db.h"

/* Codes in the file: never renumbered. */
enum { USAGE_USER = 1, USAGE_SESSION = 2 };

struct usage *usage_create(void);
void usage_destroy(struct usage *usage); /* NULL is allowed */
/* Once for each event that was written. */
int usage_take(struct db *db, const struct head *head, enum ab_event_kind kind, struct ab_view event,
               struct ab_error *err);
/* Before the commit: what was taken since the last one. */
int usage_write(struct db *db, struct ab_error *err);
/* The transaction was taken back. */
void usage_drop(struct usage *usage);
/* The session is gone; what is gathered for it and not yet written is not written. */
int usage_forget(struct db *db, int64_t session, struct ab_error *err);

#endif
