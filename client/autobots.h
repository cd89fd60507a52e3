/* autobots.h: the client library. Submit a chat job, watch its events, answer its questions, ask the store.
 *
 *   struct autobots_error err;
 *   struct autobots *bots = autobots_open(&(struct autobots_options){.dir = "/run/autobots", .user = "ada"}, &err);
 *   struct autobots_job job = {.workflow = workflow_json, .text = "Review this poem: …"};
 *   char id[AUTOBOTS_ID_TEXT];
 *   if (autobots_submit(bots, &job, id, NULL, &err) == 0 && autobots_wait(bots, id, on_event, NULL, &result, &err) == 0)
 *       puts(result);
 *   autobots_close(bots);
 *
 * Link with -lautobots and the libraries it stands on:
 *   cc app.c -lautobots $(pkg-config --libs libczmq libzmq msgpack jansson yaml-0.1 libsodium) -lm
 *
 * SHAPES. Everything structured is JSON text, UTF-8, NUL-terminated. Ids are UUIDs of 36 characters. Times are
 * milliseconds: `…_ms` of a point in time is the wall clock since 1970 UTC, of a duration just that.
 *
 * ERRORS. A function that can fail returns 0 or a negative AUTOBOTS_E…, and fills *err (NULL is allowed). The text
 * says what is wrong, where, and what to do; it never holds a secret.
 *
 * WHAT IT DOES BY ITSELF. It connects in the background and again after a loss, says HELLO, keeps the heartbeat, and
 * resends every unanswered request: all requests are idempotent, their ids are made here. `busy` and `unavailable` are
 * tried again when the service says so, within the time-out. A watch goes on after a reconnect behind the last
 * event it delivered: the caller sees seq 1, 2, 3 … without gap or double, whatever is restarted in between.
 *
 * THREADS. The library belongs to one thread: use all clients of a process from the same one. Callbacks run
 * inside autobots_run(), autobots_step() and the blocking calls, never from a thread of their own; they may start and
 * stop requests and watches but must not close the client or call a blocking function of the same client.
 * Open clients after fork(), not before.
 *
 * OWNERSHIP. What is passed in is copied before the call returns. What a callback is given is valid until it returns.
 * Text that comes out through a `char **` is the caller's: free().
 */
#ifndef AUTOBOTS_H
#define AUTOBOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { AUTOBOTS_ID_TEXT = 37 /* 36 characters and the NUL */ };

/* The errors, which are those of the protocol; autobots_error_name() gives their names there. */
enum autobots_code {
    AUTOBOTS_EINVALID = -99,          /* the request or workflow is malformed; `path` says where */
    AUTOBOTS_EUSAGE = -98,            /* an option is wrong */
    AUTOBOTS_EVERSION = -97,          /* the service speaks another version of the protocol */
    AUTOBOTS_EDENIED = -96,           /* this user may not do that */
    AUTOBOTS_ENOTFOUND = -95,         /* no such job, session, message, item or operation */
    AUTOBOTS_ECONFLICT = -94,         /* the id is taken by other content */
    AUTOBOTS_EEXPIRED = -93,          /* past its deadline, or older than the retention */
    AUTOBOTS_ESTALE = -92,            /* between service parts only */
    AUTOBOTS_EENDED = -91,            /* the job has ended; an end is final */
    AUTOBOTS_EUNKNOWN_WORKFLOW = -90, /* handled inside */
    /* Over a limit, nothing was stored; it was retried until the time-out. From a start function at once: this client
     * has 100,000 requests, or 128 MiB of them, unanswered. */
    AUTOBOTS_EBUSY = -89,
    AUTOBOTS_EUNAVAILABLE = -88,    /* no service there, or a part of it is down */
    AUTOBOTS_ETOOLARGE = -87,       /* over a size limit, which the text names */
    AUTOBOTS_ETIMEOUT = -86,        /* no answer in time; the request may still be carried out */
    AUTOBOTS_ECANCELLED = -85,      /* cancelled on request */
    AUTOBOTS_EMODEL = -84,          /* the model's endpoint refused or misbehaved */
    AUTOBOTS_ENOMODEL = -83,        /* no model is configured */
    AUTOBOTS_ENONDETERMINISM = -82, /* a job's journal does not fit its workflow */
    AUTOBOTS_EDAMAGED = -81,        /* stored data failed its check */
    AUTOBOTS_ESYSTEM = -80,         /* the operating system refused */
    AUTOBOTS_EINTERNAL = -79,       /* a fault of the service or of this library */
    AUTOBOTS_EBUDGET = -78          /* a budget has no room for it; the text says which */
};

