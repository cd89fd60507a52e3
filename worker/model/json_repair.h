/* Makes the JSON of model servers fit for a strict parser.
 *
 * Models emit text token by token, and servers pass on what comes: half of a surrogate pair, \u0000, bytes that are
 * not UTF-8, raw control characters in strings. Each is replaced by U+FFFD (control characters by their escape); the
 * structure of the document is not touched, so JSON that is wrong in another way stays wrong. Pure.
 */
#ifndef AB_WORKER_MODEL_JSON_REPAIR_H
#define AB_WORKER_MODEL_JSON_REPAIR_H

#include <jansson.h>

#include "common/bytes.h"

/* True if something had to be changed, which is then in *out (appended); else `text` is fine as it is. */
bool json_repair(struct ab_view text, struct ab_buf *out);
/* Parses after repair; any JSON value is accepted. NULL if it is not JSON (*what gets jansson's words). */
json_t *json_parse_repaired(struct ab_view text, json_error_t *what);

#endif
