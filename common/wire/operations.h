/* Every operation of the storage service (and the broker's few), once: name, number, kind, who may ask, the
 * schemas of request and answer. A client asks with QUERY(op name); the broker sends BATCH of [number, request].
 *
 * Listings are pages: `limit` (default 100, at most 1000) and `after` = the answer's `next`, absent at the end.
 * Every client operation names `user`: it sees and changes only what is that user's (gallery items are public).
 */
#ifndef AB_COMMON_WIRE_OPERATIONS_H
#define AB_COMMON_WIRE_OPERATIONS_H

#include "common/wire/messages.h"

enum { AB_PAGE_DEFAULT = 100, AB_PAGE_MAX = 1000, AB_JOURNAL_PAGE_BYTES = 256 << 10 };
enum { AB_PRICES_MAX = 1000 };               /* rows */
#define AB_PRICE_MAX UINT64_C(1000000000000) /* 1 USD per token */
enum { AB_TOKENS_MAX = 10000, AB_TOKEN_HASH_BYTES = 32 };

#define AB_OP_EMPTY_FIELDS(F, o)

/* ---- the broker's ---- */
#define AB_OP_EPOCH_FIELDS(F, o)                                                                               \
    F(o, STR, build, OPT, AB_NAME_MAX, "")                                                                     \
    F(o, ID, id, OPT, 0,                                                                                       \
      "made by the broker at its start; the same id again, while no other came, is the same epoch")
#define AB_OP_EPOCH_ANSWER_FIELDS(F, o) F(o, UINT, epoch, REQ, 0, "the new one, on disk")

#define AB_OP_SUBMIT_FIELDS(F, o)                                                                              \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, tenant, OPT, AB_USER_MAX, "absent: the user")                                                    \
    F(o, STR, session, OPT, AB_NAME_MAX, "")                                                                   \
    F(o, BOOL, no_session, OPT, 0, "")                                                                         \
    F(o, INT, priority, OPT, 0, "")                                                                            \
    F(o, UINT, not_before_ms, OPT, 0, "")                                                                      \
    F(o, UINT, deadline_ms, OPT, 0, "")                                                                        \
    F(o, STR, key, OPT, AB_NAME_MAX, "")                                                                       \
    F(o, STR, pool, OPT, AB_NAME_MAX, "")                                                                      \
    F(o, STR, budget, OPT, AB_BUDGET_MAX, "")                                                                  \
    F(o, BIN, hash, OPT, AB_HASH_BYTES, "absent: that of fork_of")                                             \
    F(o, STR, workflow, OPT, AB_WORKFLOW_MAX, "")                                                              \
    F(o, ANY, secrets, OPT, AB_SECRETS_MAX, "")                                                                \
    F(o, BIN, input, OPT, 0, "the body of SUBMIT; absent: that of fork_of")                                    \
    F(o, ID, fork_of, OPT, 0, "")                                                                              \
    F(o, UINT, fork_seq, OPT, 0, "")                                                                           \
    F(o, STR, fork_text, OPT, 512 << 10, "")                                                                   \
    F(o, STR, if_busy, OPT, 16, "as in SUBMIT")                                                                \
    F(o, UINT, answer_to, OPT, 0,                                                                              \
      "the job whose question the message answers; conflict if it asks none (any more)")                       \
    F(o, ID, interrupts, OPT, 0, "a job that is cancelled with it, if it has not ended")                       \
    F(o, BOOL, known, OPT, 0, "not_found unless it was taken before")
#define AB_OP_SUBMIT_ANSWER_FIELDS(F, o)                                                                       \
    F(o, UINT, n, REQ, 0, "")                                                                                  \
    F(o, BOOL, created, OPT, 0, "")                                                                            \
    F(o, STR, session, OPT, AB_NAME_MAX, "")                                                                   \
    F(o, BOOL, history, OPT, 0, "the session had messages before")                                             \
    F(o, STR, state, OPT, 16, "end state, if it had ended")                                                    \
    F(o, ANY, open, OPT, 0, "of a fork: its open_job map")                                                     \
    F(o, ID, job, OPT, 0, "with input: the job that was answered; n is its")                                   \
    F(o, UINT, input, OPT, 0, "the message was taken for an answer: the row in that job's inbox")              \
    F(o, UINT, seq, OPT, 0, "with input: the last event before the answer")

#define AB_OP_APPEND_FIELDS(F, o)                                                                              \
    F(o, UINT, n, REQ, 0, "the job")                                                                           \
    F(o, UINT, seq, REQ, 0, "of the first event")                                                              \
    F(o, UINT, token, REQ, 0, "")                                                                              \
    F(o, UINT, count, REQ, AB_EVENTS_MAX, "")                                                                  \
    F(o, BIN, events, REQ, 0, "the body of EVENTS: array of events")                                           \
    F(o, STR, end, OPT, 16, "end state")                                                                       \
    F(o, STR, wait, OPT, 16, "")                                                                               \
    F(o, UINT, wake_at_ms, OPT, 0, "")                                                                         \
    F(o, UINT, inbox_seen, OPT, 0, "")                                                                         \
    F(o, BOOL, retry, OPT, 0, "")
#define AB_OP_APPEND_ANSWER_FIELDS(F, o)                                                                       \
    F(o, UINT, seq, REQ, 0, "of the last event")                                                               \
    F(o, UINT, budget, OPT, 255, "as in COMMITTED")                                                            \
    F(o, UINT, wake_at_ms, OPT, 0, "of a wait for a budget: when its next period begins")

#define AB_OP_INBOX_FIELDS(F, o)                                                                               \
    F(o, UINT, n, OPT, 0, "the job's commit number, or")                                                       \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, ID, id, REQ, 0, "")                                                                                   \
    F(o, STR, kind, REQ, 16, "")                                                                               \
    F(o, STR, ask, OPT, AB_NAME_MAX, "")                                                                       \
    F(o, STR, text, OPT, 1 << 20, "")
#define AB_OP_INBOX_ANSWER_FIELDS(F, o)                                                                        \
    F(o, UINT, n, REQ, 0, "the job")                                                                           \
    F(o, UINT, k, REQ, 0, "1, 2, … within the job")                                                            \
    F(o, BOOL, created, OPT, 0, "false: this id was there before")

#define AB_OP_OPEN_JOBS_FIELDS(F, o)                                                                           \
    F(o, UINT, after, OPT, 0, "commit number")                                                                 \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")                                                                    \
    F(o, BOOL, cancelled, OPT, 0, "only those whose inbox holds a cancel, or that storage woke")
#define AB_OP_OPEN_JOBS_ANSWER_FIELDS(F, o)                                                                    \
    F(o, ANY, jobs, REQ, 0, "array of open_job maps, by commit number")                                        \
    F(o, UINT, next, OPT, 0, "")
