/* Tools: what an agent's model may call, besides talking.
 *
 * A kind of tool is a row: what the model is told about it, the JSON Schema of its arguments, and a function. Arguments are
 * checked against the schema before anything else happens. This folder knows nothing of jobs, journals or agents.
 *
 * Calls do not block: a tool answers at once (`call`), or has a `start` and answers later by tool_done, from tools_run().
 */
#ifndef AB_WORKER_TOOL_TOOL_H
#define AB_WORKER_TOOL_TOOL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/error.h"

struct tools;
/* error says why it failed, NULL: it did not. Both are borrowed. */
typedef void tool_done_fn(void *user, struct ab_view result, const struct ab_error *error);

struct tool_ops {
    const char *name, *description;
    const char *parameters; /* JSON Schema */
    bool idempotent;        /* a call that was interrupted may be made again */
    /* Appends the result, in UTF-8. err has what the model is told if it fails. wall_ms is the clock's. */
    int (*call)(const json_t *arguments, int64_t wall_ms, struct ab_buf *result, struct ab_error *err);
    /* Instead of it. `done` follows, exactly once and never from inside, unless cancel() takes the call back. NULL: err is set. */
    void *(*start)(struct tools *tools, const json_t *arguments, int64_t timeout_ms, tool_done_fn *done,
                   void *user, struct ab_error *err);
    void (*cancel)(void *started);
};

/* A tool that can be called. */
struct tool {
    const struct tool_ops *ops;
    json_t *parameters;
};

/* hosts: what http_get may ask, an array of texts, borrowed; NULL: nothing. */
struct tools *tools_create(const json_t *hosts, struct ab_error *err);
void tools_destroy(struct tools *tools); /* NULL is allowed; all calls must be over or cancelled */
int tools_fd(const struct tools *tools); /* for the loop's poll */
int64_t tools_deadline_ms(const struct tools *tools);
void tools_run(struct tools *tools, int64_t now_ms);

const struct tool *tools_find(const struct tools *tools, const char *name); /* NULL if there is none */
/* Those of a list of {name}, as OpenAI's endpoints take them; a new reference, NULL if there are none. */
json_t *tools_described(const struct tools *tools, const json_t *wanted);
/* The arguments that a model wrote, read and held against the schema; a new reference. NULL: err says to the model what is
 * wrong, all of it. */
json_t *tool_arguments(const struct tool *tool, const char *text, struct ab_error *err);

extern const struct tool_ops tool_calculator, tool_now, tool_http_get;

#endif
