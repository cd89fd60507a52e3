/* What a call used, if its server does not say: an estimate by the bytes of the text. Pure. */
#ifndef AB_WORKER_MODEL_USAGE_H
#define AB_WORKER_MODEL_USAGE_H

#include "worker/model/model.h"

enum { USAGE_BYTES_PER_TOKEN = 4 };

/* Fills reply->usage from the messages sent and the reply's text, reasoning and tool calls; `reported` stays false. */
void usage_estimate(struct model_reply *reply, const json_t *messages);
/* Appends the text of a message's content: a string, or an array of parts. */
void usage_add_text(struct ab_buf *out, const json_t *content);

#endif
