/* rpc.h. */
#include "worker/mcp/rpc.h"

#include <stdlib.h>

#include "common/tree.h"

enum { ID_MAX = 1000000000 };

/* --- reading -------------------------------------------------------------------------------------------------- */

static int64_t our_id(const json_t *id)
{
    int64_t value = json_is_integer(id) ? json_integer_value(id) : RPC_NO_ID;
    return value > 0 && value <= ID_MAX ? value : RPC_NO_ID;
}

static void read_error(const json_t *error, struct rpc *rpc)
{
    const char *message = ab_tree_str(error, "message");
    rpc->kind = RPC_ERROR;
    rpc->code = ab_tree_int(error, "code", 0);
    rpc->message = message && *message ? message : "no reason given";
    rpc->data = json_object_get(error, "data");
}

int rpc_read(const json_t *tree, struct rpc *rpc, struct ab_error *err)
{
    const json_t *id = json_object_get(tree, "id"), *error = json_object_get(tree, "error");
    *rpc = (struct rpc){.id = our_id(id)};
    if (!json_is_object(tree))
        return ab_fail(err, AB_EINVALID, "a message must be an object");
    rpc->method = ab_tree_str(tree, "method");
    if (rpc->method) {
        rpc->kind = id && !json_is_null(id) ? RPC_REQUEST : RPC_NOTIFICATION;
        rpc->own_id = id;
        rpc->params = json_object_get(tree, "params");
    } else if (json_is_object(error)) {
        read_error(error, rpc);
    } else if ((rpc->result = json_object_get(tree, "result"))) {
        rpc->kind = RPC_RESULT;
    } else {
        return ab_fail(err, AB_EINVALID, "a message has neither method, result nor error");
    }
    return 0;
}

/* --- writing -------------------------------------------------------------------------------------------------- */

static char *text_of(json_t *message)
{
    char *text = json_dumps(message, JSON_COMPACT);
    json_decref(message);
    if (!text)
        ab_out_of_memory();
    return text;
}

static json_t *message_of(const char *method, json_t *params)
{
    json_t *message = json_pack("{ss ss}", "jsonrpc", "2.0", "method", method);
    if (params)
        json_object_set_new(message, "params", params);
    return message;
}

char *rpc_request(int64_t id, const char *method, json_t *params)
{
    json_t *message = message_of(method, params);
    json_object_set_new(message, "id", json_integer(id));
    return text_of(message);
}

char *rpc_notification(const char *method, json_t *params)
{
    return text_of(message_of(method, params));
}

char *rpc_answer(const json_t *id, json_t *result)
{
    json_t *message = json_pack("{ss so}", "jsonrpc", "2.0", "result", result ? result : json_object());
    json_object_set_new(message, "id", json_deep_copy(id));
    return text_of(message);
}

char *rpc_refusal(const json_t *id, int64_t code, const char *message)
{
    json_t *answer =
        json_pack("{ss s{sI ss}}", "jsonrpc", "2.0", "error", "code", (json_int_t)code, "message", message);
    json_object_set_new(answer, "id", json_deep_copy(id));
    return text_of(answer);
}

/* --- what is too long to be read ------------------------------------------------------------------------------ */

static void scan_text(struct rpc_scan *scan, char c)
{
    if (scan->escaped) {
        scan->escaped = false;
        scan->matched = UINT8_MAX; /* "id" needs no escapes; a key that has some is not looked at */
    } else if (c == '\\') {
        scan->escaped = true;
    } else if (c == '"') {
        scan->in_text = false;
        scan->is_id = scan->depth == 1 && scan->key_next && scan->matched == 2;
    } else if (scan->matched < 2 && c == "id"[scan->matched]) {
        scan->matched++;
    } else {
        scan->matched = UINT8_MAX;
    }
}

static void end_number(struct rpc_scan *scan)
{
    if (scan->in_number && scan->number > 0 && scan->number <= ID_MAX)
        scan->id = scan->number;
    scan->in_number = scan->is_id = false;
}

static void scan_mark(struct rpc_scan *scan, char c)
{
    if (c >= '0' && c <= '9' && scan->is_id && !scan->key_next) {
        scan->number = scan->in_number ? scan->number : 0;
        scan->in_number = true;
        scan->number = scan->number > ID_MAX ? scan->number : scan->number * 10 + (c - '0');
        return;
    }
    if (c == ':') {
        scan->key_next = false;
        return;
    }
    if (strchr(" \t\r\n", c) && !scan->in_number)
        return;
    end_number(scan);
    if (c == '"') {
        scan->in_text = true;
        scan->matched = 0;
    } else if (c == '{' || c == '[') {
        scan->depth++;
        scan->key_next = c == '{';
    } else if ((c == '}' || c == ']') && scan->depth) {
        scan->depth--;
        scan->key_next = false;
    } else if (c == ',') {
        scan->key_next = scan->depth == 1;
    }
}

void rpc_scan(struct rpc_scan *scan, struct ab_view bytes)
{
    for (size_t i = 0; i < bytes.n && scan->id == RPC_NO_ID; i++)
        (scan->in_text ? scan_text : scan_mark)(scan, bytes.p[i]);
}

size_t rpc_values(struct ab_view text)
{
    size_t n = 1;
    bool in_text = false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '"')
            in_text = !in_text;
        else if (in_text)
            i += text.p[i] == '\\';
        else
            n += text.p[i] == ',' || text.p[i] == '[' || text.p[i] == '{';
    }
    return n;
}
