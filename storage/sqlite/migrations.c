/* The schema, as numbered migrations: entry i brings version i to i + 1. An entry that was released is never
 * edited; a change of the schema is a new one. The version is the file's user_version.
 *
 * What decides speed: jobs, events, ends and messages only grow at their ends; no secondary index on what changes;
 * users, sessions and workflows are small integers; message rows of jobs hold no text, they point at it.
 */
#include "storage/sqlite/db.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"

const struct migration migrations[] = {
    {
        "CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
        "INSERT INTO meta VALUES('epoch',0),('session_next',1);"
        "CREATE TABLE users(key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
        "CREATE TABLE workflows(key INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, name TEXT NOT NULL, text "
        "TEXT NOT NULL);"
        /* n: commit number. session: key, kept after the session is gone. same: hash of the request, for idempotency.
         * input: the body of SUBMIT; NULL once the job's content was deleted. */
        "CREATE TABLE jobs(n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, user INTEGER NOT NULL, session "
        "INTEGER,"
        " workflow INTEGER NOT NULL, created_ms INTEGER NOT NULL, same BLOB NOT NULL, history INTEGER, tenant "
        "TEXT,"
        " priority INTEGER, not_before_ms INTEGER, deadline_ms INTEGER, concurrency TEXT, pool TEXT, input "
        "BLOB);"
        "CREATE INDEX jobs_by_user ON jobs(user);"
        "CREATE TABLE open_jobs(n INTEGER PRIMARY KEY, state INTEGER NOT NULL, wake_at_ms INTEGER);"
        /* event: row of the end event; NULL once it was deleted */
        "CREATE TABLE ends(n INTEGER PRIMARY KEY, state INTEGER NOT NULL, at_ms INTEGER NOT NULL, event "
        "INTEGER);"
        "CREATE TABLE events(e INTEGER PRIMARY KEY, n INTEGER NOT NULL, seq INTEGER NOT NULL, token INTEGER "
        "NOT NULL,"
        " kind INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE(n,seq));"
        "CREATE TABLE inbox(n INTEGER NOT NULL, k INTEGER NOT NULL, id BLOB NOT NULL, kind TEXT NOT NULL, ask "
        "TEXT,"
        " text TEXT, at_ms INTEGER NOT NULL, PRIMARY KEY(n,k), UNIQUE(n,id)) WITHOUT ROWID;"
        "CREATE TABLE job_secrets(n INTEGER PRIMARY KEY, secrets BLOB NOT NULL);"
        /* flow_config: msgpack, if it was given; else the workflow's text counts */
        "CREATE TABLE sessions(key INTEGER PRIMARY KEY, user INTEGER NOT NULL, id TEXT NOT NULL, created_ms "
        "INTEGER NOT NULL,"
        " workflow INTEGER, name TEXT, description TEXT, flow_config BLOB, UNIQUE(user,id));"
        "CREATE INDEX sessions_by_user ON sessions(user);"
        /* pos: see pos_of(). body: the whole record of a saved message; NULL for a job's. A hidden row (deleted) stays
         * so that the session still knows its jobs. */
        "CREATE TABLE messages(session INTEGER NOT NULL, pos INTEGER NOT NULL, deleted INTEGER NOT NULL, body "
        "BLOB,"
        " PRIMARY KEY(session,pos)) WITHOUT ROWID;"
        /* only ids that a client chose: those of jobs' messages are made of the job's id */
        "CREATE TABLE message_ids(user INTEGER NOT NULL, id TEXT NOT NULL, session INTEGER NOT NULL, pos "
        "INTEGER NOT NULL,"
        " PRIMARY KEY(user,id)) WITHOUT ROWID;"
        "CREATE TABLE gallery(key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, user INTEGER NOT NULL, "
        "created_ms INTEGER NOT NULL,"
        " name TEXT, description TEXT, session BLOB NOT NULL, messages BLOB NOT NULL, tags BLOB NOT NULL, "
        "words TEXT NOT NULL);",
    },
    {
        /* id: the client's, of the request that saved it */
        "CREATE TABLE saved_workflows(key INTEGER PRIMARY KEY, user INTEGER NOT NULL, name TEXT NOT NULL,"
        " version INTEGER NOT NULL, workflow INTEGER NOT NULL, id BLOB, description TEXT,"
        " created_ms INTEGER NOT NULL, UNIQUE(user,name,version));"
        /* what was deleted last, so that the same request again gets the same answer (gone.c) */
        "CREATE TABLE gone(key INTEGER PRIMARY KEY, user INTEGER NOT NULL, kind INTEGER NOT NULL, id TEXT NOT "
        "NULL,"
        " session INTEGER, UNIQUE(user,kind,id));",
    },
    {
        /* provider: empty = all. In 1e-12 USD per token; NULL: as input, as output. */
        "CREATE TABLE prices(model TEXT NOT NULL, provider TEXT NOT NULL, from_ms INTEGER NOT NULL,"
        " input INTEGER NOT NULL, cached_input INTEGER, output INTEGER NOT NULL, reasoning INTEGER,"
        " source TEXT, note TEXT, PRIMARY KEY(model,provider,from_ms)) WITHOUT ROWID;",
    },
    {
        /* jobs that ran in another service: the retention counts from here */
        "CREATE TABLE imports(n INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL);",
    },
    {
        /* fork_of: id of the job whose journal, up to fork_seq, this one began with */
        "ALTER TABLE jobs ADD COLUMN fork_of BLOB;"
        "ALTER TABLE jobs ADD COLUMN fork_seq INTEGER;",
    },
    {
        /* hash: hex, of the whole content; at: bytes before this piece */
        "CREATE TABLE files(n INTEGER NOT NULL, hash TEXT NOT NULL, at INTEGER NOT NULL, data BLOB NOT NULL,"
        " PRIMARY KEY(n,hash,at));"
        "CREATE TABLE job_files(n INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, pieces INTEGER NOT NULL);",
    },
    {
        /* a message that was taken for an answer is known by its id, whatever job it went to */
        "CREATE INDEX inbox_by_id ON inbox(id);",
    },
    {
        /* scope, unit, period: codes (budgets.h, common/budget.h). start_ms: of the period that `settled` is of. over: sum of
         * what replies took above their reservations, overs: how many did. */
        "CREATE TABLE budgets(key INTEGER PRIMARY KEY, scope INTEGER NOT NULL, owner INTEGER NOT NULL,"
        " unit INTEGER NOT NULL, period INTEGER NOT NULL, cap INTEGER NOT NULL, settled INTEGER NOT NULL,"
        " start_ms INTEGER NOT NULL, over INTEGER NOT NULL, overs INTEGER NOT NULL,"
        " UNIQUE(scope,owner,unit,period));"
        /* what calls under way have reserved */
        "CREATE TABLE holds(budget INTEGER NOT NULL, n INTEGER NOT NULL, step TEXT NOT NULL, amount INTEGER "
        "NOT NULL,"
        " PRIMARY KEY(budget,n,step)) WITHOUT ROWID;"
        "CREATE INDEX holds_by_job ON holds(n);"
        /* jobs parked for a budget, and what the call that found no room may take */
        "CREATE TABLE budget_waits(n INTEGER PRIMARY KEY, budget INTEGER NOT NULL, tokens INTEGER NOT NULL,"
        " usd INTEGER NOT NULL, turns INTEGER NOT NULL);"
        "CREATE INDEX budget_waits_by_budget ON budget_waits(budget);"
        /* the limits a workflow names for its jobs */
        "ALTER TABLE workflows ADD COLUMN budget TEXT;",
    },
    {
        /* hash: BLAKE2b-256 of the token, which is kept nowhere. scope: enum ab_scope. */
        "CREATE TABLE api_tokens(key INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, hash BLOB NOT NULL UNIQUE,"
        " user TEXT NOT NULL, name TEXT, scope INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
        " expires_ms INTEGER, used_ms INTEGER, revoked_ms INTEGER);",
    },
    {
        /* whether any workflow names limits is asked again after each request that was taken back */
        "CREATE INDEX workflows_with_budget ON workflows(key) WHERE budget IS NOT NULL;",
    },
    {
        /* tags are counted without reading the items, which hold whole sessions */
        "CREATE INDEX gallery_by_tags ON gallery(user,tags);",
    },
    {
        /* id: of the request that saved it. parameters: msgpack. content last: listings do not read it. */
        "CREATE TABLE skills(key INTEGER PRIMARY KEY, user INTEGER NOT NULL, id BLOB NOT NULL, name TEXT NOT "
        "NULL,"
        " version INTEGER NOT NULL, title TEXT NOT NULL, description TEXT NOT NULL, file_name TEXT NOT NULL,"
        " language TEXT NOT NULL, parameters BLOB NOT NULL, idempotent INTEGER NOT NULL, timeout_s INTEGER NOT "
        "NULL,"
        " hash BLOB NOT NULL, created_ms INTEGER NOT NULL, content TEXT NOT NULL,"
        " UNIQUE(user,name,version), UNIQUE(user,id));",
    },
    {
        /* what was used, per owner (scope: of a user or a session, usage.h), day since 1970 UTC, agent and model; jobs stand
         * in the row without agent and model. cost: 1e-12 USD of the calls that are not `unpriced`. */
        "CREATE TABLE usage(scope INTEGER NOT NULL, owner INTEGER NOT NULL, day INTEGER NOT NULL,"
        " agent TEXT NOT NULL, model TEXT NOT NULL, calls INTEGER NOT NULL, cached_calls INTEGER NOT NULL,"
        " prompt INTEGER NOT NULL, completion INTEGER NOT NULL, cached INTEGER NOT NULL,"
        " reasoning INTEGER NOT NULL, cost INTEGER NOT NULL, unpriced INTEGER NOT NULL,"
        " model_ms INTEGER NOT NULL, jobs INTEGER NOT NULL,"
        " PRIMARY KEY(scope,owner,day,agent,model)) WITHOUT ROWID;",
    },
    {
        /* halted ones only. pool: * = all; of: a user, empty = all; state: codes in queues.c */
        "CREATE TABLE queues(pool TEXT NOT NULL, of TEXT NOT NULL, state INTEGER NOT NULL, by TEXT, reason "
        "TEXT,"
        " at_ms INTEGER NOT NULL, PRIMARY KEY(pool,of)) WITHOUT ROWID;",
    },
    {
        /* the text of messages, searchable (search.h). meta.words: the version of words.h that made the index */
        "CREATE VIRTUAL TABLE message_words USING fts5(place,text,content='',"
        "tokenize='unicode61 remove_diacritics 2');"
        "CREATE TABLE message_docs(doc INTEGER PRIMARY KEY, session INTEGER NOT NULL, pos INTEGER NOT NULL,"
        " UNIQUE(session,pos));"
        "CREATE TABLE unindexed(pos INTEGER NOT NULL, session INTEGER NOT NULL, PRIMARY KEY(pos,session))"
        " WITHOUT ROWID;"
        "INSERT INTO meta VALUES('words',0);",
    },
    {
        /* jobs parked for a budget, and how much of its unit (tokens 0, usd 1, calls 2, turns 3, seconds 4) the call may
         * take that found no room. Whether anybody fits is one look at by_need, however many wait. */
        "CREATE TABLE budget_waiters(n INTEGER PRIMARY KEY, budget INTEGER NOT NULL, need INTEGER NOT NULL);"
        "INSERT INTO budget_waiters SELECT w.n,w.budget,CASE b.unit WHEN 0 THEN w.tokens WHEN 1 THEN w.usd"
        " WHEN 2 THEN 1 WHEN 3 THEN w.turns ELSE 0 END FROM budget_waits w JOIN budgets b ON b.key=w.budget;"
        "DROP TABLE budget_waits;"
        "CREATE INDEX budget_waiters_by_age ON budget_waiters(budget,n,need);"
        "CREATE INDEX budget_waiters_by_need ON budget_waiters(budget,need);",
    },
};
const unsigned migrations_n = sizeof migrations / sizeof migrations[0];

