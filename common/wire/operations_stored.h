/* The fields of operations on what users keep: messages, sessions, the gallery, workflows by name. operations.h has the
 * table. */
#ifndef AB_COMMON_WIRE_OPERATIONS_STORED_H
#define AB_COMMON_WIRE_OPERATIONS_STORED_H

#include "common/wire/messages.h"

enum { AB_TAG_BYTES_MAX = 256, AB_QUERY_BYTES_MAX = 1024 };

/* ---- clients': the seed's eight ---- */
#define AB_OP_LOAD_MESSAGES_FIELDS(F, o)                                                                       \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, REQ, AB_NAME_MAX, "")                                                                   \
    F(o, STR, after, OPT, AB_NAME_MAX, "cursor")                                                               \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_MESSAGES_ANSWER_FIELDS(F, o)                                                                     \
    F(o, ANY, messages, REQ, 0, "array of message records, oldest first")                                      \
    F(o, STR, next, OPT, AB_NAME_MAX, "")
#define AB_MESSAGE_RECORD_FIELDS(F, o)                                                                         \
    F(o, STR, user_id, REQ, AB_USER_MAX, "")                                                                   \
    F(o, STR, session_id, OPT, AB_NAME_MAX, "")                                                                \
    F(o, STR, msg_id, OPT, AB_NAME_MAX, "made if absent")                                                      \
    F(o, STR, root_msg_id, OPT, AB_NAME_MAX, "")                                                               \
    F(o, STR, role, REQ, 16, "user or assistant")                                                              \
    F(o, ANY, content, REQ, 0, "text, or an array of parts")                                                   \
    F(o, STR, timestamp, OPT, 40, "ISO 8601")                                                                  \
    F(o, BOOL, personalize, OPT, 0, "")                                                                        \
    F(o, STR, ra, OPT, 1 << 20, "")                                                                            \
    F(o, STR, code, OPT, 1 << 20, "")                                                                          \
    F(o, ANY, metadata, OPT, 0, "")                                                                            \
    F(o, ID, job, OPT, 0, "the job that made it")
#define AB_OP_SAVE_MESSAGE_FIELDS(F, o)        F(o, ANY, message, REQ, 0, "message record")
#define AB_OP_SAVE_MESSAGE_ANSWER_FIELDS(F, o) F(o, ANY, message, REQ, 0, "as stored")
#define AB_OP_DELETE_MESSAGE_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, msg_id, OPT, AB_NAME_MAX, "absent with delete_all")                                              \
    F(o, STR, session, OPT, AB_NAME_MAX, "required with delete_all")                                           \
    F(o, BOOL, delete_all, OPT, 0, "all messages of the session")
#define AB_OP_GET_SESSIONS_FIELDS(F, o)                                                                        \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, OPT, AB_NAME_MAX, "only this one")                                                      \
    F(o, STR, after, OPT, AB_NAME_MAX, "cursor")                                                               \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_SESSIONS_ANSWER_FIELDS(F, o)                                                                     \
    F(o, ANY, sessions, REQ, 0, "array of session records, oldest first")                                      \
    F(o, STR, next, OPT, AB_NAME_MAX, "")
#define AB_SESSION_RECORD_FIELDS(F, o)                                                                         \
    F(o, STR, user_id, REQ, AB_USER_MAX, "")                                                                   \
    F(o, STR, session_id, OPT, AB_NAME_MAX, "made if absent")                                                  \
    F(o, STR, timestamp, OPT, 40, "ISO 8601; of a new session it counts, absent: now")                         \
    F(o, ANY, flow_config, OPT, AB_WORKFLOW_MAX, "the workflow")                                               \
    F(o, STR, name, OPT, 256, "")                                                                              \
    F(o, STR, description, OPT, 4096, "")
#define AB_OP_SEARCH_MESSAGES_FIELDS(F, o)                                                                     \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, query, REQ, AB_QUERY_BYTES_MAX,                                                                  \
      "words, phrases in quotation marks and prefixes (prog*); all must stand in the message")                 \
    F(o, STR, session, OPT, AB_NAME_MAX, "only this one")                                                      \
    F(o, BOOL, newest, OPT, 0, "by time, the newest first; absent: by rank")                                   \
    F(o, STR, after, OPT, AB_NAME_MAX, "cursor")                                                               \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_SEARCH_MESSAGES_ANSWER_FIELDS(F, o)                                                              \
    F(o, ANY, hits, REQ, 0, "array of search_hit maps")                                                        \
    F(o, STR, next, OPT, AB_NAME_MAX, "")                                                                      \
    F(o, BOOL, behind, OPT, 0,                                                                                 \
      "some of the user's messages are not in the index yet: ask again a little later")                        \
    F(o, BOOL, capped, OPT, 0, "there are more than 10000 hits: the newest 10000 were ranked")