struct autobots_error {
    int code;                /* 0 or AUTOBOTS_E… */
    bool retryable;          /* the same request may succeed later */
    uint32_t retry_after_ms; /* 0 = unknown */
    char path[160];          /* JSON path or field name; "" if there is no place */
    char text[512];          /* one line */
};
const char *autobots_error_name(int code); /* "busy"; "ok" for 0 */

/* ---- a client ---------------------------------------------------------------------------------------------- */

struct autobots_options {
    const char *endpoint; /* ipc://… or tcp://… of the broker; NULL: client.sock in dir */
    const char *dir;      /* the directory of `autobots up`; NULL is allowed if endpoint is given */
    const char *
        storage; /* endpoint of storage; NULL: storage.sock in dir if it is there, else what the broker names */
    const char *user;    /* who asks; required */
    const char *program; /* for the service's logs; NULL: libautobots */
    int64_t timeout_ms;  /* of each request, retries included; 0: 30 s */
};

struct autobots;
/* Connects in the background: a service that is not there yet is no error here. NULL on failure. */
struct autobots *autobots_open(const struct autobots_options *options, struct autobots_error *err);
void autobots_close(
    struct autobots *client); /* NULL is allowed; open requests are forgotten without a callback */

/* ---- in a foreign event loop --------------------------------------------------------------------------------
 * Wait until the descriptor is readable or the deadline has come, then run. Ask for the deadline anew before *each*
 * wait, also after starting requests: it is 0 if something already lies there that the descriptor will not announce.
 *
 *   for (;;) {
 *       poll(&(struct pollfd){.fd = autobots_fd(bots), .events = POLLIN}, 1, autobots_deadline_ms(bots));
 *       autobots_run(bots);
 *   }
 */
int autobots_fd(const struct autobots *client);
int autobots_deadline_ms(struct autobots *client); /* from now on; at most 1000 */
void autobots_run(struct autobots *client);        /* never waits; calls the callbacks */
/* The above once: waits at most timeout_ms (less if something happens or a signal comes) and runs. */
void autobots_step(struct autobots *client, int timeout_ms);

/* ---- answers to requests ------------------------------------------------------------------------------------ */

struct autobots_answer {
    const struct autobots_error *error; /* NULL: it succeeded */
    const char *job;                    /* submit, inbox: the job's id */
    uint64_t number;     /* submit: the commit number; inbox: the row's number in the job's inbox */
    const char *session; /* submit: the job's session, NULL if none */
    const char *state;   /* submit: the end state, if this job had ended already; else NULL */
    const char *faults;  /* JSON array of {path, what, hint}, if a workflow was refused; else NULL */
    const char *json;    /* query: the answer, an object; else NULL */
    const void *raw;     /* raw query: the answer as the protocol has it, a msgpack map; else NULL */
    size_t raw_bytes;
    uint64_t
        input;    /* submit: the message was taken for the answer to the question of `job`, which is not the new
                          * job's id then: the row in its inbox; else 0 */
    uint64_t seq; /* with input: the last event before the answer; watch after it */
};
/* Called exactly once for each request that was started, unless the client is closed before. */
typedef void autobots_done(void *context, const struct autobots_answer *answer);

/* ---- jobs --------------------------------------------------------------------------------------------------- */

struct autobots_job {
    const char *id; /* a UUIDv7 of the caller's, for idempotency across its own restarts; NULL: made here */
    const char
        *user; /* whose job it is; NULL: the client's user. A program that serves many has one client for all */
    const char
        *workflow; /* JSON text, the seed's flow_config or the concise form; keys in it are sealed, see below */
    const char *text;     /* the user's message as text, or */
    const char *content;  /* JSON: a string or an array of parts */
    const char *msg_id;   /* of the message; NULL: made */
    const char *metadata; /* JSON kept with the message; NULL: none */
    const char
        *history; /* JSON array of {role: user, assistant or system, content}: what was said before, behind what
                              * the session holds; what stands as system is told to every agent. NULL: nothing */
    const char *session;     /* the session to go on with; NULL: a new one is made */
    bool no_session;         /* belongs to no session and leaves no messages */
    int64_t priority;        /* within the user's own jobs; higher first */
    uint64_t not_before_ms;  /* do not start earlier; 0: at once */
    uint64_t deadline_ms;    /* if it has not ended by then it ends as expired; 0: none */
    const char *concurrency; /* concurrency key, limited by the service's configuration; NULL: none */
    const char *pool;        /* the worker pool; NULL: default */
    /* If the session's job has not ended: "enqueue" (NULL), "reject" (ECONFLICT, which names the job), "interrupt" (that job
     * is cancelled, this one comes next), or "new_job" (enqueue). If that job waits for a person, the message is the answer
     * and no job is made, unless this is "new_job": see `input` of the answer. */
    const char *if_busy;
    /* Go on from a copy of another job's journal, whose workflow, message, pool, priority and concurrency key count unless
     * they are given here. NULL: no. A workflow must be the same; it is needed only for its keys, which are sealed to one
     * job each. What was copied is not charged again: see `forked` in the result. */
    const char *fork_of;
    uint64_t fork_seq;     /* the last event that is copied; 0: none */
    const char *fork_text; /* instead of the text of that event: a turn, model_reply or input; NULL: as it is */
    const char *budget;    /* its own limits, "tokens=100000,usd=0.5", over those of the workflow; NULL: none */
    /* Kept with the message and given back with it, nothing else; NULL: none. */
    const char *root_msg_id, *ra, *code;
    const char *timestamp; /* of the message, ISO 8601; NULL: when it was committed */
    bool personalize;
};