/* A copy beside the file, complete before the first change. */
static int copy_first(struct db *db, unsigned version, struct ab_error *err)
{
    char *path = ab_format("%s.schema-%u", db->path, version), *part = ab_format("%s.part", path);
    sqlite3 *to = NULL;
    unlink(part);
    int rc = sqlite3_open(part, &to);
    sqlite3_backup *backup = rc == SQLITE_OK ? sqlite3_backup_init(to, "main", db->handle, "main") : NULL;
    if (backup) {
        sqlite3_backup_step(backup, -1);
        rc = sqlite3_backup_finish(backup);
    } else if (to) {
        rc = sqlite3_errcode(to);
    }
    int code = rc == SQLITE_OK ? 0 : db_fail(to, rc, "copying the database before its migration", err);
    sqlite3_close(to);
    if (!code && rename(part, path))
        code = ab_fail(err, AB_ESYSTEM, "cannot rename %s: %m", part);
    if (!code)
        ab_log(AB_INFO, "database.copied", "to", path, NULL);
    else
        unlink(part);
    free(part);
    free(path);
    return code;
}

static int step_to(struct db *db, const struct migration *m, unsigned version, struct ab_error *err)
{
    char *text = ab_format("BEGIN IMMEDIATE;%s;PRAGMA application_id=%d;PRAGMA user_version=%u;COMMIT", m->text,
                           DB_APPLICATION_ID, version);
    int code = db_exec(db, text, err);
    if (code)
        db_exec(db, "ROLLBACK", NULL);
    free(text);
    return code;
}