#define AB_SEARCH_HIT_FIELDS(F, o)                                                                             \
    F(o, STR, session_id, REQ, AB_NAME_MAX, "")                                                                \
    F(o, STR, session_name, OPT, 256, "")                                                                      \
    F(o, STR, msg_id, REQ, AB_NAME_MAX, "")                                                                    \
    F(o, STR, role, REQ, 16, "")                                                                               \
    F(o, STR, timestamp, OPT, 40, "ISO 8601")                                                                  \
    F(o, ID, job, OPT, 0, "the job that made it")                                                              \
    F(o, UINT, rank, OPT, 1000, "how well it fits, 1 to 1000; absent with `newest`")                           \
    F(o, STR, snippet, REQ, 4096, "a line of the message around what was found")                               \
    F(o, ANY, marks, REQ, 0, "what was found in it: array of [first, how many], in characters (code points)")
#define AB_OP_SEARCH_SESSIONS_FIELDS(F, o)                                                                     \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, query, REQ, AB_QUERY_BYTES_MAX,                                                                  \
      "as in search_messages; each term in name, description or id, or in any message of the session")         \
    F(o, STR, after, OPT, AB_NAME_MAX, "cursor")                                                               \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_CREATE_SESSION_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, ANY, session, REQ, 0, "session record")
#define AB_OP_SESSION_FIELDS(F, o)                                                                             \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, REQ, AB_NAME_MAX, "")
#define AB_OP_RENAME_SESSION_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, REQ, AB_NAME_MAX, "")                                                                   \
    F(o, STR, name, OPT, 256, "")                                                                              \
    F(o, STR, description, OPT, 4096, "")
#define AB_OP_PUBLISH_FIELDS(F, o)                                                                             \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, session, REQ, AB_NAME_MAX, "")                                                                   \
    F(o, STR, id, OPT, AB_ID_TEXT, "a UUID made by the client; the same again is the same item. Absent: made") \
    F(o, ANY, tags, OPT, 64 << 10, "array of str")                                                             \
    F(o, STR, name, OPT, 256, "")                                                                              \
    F(o, STR, description, OPT, 4096, "")
#define AB_OP_GALLERY_ITEM_FIELDS(F, o) F(o, ANY, gallery, REQ, 0, "gallery record")
#define AB_GALLERY_RECORD_FIELDS(F, o)                                                                         \
    F(o, STR, id, REQ, AB_NAME_MAX, "")                                                                        \
    F(o, STR, user_id, OPT, AB_USER_MAX, "who published it")                                                   \
    F(o, STR, name, OPT, 256, "")                                                                              \
    F(o, STR, description, OPT, 4096, "")                                                                      \
    F(o, ANY, session, REQ, 0, "session record at the time")                                                   \
    F(o, ANY, messages, REQ, 0, "array of message records at the time")                                        \
    F(o, ANY, tags, REQ, 0, "array of str")                                                                    \
    F(o, STR, timestamp, REQ, 40, "ISO 8601")
#define AB_OP_IMPORT_GALLERY_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "who is its publisher from now on")                                      \
    F(o, ANY, gallery, REQ, 0, "gallery record with the id and timestamp it has; no key in clear in it")
#define AB_OP_IMPORT_GALLERY_ANSWER_FIELDS(F, o)                                                               \
    F(o, ANY, gallery, REQ, 0, "as stored")                                                                    \
    F(o, BOOL, created, OPT, 0, "false: it was there before")
#define AB_OP_GET_GALLERY_FIELDS(F, o)                                                                         \
    F(o, STR, user, OPT, AB_USER_MAX, "only this user's items")                                                \
    F(o, STR, gallery, OPT, AB_NAME_MAX, "only this one")                                                      \
    F(o, STR, tag, OPT, AB_TAG_BYTES_MAX, "only items with this tag")                                          \
    F(o, STR, search, OPT, 256, "words in name, description, tags or messages")                                \
    F(o, STR, after, OPT, AB_NAME_MAX, "cursor")                                                               \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_GALLERY_ANSWER_FIELDS(F, o)                                                                      \
    F(o, ANY, gallery, REQ, 0, "array of gallery records")                                                     \
    F(o, STR, next, OPT, AB_NAME_MAX, "")
