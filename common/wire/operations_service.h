/* The fields of operations on the service itself: prices, budgets, tokens, figures. operations.h has the table. */
#ifndef AB_COMMON_WIRE_OPERATIONS_SERVICE_H
#define AB_COMMON_WIRE_OPERATIONS_SERVICE_H

#include "common/wire/messages.h"

enum { AB_PRICES_MAX = 1000 };               /* rows */
#define AB_PRICE_MAX UINT64_C(1000000000000) /* 1 USD per token */
enum { AB_TOKENS_MAX = 10000, AB_TOKEN_HASH_BYTES = 32 };

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
    F(o, STR, user, OPT, AB_USER_MAX, "required of a client")                                                  \
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

/* ---- usage: what model calls took, whatever has become of the jobs since ---- */
#define AB_OP_USAGE_FILTER(F, o)                                                                               \
    F(o, STR, by, OPT, 16,                                                                                     \
      "one row for each user, session (that exists), model, agent or day; total (default): one row")           \
    F(o, UINT, since_ms, OPT, INT64_MAX, "wall clock: from that day (UTC) on")                                 \
    F(o, UINT, until_ms, OPT, INT64_MAX, "wall clock: only days (UTC) that began before it")                   \
    F(o, STR, model, OPT, 256, "only of this model, as the endpoint names it")                                 \
    F(o, STR, agent, OPT, AB_NAME_MAX, "only of agents of this name")                                          \
    F(o, STR, after, OPT, 512, "cursor")                                                                       \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_USAGE_FIELDS(F, o)                                                                               \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, OPT, AB_NAME_MAX, "only of this session")                                               \
    AB_OP_USAGE_FILTER(F, o)
#define AB_OP_USAGE_ALL_FIELDS(F, o)                                                                           \
    F(o, STR, of, OPT, AB_USER_MAX, "only of this user")                                                       \
    AB_OP_USAGE_FILTER(F, o)
#define AB_OP_USAGE_ANSWER_FIELDS(F, o)                                                                        \
    F(o, ANY, usage, REQ, 0, "array of usage maps, by key; days: the oldest first")                            \
    F(o, STR, next, OPT, 512, "")
#define AB_USAGE_RECORD_FIELDS(F, o)                                                                           \
    F(o, STR, key, REQ, 512, "which user, session, model, agent or day (2030-12-31); empty: total")            \
    F(o, UINT, calls, REQ, 0, "replies of models that jobs journaled; what a fork copied is not among them")   \
    F(o, UINT, cached_calls, REQ, 0, "of these: answered from a worker's memory, for nothing")                 \
    F(o, UINT, prompt_tokens, REQ, 0, "")                                                                      \
    F(o, UINT, completion_tokens, REQ, 0, "")                                                                  \
    F(o, UINT, cached_tokens, REQ, 0, "a subset of the prompts'")                                              \
    F(o, UINT, reasoning_tokens, REQ, 0, "a subset of the completions'")                                       \
    F(o, UINT, cost_pico_usd, REQ, 0, "1e-12 USD; without the unpriced calls")                                 \
    F(o, UINT, unpriced_calls, REQ, 0, "of these nobody knows what they cost")                                 \
    F(o, UINT, model_ms, REQ, 0, "spent in these calls")                                                       \
    F(o, UINT, jobs, REQ, 0, "that ended; 0 by model and agent: a job may use several")

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

