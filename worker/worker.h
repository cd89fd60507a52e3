/* The worker's shell: one loop over the broker's socket, storage's socket and the model client's descriptor.
 *
 * worker.c    the process: greeting, commands, credit, heartbeats, draining
 * link.c      a connection and its liveness
 * queries.c   questions to storage, asked until they are answered
 * workflows.c parsed workflows by hash
 * runs.c      the table of jobs at hand, their making and dropping
 * steps.c     what a job does next: load, fold, perform
 * calls.c     model calls
 * feed.c      text that streams while it is made
 * budget.c    what they may take, reserved before they are made
 * pricing.c   what they cost (prices.c: the arithmetic)
 * codes.c     code blocks and the files they find and leave (code_files.c, code_attach.c)
 * toolkits.c  the tools that agents have, and where they come from
 * toolcalls.c calls of tools
 * skills.c    skills that agents name (skill_calls.c: their calls)
 * journal.c   events on their way to the disk
 *
 * The engine decides (worker/engine), the model client asks models (worker/model), the sandbox runs code (worker/exec),
 * tools answer (worker/tool); none knows of another.
 * Plain structs, visible inside worker/ only. One thread.
 */
#ifndef AB_WORKER_WORKER_H
#define AB_WORKER_WORKER_H

#include <sys/queue.h>

#include "common/config.h"
#include "common/wire/operations.h"
#include "worker/engine/engine.h"
#include "worker/link.h"
#include "worker/model/model.h"
#include "worker/prices.h"
#include "worker/secrets.h"
#include "worker/tool/tool.h"
#include "worker/workflows.h"

enum {
    WORKER_RUN_BUCKETS = 1024,
    WORKER_RETRY_MS = 20,         /* before a message that could not be sent is tried again */
    WORKER_REFUSED_MS = 200,      /* before a refused request is made again */
    WORKER_UNANSWERED_MS = 5000,  /* before a question to storage that got no answer is asked again */
    WORKER_INBOX_ROWS_MAX = 1000, /* unconsumed rows of one job */
    WORKER_INLINE_BYTES_MAX = 64 << 20,
    PRICING_EVERY_MS = 1000, /* before the price rows are asked for again */
};

struct worker;
struct run;

/* ---- journal.c: events of one job on their way to the disk ---- */

/* Events that go into one EVENTS message. */
struct batch {
    struct ab_buf events; /* raw, one after the other; once sent: the whole body */
    uint32_t count;
    uint64_t first_seq;
    struct ab_events head; /* end, wait, retry: of its last event; texts are static */
    bool closes;           /* nothing of this attempt follows it */
    bool call;             /* it is one `call_started`, which may be refused by itself */
};

/* Encodes the event, applies it to the engine and puts it into the batch that is sent next. A failure is a fault of
 * ours, or a journal that does not fit. */
int journal_add(struct run *run, enum ab_event_kind kind, const void *event, struct ab_error *err);
/* How many more events may be added before the batch must go. */
uint32_t journal_room(const struct run *run);
/* True if all that was added is on disk; if the first so many events that the engine applied are. */
bool journal_settled(const struct run *run);
bool journal_holds(const struct run *run, uint64_t events);
/* True once the attempt's last event was added. */
bool journal_closed(const struct run *run);
/* Sends what can be sent now; called once per wake-up for each run that something happened to. */
void journal_flush(struct run *run);
void journal_resend(struct run *run);
/* COMMITTED(seq), CONFLICT and a final refusal. committed returns true if the attempt is over and the run to be dropped. */
bool journal_committed(struct run *run, uint64_t seq);
void journal_conflict(struct run *run, const struct ab_lease *lease);
bool journal_refused(struct run *run, const struct ab_error *error); /* true: drop it */
void journal_finish(struct run *run);

/* The ways an attempt ends; each adds the last event. */
void journal_end(struct run *run, const char *state, const char *stop_reason, const struct ab_error *error);
void journal_retry(struct run *run, const struct ab_error *error);
void journal_wait(struct run *run, const struct engine_effect *effect);
void journal_pause(struct run *run);
void journal_park(struct run *run); /* for a budget: no_room */

/* ---- runs.c: the jobs at hand ---- */

struct inbox_row {
    uint64_t k;
    char *kind, *ask, *text; /* owned; ask "" if it names none */
    STAILQ_ENTRY(inbox_row) in_inbox;
};

