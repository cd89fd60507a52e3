/* Every message of the protocol, once. The protocol page (common/README.md) is printed from these lists.
 *
 * A message is a command, a header (a map of the fields below) and a body (opaque to the broker; see each command);
 * packet.h says how they travel. A request carries `rid`, chosen by its sender; the answer repeats it.
 */
#ifndef AB_COMMON_WIRE_MESSAGES_H
#define AB_COMMON_WIRE_MESSAGES_H

#include "common/wire/schema.h"

enum { AB_VERSION_MIN = 1, AB_VERSION_MAX = 1 };

enum {
    AB_USER_MAX = 128,
    AB_NAME_MAX = 128,
    AB_STEP_MAX = 256,       /* a place in a run, which may be deep inside others; also the id of a question */
    AB_HEADER_MAX = 2 << 20, /* a SUBMIT may hold a workflow's text */
    AB_WORKFLOW_MAX = 1 << 20,
    AB_SECRETS_MAX = 64 << 10,
    AB_DELTA_MAX = 64 << 10,
    AB_HASH_BYTES = 32,
    AB_EVENTS_MAX = 64,  /* events in one append */
    AB_BUDGET_MAX = 256, /* limits as text (common/budget.h) */
    AB_WHY_MAX = 400,
};

/* ---- greeting ---- */
#define AB_HELLO_FIELDS(F, o)                                                                                  \
    F(o, STR, role, REQ, 16, "client, worker or broker")                                                       \
    F(o, UINT, vmin, REQ, 255, "lowest protocol version spoken")                                               \
    F(o, UINT, vmax, REQ, 255, "highest protocol version spoken")                                              \
    F(o, STR, build, OPT, AB_NAME_MAX, "program and version, for logs")                                        \
    F(o, STR, name, OPT, AB_NAME_MAX, "name for people: a worker's host and process id")                       \
    F(o, STR, pool, OPT, AB_NAME_MAX, "worker: the pool it serves (default: default)")                         \
    F(o, UINT, slots, OPT, 100000, "worker: the most jobs it runs at once")                                    \
    F(o, BIN, seal_key, OPT, 32, "worker: public key of its pool, to which request keys are sealed")           \
    F(o, ID, instance, OPT, 0,                                                                                 \
      "worker: made at its start, so that one that comes again is told from another of the same name")

#define AB_WELCOME_FIELDS(F, o)                                                                                \
    F(o, UINT, version, REQ, 255, "the version to speak")                                                      \
    F(o, UINT, session, REQ, 0, "this connection's session, for logs")                                         \
    F(o, UINT, epoch, REQ, 0, "the broker's epoch; grows by one at each start")                                \
    F(o, UINT, heartbeat_ms, REQ, 0, "send something at least this often; silence for 3 of them = gone")       \
    F(o, UINT, lease_ms, OPT, 0, "how long a job stays with a silent worker")                                  \
    F(o, UINT, body_bytes_max, REQ, 0, "greatest body accepted")                                               \
    F(o, STR, storage, OPT, 256, "the storage service's endpoint, for queries")                                \
    F(o, BIN, seal_key, OPT, 32, "public key of the default pool, if a worker announced one")                  \
    F(o, STR, build, OPT, AB_NAME_MAX, "program and version, for logs")

#define AB_FAILURE_FIELDS(F, o)                                                                                \
    F(o, UINT, rid, OPT, 0, "the request this answers; absent if it could not be read")                        \
    F(o, STR, code, REQ, 32, "see the error table")                                                            \
    F(o, STR, text, REQ, AB_ERROR_TEXT_MAX, "what is wrong, where, and what to do")                            \
    F(o, STR, path, OPT, AB_ERROR_PATH_MAX, "field name or JSON path")                                         \
    F(o, BOOL, retryable, OPT, 0, "the same request may succeed later")                                        \
    F(o, UINT, retry_after_ms, OPT, 0, "when")                                                                 \
    F(o, ID, job, OPT, 0, "the job it is about")                                                               \
    F(o, ANY, faults, OPT, 1 << 20, "all faults of a document: array of {path, what, hint}")

#define AB_PING_FIELDS(F, o) F(o, UINT, rid, OPT, 0, "repeated in PONG")

