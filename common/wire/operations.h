/* Every operation of the storage service (and the broker's few), once: name, number, kind, who may ask, the
 * schemas of request and answer. A client asks with QUERY(op name); the broker sends BATCH of [number, request].
 *
 * Listings are pages: `limit` (default 100, at most 1000) and `after` = the answer's `next`, absent at the end.
 * Every client operation names `user`: it sees and changes only what is that user's (gallery items are public).
 */
#ifndef AB_COMMON_WIRE_OPERATIONS_H
#define AB_COMMON_WIRE_OPERATIONS_H

#include "common/wire/operations_jobs.h"
#include "common/wire/operations_service.h"
#include "common/wire/operations_stored.h"

enum { AB_PAGE_DEFAULT = 100, AB_PAGE_MAX = 1000, AB_JOURNAL_PAGE_BYTES = 256 << 10 };

#define AB_OP_EMPTY_FIELDS(F, o)

/* name, number, kind, who may ask, request schema, answer schema, meaning.
 * kind: READ or WRITE of storage, BROKER = answered by the broker. who: bits of AB_BY_… */
enum ab_op_kind { AB_OP_READ, AB_OP_WRITE, AB_OP_BROKER };
enum { AB_BY_BROKER = 1, AB_BY_WORKER = 2, AB_BY_CLIENT = 4 };

