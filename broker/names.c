/* Interned names; see names.h. */
#include "broker/names.h"

#include <stdlib.h>

static uint64_t hash_of(const struct names *names, struct ab_view text)
{
    uint64_t hash = names->key ^ 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.n; i++)
        hash = (hash ^ (uint8_t)text.p[i]) * 0x100000001b3u;
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

static struct name *find(const struct names *names, struct ab_view text, uint64_t hash)
{
    struct name *name = map_get(&names->map, hash);
    while (name && !ab_view_eq(name_view(name), text))
        name = name->next;
    return name;
}

void *names_find(const struct names *names, struct ab_view text)
{
    return find(names, text, hash_of(names, text));
}

void *names_get(struct names *names, struct ab_view text)
{
    uint64_t hash = hash_of(names, text);
    struct name *name = find(names, text, hash);
    if (!name) {
        name = ab_alloc(names->size + text.n + 1);
        memset(name, 0, names->size);
        name->text = (char *)name + names->size;
        memcpy(name->text, text.p ? text.p : "", text.n);
        name->text[text.n] = 0;
        name->bytes = (uint32_t)text.n;
        name->hash = hash;
        name->next = map_put(&names->map, hash, name);
    }
    name->refs++;
    return name;
}

static void unlink_name(struct names *names, struct name *name)
{
    struct name *first = map_get(&names->map, name->hash);
    if (first != name) {
        while (first->next != name)
            first = first->next;
        first->next = name->next;
    } else if (name->next) {
        map_put(&names->map, name->hash, name->next);
    } else {
        map_remove(&names->map, name->hash);
    }
}

void *names_each(const struct names *names, size_t *at)
{
    /* *at: the slot, and below it how far along its chain */
    enum { CHAIN_BITS = 16 };
    for (size_t slot = *at >> CHAIN_BITS; slot < names->map.cap; slot++) {
        size_t skip = slot == *at >> CHAIN_BITS ? *at & ((1 << CHAIN_BITS) - 1) : 0, i = 0;
        struct name *name = names->map.slots[slot].key ? names->map.slots[slot].value : NULL;
        for (; name && i < skip; i++)
            name = name->next;
        if (name) {
            *at = slot << CHAIN_BITS | (i + 1);
            return name;
        }
    }
    return NULL;
}

void names_put(struct names *names, void *object)
{
    struct name *name = object;
    if (!name || --name->refs)
        return;
    unlink_name(names, name);
    if (names->finish)
        names->finish(object);
    free(object);
}

void names_finish(struct names *names)
{
    size_t at = 0;
    for (struct name *name; (name = map_each(&names->map, &at));)
        for (struct name *next; name; name = next) {
            next = name->next;
            if (names->finish)
                names->finish(name);
            free(name);
        }
    map_finish(&names->map);
}