/* ---- clients ---- */
#define AB_SUBMIT_FIELDS(F, o)                                                                                 \
    F(o, UINT, rid, REQ, 0, "request id")                                                                      \
    F(o, ID, job, REQ, 0, "UUIDv7 made by the client; the idempotency key")                                    \
    F(o, STR, user, REQ, AB_USER_MAX, "who asks")                                                              \
    F(o, BIN, hash, OPT, AB_HASH_BYTES,                                                                        \
      "BLAKE2b-256 of the workflow's text; required unless there is fork_of")                                  \
    F(o, STR, workflow, OPT, AB_WORKFLOW_MAX,                                                                  \
      "the workflow's JSON text; needed when the service has not seen it, and always if its tools name "       \
      "stored "                                                                                                \
      "workflows, which are put in as they are then: the job has that one")                                    \
    F(o, STR, session, OPT, AB_NAME_MAX, "the session to go on with; absent: a new one is made")               \
    F(o, BOOL, no_session, OPT, 0, "a job that belongs to no session and leaves no messages")                  \
    F(o, INT, priority, OPT, 0, "within the user's own jobs; higher first; default 0")                         \
    F(o, UINT, not_before_ms, OPT, 0, "wall clock, ms since 1970: do not start earlier")                       \
    F(o, UINT, deadline_ms, OPT, 0, "wall clock: if it has not ended by then it ends as expired")              \
    F(o, STR, key, OPT, AB_NAME_MAX, "concurrency key, limited by the configuration")                          \
    F(o, STR, pool, OPT, AB_NAME_MAX, "the worker pool (default: default)")                                    \
    F(o, ANY, secrets, OPT, AB_SECRETS_MAX, "array of bin: sealed values, by the workflow's $secret numbers")  \
    F(o, STR, if_busy, OPT, 16,                                                                                \
      "what if the session's job has not ended: enqueue (default), reject, interrupt, new_job")                \
    F(o, ID, fork_of, OPT, 0,                                                                                  \
      "go on from a copy of this job's journal; its workflow, and its input if the body is nil")               \
    F(o, UINT, fork_seq, OPT, 0, "the last event that is copied; 0: none")                                     \
    F(o, STR, fork_text, OPT, 512 << 10,                                                                       \
      "instead of the text of that event: a turn, a model's reply or a person's answer")                       \
    F(o, STR, budget, OPT, AB_BUDGET_MAX,                                                                      \
      "the job's own limits, such as tokens=100000,usd=0.5; before those of the workflow, unit by unit")       \
    F(o, STR, watch, OPT, 8, "all or end: watch from the first event, as WATCH would")                         \
    F(o, BOOL, deltas, OPT, 0, "with watch: also send DELTA")

#define AB_ACCEPTED_FIELDS(F, o)                                                                               \
    F(o, UINT, rid, REQ, 0, "of SUBMIT")                                                                       \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, UINT, n, REQ, 0, "commit number: the order in which jobs were accepted")                              \
    F(o, STR, session, OPT, AB_NAME_MAX, "the job's session")                                                  \
    F(o, BOOL, created, OPT, 0, "false: the same job had been accepted before")                                \
    F(o, STR, state, OPT, 16, "its end state, if it had ended already")                                        \
    F(o, UINT, input, OPT, 0,                                                                                  \
      "the message was taken for the answer to the question of `job`: the row in its inbox")                   \
    F(o, UINT, seq, OPT, 0, "with input: the last event before the answer; WATCH after it")

#define AB_WATCH_FIELDS(F, o)                                                                                  \
    F(o, UINT, rid, REQ, 0, "request id, repeated if this fails")                                              \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, STR, user, REQ, AB_USER_MAX, "who asks")                                                              \
    F(o, UINT, after, OPT, 0,                                                                                  \
      "send events with a greater seq; if the job has ended before that: ERROR already_ended")                 \
    F(o, STR, want, OPT, 8, "all (default) or end")                                                            \
    F(o, BOOL, deltas, OPT, 0, "also send DELTA")

#define AB_UNWATCH_FIELDS(F, o) F(o, ID, job, REQ, 0, "")

#define AB_EVENT_FIELDS(F, o)                                                                                  \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, UINT, seq, REQ, 0, "1, 2, 3 … without gap (with want=end: only the last)")                            \
    F(o, STR, end, OPT, 16, "the end state, on the last event")

#define AB_DELTA_FIELDS(F, o)                                                                                  \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, UINT, token, OPT, 0, "from a worker: its lease")                                                      \
    F(o, STR, step, REQ, AB_STEP_MAX, "the step whose text this is")                                           \
    F(o, STR, agent, REQ, AB_NAME_MAX, "who speaks")                                                           \
    F(o, UINT, attempt, REQ, 0, "a changed attempt starts the text again")                                     \
    F(o, UINT, offset, REQ, 0, "bytes of this attempt's text before this piece")                               \
    F(o, STR, text, REQ, AB_DELTA_MAX, "the piece")

#define AB_INBOX_FIELDS(F, o)                                                                                  \
    F(o, UINT, rid, REQ, 0, "request id")                                                                      \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, STR, user, REQ, AB_USER_MAX, "who asks")                                                              \
    F(o, ID, id, REQ, 0, "made by the client; the same id again is the same row")                              \
    F(o, STR, kind, REQ, 16, "cancel, input, pause, resume or budget")                                         \
    F(o, STR, ask, OPT, AB_STEP_MAX, "input: the question it answers; absent: the open one")                   \
    F(o, STR, text, OPT, 1 << 20, "input: the answer; cancel: the reason; budget: the limits to set")

#define AB_RECEIPT_FIELDS(F, o)                                                                                \
    F(o, UINT, rid, REQ, 0, "of INBOX")                                                                        \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, UINT, k, REQ, 0, "the row's number in the job's inbox; it is on disk")

#define AB_QUERY_FIELDS(F, o)                                                                                  \
    F(o, UINT, rid, REQ, 0, "request id")                                                                      \
    F(o, STR, op, REQ, 32, "an operation of the table below; body: its request map")