/* Starts a submission; done() says `accepted` only after the job is on disk. The id is made (or checked) here and
 * written to `id` at once. The workflow is validated here first: EINVALID names the first fault.
 *
 * An api_key in the workflow is taken out, sealed to the public key of the service's workers and sent beside it; it
 * is in clear nowhere but in the caller's text and, until it is sealed, in this client's memory. If no worker has
 * announced a key, the request waits for one until the time-out and then fails with EUNAVAILABLE. */
int autobots_start_submit(struct autobots *client, const struct autobots_job *job, char id[AUTOBOTS_ID_TEXT],
                          autobots_done *done, void *context, struct autobots_error *err);
/* An answer to the question a job waits with (ask NULL: the open one), and the wish that it ends (reason may be NULL).
 * done() after it is on disk. */
int autobots_start_input(struct autobots *client, const char *job, const char *ask, const char *text,
                         autobots_done *done, void *context, struct autobots_error *err);
/* Sets limits of an open job of its own ("usd=1,calls=none"); one that waits for room tries again. */
int autobots_start_budget(struct autobots *client, const char *job, const char *limits, autobots_done *done,
                          void *context, struct autobots_error *err);
int autobots_start_cancel(struct autobots *client, const char *job, const char *reason, autobots_done *done,
                          void *context, struct autobots_error *err);
/* A running job stops at its next step: model calls under way finish and are kept. It holds no worker then, whatever is
 * restarted, until it is resumed; a job that does not run is paused at once. Again, or resuming what is not paused,
 * changes nothing. The deadline still counts. The reason (may be NULL) is kept with the word. */
int autobots_start_pause(struct autobots *client, const char *job, const char *reason, autobots_done *done,
                         void *context, struct autobots_error *err);
int autobots_start_resume(struct autobots *client, const char *job, const char *reason, autobots_done *done,
                          void *context, struct autobots_error *err);

/* Any row for a job's inbox: all of the above, and for another user. */
struct autobots_inbox {
    const char *job;
    const char *kind; /* input, cancel, pause, resume */
    const char *user; /* NULL: the client's */
    const char *id;   /* a UUIDv7; the same again is the same row. NULL: made here */
    const char *ask, *text;
};
int autobots_start_inbox(struct autobots *client, const struct autobots_inbox *row, autobots_done *done,
                         void *context, struct autobots_error *err);

/* ---- watching ----------------------------------------------------------------------------------------------- */

struct autobots_event {
    const char *job;
    uint64_t seq; /* 1, 2, 3 … */
    const char *
        kind; /* started, begin, turn, model_reply, attempt_failed, waiting, input, paused, forked, end, or a newer one */
    const char *end; /* the job's end state on its last event, else NULL */
    const void *raw; /* the event as it is stored: one msgpack map */
    size_t raw_bytes;
};
/* The event as JSON: {"job", "seq", "kind", …the event's own fields}. malloc'ed: free(). */
char *autobots_event_json(const struct autobots_event *event);

/* A piece of a turn that is still being written. Ephemeral: the whole turn follows as an event. A changed attempt or an
 * offset of 0 starts the text anew. */
struct autobots_delta {
    const char *job, *step, *agent;
    uint64_t attempt;
    uint64_t offset; /* bytes of this attempt's text before this piece */
    const char *text;
    size_t text_bytes;
};

