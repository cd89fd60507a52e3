/* The seed's API, exactly: its routes, its envelopes, its status codes. What is ours beside it are arguments that the seed
 * did not have (pages, search) and the state of a job that waits for a person.
 *
 * Success and failure are both 200: {"status": true, "message", "data"} and {"status": false, "message": "Error occurred
 * while <doing it>: <reason>"}.
 */
#include <stdlib.h>

#include "client/gateway/seed_body.h"
#include "client/gateway/wait.h"
#include "common/clock.h"

enum { LISTED_MAX = 20000 /* items that one answer gathers; then it has `next` */ };

static void fail(struct call *call, const char *doing, const char *reason)
{
    char *text = ab_format("Error occurred while %s: %s", doing, reason);
    call_answer(call, MHD_HTTP_OK, json_pack("{s:b, s:s}", "status", 0, "message", text));
    free(text);
}

static const char *config(struct call *call, enum ab_config_key key)
{
    return ab_config_text(call->gateway->config, key);
}

/* ---- operations with lists ---- */

/* What a route asks and how it tells it; the first page may come from another operation than the following ones. */
struct telling {
    const char *doing, *done;    /* "retrieving messages", "Messages retrieved successfully" */
    const char *key;             /* of the list in the operation's answer */
    const char *more;            /* the operation that gives the following pages */
    void (*shape)(json_t *item); /* of each item, what the seed had beside; NULL: as it is */
};

struct asking {
    const struct telling *telling;
    json_t *fields; /* of the operation for the following pages */
    json_t *all;
    bool one_page;
};

static void forget_asking(struct call *call)
{
    struct asking *a = call->state;
    json_decref(a->fields);
    json_decref(a->all);
    free(a);
    call->state = NULL;
}

static void set_absent(json_t *item, const char *key, json_t *value)
{
    if (!json_object_get(item, key))
        json_object_set(item, key, value);
    json_decref(value);
}

