/* Inside of the workflow parser: how one object of a document is validated against a table and copied into the
 * canonical tree. Only the files of this folder include it.
 *
 * A reader takes a value of the document as written and returns its canonical value (a new reference), or NULL
 * if there is none or it is faulty; faults go to the list and reading goes on, so that one run finds them all.
 * Values that are kept as they are, are shared: the document is a copy that nobody else changes.
 */
#ifndef AB_COMMON_WORKFLOW_READING_H
#define AB_COMMON_WORKFLOW_READING_H

#include "common/workflow/workflow.h"

struct ab_reading {
    unsigned flags;
    struct ab_faults faults;
    struct ab_faults warnings;
    struct ab_buf path; /* of the value being read, in the document as written */
    json_t *names;      /* agent names seen so far → true */
    json_t *mentions;   /* [[path, name] …] that must be agents once all were seen */
    json_t *places;     /* [[path, value] …] of tools that are agents or workflows */
    size_t n_agents;
    size_t depth;      /* groupchats and tools around the agent being read, within its workflow */
    size_t calls;      /* tools around it */
    bool concise;      /* which form the workflow has */
    bool steps;        /* receivers are steps of a sequence */
    size_t n_no_model; /* how many of the faults are agents without a model */
};

enum ab_field_kind {
    AB_FIELD_TEXT, /* min..max bytes */
    AB_FIELD_NAME, /* AB_WORKFLOW_NAME_MAX */
    AB_FIELD_BOOL,
    AB_FIELD_INT,      /* min..max */
    AB_FIELD_REAL,     /* min..max; integers are taken too */
    AB_FIELD_ENUM,     /* one of names; stored as the canonical name beside it */
    AB_FIELD_OBJECT,   /* any object, kept as it is */
    AB_FIELD_LIST,     /* any list, kept as it is */
    AB_FIELD_CUSTOM,   /* read() */
    AB_FIELD_ELSEWHERE /* read by the code that sees the whole object; here it is only known and documented */
};

struct ab_choice {
    const char *name;      /* as written */
    const char *canonical; /* NULL: the same */
};

typedef json_t *ab_read_fn(struct ab_reading *r, json_t *value);

struct ab_field {
    const char *key; /* as written */
    const char *as;  /* key in the canonical object; NULL: the same */
    enum ab_field_kind kind;
    bool required;
    const char *otherwise; /* default, as written, as JSON; NULL: absent */
    double min, max;
    const struct ab_choice *choices; /* of an enum; ends with a NULL name */
    ab_read_fn *read;
    const char *shape; /* of a custom or elsewhere field, for the documentation */
    const char *doc;
    size_t offset; /* into the struct built from the canonical object, plus one; 0: not there */
};

struct ab_table {
    const char *title;
    const struct ab_field *fields;
    size_t n;
    const struct ab_table *also; /* further fields of the same object; NULL: none */
    bool own;                    /* our own shape: an unknown key is a fault always */
};

/* Every value of source is checked against the table and put into out under its canonical key; defaults are
 * filled in, unknown keys reported. False, with a fault, if source is no object. */
bool ab_read_object(struct ab_reading *r, const struct ab_table *table, json_t *source, json_t *out);
/* The same into a new object; NULL if source is no object. */
json_t *ab_read_table(struct ab_reading *r, const struct ab_table *table, json_t *source);
/* Each item with read; faulty ones are left out. NULL, with a fault, if it is no list or has not min..max
 * items. */
json_t *ab_read_list(struct ab_reading *r, json_t *source, size_t min, size_t max, const char *what,
                     ab_read_fn *read);
/* One value by read at path.key. */
json_t *ab_read_member(struct ab_reading *r, json_t *object, const char *key, ab_read_fn *read);
/* A list of short texts. */
json_t *ab_read_names(struct ab_reading *r, json_t *source);
/* The name of an agent that may come later, and a list of such: see ab_check_mentions(). */
json_t *ab_read_mention(struct ab_reading *r, json_t *value);
json_t *ab_read_mentions(struct ab_reading *r, json_t *source);
/* Once all agents were seen: a fault for each name that is none of theirs. */
void ab_check_mentions(struct ab_reading *r);
/* Canonical name of a choice, or NULL with a fault that names the legal ones. */
const char *ab_read_choice(struct ab_reading *r, const struct ab_choice *choices, const char *written);

/* Adds a fault at the current path, or at path.key. what and hint are taken (malloc'ed by ab_format). */
void ab_reading_fault(struct ab_reading *r, char *what, char *hint);
void ab_reading_fault_key(struct ab_reading *r, const char *key, char *what, char *hint);
/* The same at another path. */
void ab_reading_fault_at(struct ab_reading *r, const char *path, char *what, char *hint);
/* A fault if strict, else a warning: what the seed ignored. */
void ab_reading_tolerate_key(struct ab_reading *r, const char *key, char *what, char *hint);
void ab_reading_no_model(struct ab_reading *r, const char *key, char *what, char *hint);

/* "text", "a number", "a list" …, for messages. */
const char *ab_kind_name(const json_t *value);
/* JSON null counts as absent everywhere, as in the seed. */
json_t *ab_given(const json_t *object, const char *key);

/* --- the pieces both forms share -------------------------------------------------------------------------- */