#define AB_RESULT_FIELDS(F, o) F(o, UINT, rid, REQ, 0, "of QUERY; body: the operation's answer map")

#define AB_FOLLOW_FIELDS(F, o)                                                                                 \
    F(o, UINT, rid, REQ, 0, "request id, repeated in FOLLOWING and in each CHANGED")                           \
    F(o, STR, user, REQ, AB_USER_MAX, "who asks, and whose jobs")                                              \
    F(o, UINT, after, OPT, 0, "the last cursor that was told; absent: from now on")

#define AB_FOLLOWING_FIELDS(F, o)                                                                              \
    F(o, UINT, rid, REQ, 0, "of FOLLOW")                                                                       \
    F(o, UINT, cursor, REQ, 0, "what changes from here on is told")                                            \
    F(o, BOOL, reset, OPT, 0, "what changed before is not known (any more): list the jobs")

#define AB_CHANGED_FIELDS(F, o)                                                                                \
    F(o, UINT, rid, REQ, 0, "of FOLLOW")                                                                       \
    F(o, UINT, cursor, REQ, 0, "grows; for the next FOLLOW")                                                   \
    F(o, ID, job, REQ, 0, "storage says what it is now (get_job)")

#define AB_UNFOLLOW_FIELDS(F, o) F(o, UINT, rid, REQ, 0, "of FOLLOW")

/* ---- workers ---- */
#define AB_CREDIT_FIELDS(F, o)                                                                                 \
    F(o, UINT, credit, REQ, 100000, "jobs it may hold at once: not yet ended, parked, failed or released")

#define AB_JOB_FIELDS(F, o)                                                                                    \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, UINT, n, REQ, 0, "commit number")                                                                     \
    F(o, UINT, attempt, REQ, 0, "1, 2, …: dispatches of this job")                                             \
    F(o, UINT, token, REQ, 0, "fencing token: epoch << 40 | counter")                                          \
    F(o, UINT, seq, REQ, 0, "the last seq of the journal: the next event of this worker is seq + 1")           \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, OPT, AB_NAME_MAX, "absent: none")                                                       \
    F(o, BOOL, history, OPT, 0, "the session has earlier messages: ask storage for them")                      \
    F(o, BIN, hash, REQ, AB_HASH_BYTES, "of the workflow; its text is asked of storage once")                  \
    F(o, ANY, secrets, OPT, AB_SECRETS_MAX, "as submitted")                                                    \
    F(o, UINT, deadline_ms, OPT, 0, "as submitted")                                                            \
    F(o, UINT, budget, OPT, 255, "as in COMMITTED")                                                            \
    F(o, BOOL, more, OPT, 0, "the journal goes on: read the rest from storage, up to seq")                     \
    F(o, BOOL, watched, OPT, 0, "somebody wants DELTA")

#define AB_JOB_BODY_FIELDS(F, o)                                                                               \
    F(o, ANY, input, OPT, 0, "the body of SUBMIT; absent: ask storage (load)")                                 \
    F(o, ANY, journal, OPT, 0, "array of events, from seq 1; absent on the first attempt")

#define AB_EVENTS_FIELDS(F, o)                                                                                 \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, UINT, token, REQ, 0, "")                                                                              \
    F(o, UINT, seq, REQ, 0, "of the first event in the body")                                                  \
    F(o, UINT, count, REQ, AB_EVENTS_MAX, "events in the body, an array")                                      \
    F(o, STR, end, OPT, 16, "the last one ends the job: succeeded, failed or cancelled")                       \
    F(o, STR, wait, OPT, 16, "the last one parks the job: person, timer or budget; its slot is free")          \
    F(o, UINT, wake_at_ms, OPT, 0, "with wait or retry: wall clock at which it becomes ready")                 \
    F(o, UINT, inbox_seen, OPT, 0, "with wait: refused (CONFLICT) if the inbox holds a later row")             \
    F(o, BOOL, retry, OPT, 0, "the last one says why this attempt failed: run the job again later")            \
    F(o, BOOL, pause, OPT, 0, "the last one is `paused`, as a NOTICE wished: its slot is free")

#define AB_LEASE_FIELDS(F, o)                                                                                  \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, UINT, token, REQ, 0, "")                                                                              \
    F(o, UINT, seq, OPT, 0, "the last seq on disk")                                                            \
    F(o, UINT, budget, OPT, 255,                                                                               \
      "COMMITTED, CONFLICT: 0: no budget; else bits: 1 a call needs a `call_started`, 2 with its cost, 4 "     \
      "with its tokens")                                                                                       \
    F(o, STR, why, OPT, AB_WHY_MAX, "CONFLICT of a call_started: which budget has no room for it")             \
    F(o, BOOL, later, OPT, 0, "CONFLICT of a call_started: there is room once calls under way are paid")

#define AB_NOTICE_FIELDS(F, o)                                                                                 \
    F(o, ID, job, REQ, 0, "")                                                                                  \
    F(o, UINT, token, REQ, 0, "")                                                                              \
    F(o, UINT, k, REQ, 0, "its number; 0: not a row but a wish of the service")                                \
    F(o, STR, kind, REQ, 16,                                                                                   \
      "cancel; input; pause: make no new call, journal those under way, then `paused`; resume; "               \
      "watched: send DELTA from now on")                                                                       \
    F(o, STR, ask, OPT, AB_STEP_MAX, "")                                                                       \
    F(o, STR, text, OPT, 1 << 20, "")