/* one of them; a body of its own, not an operation */
#define AB_OPEN_JOB_FIELDS(F, o)                                                                               \
    F(o, UINT, n, REQ, 0, "")                                                                                  \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, tenant, OPT, AB_USER_MAX, "")                                                                    \
    F(o, STR, session, OPT, AB_NAME_MAX, "")                                                                   \
    F(o, INT, priority, OPT, 0, "")                                                                            \
    F(o, UINT, not_before_ms, OPT, 0, "")                                                                      \
    F(o, UINT, deadline_ms, OPT, 0, "")                                                                        \
    F(o, STR, key, OPT, AB_NAME_MAX, "")                                                                       \
    F(o, STR, pool, OPT, AB_NAME_MAX, "")                                                                      \
    F(o, BIN, hash, REQ, AB_HASH_BYTES, "")                                                                    \
    F(o, BOOL, history, OPT, 0, "")                                                                            \
    F(o, UINT, body_bytes, OPT, 0, "of its input")                                                             \
    F(o, STR, state, OPT, 16, "ready, waiting (for a person), timer, budget or retry")                         \
    F(o, UINT, wake_at_ms, OPT, 0, "")                                                                         \
    F(o, UINT, seq, OPT, 0, "last event")                                                                      \
    F(o, UINT, token, OPT, 0, "of the last event")                                                             \
    F(o, UINT, attempt, OPT, 0, "started events so far")                                                       \
    F(o, BOOL, started, OPT, 0, "its last attempt is open: started and neither parked nor failed")             \
    F(o, STR, worker, OPT, AB_NAME_MAX, "of that attempt")                                                     \
    F(o, UINT, crashes, OPT, 0, "of the last started event, if nothing but failed attempts came after it")     \
    F(o, UINT, company, OPT, 0, "the same")                                                                    \
    F(o, UINT, inbox_k, OPT, 0, "last inbox row")                                                              \
    F(o, UINT, failures, OPT, 0, "attempt_failed events so far")                                               \
    F(o, UINT, budget, OPT, 255, "as in COMMITTED")                                                            \
    F(o, STR, why, OPT, AB_WHY_MAX, "waiting for a budget: which one")                                         \
    F(o, BOOL, cancel, OPT, 0, "its inbox holds a cancel")                                                     \
    F(o, BOOL, paused, OPT, 0, "of its inbox's pauses and resumes the last one is a pause")

#define AB_OP_LOAD_FIELDS(F, o) F(o, UINT, n, REQ, 0, "the job")
#define AB_OP_LOAD_ANSWER_FIELDS(F, o)                                                                         \
    F(o, ANY, input, REQ, 0, "")                                                                               \
    F(o, ANY, secrets, OPT, AB_SECRETS_MAX, "")                                                                \
    F(o, ANY, journal, OPT, 0, "array of events from seq 1, up to the page size")                              \
    F(o, UINT, seq, OPT, 0, "the last seq of the whole journal")                                               \
    F(o, BOOL, more, OPT, 0, "the journal goes on after this page")                                            \
    F(o, ANY, inbox, OPT, 0, "array of {k, kind, ask, text}")

#define AB_OP_JOURNAL_FIELDS(F, o)                                                                             \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, STR, user, OPT, AB_USER_MAX, "absent: the asker is the broker or a worker")                           \
    F(o, UINT, after, OPT, 0, "seq")                                                                           \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")                                                                    \
    F(o, BOOL, raw, OPT, 0, "also the very bytes of these events")
#define AB_OP_JOURNAL_ANSWER_FIELDS(F, o)                                                                      \
    F(o, ANY, events, REQ, 0, "array of events, seq after+1 …")                                                \
    F(o, BIN, raw, OPT, 0, "the same events one after the other, without the array around them")               \
    F(o, UINT, seq, OPT, 0, "of the last one here")                                                            \
    F(o, STR, end, OPT, 16, "end state, if the last one here ends the job")                                    \
    F(o, BOOL, more, OPT, 0, "")

/* ---- the worker's ---- */
#define AB_OP_WORKFLOW_FIELDS(F, o)        F(o, BIN, hash, REQ, AB_HASH_BYTES, "")
#define AB_OP_WORKFLOW_ANSWER_FIELDS(F, o) F(o, STR, workflow, REQ, AB_WORKFLOW_MAX, "its JSON text")

#define AB_OP_HISTORY_FIELDS(F, o)                                                                             \
    F(o, UINT, n, REQ, 0, "the job: messages of its session committed before it")                              \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "the newest so many (default 200)")
#define AB_OP_HISTORY_ANSWER_FIELDS(F, o)                                                                      \
    F(o, ANY, messages, REQ, 0, "array of {id, role, content}, oldest first")

/* ---- files: what jobs' code made. A content is known by its hash within its job, so that nobody can ask whether
 * another's job has it ---- */
#define AB_OP_PUT_FILE_FIELDS(F, o)                                                                            \
    F(o, UINT, n, REQ, 0, "the job")                                                                           \
    F(o, STR, hash, REQ, 64, "BLAKE2b-256 of the whole content, in hex")                                       \
    F(o, UINT, at, OPT, 0, "bytes before this piece")                                                          \
    F(o, BIN, data, REQ, 512 << 10, "the piece: 524288 bytes, or less if it is the last one")
#define AB_OP_LOAD_FILE_FIELDS(F, o)                                                                           \
    F(o, UINT, n, REQ, 0, "the job")                                                                           \
    F(o, STR, hash, REQ, 64, "")                                                                               \
    F(o, UINT, at, OPT, 0, "where a piece begins")
#define AB_OP_FILE_PIECE_FIELDS(F, o) F(o, BIN, data, REQ, 512 << 10, "from there on; empty: there is no more")

#define AB_OP_LIST_FILES_FIELDS(F, o)                                                                          \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, job, REQ, 64, "id, unique prefix of at least 4 characters, or last")
#define AB_OP_LIST_FILES_ANSWER_FIELDS(F, o) F(o, ANY, files, REQ, 0, "array of file records, by path")
#define AB_OP_GET_FILE_FIELDS(F, o)                                                                            \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, job, REQ, 64, "id, unique prefix of at least 4 characters, or last")                             \
    F(o, STR, path, REQ, 600, "as listed")                                                                     \
    F(o, UINT, at, OPT, 0, "where a piece begins: 0, 524288, 1048576 …")
#define AB_OP_GET_FILE_ANSWER_FIELDS(F, o)                                                                     \
    F(o, ANY, file, REQ, 0, "its file record")                                                                 \
    F(o, BIN, data, REQ, 512 << 10, "the piece; the last one reaches the record's bytes")
/* what a client sees of a file */
#define AB_FILE_RECORD_FIELDS(F, o)                                                                            \
    F(o, STR, path, REQ, 600, "relative to the job's directory")                                               \
    F(o, STR, name, REQ, 600, "the path's last part")                                                          \
    F(o, STR, extension, OPT, 600, "without the dot")                                                          \
    F(o, STR, type, REQ, 16, "code, csv, image, pdf, text or unknown; by the extension")                       \
    F(o, UINT, bytes, OPT, 0, "")                                                                              \
    F(o, STR, hash, REQ, 64, "BLAKE2b-256 of the content, in hex")                                             \
    F(o, BOOL, executable, OPT, 0, "")
