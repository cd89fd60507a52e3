/* The tables of every field a workflow can have: what is legal, the default, where it lands, and what it means.
 * The validator, the struct builder and the printed reference all read them; to add a field, add a row.
 */
#include "common/workflow/reading.h"

#define COUNT(array)      (sizeof(array) / sizeof *(array))
#define AT(name, member)  .offset = offsetof(struct name, member) + 1
#define TEXT(bytes)       .kind = AB_FIELD_TEXT, .max = (bytes)
#define FILLED(bytes)     .kind = AB_FIELD_TEXT, .min = 1, .max = (bytes)
#define NUMBER(low, high) .kind = AB_FIELD_INT, .min = (low), .max = (high)
#define REAL(low, high)   .kind = AB_FIELD_REAL, .min = (low), .max = (high)
#define ENUM(list)        .kind = AB_FIELD_ENUM, .choices = (list)
#define ELSEWHERE(form)   .kind = AB_FIELD_ELSEWHERE, .shape = (form)
#define CUSTOM(fn, form)  .kind = AB_FIELD_CUSTOM, .read = (fn), .shape = (form)

enum {
    TEXT_MAX = AB_WORKFLOW_BYTES_MAX,
    SHORT_MAX = 256,
    URL_MAX = 2048,
    ROUNDS_MAX = 10000,
    TOKENS_MAX = 100000000,
    USD_MAX = 1000000,
    TIMEOUT_S_MAX = 86400,
    HUMAN_TIMEOUT_S_MAX = 366 * 86400,
    DELAY_MS_MAX = 600000,
    TEMPERATURE_MAX = 2
};

/* --- legal values; the seed's in the order of their C enums ----------------------------------------------- */

const struct ab_choice ab_workflow_types[] = {
    {"default", 0}, {"autonomous", 0}, {"sequential", 0}, {"groupchat", 0}, {0}};
const struct ab_choice ab_agent_types[] = {{"assistant", 0}, {"userproxy", 0}, {"groupchat", 0}, {0}};
const struct ab_choice ab_providers[] = {
    {"openai", 0}, {"azure", 0}, {"script", 0}, {"open_ai", "openai"}, {0}};
static const struct ab_choice summaries[] = {{"last", 0}, {"llm", 0}, {"none", 0}, {0}};
static const struct ab_choice human_modes[] = {{"NEVER", 0}, {"TERMINATE", 0}, {"ALWAYS", 0}, {0}};
static const struct ab_choice speakers[] = {{"auto", 0}, {"round_robin", 0}, {"random", 0}, {"manual", 0}, {0}};
static const struct ab_choice links[] = {{"sender", 0}, {"receiver", 0}, {0}};
static const struct ab_choice repeats[] = {{"error", 0}, {"last", 0}, {"loop", 0}, {0}};
static const struct ab_choice concise_types[] = {
    {"chat", "default"}, {"sequential", 0}, {"autonomous", 0}, {"groupchat", 0}, {0}};
static const struct ab_choice concise_agent_types[] = {{"assistant", 0}, {"user", "userproxy"}, {0}};

#define OUTPUT_DOC "the agent whose turns are the answer to a client of /v1, as they are written"

/* --- the seed's flow_config ------------------------------------------------------------------------------- */

