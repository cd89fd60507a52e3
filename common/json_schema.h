/* JSON Schema: the part of it that answers of models and arguments of tools are described with.
 *
 *   type (name or list), enum, const
 *   properties, required, additionalProperties, minProperties, maxProperties
 *   items, minItems, maxItems, uniqueItems
 *   minLength, maxLength (in characters)
 *   minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf
 *   anyOf, oneOf, allOf, not
 *   $ref within the document ("#", "#/$defs/NAME"), $defs, definitions
 *   true and false as schemas
 * and, without effect: title, description, default, examples, format, deprecated, readOnly, writeOnly, $schema, $id,
 * $comment. All in the meaning of draft 2020-12.
 *
 * Both functions are pure, bounded in depth and steps whatever they are given, and add faults with JSON paths.
 */
#ifndef AB_COMMON_JSON_SCHEMA_H
#define AB_COMMON_JSON_SCHEMA_H

#include <jansson.h>
#include <stddef.h>

#include "common/error.h"

enum {
    AB_JSON_SCHEMA_DEPTH_MAX = 128,   /* of schemas within schemas, references followed */
    AB_JSON_SCHEMA_STEPS_MAX = 50000, /* schemas applied to one value and all that is in it */
};

/* Is this a schema, and nothing but keywords of the list above? Faults are under `path`, where the schema stands.
 * Returns how many there are. */
size_t ab_json_schema_check(const json_t *schema, const char *path, struct ab_faults *faults);

/* Does the value fit? Faults are under "$", the value itself; returns how many there are. Keywords that are not in the
 * list are passed over, so that schemas of others (a tool server's) can be used as far as they are understood; call
 * ab_json_schema_check() first where that must not be. */
size_t ab_json_schema_validate(const json_t *schema, const json_t *value, struct ab_faults *faults);

#endif
