/* Inside the engine: the nodes of a workflow and what they share.
 *
 * A workflow is a tree of nodes. A node decides from the transcript what it wants next and takes the events that
 * satisfy it; it is done when `stop` is set. A new way to run agents is a new node_ops, not a change to the others.
 */
#ifndef AB_WORKER_ENGINE_NODE_H
#define AB_WORKER_ENGINE_NODE_H

#include "common/wire/messages.h"
#include "worker/engine/engine.h"

struct node;

/* One message between two agents. */
struct line {
    const struct ab_agent *from, *to; /* of the workflow */
    json_t *content;                  /* owned: text, or an array of parts */
    int64_t at_ms;
    bool filler; /* an opening message or a default_auto_reply: it answers nothing and is never the summary */
    json_t *
        work; /* owned: tool calls and results that led to it, in OpenAI's shape; its agent alone sees them; NULL: none */
};
/* What was said, by one node's agents or by several; oldest first. */
struct transcript {
    struct line *lines;
    size_t n, cap;
};
void transcript_add(struct transcript *transcript, const struct ab_agent *from, const struct ab_agent *to,
                    json_t *content, int64_t at_ms, bool filler);
void transcript_finish(struct transcript *transcript);
/* The last message that says something; NULL if there is none. */
const struct line *transcript_answer(const struct transcript *transcript);
/* Its text, without the word that ends the chat; "" for NULL. The caller frees. */
char *line_answer(const struct line *line);
/* A message as "name: text", appended; nothing if it has no words. */
void line_text(const struct line *line, struct ab_buf *out);
/* All of it as such paragraphs, appended. */
void transcript_text(const struct transcript *transcript, struct ab_buf *out);
/* The words of a content: the text itself, or its text parts joined by newlines, appended. */
void content_text(const json_t *content, struct ab_buf *out);
/* The text, without white space at its end, ends with the word; an empty word never matches. */
bool text_ends_with(struct ab_view text, const char *word);
/* Text without the word at its end, and without white space at both ends. */
struct ab_view text_without(struct ab_view text, const char *word);

/* The same as one message: the paragraphs, and after them the images and files of all that was said. A new reference. */
json_t *transcript_content(const struct transcript *transcript);

/* What one agent spent. */
struct usage {
    const char *agent; /* borrowed from the workflow */
    uint64_t calls, prompt, completion, cached, reasoning;
    uint64_t cached_calls;  /* of the calls: answered from a worker's memory */
    uint64_t priced_calls;  /* of the calls: their cost is known, 0 for the cached ones */
    uint64_t cost_pico_usd; /* of these */
    uint64_t trimmed; /* its model's context is too small for more than so many tokens; 0: not known to be */
    bool estimated;   /* some of it was not reported by the endpoint */
};
struct usage_table {
    struct usage *rows;
    size_t n, cap;
};
struct usage *usage_of(struct usage_table *table, const char *agent); /* made if it is not there */
uint64_t usage_calls(const struct usage_table *table, const char *agent);
/* Sums stay at the greatest number rather than wrap. */
void usage_add_cost(struct usage *usage, uint64_t calls, uint64_t cost_pico_usd);
uint64_t usage_trimmed(const struct usage_table *table, const char *agent);
void usage_merge(struct usage_table *into, const struct usage_table *table);
/* Of which `table` was a part. */
void usage_subtract(struct usage_table *from, const struct usage_table *table);
struct usage usage_total(const struct usage_table *table);
json_t *usage_tree(const struct usage_table *table);

/* What a model is to be sent: messages in OpenAI's shape and what may be left out of them (worker/engine/context.c). In this
 * order: `system` messages that stay, `history` of the session before the run, the conversation, `tail` messages that stay. */
struct prompt {
    json_t *messages; /* owned */
    size_t system, history, tail;
    struct ab_context context;
};
/* Adds the agent's system message, if it has one, and the session's history as one sees it whose words are those of
 * `own_role`; whoever is called as a tool sees only what all were told. */