static const struct ab_field flow_fields[] = {
    {"name", .kind = AB_FIELD_NAME, .required = true, AT(ab_workflow, name), .doc = "name of the workflow"},
    {"type", ENUM(ab_workflow_types), .otherwise = "\"default\"", AT(ab_workflow, type),
     .doc =
         "default: sender and one receiver talk; autonomous: the sender with every receiver at the same time; "
         "sequential: the receivers in order, each given the results so far; groupchat: the receiver is a "
         "groupchat"},
    {"summary_method", ENUM(summaries), .otherwise = "\"last\"", AT(ab_workflow, summary),
     .doc = "the result: the last message, a summary by the model, or none"},
    {"description", TEXT(TEXT_MAX), AT(ab_workflow, description), .doc = "for people"},
    {"task", FILLED(TEXT_MAX), AT(ab_workflow, task), .doc = "the message to send if the user gives none"},
    {"output", CUSTOM(ab_read_mention, "an agent's name"), .doc = OUTPUT_DOC},
    {"budget", CUSTOM(ab_read_budget, "{unit: limit} or text"), AT(ab_workflow, budget),
     .doc = "limits of each job: tokens, usd, calls, turns, seconds; at one of them it waits until that is "
            "raised"},
    {"termination", CUSTOM(ab_read_condition, "a condition or a list"),
     .doc = "further ways for each conversation to end; any of a list"},
    {"context", CUSTOM(ab_read_context, "unbounded or an object"),
     .doc = "how much of the conversation the models of agents that have none of their own are sent"},
    {"sender", ELSEWHERE("an agent"), .doc = "who opens with the user's message"},
    {"receiver", ELSEWHERE("an agent or a list"), .doc = "who answers"},
    {"agents", ELSEWHERE("list of entries"), .doc = "instead of sender and receiver: agents with links"},
};
const struct ab_table ab_flow_table = {"flow_config", flow_fields, COUNT(flow_fields), NULL, false};

static const struct ab_field entry_fields[] = {
    {"agent", ELSEWHERE("an agent"), .required = true, .doc = "the agent"},
    {"link", ELSEWHERE("a link"), .doc = "its part in the workflow"},
    {"task_instruction", FILLED(TEXT_MAX), .doc = "the own task of a sequential step"},
};
const struct ab_table ab_flow_entry_table = {"an agents[] entry", entry_fields, COUNT(entry_fields), NULL,
                                             false};

static const struct ab_field link_fields[] = {
    {"agent_type", ENUM(links),
     .doc = "sender opens with the user's message, receiver answers; without it a userproxy "
            "is the sender"},
};
const struct ab_table ab_flow_link_table = {"a link", link_fields, COUNT(link_fields), NULL, false};

#define TOOL_USE(choice_at, parallel_at)                                                                       \
    {"tool_choice", CUSTOM(ab_read_tool_choice, "auto, required or a tool's name"), choice_at,                 \
     .doc = "required: its model must call a tool before it answers; a name: that one; auto unless given"},    \
    {                                                                                                          \
        "parallel_tool_calls", CUSTOM(ab_read_flag, "true or false"), parallel_at,                             \
            .doc = "false: its model's endpoint shall not call several at once; left to it unless given"       \
    }

static const struct ab_field agent_fields[] = {
    {"name", .kind = AB_FIELD_NAME, AT(ab_agent, name), .doc = "unique name; may stand in config instead"},
    {"type", ENUM(ab_agent_types), AT(ab_agent, type),
     .doc = "assistant unless given; a sender without llm_config is a "
            "userproxy"},
    {"task_instruction", FILLED(TEXT_MAX), AT(ab_agent, task_instruction),
     .doc = "the own task of a sequential step"},
    {"config", ELSEWHERE("an object"), .doc = "everything else"},
    {"agents", ELSEWHERE("list of agents"), .doc = "members of a groupchat; may stand in config instead"},
    {"skills", .kind = AB_FIELD_LIST, AT(ab_agent, skills), .doc = "skills the agent may call"},
    {"tools", CUSTOM(ab_read_tools, "list of tools"), AT(ab_agent, tools),
     .doc = "tools its model may call: names, or objects with one of name, mcp, skill, agent, workflow"},
    TOOL_USE(AT(ab_agent, tool_choice), AT(ab_agent, parallel_tool_calls)),
};
const struct ab_table ab_flow_agent_table = {"an agent", agent_fields, COUNT(agent_fields), NULL, false};