#define AB_OP_START_GALLERY_FIELDS(F, o)                                                                       \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, gallery, REQ, AB_NAME_MAX, "")                                                                   \
    F(o, ID, session, REQ, 0, "of the new session, made by the client; the same again is the same session")
#define AB_OP_GALLERY_TAGS_FIELDS(F, o)                                                                        \
    F(o, STR, publisher, OPT, AB_USER_MAX, "only of this user's items")                                        \
    F(o, STR, after, OPT, AB_TAG_BYTES_MAX, "cursor")                                                          \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_GALLERY_TAGS_ANSWER_FIELDS(F, o)                                                                 \
    F(o, ANY, tags, REQ, 0, "array of tag_count maps, by tag")                                                 \
    F(o, STR, next, OPT, AB_TAG_BYTES_MAX, "")
#define AB_TAG_COUNT_FIELDS(F, o)                                                                              \
    F(o, STR, tag, REQ, AB_TAG_BYTES_MAX, "")                                                                  \
    F(o, UINT, items, REQ, 0, "so many have it")
#define AB_OP_RENAME_GALLERY_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "its publisher")                                                         \
    F(o, STR, gallery, REQ, AB_NAME_MAX, "")                                                                   \
    F(o, STR, name, OPT, 256, "")                                                                              \
    F(o, STR, description, OPT, 4096, "")
#define AB_OP_DELETE_GALLERY_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "its publisher")                                                         \
    F(o, STR, gallery, REQ, AB_NAME_MAX, "")
#define AB_OP_DELETED_ANSWER_FIELDS(F, o)                                                                      \
    F(o, UINT, deleted, OPT, 0, "rows")                                                                        \
    F(o, ANY, jobs, OPT, 0, "array of id: live jobs that must be cancelled")

/* ---- clients': workflows by name ---- */
#define AB_OP_SAVE_WORKFLOW_FIELDS(F, o)                                                                       \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, name, OPT, 64, "absent: the name in the workflow")                                               \
    F(o, STR, workflow, REQ, AB_WORKFLOW_MAX,                                                                  \
      "its JSON text in either form, without any api_key; refused with all its faults")                        \
    F(o, ID, id, OPT, 0, "made by the client; the same again is the same version, whatever came between")
#define AB_OP_SAVE_WORKFLOW_ANSWER_FIELDS(F, o)                                                                \
    F(o, ANY, workflow, REQ, 0, "workflow record")                                                             \
    F(o, BOOL, created, OPT, 0, "false: this is what the name's newest version was already")
#define AB_OP_LIST_WORKFLOWS_FIELDS(F, o)                                                                      \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, name, OPT, 64, "all versions of this one, newest first; absent: the newest of each, by name")    \
    F(o, STR, after, OPT, AB_NAME_MAX, "cursor")                                                               \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_LIST_WORKFLOWS_ANSWER_FIELDS(F, o)                                                               \
    F(o, ANY, workflows, REQ, 0, "array of workflow records; the first page begins with the built-in ones")    \
    F(o, STR, next, OPT, AB_NAME_MAX, "")
#define AB_WORKFLOW_RECORD_FIELDS(F, o)                                                                        \
    F(o, STR, name, REQ, 64, "")                                                                               \
    F(o, STR, user_id, OPT, AB_USER_MAX, "whose it is; absent: built in")                                      \
    F(o, UINT, version, OPT, 0, "1, 2, …: one for each content; absent: built in")                             \
    F(o, BIN, hash, OPT, AB_HASH_BYTES, "of its text, as in SUBMIT; absent: built in")                         \
    F(o, STR, description, OPT, 4096, "from the workflow, cut if longer")                                      \
    F(o, STR, timestamp, OPT, 40, "ISO 8601: when this version was saved")                                     \
    F(o, BOOL, builtin, OPT, 0, "comes with the program; runs with any model that is named")
#define AB_OP_GET_WORKFLOW_FIELDS(F, o)                                                                        \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, name, REQ, 64, "")                                                                               \
    F(o, UINT, version, OPT, 0, "absent: the newest")                                                          \
    F(o, STR, model, OPT, 256, "of a built-in one: required")
#define AB_OP_GET_WORKFLOW_ANSWER_FIELDS(F, o)                                                                 \
    F(o, ANY, record, REQ, 0, "workflow record")                                                               \
    F(o, STR, workflow, REQ, AB_WORKFLOW_MAX, "its canonical JSON text: what SUBMIT takes")
