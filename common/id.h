/* Ids: UUID version 7 (RFC 9562), 16 bytes, ordered by their first 48 bits = milliseconds since 1970.
 * On the wire `bin` of 16 bytes; shown to people as 36 characters of text.
 */
#ifndef AB_COMMON_ID_H
#define AB_COMMON_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"

enum { AB_ID_BYTES = 16, AB_ID_TEXT = 37 /* with the NUL */ };

struct ab_id {
    uint8_t b[AB_ID_BYTES];
};

/* A new id; ids made by one process in one millisecond keep their order. */
struct ab_id ab_id_make(int64_t wall_ms);
/* Version 7 and variant bits are right. */
bool ab_id_ok(struct ab_id id);
bool ab_id_zero(struct ab_id id);
static inline bool ab_id_eq(struct ab_id a, struct ab_id b)
{
    return !memcmp(a.b, b.b, AB_ID_BYTES);
}
int64_t ab_id_ms(struct ab_id id); /* the time it was made, by its maker's clock */
const char *ab_id_text(struct ab_id id, char text[AB_ID_TEXT]);
/* Accepts upper and lower case, with or without dashes; false if it is not an id. */
bool ab_id_parse(struct ab_view text, struct ab_id *id);
uint64_t ab_id_hash(struct ab_id id); /* for hash tables; keyed per process against chosen ids */

#endif
