/* Base URLs: the normal form in which they are compared, shown and called. Pure.
 *
 * A key is bound to a base URL, so two spellings of one place must compare equal and no spelling may look like one
 * place and lead to another. Whatever is unusual is refused rather than understood: user names, queries, fragments,
 * `.` and `..` segments (percent-encoded too), empty segments, backslashes, anything that is not printable ASCII.
 */
#ifndef AB_WORKER_MODEL_URL_H
#define AB_WORKER_MODEL_URL_H

#include <stdbool.h>

#include "common/bytes.h"
#include "common/error.h"

enum { URL_BYTES_MAX = 2048 };

/* "HTTPS://API.example.com:443/v1/" → "https://api.example.com/v1"; the caller frees *out. */
int url_normalise(struct ab_view text, char **out, struct ab_error *err);
/* True if url is base or lies below it: same origin, path equal or continued after a slash. Both in normal form. */
bool url_is_below(const char *url, const char *base);
/* True for loopback and private addresses, localhost and names that only a private network can resolve. */
bool url_is_private(const char *url);
/* True for localhost and loopback addresses. */
bool url_is_loopback(const char *url);

#endif
