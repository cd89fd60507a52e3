/* Inside of the SQLite back end: one connection, its statements, and what the writer keeps in memory.
 *
 * Bound views are borrowed until the statement is stepped; column views until the statement is used again or the
 * operation returns. db_row and db_run fail only when the database does: the transaction is broken then.
 */
#ifndef STORAGE_SQLITE_DB_H
#define STORAGE_SQLITE_DB_H

#include <jansson.h>
#include <sqlite3.h>

#include "storage/sqlite/heads.h"
#include "storage/sqlite/sql.h"
#include "storage/store.h"

/* Codes in the file: never renumbered. */
enum {
    OPEN_READY = 0,
    OPEN_WAITING = 1, /* for a person */
    OPEN_RETRY = 2,
    OPEN_TIMER = 3,
    OPEN_BUDGET = 4, /* waiting for room in one */
    OPEN_WOKEN = 5,  /* by storage itself: ready */
    OPEN_STATES_N
};
static inline bool open_waits(uint8_t state)
{
    return state == OPEN_WAITING || state == OPEN_TIMER || state == OPEN_BUDGET;
}
enum { END_NONE, END_SUCCEEDED, END_FAILED, END_CANCELLED, END_EXPIRED, END_DEAD, END_N };
extern const char *const end_names[END_N]; /* [END_NONE] = "" */
int end_of(struct ab_view name);           /* END_NONE if it is no end state */

/* A message's place in its session: the job's commit number, then 0 = its question, 1 = its answer, and from 2 on
 * messages that were saved after that job was accepted. */
enum { POS_BITS = 24, POS_QUESTION = 0, POS_ANSWER = 1, POS_SAVED = 2 };
static inline int64_t pos_of(uint64_t n, unsigned sub)
{
    return (int64_t)(n << POS_BITS | sub);
}
static inline uint64_t pos_n(int64_t pos)
{
    return (uint64_t)pos >> POS_BITS;
}
static inline unsigned pos_sub(int64_t pos)
{
    return (unsigned)(pos & ((1 << POS_BITS) - 1));
}

enum { NAME_CACHE_MAX = 4096 };
/* name → key, for users and workflows; direct-mapped, forgotten on rollback */
struct name_cache {
    struct {
        int64_t key; /* 0 = empty */
        uint8_t n;
        char name[AB_USER_MAX];
    } slots[NAME_CACHE_MAX];
};

enum { SEARCH_PLACE_MAX = 48 };

struct checkpointer;
struct feeder;
struct purge;
struct usage;
struct words;

struct db {
    struct store store;
    sqlite3 *handle;
    sqlite3_stmt *statements[SQL_N];
    uint8_t used[SQL_N], used_n; /* to be reset at the operation's end */
    bool in_use[SQL_N];
    bool writer;
    char *path;
    int64_t retention_ms;

    int64_t now_ms;        /* of the operation */
    struct ab_buf *faults; /* of the operation */
    uint64_t *progress;    /* of the operation, over all its steps */
    int64_t step_us;       /* monotonic: an operation that is not done by then gives STORE_MORE */
    int rc;                /* SQLite's code that broke the transaction */
    struct words *words;   /* what searching needs of the connection */

    /* ---- the writer's ---- */
    struct heads heads;
    struct name_cache *users, *workflows;
    uint64_t n_last, session_next, epoch;
    struct ab_id id_last;  /* no job and no row of an inbox that was there at the start has a greater one */
    struct ab_id epoch_id; /* of the broker that has it */
    int budgets_any, workflow_budgets_any, drains_any; /* 0, 1; -1: not known */
    uint32_t budget_version;                           /* grows when limits change; from 1 */
    struct store_notice *notices;
    size_t notices_n, notices_cap;
    uint64_t commits, operations;
    struct ab_buf scratch;
    struct checkpointer *checkpointer;
    struct purge *purge;
    struct usage *usage;
    struct feeder *feeder;
    uint64_t wal_asked; /* size of the log when a checkpoint was last asked for */
    /* Written by the writer, read by readers for storage_status. */
    struct db_shared *shared;
};

