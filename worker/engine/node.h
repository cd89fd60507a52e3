/* Inside the engine: the nodes of a workflow and what they share.
 *
 * A workflow is a tree of nodes. A node decides from the transcript what it wants next and takes the events that
 * satisfy it; it is done when `stop` is set. A new way to run agents is a new node_ops, not a change to the others.
 */
#ifndef AB_WORKER_ENGINE_NODE_H
#define AB_WORKER_ENGINE_NODE_H

#include "common/wire/messages.h"
#include "worker/engine/engine.h"

/* One message between two agents. */
struct line {
    const struct ab_agent *from, *to; /* of the workflow */
    json_t *content;                  /* owned: text, or an array of parts */
    int64_t at_ms;
    bool filler; /* a default_auto_reply: it answers nothing and is never the summary */
};
/* What was said, by one node's agents or by several; oldest first. */
struct transcript {
    struct line *lines;
    size_t n, cap;
};
void transcript_add(struct transcript *transcript, const struct ab_agent *from, const struct ab_agent *to,
                    json_t *content, int64_t at_ms, bool filler);
void transcript_finish(struct transcript *transcript);
/* The words of a content: the text itself, or its text parts joined by newlines, appended. */
void content_text(const json_t *content, struct ab_buf *out);
/* The text, without white space at its end, ends with the word; an empty word never matches. */
bool text_ends_with(struct ab_view text, const char *word);
/* Text without the word at its end, and without white space at both ends. */
struct ab_view text_without(struct ab_view text, const char *word);

/* What one agent spent. */
struct usage {
    const char *agent; /* borrowed from the workflow */
    uint64_t calls, prompt, completion, cached, reasoning;
    uint64_t cached_calls; /* of the calls: answered from a worker's memory */
    bool estimated;        /* some of it was not reported by the endpoint */
};
struct usage_table {
    struct usage *rows;
    size_t n, cap;
};
struct usage *usage_of(struct usage_table *table, const char *agent); /* made if it is not there */
uint64_t usage_calls(const struct usage_table *table, const char *agent);
struct usage usage_total(const struct usage_table *table);
json_t *usage_tree(const struct usage_table *table);

/* An event, decoded. */
struct journal_event {
    enum ab_event_kind kind;
    int64_t at_ms;
    struct ab_view step; /* of turn and model_reply; the ask of waiting and input; {NULL,0} otherwise */
    union {
        struct ab_started started;
        struct ab_begin begin;
        struct ab_turn turn;
        struct ab_model_reply model_reply;
        struct ab_attempt_failed attempt_failed;
        struct ab_waiting waiting;
        struct ab_input_event input;
        struct ab_end end;
    };
};

struct node;
struct node_ops {
    const char *name;
    /* Takes the event, which is one of turn, model_reply, waiting, input; AB_ENONDETERMINISM if it is not wanted. */
    int (*apply)(struct node *node, const struct journal_event *event, struct ab_error *err);
    /* Fills in what is wanted; not called once `stop` is set. */
    size_t (*next)(const struct node *node, struct engine_effect *effects, size_t max);
    json_t *(*messages)(const struct node *node, const struct engine_effect *effect, bool history);
    void (*destroy)(struct node *node);
};
struct node {
    const struct node_ops *ops;
    struct engine *engine;
    char path[ENGINE_STEP_MAX - 24];
    uint64_t counter; /* of the step that is wanted now, from 1 */
    enum engine_stop stop;
};

struct engine {
    const struct ab_workflow *workflow;
    struct engine_limits limits;
    json_t *content; /* the user's message */
    json_t *history; /* array, from begin; NULL before it */
    uint64_t seed;
    struct transcript transcript;
    struct usage_table usage;
    struct node *root;
    bool begun, ended, offline;
    int64_t begin_ms, last_ms;   /* wall clock of begin and of the last event */
    int64_t asked_ms, waited_ms; /* since when a person is asked, 0 = not; time spent so before */
};

/* worker/engine/chat.c: two agents in turn. */
struct node *chat_create(struct engine *engine, const char *path, const struct ab_agent *sender,
                         const struct ab_agent *receiver);

/* "path:counter" of the step the node wants now. */
void node_step(const struct node *node, char step[ENGINE_STEP_MAX]);

#endif