int db_migrate(struct db *db, const struct migration *list, unsigned n, struct ab_error *err)
{
    int64_t version = db_number(db, "PRAGMA user_version", -1);
    int64_t application = db_number(db, "PRAGMA application_id", -1);
    int64_t tables = db_number(db, "SELECT count(*) FROM sqlite_schema", -1);
    if (version < 0 || application < 0 || tables < 0)
        return db_fail(db->handle, sqlite3_extended_errcode(db->handle), "reading the database's header", err);
    if (tables ? application != DB_APPLICATION_ID : version != 0)
        return ab_fail_at(err, AB_EDAMAGED, db->path, "%s is not a database of autobots; move it away",
                          db->path);
    if (version > n)
        return ab_fail_at(
            err, AB_EUSAGE, db->path,
            "%s has schema %lld, written by a newer autobots; this one knows up to %u: run the newer one",
            db->path, (long long)version, n);
    if (version > 0 && version < n) {
        int code = copy_first(db, (unsigned)version, err);
        if (code)
            return code;
    }
    for (unsigned v = (unsigned)version; v < n; v++) {
        int code = step_to(db, &list[v], v + 1, err);
        if (code)
            return code;
    }
    return 0;
}

/* The schema as text, in a fixed order. The tables below message_words are SQLite's own business. */
static char *schema_text(sqlite3 *handle)
{
    static const char query[] =
        "SELECT group_concat(type||' '||name||' '||coalesce(sql,''),char(10)) FROM"
        " (SELECT * FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' AND name NOT GLOB 'message_words_*'"
        " ORDER BY type,name)";
    sqlite3_stmt *s = NULL;
    char *text = NULL;
    if (sqlite3_prepare_v2(handle, query, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW &&
        sqlite3_column_text(s, 0))
        text = ab_strdup((const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return text;
}

int db_check_schema(struct db *db, struct ab_error *err)
{
    struct db model = {0};
    int code = 0;
    if (sqlite3_open(":memory:", &model.handle) != SQLITE_OK)
        code = db_fail(model.handle, sqlite3_errcode(model.handle), "opening a model database", err);
    for (unsigned v = 0; !code && v < migrations_n; v++)
        code = step_to(&model, &migrations[v], v + 1, err);
    char *is = schema_text(db->handle), *should = schema_text(model.handle);
    if (!code && (!is || !should || strcmp(is, should)))
        code = ab_fail_at(err, AB_EDAMAGED, db->path,
                          "%s: its tables are not those of schema %u; it was changed by another program",
                          db->path, migrations_n);
    free(is);
    free(should);
    sqlite3_close(model.handle);
    return code;
}
