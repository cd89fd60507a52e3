/* Every SQL statement of the service, once; all are prepared when a connection opens.
 *
 * Hot path (submit, append): inserts into tables that only grow at their end; the one delete is of a small
 * open_jobs row. What an append must know of its job is in memory (heads.h), so that it reads nothing.
 */
#ifndef STORAGE_SQLITE_SQL_H
#define STORAGE_SQLITE_SQL_H

#define SQL_JOB_COLUMNS                                                                                        \
    "j.n,j.id,u.name,s.id,w.name,j.created_ms,j.not_before_ms,j.input,e.state,e.at_ms,e.event,o.state,o.wake_" \
    "at_ms,w.hash,i.at_ms,j.fork_of,j.fork_seq "
/* Kinds that tell of attempts and ends, not of the run: started, attempt_failed, end, paused, forked, call_started. */
#define SQL_KINDS_OF_ATTEMPTS "1,5,8,9,10,12"
#define SQL_JOB_JOINS                                                                                          \
    "JOIN users u ON u.key=j.user LEFT JOIN sessions s ON s.key=j.session JOIN workflows w ON "                \
    "w.key=j.workflow "                                                                                        \
    "LEFT JOIN ends e ON e.n=j.n LEFT JOIN open_jobs o ON o.n=j.n LEFT JOIN imports i ON i.n=j.n "
#define SQL_SESSION_COLUMNS                                                                                    \
    "s.key,s.id,s.created_ms,s.name,s.description,s.flow_config,w.text "                                       \
    "FROM sessions s LEFT JOIN workflows w ON w.key=s.workflow "
#define SQL_GALLERY_COLUMNS                                                                                    \
    "g.key,g.id,u.name,g.name,g.description,g.session,g.messages,g.tags,g.created_ms,g.words "                 \
    "FROM gallery g JOIN users u ON u.key=g.user "
#define SQL_SAVED_COLUMNS                                                                                      \
    "v.name,v.version,w.hash,v.description,v.created_ms,w.text "                                               \
    "FROM saved_workflows v JOIN workflows w ON w.key=v.workflow "

#define SQL_BUDGET_COLUMNS "b.key,b.scope,b.unit,b.period,b.cap,b.settled,b.start_ms "
#define SQL_BUDGET_SHOWN   ",b.over,b.overs,(SELECT count(*) FROM budget_waiters w WHERE w.budget=b.key),"
/* ?1: enum in usage.c; ?2 to ?3: users; ?4 to ?5: days; ?6, ?7: only of this model, agent; ?8: keys after this one */
#define SQL_USAGE_SUMS(user, session)                                                                          \
    "SELECT CASE ?1 WHEN 1 THEN " user " WHEN 2 THEN " session " WHEN 3 THEN g.model WHEN 4 THEN g.agent "     \
    "WHEN 5 THEN date(g.day*86400,'unixepoch') ELSE '' END AS k,sum(g.calls),sum(g.cached_calls),"             \
    "sum(g.prompt),sum(g.completion),sum(g.cached),sum(g.reasoning),sum(g.cost),sum(g.unpriced),"              \
    "sum(g.model_ms),sum(g.jobs) FROM usage g "
#define SQL_USAGE_WHERE                                                                                        \
    "AND g.day BETWEEN ?4 AND ?5 AND (?6 IS NULL OR g.model=?6) AND (?7 IS NULL OR g.agent=?7) "               \
    "AND (?1 NOT IN (3,4) OR g.jobs=0) GROUP BY k HAVING ?8 IS NULL OR k>?8 ORDER BY k LIMIT ?9"
#define SQL_TOKEN_COLUMNS                                                                                      \
    "key,id,user,name,scope,created_ms,expires_ms,used_ms,revoked_ms,hash FROM api_tokens "
#define SQL_SKILL_COLUMNS                                                                                      \
    "k.id,k.name,k.version,k.title,k.description,k.file_name,k.language,k.parameters,k.idempotent,k.timeout_"  \
    "s,"                                                                                                       \
    "k.hash,k.created_ms,k.content FROM skills k "