#define AB_HEARTBEAT_FIELDS(F, o)                                                                              \
    F(o, ANY, tokens, OPT, 1 << 20, "worker: array of uint, the leases it holds; only these are renewed")      \
    F(o, ANY, counters, OPT, 4096, "worker: map of name to uint, what it did since its start; see status")

#define AB_DRAIN_FIELDS(F, o)                                                                                  \
    F(o, STR, reason, OPT, 256, "to a worker: give back what runs, take no more; from one: send no more")

/* ---- broker and storage ---- */
#define AB_BATCH_FIELDS(F, o)                                                                                  \
    F(o, UINT, rid, REQ, 0, "grows by one; resent after a reconnect until answered")                           \
    F(o, UINT, epoch, REQ, 0, "an older broker's batch is refused (STALE)")

#define AB_RESULTS_FIELDS(F, o)                                                                                \
    F(o, UINT, rid, REQ, 0, "of BATCH; body: array of [code, answer map], one per operation in order")

/* command, number, schema, who sends it to whom, body, meaning */
#define AB_COMMANDS(X)                                                                                         \
    X(HELLO, 1, hello, "any → broker, storage", "",                                                            \
      "first message on a connection; again after each reconnect")                                             \
    X(WELCOME, 2, welcome, "broker, storage → any", "", "accepted; the limits in force")                       \
    X(REJECT, 3, failure, "broker, storage → any", "", "refused; the connection is of no use")                 \
    X(ERROR, 4, failure, "any → any", "", "a request failed, or a message could not be understood")            \
    X(PING, 5, ping, "any → any", "", "asks for PONG")                                                         \
    X(PONG, 6, ping, "any → any", "", "alive")                                                                 \
    X(SUBMIT, 10, submit, "client → broker", "the input: {content, …}, see input", "a new job")                \
    X(ACCEPTED, 11, accepted, "broker → client", "", "the job is on disk")                                     \
    X(WATCH, 12, watch, "client → broker", "", "send the job's events; answered by EVENT or ERROR")            \
    X(UNWATCH, 13, unwatch, "client → broker", "", "no more events of this job")                               \
    X(EVENT, 14, event, "broker → client", "the event: {kind, …}", "one event of a watched job's journal")     \
    X(DELTA, 15, delta, "worker → broker → client", "", "a piece of a turn still being written; ephemeral")    \
    X(INBOX, 16, inbox, "client → broker", "", "a durable word to a job")                                      \
    X(RECEIPT, 17, receipt, "broker → client", "", "it is on disk")                                            \
    X(QUERY, 18, query, "any → broker, storage", "the request map", "an operation of the table")               \
    X(RESULT, 19, result, "broker, storage → any", "the answer map", "its answer")                             \
    X(FOLLOW, 20, follow, "client → broker", "",                                                               \
      "tell when a job of the user changes: its state, its attempt, its inbox")                                \
    X(FOLLOWING, 21, following, "broker → client", "", "the answer; again when too much was missed")           \
    X(CHANGED, 22, changed, "broker → client", "", "a job is another than it was")                             \
    X(UNFOLLOW, 23, unfollow, "client → broker", "", "no more of that")                                        \
    X(CREDIT, 30, credit, "worker → broker", "", "how many jobs it may hold")                                  \
    X(JOB, 31, job, "broker → worker", "{input, journal}, see job_body", "run this job")                       \
    X(EVENTS, 32, events, "worker → broker", "array of events", "append to the journal")                       \
    X(COMMITTED, 33, lease, "broker → worker", "", "on disk up to seq")                                        \
    X(STALE, 34, lease, "broker → worker", "", "the lease is lost: drop the job, send nothing more of it")     \
    X(CONFLICT, 35, lease, "broker → worker", "", "the wait was refused: a later inbox row exists; go on")     \
    X(ATTACH, 36, lease, "worker → broker", "", "after a reconnect: I still run this, committed up to seq")    \
    X(RELEASE, 37, lease, "worker → broker", "", "given back unfinished; not a failure")                       \
    X(NOTICE, 38, notice, "broker → worker", "", "an inbox row for a job it runs")                             \
    X(HEARTBEAT, 39, heartbeat, "any → broker, storage", "", "alive; renews leases")                           \
    X(DRAIN, 40, drain, "broker ↔ worker", "", "wind down")                                                    \
    X(BATCH, 50, batch, "broker → storage", "array of [op, bin of request map]",                               \
      "operations, each succeeds or is refused by itself")                                                     \
    X(RESULTS, 51, results, "storage → broker", "array of [code, answer map]", "their answers, after one sync")

enum ab_command {
#define X(name, number, schema, who, body, doc) AB_##name = number,
    AB_COMMANDS(X)
#undef X
};