struct autobots_watch {
    const char *user; /* who asks; NULL: the client's */
    uint64_t after;   /* events with a greater seq */
    bool end_only;    /* only the last event */
    bool deltas;      /* also on_delta */
    void (*on_event)(void *context, const struct autobots_event *event);
    void (*on_delta)(void *context, const struct autobots_delta *delta); /* NULL is allowed */
    /* The watch is over without an end: no such job, or not this user's; or EENDED: the job has ended at or before
     * `after`, nothing comes any more. NULL is allowed. */
    void (*on_error)(void *context, const struct autobots_error *error);
    void *context;
};
/* One watch per job and client: a second one is EUSAGE. It ends with the event that has `end`. It may be started
 * before the job's submission is answered: it then begins with the job. */
int autobots_start_watch(struct autobots *client, const char *job, const struct autobots_watch *watch,
                         struct autobots_error *err);
void autobots_stop_watch(struct autobots *client, const char *job); /* of no watch: does nothing */

/* ---- lists of jobs that stay right ----------------------------------------------------------------------------
 * Follow, and list the jobs (list_jobs) when on_begin says `reset`; then ask for each job that on_change names (get_job). A
 * change is that a job was submitted, given to a worker, parked, paused, woken by a word in its inbox, failed an attempt or
 * ended. Changes are not kept long: who comes back with a cursor that is too old, or after a restart of the broker, is told to
 * list anew. What is deleted or imported is not told. */
struct autobots_follow {
    const char *user; /* whose jobs; NULL: the client's */
    uint64_t after;   /* the last cursor that was told; 0: none */
    void (*on_begin)(void *context, uint64_t cursor,
                     bool reset); /* again after a cut, or if too much was missed */
    void (*on_change)(void *context, uint64_t cursor, const char *job);
    void (*on_error)(void *context, const struct autobots_error *error); /* it is over */
    void *context;
};
/* A number to stop it with; 0: *err says why not. */
uint64_t autobots_start_follow(struct autobots *client, const struct autobots_follow *follow,
                               struct autobots_error *err);
void autobots_stop_follow(struct autobots *client, uint64_t follow); /* of none: does nothing */

/* ---- queries ------------------------------------------------------------------------------------------------
 * Every operation of the protocol page that clients may use: get_job, list_jobs, load_messages, save_message,
 * delete_message, get_sessions, create_session, delete_user_sessions, publish_session, get_gallery, …, status,
 * job_status. `request` is a JSON object of the operation's fields (NULL: none); a `user` that is missing
 * is filled in with the client's (get_gallery's is a filter and is not). The answer is a JSON object. The library knows
 * whether broker or storage answers. */
int autobots_start_query(struct autobots *client, const char *operation, const char *request,
                         autobots_done *done, void *context, struct autobots_error *err);
/* The same, answered `raw`: for bytes, of which JSON would make text and back again. */
int autobots_start_raw_query(struct autobots *client, const char *operation, const char *request,
                             autobots_done *done, void *context, struct autobots_error *err);

/* ---- blocking calls: start, step until done ----------------------------------------------------------------- */

/* Until the broker has answered HELLO, at most timeout_ms. */
int autobots_connect(struct autobots *client, int64_t timeout_ms, struct autobots_error *err);
/* *session may be NULL; set to the job's session (or NULL if it has none). id is, of a message that was taken for an answer,
 * that of the job that asked. */
int autobots_submit(struct autobots *client, const struct autobots_job *job, char id[AUTOBOTS_ID_TEXT],
                    char **session, struct autobots_error *err);
int autobots_cancel(struct autobots *client, const char *job, const char *reason, struct autobots_error *err);
int autobots_pause(struct autobots *client, const char *job, const char *reason, struct autobots_error *err);
int autobots_resume(struct autobots *client, const char *job, const char *reason, struct autobots_error *err);
int autobots_budget(struct autobots *client, const char *job, const char *limits, struct autobots_error *err);
int autobots_input(struct autobots *client, const char *job, const char *text, struct autobots_error *err);
int autobots_query(struct autobots *client, const char *operation, const char *request, char **answer,
                   struct autobots_error *err);
/* Until the job's end, however long; *result is its end event as JSON: {"state", "content", "result", …}.
 * on_event may be NULL; else it sees every event. Returns 0 whatever the end state is. */
int autobots_wait(struct autobots *client, const char *job,
                  void (*on_event)(void *context, const struct autobots_event *event), void *context,
                  char **result, struct autobots_error *err);

/* "0.1.0+1a2b3c4" */
const char *autobots_version(void);

#ifdef __cplusplus
}
#endif
#endif