static const struct ab_field config_fields[] = {
    {"name", ELSEWHERE("name"), .doc = "if not beside config"},
    {"agents", ELSEWHERE("list of agents"), .doc = "members of a groupchat, if not beside config"},
    {"system_message", TEXT(TEXT_MAX), AT(ab_agent, system_message),
     .doc = "who the agent is, told to its model"},
    {"description", TEXT(TEXT_MAX), AT(ab_agent, description),
     .doc = "what the other agents are told about it"},
    {"human_input_mode", ENUM(human_modes), .otherwise = "\"NEVER\"", AT(ab_agent, human_input),
     .doc = "when a person is asked: never, where the chat would end, or at every turn"},
    {"human_timeout_s", REAL(0.001, HUMAN_TIMEOUT_S_MAX), AT(ab_agent, human_timeout_s),
     .doc = "how long a person who is asked may take, in seconds; for ever unless given"},
    {"human_default", TEXT(TEXT_MAX), AT(ab_agent, human_default),
     .doc = "the answer when the time is over; an empty one unless given"},
    {"max_consecutive_auto_reply", NUMBER(0, ROUNDS_MAX), .otherwise = "10",
     AT(ab_agent, max_consecutive_auto_reply),
     .doc = "the chat ends when the agent has replied so often without a person"},
    {"default_auto_reply", TEXT(TEXT_MAX), .otherwise = "\"\"", AT(ab_agent, default_auto_reply),
     .doc = "the reply of an agent without a model"},
    {"is_termination_msg", CUSTOM(ab_read_termination, "true, false or text"),
     .doc = "text: a message that ends with it ends the chat; true: TERMINATE; false: no message does"},
    {"llm_config", CUSTOM(ab_read_llm_config, "false or an object"), .otherwise = "false",
     .doc = "the agent's model"},
    {"code_execution_config", CUSTOM(ab_read_code_config, "false, none, local, docker or an object"),
     .otherwise = "false", .doc = "whether and where code blocks in messages to the agent are run"},
    {"context", CUSTOM(ab_read_context, "unbounded or an object"),
     .doc = "how much of the conversation its model is sent; all of it unless given"},
    {"response_format", CUSTOM(ab_read_format, "json_object or an object"),
     .doc = "the same as in llm_config, which it goes into"},
};
const struct ab_table ab_flow_config_table = {"an agent's config", config_fields, COUNT(config_fields), NULL,
                                              false};

static const struct ab_field group_fields[] = {
    {"admin_name", .kind = AB_FIELD_NAME, .otherwise = "\"Admin\"", AT(ab_agent, groupchat.admin_name),
     .doc = "name of the one who chooses the speakers"},
    {"messages", .kind = AB_FIELD_LIST, .otherwise = "[]", AT(ab_agent, groupchat.messages),
     .doc = "messages the chat starts with"},
    {"max_round", NUMBER(1, ROUNDS_MAX), .otherwise = "10", AT(ab_agent, groupchat.max_round),
     .doc = "how many messages are spoken at most"},
    {"speaker_selection_method", ENUM(speakers), .otherwise = "\"auto\"", AT(ab_agent, groupchat.selection),
     .doc = "who speaks next: the model's choice, in turn, at random, or a person's choice"},
    {"allow_repeat_speaker", CUSTOM(ab_read_repeat_speaker, "true, false or names"), .otherwise = "true",
     AT(ab_agent, groupchat.allow_repeat_speaker), .doc = "whether the same agent may speak twice in a row"},
    {"allowed_transitions", CUSTOM(ab_read_transitions, "{name: [names]}"),
     AT(ab_agent, groupchat.allowed_transitions), .doc = "who may speak after whom; everybody unless given"},
    {"termination", CUSTOM(ab_read_condition, "a condition or a list"),
     .doc = "further ways for this chat to end, instead of the workflow's"},
};
const struct ab_table ab_flow_group_table = {"a groupchat's config", group_fields, COUNT(group_fields),
                                             &ab_flow_config_table, false};

static const struct ab_field context_fields[] = {
    {"head", NUMBER(1, ROUNDS_MAX), AT(ab_context, head),
     .doc = "so many of the conversation's first messages, whatever else is left out; beside last or tokens"},
    {"last", NUMBER(1, ROUNDS_MAX), AT(ab_context, last),
     .doc = "so many of the newest messages, those of the session before this run included"},
    {"tokens", NUMBER(1, TOKENS_MAX), AT(ab_context, tokens),
     .doc = "all that is sent, estimated: a token is 3 bytes, an image or file 1000 tokens"},
};
const struct ab_table ab_context_table = {"context", context_fields, COUNT(context_fields), NULL, true};