#define AB_OPERATIONS(X)                                                                                       \
    X(epoch, 1, WRITE, AB_BY_BROKER, op_epoch, op_epoch_answer, "a broker takes over")                         \
    X(submit, 2, WRITE, AB_BY_BROKER, op_submit, op_submit_answer, "job, session and user message at once")    \
    X(append, 3, WRITE, AB_BY_BROKER, op_append, op_append_answer,                                             \
      "events; an end also ends the job and writes its message")                                               \
    X(inbox, 4, WRITE, AB_BY_BROKER, op_inbox, op_inbox_answer,                                                \
      "a row for a job's inbox; input wakes a waiting job")                                                    \
    X(open_jobs, 5, READ, AB_BY_BROKER, op_open_jobs, op_open_jobs_answer, "all that has not ended")           \
    X(load, 6, READ, AB_BY_BROKER | AB_BY_WORKER, op_load, op_load_answer,                                     \
      "input, secrets, journal, inbox of a job")                                                               \
    X(journal, 7, READ, AB_BY_BROKER | AB_BY_WORKER | AB_BY_CLIENT, op_journal, op_journal_answer,             \
      "a page of a job's events")                                                                              \
    X(workflow, 10, READ, AB_BY_WORKER | AB_BY_CLIENT, op_workflow, op_workflow_answer,                        \
      "a workflow's text by its hash")                                                                         \
    X(history, 11, READ, AB_BY_WORKER, op_history, op_history_answer, "what the session held before the job")  \
    X(put_file, 12, WRITE, AB_BY_WORKER, op_put_file, op_empty,                                                \
      "a piece of a file that a job's code made; the same again changes nothing")                              \
    X(load_file, 13, READ, AB_BY_WORKER, op_load_file, op_file_piece, "a piece of it, by its hash")            \
    X(list_files, 22, READ, AB_BY_CLIENT, op_list_files, op_list_files_answer, "the files that a job made")    \
    X(get_file, 23, READ, AB_BY_CLIENT, op_get_file, op_get_file_answer, "a piece of one of them")             \
    X(get_job, 20, READ, AB_BY_CLIENT, op_get_job, op_get_job_answer, "one job")                               \
    X(list_jobs, 21, READ, AB_BY_CLIENT, op_list_jobs, op_list_jobs_answer, "jobs, newest first")              \
    X(load_messages, 30, READ, AB_BY_CLIENT, op_load_messages, op_messages_answer, "messages of a session")    \
    X(save_message, 31, WRITE, AB_BY_CLIENT, op_save_message, op_save_message_answer,                          \
      "one message; its session is made if it does not exist")                                                 \
    X(delete_message, 32, WRITE, AB_BY_CLIENT, op_delete_message, op_messages_answer,                          \
      "one message or all of a session; answers what remains")                                                 \
    X(get_sessions, 33, READ, AB_BY_CLIENT, op_get_sessions, op_sessions_answer, "the user's sessions")        \
    X(create_session, 34, WRITE, AB_BY_CLIENT, op_create_session, op_sessions_answer,                          \
      "answers all the user's sessions")                                                                       \
    X(delete_user_sessions, 35, WRITE, AB_BY_CLIENT, op_session, op_sessions_answer,                           \
      "a session with its messages, events and files; its live jobs are cancelled; answers the remaining "     \
      "sessions")                                                                                              \
    X(publish_session, 36, WRITE, AB_BY_CLIENT, op_publish, op_gallery_item,                                   \
      "a snapshot of a session into the gallery")                                                              \
    X(get_gallery, 37, READ, AB_BY_CLIENT, op_get_gallery, op_gallery_answer, "gallery items")                 \
    X(search_messages, 38, READ, AB_BY_CLIENT | AB_BY_WORKER, op_search_messages, op_search_messages_answer,   \
      "full text of the user's messages")                                                                      \
    X(search_sessions, 39, READ, AB_BY_CLIENT, op_search_sessions, op_sessions_answer,                         \
      "sessions by name, description, id and what was said in them")                                           \
    X(start_gallery, 53, WRITE, AB_BY_CLIENT, op_start_gallery, op_sessions_answer,                            \
      "a new session with the workflow and the messages of an item; answers that session")                     \
    X(gallery_tags, 52, READ, AB_BY_CLIENT, op_gallery_tags, op_gallery_tags_answer,                           \
      "all tags of the gallery, and how many items have each")                                                 \
    X(rename_session, 40, WRITE, AB_BY_CLIENT, op_rename_session, op_sessions_answer,                          \
      "name and description; answers that session")                                                            \
    X(clear_session, 41, WRITE, AB_BY_CLIENT, op_session, op_deleted_answer,                                   \
      "removes a session's messages and ended jobs' events, keeps the session")                                \
    X(rename_gallery, 42, WRITE, AB_BY_CLIENT, op_rename_gallery, op_gallery_item,                             \
      "name and description of an item")                                                                       \
    X(delete_gallery, 43, WRITE, AB_BY_CLIENT, op_delete_gallery, op_deleted_answer, "an item")                \
    X(import_gallery, 44, WRITE, AB_BY_CLIENT, op_import_gallery, op_import_gallery_answer,                    \
      "an item that was published elsewhere; the same again changes nothing")                                  \
    X(save_workflow, 45, WRITE, AB_BY_CLIENT, op_save_workflow, op_save_workflow_answer,                       \
      "keeps a workflow under a name; another content under the same name is its next version. What its "      \
      "tools name is "                                                                                         \
      "put in as it is then")                                                                                  \
    X(list_workflows, 46, READ, AB_BY_CLIENT, op_list_workflows, op_list_workflows_answer,                     \
      "the workflows a user may run by name")                                                                  \
    X(get_workflow, 47, READ, AB_BY_CLIENT, op_get_workflow, op_get_workflow_answer,                           \
      "one of them, with its text")                                                                            \
    X(delete_workflow, 48, WRITE, AB_BY_CLIENT, op_delete_workflow, op_deleted_answer, "forgets a name")       \
    X(save_skill, 90, WRITE, AB_BY_CLIENT, op_save_skill, op_save_skill_answer,                                \
      "keeps a skill under a name; another content under the same name is its next version")                   \
    X(list_skills, 91, READ, AB_BY_CLIENT, op_list_skills, op_list_skills_answer, "the user's skills")         \
    X(get_skill, 92, READ, AB_BY_CLIENT, op_get_skill, op_get_skill_answer, "one of them, with its content")   \
    X(delete_skill, 93, WRITE, AB_BY_CLIENT, op_delete_skill, op_deleted_answer,                               \
      "removes a skill, all its versions")                                                                     \
    X(load_skill, 94, READ, AB_BY_WORKER, op_load_skill, op_get_skill_answer,                                  \
      "a skill of the user whose job it is")                                                                   \
    X(import_run, 49, WRITE, AB_BY_CLIENT, op_import_run, op_import_run_answer,                                \
      "a job that ran and ended in another service, with its whole journal")                                   \
    X(put_run_file, 51, WRITE, AB_BY_CLIENT, op_put_run_file, op_empty,                                        \
      "a piece of a file of an imported job; with the last one the content must have its hash")                \
    X(storage_status, 50, READ, AB_BY_CLIENT | AB_BY_BROKER, op_empty, op_storage_status_answer,               \
      "health and counters of storage")                                                                        \
    X(set_prices, 70, WRITE, AB_BY_CLIENT, op_set_prices, op_changed_answer, "price rows, all or none")        \
    X(list_prices, 71, READ, AB_BY_CLIENT | AB_BY_WORKER, op_list_prices, op_list_prices_answer,               \
      "all price rows")                                                                                        \
    X(delete_price, 72, WRITE, AB_BY_CLIENT, op_delete_price, op_changed_answer, "a pattern's price rows")     \
    X(set_budget, 73, WRITE, AB_BY_CLIENT, op_set_budget, op_changed_answer,                                   \
      "limits of a user or session; wakes jobs that have room now (a job's own: INBOX budget)")                \
    X(list_budgets, 74, READ, AB_BY_CLIENT, op_list_budgets, op_list_budgets_answer,                           \
      "what is limited, and how much of it is spent")                                                          \
    X(usage, 75, READ, AB_BY_CLIENT, op_usage, op_usage_answer, "what models were used for, summed")           \
    X(usage_all, 76, READ, AB_BY_CLIENT, op_usage_all, op_usage_answer, "the same of all users")               \
    X(create_token, 80, WRITE, AB_BY_CLIENT, op_create_token, op_token_answer, "a token of the HTTP gateway")  \
    X(list_tokens, 81, READ, AB_BY_CLIENT, op_list_tokens, op_list_tokens_answer, "all tokens, without them")  \
    X(revoke_token, 82, WRITE, AB_BY_CLIENT, op_revoke_token, op_token_answer,                                 \
      "a token is refused from now on")                                                                        \
    X(check_token, 83, READ, AB_BY_CLIENT, op_check_token, op_check_token_answer, "whose token it is")         \
    X(token_used, 84, WRITE, AB_BY_CLIENT, op_token_used, op_empty, "it was used just now")                    \
    X(status, 60, BROKER, AB_BY_CLIENT, op_empty, op_status_answer,                                            \
      "health and counters of the broker, its workers")                                                        \
    X(job_status, 61, BROKER, AB_BY_CLIENT, op_job_status, op_job_status_answer,                               \
      "where a job stands and why it does not run")                                                            \
    X(queues, 62, BROKER, AB_BY_CLIENT, op_queues, op_queues_answer, "queues: depth, age, who halted them")    \
    X(control_queue, 63, BROKER, AB_BY_CLIENT, op_control_queue, op_empty,                                     \
      "halts a queue or lets it go on; answered once that is on disk")                                         \
    X(set_queue, 8, WRITE, AB_BY_BROKER, queue_halt, op_empty, "what control_queue said")