void prompt_open(struct prompt *prompt, const struct node *node, const struct ab_agent *agent,
                 const char *own_role);
/* Leaves out what the context does not allow: oldest first, the history before the conversation; a tool call goes with its
 * results, and the newest message stays whatever the bounds are. `trimmed`: the history goes, and not more than so many
 * tokens stay; 0: as the context says. */
void prompt_cut(struct prompt *prompt, uint64_t trimmed);
uint64_t prompt_tokens(const json_t *messages); /* estimated */

/* An event, decoded. */
struct journal_event {
    enum ab_event_kind kind;
    int64_t at_ms;
    struct ab_view step;         /* of turn and model_reply; the ask of waiting and input; {NULL,0} otherwise */
    const struct branch *branch; /* whose step it is; NULL: of none */
    union {
        struct ab_started started;
        struct ab_begin begin;
        struct ab_turn turn;
        struct ab_model_reply model_reply;
        struct ab_attempt_failed attempt_failed;
        struct ab_waiting waiting;
        struct ab_input_event input;
        struct ab_code_result code_result;
        struct ab_tool_started tool_started;
        struct ab_tool_result tool_result;
        struct ab_end end;
        struct ab_paused paused;
        struct ab_forked forked;
        struct ab_call_started call_started;
    };
};

/* The termination conditions of one conversation and what is true of it so far (worker/engine/ending.c). */
struct ending {
    const struct ab_condition *wanted; /* of the workflow; NULL: there are none */
    const struct ab_condition *by;     /* the part of `wanted` that ended the conversation; NULL: none did */
    uint64_t met, judged;              /* bit i: the fact of index i is true; was so when last judged */
    uint64_t rounds, tokens, cost_pico_usd;
    int64_t begin_ms,
        waited_ms; /* wall clock, and the engine's time of waiting for people, when it was opened */
};

struct node_ops {
    const char *name;
    /* Takes the event, which is one of turn, model_reply, waiting, input, and is for this node's own step;
     * AB_ENONDETERMINISM if it is not wanted. */
    int (*apply)(struct node *node, const struct journal_event *event, struct ab_error *err);
    /* Fills in what the node itself wants; not called once `stop` is set, nor while it waits for a child. */
    size_t (*next)(const struct node *node, struct engine_effect *effects, size_t max);
    /* What to send for its MODEL effect, uncut. */
    void (*prompt)(const struct node *node, const struct engine_effect *effect, struct prompt *prompt);
    void (*child_stopped)(struct node *node, struct node *child);
    const struct line *(*last)(const struct node *node); /* what answers; NULL: nothing does, or several do */
    char *(*answer)(const struct node *node); /* of several; NULL: that of `last`; the caller frees it */
    void (*destroy)(struct node *node);       /* frees it; its children are gone already */
};
/* The tool calls of the turn that is being made (tools.c). */
struct tool_turn {
    json_t *said;            /* owned: rounds so far, as the model sees them; NULL: none */
    json_t *round;           /* owned: the message that calls, while a result is missing */
    struct tool_call *calls; /* of it; owned */
    size_t n, open;          /* of them; that have no result yet */
    uint64_t rounds, bytes;
};
struct node {
    const struct node_ops *ops;
    struct engine *engine;
    struct branch *branch;
    char path[ENGINE_STEP_MAX - 24];
    uint64_t counter; /* of the step that is wanted now, from 1 */
    enum engine_stop stop;
    struct ending ending;
    json_t
        *faulty; /* owned: {said, wrong} of a reply that did not fit its response_format; NULL: there is none */
    const struct ab_agent *receiver; /* who answers in it; NULL in a node of several */
    struct node **children;          /* owned; those that stopped included */
    size_t n_children;
    struct {
        size_t ran;           /* blocks of the message that is being replied to */
        struct ab_buf output; /* of them */
    } code;
    struct tool_turn tools;
};