/* Text that streams while it is made. */
struct feed {
    const char *step, *agent; /* borrowed */
    uint64_t attempt;         /* told in DELTA: changes when the text begins anew */
    struct ab_buf text;       /* so far; from `sent` on if watched, else its first AB_DELTA_MAX bytes */
    uint64_t sent;            /* bytes of this attempt's text that went out as DELTA */
    uint64_t lost;            /* bytes that nobody watched and that were over the cap */
};

/* A model call in flight; one of several of its run, if its agents talk at the same time. */
struct call {
    struct run *run;
    struct model_call *handle;
    struct engine_effect effect; /* its prompt and text are not to be used */
    struct feed feed;
    uint64_t
        trimmed; /* the model's context was too small for more than so many estimated tokens; 0: it was not */
    uint32_t max_tokens; /* of a budget; 0: what the workflow says */
    TAILQ_ENTRY(call) in_run;
};

struct run {
    struct worker *worker;
    struct ab_id job;
    char *user, *session; /* owned; session "" if there is none */
    uint64_t n, attempt, token;
    uint64_t job_seq;   /* of the journal when the job was given to us; our events follow it */
    int64_t started_ms; /* monotonic, for the log */

    /* what it is made of */
    struct workflow_entry *workflow;
    struct ab_buf secrets; /* raw array of sealed values */
    json_t *content;       /* until the engine has it */
    struct engine *engine;
    struct ab_buf journal; /* raw events not yet folded */
    uint64_t folded_seq;
    struct ab_buf history; /* of the session: raw array, until `begin` */
    struct ab_buf given;   /* the same, as it came with the job */
    bool history_wanted, history_known;
    bool asking; /* a query of this run is under way: it goes on with the answer */

    /* where it stands */
    struct batch unsent, in_flight;
    uint64_t committed_seq;
    int64_t
        engine_seq; /* of the journal, less what the engine counts: its event n is seq engine_seq + n. Below 0 if more was
                            taken back than was there before. */
    bool sent;        /* in_flight went out on the current connection */
    bool attach_due;  /* the broker must be told that we still run it */
    bool attaching;   /* it was told; no answer yet */
    bool refused;     /* its events were; what is under way now says so */
    int64_t again_ms; /* nothing is sent before; monotonic */
    bool watched;
    unsigned budget; /* AB_UNDER_…, as the broker said last */
    struct call
        *reserving; /* its call_started is on its way to the disk, as event reserved_seq; NULL: none is */
    uint64_t reserved_seq;
    unsigned budget_tries;    /* bounds that were too long */
    struct ab_waiting wanted; /* what the last reservation asked for; its texts are the workflow's */
    char *no_room;   /* owned: why it was refused; the job parks when its calls are over. NULL: it was not */
    bool paused;     /* nothing new is begun: what is under way is journaled, then it is let go */
    char *cancelled; /* why; NULL: it is not */
    TAILQ_HEAD(call_list, call) calls;
    size_t calls_n;
    TAILQ_HEAD(code_list, code) codes; /* code blocks under way */
    TAILQ_HEAD(workspace_list, workspace) spaces;
    TAILQ_HEAD(toolkit_list, toolkit) toolkits;        /* of its agents that have tools */
    TAILQ_HEAD(toolcall_list, toolcall) toolcalls;     /* announced or under way */
    TAILQ_HEAD(skill_list, skill) skills;              /* that were looked up */
    TAILQ_HEAD(skill_offer_list, opened) skill_offers; /* entries of its toolboxes */
    TAILQ_HEAD(skillcall_list, skillcall) skillcalls;  /* under way */
    size_t libraries;                                  /* made so far, for their names */
    struct ab_error
        gave_up; /* why this attempt ends as soon as the calls under way are over; code 0: it does not */
    STAILQ_HEAD(inbox_list, inbox_row) inbox;
    size_t inbox_rows;
    uint64_t inbox_seen; /* greatest k that is known here */
    uint64_t asked_k;    /* inbox_seen when a person was last asked */
    uint64_t input_k;    /* the greatest k that the journal, as far as it is folded, has consumed */
    bool inbox_known;    /* the rows on disk are in `inbox` */

    bool awake; /* in the worker's list of runs to look at */
    SLIST_ENTRY(run) in_bucket;
    TAILQ_ENTRY(run) in_all;
    TAILQ_ENTRY(run) in_awake;
};