static void message_shape(json_t *message)
{
    static const char *const keys[] = {"root_msg_id", "msg_id",   "timestamp", "ra",
                                       "code",        "metadata", "session_id"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        set_absent(message, keys[i], json_null());
    set_absent(message, "personalize", json_false());
}

static void session_shape(json_t *session)
{
    set_absent(session, "flow_config", json_null());
}

static void gallery_shape(json_t *item)
{
    json_t *messages = json_object_get(item, "messages"), *message;
    size_t i;
    json_array_foreach (messages, i, message)
        message_shape(message);
    session_shape(json_object_get(item, "session"));
}

static void tell_list(struct call *call, const char *next)
{
    struct asking *a = call->state;
    const struct telling *t = a->telling;
    json_t *item;
    size_t i;
    if (t->shape)
        json_array_foreach (a->all, i, item)
            t->shape(item);
    bool wrapped = !strcmp(t->doing, "clearing database"); /* its list is one level deeper */
    json_t *data = wrapped ? json_pack("{s:O}", "sessions", a->all) : json_incref(a->all);
    json_t *tree = json_pack("{s:b, s:o, s:s}", "status", 1, "data", data, "message", t->done);
    if (next)
        json_object_set_new(tree, "next", json_string(next));
    call_answer(call, MHD_HTTP_OK, tree);
}

static void on_list(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct asking *a = call->state;
    json_t *tree = NULL;
    struct ab_error err;
    if (!call->connection)
        ;
    else if (answer->error)
        fail(call, a->telling->doing, answer->error->text);
    else if (ab_json_parse(ab_view_of(answer->json), &tree, &err))
        fail(call, a->telling->doing, err.text);
    else {
        const char *next = ab_tree_str(tree, "next");
        json_array_extend(a->all, json_object_get(tree, a->telling->key));
        if (next && !a->one_page && a->telling->more && json_array_size(a->all) < LISTED_MAX) {
            json_object_set_new(a->fields, "after", json_string(next));
            call_query(call, a->telling->more, json_deep_copy(a->fields), on_list);
        } else
            tell_list(call, next);
    }
    json_decref(tree);
    call_drop(call);
}

/* Both trees are taken. */
static void ask_list(struct call *call, const struct telling *telling, const char *operation, json_t *fields,
                     json_t *more_fields)
{
    struct asking *a = call->state = ab_calloc(1, sizeof *a);
    call->forget = forget_asking;
    *a = (struct asking){
        .telling = telling, .all = json_array(), .fields = more_fields ? more_fields : json_object()};
    a->one_page = json_object_get(fields, "limit");
    call_query(call, operation, fields, on_list);
}

static const char *session_or_default(struct call *call, const char *named)
{
    return named && *named ? named : config(call, AB_CONF_DEFAULT_SESSION_ID);
}

static void copy_page_args(struct call *call, json_t *fields)
{
    static const char *const keys[] = {"limit", "after", "search", "tag"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *value = json_object_get(call->args, keys[i]);
        if (value)
            json_object_set(fields, keys[i], value);
    }
}

/* ---- messages ---- */

static const struct telling messages_told = {"retrieving messages", "Messages retrieved successfully",
                                             "messages", "load_messages", message_shape};
static const struct telling deletion_told = {"deleting message", "Message deleted successfully", "messages",
                                             "load_messages", message_shape};

static void messages_handle(struct call *call)
{
    const char *session = session_or_default(call, ab_tree_str(call->args, "session_id"));
    guard_user(call, ab_tree_str(call->args, "user_id"));
    json_t *fields = json_pack("{s:s}", "session", session);
    copy_page_args(call, fields);
    ask_list(call, &messages_told, "load_messages", fields, json_pack("{s:s}", "session", session));
}

static const struct seed_field delete_fields[] = {
    {"user_id", ARG_STRING, true}, {"msg_id", ARG_STRING, true}, {"session_id", ARG_STRING, false}, {0}};

static void delete_handle(struct call *call)
{
    json_t *body = seed_body(call, delete_fields);
    if (!body)
        return;
    const char *session = seed_text(body, "session_id");
    json_t *fields = json_pack("{s:s}", "msg_id", seed_text(body, "msg_id"));
    if (session)
        json_object_set_new(fields, "session", json_string(session));
    guard_user(call, seed_text(body, "user_id"));
    ask_list(call, &deletion_told, "delete_message", fields,
             session ? json_pack("{s:s}", "session", session) : NULL);
    json_decref(body);
}

/* ---- sessions ---- */

static const struct telling sessions_told = {"retrieving sessions", "Sessions retrieved successfully",
                                             "sessions", "get_sessions", session_shape};
static const struct telling found_told = {"retrieving sessions", "Sessions retrieved successfully", "sessions",
                                          "search_sessions", session_shape};
static const struct telling creation_told = {"creating session", "Session created successfully", "sessions",
                                             "get_sessions", session_shape};
static const struct telling clearing_told = {"clearing database", "Messages and files cleared successfully",
                                             "sessions", "get_sessions", session_shape};

static void sessions_handle(struct call *call)
{
    json_t *fields = json_object();
    guard_user(call, ab_tree_str(call->args, "user_id"));
    copy_page_args(call, fields);
    json_t *search = json_object_get(fields, "search"), *more = NULL;
    if (search && *json_string_value(search)) {
        json_object_set(fields, "query", search);
        more = json_pack("{s:O}", "query", search);
    }
    json_object_del(fields, "search");
    if (more)
        ask_list(call, &found_told, "search_sessions", fields, more);
    else
        ask_list(call, &sessions_told, "get_sessions", fields, NULL);
}

static const struct seed_field create_fields[] = {{"user_id", ARG_STRING, true},
                                                  {"session", ARG_OBJECT, true},
                                                  {"session.user_id", ARG_STRING, true},
                                                  {"session.session_id", ARG_STRING, false},
                                                  {"session.timestamp", ARG_STRING, false},
                                                  {"session.flow_config", ARG_OBJECT, true},
                                                  {"session.name", ARG_STRING, false},
                                                  {"session.description", ARG_STRING, false},
                                                  {0}};

/* What storage knows of a session; the seed's callers may send more. Its owner is who asks. */
static json_t *session_record(struct call *call, const json_t *body)
{
    static const char *const keys[] = {"session_id", "timestamp", "flow_config", "name", "description"};
    json_t *record = json_pack("{s:s}", "user_id", call->user);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *value = seed_get(seed_get(body, "session"), keys[i]);
        if (value)
            json_object_set(record, keys[i], value);
    }
    seed_strip_keys(record);
    return record;
}