/* one of `files` of a code_result */
#define AB_FILE_ENTRY_FIELDS(F, o)                                                                             \
    F(o, STR, path, REQ, 512, "relative to its folder")                                                        \
    F(o, STR, hash, REQ, 64, "")                                                                               \
    F(o, UINT, bytes, OPT, 0, "")                                                                              \
    F(o, BOOL, executable, OPT, 0, "")

/* ---- clients': jobs ---- */
#define AB_OP_GET_JOB_FIELDS(F, o)                                                                             \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, job, REQ, 64, "id, unique prefix of at least 4 characters, or last")                             \
    F(o, BOOL, raw, OPT, 0, "also `input`")
#define AB_OP_GET_JOB_ANSWER_FIELDS(F, o) F(o, ANY, job, REQ, 0, "job record")

#define AB_OP_LIST_JOBS_FIELDS(F, o)                                                                           \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, state, OPT, 16, "open, waiting, paused, succeeded, failed, cancelled, expired or dead")          \
    F(o, STR, session, OPT, AB_NAME_MAX, "")                                                                   \
    F(o, UINT, since_ms, OPT, 0, "accepted at or after")                                                       \
    F(o, UINT, after, OPT, 0, "cursor")                                                                        \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_LIST_JOBS_ANSWER_FIELDS(F, o)                                                                    \
    F(o, ANY, jobs, REQ, 0, "array of job records, newest first")                                              \
    F(o, UINT, next, OPT, 0, "")
/* what a client sees of a job */
#define AB_JOB_RECORD_FIELDS(F, o)                                                                             \
    F(o, ID, id, REQ, 0, "")                                                                                   \
    F(o, UINT, n, REQ, 0, "")                                                                                  \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, OPT, AB_NAME_MAX, "")                                                                   \
    F(o, STR, state, REQ, 16,                                                                                  \
      "end state, or scheduled, ready, running, waiting, paused, retry as far as storage knows")               \
    F(o, UINT, attempt, OPT, 0, "")                                                                            \
    F(o, UINT, seq, OPT, 0, "last event")                                                                      \
    F(o, UINT, created_ms, REQ, 0, "wall clock of its commit")                                                 \
    F(o, UINT, ended_ms, OPT, 0, "")                                                                           \
    F(o, STR, workflow, OPT, AB_NAME_MAX, "name")                                                              \
    F(o, BIN, hash, OPT, AB_HASH_BYTES, "of the workflow; `workflow` answers its text")                        \
    F(o, ANY, content, OPT, 0, "the user's message")                                                           \
    F(o, ID, fork_of, OPT, 0, "the job whose journal it began with")                                           \
    F(o, UINT, fork_seq, OPT, 0, "the last event of that journal that was copied")                             \
    F(o, ANY, end, OPT, 0, "the end event, once there is one")                                                 \
    F(o, UINT, imported_ms, OPT, 0, "wall clock: it ran in another service and was brought here then")         \
    F(o, BIN, input, OPT, 0, "get_job with raw: the very bytes of SUBMIT's body")

/* ---- clients': the seed's eight ---- */
#define AB_OP_LOAD_MESSAGES_FIELDS(F, o)                                                                       \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, REQ, AB_NAME_MAX, "")                                                                   \
    F(o, STR, after, OPT, AB_NAME_MAX, "cursor")                                                               \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_MESSAGES_ANSWER_FIELDS(F, o)                                                                     \
    F(o, ANY, messages, REQ, 0, "array of message records, oldest first")                                      \
    F(o, STR, next, OPT, AB_NAME_MAX, "")
#define AB_MESSAGE_RECORD_FIELDS(F, o)                                                                         \
    F(o, STR, user_id, REQ, AB_USER_MAX, "")                                                                   \
    F(o, STR, session_id, OPT, AB_NAME_MAX, "")                                                                \
    F(o, STR, msg_id, OPT, AB_NAME_MAX, "made if absent")                                                      \
    F(o, STR, root_msg_id, OPT, AB_NAME_MAX, "")                                                               \
    F(o, STR, role, REQ, 16, "user or assistant")                                                              \
    F(o, ANY, content, REQ, 0, "text, or an array of parts")                                                   \
    F(o, STR, timestamp, OPT, 40, "ISO 8601")                                                                  \
    F(o, BOOL, personalize, OPT, 0, "")                                                                        \
    F(o, STR, ra, OPT, 1 << 20, "")                                                                            \
    F(o, STR, code, OPT, 1 << 20, "")                                                                          \
    F(o, ANY, metadata, OPT, 0, "")                                                                            \
    F(o, ID, job, OPT, 0, "the job that made it")
#define AB_OP_SAVE_MESSAGE_FIELDS(F, o)        F(o, ANY, message, REQ, 0, "message record")
#define AB_OP_SAVE_MESSAGE_ANSWER_FIELDS(F, o) F(o, ANY, message, REQ, 0, "as stored")
#define AB_OP_DELETE_MESSAGE_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, msg_id, OPT, AB_NAME_MAX, "absent with delete_all")                                              \
    F(o, STR, session, OPT, AB_NAME_MAX, "required with delete_all")                                           \
    F(o, BOOL, delete_all, OPT, 0, "all messages of the session")
#define AB_OP_GET_SESSIONS_FIELDS(F, o)                                                                        \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, OPT, AB_NAME_MAX, "only this one")                                                      \
    F(o, STR, after, OPT, AB_NAME_MAX, "cursor")                                                               \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_SESSIONS_ANSWER_FIELDS(F, o)                                                                     \
    F(o, ANY, sessions, REQ, 0, "array of session records, oldest first")                                      \
    F(o, STR, next, OPT, AB_NAME_MAX, "")
#define AB_SESSION_RECORD_FIELDS(F, o)                                                                         \
    F(o, STR, user_id, REQ, AB_USER_MAX, "")                                                                   \
    F(o, STR, session_id, OPT, AB_NAME_MAX, "made if absent")                                                  \
    F(o, STR, timestamp, OPT, 40, "ISO 8601; of a new session it counts, absent: now")                         \
    F(o, ANY, flow_config, OPT, AB_WORKFLOW_MAX, "the workflow")                                               \
    F(o, STR, name, OPT, 256, "")                                                                              \
    F(o, STR, description, OPT, 4096, "")
#define AB_OP_CREATE_SESSION_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, ANY, session, REQ, 0, "session record")
#define AB_OP_SESSION_FIELDS(F, o)                                                                             \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, REQ, AB_NAME_MAX, "")
#define AB_OP_RENAME_SESSION_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, REQ, AB_NAME_MAX, "")                                                                   \
    F(o, STR, name, OPT, 256, "")                                                                              \
    F(o, STR, description, OPT, 4096, "")
#define AB_OP_PUBLISH_FIELDS(F, o)                                                                             \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, REQ, AB_NAME_MAX, "")                                                                   \
    F(o, STR, id, OPT, AB_ID_TEXT, "a UUID made by the client; the same again is the same item. Absent: made") \
    F(o, ANY, tags, OPT, 64 << 10, "array of str")                                                             \
    F(o, STR, name, OPT, 256, "")                                                                              \
    F(o, STR, description, OPT, 4096, "")
