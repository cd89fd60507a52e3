/* The engine: what a job wants next, as a pure function of its workflow, its input and its journal.
 *
 *   engine_apply(engine, event)        state ← state + event
 *   engine_next(engine, effects, max)  which effects are wanted now
 *
 * The shell performs an effect, journals what came of it as an event, and applies that event; the engine itself does no
 * I/O, reads no clock and makes no random choice that is not pinned in the `begin` event. So resuming a job is applying
 * its journal, and every cut of a journal leads to the same effects as the run that wrote it.
 *
 * effect          the event that satisfies it
 * BEGIN           begin        (history within engine_history()'s bound, seed, ENGINE_VERSION)
 * MODEL           model_reply  with the effect's step and agent
 * HUMAN           input        with the effect's step as `ask` (or none); a `waiting` may come before it. When its time
 *                              is over: with `timeout` and the text `otherwise`
 * SAY             turn         with the effect's step, agent and text: nothing needs to be done for it
 * CODE            code_result  with the effect's step and agent
 * TOOL            tool_result  with the effect's step, agent and index; a tool_started comes before it, unless the call is
 *                              refused. Wanted again after a crash it is `tool_started`. A call of an agent or a workflow
 *                              (`delegated`) is only announced; then its own effects are wanted, and at last it again, with
 *                              the `answer` that came of it
 * FINISH          end
 *
 * `started`, `attempt_failed`, `paused`, `forked` and `end` are accepted whatever is wanted; any other event that satisfies no wanted effect
 * is AB_ENONDETERMINISM, and the engine must not be used further.
 *
 * A step is "node path:counter": the counter belongs to its node, so that it does not depend on the order in which
 * siblings happen to answer.
 */
#ifndef AB_WORKER_ENGINE_ENGINE_H
#define AB_WORKER_ENGINE_ENGINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/error.h"
#include "common/wire/messages.h"
#include "common/workflow/workflow.h"
#include "worker/engine/blocks.h"

enum {
    ENGINE_VERSION =
        3, /* of the rules that turn a journal into effects; a journal names the one that made it */
    ENGINE_EFFECTS_MAX = 64, /* wanted at the same time */
    ENGINE_STEP_MAX = AB_STEP_MAX,
    ENGINE_FOLDER_MAX = 32,
    ENGINE_TOOL_ROUNDS_MAX = 32,         /* of calls and results in one turn of an agent */
    ENGINE_TOOL_CALLS_MAX = 32,          /* in one round */
    ENGINE_TOOL_BYTES_MAX = 4 << 20,     /* of results in one turn; no round follows */
    ENGINE_TOOL_RESULT_BYTES = 64 << 10, /* of one result, in the journal and to the model */
    ENGINE_HISTORY_MESSAGES_MAX = 200,
    ENGINE_HISTORY_BYTES_MAX = 128 << 10, /* about 32,000 tokens */
};

/* Why a run ended. name, meaning (the stop_reason of the `end` event) */
#define ENGINE_STOPS(X)                                                                                        \
    X(TERMINATION, "termination_message", "a message ended with the word that ends the chat")                  \
    X(AUTO_REPLIES, "max_consecutive_auto_reply", "an agent had answered by itself as often as it may")        \
    X(HUMAN_EXIT, "human_exit", "a person answered `exit`")                                                    \
    X(ROUNDS, "max_round", "as many messages were spoken in a groupchat as its max_round allows")              \
    X(SPEAKERS, "no_eligible_speaker", "nobody in a groupchat may speak next")                                 \
    X(TEXT, "text", "termination condition: a message had that text in it")                                    \
    X(MESSAGES, "rounds", "termination condition: so many messages were written in the conversation")          \
    X(REPLIES, "auto_replies", "termination condition: an agent had replied so often without a person")        \
    X(SPENT, "tokens", "termination condition: the conversation's model calls took so many tokens")            \
    X(COST, "cost_usd", "termination condition: the conversation's model calls cost so much")                  \
    X(TIME, "seconds", "termination condition: so much time had passed in the conversation")                   \
    X(TOOL_CALL, "tool_call", "termination condition: a model called that tool")                               \
    X(AGENT, "agent", "termination condition: that agent had spoken")                                          \
    X(ERROR, "error", "the run failed: code, text and path of the end say why")                                \
    X(COMPLETED, "completed", "all steps, or all conversations, came to their ends")                           \
    X(CALLS, "job_calls_max", "the cap on model calls per job was reached")                                    \
    X(TOKENS, "job_tokens_max", "the cap on tokens per job was reached")                                       \
    X(SECONDS, "job_seconds_max",                                                                              \
      "the cap on a job's time was reached; waiting for people and pauses do not count")

enum engine_stop {
    ENGINE_RUNNING,
#define X(NAME, name, doc) ENGINE_STOP_##NAME,
    ENGINE_STOPS(X)
#undef X
};
const char *engine_stop_name(enum engine_stop stop); /* "" for ENGINE_RUNNING */

/* Caps of one job, so that a loop cannot spend without end; 0 = none. They only ever end a run at its next model call,
 * for which the shell waits no longer than left_ms: a journal made under other caps still folds. */
struct engine_limits {
    uint64_t calls_max;
    uint64_t tokens_max; /* prompt + completion */
    uint64_t seconds_max;
};

enum engine_want {
    ENGINE_BEGIN,
    ENGINE_MODEL,
    ENGINE_HUMAN,
    ENGINE_SAY,
    ENGINE_FINISH,
    ENGINE_CODE,
    ENGINE_TOOL
};