static const struct ab_field condition_fields[] = {
    {"text", FILLED(TEXT_MAX), .doc = "a message has this text in it"},
    {"from", CUSTOM(ab_read_mentions, "list of names"), .doc = "beside text: only messages of these agents"},
    {"rounds", NUMBER(1, ROUNDS_MAX), .doc = "so many messages were written; the opening one is not counted"},
    {"auto_replies", NUMBER(1, ROUNDS_MAX),
     .doc = "an agent has replied so often without a person's words, whatever its max_consecutive_auto_reply"},
    {"tokens", NUMBER(1, TOKENS_MAX), .doc = "all model calls together took so many, read and written"},
    {"cost_usd", REAL(0.000001, USD_MAX),
     .doc = "all model calls together cost so much; a call of a model without a price fails the run"},
    {"seconds", REAL(0.001, TIMEOUT_S_MAX),
     .doc = "so much time has passed since it was opened; waiting for people does not count"},
    {"tool_call", FILLED(SHORT_MAX), .doc = "a model has called the tool of this name"},
    {"agent", CUSTOM(ab_read_mention, "name"), .doc = "this agent has spoken"},
    {"and", CUSTOM(ab_read_conditions, "list of conditions"),
     .doc = "all of these were met, in whatever order"},
    {"or", CUSTOM(ab_read_conditions, "list of conditions"), .doc = "one of these was met"},
};
const struct ab_table ab_condition_table = {"a condition", condition_fields, COUNT(condition_fields), NULL,
                                            true};

/* --- models ----------------------------------------------------------------------------------------------- */

/* Settings of a model call; the concise form has the same keys on the workflow and on its agents. */
#define MODEL_SETTINGS(temperature_default)                                                                    \
    {"temperature", REAL(0, TEMPERATURE_MAX), .otherwise = (temperature_default), AT(ab_llm, temperature),     \
     .doc = "0: always the likeliest word"},                                                                   \
        {"cache_seed", NUMBER(0, 2147483647), AT(ab_llm, cache_seed),                                          \
         .doc = "identical requests with the same seed may be answered from a cache"},                         \
        {"timeout", REAL(0.001, TIMEOUT_S_MAX), AT(ab_llm, timeout_s), .doc = "seconds for one call"},         \
        {"max_tokens", NUMBER(1, TOKENS_MAX), AT(ab_llm, max_tokens), .doc = "of one answer"},                 \
        {"extra_body", CUSTOM(ab_read_extra_body, "an object"), AT(ab_llm, extra_body),                        \
         .doc = "further members of the request's body"},                                                      \
    {                                                                                                          \
        "response_format", CUSTOM(ab_read_format, "json_object or an object"), AT(ab_llm, response_format),    \
            .doc = "the agent answers with JSON, checked: any object, or what fits a schema"                   \
    }

static const struct ab_field llm_fields[] = {
    {"config_list", ELSEWHERE("list of entries"), .required = true,
     .doc = "at least one model, tried in order"},
    MODEL_SETTINGS("0.0"),
};
const struct ab_table ab_llm_table = {"llm_config", llm_fields, COUNT(llm_fields), NULL, false};

static const struct ab_choice formats[] = {{"json_object", 0}, {"json_schema", 0}, {0}};
static const struct ab_field format_fields[] = {
    {"type", ENUM(formats), .required = true, .doc = "any object, or what fits json_schema"},
    {"json_schema", ELSEWHERE("{name, schema, strict, description}"),
     .doc = "of type json_schema; its members may stand here instead, without type"},
};
const struct ab_table ab_format_table = {"response_format", format_fields, COUNT(format_fields), NULL, true};

static const struct ab_field schema_format_fields[] = {
    {"name", CUSTOM(ab_read_format_name, "A-Z a-z 0-9 _ -"), .otherwise = "\"answer\"",
     .doc = "what the answer is called, told to the model"},
    {"schema", CUSTOM(ab_read_schema, "a JSON Schema"),
     .doc = "what the answer must be; common/json_schema.h lists the keywords"},
    {"strict", .kind = AB_FIELD_BOOL,
     .doc = "the endpoint itself lets the model write nothing else; not all schemas can be"},
    {"description", TEXT(TEXT_MAX), .doc = "told to the model"},
};
const struct ab_table ab_schema_format_table = {"json_schema", schema_format_fields,
                                                COUNT(schema_format_fields), NULL, true};