#define SQL_STATEMENTS(X)                                                                                      \
    X(BEGIN_WRITE, "BEGIN IMMEDIATE")                                                                          \
    X(BEGIN_READ, "BEGIN")                                                                                     \
    X(SAVE, "SAVEPOINT operation")                                                                             \
    X(SAVE_UNDO, "ROLLBACK TO operation")                                                                      \
    X(SAVE_DONE, "RELEASE operation")                                                                          \
    X(COMMIT, "COMMIT")                                                                                        \
    X(ROLLBACK, "ROLLBACK")                                                                                    \
    X(META_GET, "SELECT value FROM meta WHERE key=?1")                                                         \
    X(META_SET, "UPDATE meta SET value=?2 WHERE key=?1")                                                       \
    X(META_RAISE,                                                                                              \
      "INSERT INTO meta(key,value) VALUES(?1,?2) ON CONFLICT(key) DO UPDATE SET value=max(value,?2)")          \
    X(USER_GET, "SELECT key FROM users WHERE name=?1")                                                         \
    X(USER_ADD, "INSERT INTO users(name) VALUES(?1)")                                                          \
    X(WORKFLOW_KEY, "SELECT key FROM workflows WHERE hash=?1")                                                 \
    X(WORKFLOW_TEXT, "SELECT text FROM workflows WHERE hash=?1")                                               \
    X(WORKFLOW_ADD, "INSERT INTO workflows(hash,name,text,budget) VALUES(?1,?2,?3,?4)")                        \
    /* jobs */                                                                                                 \
    X(JOB_ADD, "INSERT INTO jobs(n,id,user,session,workflow,created_ms,same,history,tenant,priority,"          \
               "not_before_ms,deadline_ms,concurrency,pool,input,fork_of,fork_seq) "                           \
               "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17)")                           \
    X(JOB_BY_ID, "SELECT n,user,session,history,same FROM jobs WHERE id=?1")                                   \
    X(JOB_LAST_ID,                                                                                             \
      "SELECT max(coalesce((SELECT max(id) FROM jobs),x''),coalesce((SELECT max(id) FROM inbox),x''))")        \
    X(JOB_BY_N, "SELECT id,user,session,created_ms,input FROM jobs WHERE n=?1")                                \
    X(JOB_SOURCE,                                                                                              \
      "SELECT j.n,j.user,j.session,j.workflow,w.hash,w.text,j.input,j.tenant,j.priority,j.concurrency,j.pool " \
      "FROM jobs j JOIN workflows w ON w.key=j.workflow WHERE j.id=?1")                                        \
    X(JOB_SET_INPUT, "UPDATE jobs SET input=?2 WHERE n=?1")                                                    \
    X(JOB_RECORD,                                                                                              \
      "SELECT " SQL_JOB_COLUMNS "FROM jobs j " SQL_JOB_JOINS "WHERE j.n=?1 AND j.input IS NOT NULL")           \
    X(JOBS_OF_USER,                                                                                            \
      "SELECT n,session,created_ms FROM jobs WHERE user=?1 AND n<?2 AND input IS NOT NULL ORDER BY n DESC")    \
    X(JOBS_BY_PREFIX, "SELECT n,id,user FROM jobs WHERE id>=?1 AND id<=?2 AND input IS NOT NULL ORDER BY id")  \
    X(OPEN_BEFORE, "SELECT n,state FROM open_jobs WHERE n<?2 ORDER BY n DESC")                                 \
    X(JOBS_COUNT, "SELECT coalesce(max(n),0) FROM jobs")                                                       \
    X(OPEN_COUNT, "SELECT count(*) FROM open_jobs")                                                            \
    X(OPEN_ADD, "INSERT INTO open_jobs(n,state) VALUES(?1,?2)")                                                \
    X(OPEN_SET, "UPDATE open_jobs SET state=?2,wake_at_ms=?3 WHERE n=?1")                                      \
    X(OPEN_GET, "SELECT state,wake_at_ms FROM open_jobs WHERE n=?1")                                           \
    X(OPEN_REMOVE, "DELETE FROM open_jobs WHERE n=?1")                                                         \
    X(OPEN_PAGE, "SELECT j.n,j.id,u.name,j.tenant,s.id,j.priority,j.not_before_ms,j.deadline_ms,"              \
                 "j.concurrency,j.pool,w.hash,j.history,length(j.input),o.state,o.wake_at_ms,"                 \
                 "j.user,coalesce(j.session,0) "                                                               \
                 "FROM open_jobs o JOIN jobs j ON j.n=o.n JOIN users u ON u.key=j.user "                       \
                 "LEFT JOIN sessions s ON s.key=j.session JOIN workflows w ON w.key=j.workflow "               \
                 "WHERE o.n>?1 AND (NOT ?2 OR o.state=5 OR EXISTS(SELECT 1 FROM inbox i WHERE i.n=o.n AND "    \
                 "i.kind='cancel')) ORDER BY o.n")                                                             \
    X(END_ADD, "INSERT INTO ends(n,state,at_ms,event) VALUES(?1,?2,?3,?4)")                                    \
    X(END_GET, "SELECT state,at_ms,event FROM ends WHERE n=?1")                                                \
    X(END_FORGET, "UPDATE ends SET event=NULL WHERE n=?1 AND event IS NOT NULL")                               \
    X(SECRETS_ADD, "INSERT INTO job_secrets(n,secrets) VALUES(?1,?2)")                                         \
    X(SECRETS_GET, "SELECT secrets FROM job_secrets WHERE n=?1")                                               \
    X(SECRETS_REMOVE, "DELETE FROM job_secrets WHERE n=?1")                                                    \
    /* events */                                                                                               \
    X(EVENT_ADD, "INSERT INTO events(n,seq,token,kind,crc,body) VALUES(?1,?2,?3,?4,?5,?6)")                    \
    X(EVENT_LAST, "SELECT seq,token FROM events WHERE n=?1 ORDER BY seq DESC LIMIT 1")                         \
    X(EVENT_GET, "SELECT token,body FROM events WHERE n=?1 AND seq=?2")                                        \
    X(EVENT_BODY, "SELECT body FROM events WHERE e=?1")                                                        \
    X(EVENT_SET, "UPDATE events SET body=?2,crc=?3 WHERE e=?1")                                                \
    X(EVENTS_AFTER, "SELECT seq,kind,body FROM events WHERE n=?1 AND seq>?2 ORDER BY seq")                     \
    X(EVENTS_ALL, "SELECT e,kind,body FROM events WHERE n=?1 ORDER BY seq")                                    \
    X(EVENTS_KINDS, "SELECT e,seq,token,kind FROM events WHERE n=?1 ORDER BY seq")                             \
    X(EVENTS_RANGE, "SELECT coalesce(min(seq),0),coalesce(max(seq),0) FROM events WHERE n=?1")                 \
    X(EVENTS_LAST_COPIED,                                                                                      \
      "SELECT coalesce(max(seq),0) FROM events WHERE n=?1 AND seq<=?2 AND kind NOT IN(" SQL_KINDS_OF_ATTEMPTS  \
      ",6)")                                                                                                   \
    X(EVENTS_COPY,                                                                                             \
      "INSERT INTO events(n,seq,token,kind,crc,body) SELECT ?3,row_number() OVER (ORDER BY "                   \
      "seq),0,kind,crc,body "                                                                                  \
      "FROM events WHERE n=?1 AND seq<=?2 AND kind NOT IN(" SQL_KINDS_OF_ATTEMPTS ") ORDER BY seq")            \
    X(EVENTS_REMOVE, "DELETE FROM events WHERE n=?1 AND seq<?2")                                               \
    /* inbox */                                                                                                \
    X(INBOX_LAST, "SELECT coalesce(max(k),0) FROM inbox WHERE n=?1")                                           \
    X(INBOX_SIZE,                                                                                              \
      "SELECT coalesce(max(k),0),coalesce(sum(length(CAST(text AS BLOB))),0) FROM inbox WHERE n=?1")           \
    X(INBOX_BY_ID, "SELECT k,kind,ask,text FROM inbox WHERE n=?1 AND id=?2")                                   \
    X(INBOX_OF_ID, "SELECT i.n,i.k,j.id,i.text,j.user FROM inbox i JOIN jobs j ON j.n=i.n WHERE i.id=?1 AND "  \
                   "i.kind='input' LIMIT 1")                                                                   \
    X(INBOX_ADD, "INSERT INTO inbox(n,k,id,kind,ask,text,at_ms) VALUES(?1,?2,?3,?4,?5,?6,?7)")                 \
    X(INBOX_ALL, "SELECT k,kind,ask,text FROM inbox WHERE n=?1 ORDER BY k")                                    \
    X(INBOX_CANCEL, "SELECT 1 FROM inbox WHERE n=?1 AND kind='cancel' LIMIT 1")                                \
    X(INBOX_PAUSE,                                                                                             \
      "SELECT kind='pause' FROM inbox WHERE n=?1 AND kind IN('pause','resume') ORDER BY k DESC LIMIT 1")       \
    X(INBOX_REMOVE, "DELETE FROM inbox WHERE n=?1")                                                            \
    /* sessions */                                                                                             \
    X(SESSION_KEY, "SELECT key FROM sessions WHERE user=?1 AND id=?2")                                         \
    X(SESSION_ID, "SELECT s.id,u.name FROM sessions s JOIN users u ON u.key=s.user WHERE s.key=?1")            \
    X(SESSION_ADD, "INSERT INTO sessions(key,user,id,created_ms,workflow) VALUES(?1,?2,?3,?4,?5)")             \
    X(SESSION_CREATED, "UPDATE sessions SET created_ms=?2 WHERE key=?1")                                       \
    X(SESSION_NAME,                                                                                            \
      "UPDATE sessions SET name=coalesce(?2,name),description=coalesce(?3,description) WHERE key=?1")          \
    X(SESSION_FLOW, "UPDATE sessions SET flow_config=?2 WHERE key=?1")                                         \
    X(SESSION_REMOVE, "DELETE FROM sessions WHERE key=?1")                                                     \
    X(SESSION_RECORD, "SELECT " SQL_SESSION_COLUMNS "WHERE s.key=?1")                                          \
    X(SESSIONS_OF_USER, "SELECT " SQL_SESSION_COLUMNS "WHERE s.user=?1 AND s.key>?2 ORDER BY s.key")           \
    /* messages */                                                                                             \
    X(MESSAGE_ADD, "INSERT INTO messages(session,pos,deleted,body) VALUES(?1,?2,0,?3)")                        \
    X(MESSAGE_GET, "SELECT deleted,body FROM messages WHERE session=?1 AND pos=?2")                            \
    X(MESSAGE_LAST, "SELECT coalesce(max(pos),0) FROM messages WHERE session=?1")                              \
    X(MESSAGE_ANY, "SELECT 1 FROM messages WHERE session=?1 AND deleted=0 LIMIT 1")                            \
    X(MESSAGE_HIDE, "UPDATE messages SET deleted=1,body=NULL WHERE session=?1 AND pos=?2")                     \
    X(MESSAGE_REMOVE, "DELETE FROM messages WHERE session=?1 AND pos=?2")                                      \
    X(MESSAGES_AFTER, "SELECT pos,body FROM messages WHERE session=?1 AND pos>?2 AND deleted=0 ORDER BY pos")  \
    X(MESSAGES_BEFORE,                                                                                         \
      "SELECT pos,body FROM messages WHERE session=?1 AND pos<?2 AND deleted=0 ORDER BY pos DESC")             \
    X(MESSAGES_ALL, "SELECT pos,deleted,body FROM messages WHERE session=?1 AND pos>?2 ORDER BY pos LIMIT 1")  \
    X(MESSAGE_ID_ADD, "INSERT INTO message_ids(user,id,session,pos) VALUES(?1,?2,?3,?4)")                      \
    X(MESSAGE_ID_GET, "SELECT session,pos FROM message_ids WHERE user=?1 AND id=?2")                           \
    X(MESSAGE_ID_REMOVE, "DELETE FROM message_ids WHERE user=?1 AND id=?2")                                    \
    /* search */                                                                                               \
    X(UNINDEXED_ADD, "INSERT OR IGNORE INTO unindexed(pos,session) VALUES(?1,?2)")                             \
    X(UNINDEXED_REMOVE, "DELETE FROM unindexed WHERE pos=?1 AND session=?2")                                   \
    X(UNINDEXED_FIRST, "SELECT pos,session FROM unindexed LIMIT 1")                                            \
    X(UNINDEXED_COUNT, "SELECT count(*) FROM unindexed")                                                       \
    X(UNINDEXED_OF_USER, "SELECT EXISTS(SELECT 1 FROM (SELECT session FROM unindexed LIMIT ?2) n "             \
                         "JOIN sessions s ON s.key=n.session WHERE s.user=?1)")                                \
    X(DOC_ADD, "INSERT INTO message_docs(session,pos) VALUES(?1,?2)")                                          \
    X(DOC_GET, "SELECT doc FROM message_docs WHERE session=?1 AND pos=?2")                                     \
    X(DOC_REMOVE, "DELETE FROM message_docs WHERE doc=?1")                                                     \
    X(WORDS_ADD, "INSERT INTO message_words(rowid,place,text) VALUES(?1,?2,?3)")                               \
    X(WORDS_REMOVE, "INSERT INTO message_words(message_words,rowid,place,text) VALUES('delete',?1,?2,?3)")     \
    X(WORDS_MERGE, "INSERT INTO message_words(message_words,rank) VALUES('merge',?1)")                         \
    X(WORDS_FIND,                                                                                              \
      "SELECT d.session,d.pos,hits(message_words) FROM message_words JOIN message_docs d ON "                  \
      "d.doc=message_words.rowid WHERE message_words MATCH ?1 ORDER BY message_words.rowid DESC LIMIT ?2")     \
    X(WORDS_FIND_SESSIONS,                                                                                     \
      "SELECT d.session FROM message_words JOIN message_docs d ON d.doc=message_words.rowid "                  \
      "WHERE message_words MATCH ?1 ORDER BY message_words.rowid DESC LIMIT ?2")                               \
    X(MESSAGES_NEXT,                                                                                           \
      "SELECT session,pos FROM messages WHERE (session,pos)>(?1,?2) AND deleted=0 ORDER BY session,pos LIMIT " \
      "1")                                                                                                     \
    X(META_PUT, "INSERT OR REPLACE INTO meta(key,value) VALUES(?1,?2)")                                        \
    X(META_REMOVE, "DELETE FROM meta WHERE key=?1")                                                            \
    X(SESSION_USER, "SELECT user,name FROM sessions WHERE key=?1")                                             \
    /* files */                                                                                                \
    X(FILE_GET, "SELECT data FROM files WHERE n=?1 AND hash=?2 AND at=?3")                                     \
    X(FILE_PIECES, "SELECT data FROM files WHERE n=?1 AND hash=?2 ORDER BY at")                                \
    X(FILE_BYTES, "SELECT coalesce(sum(length(data)),0) FROM files WHERE n=?1 AND hash=?2")                    \
    X(FILE_ADD, "INSERT INTO files(n,hash,at,data) VALUES(?1,?2,?3,?4)")                                       \
    X(FILES_OF_JOB, "SELECT bytes,pieces FROM job_files WHERE n=?1")                                           \
    X(FILES_COUNT, "INSERT INTO job_files(n,bytes,pieces) VALUES(?1,?2,1) ON CONFLICT(n) DO UPDATE SET "       \
                   "bytes=bytes+?2,pieces=pieces+1")                                                           \
    X(FILES_COPY, "INSERT INTO files(n,hash,at,data) SELECT ?2,hash,at,data FROM files WHERE n=?1")            \
    X(FILES_COPY_COUNT,                                                                                        \
      "INSERT INTO job_files(n,bytes,pieces) SELECT ?2,bytes,pieces FROM job_files WHERE n=?1")                \
    X(FILES_REMOVE, "DELETE FROM files WHERE n=?1")                                                            \
    X(FILES_UNCOUNT, "DELETE FROM job_files WHERE n=?1")                                                       \
    X(EVENTS_OF_KINDS, "SELECT body FROM events WHERE n=?1 AND kind IN (?2,?3) ORDER BY seq DESC")             \
    /* retention */                                                                                            \
    X(ENDED_AFTER, "SELECT j.n,j.id,j.session,e.event,coalesce(i.at_ms,e.at_ms),"                              \
                   "coalesce(i.at_ms,j.created_ms) FROM ends e JOIN jobs j ON j.n=e.n "                        \
                   "LEFT JOIN imports i ON i.n=e.n WHERE e.n>?1 ORDER BY e.n LIMIT 1")                         \
    X(EVENTS_PURGE,                                                                                            \
      "DELETE FROM events WHERE e IN (SELECT e FROM events WHERE n=?1 AND e IS NOT ?2 ORDER BY seq LIMIT 64)") \
    X(EVENT_REMOVE, "DELETE FROM events WHERE e=?1")                                                           \
    X(END_REMOVE, "DELETE FROM ends WHERE n=?1")                                                               \
    X(JOB_FORGET, "UPDATE jobs SET input=NULL WHERE n=?1 AND input IS NOT NULL")                               \
    X(IMPORT_ADD, "INSERT INTO imports(n,at_ms) VALUES(?1,?2)")                                                \
    X(IMPORT_GET, "SELECT 1 FROM imports WHERE n=?1")                                                          \
    X(IMPORT_REMOVE, "DELETE FROM imports WHERE n=?1")                                                         \
    X(JOB_REMOVE, "DELETE FROM jobs WHERE n=?1")                                                               \
    X(JOBS_WORKFLOWS, "SELECT n,workflow FROM jobs WHERE n>?1 ORDER BY n")                                     \
    X(SESSIONS_WORKFLOWS, "SELECT key,coalesce(workflow,0) FROM sessions WHERE key>?1 ORDER BY key")           \
    X(WORKFLOW_REMOVE, "DELETE FROM workflows WHERE key=?1")                                                   \
    X(SAVED_WORKFLOWS, "SELECT key,workflow FROM saved_workflows WHERE key>?1 ORDER BY key")                   \
    /* gallery */                                                                                              \
    X(GALLERY_ADD, "INSERT INTO gallery(id,user,created_ms,name,description,session,messages,tags,words) "     \
                   "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)")                                                       \
    X(GALLERY_GET, "SELECT " SQL_GALLERY_COLUMNS "WHERE g.id=?1")                                              \
    X(GALLERY_AFTER, "SELECT " SQL_GALLERY_COLUMNS "WHERE g.key>?1 ORDER BY g.key")                            \
    X(GALLERY_NAME,                                                                                            \
      "UPDATE gallery SET name=coalesce(?2,name),description=coalesce(?3,description) WHERE id=?1")            \
    X(GALLERY_TAGS, "SELECT tags,count(*) FROM gallery WHERE ?1 IS NULL OR user=?1 GROUP BY user,tags")        \
    X(GALLERY_REMOVE, "DELETE FROM gallery WHERE id=?1")                                                       \
    /* workflows by name */                                                                                    \
    X(SAVED_ADD, "INSERT INTO saved_workflows(user,name,version,workflow,id,description,created_ms) "          \
                 "VALUES(?1,?2,?3,?4,?5,?6,?7)")                                                               \
    X(SAVED_LAST, "SELECT " SQL_SAVED_COLUMNS "WHERE v.user=?1 AND v.name=?2 ORDER BY v.version DESC")         \
    X(SAVED_GET, "SELECT " SQL_SAVED_COLUMNS "WHERE v.user=?1 AND v.name=?2 AND v.version=?3")                 \
    X(SAVED_BY_ID, "SELECT " SQL_SAVED_COLUMNS "WHERE v.user=?1 AND v.name=?2 AND v.id=?3")                    \
    X(SAVED_BEFORE,                                                                                            \
      "SELECT " SQL_SAVED_COLUMNS "WHERE v.user=?1 AND v.name=?2 AND v.version<?3 ORDER BY v.version DESC")    \
    X(SAVED_AFTER, "SELECT " SQL_SAVED_COLUMNS "WHERE v.user=?1 AND v.name>?2 AND v.version="                  \
                   "(SELECT max(version) FROM saved_workflows m WHERE m.user=v.user AND m.name=v.name) "       \
                   "ORDER BY v.name")                                                                          \
    X(SAVED_REMOVE, "DELETE FROM saved_workflows WHERE user=?1 AND name=?2")                                   \
    /* skills */                                                                                               \
    X(SKILL_ADD, "INSERT INTO skills(user,id,name,version,title,description,file_name,language,parameters,"    \
                 "idempotent,timeout_s,hash,created_ms,content) "                                              \
                 "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)")                                     \
    X(SKILL_LAST, "SELECT " SQL_SKILL_COLUMNS "WHERE k.user=?1 AND k.name=?2 ORDER BY k.version DESC")         \
    X(SKILL_GET, "SELECT " SQL_SKILL_COLUMNS "WHERE k.user=?1 AND k.name=?2 AND k.version=?3")                 \
    X(SKILL_BY_ID, "SELECT " SQL_SKILL_COLUMNS "WHERE k.user=?1 AND k.id=?2")                                  \
    X(SKILL_BEFORE,                                                                                            \
      "SELECT " SQL_SKILL_COLUMNS "WHERE k.user=?1 AND k.name=?2 AND k.version<?3 ORDER BY k.version DESC")    \
    X(SKILLS_AFTER, "SELECT " SQL_SKILL_COLUMNS "WHERE k.user=?1 AND k.name>?2 AND k.version="                 \
                    "(SELECT max(version) FROM skills m WHERE m.user=k.user AND m.name=k.name) ORDER BY "      \
                    "k.name")                                                                                  \
    X(SKILLS_COUNT, "SELECT count(*) FROM skills WHERE user=?1")                                               \
    X(SKILL_REMOVE, "DELETE FROM skills WHERE user=?1 AND name=?2")                                            \
    X(JOB_USER, "SELECT u.key,u.name FROM jobs j JOIN users u ON u.key=j.user WHERE j.n=?1")                   \
    /* what was deleted last */                                                                                \
    X(GONE_ADD, "INSERT OR REPLACE INTO gone(user,kind,id,session) VALUES(?1,?2,?3,?4)")                       \
    X(GONE_TRIM, "DELETE FROM gone WHERE key<=?1")                                                             \
    X(GONE_GET, "SELECT session FROM gone WHERE user=?1 AND kind=?2 AND id=?3")                                \
    /* prices */                                                                                               \
    X(PRICE_PUT,                                                                                               \
      "INSERT INTO prices(model,provider,from_ms,input,cached_input,output,reasoning,source,note) "            \
      "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT(model,provider,from_ms) DO UPDATE SET input=?4,"         \
      "cached_input=?5,output=?6,reasoning=?7,source=?8,note=?9")                                              \
    X(PRICES, "SELECT model,provider,from_ms,input,cached_input,output,reasoning,source,note FROM prices "     \
              "ORDER BY model,provider,from_ms")                                                               \
    X(PRICES_COUNT, "SELECT count(*) FROM prices")                                                             \
    X(PRICE_REMOVE, "DELETE FROM prices WHERE model=?1 AND provider=?2 AND (?3 IS NULL OR from_ms=?3)")        \
    /* budgets */                                                                                              \
    X(BUDGETS_ANY, "SELECT EXISTS(SELECT 1 FROM budgets)")                                                     \
    X(BUDGETS_OF, "SELECT " SQL_BUDGET_COLUMNS "FROM budgets b WHERE (b.scope=1 AND b.owner=?1) OR "           \
                  "(b.scope=2 AND b.owner=?2) OR (b.scope=3 AND b.owner=?3) ORDER BY b.key")                   \
    X(BUDGET_GET, "SELECT " SQL_BUDGET_COLUMNS "FROM budgets b WHERE b.key=?1")                                \
    X(BUDGET_KEY, "SELECT key FROM budgets WHERE scope=?1 AND owner=?2 AND unit=?3 AND period=?4")             \
    X(BUDGET_PUT, "INSERT INTO budgets(scope,owner,unit,period,cap,settled,start_ms,over,overs) "              \
                  "VALUES(?1,?2,?3,?4,?5,0,?6,0,0) ON CONFLICT(scope,owner,unit,period) DO UPDATE SET cap=?5") \
    X(BUDGET_CHARGE,                                                                                           \
      "UPDATE budgets SET settled=?2,start_ms=?3,over=min(over+?4,1<<62),overs=overs+?5 WHERE key=?1")         \
    X(BUDGET_LIFT, "UPDATE budgets SET cap=0x7fffffffffffffff,settled=0 WHERE key=?1")                         \
    X(BUDGET_DROP, "DELETE FROM budgets WHERE key=?1")                                                         \
    X(BUDGETS_OF_USER, "SELECT " SQL_BUDGET_COLUMNS SQL_BUDGET_SHOWN "u.name FROM budgets b JOIN users u ON "  \
                       "u.key=b.owner WHERE b.scope=1 AND b.owner=?1")                                         \
    X(BUDGETS_OF_SESSIONS,                                                                                     \
      "SELECT " SQL_BUDGET_COLUMNS SQL_BUDGET_SHOWN "s.id FROM sessions s JOIN budgets b ON "                  \
      "b.scope=2 AND b.owner=s.key WHERE s.user=?1")                                                           \
    X(BUDGETS_OF_SESSION,                                                                                      \
      "SELECT " SQL_BUDGET_COLUMNS SQL_BUDGET_SHOWN "s.id FROM budgets b JOIN sessions s ON "                  \
      "s.key=b.owner WHERE b.scope=2 AND b.owner=?1")                                                          \
    X(BUDGETS_OF_JOBS,                                                                                         \
      "SELECT " SQL_BUDGET_COLUMNS SQL_BUDGET_SHOWN "NULL,j.id FROM open_jobs o JOIN jobs j ON "               \
      "j.n=o.n JOIN budgets b ON b.scope=3 AND b.owner=j.n WHERE j.user=?1 ORDER BY j.n")                      \
    X(BUDGETS_OF_JOB, "SELECT " SQL_BUDGET_COLUMNS SQL_BUDGET_SHOWN "NULL,j.id FROM budgets b JOIN jobs j ON " \
                      "j.n=b.owner WHERE b.scope=3 AND b.owner=?1")                                            \
    X(USER_NAME, "SELECT name FROM users WHERE key=?1")                                                        \
    X(HELD, "SELECT coalesce(sum(amount),0) FROM holds WHERE budget=?1 AND NOT (n=?2 AND step=?3)")            \
    X(HOLD_PUT, "INSERT OR REPLACE INTO holds(budget,n,step,amount) VALUES(?1,?2,?3,?4)")                      \
    X(HOLD_GET, "SELECT amount FROM holds WHERE budget=?1 AND n=?2 AND step=?3")                               \
    X(HOLDS_REMOVE_STEP, "DELETE FROM holds WHERE n=?1 AND step=?2")                                           \
    X(HOLDS_REMOVE, "DELETE FROM holds WHERE n=?1")                                                            \
    X(HOLDS_DROP, "DELETE FROM holds WHERE budget=?1")                                                         \
    X(WAITER_PUT, "INSERT OR REPLACE INTO budget_waiters(n,budget,need) VALUES(?1,?2,?3)")                     \
    X(WAITER_REMOVE, "DELETE FROM budget_waiters WHERE n=?1")                                                  \
    X(WAITERS_LEAST, "SELECT need FROM budget_waiters WHERE budget=?1 ORDER BY need LIMIT 1")                  \
    X(WAITERS_BY_AGE, "SELECT n,need FROM budget_waiters WHERE budget=?1 ORDER BY n")                          \
    X(WAITERS_BY_NEED, "SELECT n,need FROM budget_waiters WHERE budget=?1 ORDER BY need,n")                    \
    X(BUDGETS_FORGET_JOB, "DELETE FROM budgets WHERE scope=3 AND owner=?1")                                    \
    X(WORKFLOW_BUDGETS_ANY, "SELECT EXISTS(SELECT 1 FROM workflows WHERE budget IS NOT NULL)")                 \
    X(WORKFLOW_BUDGET, "SELECT budget FROM workflows WHERE key=?1")                                            \
    /* tokens of the gateway */                                                                                \
    X(TOKEN_ADD, "INSERT INTO api_tokens(id,hash,user,name,scope,created_ms,expires_ms) "                      \
                 "VALUES(?1,?2,?3,?4,?5,?6,?7) ON CONFLICT DO NOTHING")                                        \
    X(TOKEN_BY_ID, "SELECT " SQL_TOKEN_COLUMNS "WHERE id=?1")                                                  \
    X(TOKEN_BY_HASH, "SELECT " SQL_TOKEN_COLUMNS "WHERE hash=?1")                                              \
    X(TOKENS_AFTER, "SELECT " SQL_TOKEN_COLUMNS "WHERE key>?1 AND (?2 IS NULL OR user=?2) ORDER BY key")       \
    X(TOKENS_COUNT, "SELECT count(*) FROM api_tokens")                                                         \
    X(TOKEN_REVOKE, "UPDATE api_tokens SET revoked_ms=?2 WHERE id=?1 AND revoked_ms IS NULL")                  \
    X(TOKEN_USED, "UPDATE api_tokens SET used_ms=?2 WHERE id=?1")                                              \
    X(TOKENS_TRIM, "DELETE FROM api_tokens WHERE revoked_ms<?1 OR expires_ms<?1")                              \
    /* usage */                                                                                                \
    X(USAGE_ADD,                                                                                               \
      "INSERT INTO usage(scope,owner,day,agent,model,calls,cached_calls,prompt,completion,cached,reasoning,"   \
      "cost,unpriced,model_ms,jobs) SELECT ?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15 "                \
      "WHERE ?1=1 OR EXISTS(SELECT 1 FROM sessions WHERE key=?2) ON CONFLICT DO UPDATE SET calls=calls+?6,"    \
      "cached_calls=cached_calls+?7,prompt=prompt+?8,completion=completion+?9,cached=cached+?10,"              \
      "reasoning=reasoning+?11,cost=cost+?12,unpriced=unpriced+?13,model_ms=model_ms+?14,jobs=jobs+?15")       \
    X(QUEUE_PUT, "INSERT OR REPLACE INTO queues(pool,of,state,by,reason,at_ms) VALUES(?1,?2,?3,?4,?5,?6)")     \
    X(QUEUE_REMOVE, "DELETE FROM queues WHERE pool=?1 AND of=?2")                                              \
    X(QUEUES, "SELECT pool,nullif(of,''),state,by,reason,at_ms FROM queues ORDER BY pool,of")                  \
    X(QUEUES_COUNT, "SELECT count(*) FROM queues")                                                             \
    X(DRAINS_ANY, "SELECT EXISTS(SELECT 1 FROM queues WHERE state=2)")                                         \
    X(DRAIN_OF, "SELECT of,reason FROM queues WHERE state=2 AND pool IN (?1,'*') AND of IN (?2,'')")           \
    X(USAGE_FORGET, "DELETE FROM usage WHERE scope=2 AND owner=?1")                                            \
    X(USAGE_OF_USERS, SQL_USAGE_SUMS("u.name", "''") "JOIN users u ON u.key=g.owner WHERE g.scope=1 AND "      \
                                                     "g.owner BETWEEN ?2 AND ?3 " SQL_USAGE_WHERE)             \
    X(USAGE_OF_SESSIONS,                                                                                       \
      SQL_USAGE_SUMS("''", "s.id") "JOIN sessions s ON s.key=g.owner WHERE g.scope=2 AND s.user BETWEEN ?2 "   \
                                   "AND ?3 AND (?10 IS NULL OR g.owner=?10) " SQL_USAGE_WHERE)

enum sql_id {
#define X(name, text) SQL_##name,
    SQL_STATEMENTS(X)
#undef X
        SQL_N
};

#endif
