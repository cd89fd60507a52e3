/* The inside of the JSON Schema validator: what its two files share. json_schema.c has the table of keywords, the walk over
 * a schema and over a value; json_schema_rules.c what each keyword demands. */
#ifndef AB_COMMON_JSON_SCHEMA_INSIDE_H
#define AB_COMMON_JSON_SCHEMA_INSIDE_H

#include "common/bytes.h"
#include "common/json_schema.h"
#include "common/tree.h"

struct walk {
    const json_t *root; /* the whole schema: what references point into */
    struct ab_faults *faults;
    size_t n;           /* faults so far, those that are not told included */
    struct ab_buf path; /* of the value (validate) or of the schema (check) */
    size_t depth, steps;
    bool quiet; /* faults are counted only */
};

typedef void json_schema_rule(struct walk *w, const json_t *keyword, const json_t *schema, const json_t *value);

/* json_schema.c */
void json_schema_apply(struct walk *w, const json_t *schema, const json_t *value);
void json_schema_fault(struct walk *w, char *what, char *hint); /* takes what and hint */
const char *json_schema_type_of(const json_t *value);
bool json_schema_has_type(const json_t *value, const char *type);
/* The schema that a reference means; NULL if it points nowhere, or out of the document. */
const json_t *json_schema_resolve(const json_t *root, const char *reference);

/* json_schema_rules.c: one for each keyword that says something about a value. */
#define JSON_SCHEMA_RULES(X)                                                                                   \
    X(reference)                                                                                               \
    X(type)                                                                                                    \
    X(enum)                                                                                                    \
    X(const)                                                                                                   \
    X(properties)                                                                                              \
    X(required)                                                                                                \
    X(additional)                                                                                              \
    X(min_properties)                                                                                          \
    X(max_properties)                                                                                          \
    X(items)                                                                                                   \
    X(min_items)                                                                                               \
    X(max_items)                                                                                               \
    X(unique)                                                                                                  \
    X(min_length)                                                                                              \
    X(max_length)                                                                                              \
    X(minimum)                                                                                                 \
    X(maximum)                                                                                                 \
    X(over)                                                                                                    \
    X(under)                                                                                                   \
    X(multiple)                                                                                                \
    X(any)                                                                                                     \
    X(one)                                                                                                     \
    X(all)                                                                                                     \
    X(not )
#define X(name) json_schema_rule v_##name;
JSON_SCHEMA_RULES(X)
#undef X

#endif