#define AB_OP_GALLERY_ITEM_FIELDS(F, o) F(o, ANY, gallery, REQ, 0, "gallery record")
#define AB_GALLERY_RECORD_FIELDS(F, o)                                                                         \
    F(o, STR, id, REQ, AB_NAME_MAX, "")                                                                        \
    F(o, STR, user_id, OPT, AB_USER_MAX, "who published it")                                                   \
    F(o, STR, name, OPT, 256, "")                                                                              \
    F(o, STR, description, OPT, 4096, "")                                                                      \
    F(o, ANY, session, REQ, 0, "session record at the time")                                                   \
    F(o, ANY, messages, REQ, 0, "array of message records at the time")                                        \
    F(o, ANY, tags, REQ, 0, "array of str")                                                                    \
    F(o, STR, timestamp, REQ, 40, "ISO 8601")
#define AB_OP_IMPORT_GALLERY_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "who is its publisher from now on")                                      \
    F(o, ANY, gallery, REQ, 0, "gallery record with the id and timestamp it has; no key in clear in it")
#define AB_OP_IMPORT_GALLERY_ANSWER_FIELDS(F, o)                                                               \
    F(o, ANY, gallery, REQ, 0, "as stored")                                                                    \
    F(o, BOOL, created, OPT, 0, "false: it was there before")
#define AB_OP_GET_GALLERY_FIELDS(F, o)                                                                         \
    F(o, STR, user, OPT, AB_USER_MAX, "only this user's items")                                                \
    F(o, STR, gallery, OPT, AB_NAME_MAX, "only this one")                                                      \
    F(o, STR, tag, OPT, 256, "only items with this tag")                                                       \
    F(o, STR, search, OPT, 256, "words in name, description, tags or messages")                                \
    F(o, STR, after, OPT, AB_NAME_MAX, "cursor")                                                               \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_GALLERY_ANSWER_FIELDS(F, o)                                                                      \
    F(o, ANY, gallery, REQ, 0, "array of gallery records")                                                     \
    F(o, STR, next, OPT, AB_NAME_MAX, "")
#define AB_OP_RENAME_GALLERY_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "its publisher")                                                         \
    F(o, STR, gallery, REQ, AB_NAME_MAX, "")                                                                   \
    F(o, STR, name, OPT, 256, "")                                                                              \
    F(o, STR, description, OPT, 4096, "")
#define AB_OP_DELETE_GALLERY_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "its publisher")                                                         \
    F(o, STR, gallery, REQ, AB_NAME_MAX, "")
#define AB_OP_DELETED_ANSWER_FIELDS(F, o)                                                                      \
    F(o, UINT, deleted, OPT, 0, "rows")                                                                        \
    F(o, ANY, jobs, OPT, 0, "array of id: live jobs that must be cancelled")
/* ---- clients': runs of another service ---- */
#define AB_OP_IMPORT_RUN_FIELDS(F, o)                                                                          \
    F(o, STR, user, REQ, AB_USER_MAX, "whose job it is from now on")                                           \
    F(o, ID, job, REQ, 0, "its id, which it keeps; the same run again changes nothing")                        \
    F(o, STR, session, OPT, AB_NAME_MAX, "put its question and answer there; absent: it has no session here")  \
    F(o, UINT, created_ms, REQ, 0, "as in its job record")                                                     \
    F(o, UINT, ended_ms, REQ, 0, "as in its job record")                                                       \
    F(o, BIN, hash, REQ, AB_HASH_BYTES, "of its workflow")                                                     \
    F(o, STR, workflow, REQ, AB_WORKFLOW_MAX, "its text")                                                      \
    F(o, BIN, input, REQ, 0, "its input's bytes")                                                              \
    F(o, BIN, events, REQ, 0, "its journal from seq 1 to its end: the bytes of the events one after the other")
#define AB_OP_IMPORT_RUN_ANSWER_FIELDS(F, o)                                                                   \
    F(o, UINT, n, REQ, 0, "")                                                                                  \
    F(o, UINT, seq, REQ, 0, "of its end")                                                                      \
    F(o, STR, session, OPT, AB_NAME_MAX, "")                                                                   \
    F(o, BOOL, created, OPT, 0, "false: it was there before")

/* ---- clients': workflows by name ---- */
#define AB_OP_SAVE_WORKFLOW_FIELDS(F, o)                                                                       \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, name, OPT, 64, "absent: the name in the workflow")                                               \
    F(o, STR, workflow, REQ, AB_WORKFLOW_MAX,                                                                  \
      "its JSON text in either form, without any api_key; refused with all its faults")                        \
    F(o, ID, id, OPT, 0, "made by the client; the same again is the same version, whatever came between")
#define AB_OP_SAVE_WORKFLOW_ANSWER_FIELDS(F, o)                                                                \
    F(o, ANY, workflow, REQ, 0, "workflow record")                                                             \
    F(o, BOOL, created, OPT, 0, "false: this is what the name's newest version was already")
#define AB_OP_LIST_WORKFLOWS_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, name, OPT, 64, "all versions of this one, newest first; absent: the newest of each, by name")    \
    F(o, STR, after, OPT, AB_NAME_MAX, "cursor")                                                               \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_LIST_WORKFLOWS_ANSWER_FIELDS(F, o)                                                               \
    F(o, ANY, workflows, REQ, 0, "array of workflow records; the first page begins with the built-in ones")    \
    F(o, STR, next, OPT, AB_NAME_MAX, "")
#define AB_WORKFLOW_RECORD_FIELDS(F, o)                                                                        \
    F(o, STR, name, REQ, 64, "")                                                                               \
    F(o, STR, user_id, OPT, AB_USER_MAX, "whose it is; absent: built in")                                      \
    F(o, UINT, version, OPT, 0, "1, 2, …: one for each content; absent: built in")                             \
    F(o, BIN, hash, OPT, AB_HASH_BYTES, "of its text, as in SUBMIT; absent: built in")                         \
    F(o, STR, description, OPT, 4096, "from the workflow, cut if longer")                                      \
    F(o, STR, timestamp, OPT, 40, "ISO 8601: when this version was saved")                                     \
    F(o, BOOL, builtin, OPT, 0, "comes with the program; runs with any model that is named")
#define AB_OP_GET_WORKFLOW_FIELDS(F, o)                                                                        \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, name, REQ, 64, "")                                                                               \
    F(o, UINT, version, OPT, 0, "absent: the newest")                                                          \
    F(o, STR, model, OPT, 256, "of a built-in one: required")
#define AB_OP_GET_WORKFLOW_ANSWER_FIELDS(F, o)                                                                 \
    F(o, ANY, record, REQ, 0, "workflow record")                                                               \
    F(o, STR, workflow, REQ, AB_WORKFLOW_MAX, "its canonical JSON text: what SUBMIT takes")