/* What happens one after the other: the whole run, one of several conversations that go on at the same time, or what a tool
 * that is an agent does. Nothing of a branch depends on another one, but what calls on what came of the call. */
struct branch {
    char *path; /* owned; of its node; "" if it is the run's only one. Branches are in this order */
    const struct branch *call; /* of the call that it is a part of, maybe itself; NULL: of the run */
    struct ab_agent asker;     /* of a call of an agent: who asks */
    struct transcript log;     /* all that was said in it, whatever node said it */
    struct usage_table usage;
    uint64_t events;                /* events of the journal up to the last one it took */
    char folder[ENGINE_FOLDER_MAX]; /* of its files, among those of the job; "" if it is the only one */
    struct ab_buf files; /* raw array, of the last code_result or tool_result that had any; empty: none yet */
};
void branch_keep_files(struct branch *branch, struct ab_view files); /* {NULL,0}: they are as they were */

/* A workflow that runs: the job's, or one that is called as a tool. */
struct scope {
    const struct ab_workflow *workflow; /* NULL: only an agent is asked */
    json_t *content;                    /* owned; the message */
    struct node *root;                  /* NULL: not begun. Owned by whoever has the scope */
    char *summary;                      /* owned; what a model made of it; NULL: nothing yet */
    const struct branch *call;          /* of its branches; NULL: of the run */
};

struct engine {
    struct scope run;
    struct engine_limits limits;
    json_t *history; /* array, from begin; NULL before it */
    uint64_t seed, version;
    struct branch **branches; /* owned; in the order in which the workflow lists them, then by their steps */
    size_t n_branches;
    bool begun, ended, offline;
    struct ab_error failure;     /* why the run failed; code 0: it did not */
    struct ab_id forked_of;      /* zero: the journal is all its own; else what was copied: */
    uint64_t forked_seq;         /* up to this event of that job */
    struct usage_table copied;   /* this was used */
    int64_t copied_ms;           /* this much of the caps' time */
    int64_t forked_ms;           /* the run's own beginning; 0 = begin_ms */
    uint64_t events;             /* applied so far */
    int64_t event_ms;            /* wall clock of the event that is being applied */
    int64_t begin_ms, last_ms;   /* wall clock of begin and of the last event */
    int64_t asked_ms, paused_ms; /* since when a person is asked, the job is paused; 0 = not */
    int64_t waited_ms;           /* time spent so before */
};

/* worker/engine/chat.c: two agents in turn. */
struct node *chat_create(struct engine *engine, struct branch *branch, const char *path,
                         const struct ab_agent *sender, const struct ab_agent *receiver, json_t *content,
                         const struct ab_condition *termination);
/* worker/engine/group.c: the members of a groupchat. */
struct node *group_create(struct engine *engine, struct branch *branch, const char *path,
                          const struct ab_agent *sender, const struct ab_agent *receiver, json_t *content,
                          const struct ab_condition *termination);
/* worker/engine/several.c: a chat with each receiver, in order or all at the same time. */
struct node *sequence_create(struct engine *engine, struct branch *branch, const char *path,
                             const struct scope *scope);
struct node *parallel_create(struct engine *engine, const char *path, const struct scope *scope);
/* A sequential step's task: the message, the results of the steps before it, its own instruction. */
json_t *sequence_task(const json_t *content, struct node *const *before, size_t n_before,
                      const struct ab_agent *receiver);
/* worker/engine/result.c: what was used, by agents, without what was copied. The caller frees the rows. */
struct usage_table usage_own(const struct engine *engine);
/* worker/engine/scope.c: a workflow, from its message to its answer. */
/* Makes the root. `below`: the path it gets is below this one; "": it is the run's own. branch: for a run that is one after
 * the other; several at the same time make their own. */
void scope_begin(struct scope *scope, struct engine *engine, const char *below, struct branch *branch);
char *
scope_answer(const struct scope *scope); /* by its summary_method; "" if there is none; the caller frees it */
void scope_finish(struct scope *scope);
/* worker/engine/call.c: an agent or a workflow that is called as a tool, at this path. */
struct node *call_create(struct engine *engine, const char *path, const struct ab_agent *caller,
                         const struct ab_delegate *delegate, const char *message);
