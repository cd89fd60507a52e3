/* Tools: what an agent's model may call, besides talking. README.md says how to add a source of them.
 *
 *   source     a kind of entry in an agent's list of tools; finds out which tools an entry stands for, which may take a while
 *   toolbox    the tools of one agent in one run of a job: one offer of a source for each entry of its list
 *   tool       what a model is told about it, the JSON Schema of its arguments, and how it is called
 *
 * This folder knows nothing of jobs, journals or the wire: the worker registers the sources, opens toolboxes, and makes events
 * of calls. Arguments are checked against the schema before anything else happens. Nothing here blocks; one thread.
 */
#ifndef AB_WORKER_TOOL_TOOL_H
#define AB_WORKER_TOOL_TOOL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/error.h"

enum {
    TOOLBOX_TOOLS_MAX = 128,     /* of one agent: more than that model endpoints refuse */
    TOOLBOX_BYTES_MAX = 1 << 20, /* of what a model is told about all of them */
    TOOL_DESCRIPTION_BYTES_MAX = 16 << 10,
    TOOL_SCHEMA_BYTES_MAX = 128 << 10,
    TOOL_VERSION_BYTES_MAX = 128,
    TOOL_ARGUMENTS_BYTES_MAX = 1 << 20,
    TOOL_PARTS_MAX = 16,            /* content parts of one result */
    TOOL_PARTS_BYTES_MAX = 1 << 20, /* as JSON; what does not fit is left out, and the model told so */
};

/* ---- calls ---- */

/* For whom tools are looked up and called. Texts are valid as long as the toolbox. */
struct tool_scope {
    const char *job, *user, *session; /* ids as text; session "" if there is none */
    const char *agent;
    void *owner; /* whoever opened the toolbox, for sources that belong to it; opaque to all others */
};

/* One call. Valid until it is over or cancelled. */
struct tool_context {
    const struct tool_scope *scope;
    const char *step; /* of the job: "node path:counter" */
    size_t index;     /* which of the reply's calls it is */
    /* "JOB:STEP:INDEX": the same whenever this very call is made again, also by another worker; of no other call. What can
     * forget a request that it has seen before (an HTTP API, an MCP server) is given it. */
    const char *key;
    const char *version;               /* the tool's when the call was announced; "" if it has none */
    bool again;                        /* it was under way before, and nobody knows what came of it */
    const char *folder;                /* of the job's files: where the conversation's are */
    const struct ab_code_config *code; /* how the agent runs code, for tools that run in a sandbox */
    int64_t timeout_ms;                /* it may take so long; never 0 */
    int64_t job_until_ms;              /* ab_mono_ms(): the job may take so long; INT64_MAX: nobody says */
    int64_t wall_ms;
};

/* What came of a call. */
struct tool_result {
    struct ab_view text; /* UTF-8; what is too long for the journal is cut there */
    const json_t
        *parts;  /* array of content parts in OpenAI's shape ({type: image_url …}), borrowed; NULL: none */
    bool failed; /* text says why */
    struct ab_view
        files; /* all files of the context's folder now, as the journal has them; {NULL,0}: they are as they were */
};
/* Once for each call that was started. result is borrowed; error, if not NULL, says why there is none. */
typedef void tool_done_fn(void *user, const struct tool_result *result, const struct ab_error *error);

struct tool;
/* One of call and start. Arguments are borrowed for the duration of the function, the context until the call is over. */
struct tool_ops {
    /* Answers at once: appends the text of the result. err has what the model is told if it fails. */
    int (*call)(const struct tool *tool, const json_t *arguments, const struct tool_context *context,
                struct ab_buf *text, struct ab_error *err);
    /* Answers later: `done` follows, exactly once and never from inside, unless cancel() takes the call back. NULL: err has what
     * the model is told. */
    void *(*start)(const struct tool *tool, const json_t *arguments, const struct tool_context *context,
                   tool_done_fn *done, void *user, struct ab_error *err);
    void (*cancel)(void *started); /* at once; `done` does not follow */
    /* It keeps to the context's times itself: it may have to wait for other calls before its own time begins. Others are
     * cancelled when it is over. */
    bool keeps_time;
};

/* ---- tools and their sources ---- */