static const struct ab_field model_fields[] = {
    {"model", FILLED(SHORT_MAX), AT(ab_llm_entry, model), .doc = "name of the model"},
    {"api_type", ENUM(ab_providers), AT(ab_llm_entry, provider),
     .doc = "openai is every OpenAI-compatible endpoint, script the offline model; openai unless there is a "
            "script"},
    {"base_url", FILLED(URL_MAX), AT(ab_llm_entry, base_url),
     .doc = "the endpoint, such as https://host/v1; the worker's own unless given"},
    {"api_version", FILLED(SHORT_MAX), AT(ab_llm_entry, api_version), .doc = "of azure"},
    {"api_key", ELSEWHERE("text"),
     .doc = "sealed by the client before it is sent; the worker's own key unless given"},
    {"script", CUSTOM(ab_read_script, "a script"), AT(ab_llm_entry, script),
     .doc = "what the offline model says"},
};
const struct ab_table ab_entry_table = {"a config_list entry", model_fields, COUNT(model_fields), NULL, false};

static const struct ab_field code_fields[] = {
    {"use_docker", .kind = AB_FIELD_BOOL, .otherwise = "false",
     .doc = "true: docker; false: sandboxed on the worker's "
            "machine"},
    {"timeout", NUMBER(1, TIMEOUT_S_MAX), .otherwise = "60", AT(ab_code_config, timeout_s),
     .doc = "seconds for one block"},
    {"work_dir", CUSTOM(ab_read_work_dir, "text"), AT(ab_code_config, work_dir),
     .doc = "folder inside the job's own directory"},
};
const struct ab_table ab_code_table = {"code_execution_config", code_fields, COUNT(code_fields), NULL, false};

/* --- scripts ---------------------------------------------------------------------------------------------- */

#define PACE                                                                                                   \
    {"delay_ms", NUMBER(0, DELAY_MS_MAX), .doc = "time before the first byte of a reply"},                     \
    {                                                                                                          \
        "chunk_bytes", NUMBER(0, TEXT_MAX), .doc = "size of the pieces a reply is streamed in; 0: in one"      \
    }

static const struct ab_field script_fields[] = {
    {"echo", .kind = AB_FIELD_BOOL, .doc = "true: repeat the last message; instead of replies"},
    {"replies", ELSEWHERE("list of replies"),
     .doc = "the agent's n-th call gets the n-th reply: text, or an object"},
    {"repeat", ENUM(repeats), .otherwise = "\"error\"",
     .doc = "after the last reply: an error that says so, the last one again, or all from the start"},
    PACE,
};
const struct ab_table ab_script_table = {"a script", script_fields, COUNT(script_fields), NULL, true};

static json_t *read_usage(struct ab_reading *r, json_t *value)
{
    return ab_read_table(r, &ab_reply_usage_table, value);
}

static json_t *read_error(struct ab_reading *r, json_t *value)
{
    return ab_read_table(r, &ab_reply_error_table, value);
}

static const struct ab_field reply_fields[] = {
    {"text", TEXT(TEXT_MAX), .doc = "what the agent says"},
    {"tool_calls", CUSTOM(ab_read_tool_calls, "list of {name, arguments}"),
     .doc = "tools it calls; the next reply is given when their results are there"},
    {"error", CUSTOM(read_error, "an object"), .doc = "a failed call instead of text"},
    {"usage", CUSTOM(read_usage, "an object"), .doc = "tokens to report; estimated unless given"},
    PACE,
};
const struct ab_table ab_reply_table = {"a reply", reply_fields, COUNT(reply_fields), NULL, true};

static const struct ab_field usage_fields[] = {
    {"prompt_tokens", NUMBER(0, TOKENS_MAX), .required = true, .doc = "tokens read"},
    {"completion_tokens", NUMBER(0, TOKENS_MAX), .required = true, .doc = "tokens written"},
    {"cached_tokens", NUMBER(0, TOKENS_MAX), .otherwise = "0",
     .doc = "how many of the prompt's came from a cache"},
    {"reasoning_tokens", NUMBER(0, TOKENS_MAX), .otherwise = "0",
     .doc = "how many of the written were reasoning"},
};
const struct ab_table ab_reply_usage_table = {"usage", usage_fields, COUNT(usage_fields), NULL, true};

