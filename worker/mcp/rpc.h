/* JSON-RPC 2.0 messages of MCP: read and written, purely. */
#ifndef AB_WORKER_MCP_RPC_H
#define AB_WORKER_MCP_RPC_H

#include <jansson.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/error.h"

/* Codes that mean something to us. */
enum {
    RPC_METHOD_NOT_FOUND = -32601,
    RPC_HEADER_MISMATCH = -32020, /* revision 2026-07-28: these three are sent by modern servers only */
    RPC_MISSING_CAPABILITY = -32021,
    RPC_UNSUPPORTED_VERSION = -32022,
};
/* Ids are ours, from 1; of a message that names none, or one we cannot have made, it is 0. */
enum { RPC_NO_ID = 0 };

enum rpc_kind { RPC_RESULT, RPC_ERROR, RPC_REQUEST, RPC_NOTIFICATION };

/* All borrowed from the tree that was read. */
struct rpc {
    enum rpc_kind kind;
    int64_t id;           /* RESULT, ERROR: the request's */
    const json_t *own_id; /* REQUEST: what the answer must carry */
    const char *method;   /* REQUEST, NOTIFICATION */
    const json_t *params; /* of those; NULL: none */
    const json_t *result; /* RESULT */
    int64_t code;         /* ERROR */
    const char *message;  /* ERROR; never NULL */
    const json_t *data;   /* ERROR; NULL: none */
};

/* AB_EINVALID: it is no message. */
int rpc_read(const json_t *tree, struct rpc *rpc, struct ab_error *err);

/* Each takes params, result (NULL: {}), and gives the message's text without a line end; the caller frees it. */
char *rpc_request(int64_t id, const char *method, json_t *params);
char *rpc_notification(const char *method, json_t *params);
char *rpc_answer(const json_t *id, json_t *result);
char *rpc_refusal(const json_t *id, int64_t code, const char *message);

/* The id at the top level of a message that is too long, or too broken, to be read as a whole: fed with its bytes in pieces of
 * any size, it needs no memory for them. Zero-initialised is fresh. */
struct rpc_scan {
    int64_t id; /* RPC_NO_ID until it was seen */
    unsigned depth;
    bool in_text, escaped, key_next, is_id, in_number;
    uint8_t matched; /* bytes of "id" in the key */
    int64_t number;
};
void rpc_scan(struct rpc_scan *scan, struct ab_view bytes);

/* As many values as JSON text can have, at most. */
size_t rpc_values(struct ab_view text);

#endif
