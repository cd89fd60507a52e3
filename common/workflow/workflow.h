/* Workflows: what agents a run has, how they are linked, and which model each one uses.
 *
 * A workflow is written in one of two forms, each as JSON or YAML: the seed's `flow_config` as it is (sender and
 * receiver, or agents[] with links), or the concise form described in client/examples/README.md. Both are
 * validated, all faults at once with their JSON paths in the document as written, and normalised to ONE canonical
 * tree, from which struct ab_workflow is built. The canonical tree is itself a flow_config: parsing it again gives
 * the same text.
 *
 *   { "name", "type": default|autonomous|sequential|groupchat, "summary_method": last|llm|none,
 *     "description"?, "task"?, "output"?: an agent's name, "termination"?: CONDITION, "context"?: CONTEXT of the agents that have none,
 *     "agents": [ { "agent": AGENT, "link": {"agent_type": "sender"} },          exactly one sender, first
 *                 { "agent": AGENT, "link": {"agent_type": "receiver"} } … ] }   one or more receivers
 *   AGENT  = { "name", "type": assistant|userproxy|groupchat, "task_instruction"?, "config": CONFIG,
 *              "agents": [AGENT…] only in a groupchat, "skills"?, "tools"?: [TOOL…], "tool_choice"?, "parallel_tool_calls"? }
 *   TOOL   = one of { "name" } { "mcp", "allow"?: [names] } { "skill" } { "agent": name or AGENT, "name", "description"? }
 *            { "workflow": name or all this, "source"?, "name", "description"? }, with "approval": always|ask|never,
 *            "strict"? and, but for agents and workflows, "timeout_s"? (common/workflow/tools.h)
 *   CONFIG = { "system_message"?, "description"?, "human_input_mode": NEVER|TERMINATE|ALWAYS,
 *              "human_timeout_s"?, "human_default"?, "max_consecutive_auto_reply", "default_auto_reply", "is_termination_msg"?: bool or text,
 *              "llm_config": false or LLM,
 *              "code_execution_config": false or {"use_docker", "timeout", "work_dir"?}, "context"?: CONTEXT,
 *              and in a groupchat: "admin_name", "messages", "max_round", "speaker_selection_method",
 *              "allow_repeat_speaker": bool or names, "allowed_transitions"?: {name: [names]},
 *              "termination"?: CONDITION }
 *   CONDITION = a list of CONDITIONs, any of which ends the conversation, or one of
 *            { "text", "from"?: [names] } { "rounds" } { "auto_replies" } { "tokens" } { "cost_usd" } { "seconds" } { "tool_call" }
 *            { "agent" } { "and": [CONDITION…] } { "or": [CONDITION…] }
 *   CONTEXT = unbounded or { "head"?, "last"?, "tokens"? }
 *   LLM    = { "config_list": [ENTRY…] at least one, tried in order, "temperature", "cache_seed"?,
 *              "timeout"?, "max_tokens"?, "extra_body"?, "response_format"?: FORMAT }
 *   FORMAT = { "type": "json_object" } or
 *            { "type": "json_schema", "json_schema": { "name", "schema", "strict"?, "description"? } }
 *   ENTRY  = { "model", "api_type": openai|azure|script, "base_url"?, "api_version"?,
 *              "api_key"?: {"$secret": i}, "script"?: SCRIPT, only and always with api_type script }
 *   SCRIPT = { "echo": true, "delay_ms", "chunk_bytes" } or
 *            { "replies": [REPLY…], "repeat": last|loop|error, "delay_ms", "chunk_bytes" }
 *   REPLY  = { "text" and "tool_calls": [{"name", "arguments": object or text}], one of them or both, or
 *              "error": {"status", "message"?, "retry_after_ms"?}, "delay_ms", "chunk_bytes",
 *              "usage"?: {"prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"} }
 *
 * `?` = absent when not given; all other keys are always there, so that a stored workflow does not change its
 * meaning when a default of the program does. A script's delay_ms and chunk_bytes are already copied into its
 * replies. Tokens of a reply without usage are estimated by the worker.
 *
 * An api_key is never part of this tree: see ab_workflow_extract_secrets().
 */
#ifndef AB_COMMON_WORKFLOW_H
#define AB_COMMON_WORKFLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/bytes.h"
#include "common/error.h"
#include "common/tree.h"