/* ---- the input of a job (body of SUBMIT) ---- */
#define AB_INPUT_FIELDS(F, o)                                                                                  \
    F(o, ANY, content, REQ, 0, "the user's message: text, or an array of parts")                               \
    F(o, STR, msg_id, OPT, AB_NAME_MAX, "its message id; absent: made")                                        \
    F(o, ANY, metadata, OPT, 1 << 20, "kept with the message")                                                 \
    F(o, ANY, history, OPT, 1 << 20,                                                                           \
      "what was said before, behind what the session holds: array of {role, content}")                         \
    F(o, STR, root_msg_id, OPT, AB_NAME_MAX, "kept with the message, as what follows")                         \
    F(o, STR, timestamp, OPT, 40, "ISO 8601; absent: when it was committed")                                   \
    F(o, BOOL, personalize, OPT, 0, "")                                                                        \
    F(o, STR, ra, OPT, 1 << 20, "")                                                                            \
    F(o, STR, code, OPT, 1 << 20, "")

/* ---- journal events: {"kind": …, fields} ---- */
#define AB_STARTED_FIELDS(F, o)                                                                                \
    F(o, UINT, attempt, REQ, 0, "1, 2, …")                                                                     \
    F(o, STR, worker, REQ, AB_NAME_MAX, "its name")                                                            \
    F(o, UINT, crashes, OPT, 0,                                                                                \
      "how often only this job was to blame for its worker's death, since it last got on")                     \
    F(o, UINT, company, OPT, 0, "after such a death: how many suspects may run together, with this one")       \
    F(o, UINT, at_ms, REQ, 0, "wall clock")

#define AB_BEGIN_FIELDS(F, o)                                                                                  \
    F(o, UINT, engine, REQ, 0, "engine version that made this journal")                                        \
    F(o, UINT, seed, REQ, 0, "of everything random in the run")                                                \
    F(o, ANY, history, OPT, 0,                                                                                 \
      "what was said before: array of {id, role, content}; those that came with the job have no id")           \
    F(o, UINT, at_ms, REQ, 0, "wall clock")

#define AB_TURN_FIELDS(F, o)                                                                                   \
    F(o, STR, step, REQ, AB_STEP_MAX, "node path : that node's counter")                                       \
    F(o, STR, agent, REQ, AB_NAME_MAX, "who speaks")                                                           \
    F(o, STR, to, OPT, AB_NAME_MAX, "to whom")                                                                 \
    F(o, ANY, content, REQ, 0, "text, or an array of parts")                                                   \
    F(o, BOOL, edited, OPT, 0, "its text was given when the job was forked")                                   \
    F(o, STR, chosen, OPT, 16,                                                                                 \
      "in a groupchat, of a turn's first event, if neither a model nor a person chose its speaker: "           \
      "round_robin, random or only (nobody else might speak)")                                                 \
    F(o, UINT, at_ms, REQ, 0, "wall clock")

#define AB_MODEL_REPLY_FIELDS(F, o)                                                                            \
    F(o, STR, step, REQ, AB_STEP_MAX, "node path : that node's counter")                                       \
    F(o, STR, agent, REQ, AB_NAME_MAX, "who speaks")                                                           \
    F(o, STR, to, OPT, AB_NAME_MAX, "to whom")                                                                 \
    F(o, STR, purpose, OPT, 16,                                                                                \
      "absent: the agent's turn; speaker: it chose who speaks next in a groupchat; summary: the run's answer") \
    F(o, STR, chosen, OPT, 16, "as in turn")                                                                   \
    F(o, STR, provider, REQ, 32, "openai, azure or script")                                                    \
    F(o, STR, model, REQ, 256, "as the endpoint names it")                                                     \
    F(o, STR, content, REQ, 0, "the reply's text; may be empty")                                               \
    F(o, STR, reasoning, OPT, 0, "thoughts, if the model shows them")                                          \
    F(o, ANY, tool_calls, OPT, 0, "as the model sent them")                                                    \
    F(o, STR, finish_reason, REQ, 32, "stop, length, tool_calls or content_filter")                            \
    F(o, UINT, prompt_tokens, OPT, 0, "")                                                                      \
    F(o, UINT, completion_tokens, OPT, 0, "")                                                                  \
    F(o, UINT, cached_tokens, OPT, 0, "a subset of the prompt's")                                              \
    F(o, UINT, reasoning_tokens, OPT, 0, "a subset of the completion's")                                       \
    F(o, UINT, trimmed_tokens, OPT, 0,                                                                         \
      "the model's context was too small: it was sent no earlier message of the session, and not more than "   \
      "this, "                                                                                                 \
      "estimated; nor are the agent's later calls")                                                            \
    F(o, BOOL, estimated, OPT, 0, "the endpoint reported no usage; these are estimates")                       \
    F(o, BOOL, edited, OPT, 0, "its content was given when the job was forked")                                \
    F(o, BOOL, offline, OPT, 0, "made by the script provider, not by a model")                                 \
    F(o, BOOL, cached, OPT, 0, "of an earlier identical request (cache_seed): nothing was sent, cost 0")       \
    F(o, MAYBE, cost_pico_usd, OPT, INT64_MAX,                                                                 \
      "what it cost by the price in force then, in 1e-12 USD; absent: no price was known")                     \
    F(o, UINT, latency_ms, OPT, 0, "from sending the request to the end of the reply")                         \
    F(o, UINT, tries, OPT, 0, "requests it took")                                                              \
    F(o, STR, request_id, OPT, 256, "the endpoint's")                                                          \
    F(o, UINT, at_ms, REQ, 0, "wall clock")