static void create_handle(struct call *call)
{
    json_t *body = seed_body(call, create_fields);
    if (!body)
        return;
    guard_user(call, seed_text(body, "user_id"));
    ask_list(call, &creation_told, "create_session", json_pack("{s:o}", "session", session_record(call, body)),
             NULL);
    json_decref(body);
}

static const struct seed_field clear_fields[] = {
    {"user_id", ARG_STRING, true}, {"session_id", ARG_STRING, true}, {0}};

/* A session that is not there is as clear as can be. */
static void on_cleared(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    if (call->connection && answer->error && answer->error->code == AB_ENOTFOUND) {
        call_query(call, "get_sessions", json_object(), on_list);
        call_drop(call);
    } else
        on_list(context, answer);
}

static void clear_handle(struct call *call)
{
    json_t *body = seed_body(call, clear_fields);
    if (!body)
        return;
    struct asking *a = call->state = ab_calloc(1, sizeof *a);
    call->forget = forget_asking;
    *a = (struct asking){.telling = &clearing_told, .all = json_array(), .fields = json_object()};
    guard_user(call, seed_text(body, "user_id"));
    call_query(call, "delete_user_sessions", json_pack("{s:s}", "session", seed_text(body, "session_id")),
               on_cleared);
    json_decref(body);
}

/* ---- gallery ---- */

static const struct telling gallery_told = {"retrieving gallery items", "Gallery items retrieved successfully",
                                            "gallery", "get_gallery", gallery_shape};

static void on_gallery_item(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    if (call->connection && answer->error && answer->error->code == AB_ENOTFOUND) {
        tell_list(call, NULL); /* none has this id */
        call_drop(call);
    } else
        on_list(context, answer);
}

static void gallery_handle(struct call *call)
{
    const char *id = ab_tree_str(call->args, "gallery_id");
    const char *item = id && *id ? id : config(call, AB_CONF_DEFAULT_GALLERY_ID);
    struct asking *a = call->state = ab_calloc(1, sizeof *a);
    call->forget = forget_asking;
    json_t *fields = json_object();
    copy_page_args(call, fields);
    *a = (struct asking){.telling = &gallery_told, .all = json_array(), .fields = json_deep_copy(fields)};
    a->one_page = json_object_get(fields, "limit");
    if (*item)
        json_object_set_new(fields, "gallery", json_string(item));
    call_query(call, "get_gallery", fields, on_gallery_item); /* everybody's: no user is set */
}

static const struct seed_field publish_fields[] = {{"user_id", ARG_STRING, true},
                                                   {"session", ARG_OBJECT, true},
                                                   {"session.user_id", ARG_STRING, true},
                                                   {"session.session_id", ARG_STRING, true},
                                                   {"tags", ARG_STRINGS, false},
                                                   {"session.timestamp", ARG_STRING, false},
                                                   {"session.name", ARG_STRING, false},
                                                   {"session.flow_config", ARG_OBJECT, false},
                                                   {"session.description", ARG_STRING, false},
                                                   {0}};

static void on_published(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    json_t *tree = NULL;
    struct ab_error err;
    if (answer->error)
        fail(call, "publishing session", answer->error->text);
    else if (ab_json_parse(ab_view_of(answer->json), &tree, &err))
        fail(call, "publishing session", err.text);
    else {
        json_t *item = json_object_get(tree, "gallery");
        gallery_shape(item);
        call_answer(call, MHD_HTTP_OK,
                    json_pack("{s:b, s:s, s:O}", "status", 1, "message", "Session successfully published",
                              "data", item));
    }
    json_decref(tree);
    call_drop(call);
}

