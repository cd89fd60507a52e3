/* The full check of a database: SQLite's own, then what this service promises of its rows. Reads one snapshot, so it may
 * run beside the service. Changes nothing; what is wrong is named.
 */
#include "storage/sqlite/search.h"

#include <stdlib.h>

/* Each row that a query gives is a fault: `what` is printed with the row's first column. */
static const struct {
    const char *query, *what;
} checks[] = {
    {"SELECT j.n FROM jobs j LEFT JOIN open_jobs o ON o.n=j.n LEFT JOIN ends e ON e.n=j.n"
     " WHERE (o.n IS NULL)=(e.n IS NULL)",
     "job %s is neither open nor ended, or both"},
    {"SELECT o.n FROM open_jobs o LEFT JOIN jobs j ON j.n=o.n WHERE j.n IS NULL", "open job %s does not exist"},
    {"SELECT e.n FROM ends e LEFT JOIN jobs j ON j.n=e.n WHERE j.n IS NULL", "ended job %s does not exist"},
    {"SELECT n FROM jobs WHERE input IS NULL AND n IN (SELECT n FROM open_jobs)", "open job %s has no input"},
    {"SELECT j.n FROM jobs j LEFT JOIN users u ON u.key=j.user LEFT JOIN workflows w ON w.key=j.workflow"
     " WHERE u.key IS NULL OR w.key IS NULL",
     "job %s has no user or no workflow"},
    {"SELECT DISTINCT v.n FROM events v LEFT JOIN jobs j ON j.n=v.n WHERE j.n IS NULL",
     "events of job %s, which does not exist"},
    /* a job whose content was deleted keeps its end event only */
    /* what ended before the retention's last pass may have lost the beginning of its journal */
    {"SELECT v.n FROM events v JOIN jobs j ON j.n=v.n LEFT JOIN ends e ON e.n=v.n WHERE j.input IS NOT NULL "
     "GROUP BY "
     "v.n HAVING max(v.seq)-min(v.seq)+1<>count(*) OR (min(v.seq)<>1 AND"
     " coalesce(min(e.at_ms)>=(SELECT value FROM meta WHERE key='purged_ms'),1))",
     "the journal of job %s has a gap"},
    {"SELECT a.n FROM events a JOIN events b ON b.n=a.n AND b.seq=a.seq+1 WHERE b.token<a.token",
     "a token in the journal of job %s goes down"},
    {"SELECT n FROM events WHERE kind=8 GROUP BY n HAVING count(*)>1", "job %s ended more than once"},
    {"SELECT v.n FROM events v LEFT JOIN ends e ON e.n=v.n WHERE v.kind=8 AND (e.event IS NULL OR "
     "e.event<>v.e)",
     "the end event of job %s is not the one its end names"},
    {"SELECT e.n FROM ends e LEFT JOIN events v ON v.e=e.event WHERE e.event IS NOT NULL AND"
     " (v.e IS NULL OR v.n<>e.n OR v.kind<>8 OR v.seq<>(SELECT max(seq) FROM events WHERE n=e.n))",
     "the end of job %s names an event that is not the last of its journal"},
    {"SELECT e.n FROM ends e JOIN jobs j ON j.n=e.n WHERE e.event IS NULL AND j.input IS NOT NULL",
     "the end event of job %s is missing"},
    {"SELECT m.session||'/'||m.pos FROM messages m LEFT JOIN sessions s ON s.key=m.session WHERE s.key IS NULL",
     "message %s has no session"},
    {"SELECT m.session||'/'||m.pos FROM messages m LEFT JOIN jobs j ON j.n=m.pos>>24"
     " WHERE (m.pos&16777215)<2 AND (j.n IS NULL OR j.session<>m.session)",
     "message %s names a job that is not there"},
    {"SELECT m.session||'/'||m.pos FROM messages m LEFT JOIN ends e ON e.n=m.pos>>24"
     " WHERE (m.pos&16777215)=1 AND m.deleted=0 AND (e.event IS NULL OR e.event NOT IN (SELECT e FROM events))",
     "answer %s names an end event that is not there"},
    {"SELECT m.session||'/'||m.pos FROM messages m WHERE (m.pos&16777215)>=2 AND m.body IS NULL",
     "saved message %s is empty"},
    {"SELECT i.id FROM message_ids i LEFT JOIN messages m ON m.session=i.session AND m.pos=i.pos WHERE m.pos "
     "IS NULL",
     "message id %s names a message that is not there"},
    {"SELECT n FROM inbox GROUP BY n HAVING min(k)<>1 OR max(k)<>count(*)", "the inbox of job %s has a gap"},
    {"SELECT n FROM imports WHERE n NOT IN (SELECT n FROM ends)", "imported job %s has no end"},
    {"SELECT v.name FROM saved_workflows v LEFT JOIN workflows w ON w.key=v.workflow WHERE w.key IS NULL",
     "saved workflow %s has no text"},
    {"SELECT name FROM skills WHERE user NOT IN (SELECT key FROM users)", "skill %s has no user"},
    {"SELECT DISTINCT f.n FROM files f LEFT JOIN jobs j ON j.n=f.n WHERE j.n IS NULL",
     "files of job %s, which does not exist"},
    {"SELECT f.n FROM files f LEFT JOIN job_files s ON s.n=f.n GROUP BY f.n HAVING "
     "coalesce(min(s.bytes),0)<>sum(length(f.data))",
     "the files of job %s are not as many bytes as were counted"},
    {"SELECT DISTINCT n FROM holds WHERE n NOT IN (SELECT n FROM open_jobs)",
     "job %s, which is not open, has reserved some of a budget"},
    {"SELECT DISTINCT h.budget FROM holds h LEFT JOIN budgets b ON b.key=h.budget WHERE b.key IS NULL",
     "something is reserved of budget %s, which does not exist"},
    {"SELECT w.n FROM budget_waiters w LEFT JOIN open_jobs o ON o.n=w.n WHERE o.state IS NOT 4",
     "job %s is listed as waiting for a budget, and is not waiting"},
    {"SELECT w.n FROM budget_waiters w LEFT JOIN budgets b ON b.key=w.budget WHERE b.key IS NULL",
     "job %s waits for a budget that does not exist"},
    {"SELECT owner FROM usage WHERE scope=2 AND owner NOT IN (SELECT key FROM sessions)",
     "usage of session %s, which does not exist"},
    {"SELECT n FROM job_secrets WHERE n NOT IN (SELECT n FROM open_jobs)",
     "sealed keys of job %s, which is not open"},
    {"SELECT m.session||'/'||m.pos FROM messages m LEFT JOIN message_docs d ON d.session=m.session AND "
     "d.pos=m.pos"
     " LEFT JOIN unindexed u ON u.pos=m.pos AND u.session=m.session WHERE m.deleted=0 AND d.doc IS NULL AND"
     " u.pos IS NULL AND (m.session,m.pos)<=(coalesce((SELECT value FROM meta WHERE "
     "key='words_session'),1<<62),"
     "coalesce((SELECT value FROM meta WHERE key='words_pos'),1<<62))",
     "message %s is not in the text index: run autobots-storage --reindex"},
    {"SELECT z.id FROM message_words_docsize z LEFT JOIN message_docs d ON d.doc=z.id WHERE d.doc IS NULL",
     "row %s of the text index is of no message: run autobots-storage --reindex"},
};
_Static_assert(AB_KIND_END == 8, "the checks name the end event's kind");

