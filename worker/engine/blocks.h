/* Code in messages (worker/engine/blocks.c). Views and texts point into the content, or are static. */
#ifndef AB_WORKER_ENGINE_BLOCKS_H
#define AB_WORKER_ENGINE_BLOCKS_H

#include <jansson.h>
#include <stdbool.h>

#include "common/bytes.h"

enum { CODE_BLOCKS_MAX = 64 /* of one message; later ones are text */ };

struct code_block {
    const char *language; /* python, sh or bash */
    struct ab_view name;  /* of the file, as written; {NULL,0}: it has none */
    struct ab_view code;
};

/* content: a text, or an array of parts. */
bool code_block_at(const json_t *content, size_t index, struct code_block *out);
size_t code_block_count(const json_t *content);

#endif
