/* msgpack ↔ the project's one tree type (jansson's json_t), through msgpack-c.
 * Binary values appear in trees as objects {"$bin": base16 text}; integers above int64 as reals. */
#ifndef AB_COMMON_WIRE_TREE_H
#define AB_COMMON_WIRE_TREE_H

#include <jansson.h>

#include "common/wire/schema.h"

void ab_tree_pack(struct ab_buf *out, const json_t *tree);
/* One value, checked for structure, depth, UTF-8 and duplicate keys before anything is allocated.
 * NULL with *err on failure; the caller owns the result. */
json_t *ab_tree_unpack(struct ab_view bytes, struct ab_error *err);
/* The message of a schema as a tree (ids as text), and an event with its kind. */
json_t *ab_tree_of(const struct ab_schema *schema, const void *message);

#endif
