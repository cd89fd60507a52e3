/* Bodies in the seed's shape, and the 422 that its framework answers when one is not:
 * {"detail": [{"loc": ["body", "message", "role"], "msg": "field required", "type": "value_error.missing"}]} */
#ifndef AUTOBOTS_GATEWAY_SEED_BODY_H
#define AUTOBOTS_GATEWAY_SEED_BODY_H

#include "client/gateway/gateway.h"

/* One field; ends with a NULL path. Parents stand before their members. */
struct seed_field {
    const char *path; /* "message.role" */
    enum arg_type type;
    bool required;
};

/* The body as a tree (the caller drops it), numbers for texts made texts, as the seed did. NULL after a 422. */
json_t *seed_body(struct call *call, const struct seed_field *fields);
/* A value by its path; NULL if it is absent or null. */
json_t *seed_get(const json_t *body, const char *path);
const char *seed_text(const json_t *body, const char *path);
/* Answers 422 with the faults of a flow_config, all of them if it can be parsed; `error` is the first. */
void seed_refuse_flow(struct call *call, const json_t *flow, const struct ab_error *error);
/* Removes every api_key in clear. */
void seed_strip_keys(json_t *tree);

#endif
