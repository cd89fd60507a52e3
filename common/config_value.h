/* One configuration value: from text or tree, checked against its row, and back to text. Private to config*.c. */
#ifndef AB_COMMON_CONFIG_VALUE_H
#define AB_COMMON_CONFIG_VALUE_H

#include "common/bytes.h"
#include "common/config.h"
#include "common/tree.h"

enum config_type {
    CONFIG_BOOL,
    CONFIG_INT,
    CONFIG_DURATION,
    CONFIG_BYTES,
    CONFIG_ENUM,
    CONFIG_STRING,
    CONFIG_PATH,
    CONFIG_ENDPOINT,
    CONFIG_LIST,
    CONFIG_TREE
};

struct config_row {
    enum ab_config_key id;
    const char *key;
    enum config_type type;
    const char *otherwise; /* the default, as text; "" = unset */
    int64_t least, greatest;
    const char *choices; /* "a|b|c" of an ENUM */
    unsigned programs;   /* enum ab_program, the command line client included */
    const char *help;
};

enum { CONFIG_NAME_MAX = 64 };
const struct config_row *config_row_of(enum ab_config_key key);
bool config_row_for(const struct config_row *row, enum ab_program program);
/* "--lease-ms" and "AUTOBOTS_LEASE_MS" */
void config_flag_name(const struct config_row *row, char name[CONFIG_NAME_MAX]);
void config_variable_name(const struct config_row *row, char name[CONFIG_NAME_MAX]);

struct config_value {
    int64_t number; /* BOOL, INT, DURATION, BYTES; ENUM: position in choices */
    char *text;     /* STRING, PATH, ENDPOINT, ENUM; NULL = unset */
    json_t *tree;   /* LIST, TREE; NULL = unset */
    char *source;   /* where it came from */
};
void config_value_finish(struct config_value *value);
const struct config_value *config_value_of(const struct ab_config *config, enum ab_config_key key);
enum ab_program config_program_of(const struct ab_config *config);

/* Where a value stands, for faults and relative paths. */
struct config_origin {
    const char *name;               /* "--slots", "AUTOBOTS_SLOTS" or the file's name */
    const struct ab_places *places; /* of a file, else NULL */
    const char *folder;             /* relative paths start here */
};
/* err->path = "NAME", or "NAME:LINE" of json_path in a file; err->text. Returns AB_EUSAGE. */
int config_fail(const struct config_origin *origin, const char *json_path, struct ab_error *err,
                const char *format, ...) __attribute__((format(printf, 4, 5)));
/* "FILE:LINE", malloc'ed */
char *config_place(const struct config_origin *origin, const char *json_path);

/* Set value (all but its source) or fail, with value unchanged. Neither takes the default's special words. */
int config_value_from_text(const struct config_row *row, const char *text, const struct config_origin *origin,
                           struct config_value *value, struct ab_error *err);
int config_value_from_tree(const struct config_row *row, json_t *tree, const struct config_origin *origin,
                           struct config_value *value, struct ab_error *err);
/* As JSON, new reference; null if unset. */
json_t *config_value_json(const struct config_row *row, const struct config_value *value);
/* As one would write it after `--key=`; malloc'ed. */
char *config_value_text(const struct config_row *row, const struct config_value *value);

/* config_tree.c: the inside of models and limits. */
int config_check_tree(const struct config_row *row, json_t *tree, const struct config_origin *origin,
                      const char *json_path, struct ab_error *err);

#endif
