/* A world for the broker's core without sockets: peers that only exist as numbers, and a storage in memory that
 * follows storage's rules for appends. What the core sends is recorded; storage answers when the test says so.
 */
#ifndef TESTS_UNIT_BROKER_WORLD_H
#define TESTS_UNIT_BROKER_WORLD_H

#include "broker/internal.h"

enum { WORLD_PEERS = 4096, WORLD_ANSWERS = 8 };

struct sent {
    uint32_t peer;
    enum ab_command command;
    struct ab_buf header, body;
};
struct world_op {
    enum ab_op op;
    struct ab_buf request;
    struct ticket ticket;
    bool read;
};
struct world_event {
    uint64_t token;
    struct ab_buf bytes;
};
struct world_job {
    struct ab_id id;
    struct ab_buf submit; /* op_submit */
    struct world_event *events;
    size_t events_n, events_gone; /* gone: the first ones, by the retention */
    char end[16], wait[16];
    uint64_t wake_at_ms, inbox_k, ends;
    bool retry, cancel, paused;
    uint64_t failures, attempts;
    struct ab_id answers[WORLD_ANSWERS]; /* messages that were taken for answers */
};
struct world {
    struct core *core;
    struct core_config config;
    int64_t now_ms, wall_ms;
    struct sent *sent;
    size_t sent_n, sent_at; /* sent_at: the next to be looked at by world_next */
    struct world_op *ops;
    size_t ops_n;
    struct world_job *jobs; /* n = index + 1 */
    size_t jobs_n;
    uint64_t epoch;
    bool full, busy[WORLD_PEERS], gone[WORLD_PEERS];
    uint64_t forgotten;
    uint64_t wake_at_ms;     /* of what world_events sends next with wait */
    struct ab_buf halt;      /* of a queue, as it was stored last */
    struct ab_notice notice; /* of storage, to be told after the answer */
};

/* Cold: storage has not answered. */
void world_init(struct world *world);
/* Ready: epoch and open jobs have been read. */
void world_start(struct world *world);
void world_restart(struct world *world); /* a new broker on the same storage; all peers are gone */
void world_finish(struct world *world);

void world_say(struct world *world, enum core_side side, uint32_t peer, enum ab_command command,
               const void *message, struct ab_view body);
void world_tick(struct world *world, int64_t ms);
/* Storage does what waits (at most n operations). */
void world_store(struct world *world, size_t n);
void world_store_all(struct world *world); /* and what follows from it, with ticks that take no time */
/* The first waiting operation: answered with an error. */
void world_refuse(struct world *world, int code);
/* The first waiting read overtakes the writes before it. */
void world_store_read(struct world *world);
/* Done, but the answer is lost: the link will send it again. */
void world_store_unanswered(struct world *world, size_t n);

/* The next recorded message of that kind to that peer, from sent_at on; NULL: none. *out is decoded if not NULL. */
const struct sent *world_find(struct world *world, uint32_t peer, enum ab_command command, void *out);
size_t world_count(const struct world *world, uint32_t peer, enum ab_command command);
void world_forget_sent(struct world *world);

/* Short cuts. */
void world_client(struct world *world, uint32_t peer);
void world_worker(struct world *world, uint32_t peer, const char *name, unsigned slots);
struct ab_id world_id(unsigned number);
void world_submit(struct world *world, uint32_t peer, unsigned number, const char *user, const char *more);
struct world_job *world_job(struct world *world, unsigned number);
/* EVENTS with one event: kind turn; end, wait and retry as given. */
void world_events(struct world *world, uint32_t peer, const struct ab_job *job, uint64_t seq, const char *end,
                  const char *wait, bool retry);

/* EVENTS with `paused`: the attempt is over. */
void world_pauses(struct world *world, uint32_t peer, const struct ab_job *job, uint64_t seq);

/* ---- broker_fixture.c: a started world with two clients, for the rule tests ---- */

enum { CLIENT = 1, OTHER = 2, WORKER = 10, WORKER2 = 11 };

int world_setup(void **state); /* one world at a time; cmocka's state */
int world_teardown(void **state);
/* The next JOB of that worker; fails the test if there is none. */
struct ab_job world_take(struct world *world, uint32_t worker);
/* A job of ann's that has just been given to WORKER, which is made if there is none. */
struct ab_job world_running(struct world *world, unsigned number, const char *more);
/* A row for the inbox of that job, from CLIENT. */
void world_inbox(struct world *world, unsigned number, const char *kind);
/* Time passes in small steps, with heartbeats of CLIENT and of `beating` (0: nobody else). */
void world_pass(struct world *world, int64_t ms, uint32_t beating);
const char *world_last_state(struct world *world, unsigned number); /* its end state on disk, or "" */
/* job_status of ann's job; `why` begins like this. */
struct ab_op_job_status_answer world_status(struct world *world, unsigned number);
void world_assert_status(struct world *world, unsigned number, const char *state, const char *why);
/* The peer's next EVENTs are those from one seq to another. */
void world_assert_events(struct world *world, uint32_t peer, uint64_t from, uint64_t to);
void world_watch(struct world *world, uint32_t peer, unsigned number, uint64_t after, const char *want,
                 bool deltas);
/* The next NOTICE of that worker is of this kind. */
void world_assert_notice(struct world *world, uint32_t worker, const char *kind);
/* The peer's next ERROR has this code, this path (NULL: any) and a text. */
void world_assert_error(struct world *world, uint32_t peer, const char *code, const char *path);

#endif
