/* The one tree type of the project is jansson's json_t. JSON and YAML are both read into it, with the same
 * rules: duplicate keys, NUL characters, depth over AB_TREE_DEPTH_MAX and text over AB_TREE_BYTES_MAX are
 * errors.
 *
 * YAML is the 1.2 core schema without anchors, aliases and tags, one document. Plain null, true/false, integers
 * and floats become JSON values, everything quoted is a string, every key is a string. .inf and .nan are
 * errors.
 *
 * Trees are reference-counted and belong to one thread. A tree given through a `json_t **` is a new reference:
 * the caller drops it with json_decref().
 */
#ifndef AB_COMMON_TREE_H
#define AB_COMMON_TREE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/error.h"

enum { AB_TREE_DEPTH_MAX = 64, AB_TREE_BYTES_MAX = 64 << 20 };

/* Where each value of a document stands: JSON path → line and column. Filled while parsing, for fault
 * messages. */
struct ab_places;
struct ab_places *ab_places_create(void);
void ab_places_destroy(struct ab_places *places); /* NULL is allowed */
/* Notes one place; a path noted twice keeps the first. */
void ab_places_add(struct ab_places *places, const char *path, size_t line, size_t column);
/* Line and column, from 1, of `path` or, if it is not in the document (a missing key), of its nearest parent
 * that is. False if not even the root is known. */
bool ab_places_find(const struct ab_places *places, const char *path, size_t *line, size_t *column);
/* "review.yaml:12:5: $.agents[1].type", or "review.yaml: $.x" without a place (places may be NULL).
 * malloc'ed. */
char *ab_places_describe(const struct ab_places *places, const char *file, const char *path);

/* Each returns 0 with *out set, or AB_EINVALID / AB_ETOOLARGE with *out NULL, err->path "line L column C" and a
 * text that says what to write instead. `places` may be NULL. A scalar at the top is allowed. */
int ab_json_parse(struct ab_view text, json_t **out, struct ab_error *err);
int ab_yaml_parse(struct ab_view text, json_t **out, struct ab_places *places, struct ab_error *err);
/* JSON or YAML: by the file name's extension (.json, .yaml, .yml), else JSON if the first character is `{` or
 * `[`. `file` may be NULL. For JSON `places` is filled as far as the text is YAML too, which it nearly always
 * is. */
int ab_tree_parse(struct ab_view text, const char *file, json_t **out, struct ab_places *places,
                  struct ab_error *err);

/* Appends compact JSON with sorted keys: the canonical text, equal for equal trees. Content hashes are made of
 * it. Reals have 17 significant digits: reading them back gives the same value. */
void ab_json_text(const json_t *tree, struct ab_buf *out);
/* The same, but AB_ETOOLARGE (and *out as before) if it is longer than `bytes_max`: a tree may hold one value
 * many times, so that its text is far longer than its memory. */
int ab_json_text_max(const json_t *tree, struct ab_buf *out, size_t bytes_max);

/* Borrowed value of a member; NULL (or the default) if obj is no object, the key is absent or of another
 * type. */
const char *ab_tree_str(const json_t *obj, const char *key);
struct ab_view ab_tree_view(const json_t *obj, const char *key); /* {NULL,0} if absent; knows its length */
int64_t ab_tree_int(const json_t *obj, const char *key, int64_t otherwise);
double ab_tree_number(const json_t *obj, const char *key, double otherwise); /* integer or real */
bool ab_tree_bool(const json_t *obj, const char *key, bool otherwise);

/* JSON paths: appends ".key", or ["odd key"] where the key is no plain word; appends "[i]". Start with "$". */
void ab_path_key(struct ab_buf *path, const char *key);
void ab_path_index(struct ab_buf *path, size_t index);

/* Whatever the names are: the candidate nearest to `word` (edit distance, ignoring case) if it is near enough
 * to be a typing error, else NULL. */
const char *ab_nearest(const char *word, const char *const *names, size_t n);

#endif
