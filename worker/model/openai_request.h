/* What is sent for one attempt: URL, body, headers. Pure. */
#ifndef AB_WORKER_MODEL_OPENAI_REQUEST_H
#define AB_WORKER_MODEL_OPENAI_REQUEST_H

#include "worker/model/internal.h"

/* The chat completions URL below the endpoint's base URL; the caller frees it. */
char *openai_url(const struct endpoint *endpoint);
/* The JSON body, appended to *out. AB_ETOOLARGE over MODEL_REQUEST_BYTES_MAX, AB_EINVALID if it cannot be written. */
int openai_body(const struct model_call *call, struct ab_buf *out, struct ab_error *err);

#endif
