/* Errors of model servers inside a JSON document that is already parsed. */
#ifndef AB_WORKER_MODEL_OPENAI_ERROR_H
#define AB_WORKER_MODEL_OPENAI_ERROR_H

#include "worker/model/openai_parse.h"

/* Fills *out; `found` is false if the document is no error. */
void openai_error_of_json(const json_t *document, struct openai_error *out);

#endif
