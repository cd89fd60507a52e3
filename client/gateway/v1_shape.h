/* The objects of OpenAI's API (https://platform.openai.com/docs/api-reference), as JSON trees: the caller's to drop or to
 * pass on. Pure. */
#ifndef AUTOBOTS_GATEWAY_V1_SHAPE_H
#define AUTOBOTS_GATEWAY_V1_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/error.h"
#include "common/id.h"
#include "common/tree.h"

enum { V1_ID_MAX = 64 };

/* "resp_" + the 32 digits of a job's id, and back. */
const char *v1_id(const char *prefix, const char *job, char out[V1_ID_MAX]);
bool v1_job_of(const char *prefix, struct ab_view id, char job[AB_ID_TEXT]);
int64_t v1_created(const char *job); /* seconds since 1970: when the job's id was made */

/* {"error": {message, type, param, code, and ours: retryable}}. `name` is one of ours ("not_found") or of OpenAI's own. */
json_t *v1_error(int status, const char *name, const struct ab_error *error, bool retryable);

json_t *v1_model(const char *name, int64_t created, const char *owner);

/* ---- chat/completions ---- */
struct v1_completion {
    const char *job, *model;
    int64_t created;  /* seconds since 1970; 0: when the job's id was made */
    bool usage_later; /* of chunks: usage is null but in the last one */
};
/* delta and finish may be NULL. Takes delta. */
json_t *v1_chunk(const struct v1_completion *c, json_t *delta, const char *finish);
json_t *v1_chunk_usage(const struct v1_completion *c, const json_t *end); /* choices: [] */
json_t *v1_completion(const struct v1_completion *c, struct ab_view content, struct ab_view thoughts,
                      const char *finish, const json_t *end);

/* ---- responses ---- */
struct v1_response {
    int64_t created;          /* as above */
    const char *job, *status; /* queued, in_progress, completed, failed, cancelled, incomplete */
    const json_t *about; /* {model, background?, store?, instructions?, metadata?, previous_response_id?} */
    const json_t *texts; /* array of the answer's complete turns; NULL: none */
    const json_t *end;   /* the end event; NULL: it has not ended */
    const char *code, *reason; /* of a failure; of what is incomplete; NULL */
    const char *error;         /* its text */
};
json_t *v1_response(const struct v1_response *r);
json_t *v1_output_item(const char *job, uint64_t turn, const char *status,
                       const char *text); /* text NULL: no part yet */
json_t *v1_output_part(const char *text, size_t bytes);

/* ---- what a response was made of (v1_items.c) ---- */
/* Items of a job's input, oldest first: messages as clients send them. Their ids follow from the job and their place. */
json_t *v1_input_items(const char *job, const json_t *input);
struct v1_items_page {
    bool ascending;
    const char *after; /* an item's id; NULL: from the beginning */
    size_t limit;      /* 0: 20 */
};
/* {"object": "list", "data", first_id, last_id, has_more}: a page of them. */
json_t *v1_items_list(const json_t *items, const struct v1_items_page *page);

#endif
