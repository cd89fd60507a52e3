/* cache.h. A thousand keys are scanned faster than one reply is read from a socket: a plain table is enough. */
#include "worker/model/cache.h"

#include <sodium.h>
#include <stdlib.h>

_Static_assert(CACHE_KEY_BYTES == crypto_generichash_BYTES, "key size");

static void hash_text(crypto_generichash_state *state, const char *text)
{
    if (text)
        crypto_generichash_update(state, (const unsigned char *)text, strlen(text));
    crypto_generichash_update(state, (const unsigned char *)"", 1); /* the NUL parts the fields */
}

void cache_key(uint8_t key[CACHE_KEY_BYTES], int64_t seed, const char *url, const char *api_key,
               struct ab_view body)
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, CACHE_KEY_BYTES);
    crypto_generichash_update(&state, (const unsigned char *)&seed, sizeof seed);
    hash_text(&state, url);
    hash_text(&state, api_key);
    crypto_generichash_update(&state, (const unsigned char *)body.p, body.n);
    crypto_generichash_final(&state, key, CACHE_KEY_BYTES);
    sodium_memzero(&state, sizeof state);
}

static char *copy_text(const char *text)
{
    return text ? ab_strdup(text) : NULL;
}

static struct model_reply copy_reply(const struct model_reply *reply)
{
    return (struct model_reply){.content = copy_text(reply->content),
                                .reasoning = copy_text(reply->reasoning),
                                .refusal = copy_text(reply->refusal),
                                .tool_calls = json_deep_copy(reply->tool_calls),
                                .finish_reason = copy_text(reply->finish_reason),
                                .model = copy_text(reply->model),
                                .request_id = copy_text(reply->request_id),
                                .usage = reply->usage};
}

static size_t text_bytes(const char *text)
{
    return text ? strlen(text) : 0;
}

static size_t reply_bytes(const struct model_reply *reply)
{
    size_t calls_bytes = reply->tool_calls ? json_dumpb(reply->tool_calls, NULL, 0, JSON_COMPACT) : 0;
    return sizeof(struct cache_entry) + text_bytes(reply->content) + text_bytes(reply->reasoning) +
           text_bytes(reply->refusal) + calls_bytes;
}

static struct cache_entry *find(const struct cache *cache, const uint8_t key[CACHE_KEY_BYTES])
{
    for (size_t i = 0; i < cache->n; i++)
        if (!memcmp(cache->entries[i].key, key, CACHE_KEY_BYTES))
            return &cache->entries[i];
    return NULL;
}

bool cache_find(struct cache *cache, const uint8_t key[CACHE_KEY_BYTES], struct model_reply *copy)
{
    struct cache_entry *entry = find(cache, key);
    if (!entry)
        return false;
    entry->used = ++cache->counter;
    *copy = copy_reply(&entry->reply);
    return true;
}

static void drop_oldest(struct cache *cache)
{
    struct cache_entry *oldest = cache->entries;
    for (size_t i = 1; i < cache->n; i++)
        if (cache->entries[i].used < oldest->used)
            oldest = &cache->entries[i];
    cache->bytes -= oldest->bytes;
    model_reply_finish(&oldest->reply);
    *oldest = cache->entries[--cache->n];
}

void cache_add(struct cache *cache, const uint8_t key[CACHE_KEY_BYTES], const struct model_reply *reply)
{
    size_t bytes = reply_bytes(reply);
    if (bytes > CACHE_REPLY_BYTES_MAX || find(cache, key))
        return;
    while (cache->n && (cache->n == CACHE_ENTRIES_MAX || bytes > CACHE_BYTES_MAX - cache->bytes))
        drop_oldest(cache);
    if (!cache->entries)
        cache->entries = ab_calloc(CACHE_ENTRIES_MAX, sizeof *cache->entries);
    struct cache_entry *entry = &cache->entries[cache->n++];
    *entry = (struct cache_entry){.reply = copy_reply(reply), .bytes = bytes, .used = ++cache->counter};
    memcpy(entry->key, key, CACHE_KEY_BYTES);
    cache->bytes += bytes;
}

void cache_finish(struct cache *cache)
{
    while (cache->n)
        drop_oldest(cache);
    free(cache->entries);
    *cache = (struct cache){0};
}