static const struct ab_field error_fields[] = {
    {"status", NUMBER(400, 599), .required = true, .doc = "the HTTP status the call fails with, such as 429"},
    {"message", TEXT(SHORT_MAX), .doc = "what the endpoint says"},
    {"retry_after_ms", NUMBER(0, DELAY_MS_MAX), .doc = "when the endpoint wants the call again"},
};
const struct ab_table ab_reply_error_table = {"error", error_fields, COUNT(error_fields), NULL, true};

static const struct ab_field tool_call_fields[] = {
    {"name", FILLED(SHORT_MAX), .required = true, .doc = "the tool"},
    {"arguments", CUSTOM(ab_read_arguments, "an object"), .otherwise = "{}",
     .doc = "what it is called with; text is sent as it is"},
};
const struct ab_table ab_tool_call_table = {"a tool call", tool_call_fields, COUNT(tool_call_fields), NULL,
                                            true};

/* --- tools ------------------------------------------------------------------------------------------------ */

static const struct ab_choice approvals[] = {{"always", 0}, {"ask", 0}, {"never", 0}, {0}};

#define APPROVAL                                                                                               \
    {                                                                                                          \
        "approval", ENUM(approvals), .otherwise = "\"always\"",                                                \
                                     .doc = "whether a call is made: always; ask: when a person agrees, for "  \
                                            "which the job waits; never: the "                                 \
                                            "model is told so"                                                 \
    }
#define STRICT                                                                                                 \
    {                                                                                                          \
        "strict", .kind = AB_FIELD_BOOL, .otherwise = NULL,                                                    \
                  .doc = "the model's endpoint shall hold the arguments to the schema, if it can"              \
    }
#define TOOL_TIMEOUT                                                                                           \
    {                                                                                                          \
        "timeout_s", REAL(0.001, TIMEOUT_S_MAX),                                                               \
            .doc = "how long a call may take; as long as the worker allows unless given"                       \
    }
#define DESCRIBED                                                                                              \
    {"name", CUSTOM(ab_read_tool_name, "a name"), .doc = "what models call it; its own name unless given"},    \
    {                                                                                                          \
        "description", TEXT(TEXT_MAX), .doc = "what models are told about it"                                  \
    }

static const struct ab_field tool_name_fields[] = {
    {"name", CUSTOM(ab_read_tool_builtin, "name of a tool"), .required = true, .doc = "which one"},
    APPROVAL,
    STRICT,
    TOOL_TIMEOUT,
};
const struct ab_table ab_tool_name_table = {"a tool", tool_name_fields, COUNT(tool_name_fields), NULL, true};

static const struct ab_field tool_mcp_fields[] = {
    {"mcp", CUSTOM(ab_read_tool_server, "name of a server"), .required = true,
     .doc = "an MCP server of the worker's configuration"},
    {"allow", CUSTOM(ab_read_tool_allow, "list of names"),
     .doc = "those of its tools, by their own names; all of them unless given"},
    APPROVAL,
    STRICT,
    TOOL_TIMEOUT,
};
const struct ab_table ab_tool_mcp_table = {"an MCP server's tools", tool_mcp_fields, COUNT(tool_mcp_fields),
                                           NULL, true};

static const struct ab_field tool_skill_fields[] = {
    {"skill", CUSTOM(ab_read_tool_skill, "NAME or NAME@VERSION"), .required = true,
     .doc = "a stored skill; its newest version unless one is named"},
    APPROVAL,
    STRICT,
    TOOL_TIMEOUT,
};
const struct ab_table ab_tool_skill_table = {"a skill as a tool", tool_skill_fields, COUNT(tool_skill_fields),
                                             NULL, true};

static const struct ab_field tool_agent_fields[] = {
    {"agent", CUSTOM(ab_read_tool_agent, "an agent's name, or an agent"), .required = true,
     .doc = "who is asked: another agent of this workflow, or one that is only this tool"},
    DESCRIBED,
    APPROVAL,
    STRICT,
};
const struct ab_table ab_tool_agent_table = {"an agent as a tool", tool_agent_fields, COUNT(tool_agent_fields),
                                             NULL, true};