struct db_shared {
    _Atomic uint64_t commits, operations, commit_us, wal_bytes;
    _Atomic int broken_rc; /* SQLite's code of the last failed write; 0 = writable */
};

/* A job with this id was added: whoever asks for a greater one need not look. */
/* Nothing can have this id yet if it is greater than all before. */
static inline bool id_old(const struct db *db, struct ab_id id)
{
    return memcmp(id.b, db->id_last.b, AB_ID_BYTES) <= 0;
}
static inline void id_note(struct db *db, struct ab_id id)
{
    if (memcmp(id.b, db->id_last.b, AB_ID_BYTES) > 0)
        db->id_last = id;
}

/* ---- connection (db.c) ---- */
int db_connect(struct db *db, const char *path, struct ab_error *err);
int db_prepare(struct db *db, struct ab_error *err);
void db_disconnect(struct db *db);
/* Runs SQL text that answers nothing. */
int db_exec(struct db *db, const char *text, struct ab_error *err);
/* One integer of SQL text; `otherwise` if it has no row. */
int64_t db_number(struct db *db, const char *text, int64_t otherwise);
/* Translates a SQLite code; fills err with what was being done. */
int db_fail(sqlite3 *handle, int rc, const char *doing, struct ab_error *err);

/* The writer's transaction; it ends with store_ops.commit or rollback. */
int db_begin(struct db *db, int64_t now_ms, struct ab_error *err);

/* ---- statements ---- */
sqlite3_stmt *db_sql(struct db *db, enum sql_id id);                      /* reset, nothing bound */
int db_row(struct db *db, sqlite3_stmt *statement, struct ab_error *err); /* 1 a row, 0 no more, <0 broken */
int db_run(struct db *db, sqlite3_stmt *statement, struct ab_error *err); /* to its end; 0 or <0 */
void db_release(struct db *db);         /* resets all that the operation used */
bool db_step_over(const struct db *db); /* the operation gives STORE_MORE, if there is more */