enum {
    AB_WORKFLOW_BYTES_MAX = 1 << 20, /* of the text as written, and of the canonical text */
    AB_WORKFLOW_AGENTS_MAX = 256,    /* members of groupchats included */
    AB_WORKFLOW_DEPTH_MAX = 16,      /* groupchats within groupchats, called agents and workflows included */
    AB_WORKFLOW_CALLS_MAX = 4,       /* of these: agents and workflows that are called by such */
    AB_WORKFLOW_NAME_MAX = 64,       /* letters, digits, "_", ".", "-" and space */
    AB_WORKFLOW_SECRETS_MAX = 256,
    AB_WORKFLOW_CONFIGS_MAX = 16,   /* entries of a config_list */
    AB_WORKFLOW_REPLIES_MAX = 4096, /* of one script */
    AB_WORKFLOW_CONDITIONS_MAX =
        64,                     /* of one termination, those of `and` and `or` counted, not these themselves */
    AB_WORKFLOW_HASH_BYTES = 32 /* BLAKE2b-256 */
};

enum ab_workflow_type {
    AB_WORKFLOW_DEFAULT,
    AB_WORKFLOW_AUTONOMOUS,
    AB_WORKFLOW_SEQUENTIAL,
    AB_WORKFLOW_GROUPCHAT
};
enum ab_summary { AB_SUMMARY_LAST, AB_SUMMARY_LLM, AB_SUMMARY_NONE };
enum ab_agent_type { AB_AGENT_ASSISTANT, AB_AGENT_USERPROXY, AB_AGENT_GROUPCHAT };
enum ab_human_input { AB_HUMAN_NEVER, AB_HUMAN_TERMINATE, AB_HUMAN_ALWAYS };
enum ab_provider { AB_PROVIDER_OPENAI, AB_PROVIDER_AZURE, AB_PROVIDER_SCRIPT };
enum ab_speaker_selection { AB_SPEAKER_AUTO, AB_SPEAKER_ROUND_ROBIN, AB_SPEAKER_RANDOM, AB_SPEAKER_MANUAL };
enum ab_code_mode { AB_CODE_OFF, AB_CODE_LOCAL, AB_CODE_DOCKER };
enum ab_script_repeat { AB_REPEAT_ERROR, AB_REPEAT_LAST, AB_REPEAT_LOOP };

/* All strings and trees below are borrowed from the workflow's tree and live as long as it. Text that was not
 * given is NULL where the comment says so, "" otherwise. */

/* One entry of a config_list. */
struct ab_llm_entry {
    enum ab_provider provider;
    const char *model;
    const char *base_url;    /* NULL: the worker's configured default */
    const char *api_version; /* NULL: none */
    int secret;              /* index of the sealed key that came with the job; -1: the worker's own key */
    json_t *script;          /* SCRIPT above; NULL unless provider is script */
};

struct ab_llm {
    struct ab_llm_entry *entries; /* tried in this order */
    size_t n_entries;             /* 0: this agent has no model */
    double temperature;
    int64_t cache_seed;      /* -1: no cache */
    double timeout_s;        /* 0: the worker's default */
    int64_t max_tokens;      /* 0: the worker's default */
    json_t *extra_body;      /* object merged into the request body; NULL: nothing */
    json_t *response_format; /* FORMAT above, of the agent's turns; NULL: any text */
};

struct ab_code_config {
    enum ab_code_mode mode;
    const char *work_dir; /* inside the job's own directory; NULL: that directory itself */
    int64_t timeout_s;
};

/* How much of the conversation, and of the session before it, an agent's model is sent. 0: no bound. */
struct ab_context {
    int64_t head;   /* so many of the conversation's first messages are always sent */
    int64_t last;   /* and, of the others, so many of the newest */
    int64_t tokens; /* all of them, estimated, the system message included, have at most so many */
};

/* A termination condition. Each one but `and` and `or` is a fact about a conversation so far, and stays true once it is. */
enum ab_condition_kind {
    AB_CONDITION_TEXT,
    AB_CONDITION_ROUNDS,
    AB_CONDITION_AUTO_REPLIES,
    AB_CONDITION_TOKENS,
    AB_CONDITION_COST,
    AB_CONDITION_SECONDS,
    AB_CONDITION_TOOL_CALL,
    AB_CONDITION_AGENT,
    AB_CONDITION_AND,
    AB_CONDITION_OR
};
struct ab_condition {
    enum ab_condition_kind kind;
    const char *text;           /* of TEXT; the tool's, the agent's name */
    const json_t *from;         /* of TEXT: array of names; NULL: whoever says it */
    double bound;               /* of ROUNDS, AUTO_REPLIES, TOKENS, COST, SECONDS */
    struct ab_condition *parts; /* of AND, OR */
    size_t n_parts;
    unsigned index; /* of a fact: its place among those of the whole condition, from 0 */
    json_t *tree;   /* as it is in the canonical tree; borrowed */
};