#define AB_OP_DELETE_WORKFLOW_FIELDS(F, o)                                                                     \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, name, REQ, 64, "all its versions; jobs that ran with one keep it")
#define AB_OP_STORAGE_STATUS_ANSWER_FIELDS(F, o)                                                               \
    F(o, UINT, schema, REQ, 0, "version of the database")                                                      \
    F(o, UINT, jobs, OPT, 0, "ever accepted")                                                                  \
    F(o, UINT, open, OPT, 0, "not ended")                                                                      \
    F(o, UINT, commits, OPT, 0, "since start")                                                                 \
    F(o, UINT, operations, OPT, 0, "written since start")                                                      \
    F(o, UINT, commit_us, OPT, 0, "spent in commits since start, their syncs included")                        \
    F(o, UINT, wal_bytes, OPT, 0, "")                                                                          \
    F(o, STR, writable, OPT, AB_ERROR_TEXT_MAX, "empty if so, else why not")                                   \
    F(o, STR, build, OPT, AB_NAME_MAX, "")

/* ---- prices: of the whole service, not of a user ---- */
/* one row; the row of a call is of those in force then the one with the longest pattern */
#define AB_PRICE_FIELDS(F, o)                                                                                  \
    F(o, STR, model, REQ, AB_NAME_MAX, "pattern of model names: * is any text, ? any character")               \
    F(o, STR, provider, OPT, 32, "only calls of this one: openai, azure or script; absent: all")               \
    F(o, UINT, from_ms, OPT, INT64_MAX, "wall clock: in force from then on; absent: always")                   \
    F(o, UINT, input_pico_usd, REQ, AB_PRICE_MAX,                                                              \
      "1e-12 USD per token of the prompt, which is 1e-6 USD per million tokens")                               \
    F(o, MAYBE, cached_input_pico_usd, OPT, AB_PRICE_MAX, "per cached token; absent: as input")                \
    F(o, UINT, output_pico_usd, REQ, AB_PRICE_MAX, "per token of the completion")                              \
    F(o, MAYBE, reasoning_pico_usd, OPT, AB_PRICE_MAX, "per token of thoughts; absent: as output")             \
    F(o, STR, source, OPT, 256, "where the figures come from")                                                 \
    F(o, STR, note, OPT, 512, "for who reads the list")

#define AB_OP_SET_PRICES_FIELDS(F, o)                                                                          \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, ANY, prices, REQ, 1 << 20,                                                                            \
      "array of price maps; a row of the same model, provider and time is replaced")
#define AB_OP_LIST_PRICES_FIELDS(F, o)                                                                         \
    F(o, STR, user, OPT, AB_USER_MAX, "absent: the asker is a worker")                                         \
    F(o, UINT, version, OPT, INT64_MAX, "answers no rows if this is the version still")
#define AB_OP_LIST_PRICES_ANSWER_FIELDS(F, o)                                                                  \
    F(o, UINT, version, REQ, 0, "grows with each change")                                                      \
    F(o, ANY, prices, OPT, 0, "array of price maps")
#define AB_OP_DELETE_PRICE_FIELDS(F, o)                                                                        \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, model, REQ, AB_NAME_MAX, "the pattern as it was set")                                            \
    F(o, STR, provider, OPT, 32, "")                                                                           \
    F(o, MAYBE, from_ms, OPT, INT64_MAX, "absent: all its times")
#define AB_OP_CHANGED_ANSWER_FIELDS(F, o) F(o, UINT, changed, REQ, 0, "rows")

/* ---- budgets ---- */
#define AB_OP_SET_BUDGET_FIELDS(F, o)                                                                          \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, OPT, AB_NAME_MAX, "of this session of the user; absent: of the user")                   \
    F(o, STR, period, OPT, 8, "total (default), day or month: starts again at 0:00 UTC")                       \
    F(o, STR, limits, REQ, AB_BUDGET_MAX,                                                                      \
      "such as tokens=100000,usd=none; units that are not named stay as they are")
#define AB_OP_LIST_BUDGETS_FIELDS(F, o)                                                                        \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, OPT, AB_NAME_MAX, "only of this session")                                               \
    F(o, STR, job, OPT, 40, "only of this job, also when it has ended; absent with session: all the user has")
#define AB_OP_LIST_BUDGETS_ANSWER_FIELDS(F, o) F(o, ANY, budgets, REQ, 0, "array of budget maps")
#define AB_BUDGET_RECORD_FIELDS(F, o)                                                                          \
    F(o, STR, scope, REQ, 8, "user, session or job")                                                           \
    F(o, STR, name, REQ, AB_USER_MAX, "of the user, of the session, the job's id")                             \
    F(o, STR, unit, REQ, 8, "tokens, usd (amounts: 1e-12 USD), calls, turns, seconds (amounts: ms)")           \
    F(o, STR, period, REQ, 8, "total, day or month")                                                           \
    F(o, UINT, limit, REQ, 0, "")                                                                              \
    F(o, UINT, settled, REQ, 0, "spent, as reported")                                                          \
    F(o, UINT, reserved, REQ, 0, "by calls under way, at most")                                                \
    F(o, UINT, overshoot, OPT, 0, "of settled: by how much replies took more than was reserved for them")      \
    F(o, UINT, overshoots, OPT, 0, "so many replies did")                                                      \
    F(o, UINT, waiting, OPT, 0, "jobs parked because of it")                                                   \
    F(o, UINT, since_ms, REQ, 0, "wall clock: what was spent from then on counts")

/* ---- tokens of the HTTP gateway: storage knows their hashes only ---- */
#define AB_TOKEN_RECORD_FIELDS(F, o)                                                                           \
    F(o, ID, id, REQ, 0, "")                                                                                   \
    F(o, STR, user, REQ, AB_USER_MAX, "whom it acts for")                                                      \
    F(o, STR, name, OPT, AB_NAME_MAX, "what it is for")                                                        \
    F(o, STR, scope, REQ, 16, "read, write (which holds read) or admin (which holds both)")                    \
    F(o, UINT, created_ms, REQ, INT64_MAX, "")                                                                 \
    F(o, UINT, expires_ms, OPT, INT64_MAX, "refused from then on")                                             \
    F(o, UINT, used_ms, OPT, INT64_MAX, "last use, as a minute or so")                                         \
    F(o, UINT, revoked_ms, OPT, INT64_MAX, "refused since then")

#define AB_OP_CREATE_TOKEN_FIELDS(F, o)                                                                        \
    F(o, ID, id, REQ, 0, "made by the client; the same again is the same token")                               \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, BIN, hash, REQ, AB_TOKEN_HASH_BYTES, "BLAKE2b-256 of the token's text, which is made by the client")  \
    F(o, STR, scope, REQ, 16, "read, write or admin")                                                          \
    F(o, STR, name, OPT, AB_NAME_MAX, "")                                                                      \
    F(o, UINT, expires_ms, OPT, INT64_MAX, "absent: never")
#define AB_OP_TOKEN_ANSWER_FIELDS(F, o) F(o, ANY, token, REQ, 0, "a token map")
#define AB_OP_LIST_TOKENS_FIELDS(F, o)                                                                         \
    F(o, STR, of, OPT, AB_USER_MAX, "only this user's")                                                        \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")                                                                    \
    F(o, STR, after, OPT, AB_NAME_MAX, "cursor")