/* worker/engine/summary.c: the answer as a model makes it of a workflow that has ended. */
bool summary_wanted(const struct engine *engine, const struct scope *scope);
#define SUMMARY_PURPOSE "summary"
/* All but the step. */
void summary_effect(const struct engine *engine, const struct scope *scope, struct engine_effect *effect);
/* AB_ENONDETERMINISM unless the reply is what this effect wants. */
int summary_take(struct scope *scope, const struct engine_effect *wanted, const struct journal_event *event,
                 struct ab_error *err);
void summary_prompt(const struct engine *engine, const struct scope *scope, struct prompt *prompt);
/* The messages of the prompt, once it was cut, become two: the instruction and the record. */
void summary_join(struct prompt *prompt);

/* ---- worker/engine/node.c: what all kinds share ---- */

void node_init(struct node *node, const struct node_ops *ops, struct engine *engine, struct branch *branch,
               const char *path);
/* The chat of `sender` with `receiver`, of whatever kind that is. It ends by `termination` too, unless the receiver has
 * conditions of its own; NULL: none. */
struct node *node_converse(struct engine *engine, struct branch *branch, const char *path,
                           const struct ab_agent *sender, const struct ab_agent *receiver, json_t *content,
                           const struct ab_condition *termination);
void node_adopt(struct node *node, struct node *child); /* takes the child */
void node_forget_children(struct node *node);
void node_destroy(struct node *node); /* with its children; NULL is allowed */
/* path: of its node, or "". call: see there; NULL: of the run. */
struct branch *engine_branch(struct engine *engine, const char *path, const struct branch *call);
/* Gives its files a folder of their own, beside all others. */
void branch_folder(struct branch *branch);
/* The node whose own step this is: it, or one below it; NULL if there is none that goes on. */
struct node *node_of_step(struct node *node, struct ab_view step);
/* Lets the node take the event; if it or a child stops with it, the nodes above are told. */
int node_take(struct node *node, const struct journal_event *event, struct ab_error *err);
char *node_answer(const struct node *node); /* "" if there is none; the caller frees it */
size_t node_next(const struct node *node, struct engine_effect *effects, size_t max);
/* "path:counter" of the step the node wants now. */
void node_step(const struct node *node, char step[ENGINE_STEP_MAX]);
int node_not_wanted(const struct node *node, const struct journal_event *event, struct ab_error *err);
/* Adds a message to the node's transcript and its branch's log. */
void node_say(struct node *node, struct transcript *transcript, const struct ab_agent *from,
              const struct ab_agent *to, json_t *content, bool filler);
void messages_add(json_t *messages, const char *role, json_t *content);
/* The same; takes the content. */
void messages_add_new(json_t *messages, const char *role, json_t *content);
json_t *json_of_buf(struct ab_buf *text); /* and empties it */

/* ---- worker/engine/format.c: answers of a given shape ---- */

/* The text as JSON that fits the format; NULL if it does not, with what is wrong appended to `wrong` (NULL: not told). */
json_t *format_value(const json_t *format, struct ab_view text, struct ab_buf *wrong);
/* The same of a message of an agent whose answers have a format; NULL if they have none or it does not fit. */
json_t *format_line_value(const struct line *line);
/* True if the reply may be said: it fits, or the agent has no format. Else it is asked for again, or the run has failed. */
bool format_take(struct node *node, const struct ab_agent *agent, const struct ab_model_reply *reply);
/* What the model is told about its format, at the beginning; and about an answer that did not fit, at the end. */
void format_open(struct prompt *prompt, const struct ab_agent *agent);
void format_ask_again(const struct node *node, struct prompt *prompt);

/* ---- worker/engine/ending.c: termination conditions ---- */

