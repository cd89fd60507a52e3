/* The fields of operations on jobs: what the broker and workers write and read of them, their files, what clients see
 * of them, runs of other services. operations.h has the table. */
#ifndef AB_COMMON_WIRE_OPERATIONS_JOBS_H
#define AB_COMMON_WIRE_OPERATIONS_JOBS_H

#include "common/wire/messages.h"

/* ---- the broker's ---- */
#define AB_OP_EPOCH_FIELDS(F, o)                                                                               \
    F(o, STR, build, OPT, AB_NAME_MAX, "")                                                                     \
    F(o, ID, id, OPT, 0,                                                                                       \
      "made by the broker at its start; the same id again, while no other came, is the same epoch")
#define AB_OP_EPOCH_ANSWER_FIELDS(F, o)                                                                        \
    F(o, UINT, epoch, REQ, 0, "the new one, on disk")                                                          \
    F(o, ANY, queues, OPT, 0, "array of queue_halt maps: all there are")

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
    F(o, STR, ask, OPT, AB_STEP_MAX, "")                                                                       \
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
    F(o, STR, user, OPT, AB_USER_MAX,                                                                          \
      "whose job it is; absent: the asker is the broker or a worker, never a client")                          \
    F(o, UINT, after, OPT, 0, "seq")                                                                           \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")                                                                    \
    F(o, BOOL, raw, OPT, 0, "also the very bytes of these events")
#define AB_OP_JOURNAL_ANSWER_FIELDS(F, o)                                                                      \
    F(o, ANY, events, REQ, 0, "array of events, seq after+1 …")                                                \
    F(o, BIN, raw, OPT, 0, "the same events one after the other, without the array around them")               \
    F(o, UINT, seq, OPT, 0, "of the last one here")                                                            \
    F(o, STR, end, OPT, 16, "end state, if the last one here ends the job")                                    \
    F(o, BOOL, more, OPT, 0, "")                                                                               \
    F(o, STR, ended, OPT, 16, "end state, if the job has ended, whatever stands here")                         \
    F(o, UINT, last, OPT, 0, "with it: seq of its end event; absent if that was deleted")

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

#define AB_OP_PUT_RUN_FILE_FIELDS(F, o)                                                                        \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, ID, job, REQ, 0, "one that was imported")                                                             \
    F(o, STR, hash, REQ, 64, "of the content of one of its files")                                             \
    F(o, UINT, at, OPT, 0, "bytes before this piece")                                                          \
    F(o, BIN, data, REQ, 512 << 10, "the piece: 524288 bytes, or less if it is the last one")

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

#endif
