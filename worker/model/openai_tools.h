/* Tool calls while they stream in: which call a fragment belongs to, and putting it together. */
#ifndef AB_WORKER_MODEL_OPENAI_TOOLS_H
#define AB_WORKER_MODEL_OPENAI_TOOLS_H

#include "worker/model/openai_parse.h"

/* Merges one element of a delta's (or message's) tool_calls. Returns the number of argument bytes it brought, or a
 * negative AB_E… over a cap. */
int64_t openai_tools_merge(struct openai_parse *parse, json_t *fragment, struct ab_error *err);
/* The finished array, NULL if there are no calls; the calls are moved out of *parse. */
json_t *openai_tools_detach(struct openai_parse *parse);
void openai_tools_finish(struct openai_parse *parse);

#endif