static int run_check(struct db *db, const char *query, const char *what, FILE *out, struct ab_error *err)
{
    sqlite3_stmt *s = NULL;
    int faults = 0, rc = sqlite3_prepare_v2(db->handle, query, -1, &s, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(s);
        if (rc != SQLITE_ROW)
            break;
        const char *row = (const char *)sqlite3_column_text(s, 0), *mark = strstr(what, "%s");
        fprintf(out, "%.*s%s%s\n", (int)(mark - what), what, row ? row : "?", mark + 2);
        faults++;
    }
    int code = rc == SQLITE_DONE ? faults : db_fail(db->handle, rc, "checking the database", err);
    sqlite3_finalize(s);
    return code;
}

/* SQLite's own check says "ok" or one fault per row. */
static int check_file(struct db *db, FILE *out, struct ab_error *err)
{
    sqlite3_stmt *s = NULL;
    int faults = 0, rc = sqlite3_prepare_v2(db->handle, "PRAGMA integrity_check", -1, &s, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(s);
        const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
        if (!text)
            break;
        if (strcmp(text, "ok") != 0) {
            fprintf(out, "file: %s\n", text);
            faults++;
        }
    }
    int code = rc == SQLITE_DONE ? faults : db_fail(db->handle, rc, "checking the database", err);
    sqlite3_finalize(s);
    return code;
}

/* Bodies: their checksum, and that they are events of the kind their row says. */
static int check_events(struct db *db, FILE *out, struct ab_error *err)
{
    sqlite3_stmt *s = NULL;
    int faults = 0, rc = sqlite3_prepare_v2(db->handle, "SELECT n,seq,kind,crc,body FROM events", -1, &s, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(s);
        if (rc != SQLITE_ROW)
            break;
        struct ab_view body = col_blob(s, 4);
        const char *what = crc32c(body) != (uint32_t)col_int(s, 3) ? "has a wrong checksum"
                           : (int64_t)ab_event_kind(body) != col_int(s, 2)
                               ? "is of another kind than its row says"
                               : NULL;
        if (what) {
            fprintf(out, "event %lld of job %lld %s\n", (long long)col_int(s, 1), (long long)col_int(s, 0),
                    what);
            faults++;
        }
    }
    int code = rc == SQLITE_DONE ? faults : db_fail(db->handle, rc, "checking the events", err);
    sqlite3_finalize(s);
    return code;
}

static int check_all(struct db *db, FILE *out, struct ab_error *err)
{
    int64_t version = db_number(db, "PRAGMA user_version", -1);
    if (version != (int64_t)migrations_n)
        return ab_fail_at(err, AB_EUSAGE, db->path, "%s has schema %lld, this program checks schema %u",
                          db->path, (long long)version, migrations_n);
    int code = db_exec(db, "BEGIN", err);
    if (code || (code = db_check_schema(db, err)) || (code = db_prepare(db, err)))
        return code;
    int faults = check_file(db, out, err);
    if (faults)
        return faults; /* what a damaged file says of its rows means nothing */
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        if ((code = run_check(db, checks[i].query, checks[i].what, out, err)) < 0)
            return code;
        faults += code;
    }
    if ((code = check_events(db, out, err)) < 0)
        return code;
    faults += code;
    code = search_check(db, out, err);
    return code < 0 ? code : faults + code;
}

int store_sqlite_check(const char *dir, FILE *out, struct ab_error *err)
{
    struct db db = {0};
    char *path = ab_format("%s/database.sqlite", dir);
    int code = db_connect(&db, path, err);
    if (!code)
        code = check_all(&db, out, err);
    db_disconnect(&db);
    free(path);
    return code;
}