static const struct ab_field tool_workflow_fields[] = {
    {"workflow", CUSTOM(ab_read_tool_flow, "NAME, NAME@VERSION or a workflow"), .required = true,
     .doc = "what is run: a workflow in either form, or a stored one as it is when this one is submitted or "
            "stored"},
    {"source", TEXT(SHORT_MAX), .doc = "which stored one it was, NAME@VERSION; written by the service"},
    DESCRIBED,
    APPROVAL,
    STRICT,
};
const struct ab_table ab_tool_workflow_table = {"a workflow as a tool", tool_workflow_fields,
                                                COUNT(tool_workflow_fields), NULL, true};

/* --- the concise form ------------------------------------------------------------------------------------- */

static const struct ab_field concise_fields[] = {
    {"name", .kind = AB_FIELD_NAME, .otherwise = "\"workflow\"", .doc = "name of the workflow"},
    {"type", ENUM(concise_types), .otherwise = "\"chat\"",
     .doc = "chat: one agent answers, or two talk; sequential: one after the other, each given the results so "
            "far; "
            "autonomous: all at the same time; groupchat: all in one conversation"},
    {"description", TEXT(TEXT_MAX), .doc = "for people"},
    {"task", FILLED(TEXT_MAX), .doc = "the message to send if the user gives none"},
    {"output", CUSTOM(ab_read_mention, "an agent's name"), .doc = OUTPUT_DOC},
    {"model", CUSTOM(ab_read_model, "name, object or list"),
     .doc = "model of the agents that have none of their own"},
    {"script", CUSTOM(ab_read_script, "a script"),
     .doc = "script of the agents that have neither model nor script"},
    {"stop", CUSTOM(ab_read_termination, "true, false or text"), .as = "is_termination_msg",
     .doc = "the word that ends the chat; TERMINATE unless given"},
    {"budget", CUSTOM(ab_read_budget, "{unit: limit} or text"),
     .doc = "limits of each job: tokens, usd, calls, turns, seconds; at one of them it waits until that is "
            "raised"},
    {"termination", CUSTOM(ab_read_condition, "a condition or a list"),
     .doc = "further ways for each conversation to end; any of a list"},
    {"context", CUSTOM(ab_read_context, "unbounded or an object"),
     .doc = "how much of the conversation the models of agents that have none of their own are sent"},
    {"max_turns", NUMBER(1, ROUNDS_MAX), .doc = "how many messages two agents, or a groupchat, write at most"},
    {"summary", ENUM(summaries), .as = "summary_method", .otherwise = "\"last\"",
     .doc = "the result: the last message, a summary by the model, or none"},
    {"speaker", ENUM(speakers), .as = "speaker_selection_method",
     .doc = "groupchat: who speaks next; auto unless given"},
    {"agents", ELSEWHERE("list of agents"), .required = true, .doc = "at least one agent with a name"},
    MODEL_SETTINGS(NULL),
};
const struct ab_table ab_concise_table = {"a workflow", concise_fields, COUNT(concise_fields), NULL, true};

