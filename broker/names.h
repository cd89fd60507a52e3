/* Interned names: one object per tenant, pool, session, concurrency key or workflow hash, however many jobs use it.
 *
 * An object is a struct whose first member is `struct name`; a table makes them zeroed and frees them with the
 * last reference.
 */
#ifndef AB_BROKER_NAMES_H
#define AB_BROKER_NAMES_H

#include "broker/map.h"
#include "common/bytes.h"

struct name {
    struct name *next; /* of the same hash */
    uint64_t hash;
    uint32_t refs, bytes;
    char *text; /* behind the object; NUL-terminated for logs */
};
struct names {
    struct map map;
    size_t size;                  /* of an object */
    void (*finish)(void *object); /* before an object is freed; may be NULL */
    uint64_t key;                 /* seeds the hash: names are chosen by strangers */
};

/* The object of a name, made if there is none; one more reference. */
void *names_get(struct names *names, struct ab_view text);
void *names_find(const struct names *names, struct ab_view text); /* NULL if absent; no reference */
/* Walks all objects in no order: start with *at = 0; NULL ends. None may come or go meanwhile. */
void *names_each(const struct names *names, size_t *at);
void names_put(struct names *names, void *object); /* NULL is allowed */
void names_finish(struct names *names);

static inline struct ab_view name_view(const struct name *name)
{
    return name ? ab_view(name->text, name->bytes) : ab_view(NULL, 0);
}

#endif