#define AB_OP_DELETE_WORKFLOW_FIELDS(F, o)                                                                     \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, name, REQ, 64, "all its versions; jobs that ran with one keep it")

/* ---- clients': skills ---- */
#define AB_OP_SAVE_SKILL_FIELDS(F, o)                                                                          \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, content, REQ, 256 << 10, "the text of a Python or shell file, with or without a header")         \
    F(o, STR, name, OPT, 64, "absent: from the header, else from file_name, else made of the title")           \
    F(o, STR, title, OPT, 256, "absent: from the header, else the name")                                       \
    F(o, STR, description, OPT, 4096, "absent: from the header, else the file's first comment")                \
    F(o, STR, file_name, OPT, 255, "absent: the name, with .py or .sh")                                        \
    F(o, STR, language, OPT, 8, "python, sh or bash; absent: by its first line, else by file_name")            \
    F(o, ANY, parameters, OPT, 32 << 10, "JSON Schema of an object; absent: from the header, else none")       \
    F(o, BOOL, idempotent, OPT, 0, "absent: from the header, else false")                                      \
    F(o, UINT, timeout_s, OPT, 3600, "seconds that a call may take; absent: from the header, else 60")         \
    F(o, ID, id, OPT, 0, "made by the client; the same again is the same version, whatever came between")
#define AB_OP_SAVE_SKILL_ANSWER_FIELDS(F, o)                                                                   \
    F(o, ANY, skill, REQ, 0, "skill record, without its content")                                              \
    F(o, BOOL, created, OPT, 0, "false: this is what the name's newest version was already")
#define AB_SKILL_RECORD_FIELDS(F, o)                                                                           \
    F(o, ID, id, REQ, 0, "of this version")                                                                    \
    F(o, STR, name, REQ, 64, "how agents call it and Python imports it")                                       \
    F(o, UINT, version, REQ, 0, "1, 2, …: one for each content")                                               \
    F(o, STR, user_id, REQ, AB_USER_MAX, "whose it is")                                                        \
    F(o, STR, title, REQ, 256, "")                                                                             \
    F(o, STR, description, OPT, 4096, "")                                                                      \
    F(o, STR, file_name, REQ, 255, "")                                                                         \
    F(o, STR, language, REQ, 8, "python, sh or bash")                                                          \
    F(o, ANY, parameters, REQ, 32 << 10, "JSON Schema")                                                        \
    F(o, BOOL, idempotent, OPT, 0, "")                                                                         \
    F(o, UINT, timeout_s, REQ, 3600, "seconds")                                                                \
    F(o, BIN, hash, REQ, AB_HASH_BYTES, "BLAKE2b-256 of all of it, whose and which version it is left out")    \
    F(o, STR, timestamp, REQ, 40, "ISO 8601: when this version was saved")                                     \
    F(o, STR, content, OPT, 256 << 10, "not in listings")
#define AB_OP_LIST_SKILLS_FIELDS(F, o)                                                                         \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, name, OPT, 64, "all versions of this one, newest first; absent: the newest of each, by name")    \
    F(o, STR, search, OPT, 256, "only those with all these words in name, title or description")               \
    F(o, STR, after, OPT, AB_NAME_MAX, "cursor")                                                               \
    F(o, UINT, limit, OPT, AB_PAGE_MAX, "")
#define AB_OP_LIST_SKILLS_ANSWER_FIELDS(F, o)                                                                  \
    F(o, ANY, skills, REQ, 0, "array of skill records")                                                        \
    F(o, STR, next, OPT, AB_NAME_MAX, "")
#define AB_OP_GET_SKILL_FIELDS(F, o)                                                                           \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, name, REQ, 64, "")                                                                               \
    F(o, UINT, version, OPT, 0, "absent: the newest")
#define AB_OP_GET_SKILL_ANSWER_FIELDS(F, o) F(o, ANY, skill, REQ, 0, "skill record, with its content")
#define AB_OP_DELETE_SKILL_FIELDS(F, o)                                                                        \
    F(o, STR, user, REQ, AB_USER_MAX, "")                                                                      \
    F(o, STR, name, REQ, 64, "all its versions; jobs that need one fail")
/* the worker's */
#define AB_OP_LOAD_SKILL_FIELDS(F, o)                                                                          \
    F(o, UINT, n, REQ, 0, "the job, whose user's it is")                                                       \
    F(o, STR, name, REQ, 64, "")                                                                               \
    F(o, UINT, version, OPT, 0, "absent: the newest")

#endif
