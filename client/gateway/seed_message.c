/* POST /messages of the seed: a message to a workflow, answered when the job ends or asks a person. A session whose job
 * waits for a person takes the message as the answer. */
#include <stdlib.h>

#include "client/gateway/seed_body.h"
#include "client/gateway/wait.h"
#include "common/clock.h"

static const char doing[] = "processing message";

struct sending {
    json_t *body;
    struct wait *wait;
    char job[AUTOBOTS_ID_TEXT];
};

static const struct seed_field fields[] = {{"message", ARG_OBJECT, true},
                                           {"message.user_id", ARG_STRING, true},
                                           {"message.role", ARG_STRING, true},
                                           {"message.content", ARG_CONTENT, true},
                                           {"message.root_msg_id", ARG_STRING, false},
                                           {"message.msg_id", ARG_STRING, false},
                                           {"message.timestamp", ARG_STRING, false},
                                           {"message.personalize", ARG_BOOL, false},
                                           {"message.ra", ARG_STRING, false},
                                           {"message.code", ARG_STRING, false},
                                           {"message.session_id", ARG_STRING, false},
                                           {"flow_config", ARG_OBJECT, true},
                                           {"flow_config.name", ARG_STRING, true},
                                           {0}};

static void forget(struct call *call)
{
    struct sending *s = call->state;
    wait_destroy(s->wait);
    json_decref(s->body);
    free(s);
    call->state = NULL;
}

static void fail(struct call *call, const char *reason)
{
    char *text = ab_format("Error occurred while %s: %s", doing, reason);
    call_answer(call, MHD_HTTP_OK, json_pack("{s:b, s:s}", "status", 0, "message", text));
    free(text);
}

static void set_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, text ? json_string(text) : json_null());
}

/* The assistant's message as storage has it, with the keys the seed's had. */
static json_t *message_of(struct call *call, const json_t *told, bool asks)
{
    const struct sending *s = call->state;
    const char *content = ab_tree_str(told, asks ? "prompt" : "content");
    json_t *result = json_object_get(told, "result");
    char iso[AB_ISO8601_MAX],
        *id = ab_format(asks ? "%s.%s" : "%s.assistant", s->job, ab_tree_str(told, "ask") ?: "");
    json_t *message = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:s}", "user_id", call->user, "role",
                                "assistant", "content", content ? content : "", "msg_id", id, "timestamp",
                                ab_iso8601(ab_tree_int(told, "at_ms", 0), iso), "personalize", 0, "job", s->job,
                                "state", ab_tree_str(told, "state") ?: "");
    const char *session = ab_tree_str(told, "session");
    set_text(message, "session_id", session ? session : seed_text(s->body, "message.session_id"));
    set_text(message, "root_msg_id", seed_text(s->body, "message.root_msg_id"));
    set_text(message, "ra", NULL);
    set_text(message, "code", NULL);
    set_text(message, "ask", ab_tree_str(told, "ask"));
    if (!asks)
        json_object_del(message, "ask");
    json_object_set(message, "metadata", result ? result : json_null());
    free(id);
    return message;
}

static void on_waited(struct call *call, enum wait_outcome outcome, json_t *told, const struct ab_error *error)
{
    const char *state = ab_tree_str(told, "state"), *text = ab_tree_str(told, "text");
    if (outcome == WAIT_FAILED)
        fail(call, error->text);
    else if (outcome == WAIT_ENDED && (!state || strcmp(state, "succeeded")))
        fail(call, text ? text : state ? state : "the job has failed");
    else if (outcome == WAIT_ASKS && ab_tree_str(told, "budget")) {
        char *why = ab_format("a budget is spent: %s", ab_tree_str(told, "budget"));
        fail(call, why);
        free(why);
    } else {
        json_t *message = message_of(call, told, outcome == WAIT_ASKS);
        call_answer(call, MHD_HTTP_OK,
                    json_pack("{s:b, s:O, s:o}", "status", 1, "message", json_object_get(message, "content"),
                              "metadata", message));
    }
}

/* ---- submitting ---- */

/* The job is another one if the session's had asked: then the message is the answer. */
static void on_accepted(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct sending *s = call->state;
    if (!call->connection)
        ;
    else if (answer->error)
        fail(call, answer->error->text);
    else {
        memcpy(s->job, answer->job, sizeof s->job);
        s->wait =
            wait_create(call, answer->job, answer->session, answer->input ? answer->seq : 0, 0, on_waited);
    }
    call_drop(call);
}

static void not_started(struct call *call, const struct autobots_error *error)
{
    struct sending *s = call->state;
    struct ab_error err;
    memcpy(&err, error, sizeof err);
    if (err.code == AB_EINVALID && *err.path == '$')
        seed_refuse_flow(call, seed_get(s->body, "flow_config"), &err);
    else
        fail(call, err.text);
}

static char *line_of(const json_t *value)
{
    struct ab_buf text = {0};
    if (!value)
        return NULL;
    ab_json_text(value, &text);
    return ab_buf_detach(&text);
}

static const char *session_of(struct call *call)
{
    const struct sending *s = call->state;
    const char *named = seed_text(s->body, "message.session_id");
    const char *other = ab_config_text(call->gateway->config, AB_CONF_DEFAULT_SESSION_ID);
    return named && *named ? named : *other ? other : NULL;
}

static void submit(struct call *call)
{
    struct sending *s = call->state;
    struct autobots_error err;
    char id[AUTOBOTS_ID_TEXT];
    char *workflow = line_of(seed_get(s->body, "flow_config")),
         *content = line_of(seed_get(s->body, "message.content")),
         *metadata = line_of(seed_get(s->body, "message.metadata"));
    const char *msg_id = seed_text(s->body, "message.msg_id");
    struct autobots_job job = {.user = call->user,
                               .workflow = workflow,
                               .content = content,
                               .metadata = metadata,
                               .msg_id = msg_id && *msg_id ? msg_id : NULL,
                               .root_msg_id = seed_text(s->body, "message.root_msg_id"),
                               .timestamp = seed_text(s->body, "message.timestamp"),
                               .personalize = json_is_true(seed_get(s->body, "message.personalize")),
                               .ra = seed_text(s->body, "message.ra"),
                               .code = seed_text(s->body, "message.code"),
                               .session = session_of(call)};
    call_hold(call);
    if (autobots_start_submit(call->gateway->bots, &job, id, on_accepted, call, &err)) {
        not_started(call, &err);
        call_drop(call);
    }
    free(workflow);
    free(content);
    free(metadata);
}

void seed_message_handle(struct call *call)
{
    json_t *body = seed_body(call, fields);
    if (!body)
        return;
    struct sending *s = call->state = ab_calloc(1, sizeof *s);
    s->body = body;
    call->forget = forget;
    guard_user(call, seed_text(body, "message.user_id"));
    submit(call);
}