void ending_begin(struct node *node, const struct ab_condition *wanted);
/* A model replied in this conversation, or in one inside it. What those call that are called themselves is not its tool_call. */
void ending_count(struct node *node, const struct journal_event *event);

/* What an agent's model sees of its own line: the tool calls that led to it, then the words. */
void messages_add_own(json_t *messages, const struct line *line);

/* ---- worker/engine/reply.c: who replies with what, for one agent that is addressed ---- */

enum move { MOVE_STOP, MOVE_ASK, MOVE_MODEL, MOVE_DEFAULT, MOVE_CODE, MOVE_TOOL, MOVE_APPROVE };

/* An agent, and how a reply of it stands. */
struct side {
    const struct ab_agent *agent;
    int64_t auto_replies; /* by itself, since a person last spoke for it */
};
/* ending.c: it has said this; sets the node's `stop` if that ends the conversation. */
void ending_judge(struct node *node, const struct side *speaker, const json_t *content);
struct reply {
    bool final;         /* the message it replies to ends the chat for the agent */
    bool declined;      /* a person was asked for this reply and let the agent answer */
    bool asked;         /* a `waiting` for this step is in the journal, */
    int64_t until_ms;   /* with this end; 0: none */
    const json_t *told; /* that message; of the transcript */
    size_t blocks;      /* of code in it that the agent runs */
    enum move due;      /* MOVE_TOOL or MOVE_APPROVE: its model called tools; MOVE_STOP: nothing of this kind */
};
/* The agent is to reply to this. */
struct reply reply_begin(const struct ab_agent *agent, const json_t *told);
bool reply_full(const struct side *side);
bool reply_final(const struct ab_agent *agent, const json_t *content);
enum move reply_move(const struct side *side, const struct reply *reply);
/* A person is asked for this agent, or by it: what all questions have. */
void reply_ask(const struct node *node, const struct ab_agent *agent, bool asked, int64_t until_ms,
               struct engine_effect *effect);
/* Fills in the effects of a move but MOVE_STOP: one, unless tools are called. Returns how many. */
size_t reply_effects(const struct node *node, const struct side *side, const struct reply *reply,
                     const struct ab_agent *to, struct engine_effect *effects, size_t max);
/* Takes the event: AB_ENONDETERMINISM if it does not fit the move. *content is what the agent says with it, a new
 * reference, or NULL: then *stop is set, or nothing is said (a person declined, `waiting`). */
int reply_take(struct node *node, struct side *side, struct reply *reply, const struct journal_event *event,
               json_t **content, bool *filler, enum engine_stop *stop, struct ab_error *err);

/* ---- worker/engine/tools.c: tool calls of a turn ---- */

/* Each sets *due to the move that follows for the agent, MOVE_STOP if its model is to be asked again. */
int tools_take_reply(struct node *node, const struct ab_agent *agent, const struct ab_model_reply *reply,
                     enum move *due, struct ab_error *err);
int tools_take_started(struct node *node, const struct ab_agent *agent, const struct journal_event *event,
                       struct ab_error *err);
int tools_take_result(struct node *node, const struct journal_event *event, enum move *due,
                      struct ab_error *err);
int tools_take_answer(struct node *node, const struct journal_event *event, enum move *due,
                      struct ab_error *err);
/* Fills in the question whether a call may be made; the effects of the calls, each as effects[0] is. */
void tools_want_person(const struct node *node, struct engine_effect *effect);
size_t tools_want(const struct node *node, const struct ab_agent *agent, struct engine_effect *effects,
                  size_t max);
/* The child is one that was called as a tool, and has taken an event: the call is answered if it is over. */
bool tools_heed(struct node *node, struct node *child);
bool tools_closed(const struct node *node); /* no further round in this turn */
const char *tools_choice(const struct node *node, const struct ab_agent *agent);
void tools_prompt(const struct node *node, struct prompt *prompt);
/* The agent has said the last line of the transcript: the rounds go with it. */
void tools_say(struct node *node, struct transcript *transcript);
void tools_finish(struct node *node);

#endif