/* ---- figures ---- */
#define AB_OP_STORAGE_STATUS_ANSWER_FIELDS(F, o)                                                               \
    F(o, UINT, schema, REQ, 0, "version of the database")                                                      \
    F(o, UINT, jobs, OPT, 0, "ever accepted")                                                                  \
    F(o, UINT, open, OPT, 0, "not ended")                                                                      \
    F(o, UINT, commits, OPT, 0, "since start")                                                                 \
    F(o, UINT, operations, OPT, 0, "written since start")                                                      \
    F(o, UINT, commit_us, OPT, 0, "spent in commits since start, their syncs included")                        \
    F(o, UINT, wal_bytes, OPT, 0, "")                                                                          \
    F(o, STR, writable, OPT, AB_ERROR_TEXT_MAX, "empty if so, else why not")                                   \
    F(o, STR, build, OPT, AB_NAME_MAX, "")                                                                     \
    F(o, UINT, unindexed, OPT, 0, "messages that a search does not find yet")                                  \
    F(o, BOOL, reindexing, OPT, 0, "the text index is being made anew: nor older ones")

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
      "why it does not run: limit, session, credit, schedule, person, budget, paused, queue (its queue is "    \
      "halted)")                                                                                               \
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

/* ---- queues: halted by people. A row of storage, and what the broker makes of it ---- */
enum { AB_QUEUES_MAX = 1000, AB_QUEUE_REASON_MAX = 256 };
#define AB_QUEUE_HALT_FIELDS(F, o)                                                                             \
    F(o, STR, pool, REQ, AB_NAME_MAX, "its queue; * is every pool's")                                          \
    F(o, STR, of, OPT, AB_USER_MAX, "only jobs of this user; absent: of all")                                  \
    F(o, STR, state, REQ, 16,                                                                                  \
      "paused: no job of it is given to a worker. draining: that, and no new one is taken. running: neither")  \
    F(o, STR, by, OPT, AB_USER_MAX, "who said so")                                                             \
    F(o, STR, reason, OPT, AB_QUEUE_REASON_MAX, "")                                                            \
    F(o, UINT, at_ms, OPT, INT64_MAX, "wall clock")
#define AB_OP_CONTROL_QUEUE_FIELDS(F, o)                                                                       \
    F(o, STR, user, REQ, AB_USER_MAX, "who says so")                                                           \
    F(o, STR, pool, REQ, AB_NAME_MAX, "its queue; * is every pool's")                                          \
    F(o, STR, state, REQ, 16, "running, paused or draining")                                                   \
    F(o, STR, of, OPT, AB_USER_MAX, "only jobs of this user; absent: of all")                                  \
    F(o, STR, reason, OPT, AB_QUEUE_REASON_MAX, "shown wherever somebody asks why a job does not run")
#define AB_OP_QUEUES_FIELDS(F, o)                                                                              \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, BOOL, all, OPT, 0, "rows of all users, not only of this one")
#define AB_OP_QUEUES_ANSWER_FIELDS(F, o)                                                                       \
    F(o, ANY, queues, REQ, 0,                                                                                  \
      "array of queue maps, at most 1000: of each pool, then of users who have open jobs there or are halted") \
    F(o, BOOL, more, OPT, 0, "there are more")
#define AB_QUEUE_RECORD_FIELDS(F, o)                                                                           \
    F(o, STR, pool, REQ, AB_NAME_MAX, "* with a halt of all pools")                                            \
    F(o, STR, of, OPT, AB_USER_MAX, "absent: the whole pool")                                                  \
    F(o, STR, state, REQ, 16, "running, paused or draining; by its own halt or one of all pools")              \
    F(o, UINT, open, REQ, 0, "jobs that have not ended")                                                       \
    F(o, UINT, ready, REQ, 0, "of these: wait for their turn only")                                            \
    F(o, UINT, running, REQ, 0, "of these: a worker has them")                                                 \
    F(o, UINT, oldest_ready_ms, REQ, 0, "how long the one that is next in its user's queue has been ready")    \
    F(o, UINT, workers, REQ, 0, "that serve the pool")                                                         \
    F(o, UINT, slots, REQ, 0, "jobs these run at once")                                                        \
    F(o, STR, by, OPT, AB_USER_MAX, "who halted it")                                                           \
    F(o, STR, reason, OPT, AB_QUEUE_REASON_MAX, "")                                                            \
    F(o, UINT, at_ms, OPT, 0, "wall clock: since when it is halted")

#endif