/* One wanted effect. All pointers are borrowed and, unless it says otherwise, valid until the next engine_apply. */
struct engine_effect {
    enum engine_want want;
    char step[ENGINE_STEP_MAX]; /* MODEL, HUMAN, SAY */
    const char *agent, *to;   /* MODEL, HUMAN, SAY: who speaks to whom; of the workflow, as long as it lives */
    const struct ab_llm *llm; /* MODEL; of the workflow too */
    const char *purpose;      /* MODEL: static, see model_reply; NULL: the agent's turn */
    const char *chosen;       /* MODEL, SAY, CODE: static, see turn; NULL: nothing is to be said of that */
    uint64_t call_index;      /* MODEL: which of this agent's calls in its conversation it is, from 0 */
    uint64_t calls_left;      /* MODEL: how many the cap allows, those under way included */
    uint64_t
        after; /* MODEL, HUMAN: it follows from the first so many events that were applied, and from no later one */
    int64_t
        left_ms; /* MODEL, CODE, TOOL: until seconds_max is reached, from the last event on; 0: there is no such cap */
    char prompt[512];        /* HUMAN */
    bool asked;              /* HUMAN: a `waiting` for it is in the journal, */
    bool approval;           /* HUMAN: agreement to a call: what was said before it was asked for is none */
    int64_t until_ms;        /* with this end; 0: none. Wall clock */
    bool due;                /* HUMAN: the journal has gone on past that end */
    int64_t timeout_ms;      /* HUMAN: how long it may be asked; 0: for ever */
    const char *otherwise;   /* HUMAN: the answer then; of the workflow too */
    const char *text;        /* SAY */
    json_t *response_format; /* MODEL: in OpenAI's shape; of the workflow; NULL: any text */
    json_t *tools;           /* MODEL, TOOL: entries of what the agent may call; of the workflow; NULL: none */
    bool tools_closed;       /* MODEL: it has called them often enough and shall answer */
    const char *tool_choice; /* MODEL: required, or the one it has to call; NULL: as it likes */
    json_t *parallel_tool_calls;  /* MODEL: true or false, of the workflow; NULL: it does not say */
    const char *tool, *arguments; /* TOOL: its name, and JSON as the model wrote it */
    size_t tool_index;            /* TOOL: which call of the reply it is, from 0 */
    bool tool_started;            /* TOOL: tool_started is in the journal, */
    const char *tool_version;     /* with this version of the tool; "" if it has none */
    bool delegated;               /* TOOL: an agent or a workflow */
    const char *answer;           /* TOOL: what came of it, to be journaled; NULL: it must be made */
    bool answer_failed;           /* TOOL: it says why the call failed */
    enum engine_stop stop;        /* FINISH */
    const struct ab_error
        *failure; /* FINISH: why the run failed; of the engine, as long as it lives; NULL: it did not */
    const struct ab_code_config
        *code_config;               /* CODE, TOOL: of the agent; of the workflow, as long as it lives */
    size_t code_index;              /* CODE: which block of the message it is, from 0 */
    struct code_block code;         /* CODE */
    char folder[ENGINE_FOLDER_MAX]; /* CODE, TOOL: where it works; each of several conversations has its own */
    struct ab_view files;           /* CODE: what is in it, as in code_result; {NULL,0}: nothing yet */
};

struct engine;

/* workflow is borrowed and must outlive the engine. `content` is the user's message (text or an array of parts), of which
 * the engine takes a reference. AB_EINVALID with the path of what this engine cannot run. */
int engine_create(const struct ab_workflow *workflow, json_t *content, const struct engine_limits *limits,
                  struct engine **out, struct ab_error *err);
void engine_destroy(struct engine *engine); /* NULL is allowed */

/* One raw journal event. AB_ENONDETERMINISM if nothing wanted fits it, AB_EINVALID or AB_EDAMAGED if it is no event. */
int engine_apply(struct engine *engine, struct ab_view event, struct ab_error *err);

/* Returns how many effects are wanted now, at most `max`; 0 once the `end` event was applied. Changes nothing. */
size_t engine_next(const struct engine *engine, struct engine_effect *effects, size_t max);

/* What to send for a MODEL effect, in OpenAI's shape; a new reference. As much of the conversation and of the session before
 * it as the agent's `context` allows. If the model said that this is too much: tokens_max = engine_trim(), with which its
 * model_reply is journaled (trimmed_tokens), so that later calls of the agent do not come to the same point; 0: it did not. */
json_t *engine_messages(const struct engine *engine, const struct engine_effect *effect, uint64_t tokens_max);
/* What another try may have, in estimated tokens: half of what there is, and nothing of the session before the run. 0: there
 * is nothing that could be left out. */
uint64_t engine_trim(const struct engine *engine, const struct engine_effect *effect);

/* What is in that folder, as code_result and tool_result have it; {NULL,0}: nothing yet. Valid until the next engine_apply. */
struct ab_view engine_files(const struct engine *engine, const char *folder);

/* The user's message; borrowed. */
const json_t *engine_content(const struct engine *engine);

/* The answer of the run so far, by the workflow's summary_method; the caller frees it. */
char *engine_summary(const struct engine *engine);
/* The result of a run that ends at `at_ms` (0: with its last event), which becomes the assistant message's metadata
 * (worker/engine/README.md has its fields); a new reference. */
json_t *engine_result(const struct engine *engine, const char *stop_reason, int64_t at_ms);

/* Appends the newest of `messages` (a raw array of {id, role, content}, oldest first) that stay within both bounds, as a
 * raw array, oldest first: the `history` of a begin event. AB_EINVALID if it is no such array. */
int engine_history(struct ab_view messages, size_t messages_max, size_t bytes_max, struct ab_buf *out,
                   struct ab_error *err);

#endif