#define AB_ATTEMPT_FAILED_FIELDS(F, o)                                                                         \
    F(o, UINT, attempt, REQ, 0, "")                                                                            \
    F(o, STR, code, REQ, 32, "see the error table")                                                            \
    F(o, STR, text, REQ, AB_ERROR_TEXT_MAX, "")                                                                \
    F(o, UINT, retry_at_ms, OPT, 0, "wall clock of the next attempt")                                          \
    F(o, UINT, at_ms, REQ, 0, "wall clock")

#define AB_WAITING_FIELDS(F, o)                                                                                \
    F(o, STR, reason, REQ, 16, "person, timer or budget")                                                      \
    F(o, STR, ask, OPT, AB_STEP_MAX, "the question's id")                                                      \
    F(o, STR, agent, OPT, AB_NAME_MAX, "who asks")                                                             \
    F(o, STR, prompt, OPT, 0, "the question")                                                                  \
    F(o, STR, budget, OPT, AB_WHY_MAX, "budget: which one, and why it has no room")                            \
    F(o, UINT, tokens, OPT, INT64_MAX, "budget: what the call may take at most")                               \
    F(o, MAYBE, cost_pico_usd, OPT, INT64_MAX, "budget: the same in money; absent: unpriced")                  \
    F(o, BOOL, turn, OPT, 0, "budget: it makes an agent's turn")                                               \
    F(o, UINT, until_ms, OPT, 0, "wall clock: then it goes on without an answer; absent: it waits for ever")   \
    F(o, UINT, inbox_seen, OPT, 0, "person: the newest inbox row before it: up to it nobody agrees to a call") \
    F(o, UINT, at_ms, REQ, 0, "wall clock")

#define AB_INPUT_EVENT_FIELDS(F, o)                                                                            \
    F(o, UINT, k, REQ, 0, "the inbox row it consumes")                                                         \
    F(o, STR, ask, OPT, AB_STEP_MAX, "the question it answers")                                                \
    F(o, STR, text, REQ, 1 << 20, "")                                                                          \
    F(o, BOOL, timeout, OPT, 0, "nobody answered in time: the agent's human_default, or nothing; k is 0")      \
    F(o, BOOL, edited, OPT, 0, "the text was given when the job was forked")                                   \
    F(o, UINT, at_ms, REQ, 0, "wall clock")

#define AB_CODE_RESULT_FIELDS(F, o)                                                                            \
    F(o, STR, step, REQ, AB_STEP_MAX, "node path : that node's counter")                                       \
    F(o, STR, agent, REQ, AB_NAME_MAX, "who ran it")                                                           \
    F(o, STR, to, OPT, AB_NAME_MAX, "whose message the code is from")                                          \
    F(o, STR, chosen, OPT, 16, "as in turn")                                                                   \
    F(o, UINT, block, REQ, 0, "which code block of that message, from 0")                                      \
    F(o, STR, language, REQ, 16, "python, sh or bash")                                                         \
    F(o, INT, exit_code, REQ, 0, "0: success; 124: stopped at its time limit; 137: at another")                \
    F(o, STR, stopped, OPT, AB_ERROR_TEXT_MAX, "why it was stopped, or not even started")                      \
    F(o, STR, output, REQ, 0, "the beginning of what it wrote, stdout and stderr")                             \
    F(o, UINT, output_bytes, OPT, 0, "all that it wrote")                                                      \
    F(o, UINT, duration_ms, OPT, 0, "")                                                                        \
    F(o, STR, isolation, OPT, 256, "what protected the machine from it; absent if it did not run")             \
    F(o, STR, skills, OPT, 8192, "that it could import: NAME@VERSION, with spaces")                            \
    F(o, STR, folder, OPT, AB_NAME_MAX, "of the job's files: which conversation's; absent: there is one only") \
    F(o, ANY, files, OPT, 0, "all files then: array of {path, hash (hex), bytes, executable}, by path")        \
    F(o, UINT, at_ms, REQ, 0, "wall clock")

#define AB_TOOL_STARTED_FIELDS(F, o)                                                                           \
    F(o, STR, step, REQ, AB_STEP_MAX, "node path : that node's counter")                                       \
    F(o, STR, agent, REQ, AB_NAME_MAX, "whose model calls it")                                                 \
    F(o, UINT, call, REQ, 0, "which of the reply's tool_calls, from 0")                                        \
    F(o, STR, tool, REQ, AB_NAME_MAX, "its name")                                                              \
    F(o, STR, arguments, REQ, 0, "JSON")                                                                       \
    F(o, STR, version, OPT, AB_NAME_MAX, "of the tool, if it has one: which text of a skill is run")           \
    F(o, UINT, at_ms, REQ, 0, "wall clock")