json_t *ab_read_llm_config(struct ab_reading *r, json_t *value); /* false or LLM */
json_t *ab_read_model(struct ab_reading *r, json_t *value);  /* concise: name, ENTRY or list → config_list */
json_t *ab_read_script(struct ab_reading *r, json_t *value); /* SCRIPT, or its short forms */
json_t *ab_read_extra_body(struct ab_reading *r, json_t *value);
json_t *ab_read_code_config(struct ab_reading *r, json_t *value); /* false or object */
json_t *ab_read_termination(struct ab_reading *r, json_t *value); /* bool or text */
json_t *ab_read_condition(struct ab_reading *r, json_t *value);   /* CONDITION */
json_t *ab_read_conditions(struct ab_reading *r, json_t *value);  /* of and, or */
/* From its canonical tree; NULL for NULL. */
struct ab_condition *ab_condition_build(json_t *tree);
void ab_condition_destroy(struct ab_condition *condition);   /* NULL is allowed */
json_t *ab_read_format(struct ab_reading *r, json_t *value); /* FORMAT, or its short forms */
json_t *ab_read_schema(struct ab_reading *r, json_t *value);
json_t *ab_read_format_name(struct ab_reading *r, json_t *value);
json_t *ab_read_tools(struct ab_reading *r, json_t *value); /* list of TOOL, or of names */
json_t *ab_read_tool_choice(struct ab_reading *r, json_t *value);
json_t *ab_read_flag(struct ab_reading *r, json_t *value); /* where absent is neither */
json_t *ab_read_tool_builtin(struct ab_reading *r, json_t *value);
json_t *ab_read_tool_server(struct ab_reading *r, json_t *value);
json_t *ab_read_tool_allow(struct ab_reading *r, json_t *value);
json_t *ab_read_tool_skill(struct ab_reading *r, json_t *value);
json_t *ab_read_tool_name(struct ab_reading *r, json_t *value); /* as models see it */
json_t *ab_read_tool_calls(struct ab_reading *r, json_t *value);
json_t *ab_read_arguments(struct ab_reading *r, json_t *value);
json_t *ab_read_context(struct ab_reading *r, json_t *value); /* CONTEXT */
json_t *ab_read_budget(struct ab_reading *r, json_t *value);  /* its text */
json_t *ab_read_work_dir(struct ab_reading *r, json_t *value);
json_t *ab_read_repeat_speaker(struct ab_reading *r, json_t *value);
json_t *ab_read_transitions(struct ab_reading *r, json_t *value);

/* Notes an agent: its name must be new, and there is room for one more. The name may be NULL (faulty). */
void ab_reading_agent(struct ab_reading *r, const char *name);
/* A name not taken yet, from candidates "user", "user_2" …; noted. The caller frees it. */
char *ab_reading_fresh_name(struct ab_reading *r, const char *wanted);

/* {"name", "type": userproxy, "config"} of a person who opens the chat and says nothing more. */
json_t *ab_silent_user(struct ab_reading *r);
/* Agent = {name, type, config …} with a given link, as an entry of the canonical agents[]. Takes agent. */
json_t *ab_agent_entry(json_t *agent, const char *link);

/* ---- delegates.c: tools that are agents or workflows ---- */

json_t *ab_read_tool_agent(struct ab_reading *r, json_t *value); /* a name, or an agent */
json_t *ab_read_tool_flow(struct ab_reading *r, json_t *value);  /* NAME, NAME@VERSION, or a workflow */
/* Notes that this canonical value was written at the current path. */
void ab_reading_place(struct ab_reading *r, json_t *value);
/* Once all agents were seen: describes such tools, and faults those that come to call themselves or go too deep. */
void ab_check_delegates(struct ab_reading *r, json_t *workflow);
/* One agent that stands in a tool. The concise one becomes canonical with those around it. */
json_t *ab_read_flow_agent(struct ab_reading *r, json_t *value);
json_t *ab_read_concise_agent(struct ab_reading *r, json_t *value);
/* A workflow inside of another one: its agents are its own. */
json_t *ab_read_workflow(struct ab_reading *r, json_t *value);

/* The two forms. Each returns the canonical tree or NULL. */
json_t *ab_read_flow_config(struct ab_reading *r, json_t *source);
json_t *ab_read_concise(struct ab_reading *r, json_t *source);

/* Canonical tree → struct; cannot fail on a tree made without faults. Takes tree. */
struct ab_workflow *ab_workflow_build(json_t *tree, char *text, size_t text_bytes);

/* --- the tables ------------------------------------------------------------------------------------------- */

extern const struct ab_table ab_flow_table, ab_flow_entry_table, ab_flow_link_table, ab_flow_agent_table;
extern const struct ab_table ab_flow_config_table, ab_flow_group_table;
extern const struct ab_table ab_llm_table, ab_entry_table, ab_code_table;
extern const struct ab_table ab_script_table, ab_reply_table, ab_reply_usage_table, ab_reply_error_table;
extern const struct ab_table ab_concise_table, ab_concise_agent_table, ab_condition_table, ab_context_table;
extern const struct ab_table ab_format_table, ab_schema_format_table;
extern const struct ab_table ab_tool_call_table;
extern const struct ab_table ab_tool_name_table, ab_tool_mcp_table, ab_tool_skill_table, ab_tool_agent_table,
    ab_tool_workflow_table;

extern const struct ab_choice ab_workflow_types[], ab_agent_types[], ab_providers[];

#endif