struct run *runs_find(struct worker *worker, struct ab_id job); /* NULL if it is not at hand */
void runs_take(struct worker *worker, const struct ab_job *job, struct ab_view body); /* a run from JOB */
/* What the job is about: message and history. */
int run_take_input(struct run *run, const struct ab_input *input, struct ab_error *err);
/* Forgets it: aborts its call, sends nothing. */
void run_drop(struct run *run);
/* It is looked at before this wake-up ends. */
void run_wake(struct run *run);
/* A row from the disk, in the order of k. */
void run_add_inbox(struct run *run, uint64_t k, struct ab_view kind, struct ab_view ask, struct ab_view text);
/* A row that the broker tells of. If rows before it may be on disk only, it is left to the next load. */
void run_hear_inbox(struct run *run, uint64_t k, struct ab_view kind, struct ab_view ask, struct ab_view text);
void run_pop_inbox(struct run *run);
void run_cancel(struct run *run, struct ab_view reason);

/* ---- steps.c ---- */

/* Goes as far as it can without waiting: loads what is missing, folds, performs effects, sends. May not drop the run. */
void run_step(struct run *run);

/* ---- feed.c ---- */

void feed_init(const struct run *run, struct feed *feed, const char *step, const char *agent);
void feed_add(struct run *run, struct feed *feed, struct ab_view text);
void feed_flush(struct run *run, struct feed *feed); /* nothing happens if nobody watches */
void feed_clear(struct feed *feed);
/* The longest beginning of the text that is at most bytes_max long and ends with a whole character. */
size_t feed_whole(const char *text, size_t bytes, size_t bytes_max);

/* ---- calls.c ---- */

/* Makes the call of this effect, unless it is under way. */
void call_start(struct run *run, const struct engine_effect *effect);
/* The parts of it: the call under way with that step, or NULL; one that is not begun; its request. */
struct call *call_of(const struct run *run, const char *step);
struct call *call_make(struct run *run, const struct engine_effect *effect);
void call_begin(struct call *call); /* may forget it */
void call_forget(struct call *call);
void calls_abort(struct run *run); /* all of them; nothing happens if there is none */
/* Something failed: for good at once, for now when all that is under way is over. */
void run_give_up(struct run *run, const struct ab_error *error);
void calls_flush_text(struct run *run);

/* ---- codes.c ---- */

/* Goes on with the code block of this effect. True: its event was added. err is set if it cannot be run. */
bool code_step(struct run *run, const struct engine_effect *effect, struct ab_error *err);
bool code_under_way(struct run *run, const char *step);
bool codes_use(const struct run *run, const char *folder); /* one works in that folder */
void codes_flush_text(struct run *run);
void codes_abort(struct run *run);  /* kills what runs */
void codes_finish(struct run *run); /* the directories too */
static inline bool run_busy(const struct run *run)
{
    return !TAILQ_EMPTY(&run->calls) || !TAILQ_EMPTY(&run->codes) || !TAILQ_EMPTY(&run->toolcalls);
}
/* ---- budget.c: jobs under a budget ---- */

/* Instead of call_start: writes down what the call may take, unless something has to be waited for first. */
void budget_reserve(struct run *run, const struct engine_effect *effect);
/* Makes the call whose reservation is on disk. */
void budget_go_on(struct run *run);
/* Storage has refused the reservation. later: there will be room when calls under way are settled. */
void budget_refused(struct run *run, struct ab_view why, bool later);
void budget_try_again(struct run *run);

/* ---- toolkits.c ---- */

/* The tools of the agent of this effect, whose `tools` are not NULL. NULL: they are not known yet, and the run is woken when
 * they are; or err says why they never will be. */
struct toolbox *toolkit_of(struct run *run, const struct engine_effect *effect, struct ab_error *err);
/* What the model is told of them, once they are known; a new reference, NULL if there are none. */
json_t *toolkit_described(struct run *run, const struct engine_effect *effect);
void toolkits_finish(struct run *run);
int toolkits_start(struct worker *worker, struct ab_error *err);

/* ---- toolcalls.c ---- */

/* Goes on with the tool call of this effect. True: an event of it was added. err is set if none could be. */
bool toolcall_step(struct run *run, const struct engine_effect *effect, struct ab_error *err);
bool toolcall_under_way(const struct run *run, const struct engine_effect *effect);
/* One is over whose result is not journaled yet. */
bool toolcalls_over(const struct run *run);
void toolcalls_abort(struct run *run);
/* Of calls under way, and of sources that are being asked: those that take too long are over. */
int64_t toolcalls_deadline(const struct worker *worker);
void toolcalls_tick(struct worker *worker, int64_t now_ms);
int64_t toolkits_deadline(const struct worker *worker);
void toolkits_tick(struct worker *worker, int64_t now_ms);

/* ---- queries.c ---- */