struct ab_groupchat {
    const char *admin_name;
    json_t *messages; /* opening messages of the chat; array */
    int64_t max_round;
    enum ab_speaker_selection selection;
    json_t *allow_repeat_speaker;     /* bool, or an array of names */
    json_t *allowed_transitions;      /* {name: [names]}; NULL: everybody after everybody */
    struct ab_condition *termination; /* of this chat, instead of the workflow's; NULL: none of its own */
};

/* A tool that is an agent or a whole workflow: who is asked when the model of the agent that has it calls it. */
struct ab_delegate {
    const char *name;             /* of the tool */
    const char *description;      /* NULL: none */
    const struct ab_agent *agent; /* of the same workflow, or `own`; NULL: it is a workflow */
    struct ab_agent *own;         /* that stands in the tool itself; owned */
    struct ab_workflow *workflow; /* owned; NULL: it is an agent, or */
    const char *stored;           /* a stored workflow's NAME or NAME@VERSION, which is not resolved yet */
};

struct ab_agent {
    const char *name; /* unique in the workflow */
    enum ab_agent_type type;
    const char *system_message;   /* NULL: none */
    const char *description;      /* NULL: none */
    const char *task_instruction; /* a sequential step's own task; NULL: none */
    enum ab_human_input human_input;
    double human_timeout_s;    /* how long a person may take to answer; 0: for ever */
    const char *human_default; /* the answer then; NULL: an empty one */
    int64_t max_consecutive_auto_reply;
    const char *default_auto_reply;
    bool terminates; /* false: is_termination_msg is false, no text ends the chat for this agent */
    const char
        *termination_word; /* the text, right-stripped, ends with it; "TERMINATE" unless told otherwise */
    struct ab_llm llm;
    struct ab_code_config code;
    struct ab_context context; /* its own, else the workflow's; of a groupchat: for the choice of speakers */
    struct ab_groupchat groupchat; /* meaningful if type is groupchat */
    struct ab_agent *members;      /* of a groupchat */
    size_t n_members;
    json_t *skills, *tools;        /* non-empty arrays, or NULL */
    const char *tool_choice;       /* auto, required or a tool's name; NULL: not given */
    json_t *parallel_tool_calls;   /* true or false; NULL: not given */
    struct ab_delegate *delegates; /* those of the tools that are agents and workflows */
    size_t n_delegates;
    char *path; /* in the canonical tree: "$.agents[1].agent"; owned */
};

struct ab_workflow {
    const char *name;
    const char *description; /* NULL: none */
    const char *task;        /* what to send if the user gives no message; NULL: none. The client honours it. */
    const char *output; /* the agent whose turns a client of /v1 gets as they are written; NULL: not said */
    enum ab_workflow_type type;
    enum ab_summary summary;
    struct ab_agent sender;
    struct ab_agent *receivers; /* at least one */
    size_t n_receivers;
    const char *
        budget; /* limits of each of its jobs, as common/budget.h writes them; NULL: none. Storage honours it. */
    struct ab_condition *termination; /* of each conversation of the sender with a receiver; NULL: none */
    size_t n_secrets;                 /* references {"$secret": 0 … n_secrets-1} may occur */

    json_t *tree; /* canonical; owned, as are the following */
    char *path;   /* of it: "$", or where it stands in another one, which alone has text and hash */
    char *text;   /* ab_json_text(tree), NUL-terminated */
    size_t text_bytes;
    uint8_t hash[AB_WORKFLOW_HASH_BYTES]; /* ab_workflow_hash(text) */
};

enum {
    /* Unknown keys of the seed's form are faults; without it they are warnings, as the seed's API ignores them.
     * Unknown keys of the concise form and of a script are faults always. */
    AB_WORKFLOW_STRICT = 1
};

/* Validates and normalises. Returns 0 with *out set (ab_workflow_destroy), or AB_EINVALID with every fault in
 * `faults`, or AB_ENOMODEL if the only faults are agents without a model; then *out is NULL, and err has the
 * first fault's path, what is wrong, what to write, and how many more there are. `faults` and `warnings` may be
 * NULL; both are added to. A clear api_key is a fault: extract first. */
int ab_workflow_parse(const json_t *flow_config, unsigned flags, struct ab_workflow **out,
                      struct ab_faults *faults, struct ab_faults *warnings, struct ab_error *err);