#define AB_OP_LIST_TOKENS_ANSWER_FIELDS(F, o)                                                                  \
    F(o, ANY, tokens, REQ, 0, "array of token maps, oldest first")                                             \
    F(o, STR, next, OPT, AB_NAME_MAX, "")
#define AB_OP_REVOKE_TOKEN_FIELDS(F, o) F(o, ID, id, REQ, 0, "")
#define AB_OP_CHECK_TOKEN_FIELDS(F, o)                                                                         \
    F(o, BIN, hash, OPT, AB_TOKEN_HASH_BYTES, "absent: only the version is asked for")
#define AB_OP_CHECK_TOKEN_ANSWER_FIELDS(F, o)                                                                  \
    F(o, UINT, version, REQ, 0, "grows when a token is made or revoked")                                       \
    F(o, UINT, tokens, REQ, 0, "how many there are, revoked and expired ones too")                             \
    F(o, ANY, token, OPT, 0, "its token map, if it is valid now; else absent")
#define AB_OP_TOKEN_USED_FIELDS(F, o) F(o, ID, id, REQ, 0, "")

/* ---- the broker's own, asked of it with QUERY ---- */
#define AB_OP_JOB_STATUS_FIELDS(F, o)                                                                          \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, ID, job, REQ, 0, "")
#define AB_OP_JOB_STATUS_ANSWER_FIELDS(F, o)                                                                   \
    F(o, STR, state, REQ, 16,                                                                                  \
      "scheduled, ready, running, waiting, retry, pausing (its worker has not let go of it), paused, "         \
      "cancelling; not_found if it is not open")                                                               \
    F(o, UINT, position, OPT, 0,                                                                               \
      "1 = next among the ready jobs of its pool, as far as fairness can be foretold")                         \
    F(o, STR, why, OPT, AB_ERROR_TEXT_MAX,                                                                     \
      "why it does not run: limit, session, credit, schedule, person, budget, paused")                         \
    F(o, UINT, attempt, OPT, 0, "")                                                                            \
    F(o, STR, worker, OPT, AB_NAME_MAX, "")                                                                    \
    F(o, UINT, wake_at_ms, OPT, 0,                                                                             \
      "scheduled, retry: when it may run; waiting: when it goes on without an answer")
#define AB_OP_STATUS_ANSWER_FIELDS(F, o)                                                                       \
    F(o, UINT, epoch, REQ, 0, "")                                                                              \
    F(o, UINT, uptime_ms, OPT, 0, "")                                                                          \
    F(o, BOOL, storage, OPT, 0, "connected to storage")                                                        \
    F(o, UINT, ready, OPT, 0, "jobs that could run")                                                           \
    F(o, UINT, scheduled, OPT, 0, "jobs that wait for a time")                                                 \
    F(o, UINT, running, OPT, 0, "")                                                                            \
    F(o, UINT, waiting, OPT, 0, "jobs that wait for a person")                                                 \
    F(o, UINT, paused, OPT, 0, "jobs that were paused")                                                        \
    F(o, UINT, oldest_ready_ms, OPT, 0, "age of the oldest ready job")                                         \
    F(o, UINT, accepted, OPT, 0, "since start")                                                                \
    F(o, UINT, ended, OPT, 0, "since start")                                                                   \
    F(o, UINT, watchers, OPT, 0, "")                                                                           \
    F(o, ANY, workers, OPT, 0, "array of {name, pool, slots, running, credit, build, counters}")               \
    F(o, STR, build, OPT, AB_NAME_MAX, "")

/* name, number, kind, who may ask, request schema, answer schema, meaning.
 * kind: READ or WRITE of storage, BROKER = answered by the broker. who: bits of AB_BY_… */
enum ab_op_kind { AB_OP_READ, AB_OP_WRITE, AB_OP_BROKER };
enum { AB_BY_BROKER = 1, AB_BY_WORKER = 2, AB_BY_CLIENT = 4 };

