/* Stored things: sessions, messages, gallery, workflows, skills, prices. Most rows only forward to an operation. */
#include <stdlib.h>

#include "client/gateway/gateway.h"
#include "common/clock.h"
#include "common/workflow/workflow.h"

/* ---- workflows ---- */

static json_t *faults_tree(const struct ab_faults *faults)
{
    json_t *list = json_array();
    for (size_t i = 0; i < faults->n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "path", faults->items[i].path, "what",
                                              faults->items[i].what, "hint", faults->items[i].hint));
    return list;
}

static void hash_text(const uint8_t hash[AB_WORKFLOW_HASH_BYTES], char text[2 * AB_WORKFLOW_HASH_BYTES + 1])
{
    for (int i = 0; i < AB_WORKFLOW_HASH_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
}

/* A workflow that is wrong is a right question: 200, and what is wrong. */
static void validate_handle(struct call *call)
{
    struct ab_faults faults = {0}, warnings = {0};
    struct ab_secret_list secrets = {0};
    struct ab_workflow *workflow = NULL;
    struct ab_error err = {0};
    char hash[2 * AB_WORKFLOW_HASH_BYTES + 1];
    json_t *tree = json_object_get(call->args, "workflow");
    unsigned flags = ab_tree_bool(call->args, "strict", false) ? AB_WORKFLOW_STRICT : 0;
    int rc = ab_workflow_extract_secrets(tree, &secrets, &err);
    if (!rc)
        rc = ab_workflow_parse(tree, flags, &workflow, &faults, &warnings, &err);
    if (rc && !faults.n)
        ab_faults_add(&faults, err.path, err.text, "%s", "");
    if (!rc)
        ab_workflow_supported(workflow, &faults);
    json_t *answer = json_pack("{s:b, s:o, s:o}", "valid", !faults.n, "faults", faults_tree(&faults),
                               "warnings", faults_tree(&warnings));
    if (workflow) {
        hash_text(workflow->hash, hash);
        json_object_set_new(answer, "hash", json_string(hash));
        json_object_set(answer, "workflow", workflow->tree);
    }
    call_answer(call, MHD_HTTP_OK, answer);
    ab_workflow_destroy(workflow);
    ab_secret_list_finish(&secrets);
    ab_faults_finish(&faults);
    ab_faults_finish(&warnings);
}

static void save_workflow_handle(struct call *call)
{
    struct ab_buf text = {0};
    ab_json_text(json_object_get(call->args, "workflow"), &text);
    json_t *fields =
        json_pack("{s:O, s:s}", "name", json_object_get(call->args, "name"), "workflow", ab_buf_cstr(&text));
    ab_buf_finish(&text);
    call_query(call, "save_workflow", fields, call_answer_asked);
}

/* ---- messages ---- */

static void save_message_handle(struct call *call)
{
    json_t *record = json_copy(call->args);
    json_object_del(record, "user");
    json_object_del(record, "session");
    json_object_set(record, "session_id", json_object_get(call->args, "session"));
    json_object_set_new(record, "user_id", json_string(call->user));
    call_query(call, "save_message", json_pack("{s:o}", "message", record), call_answer_asked);
}

/* ---- a list of one ---- */

/* The first item of the answer's list, or 404. `key`: of the list and, in the answer, of the item. */
static void answer_first(struct call *call, const struct autobots_answer *answer, const char *list,
                         const char *key)
{
    json_t *tree = NULL;
    struct ab_error err;
    if (answer->error) {
        call_failed(call, answer);
        return;
    }
    ab_json_parse(ab_view_of(answer->json), &tree, NULL);
    json_t *item = json_array_get(json_object_get(tree, list), 0);
    if (item)
        call_answer(call, MHD_HTTP_OK, json_pack("{s:O}", key, item));
    else {
        ab_fail_at(&err, AB_ENOTFOUND, key, "there is no such %s", key);
        call_fail(call, &err, NULL);
    }
    json_decref(tree);
}

static void on_session(void *context, const struct autobots_answer *answer)
{
    answer_first(context, answer, "sessions", "session");
    call_drop(context);
}

static void session_handle(struct call *call)
{
    call_query(call, "get_sessions", json_pack("{s:O}", "session", json_object_get(call->args, "session")),
               on_session);
}

static void on_item(void *context, const struct autobots_answer *answer)
{
    answer_first(context, answer, "gallery", "gallery");
    call_drop(context);
}

static void item_handle(struct call *call)
{
    call_query(call, "get_gallery", json_pack("{s:O}", "gallery", json_object_get(call->args, "gallery")),
               on_item);
}

/* ---- a session as one object ---- */

struct export
{
    json_t *session, *messages;
};

static void forget_export(struct call *call)
{
    struct export *e = call->state;
    json_decref(e->session);
    json_decref(e->messages);
    free(e);
    call->state = NULL;
}

static void on_export_messages(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct export *e = call->state;
    json_t *tree = NULL, *name = json_object_get(call->args, "session");
    if (!call->connection)
        ;
    else if (answer->error)
        call_failed(call, answer);
    else if (!ab_json_parse(ab_view_of(answer->json), &tree, NULL)) {
        json_array_extend(e->messages, json_object_get(tree, "messages"));
        json_t *next = json_object_get(tree, "next");
        if (next)
            call_query(call, "load_messages", json_pack("{s:O, s:O}", "session", name, "after", next),
                       on_export_messages);
        else
            call_answer(call, MHD_HTTP_OK,
                        json_pack("{s:s, s:i, s:O, s:O}", "format", "autobots.session", "version", 1, "session",
                                  e->session, "messages", e->messages));
    }
    json_decref(tree);
    call_drop(call);
}

static void on_export_session(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct export *e = call->state;
    json_t *tree = NULL;
    struct ab_error err;
    if (!call->connection)
        ;
    else if (answer->error)
        call_failed(call, answer);
    else if (!ab_json_parse(ab_view_of(answer->json), &tree, NULL)) {
        e->session = json_incref(json_array_get(json_object_get(tree, "sessions"), 0));
        if (e->session)
            call_query(call, "load_messages",
                       json_pack("{s:O}", "session", json_object_get(call->args, "session")),
                       on_export_messages);
        else {
            ab_fail_at(&err, AB_ENOTFOUND, "session", "there is no such session");
            call_fail(call, &err, NULL);
        }
    }
    json_decref(tree);
    call_drop(call);
}

static void export_handle(struct call *call)
{
    struct export *e = call->state = ab_calloc(1, sizeof *e);
    e->messages = json_array();
    call->forget = forget_export;
    call_query(call, "get_sessions", json_pack("{s:O}", "session", json_object_get(call->args, "session")),
               on_export_session);
}

/* ---- a session from a gallery item ---- */

static void on_started(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    json_t *tree = NULL;
    if (answer->error)
        call_failed(call, answer);
    else if (!ab_json_parse(ab_view_of(answer->json), &tree, NULL))
        call_answer(
            call, MHD_HTTP_CREATED,
            json_pack("{s:O}", "session",
                      json_object_get(json_array_get(json_object_get(tree, "sessions"), 0), "session_id")));
    json_decref(tree);
    call_drop(call);
}

static void start_handle(struct call *call)
{
    char session[AB_ID_TEXT];
    call_query(call, "start_gallery",
               json_pack("{s:O, s:s}", "gallery", json_object_get(call->args, "gallery"), "session",
                         ab_id_text(ab_id_make(ab_wall_ms()), session)),
               on_started);
}

/* ---- the routes ---- */

static const struct arg validate_args[] = {
    {"workflow", ARG_OBJECT, .required = true, .doc = "in either form"},
    {"strict", ARG_BOOL, .doc = "unknown keys are faults, not warnings"},
    {0},
};
static const struct arg save_workflow_args[] = {
    {"name", ARG_STRING, .required = true, .max = 64, .doc = "its name"},
    {"workflow", ARG_OBJECT, .required = true, .doc = "in either form, without any api_key"},
    {0},
};
static const struct arg save_message_args[] = {
    {"session", ARG_STRING, .required = true, .max = AB_NAME_MAX, .doc = "made if it does not exist"},
    {"role", ARG_STRING, .required = true, .max = 16, .doc = "user or assistant"},
    {"content", ARG_CONTENT, .required = true, .doc = "text, or an array of parts"},
    {"msg_id", ARG_STRING, .max = AB_NAME_MAX, .doc = "the same again is the same message; absent: made"},
    {"root_msg_id", ARG_STRING, .max = AB_NAME_MAX, .doc = ""},
    {"timestamp", ARG_STRING, .max = 40, .doc = "ISO 8601"},
    {"metadata", ARG_ANY, .doc = "kept with it, as ra, code and personalize"},
    {"ra", ARG_STRING, .max = 1 << 20, .doc = ""},
    {"code", ARG_STRING, .max = 1 << 20, .doc = ""},
    {"personalize", ARG_BOOL, .doc = ""},
    {0},
};
static const struct arg search_args[] = {
    {"q", ARG_STRING, .required = true, .max = AB_QUERY_BYTES_MAX, .field = "query",
     .doc = "words, phrases in quotation marks and prefixes (prog*); all must stand in the message"},
    {"session", ARG_STRING, .max = AB_NAME_MAX, .doc = "only this one"},
    {"newest", ARG_BOOL, .doc = "by time, the newest first; absent: by rank"},
    {"after", ARG_STRING, .max = AB_NAME_MAX, .doc = "the cursor `next` of the page before"},
    {"limit", ARG_UINT, .max = AB_PAGE_MAX, .doc = "one page of so many (default 100)"},
    {0},
};
static const struct arg session_args[] = {
    {"session", ARG_STRING, .required = true, .max = AB_NAME_MAX, .doc = "its id"}, {0}};
static const struct arg item_args[] = {
    {"gallery", ARG_STRING, .required = true, .max = AB_NAME_MAX, .doc = "its id"}, {0}};

const struct route routes_stored[] = {
    {"GET", "/api/sessions/{session}", SCOPE_READ, 0, session_handle, .args = session_args,
     .answers = "200 404", .shape = "OneSession", .summary = "A session"},
    {"PATCH", "/api/sessions/{session}", SCOPE_WRITE, .operation = "rename_session", .answers = "200 404",
     .summary = "Name and description of a session"},
    {"DELETE", "/api/sessions/{session}", SCOPE_WRITE, .operation = "delete_user_sessions",
     .answers = "200 404",
     .summary = "Delete a session with its messages, events and files; its live jobs are cancelled"},
    {"GET", "/api/sessions/{session}/messages", SCOPE_READ, .operation = "load_messages", .answers = "200",
     .summary = "Its messages in pages, oldest first"},
    {"POST", "/api/sessions/{session}/messages", SCOPE_WRITE, 0, save_message_handle, .args = save_message_args,
     .answers = "200 409", .answer = "save_message",
     .summary = "Put a message into a session without running anything"},
    {"POST", "/api/sessions/{session}/clear", SCOPE_WRITE, .operation = "clear_session", .answers = "200 404",
     .summary = "Remove its messages and the events of its ended jobs; it stays"},
    {"POST", "/api/sessions/{session}/publish", SCOPE_WRITE, .operation = "publish_session",
     .answers = "200 404", .summary = "Publish it as it is now to the gallery"},
    {"GET", "/api/sessions/{session}/export", SCOPE_READ, 0, export_handle, .args = session_args,
     .answers = "200 404", .shape = "SessionExport",
     .summary = "The session and all its messages as one object"},
    {"GET", "/api/search", SCOPE_READ, .operation = "search_messages", .args = search_args,
     .answers = "200 404",
     .summary = "Full text of the user's messages: where it stands, with a piece of each"},
    {"DELETE", "/api/messages/{msg_id}", SCOPE_WRITE, .operation = "delete_message", .answers = "200 404",
     .summary = "Delete a message"},
    {"GET", "/api/gallery/tags", SCOPE_READ, ROUTE_PUBLIC, .operation = "gallery_tags", .answers = "200",
     .summary = "All tags of the gallery, and how many items have each"},
    {"GET", "/api/gallery/{gallery}", SCOPE_READ, ROUTE_PUBLIC, item_handle, .args = item_args,
     .answers = "200 404", .answer = "publish_session",
     .summary = "An item of the gallery: also its export, which import takes"},
    {"PATCH", "/api/gallery/{gallery}", SCOPE_WRITE, .operation = "rename_gallery", .answers = "200 403 404",
     .summary = "Name and description of an item; by its publisher"},
    {"DELETE", "/api/gallery/{gallery}", SCOPE_WRITE, .operation = "delete_gallery", .answers = "200 403 404",
     .summary = "Delete an item; by its publisher"},
    {"POST", "/api/gallery/import", SCOPE_WRITE, .operation = "import_gallery", .answers = "200 409",
     .summary = "Take over an item that was published elsewhere"},
    {"POST", "/api/gallery/{gallery}/session", SCOPE_WRITE, 0, start_handle, .args = item_args,
     .answers = "201 404", .shape = "NewSession",
     .summary = "A new session with the workflow and the messages of an item"},
    {"GET", "/api/workflows", SCOPE_READ, .operation = "list_workflows", .answers = "200",
     .summary = "Stored workflows, newest version each"},
    {"POST", "/api/workflows/validate", SCOPE_READ, 0, validate_handle, .args = validate_args, .answers = "200",
     .shape = "Validation", .summary = "All faults and warnings of a workflow; nothing is stored"},
    {"GET", "/api/workflows/{name}", SCOPE_READ, .operation = "get_workflow", .answers = "200 404",
     .summary = "A stored workflow"},
    {"PUT", "/api/workflows/{name}", SCOPE_WRITE, 0, save_workflow_handle, .args = save_workflow_args,
     .answers = "200 409", .answer = "save_workflow",
     .summary = "Store a workflow: a new version if its content is new"},
    {"DELETE", "/api/workflows/{name}", SCOPE_WRITE, .operation = "delete_workflow", .answers = "200 404",
     .summary = "Forget a name, all its versions"},
    {"GET", "/api/skills", SCOPE_READ, .operation = "list_skills", .answers = "200",
     .summary = "Skills of the user, newest version each, without their contents"},
    {"POST", "/api/skills", SCOPE_WRITE, .operation = "save_skill", .answers = "200 409",
     .summary = "Store a skill; what is not named is taken from its header"},
    {"GET", "/api/skills/{name}", SCOPE_READ, .operation = "get_skill", .answers = "200 404",
     .summary = "A skill with its content"},
    {"PUT", "/api/skills/{name}", SCOPE_WRITE, .operation = "save_skill", .answers = "200 409",
     .summary = "Store a skill under this name: a new version if its content is new"},
    {"DELETE", "/api/skills/{name}", SCOPE_WRITE, .operation = "delete_skill", .answers = "200 404",
     .summary = "Delete a skill, all its versions"},
    {"GET", "/api/budgets", SCOPE_READ, .operation = "list_budgets", .answers = "200",
     .summary = "Budgets of the user, a session or a job, and what is spent and reserved of them"},
    {"PUT", "/api/budgets", SCOPE_ADMIN, .operation = "set_budget", .answers = "200",
     .summary = "Set limits of the user or a session"},
    {"GET", "/api/usage", SCOPE_READ, .operation = "usage", .answers = "200 404",
     .summary = "What the user's jobs used of models, summed: by model, agent, session or day"},
    {"GET", "/api/usage/all", SCOPE_ADMIN, ROUTE_PUBLIC, .operation = "usage_all", .answers = "200",
     .summary = "The same of all users, or by user"},
    {"GET", "/api/prices", SCOPE_READ, .operation = "list_prices", .answers = "200",
     .summary = "Price rows of the service"},
    {"PUT", "/api/prices", SCOPE_ADMIN, .operation = "set_prices", .answers = "200",
     .summary = "Set price rows, all or none"},
    {"DELETE", "/api/prices/{model}", SCOPE_ADMIN, .operation = "delete_price", .answers = "200 404",
     .summary = "Delete a pattern's price rows"},
    {0},
};