void ab_workflow_destroy(struct ab_workflow *workflow); /* NULL is allowed */
/* By its name, also one that is a member or a tool; not of workflows inside. NULL if there is none. */
const struct ab_agent *ab_workflow_agent(const struct ab_workflow *workflow, const char *name);

/* The same from text, JSON or YAML (as ab_tree_parse decides; file may be NULL), for tools and tests.
 * A syntax error is in err alone, with "line L column C" as its path. places may be NULL. */
int ab_workflow_read(struct ab_view text, const char *file, unsigned flags, struct ab_workflow **out,
                     struct ab_places *places, struct ab_faults *faults, struct ab_faults *warnings,
                     struct ab_error *err);

/* What this release's engine cannot run yet, as faults with the canonical path. Returns how many were added. A
 * worker or storage refuses such a workflow with the first of them; nothing is silently ignored. */
size_t ab_workflow_supported(const struct ab_workflow *workflow, struct ab_faults *faults);

/* The content hash: BLAKE2b-256 of the canonical text. */
void ab_workflow_hash(struct ab_view canonical_text, uint8_t hash[AB_WORKFLOW_HASH_BYTES]);

/* --- stored workflows as tools ---------------------------------------------------------------------------- */

/* *version 0: the newest; sets it. *out is the canonical tree, a new reference. */
typedef int ab_stored_fn(void *context, struct ab_view name, uint64_t *version, json_t **out,
                         struct ab_error *err);
/* Puts the stored workflows that tools name where their names stand, so that the workflow is the same for ever. *out is NULL if
 * there are none. An error has the path in the canonical tree. */
int ab_workflow_resolve(const struct ab_workflow *workflow, ab_stored_fn *find, void *context,
                        struct ab_workflow **out, struct ab_faults *faults, struct ab_error *err);
/* A tool names a stored workflow that was not put there: AB_EINVALID with its path. */
int ab_workflow_resolved(const struct ab_workflow *workflow, struct ab_error *err);

/* --- secrets ---------------------------------------------------------------------------------------------- */

/* A key that was taken out of a flow_config. The memory of `value` is wiped by finish. */
struct ab_secret {
    char *path; /* "$.agents[0].agent.config.llm_config.config_list[0].api_key" */
    char *value;
    char *base_url; /* the endpoint it stands beside and is bound to; NULL: the worker's default endpoint */
};
struct ab_secret_list {
    struct ab_secret *items; /* the place in this list is the index in {"$secret": index} */
    size_t n;
};
/* Replaces each `"api_key": "text"`, wherever it stands, by {"$secret": index}, so that a workflow has the same
 * hash whatever its key; an empty or null one is removed. The order is that of the sorted keys: it does not
 * depend on how the document was written. Works in place, before ab_workflow_parse(). AB_ETOOLARGE over
 * AB_WORKFLOW_SECRETS_MAX; AB_EINVALID if the document already has references. */
int ab_workflow_extract_secrets(json_t *flow_config, struct ab_secret_list *out, struct ab_error *err);
void ab_secret_list_finish(struct ab_secret_list *list);

/* For workflow *files* of a client only, never for what a network peer sent: replaces ${NAME} and
 * ${NAME:-otherwise} in the text values of model, base_url and api_key, in place. lookup returns NULL for an
 * unset name, which is a fault unless there is an otherwise. Call it before ab_workflow_extract_secrets().
 * Returns the number of faults added. */
typedef const char *ab_lookup_fn(void *context, const char *name);
size_t ab_workflow_expand(json_t *flow_config, ab_lookup_fn *lookup, void *context, struct ab_faults *faults);

/* --- more ------------------------------------------------------------------------------------------------- */

/* 1 to AB_WORKFLOW_NAME_MAX letters, digits, "_", ".", "-" and spaces between words. */
bool ab_workflow_name_ok(struct ab_view name);
/* Ends as a workflow file does (.json, .yaml, .yml): where a file or a name may stand it is a file. */
bool ab_workflow_is_file_name(struct ab_view name);

#define AB_WORKFLOW_BUILTIN_NAME        "chat"
#define AB_WORKFLOW_BUILTIN_DESCRIPTION "a user and one assistant"
/* The workflow used when none is given, as text in the concise form: a user and one assistant. `model` NULL:
 * the offline script model, which echoes. The caller frees it. */
char *ab_workflow_builtin(const char *model);

/* As in the tree. */
const char *ab_provider_name(enum ab_provider provider);

/* Prints every field of both forms as Markdown tables, from the tables that validate them. */
void ab_workflow_print_fields(FILE *out);

#endif