/* What a source says of a tool; all of it is copied but data, which is the source's and lives until close(). */
struct tool_spec {
    const char *name;         /* as models see it: common/workflow/tools.h */
    const char *description;  /* NULL: none */
    const json_t *parameters; /* JSON Schema of an object; NULL: no arguments are known */
    const char *version;      /* journaled with each call; NULL: none */
    /* A call that was cut off by a crash may be made again, with the same key. Else the model is told that the outcome is
     * unknown. */
    bool idempotent;
    const struct tool_ops *ops;
    void *data;
};
struct tool {
    char *name, *description, *version; /* "" for none */
    json_t *parameters;
    bool idempotent;
    const struct tool_ops *ops;
    void *data;
    size_t bytes;  /* of what a model is told */
    unsigned uses; /* tool_ref(), tool_unref() */
};
struct tool *tool_ref(struct tool *tool); /* for a call: its toolbox may get another list meanwhile */
void tool_unref(struct tool *tool);       /* NULL is allowed */

/* What is found for one entry; the toolbox's. A source answers exactly once: with tool_offer_add() for each tool and then
 * tool_offer_ready(), or with tool_offer_fail(); from inside open() or later. When what it found has changed, it begins again
 * with tool_offer_clear(); until the next ready() models are told the list before; also from then on, if the new one would be more
 * than an agent may have. */
struct tool_offer;
/* A tool that cannot be taken is a fault of its source: err says which one and why, and the others go on. */
int tool_offer_add(struct tool_offer *offer, const struct tool_spec *spec, struct ab_error *err);
void tool_offer_ready(struct tool_offer *offer);
/* The attempt, or if the error is not retryable the job, ends with it. */
void tool_offer_fail(struct tool_offer *offer, const struct ab_error *error);
void tool_offer_clear(struct tool_offer *offer);

struct tool_source {
    const char *kind; /* of entries: one of AB_TOOL_KINDS, common/workflow/tools.h */
    /* Looks up what the entry of the workflow names. Must come to an answer by itself, in bounded time. What is returned is
     * given to close(), NULL if there is nothing to be closed. */
    void *(*open)(void *self, const struct tool_scope *scope, const json_t *entry, struct tool_offer *offer);
    /* The offer is gone: nothing may be said of it any more, and its tools are not called. */
    void (*close)(void *opened);
};

/* ---- the registry ---- */

struct tools;
/* hosts: what http_get may ask, an array of texts, borrowed; NULL: nothing. */
struct tools *tools_create(const json_t *hosts, struct ab_error *err);
void tools_destroy(struct tools *tools); /* NULL is allowed; all toolboxes must be closed */
int tools_fd(const struct tools *tools); /* for the loop's poll */
int64_t tools_deadline_ms(const struct tools *tools);
void tools_run(struct tools *tools, int64_t now_ms);
/* One for each kind; the source is static, self the source's. */
void tools_register(struct tools *tools, const struct tool_source *source, void *self);

/* ---- toolboxes ---- */

struct toolbox;
enum toolbox_state { TOOLBOX_PREPARING, TOOLBOX_READY, TOOLBOX_FAILED };

/* Asks the source of each entry for what it names. entries and the texts of the scope are borrowed until toolbox_close();
 * `changed` is called, never from inside, when the state may have become another. */
struct toolbox *toolbox_open(struct tools *tools, const json_t *entries, const struct tool_scope *scope,
                             void (*changed)(void *user), void *user);
void toolbox_close(struct toolbox *toolbox); /* NULL is allowed; its calls must be over or cancelled */
/* FAILED: err says why. */
enum toolbox_state toolbox_state(const struct toolbox *toolbox, struct ab_error *err);
const struct tool_scope *toolbox_scope(const struct toolbox *toolbox);
struct tool *toolbox_find(const struct toolbox *toolbox, const char *name); /* NULL if there is none */
/* As OpenAI's endpoints take them: entries in their order, the tools of each by name. A new reference, NULL if there are none. */
json_t *toolbox_described(const struct toolbox *toolbox);
/* The arguments that a model wrote, read and held against the schema; a new reference. NULL: err says to the model what is
 * wrong, all of it. */
json_t *tool_arguments(const struct tool *tool, const char *text, struct ab_error *err);

/* ---- built-ins ---- */

/* A tool that is always there: an entry {name} stands for it alone. */
struct tool_builtin {
    const char *name, *description;
    const char *parameters; /* JSON Schema */
    bool idempotent;
    struct tool_ops ops;
};
extern const struct tool_builtin tool_calculator, tool_now, tool_http_get, tool_search_session;

/* The source of entries {name}: a row for each of AB_TOOLS, ends with NULL. data of its tools is `self`. */
struct tool_builtins {
    const struct tool_builtin *const *rows;
    void *self;
};
extern const struct tool_source tool_builtin_source; /* self: struct tool_builtins */

#endif