#define AB_TOOL_RESULT_FIELDS(F, o)                                                                            \
    F(o, STR, step, REQ, AB_STEP_MAX, "node path : that node's counter")                                       \
    F(o, STR, agent, REQ, AB_NAME_MAX, "whose model called it")                                                \
    F(o, UINT, call, REQ, 0, "which of the reply's tool_calls, from 0")                                        \
    F(o, STR, tool, REQ, AB_NAME_MAX, "its name")                                                              \
    F(o, BOOL, failed, OPT, 0, "content says why")                                                             \
    F(o, STR, content, REQ, 0, "what the model is told; of a long result the beginning")                       \
    F(o, UINT, content_bytes, OPT, 0, "of the whole result")                                                   \
    F(o, ANY, parts, OPT, 0, "what it gave besides text: array of content parts, such as images")              \
    F(o, STR, folder, OPT, AB_NAME_MAX, "of the job's files, as in code_result")                               \
    F(o, ANY, files, OPT, 0, "all files then, as in code_result; absent: they are as they were")               \
    F(o, UINT, duration_ms, OPT, 0, "")                                                                        \
    F(o, UINT, at_ms, REQ, 0, "wall clock")

#define AB_END_FIELDS(F, o)                                                                                    \
    F(o, STR, state, REQ, 16, "succeeded, failed, cancelled, expired or dead")                                 \
    F(o, STR, stop_reason, REQ, AB_NAME_MAX, "why the run ended")                                              \
    F(o, STR, content, OPT, 0, "the answer: the assistant's message")                                          \
    F(o, ANY, result, OPT, 0, "messages, usage, duration …: the assistant message's metadata")                 \
    F(o, STR, code, OPT, 32, "error code, unless succeeded")                                                   \
    F(o, STR, text, OPT, AB_ERROR_TEXT_MAX, "error text, unless succeeded")                                    \
    F(o, STR, path, OPT, AB_ERROR_PATH_MAX, "its place")                                                       \
    F(o, UINT, at_ms, REQ, 0, "wall clock")

#define AB_PAUSED_FIELDS(F, o) F(o, UINT, at_ms, REQ, 0, "wall clock")

#define AB_FORKED_FIELDS(F, o)                                                                                 \
    F(o, ID, of, REQ, 0, "the job of whose journal the events before this one are copies")                     \
    F(o, UINT, of_seq, OPT, 0, "up to this one of it; what concerned its attempts was left out")               \
    F(o, UINT, at_ms, REQ, 0, "wall clock")

#define AB_CALL_STARTED_FIELDS(F, o)                                                                           \
    F(o, STR, step, REQ, AB_STEP_MAX, "of the call; the same step again replaces it")                          \
    F(o, STR, agent, REQ, AB_NAME_MAX, "for whom")                                                             \
    F(o, STR, model, OPT, 256, "the first one that is asked")                                                  \
    F(o, UINT, tokens, REQ, INT64_MAX, "reserved: the prompt's as estimated (bytes/3) and max_tokens")         \
    F(o, UINT, max_tokens, OPT, INT64_MAX, "what the reply is held to")                                        \
    F(o, MAYBE, cost_pico_usd, OPT, INT64_MAX, "reserved: what those cost at most; absent: unpriced")          \
    F(o, BOOL, turn, OPT, 0, "it makes an agent's turn")                                                       \
    F(o, UINT, at_ms, REQ, 0, "wall clock")

/* event kind, schema, who writes it, meaning; all of them durable. Their order is that of the numbers in the database:
 * a new one goes to the end. */
#define AB_EVENT_KINDS(X)                                                                                      \
    X(STARTED, started, started, "broker", "the job was given to a worker")                                    \
    X(BEGIN, begin, begin, "worker", "the pinned inputs of the run")                                           \
    X(TURN, turn, turn, "worker", "a turn that needed no model")                                               \
    X(MODEL_REPLY, model_reply, model_reply, "worker",                                                         \
      "a model answered; without purpose also the agent's turn, unless it called tools it has")                \
    X(ATTEMPT_FAILED, attempt_failed, attempt_failed, "worker, broker",                                        \
      "this attempt is over; another follows")                                                                 \
    X(WAITING, waiting, waiting, "worker", "the job is parked")                                                \
    X(INPUT, input, input_event, "worker", "an inbox row was consumed")                                        \
    X(END, end, end, "worker, broker", "the job's one end; its last event")                                    \
    X(PAUSED, paused, paused, "worker", "this attempt is over, as was wished; another follows after resume")   \
    X(FORKED, forked, forked, "storage", "all before it was copied: what it used is not this job's")           \
    X(CODE_RESULT, code_result, code_result, "worker",                                                         \
      "a code block ran; after the last one, or one that failed, also the agent's turn")                       \
    X(CALL_STARTED, call_started, call_started, "worker",                                                      \
      "of a job under a budget: room for this call is reserved; alone in its message")                         \
    X(TOOL_STARTED, tool_started, tool_started, "worker",                                                      \
      "a tool is about to be called: from here on it may have had its effect")                                 \
    X(TOOL_RESULT, tool_result, tool_result, "worker", "a tool call is over, or was refused")