#define AB_OPERATIONS(X)                                                                                       \
    X(epoch, 1, WRITE, AB_BY_BROKER, op_epoch, op_epoch_answer, "a broker takes over")                         \
    X(submit, 2, WRITE, AB_BY_BROKER, op_submit, op_submit_answer, "job, session and user message at once")    \
    X(append, 3, WRITE, AB_BY_BROKER, op_append, op_append_answer,                                             \
      "events; an end also ends the job and writes its message")                                               \
    X(inbox, 4, WRITE, AB_BY_BROKER, op_inbox, op_inbox_answer,                                                \
      "a row for a job's inbox; input wakes a waiting job")                                                    \
    X(open_jobs, 5, READ, AB_BY_BROKER, op_open_jobs, op_open_jobs_answer, "all that has not ended")           \
    X(load, 6, READ, AB_BY_BROKER | AB_BY_WORKER, op_load, op_load_answer,                                     \
      "input, secrets, journal, inbox of a job")                                                               \
    X(journal, 7, READ, AB_BY_BROKER | AB_BY_WORKER | AB_BY_CLIENT, op_journal, op_journal_answer,             \
      "a page of a job's events")                                                                              \
    X(workflow, 10, READ, AB_BY_WORKER | AB_BY_CLIENT, op_workflow, op_workflow_answer,                        \
      "a workflow's text by its hash")                                                                         \
    X(history, 11, READ, AB_BY_WORKER, op_history, op_history_answer, "what the session held before the job")  \
    X(put_file, 12, WRITE, AB_BY_WORKER, op_put_file, op_empty,                                                \
      "a piece of a file that a job's code made; the same again changes nothing")                              \
    X(load_file, 13, READ, AB_BY_WORKER, op_load_file, op_file_piece, "a piece of it, by its hash")            \
    X(list_files, 22, READ, AB_BY_CLIENT, op_list_files, op_list_files_answer, "the files that a job made")    \
    X(get_file, 23, READ, AB_BY_CLIENT, op_get_file, op_get_file_answer, "a piece of one of them")             \
    X(get_job, 20, READ, AB_BY_CLIENT, op_get_job, op_get_job_answer, "one job")                               \
    X(list_jobs, 21, READ, AB_BY_CLIENT, op_list_jobs, op_list_jobs_answer, "jobs, newest first")              \
    X(load_messages, 30, READ, AB_BY_CLIENT, op_load_messages, op_messages_answer, "messages of a session")    \
    X(save_message, 31, WRITE, AB_BY_CLIENT, op_save_message, op_save_message_answer,                          \
      "one message; its session is made if it does not exist")                                                 \
    X(delete_message, 32, WRITE, AB_BY_CLIENT, op_delete_message, op_messages_answer,                          \
      "one message or all of a session; answers what remains")                                                 \
    X(get_sessions, 33, READ, AB_BY_CLIENT, op_get_sessions, op_sessions_answer, "the user's sessions")        \
    X(create_session, 34, WRITE, AB_BY_CLIENT, op_create_session, op_sessions_answer,                          \
      "answers all the user's sessions")                                                                       \
    X(delete_user_sessions, 35, WRITE, AB_BY_CLIENT, op_session, op_sessions_answer,                           \
      "a session with its messages, events and files; its live jobs are cancelled; answers the remaining "     \
      "sessions")                                                                                              \
    X(publish_session, 36, WRITE, AB_BY_CLIENT, op_publish, op_gallery_item,                                   \
      "a snapshot of a session into the gallery")                                                              \
    X(get_gallery, 37, READ, AB_BY_CLIENT, op_get_gallery, op_gallery_answer, "gallery items")                 \
    X(rename_session, 40, WRITE, AB_BY_CLIENT, op_rename_session, op_sessions_answer,                          \
      "name and description; answers that session")                                                            \
    X(clear_session, 41, WRITE, AB_BY_CLIENT, op_session, op_deleted_answer,                                   \
      "removes a session's messages and ended jobs' events, keeps the session")                                \
    X(rename_gallery, 42, WRITE, AB_BY_CLIENT, op_rename_gallery, op_gallery_item,                             \
      "name and description of an item")                                                                       \
    X(delete_gallery, 43, WRITE, AB_BY_CLIENT, op_delete_gallery, op_deleted_answer, "an item")                \
    X(import_gallery, 44, WRITE, AB_BY_CLIENT, op_import_gallery, op_import_gallery_answer,                    \
      "an item that was published elsewhere; the same again changes nothing")                                  \
    X(save_workflow, 45, WRITE, AB_BY_CLIENT, op_save_workflow, op_save_workflow_answer,                       \
      "keeps a workflow under a name; another content under the same name is its next version")                \
    X(list_workflows, 46, READ, AB_BY_CLIENT, op_list_workflows, op_list_workflows_answer,                     \
      "the workflows a user may run by name")                                                                  \
    X(get_workflow, 47, READ, AB_BY_CLIENT, op_get_workflow, op_get_workflow_answer,                           \
      "one of them, with its text")                                                                            \
    X(delete_workflow, 48, WRITE, AB_BY_CLIENT, op_delete_workflow, op_deleted_answer, "forgets a name")       \
    X(import_run, 49, WRITE, AB_BY_CLIENT, op_import_run, op_import_run_answer,                                \
      "a job that ran and ended in another service, with its whole journal")                                   \
    X(storage_status, 50, READ, AB_BY_CLIENT | AB_BY_BROKER, op_empty, op_storage_status_answer,               \
      "health and counters of storage")                                                                        \
    X(set_prices, 70, WRITE, AB_BY_CLIENT, op_set_prices, op_changed_answer, "price rows, all or none")        \
    X(list_prices, 71, READ, AB_BY_CLIENT | AB_BY_WORKER, op_list_prices, op_list_prices_answer,               \
      "all price rows")                                                                                        \
    X(delete_price, 72, WRITE, AB_BY_CLIENT, op_delete_price, op_changed_answer, "a pattern's price rows")     \
    X(set_budget, 73, WRITE, AB_BY_CLIENT, op_set_budget, op_changed_answer,                                   \
      "limits of a user or session; wakes jobs that have room now (a job's own: INBOX budget)")                \
    X(list_budgets, 74, READ, AB_BY_CLIENT, op_list_budgets, op_list_budgets_answer,                           \
      "what is limited, and how much of it is spent")                                                          \
    X(create_token, 80, WRITE, AB_BY_CLIENT, op_create_token, op_token_answer, "a token of the HTTP gateway")  \
    X(list_tokens, 81, READ, AB_BY_CLIENT, op_list_tokens, op_list_tokens_answer, "all tokens, without them")  \
    X(revoke_token, 82, WRITE, AB_BY_CLIENT, op_revoke_token, op_token_answer,                                 \
      "a token is refused from now on")                                                                        \
    X(check_token, 83, READ, AB_BY_CLIENT, op_check_token, op_check_token_answer, "whose token it is")         \
    X(token_used, 84, WRITE, AB_BY_CLIENT, op_token_used, op_empty, "it was used just now")                    \
    X(status, 60, BROKER, AB_BY_CLIENT, op_empty, op_status_answer,                                            \
      "health and counters of the broker, its workers")                                                        \
    X(job_status, 61, BROKER, AB_BY_CLIENT, op_job_status, op_job_status_answer,                               \
      "where a job stands and why it does not run")