static inline void bind_int(sqlite3_stmt *s, int at, int64_t value)
{
    sqlite3_bind_int64(s, at, value);
}
/* 0 is stored as NULL, which costs no byte */
static inline void bind_opt(sqlite3_stmt *s, int at, int64_t value)
{
    if (value)
        sqlite3_bind_int64(s, at, value);
    else
        sqlite3_bind_null(s, at);
}
static inline void bind_blob(sqlite3_stmt *s, int at, struct ab_view v)
{
    if (v.p)
        sqlite3_bind_blob64(s, at, v.p, v.n, SQLITE_STATIC);
    else
        sqlite3_bind_null(s, at);
}
static inline void bind_text(sqlite3_stmt *s, int at, struct ab_view v)
{
    if (v.p)
        sqlite3_bind_text64(s, at, v.p, v.n, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_null(s, at);
}
static inline void bind_id(sqlite3_stmt *s, int at, const struct ab_id *id)
{
    sqlite3_bind_blob(s, at, id->b, AB_ID_BYTES, SQLITE_STATIC);
}
static inline int64_t col_int(sqlite3_stmt *s, int at)
{
    return sqlite3_column_int64(s, at);
}
static inline bool col_null(sqlite3_stmt *s, int at)
{
    return sqlite3_column_type(s, at) == SQLITE_NULL;
}
static inline struct ab_view col_blob(sqlite3_stmt *s, int at)
{
    if (col_null(s, at))
        return (struct ab_view){0};
    const void *p = sqlite3_column_blob(s, at);
    return ab_view(p ? p : "", (size_t)sqlite3_column_bytes(s, at));
}
static inline struct ab_view col_text(sqlite3_stmt *s, int at)
{
    return col_blob(s, at); /* the bytes of a text are its UTF-8 */
}
static inline struct ab_id col_id(sqlite3_stmt *s, int at)
{
    struct ab_id id = {{0}};
    if (sqlite3_column_bytes(s, at) == AB_ID_BYTES)
        memcpy(id.b, sqlite3_column_blob(s, at), AB_ID_BYTES);
    return id;
}

/* ---- lists in answers ---- */
enum { LIST_HEAD = 5 }; /* bytes of the array's header */
struct list {
    struct ab_buf buf; /* begins with room for that */
    uint32_t n;
};
void list_init(struct list *list);
struct ab_view list_done(struct list *list); /* the msgpack array; valid until finish */
void list_finish(struct list *list);
static inline bool list_full(const struct list *list)
{
    return list->buf.n > STORE_PAGE_BYTES;
}

/* ---- keys (keys.c) ---- */
/* Key of a user; 0 if unknown and not made. <0 on failure. */
int64_t user_find(struct db *db, struct ab_view name, struct ab_error *err);
int64_t user_make(struct db *db, struct ab_view name, struct ab_error *err);
int64_t session_find(struct db *db, int64_t user, struct ab_view id, struct ab_error *err);
int64_t session_make(struct db *db, int64_t user, struct ab_view id, int64_t workflow, struct ab_error *err);
/* As session_find, but not_found is an error; a user who is unknown has no sessions. */
int64_t session_require(struct db *db, struct ab_view user, struct ab_view id, struct ab_error *err);
/* Key of a workflow; a new one is validated and added if text is given. In it are put the stored workflows of this user that it
 * names, which gives it another hash; user {NULL,0}: it must name none. */
int64_t workflow_key(struct db *db, struct ab_view hash, struct ab_view text, struct ab_view user,
                     struct ab_error *err);
int workflow_is_stored(struct db *db, struct ab_view hash, struct ab_error *err); /* 1, 0 or a failure */
/* library.c: one of a user's by its name: an ab_stored_fn, whose context is this. */
struct saved_names {
    struct db *db;
    struct ab_view user;
};
int workflow_named(void *context, struct ab_view name, uint64_t *version, json_t **out, struct ab_error *err);
/* A cursor that an answer gave; 0 if absent. */
int cursor_read(struct ab_view text, int64_t *cursor, struct ab_error *err);
uint64_t limit_of(uint64_t asked);

/* ---- migrations (migrations.c) ---- */
struct migration {
    const char *text;
};
extern const struct migration migrations[];
extern const unsigned migrations_n;      /* = the schema version of this program */
enum { DB_APPLICATION_ID = 0x6175626f }; /* "aubo" in the file's header */
/* Brings the open database to version n; an existing one of an older version is copied first. */
int db_migrate(struct db *db, const struct migration *list, unsigned n, struct ab_error *err);
/* The tables and columns are those that the migrations make. */
int db_check_schema(struct db *db, struct ab_error *err);

/* ---- the checkpointer (checkpoint.c) ---- */
int checkpointer_create(const char *path, struct checkpointer **out, struct ab_error *err);
void checkpointer_destroy(struct checkpointer *c);
/* Asks for a checkpoint beside the writer. */
void checkpointer_wake(struct checkpointer *c);
/* Until it rests. SQLite does not wait for another connection's checkpoint by itself. */
void checkpointer_wait(struct checkpointer *c);
/* SQLite's code of a failed sync, or 0. */
int checkpointer_failed(struct checkpointer *c);

/* ---- retention (purge.c) ---- */
struct purge *purge_create(void);
void purge_destroy(struct purge *purge);
/* Does a slice of what there is to do. 1: there is more. Negative: a sync failed. */
int purge_slice(struct db *db, int64_t now_ms, bool idle, struct ab_error *err);
/* A request names this workflow now: it is in use, whatever was counted before. */
void purge_used(struct purge *purge, int64_t workflow);

uint32_t crc32c(struct ab_view bytes);

/* ---- operations ---- */
/* 0, a negative code, or STORE_MORE. */
typedef int op_fn(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err);
op_fn op_epoch, op_submit, op_append, op_inbox, op_open_jobs, op_load, op_journal, op_workflow, op_history,
    op_get_job, op_list_jobs, op_load_messages, op_save_message, op_delete_message, op_get_sessions,
    op_create_session, op_delete_user_sessions, op_publish_session, op_get_gallery, op_rename_session,
    op_clear_session, op_rename_gallery, op_delete_gallery, op_import_gallery, op_storage_status,
    op_save_workflow, op_list_workflows, op_get_workflow, op_delete_workflow, op_set_prices, op_list_prices,
    op_delete_price, op_import_run, op_put_file, op_load_file, op_list_files, op_get_file, op_set_budget,
    op_list_budgets, op_create_token, op_list_tokens, op_revoke_token, op_check_token, op_token_used,
    op_gallery_tags, op_save_skill, op_list_skills, op_get_skill, op_delete_skill, op_load_skill, op_usage,
    op_usage_all, op_set_queue, op_put_run_file, op_search_messages, op_search_sessions, op_start_gallery;

/* ---- what was deleted last (gone.c) ---- */
enum gone_kind {
    GONE_MESSAGE = 1,
    GONE_SESSION,
    GONE_GALLERY,
    GONE_WORKFLOW,
    GONE_SKILL
}; /* in the file: never renumbered */
/* This user's thing is being deleted; session: the one it was in, or 0. */
int gone_add(struct db *db, int64_t user, enum gone_kind kind, struct ab_view id, int64_t session,
             struct ab_error *err);
/* 1: it was deleted not long ago, so that this is the same request again; 0: it never was there. session may be NULL. */
int gone_is(struct db *db, int64_t user, enum gone_kind kind, struct ab_view id, int64_t *session,
            struct ab_error *err);

/* ---- shared by operations ---- */
/* What an append must know of its job; not_found if there is no such job. */
int head_load(struct db *db, uint64_t n, struct head *head, struct ab_error *err);
/* 1 if an open job is to be paused, or is; 0 if not. */
int job_paused(struct db *db, uint64_t n, struct ab_error *err);
/* All halted queues, as queue_halt maps. */
int queues_list(struct db *db, struct list *list, struct ab_error *err);
/* AB_EUNAVAILABLE if the pool's queue takes no new jobs of this user. */
int queue_check(struct db *db, struct ab_view pool, struct ab_view user, struct ab_error *err);
/* What a submit with fork_of copies (fork.c). */
struct fork {
    uint64_t from;   /* the job's n */
    uint64_t last;   /* its last event that is copied; 0: none */
    int64_t session; /* its session's key; 0: none */
    struct ab_buf input, edited;
};
/* All that can refuse the fork; fills in what the request leaves to the other job. The views live as long as the
 * operation and the fork. */
int fork_check(struct db *db, struct ab_op_submit *r, struct fork *fork, struct ab_error *err);
/* After the job's row: its journal so far, up to *seq. */
int fork_write(struct db *db, const struct ab_op_submit *r, uint64_t n, int64_t session,
               const struct fork *fork, uint64_t *seq, struct ab_error *err);
void fork_finish(struct fork *fork);
/* A submit whose message was taken for an answer before: 1, and it is answered alike (inbox.c). */
int answered_before(struct db *db, const struct ab_op_submit *r, struct ab_buf *answer, struct ab_error *err);
/* The message is the answer to the question of job answer_to; conflict if that does not wait any more. */
int answer_take(struct db *db, const struct ab_op_submit *r, struct ab_buf *answer, struct ab_error *err);
/* Cancels the job that the new one takes the place of, if it is the user's and has not ended. */
int job_interrupt(struct db *db, const struct ab_op_submit *r, int64_t user, struct ab_error *err);
/* The open_job map of one open job, appended. */
int open_job_map(struct db *db, uint64_t n, struct ab_buf *out, struct ab_error *err);
/* A word to the broker about it, once this transaction is on disk. k: an inbox row, or 0; kind: static. */
int job_notice(struct db *db, uint64_t n, uint64_t k, const char *kind, struct ab_error *err);
/* An inbox row of storage's own; remembers the notice. */
int job_send_cancel(struct db *db, uint64_t n, const char *reason, struct ab_error *err);
/* The user's job by its id, the beginning of one, or `last`. */
int job_find(struct db *db, struct ab_view user, struct ab_view job, uint64_t *n, struct ab_error *err);
/* All contents, for a job that begins with the journal of another. */
int job_copy_files(struct db *db, uint64_t from, uint64_t to, struct ab_error *err);
int job_remove_files(struct db *db, uint64_t n, struct ab_error *err);
/* Removes what an ended job held: events before seq, input, inbox. The row stays, so that its id stays taken. */
int job_purge(struct db *db, uint64_t n, uint64_t seq, struct ab_error *err);
/* Messages of a session as a list of records, pos > after, at most limit; *next = cursor or 0. */
int messages_list(struct db *db, int64_t session, int64_t after, uint64_t limit, struct list *list,
                  int64_t *next, struct ab_error *err);
/* A page of them as the answer of an operation. session 0: none. */
int messages_answer(struct db *db, int64_t session, int64_t after, uint64_t limit, struct ab_buf *answer,
                    struct ab_error *err);
/* One message's record, appended. 1: it is shown. */
int message_record(struct db *db, int64_t session, int64_t pos, struct ab_buf *out, struct ab_error *err);
/* What the message says; body: that of its row. 1: *content is valid until the statements are used again. */
int message_content(struct db *db, int64_t pos, struct ab_view body, struct ab_view *content,
                    struct ab_error *err);
/* A row of messages. body: the whole record of a saved one, else nothing. */
int message_add(struct db *db, int64_t session, int64_t pos, struct ab_view body, struct ab_error *err);
/* It is shown no more; its row stays. */
int message_hide(struct db *db, int64_t session, int64_t pos, struct ab_error *err);
int message_history(struct db *db, int64_t session, uint64_t n, uint64_t limit, struct list *list,
                    struct ab_error *err);
/* Each word of `search` is somewhere in the texts, ignoring the case of ASCII letters (gallery.c). */
bool words_match(struct ab_view search, const struct ab_view *texts, size_t n);
/* A message's content is a text, or an array of parts: maps with a `type`. */
int content_check(struct ab_view content, struct ab_error *err);
/* The same of what models are to be sent: each part is of a known type and has what that needs. */
int content_check_parts(struct ab_view content, struct ab_error *err);
/* What came with a job as said before: an array of {role, content}, or nothing ({NULL,0}). */
int history_check(struct ab_view history, struct ab_error *err);
/* Text of job n's question or answer out of its input and events (redact.c). */
int redact_message(struct db *db, int64_t session, int64_t pos, struct ab_error *err);
/* The end event in row `event` keeps its state and reason, nothing else. */
int redact_end(struct db *db, int64_t event, struct ab_error *err);
/* The id under which clients know a message of a job: the client's own, or made of the job's id. */
enum { MSG_ID_MAX = AB_ID_TEXT + 16 };
const char *msg_id_made(struct ab_id job, unsigned sub, char text[MSG_ID_MAX]);
/* All messages of a session and what its ended jobs held; its live jobs are cancelled. With `keep` live jobs go on and
 * only their messages are hidden. The operation's progress counts messages. STORE_MORE: not all of them yet. */
int messages_remove(struct db *db, int64_t user, int64_t session, bool keep, struct ab_error *err);
/* One session as the answer of an operation. */
int session_answer(struct db *db, struct ab_view user, int64_t key, struct ab_buf *answer,
                   struct ab_error *err);
int message_check(const struct ab_message_record *m, struct ab_error *err);
/* A message that is complete but for what storage fills in; `out` gets the record as it is stored. The same again is the same. */
int message_save(struct db *db, struct ab_message_record *m, struct ab_buf *out, struct ab_error *err);
int session_record(struct db *db, struct ab_view user, sqlite3_stmt *row, struct ab_buf *out,
                   struct ab_error *err);

#endif
