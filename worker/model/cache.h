/* Replies of identical requests, for calls that ask for it with a cache seed: bounded, in memory, of this worker only.
 *
 * The key is a hash of everything that makes the reply: seed, URL, body; and of the API key, so that nobody is answered
 * by what another one's key has paid for. The entry used longest ago goes first.
 */
#ifndef AB_WORKER_MODEL_CACHE_H
#define AB_WORKER_MODEL_CACHE_H

#include "worker/model/model.h"

enum {
    CACHE_KEY_BYTES = 32,
    CACHE_ENTRIES_MAX = 1024,
    CACHE_BYTES_MAX = 16 * 1024 * 1024,  /* text of all entries */
    CACHE_REPLY_BYTES_MAX = 1024 * 1024, /* a larger reply is not kept */
};

struct cache_entry {
    uint8_t key[CACHE_KEY_BYTES];
    struct model_reply reply;
    size_t bytes;
    uint64_t used; /* of the cache's counter */
};
/* Zero-initialised is empty. */
struct cache {
    struct cache_entry *entries;
    size_t n;
    size_t bytes;
    uint64_t counter;
};

void cache_key(uint8_t key[CACHE_KEY_BYTES], int64_t seed, const char *url, const char *api_key,
               struct ab_view body);
/* A copy of what is kept, or false. */
bool cache_find(struct cache *cache, const uint8_t key[CACHE_KEY_BYTES], struct model_reply *copy);
/* Keeps a copy; a key that is there already is left as it is. */
void cache_add(struct cache *cache, const uint8_t key[CACHE_KEY_BYTES], const struct model_reply *reply);
void cache_finish(struct cache *cache);

#endif