/* or one of these messages, which are not kept: command, who makes it, meaning. */
#define AB_EPHEMERAL(X)                                                                                        \
    X(DELTA, "worker",                                                                                         \
      "a piece of a turn that is being written, for those who ask for `deltas`; the whole turn follows as "    \
      "`model_reply`, whatever was missed")                                                                    \
    X(ERROR, "broker", "in place of the next event: the watch is over, `code` says why")

enum ab_event_kind {
    AB_KIND_UNKNOWN,
#define X(NAME, name, schema, who, doc) AB_KIND_##NAME,
    AB_EVENT_KINDS(X)
#undef X
        AB_KINDS
};

#define AB_SCHEMAS(S)                                                                                          \
    S(hello, AB_HELLO_FIELDS)                                                                                  \
    S(welcome, AB_WELCOME_FIELDS)                                                                              \
    S(failure, AB_FAILURE_FIELDS)                                                                              \
    S(ping, AB_PING_FIELDS)                                                                                    \
    S(submit, AB_SUBMIT_FIELDS)                                                                                \
    S(accepted, AB_ACCEPTED_FIELDS)                                                                            \
    S(watch, AB_WATCH_FIELDS)                                                                                  \
    S(unwatch, AB_UNWATCH_FIELDS)                                                                              \
    S(event, AB_EVENT_FIELDS)                                                                                  \
    S(delta, AB_DELTA_FIELDS)                                                                                  \
    S(inbox, AB_INBOX_FIELDS)                                                                                  \
    S(receipt, AB_RECEIPT_FIELDS)                                                                              \
    S(query, AB_QUERY_FIELDS)                                                                                  \
    S(result, AB_RESULT_FIELDS)                                                                                \
    S(follow, AB_FOLLOW_FIELDS)                                                                                \
    S(following, AB_FOLLOWING_FIELDS)                                                                          \
    S(changed, AB_CHANGED_FIELDS)                                                                              \
    S(unfollow, AB_UNFOLLOW_FIELDS)                                                                            \
    S(credit, AB_CREDIT_FIELDS)                                                                                \
    S(job, AB_JOB_FIELDS)                                                                                      \
    S(job_body, AB_JOB_BODY_FIELDS)                                                                            \
    S(events, AB_EVENTS_FIELDS)                                                                                \
    S(lease, AB_LEASE_FIELDS)                                                                                  \
    S(notice, AB_NOTICE_FIELDS)                                                                                \
    S(heartbeat, AB_HEARTBEAT_FIELDS)                                                                          \
    S(drain, AB_DRAIN_FIELDS)                                                                                  \
    S(batch, AB_BATCH_FIELDS)                                                                                  \
    S(results, AB_RESULTS_FIELDS)                                                                              \
    S(input, AB_INPUT_FIELDS)                                                                                  \
    S(started, AB_STARTED_FIELDS)                                                                              \
    S(begin, AB_BEGIN_FIELDS)                                                                                  \
    S(turn, AB_TURN_FIELDS)                                                                                    \
    S(model_reply, AB_MODEL_REPLY_FIELDS)                                                                      \
    S(attempt_failed, AB_ATTEMPT_FAILED_FIELDS)                                                                \
    S(waiting, AB_WAITING_FIELDS)                                                                              \
    S(input_event, AB_INPUT_EVENT_FIELDS)                                                                      \
    S(end, AB_END_FIELDS)                                                                                      \
    S(paused, AB_PAUSED_FIELDS)                                                                                \
    S(forked, AB_FORKED_FIELDS)                                                                                \
    S(code_result, AB_CODE_RESULT_FIELDS)                                                                      \
    S(call_started, AB_CALL_STARTED_FIELDS)                                                                    \
    S(tool_started, AB_TOOL_STARTED_FIELDS)                                                                    \
    S(tool_result, AB_TOOL_RESULT_FIELDS)

#define S(name, LIST) AB_STRUCT(name, LIST)
AB_SCHEMAS(S)
#undef S
#define S(name, LIST) extern const struct ab_schema ab_##name##_schema;
AB_SCHEMAS(S)
#undef S

/* err from a received ERROR or REJECT, and back: whole characters only. */
void ab_error_from(const struct ab_failure *failure, struct ab_error *err);
void ab_error_to(const struct ab_error *err, struct ab_failure *failure); /* views into err */

struct ab_command_row {
    uint8_t command;
    const char *name;
    const struct ab_schema *schema;
    const char *who, *body, *doc;
};
/* NULL if unknown. */
const struct ab_command_row *ab_command_row(uint8_t command);
extern const struct ab_command_row ab_commands[];
extern const size_t ab_commands_n;

struct ab_event_row {
    const char *kind;
    const struct ab_schema *schema;
    const char *who, *doc;
};
extern const struct ab_event_row ab_event_rows[AB_KINDS]; /* by enum ab_event_kind; [0] is empty */
/* The kind of a raw event; AB_KIND_UNKNOWN for one of a newer version. */
enum ab_event_kind ab_event_kind(struct ab_view event);
void ab_event_encode(struct ab_buf *out, enum ab_event_kind kind, const void *event);

/* Prints the tables of messages, events, errors and operations as Markdown (the protocol page). */
void ab_print_protocol(FILE *out);

#endif