/* answer is valid during the call only; error is NULL or says why there is none. `run` is NULL for a query of no run. */
typedef void query_done_fn(struct worker *worker, struct run *run, struct ab_view answer,
                           const struct ab_error *error);
/* The same for whoever asks by itself. */
typedef void query_told_fn(void *user, struct ab_view answer, const struct ab_error *error);
struct query {
    uint64_t rid;
    struct ab_id job; /* whose it is, with token; zero: nobody's */
    uint64_t token;
    const struct ab_op_row *op;
    struct ab_buf request;
    query_done_fn *done;
    query_told_fn *told; /* instead of it */
    void *user;          /* of told */
    int64_t again_ms;    /* monotonic: it is not sent before, and at once then */
    TAILQ_ENTRY(query) in_list;
};
struct queries {
    TAILQ_HEAD(query_list, query) list;
    uint64_t last_rid;
};
void queries_ask(struct worker *worker, struct run *run, enum ab_op op, const void *request,
                 query_done_fn *done);
/* `told` is called once, unless the query is dropped before; the query is gone then. */
struct query *queries_ask_for(struct worker *worker, enum ab_op op, const void *request, query_told_fn *told,
                              void *user);
void query_drop(struct worker *worker, struct query *query);
void queries_answer(struct worker *worker, const struct ab_message *m);
void queries_resend(struct worker *worker); /* after a reconnect */
int64_t queries_deadline(const struct worker *worker, int64_t now_ms);
void queries_tick(struct worker *worker, int64_t now_ms);
void queries_finish(struct worker *worker);

/* ---- pricing.c ---- */

struct pricing {
    struct prices prices;
    int64_t at_ms; /* monotonic: when they are asked for again */
    bool asked, ready;
};
void pricing_tick(struct worker *worker, int64_t now_ms);
int64_t pricing_deadline(const struct worker *worker);
/* Of a reply whose other fields are filled in; `asked` is the model that the workflow names. Absent: unpriced. */
struct ab_maybe pricing_of(const struct worker *worker, struct ab_view provider, const char *asked,
                           const struct ab_model_reply *reply);

/* ---- worker.c ---- */

/* What the calls of models and tools that are over came to since the start, for the broker's status: X(name). */
#define WORKER_COUNTERS(X)                                                                                     \
    X(calls)                                                                                                   \
    X(calls_cached)                                                                                            \
    X(calls_unpriced)                                                                                          \
    X(prompt_tokens)                                                                                           \
    X(completion_tokens)                                                                                       \
    X(cached_tokens)                                                                                           \
    X(reasoning_tokens)                                                                                        \
    X(cost_pico_usd)                                                                                           \
    X(latency_ms)                                                                                              \
    X(tool_calls)                                                                                              \
    X(tool_calls_failed)                                                                                       \
    X(tool_ms)
struct worker_counters {
#define X(name) uint64_t name;
    WORKER_COUNTERS(X)
#undef X
};

struct worker {
    const struct ab_config *config;
    struct ab_loop *loop;
    struct link broker, storage;
    struct queries queries;
    struct secrets *secrets;
    struct secrets_pair pair; /* of the pool: request keys are sealed to it */
    struct model_host host;
    struct model_client *models;
    struct workflows workflows;
    struct pricing pricing;
    struct exec *exec;
    struct workdirs *workdirs;
    struct tools *tools;
    struct tool_builtins builtins;
    int64_t tool_ms_max;
    TAILQ_HEAD(preparing_list, toolkit) preparing; /* toolboxes that are not known yet */
    TAILQ_HEAD(calling_list, toolcall) calling;    /* calls under way */
    struct mcp *mcp;
    char *mcp_pins; /* owned */

    char name[AB_NAME_MAX];
    struct ab_id instance; /* of this process */
    const char *pool;
    size_t slots;
    struct engine_limits limits;
    uint64_t body_bytes_max;

    SLIST_HEAD(run_bucket, run) buckets[WORKER_RUN_BUCKETS];
    TAILQ_HEAD(run_list, run) all, awake;
    size_t runs;
    struct engine_effect effects[ENGINE_EFFECTS_MAX]; /* of the run that is being looked at */
    struct worker_counters counters;
    uint64_t credit_told; /* UINT64_MAX: none yet on this connection */
    bool unsent;          /* something could not be sent: try again soon */
    bool draining;        /* takes no jobs any more */
    int exit_code;
};

int worker_init(struct worker *worker, const struct ab_config *config, struct ab_error *err);
int worker_run(struct worker *worker); /* until SIGTERM; returns the exit code */
void worker_finish(struct worker *worker);

#endif