#define AB_OP_SCHEMAS(S)                                                                                       \
    S(op_empty, AB_OP_EMPTY_FIELDS)                                                                            \
    S(op_epoch, AB_OP_EPOCH_FIELDS)                                                                            \
    S(op_epoch_answer, AB_OP_EPOCH_ANSWER_FIELDS)                                                              \
    S(op_submit, AB_OP_SUBMIT_FIELDS)                                                                          \
    S(op_submit_answer, AB_OP_SUBMIT_ANSWER_FIELDS)                                                            \
    S(op_append, AB_OP_APPEND_FIELDS)                                                                          \
    S(op_append_answer, AB_OP_APPEND_ANSWER_FIELDS)                                                            \
    S(op_inbox, AB_OP_INBOX_FIELDS)                                                                            \
    S(op_inbox_answer, AB_OP_INBOX_ANSWER_FIELDS)                                                              \
    S(op_open_jobs, AB_OP_OPEN_JOBS_FIELDS)                                                                    \
    S(op_open_jobs_answer, AB_OP_OPEN_JOBS_ANSWER_FIELDS)                                                      \
    S(open_job, AB_OPEN_JOB_FIELDS)                                                                            \
    S(op_load, AB_OP_LOAD_FIELDS)                                                                              \
    S(op_load_answer, AB_OP_LOAD_ANSWER_FIELDS)                                                                \
    S(op_journal, AB_OP_JOURNAL_FIELDS)                                                                        \
    S(op_journal_answer, AB_OP_JOURNAL_ANSWER_FIELDS)                                                          \
    S(op_workflow, AB_OP_WORKFLOW_FIELDS)                                                                      \
    S(op_workflow_answer, AB_OP_WORKFLOW_ANSWER_FIELDS)                                                        \
    S(op_history, AB_OP_HISTORY_FIELDS)                                                                        \
    S(op_history_answer, AB_OP_HISTORY_ANSWER_FIELDS)                                                          \
    S(op_put_file, AB_OP_PUT_FILE_FIELDS)                                                                      \
    S(op_load_file, AB_OP_LOAD_FILE_FIELDS)                                                                    \
    S(op_file_piece, AB_OP_FILE_PIECE_FIELDS)                                                                  \
    S(op_list_files, AB_OP_LIST_FILES_FIELDS)                                                                  \
    S(op_list_files_answer, AB_OP_LIST_FILES_ANSWER_FIELDS)                                                    \
    S(op_get_file, AB_OP_GET_FILE_FIELDS)                                                                      \
    S(op_get_file_answer, AB_OP_GET_FILE_ANSWER_FIELDS)                                                        \
    S(file_record, AB_FILE_RECORD_FIELDS)                                                                      \
    S(file_entry, AB_FILE_ENTRY_FIELDS)                                                                        \
    S(op_get_job, AB_OP_GET_JOB_FIELDS)                                                                        \
    S(op_get_job_answer, AB_OP_GET_JOB_ANSWER_FIELDS)                                                          \
    S(op_list_jobs, AB_OP_LIST_JOBS_FIELDS)                                                                    \
    S(op_list_jobs_answer, AB_OP_LIST_JOBS_ANSWER_FIELDS)                                                      \
    S(job_record, AB_JOB_RECORD_FIELDS)                                                                        \
    S(op_load_messages, AB_OP_LOAD_MESSAGES_FIELDS)                                                            \
    S(op_messages_answer, AB_OP_MESSAGES_ANSWER_FIELDS)                                                        \
    S(message_record, AB_MESSAGE_RECORD_FIELDS)                                                                \
    S(op_save_message, AB_OP_SAVE_MESSAGE_FIELDS)                                                              \
    S(op_save_message_answer, AB_OP_SAVE_MESSAGE_ANSWER_FIELDS)                                                \
    S(op_delete_message, AB_OP_DELETE_MESSAGE_FIELDS)                                                          \
    S(op_get_sessions, AB_OP_GET_SESSIONS_FIELDS)                                                              \
    S(op_sessions_answer, AB_OP_SESSIONS_ANSWER_FIELDS)                                                        \
    S(session_record, AB_SESSION_RECORD_FIELDS)                                                                \
    S(op_create_session, AB_OP_CREATE_SESSION_FIELDS)                                                          \
    S(op_session, AB_OP_SESSION_FIELDS)                                                                        \
    S(op_rename_session, AB_OP_RENAME_SESSION_FIELDS)                                                          \
    S(op_publish, AB_OP_PUBLISH_FIELDS)                                                                        \
    S(op_gallery_item, AB_OP_GALLERY_ITEM_FIELDS)                                                              \
    S(gallery_record, AB_GALLERY_RECORD_FIELDS)                                                                \
    S(op_import_gallery, AB_OP_IMPORT_GALLERY_FIELDS)                                                          \
    S(op_import_gallery_answer, AB_OP_IMPORT_GALLERY_ANSWER_FIELDS)                                            \
    S(op_get_gallery, AB_OP_GET_GALLERY_FIELDS)                                                                \
    S(op_gallery_answer, AB_OP_GALLERY_ANSWER_FIELDS)                                                          \
    S(op_rename_gallery, AB_OP_RENAME_GALLERY_FIELDS)                                                          \
    S(op_delete_gallery, AB_OP_DELETE_GALLERY_FIELDS)                                                          \
    S(op_deleted_answer, AB_OP_DELETED_ANSWER_FIELDS)                                                          \
    S(op_import_run, AB_OP_IMPORT_RUN_FIELDS)                                                                  \
    S(op_import_run_answer, AB_OP_IMPORT_RUN_ANSWER_FIELDS)                                                    \
    S(op_save_workflow, AB_OP_SAVE_WORKFLOW_FIELDS)                                                            \
    S(op_save_workflow_answer, AB_OP_SAVE_WORKFLOW_ANSWER_FIELDS)                                              \
    S(op_list_workflows, AB_OP_LIST_WORKFLOWS_FIELDS)                                                          \
    S(op_list_workflows_answer, AB_OP_LIST_WORKFLOWS_ANSWER_FIELDS)                                            \
    S(workflow_record, AB_WORKFLOW_RECORD_FIELDS)                                                              \
    S(op_get_workflow, AB_OP_GET_WORKFLOW_FIELDS)                                                              \
    S(op_get_workflow_answer, AB_OP_GET_WORKFLOW_ANSWER_FIELDS)                                                \
    S(op_delete_workflow, AB_OP_DELETE_WORKFLOW_FIELDS)                                                        \
    S(op_storage_status_answer, AB_OP_STORAGE_STATUS_ANSWER_FIELDS)                                            \
    S(price, AB_PRICE_FIELDS)                                                                                  \
    S(op_set_prices, AB_OP_SET_PRICES_FIELDS)                                                                  \
    S(op_list_prices, AB_OP_LIST_PRICES_FIELDS)                                                                \
    S(op_list_prices_answer, AB_OP_LIST_PRICES_ANSWER_FIELDS)                                                  \
    S(op_delete_price, AB_OP_DELETE_PRICE_FIELDS)                                                              \
    S(op_changed_answer, AB_OP_CHANGED_ANSWER_FIELDS)                                                          \
    S(op_set_budget, AB_OP_SET_BUDGET_FIELDS)                                                                  \
    S(op_list_budgets, AB_OP_LIST_BUDGETS_FIELDS)                                                              \
    S(op_list_budgets_answer, AB_OP_LIST_BUDGETS_ANSWER_FIELDS)                                                \
    S(budget_record, AB_BUDGET_RECORD_FIELDS)                                                                  \
    S(token_record, AB_TOKEN_RECORD_FIELDS)                                                                    \
    S(op_create_token, AB_OP_CREATE_TOKEN_FIELDS)                                                              \
    S(op_token_answer, AB_OP_TOKEN_ANSWER_FIELDS)                                                              \
    S(op_list_tokens, AB_OP_LIST_TOKENS_FIELDS)                                                                \
    S(op_list_tokens_answer, AB_OP_LIST_TOKENS_ANSWER_FIELDS)                                                  \
    S(op_revoke_token, AB_OP_REVOKE_TOKEN_FIELDS)                                                              \
    S(op_check_token, AB_OP_CHECK_TOKEN_FIELDS)                                                                \
    S(op_check_token_answer, AB_OP_CHECK_TOKEN_ANSWER_FIELDS)                                                  \
    S(op_token_used, AB_OP_TOKEN_USED_FIELDS)                                                                  \
    S(op_job_status, AB_OP_JOB_STATUS_FIELDS)                                                                  \
    S(op_job_status_answer, AB_OP_JOB_STATUS_ANSWER_FIELDS)                                                    \
    S(op_status_answer, AB_OP_STATUS_ANSWER_FIELDS)

#define S(name, LIST) AB_STRUCT(name, LIST)
AB_OP_SCHEMAS(S)
#undef S
#define S(name, LIST) extern const struct ab_schema ab_##name##_schema;
AB_OP_SCHEMAS(S)
#undef S

enum ab_op {
#define X(name, number, kind, by, request, answer, doc) AB_OP_##name = number,
    AB_OPERATIONS(X)
#undef X
};

struct ab_op_row {
    uint8_t number;
    enum ab_op_kind kind;
    unsigned by; /* bits of AB_BY_… */
    const char *name;
    const struct ab_schema *request, *answer;
    const char *doc;
};
extern const struct ab_op_row ab_ops[];
extern const size_t ab_ops_n;
const struct ab_op_row *ab_op_by_name(struct ab_view name); /* NULL if unknown */
const struct ab_op_row *ab_op_by_number(uint64_t number);   /* NULL if unknown */

#endif
