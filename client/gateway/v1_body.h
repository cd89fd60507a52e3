/* Bodies of OpenAI's requests, read into what a job needs. Pure. What an option of theirs asks of a model and not of a
 * workflow (temperature, max_tokens, …) is ignored: the workflow decides. What would change the meaning of the answer and
 * cannot be honoured is refused.
 */
#ifndef AUTOBOTS_GATEWAY_V1_BODY_H
#define AUTOBOTS_GATEWAY_V1_BODY_H

#include <stdbool.h>

#include "common/error.h"
#include "common/tree.h"

struct v1_request {
    const char *model;               /* borrowed from the body, as is `previous` */
    json_t *content;                 /* the message: text, or array of parts as jobs take them */
    json_t *said;                    /* what was said before it: array of {role: user|assistant, content} */
    json_t *told;                    /* what all agents are told: array of {role: system, content} */
    bool stream, include_usage;      /* chat: a last chunk with the usage */
    bool background, store;          /* responses */
    const char *previous;            /* id of the response it follows, as given; NULL: none */
    bool tools_ignored;              /* some were offered */
    json_t *instructions, *metadata; /* responses: repeated in the answer; NULL: none */
};

int v1_read_chat(const json_t *body, struct v1_request *out, struct ab_error *err);
int v1_read_response(const json_t *body, struct v1_request *out, struct ab_error *err);
void v1_request_finish(struct v1_request *request);

/* A new array for the job: what was said (unless the session knows it) and, behind it, what all are told: of a history that is
 * too long the beginning is left out. NULL: nothing. */
json_t *v1_history(const struct v1_request *request, bool session_knows);

#endif