static const struct ab_field concise_agent_fields[] = {
    {"name", .kind = AB_FIELD_NAME, .required = true, .doc = "unique name of the agent"},
    {"type", ENUM(concise_agent_types), .otherwise = "\"assistant\"",
     .doc = "user: stands for the person, and opens the chat; it takes no default model"},
    {"system", TEXT(TEXT_MAX), .as = "system_message", .doc = "who the agent is, told to its model"},
    {"description", TEXT(TEXT_MAX), .doc = "what the other agents are told about it"},
    {"task", FILLED(TEXT_MAX), .as = "task_instruction", .doc = "the own task of a sequential step"},
    {"model", CUSTOM(ab_read_model, "name, object or list"), .doc = "a list is tried in order"},
    {"script", CUSTOM(ab_read_script, "a script"), .doc = "what the agent says, offline; instead of a model"},
    {"reply", TEXT(TEXT_MAX), .as = "default_auto_reply", .doc = "what an agent without a model says"},
    {"max_replies", NUMBER(0, ROUNDS_MAX), .as = "max_consecutive_auto_reply",
     .doc = "the chat ends when the agent has replied so often; 10 unless given or max_turns is"},
    {"stop", CUSTOM(ab_read_termination, "true, false or text"), .as = "is_termination_msg",
     .doc = "the word that ends the chat when this agent is told it"},
    {"human", ENUM(human_modes), .as = "human_input_mode", .doc = "when a person is asked; NEVER unless given"},
    {"human_timeout_s", REAL(0.001, HUMAN_TIMEOUT_S_MAX),
     .doc = "how long they may take; for ever unless given"},
    {"human_default", TEXT(TEXT_MAX), .doc = "the answer when the time is over; an empty one unless given"},
    {"code", CUSTOM(ab_read_code_config, "false, none, local, docker or an object"),
     .as = "code_execution_config", .doc = "whether and where code in messages to the agent is run"},
    {"tools", CUSTOM(ab_read_tools, "list of tools"),
     .doc = "tools its model may call: names, or objects with one of name, mcp, skill, agent, workflow"},
    TOOL_USE(.offset = 0, .offset = 0),
    {"context", CUSTOM(ab_read_context, "unbounded or an object"),
     .doc = "how much of the conversation its model is sent; all of it unless given"},
    MODEL_SETTINGS(NULL),
};
const struct ab_table ab_concise_agent_table = {"an agent", concise_agent_fields, COUNT(concise_agent_fields),
                                                NULL, true};

/* --- the printed reference -------------------------------------------------------------------------------- */

static void print_value(FILE *out, const struct ab_field *field)
{
    switch (field->kind) {
    case AB_FIELD_INT:
    case AB_FIELD_REAL:
        fprintf(out, "%.15g to %.15g", field->min, field->max);
        return;
    case AB_FIELD_ENUM:
        for (const struct ab_choice *c = field->choices; c->name; c++)
            fprintf(out, "%s%s", c == field->choices ? "" : ", ", c->name);
        return;
    case AB_FIELD_CUSTOM:
    case AB_FIELD_ELSEWHERE:
        fputs(field->shape, out);
        return;
    default:
        break;
    }
    static const char *const names[] = {[AB_FIELD_TEXT] = "text",
                                        [AB_FIELD_NAME] = "name",
                                        [AB_FIELD_BOOL] = "true, false",
                                        [AB_FIELD_OBJECT] = "object",
                                        [AB_FIELD_LIST] = "list"};
    fputs(names[field->kind], out);
}

static void print_table(FILE *out, const struct ab_table *table)
{
    fprintf(out, "\n### %s\n\n| key | value | default | meaning |\n|---|---|---|---|\n", table->title);
    for (; table; table = table->also) {
        for (size_t i = 0; i < table->n; i++) {
            const struct ab_field *field = &table->fields[i];
            fprintf(out, "| `%s`%s | ", field->key, field->required ? " *" : "");
            print_value(out, field);
            fprintf(out, " | %s | %s |\n", field->otherwise ? field->otherwise : "", field->doc);
        }
    }
}

void ab_workflow_print_fields(FILE *out)
{
    static const struct ab_table *const concise[] = {
        &ab_concise_table,      &ab_concise_agent_table, &ab_condition_table,   &ab_context_table,
        &ab_format_table,       &ab_schema_format_table, &ab_entry_table,       &ab_script_table,
        &ab_reply_table,        &ab_reply_usage_table,   &ab_reply_error_table, &ab_code_table,
        &ab_tool_name_table,    &ab_tool_mcp_table,      &ab_tool_skill_table,  &ab_tool_agent_table,
        &ab_tool_workflow_table};
    static const struct ab_table *const seed[] = {
        &ab_flow_table,        &ab_flow_entry_table, &ab_flow_agent_table, &ab_flow_link_table,
        &ab_flow_config_table, &ab_flow_group_table, &ab_llm_table};
    fputs("## The concise form\n", out);
    for (size_t i = 0; i < COUNT(concise); i++)
        print_table(out, concise[i]);
    fputs("\n## flow_config\n", out);
    for (size_t i = 0; i < COUNT(seed); i++)
        print_table(out, seed[i]);
}