#define AB_OP_SCHEMAS(S)                                                                                       \
    S(op_empty, AB_OP_EMPTY_FIELDS)                                                                            \
    S(op_epoch, AB_OP_EPOCH_FIELDS)                                                                            \
    S(op_epoch_answer, AB_OP_EPOCH_ANSWER_FIELDS)                                                              \
    S(op_submit, AB_OP_SUBMIT_FIELDS)                                                                          \
    S(op_submit_answer, AB_OP_SUBMIT_ANSWER_FIELDS)                                                            \
    S(op_append, AB_OP_APPEND_FIELDS)                                                                          \
    S(op_append_answer, AB_OP_APPEND_ANSWER_FIELDS)                                                            \
    S(op_inbox, AB_OP_INBOX_FIELDS)                                                                            \
    S(op_inbox_answer, AB_OP_INBOX_ANSWER_FIELDS)                                                              \
    S(op_open_jobs, AB_OP_OPEN_JOBS_FIELDS)                                                                    \
    S(op_open_jobs_answer, AB_OP_OPEN_JOBS_ANSWER_FIELDS)                                                      \
    S(open_job, AB_OPEN_JOB_FIELDS)                                                                            \
    S(op_load, AB_OP_LOAD_FIELDS)                                                                              \
    S(op_load_answer, AB_OP_LOAD_ANSWER_FIELDS)                                                                \
    S(op_journal, AB_OP_JOURNAL_FIELDS)                                                                        \
    S(op_journal_answer, AB_OP_JOURNAL_ANSWER_FIELDS)                                                          \
    S(op_workflow, AB_OP_WORKFLOW_FIELDS)                                                                      \
    S(op_workflow_answer, AB_OP_WORKFLOW_ANSWER_FIELDS)                                                        \
    S(op_history, AB_OP_HISTORY_FIELDS)                                                                        \
    S(op_history_answer, AB_OP_HISTORY_ANSWER_FIELDS)                                                          \
    S(op_put_file, AB_OP_PUT_FILE_FIELDS)                                                                      \
    S(op_load_file, AB_OP_LOAD_FILE_FIELDS)                                                                    \
    S(op_file_piece, AB_OP_FILE_PIECE_FIELDS)                                                                  \
    S(op_put_run_file, AB_OP_PUT_RUN_FILE_FIELDS)                                                              \
    S(op_list_files, AB_OP_LIST_FILES_FIELDS)                                                                  \
    S(op_list_files_answer, AB_OP_LIST_FILES_ANSWER_FIELDS)                                                    \
    S(op_get_file, AB_OP_GET_FILE_FIELDS)                                                                      \
    S(op_get_file_answer, AB_OP_GET_FILE_ANSWER_FIELDS)                                                        \
    S(file_record, AB_FILE_RECORD_FIELDS)                                                                      \
    S(file_entry, AB_FILE_ENTRY_FIELDS)                                                                        \
    S(op_get_job, AB_OP_GET_JOB_FIELDS)                                                                        \
    S(op_get_job_answer, AB_OP_GET_JOB_ANSWER_FIELDS)                                                          \
    S(op_list_jobs, AB_OP_LIST_JOBS_FIELDS)                                                                    \
    S(op_list_jobs_answer, AB_OP_LIST_JOBS_ANSWER_FIELDS)                                                      \
    S(job_record, AB_JOB_RECORD_FIELDS)                                                                        \
    S(op_load_messages, AB_OP_LOAD_MESSAGES_FIELDS)                                                            \
    S(op_messages_answer, AB_OP_MESSAGES_ANSWER_FIELDS)                                                        \
    S(message_record, AB_MESSAGE_RECORD_FIELDS)                                                                \
    S(op_save_message, AB_OP_SAVE_MESSAGE_FIELDS)                                                              \
    S(op_save_message_answer, AB_OP_SAVE_MESSAGE_ANSWER_FIELDS)                                                \
    S(op_delete_message, AB_OP_DELETE_MESSAGE_FIELDS)                                                          \
    S(op_get_sessions, AB_OP_GET_SESSIONS_FIELDS)                                                              \
    S(op_sessions_answer, AB_OP_SESSIONS_ANSWER_FIELDS)                                                        \
    S(session_record, AB_SESSION_RECORD_FIELDS)                                                                \
    S(op_search_messages, AB_OP_SEARCH_MESSAGES_FIELDS)                                                        \
    S(op_search_messages_answer, AB_OP_SEARCH_MESSAGES_ANSWER_FIELDS)                                          \
    S(search_hit, AB_SEARCH_HIT_FIELDS)                                                                        \
    S(op_search_sessions, AB_OP_SEARCH_SESSIONS_FIELDS)                                                        \
    S(op_create_session, AB_OP_CREATE_SESSION_FIELDS)                                                          \
    S(op_session, AB_OP_SESSION_FIELDS)                                                                        \
    S(op_rename_session, AB_OP_RENAME_SESSION_FIELDS)                                                          \
    S(op_publish, AB_OP_PUBLISH_FIELDS)                                                                        \
    S(op_gallery_item, AB_OP_GALLERY_ITEM_FIELDS)                                                              \
    S(gallery_record, AB_GALLERY_RECORD_FIELDS)                                                                \
    S(op_import_gallery, AB_OP_IMPORT_GALLERY_FIELDS)                                                          \
    S(op_import_gallery_answer, AB_OP_IMPORT_GALLERY_ANSWER_FIELDS)                                            \
    S(op_get_gallery, AB_OP_GET_GALLERY_FIELDS)                                                                \
    S(op_gallery_answer, AB_OP_GALLERY_ANSWER_FIELDS)                                                          \
    S(op_start_gallery, AB_OP_START_GALLERY_FIELDS)                                                            \
    S(op_gallery_tags, AB_OP_GALLERY_TAGS_FIELDS)                                                              \
    S(op_gallery_tags_answer, AB_OP_GALLERY_TAGS_ANSWER_FIELDS)                                                \
    S(tag_count, AB_TAG_COUNT_FIELDS)                                                                          \
    S(op_rename_gallery, AB_OP_RENAME_GALLERY_FIELDS)                                                          \
    S(op_delete_gallery, AB_OP_DELETE_GALLERY_FIELDS)                                                          \
    S(op_deleted_answer, AB_OP_DELETED_ANSWER_FIELDS)                                                          \
    S(op_import_run, AB_OP_IMPORT_RUN_FIELDS)                                                                  \
    S(op_import_run_answer, AB_OP_IMPORT_RUN_ANSWER_FIELDS)                                                    \
    S(op_save_workflow, AB_OP_SAVE_WORKFLOW_FIELDS)                                                            \
    S(op_save_workflow_answer, AB_OP_SAVE_WORKFLOW_ANSWER_FIELDS)                                              \
    S(op_list_workflows, AB_OP_LIST_WORKFLOWS_FIELDS)                                                          \
    S(op_list_workflows_answer, AB_OP_LIST_WORKFLOWS_ANSWER_FIELDS)                                            \
    S(workflow_record, AB_WORKFLOW_RECORD_FIELDS)                                                              \
    S(op_get_workflow, AB_OP_GET_WORKFLOW_FIELDS)                                                              \
    S(op_get_workflow_answer, AB_OP_GET_WORKFLOW_ANSWER_FIELDS)                                                \
    S(op_delete_workflow, AB_OP_DELETE_WORKFLOW_FIELDS)                                                        \
    S(op_save_skill, AB_OP_SAVE_SKILL_FIELDS)                                                                  \
    S(op_save_skill_answer, AB_OP_SAVE_SKILL_ANSWER_FIELDS)                                                    \
    S(skill_record, AB_SKILL_RECORD_FIELDS)                                                                    \
    S(op_list_skills, AB_OP_LIST_SKILLS_FIELDS)                                                                \
    S(op_list_skills_answer, AB_OP_LIST_SKILLS_ANSWER_FIELDS)                                                  \
    S(op_get_skill, AB_OP_GET_SKILL_FIELDS)                                                                    \
    S(op_get_skill_answer, AB_OP_GET_SKILL_ANSWER_FIELDS)                                                      \
    S(op_delete_skill, AB_OP_DELETE_SKILL_FIELDS)                                                              \
    S(op_load_skill, AB_OP_LOAD_SKILL_FIELDS)                                                                  \
    S(op_storage_status_answer, AB_OP_STORAGE_STATUS_ANSWER_FIELDS)                                            \
    S(price, AB_PRICE_FIELDS)                                                                                  \
    S(op_set_prices, AB_OP_SET_PRICES_FIELDS)                                                                  \
    S(op_list_prices, AB_OP_LIST_PRICES_FIELDS)                                                                \
    S(op_list_prices_answer, AB_OP_LIST_PRICES_ANSWER_FIELDS)                                                  \
    S(op_delete_price, AB_OP_DELETE_PRICE_FIELDS)                                                              \
    S(op_changed_answer, AB_OP_CHANGED_ANSWER_FIELDS)                                                          \
    S(op_set_budget, AB_OP_SET_BUDGET_FIELDS)                                                                  \
    S(op_list_budgets, AB_OP_LIST_BUDGETS_FIELDS)                                                              \
    S(op_list_budgets_answer, AB_OP_LIST_BUDGETS_ANSWER_FIELDS)                                                \
    S(budget_record, AB_BUDGET_RECORD_FIELDS)                                                                  \
    S(op_usage, AB_OP_USAGE_FIELDS)                                                                            \
    S(op_usage_all, AB_OP_USAGE_ALL_FIELDS)                                                                    \
    S(op_usage_answer, AB_OP_USAGE_ANSWER_FIELDS)                                                              \
    S(usage_record, AB_USAGE_RECORD_FIELDS)                                                                    \
    S(token_record, AB_TOKEN_RECORD_FIELDS)                                                                    \
    S(op_create_token, AB_OP_CREATE_TOKEN_FIELDS)                                                              \
    S(op_token_answer, AB_OP_TOKEN_ANSWER_FIELDS)                                                              \
    S(op_list_tokens, AB_OP_LIST_TOKENS_FIELDS)                                                                \
    S(op_list_tokens_answer, AB_OP_LIST_TOKENS_ANSWER_FIELDS)                                                  \
    S(op_revoke_token, AB_OP_REVOKE_TOKEN_FIELDS)                                                              \
    S(op_check_token, AB_OP_CHECK_TOKEN_FIELDS)                                                                \
    S(op_check_token_answer, AB_OP_CHECK_TOKEN_ANSWER_FIELDS)                                                  \
    S(op_token_used, AB_OP_TOKEN_USED_FIELDS)                                                                  \
    S(op_job_status, AB_OP_JOB_STATUS_FIELDS)                                                                  \
    S(op_job_status_answer, AB_OP_JOB_STATUS_ANSWER_FIELDS)                                                    \
    S(op_status_answer, AB_OP_STATUS_ANSWER_FIELDS)                                                            \
    S(queue_halt, AB_QUEUE_HALT_FIELDS)                                                                        \
    S(op_control_queue, AB_OP_CONTROL_QUEUE_FIELDS)                                                            \
    S(op_queues, AB_OP_QUEUES_FIELDS)                                                                          \
    S(op_queues_answer, AB_OP_QUEUES_ANSWER_FIELDS)                                                            \
    S(queue_record, AB_QUEUE_RECORD_FIELDS)

#define S(name, LIST) AB_STRUCT(name, LIST)
AB_OP_SCHEMAS(S)
#undef S
#define S(name, LIST) extern const struct ab_schema ab_##name##_schema;
AB_OP_SCHEMAS(S)
#undef S

enum ab_op {
#define X(name, number, kind, by, request, answer, doc) AB_OP_##name = number,
    AB_OPERATIONS(X)
#undef X
};

struct ab_op_row {
    uint8_t number;
    enum ab_op_kind kind;
    unsigned by; /* bits of AB_BY_… */
    const char *name;
    const struct ab_schema *request, *answer;
    const char *doc;
};
extern const struct ab_op_row ab_ops[];
extern const size_t ab_ops_n;
const struct ab_op_row *ab_op_by_name(struct ab_view name); /* NULL if unknown */
const struct ab_op_row *ab_op_by_number(uint64_t number);   /* NULL if unknown */

#endif