static void publish_handle(struct call *call)
{
    json_t *body = seed_body(call, publish_fields);
    char id[AB_ID_TEXT];
    if (!body)
        return;
    json_t *tags = seed_get(body, "tags");
    json_t *fields = json_pack("{s:s, s:s}", "session", seed_text(body, "session.session_id"), "id",
                               ab_id_text(ab_id_make(ab_wall_ms()), id));
    if (tags)
        json_object_set(fields, "tags", tags);
    guard_user(call, seed_text(body, "user_id"));
    call_query(call, "publish_session", fields, on_published);
    json_decref(body);
}

/* ---- the routes ---- */

#define PAGE_ARGS                                                                                              \
    {"limit", ARG_UINT, .max = AB_PAGE_MAX, .doc = "one page of so many; absent: all"},                        \
    {                                                                                                          \
        "after", ARG_STRING, .max = AB_NAME_MAX, .doc = "the cursor `next` of the page before"                 \
    }
static const struct arg messages_args[] = {
    {"user_id", ARG_STRING, .max = AB_USER_MAX, .doc = "default: default_user_id"},
    {"session_id", ARG_STRING, .max = AB_NAME_MAX, .doc = "default: default_session_id"},
    PAGE_ARGS,
    {0},
};
static const struct arg sessions_args[] = {
    {"user_id", ARG_STRING, .max = AB_USER_MAX, .doc = "default: default_user_id"},
    {"search", ARG_STRING, .max = AB_QUERY_BYTES_MAX,
     .doc = "words, phrases in quotation marks and prefixes (prog*), each in name, description, id or any "
            "message"},
    PAGE_ARGS,
    {0},
};
static const struct arg gallery_args[] = {
    {"gallery_id", ARG_STRING, .max = AB_NAME_MAX, .doc = "only this item"},
    {"search", ARG_STRING, .max = 256, .doc = "words in name, description, tags or messages"},
    {"tag", ARG_STRING, .max = 256, .doc = "only items with this tag"},
    PAGE_ARGS,
    {0},
};
static const struct arg no_args[] = {{0}};

enum { GET = ROUTE_SEED, POST = ROUTE_SEED | ROUTE_RAW };
const struct route routes_seed[] = {
    {"GET", "/api/messages", SCOPE_READ, GET, messages_handle, .args = messages_args, .answers = "200",
     .shape = "SeedMessages", .summary = "The messages of a session, oldest first"},
    {"POST", "/api/messages", SCOPE_WRITE, POST, seed_message_handle, .args = no_args, .answers = "200 422",
     .body = "SeedMessageRequest", .shape = "SeedMessageAnswer",
     .summary = "Send a message to a workflow and wait for its answer, or for its question"},
    {"POST", "/api/messages/delete", SCOPE_WRITE, POST, delete_handle, .args = no_args, .answers = "200 422",
     .body = "SeedDeleteRequest", .shape = "SeedMessages",
     .summary = "Delete a message; answers those that remain"},
    {"GET", "/api/sessions", SCOPE_READ, GET, sessions_handle, .args = sessions_args, .answers = "200",
     .shape = "SeedSessions", .summary = "The user's sessions, oldest first"},
    {"POST", "/api/sessions", SCOPE_WRITE, POST, create_handle, .args = no_args, .answers = "200 422",
     .body = "SeedSessionRequest", .shape = "SeedSessions",
     .summary = "Make a session; answers all of the user's"},
    {"POST", "/api/sessions/publish", SCOPE_WRITE, POST, publish_handle, .args = no_args, .answers = "200 422",
     .body = "SeedPublishRequest", .shape = "SeedGalleryItem",
     .summary = "Publish a session as it is now to the gallery"},
    {"GET", "/api/gallery", SCOPE_READ, GET, gallery_handle, .args = gallery_args, .answers = "200",
     .shape = "SeedGallery", .summary = "Items of the gallery, which everybody sees"},
    {"POST", "/api/cleardb", SCOPE_WRITE, POST, clear_handle, .args = no_args, .answers = "200 422",
     .body = "SeedClearRequest", .shape = "SeedCleared",
     .summary = "Delete a session with its messages and files; answers the sessions that remain"},
    {0},
};
