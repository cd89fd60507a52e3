/* The configuration of a process: rows from the table, values from flags, environment, file and defaults, in that
 * precedence. Owns the values; argv stays the caller's.
 */
#include "common/config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/un.h>

#include "common/config_value.h"
#include "common/version.h"

enum { FILE_BYTES_MAX = 1 << 20 };

struct ab_config {
    enum ab_program program;
    struct config_value values[AB_CONF_N];
    const char *flags[AB_CONF_N]; /* text given on the command line, in argv; NULL = none */
    char **rest;                  /* NULL-terminated; its texts are argv's */
    int rest_n;
};

/* ---- the table ------------------------------------------------------------------------------------------- */

enum {
    BROKER = AB_PROGRAM_BROKER,
    STORAGE = AB_PROGRAM_STORAGE,
    WORKER = AB_PROGRAM_WORKER,
    CLI = AB_PROGRAM_CLI,
    GATEWAY = AB_PROGRAM_GATEWAY,
    ALL = AB_PROGRAM_ALL
};

static const struct config_row rows[AB_CONF_N] = {
#define X(KEY, key, type, otherwise, least, greatest, choices, programs, help)                                 \
    [AB_CONF_##KEY] = {AB_CONF_##KEY, #key,    CONFIG_##type,    otherwise, least,                             \
                       greatest,      choices, (programs) | CLI, help},
    AB_CONFIG_KEYS(X)
#undef X
};

const struct config_row *config_row_of(enum ab_config_key key)
{
    assert(key >= 0 && key < AB_CONF_N);
    return &rows[key];
}

bool config_row_for(const struct config_row *row, enum ab_program program)
{
    return row->programs & program;
}

static void spell(char name[CONFIG_NAME_MAX], const char *prefix, const char *key, int (*letter)(int),
                  char separator)
{
    int n = snprintf(name, CONFIG_NAME_MAX, "%s%s", prefix, key);
    assert(n < CONFIG_NAME_MAX);
    for (char *p = name + strlen(prefix); *p; p++)
        *p = *p == '_' ? separator : (char)letter((unsigned char)*p);
}

void config_flag_name(const struct config_row *row, char name[CONFIG_NAME_MAX])
{
    spell(name, "--", row->key, tolower, '-');
}

void config_variable_name(const struct config_row *row, char name[CONFIG_NAME_MAX])
{
    spell(name, "AUTOBOTS_", row->key, toupper, '_');
}

const struct config_value *config_value_of(const struct ab_config *config, enum ab_config_key key)
{
    return &config->values[config_row_of(key)->id];
}

enum ab_program config_program_of(const struct ab_config *config)
{
    return config->program;
}

static const char *nearest_key(const char *word)
{
    const char *keys[AB_CONF_N];
    for (int i = 0; i < AB_CONF_N; i++)
        keys[i] = rows[i].key;
    return ab_nearest(word, keys, AB_CONF_N);
}

/* ---- the command line ------------------------------------------------------------------------------------ */

/* The row of "--key" or "--key=value"; NULL if none of the program's. Underscores are as good as dashes. */
static const struct config_row *row_of_flag(enum ab_program program, const char *argument)
{
    if (strncmp(argument, "--", 2))
        return NULL;
    size_t n = strcspn(argument + 2, "=");
    for (int i = 0; i < AB_CONF_N; i++) {
        if (strlen(rows[i].key) != n || !config_row_for(&rows[i], program))
            continue;
        size_t same = 0;
        while (same < n && (argument[2 + same] == '-' ? '_' : argument[2 + same]) == rows[i].key[same])
            same++;
        if (same == n)
            return &rows[i];
    }
    return NULL;
}

char *ab_config_nearest_flag(enum ab_program program, const char *flag)
{
    char names[AB_CONF_N][CONFIG_NAME_MAX];
    const char *candidates[AB_CONF_N];
    size_t n = 0;
    for (int i = 0; i < AB_CONF_N; i++)
        if (config_row_for(&rows[i], program)) {
            config_flag_name(&rows[i], names[n]);
            candidates[n] = names[n];
            n++;
        }
    char *word = ab_strndup(flag, strcspn(flag, "="));
    const char *near = ab_nearest(word, candidates, n);
    free(word);
    return near ? ab_strdup(near) : NULL;
}

static int refuse_argument(enum ab_program program, const char *argument, struct ab_error *err)
{
    char *near = *argument == '-' ? ab_config_nearest_flag(program, argument) : NULL;
    if (near)
        ab_fail_at(err, AB_EUSAGE, argument, "there is no such flag; did you mean %s?", near);
    else
        ab_fail_at(err, AB_EUSAGE, argument, "%s; --help lists the flags",
                   *argument == '-' ? "this program has no such flag" : "unexpected argument");
    free(near);
    return AB_EUSAGE;
}

static int read_arguments(struct ab_config *config, int argc, char **argv, struct ab_error *err)
{
    bool verbs = config->program == AB_PROGRAM_CLI, ended = false;
    for (int i = 1; i < argc; i++) {
        const struct config_row *row = ended ? NULL : row_of_flag(config->program, argv[i]);
        ended = ended || !strcmp(argv[i], "--");
        if (!row && !verbs)
            return refuse_argument(config->program, argv[i], err);
        if (!row) {
            config->rest[config->rest_n++] = argv[i];
            continue;
        }
        const char *value = strchr(argv[i], '=');
        if (value)
            value++;
        else if (row->type == CONFIG_BOOL)
            value = "true";
        else if (++i < argc)
            value = argv[i];
        else
            return ab_fail_at(err, AB_EUSAGE, argv[i - 1], "needs a value: %s", row->help);
        config->flags[row->id] = value;
    }
    return 0;
}

/* ---- sources, weakest first ------------------------------------------------------------------------------ */

static void set_source(struct config_value *value, char *source)
{
    free(value->source);
    value->source = source;
}

static int apply_defaults(struct ab_config *config, struct ab_error *err)
{
    for (int i = 0; i < AB_CONF_N; i++) {
        struct config_value *value = &config->values[i];
        set_source(value, ab_strdup("default"));
        /* Endpoints are found in the end, when the folder is known; the folder itself may need no home if it is given. */
        if (rows[i].type == CONFIG_ENDPOINT || i == AB_CONF_DIR)
            continue;
        int code = config_value_from_text(&rows[i], rows[i].otherwise,
                                          &(struct config_origin){.name = rows[i].key}, value, err);
        if (code)
            return code;
    }
    return 0;
}

static int apply_text(struct ab_config *config, const struct config_row *row, const char *kind,
                      const char *name, const char *text, struct ab_error *err)
{
    struct config_value *value = &config->values[row->id];
    int code = config_value_from_text(row, text, &(struct config_origin){.name = name}, value, err);
    if (!code)
        set_source(value, ab_format("%s %s", kind, name));
    return code;
}

static int apply_variable(struct ab_config *config, const struct config_row *row, struct ab_error *err)
{
    char name[CONFIG_NAME_MAX];
    config_variable_name(row, name);
    const char *text = getenv(name);
    if (!text || !*text || !config_row_for(row, config->program))
        return 0;
    return apply_text(config, row, "env", name, text, err);
}

static int apply_flag(struct ab_config *config, const struct config_row *row, struct ab_error *err)
{
    if (!config->flags[row->id])
        return 0;
    char name[CONFIG_NAME_MAX];
    config_flag_name(row, name);
    return apply_text(config, row, "flag", name, config->flags[row->id], err);
}

static int apply_environment_and_flags(struct ab_config *config, struct ab_error *err)
{
    int code = 0;
    for (int i = 0; i < AB_CONF_N && !code; i++) {
        code = apply_variable(config, &rows[i], err);
        if (!code)
            code = apply_flag(config, &rows[i], err);
    }
    return code;
}

/* ---- the file -------------------------------------------------------------------------------------------- */

static int read_file(const char *path, struct ab_buf *text, struct ab_error *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return ab_fail_at(err, AB_EUSAGE, path, "cannot read the configuration: %s", strerror(errno));
    ab_buf_reserve(text, FILE_BYTES_MAX + 1);
    text->n = fread(text->p, 1, FILE_BYTES_MAX + 1, file);
    int code = 0;
    if (ferror(file))
        code = ab_fail_at(err, AB_EUSAGE, path, "cannot read the configuration: %s", strerror(errno));
    else if (text->n > FILE_BYTES_MAX)
        code = ab_fail_at(err, AB_EUSAGE, path, "a configuration of more than 1 MiB");
    fclose(file);
    return code;
}

static int apply_member(struct ab_config *config, const char *key, json_t *tree,
                        const struct config_origin *origin, struct ab_error *err)
{
    struct ab_buf path = {0};
    ab_buf_char(&path, '$');
    ab_path_key(&path, key);
    const struct config_row *row = NULL;
    for (int i = 0; i < AB_CONF_N && !row; i++)
        if (!strcmp(rows[i].key, key) && i != AB_CONF_CONFIG)
            row = &rows[i];
    int code = 0;
    const char *near = row ? NULL : nearest_key(key);
    if (!row && near && strcmp(near, "config"))
        code = config_fail(origin, ab_buf_cstr(&path), err, "there is no key \"%.60s\"; did you mean \"%s\"?",
                           key, near);
    else if (!row)
        code = config_fail(origin, ab_buf_cstr(&path), err,
                           "there is no key \"%.60s\"; `autobots config` lists the keys", key);
    else if (!json_is_null(tree))
        code = config_value_from_tree(row, tree, origin, &config->values[row->id], err);
    if (!code && !json_is_null(tree)) {
        char *place = config_place(origin, ab_buf_cstr(&path));
        set_source(&config->values[row->id], ab_format("file %s", place));
        free(place);
    }
    ab_buf_finish(&path);
    return code;
}

static int apply_tree(struct ab_config *config, json_t *tree, const struct config_origin *origin,
                      struct ab_error *err)
{
    if (json_is_null(tree)) /* nothing but comments */
        return 0;
    if (!json_is_object(tree))
        return config_fail(origin, "$", err, "the configuration must be a mapping of keys to values");
    const char *key;
    json_t *value;
    json_object_foreach (tree, key, value) {
        int code = apply_member(config, key, value, origin, err);
        if (code)
            return code;
    }
    return 0;
}

/* "line 3 column 5" of a syntax error becomes FILE:3. */
static int syntax_error(const char *file, const struct ab_error *fault, struct ab_error *err)
{
    char place[AB_ERROR_PATH_MAX];
    unsigned line;
    if (sscanf(fault->path, "line %u", &line) == 1)
        snprintf(place, sizeof place, "%s:%u", file, line);
    else
        snprintf(place, sizeof place, "%s", file);
    return ab_fail_at(err, AB_EUSAGE, place, "%s", fault->text);
}

static int apply_file(struct ab_config *config, const char *path, struct ab_error *err)
{
    struct ab_buf text = {0};
    struct ab_places *places = ab_places_create();
    struct ab_error fault;
    json_t *tree = NULL;
    char *folder = ab_strndup(path, (size_t)(strrchr(path, '/') - path));
    int code = read_file(path, &text, err);
    if (!code && strspn(ab_buf_cstr(&text), " \t\r\n") < text.n) {
        if (ab_tree_parse(ab_buf_view(&text), path, &tree, places, &fault))
            code = syntax_error(path, &fault, err);
        else
            code = apply_tree(config, tree, &(struct config_origin){path, places, folder}, err);
    }
    json_decref(tree);
    free(folder);
    ab_places_destroy(places);
    ab_buf_finish(&text);
    return code;
}

/* The file is named by flag or variable, so it is looked for before the others are applied. */
static int apply_named_file(struct ab_config *config, struct ab_error *err)
{
    const struct config_row *row = &rows[AB_CONF_CONFIG];
    int code = apply_variable(config, row, err);
    if (!code)
        code = apply_flag(config, row, err);
    const char *path = config->values[AB_CONF_CONFIG].text;
    return code || !path ? code : apply_file(config, path, err);
}

/* ---- what depends on other values ------------------------------------------------------------------------ */

static int find_folder(struct ab_config *config, struct ab_error *err)
{
    struct config_value *value = &config->values[AB_CONF_DIR];
    if (value->text)
        return 0;
    return config_value_from_text(&rows[AB_CONF_DIR], rows[AB_CONF_DIR].otherwise,
                                  &(struct config_origin){.name = "--dir"}, value, err);
}

/* "ipc://DIR/…" of the default, and the kernel's limit on the name of a socket. */
static int find_endpoint(struct ab_config *config, enum ab_config_key key, struct ab_error *err)
{
    static const char in_folder[] = "ipc://DIR", ipc[] = "ipc://";
    const size_t socket_name_max = sizeof((struct sockaddr_un *)0)->sun_path - 1;
    struct config_value *value = &config->values[key];
    if (!value->text)
        value->text = ab_format("ipc://%s%s", config->values[AB_CONF_DIR].text,
                                rows[key].otherwise + sizeof in_folder - 1);
    if (!strncmp(value->text, ipc, sizeof ipc - 1) && strlen(value->text + sizeof ipc - 1) > socket_name_max)
        return ab_fail_at(
            err, AB_EUSAGE, rows[key].key,
            "%.300s is longer than the %zu bytes a socket's name may have: choose a shorter --dir", value->text,
            socket_name_max);
    return 0;
}

static int check_lease(const struct ab_config *config, struct ab_error *err)
{
    int64_t heartbeat_ms = ab_config_int(config, AB_CONF_HEARTBEAT_MS),
            lease_ms = ab_config_int(config, AB_CONF_LEASE_MS);
    if (lease_ms >= 2 * heartbeat_ms)
        return 0;
    return ab_fail_at(
        err, AB_EUSAGE, "lease_ms",
        "a lease of %lld ms (%s) is less than two heartbeats of %lld ms (%s): one lost message would end "
        "every job's lease",
        (long long)lease_ms, ab_config_source(config, AB_CONF_LEASE_MS), (long long)heartbeat_ms,
        ab_config_source(config, AB_CONF_HEARTBEAT_MS));
}

/* ---- the whole ------------------------------------------------------------------------------------------- */

static const struct {
    enum ab_program program;
    const char *name, *purpose;
} programs[] = {
    {AB_PROGRAM_BROKER, "autobots-broker", "takes jobs, orders them and hands them to workers"},
    {AB_PROGRAM_STORAGE, "autobots-storage", "owns the database; commits for the broker and answers queries"},
    {AB_PROGRAM_WORKER, "autobots-worker", "runs jobs"},
    {AB_PROGRAM_GATEWAY, "autobots-gateway", "serves HTTP"},
};

/* True if --help or --version was there and answered. */
static bool answer_question(enum ab_program program, int argc, char **argv)
{
    size_t p = 0;
    while (p < sizeof programs / sizeof *programs && programs[p].program != program)
        p++;
    if (p == sizeof programs / sizeof *programs) /* the command line client answers for itself */
        return false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--version")) {
            printf("%s %s\n", programs[p].name, ab_build());
            return true;
        }
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            printf("%s: %s\n\nusage: %s [flag]…\n\n", programs[p].name, programs[p].purpose, programs[p].name);
            ab_config_help(program, stdout);
            return true;
        }
    }
    return false;
}

static int fill(struct ab_config *config, int argc, char **argv, struct ab_error *err)
{
    int code = read_arguments(config, argc, argv, err);
    if (!code)
        code = apply_defaults(config, err);
    if (!code)
        code = apply_named_file(config, err);
    if (!code)
        code = apply_environment_and_flags(config, err);
    if (!code)
        code = find_folder(config, err);
    for (int i = 0; i < AB_CONF_N && !code; i++)
        if (rows[i].type == CONFIG_ENDPOINT)
            code = find_endpoint(config, i, err);
    return code ? code : check_lease(config, err);
}

int ab_config_create(struct ab_config **out, enum ab_program program, int argc, char **argv,
                     struct ab_error *err)
{
    *out = NULL;
    if (answer_question(program, argc, argv))
        return 1;
    struct ab_config *config = ab_calloc(1, sizeof *config);
    config->program = program;
    config->rest = ab_calloc((size_t)argc + 1, sizeof *config->rest);
    int code = fill(config, argc, argv, err);
    if (code)
        ab_config_destroy(config);
    else
        *out = config;
    return code;
}

void ab_config_destroy(struct ab_config *config)
{
    if (!config)
        return;
    for (int i = 0; i < AB_CONF_N; i++)
        config_value_finish(&config->values[i]);
    free(config->rest);
    free(config);
}

char **ab_config_rest(const struct ab_config *config, int *n)
{
    if (n)
        *n = config->rest_n;
    return config->rest;
}

/* ---- reading --------------------------------------------------------------------------------------------- */

#define BIT(type) (1u << CONFIG_##type)
static const struct config_value *value_of(const struct ab_config *config, enum ab_config_key key,
                                           unsigned types)
{
    assert(types & (1u << config_row_of(key)->type));
    (void)types;
    return &config->values[key];
}

bool ab_config_bool(const struct ab_config *config, enum ab_config_key key)
{
    return value_of(config, key, BIT(BOOL))->number;
}

int64_t ab_config_int(const struct ab_config *config, enum ab_config_key key)
{
    return value_of(config, key, BIT(INT) | BIT(DURATION) | BIT(BYTES))->number;
}

int ab_config_enum(const struct ab_config *config, enum ab_config_key key)
{
    return (int)value_of(config, key, BIT(ENUM))->number;
}

const char *ab_config_text(const struct ab_config *config, enum ab_config_key key)
{
    const char *text = value_of(config, key, BIT(STRING) | BIT(PATH) | BIT(ENDPOINT) | BIT(ENUM))->text;
    return text ? text : "";
}

const json_t *ab_config_tree(const struct ab_config *config, enum ab_config_key key)
{
    return value_of(config, key, BIT(LIST) | BIT(TREE))->tree;
}

const char *ab_config_source(const struct ab_config *config, enum ab_config_key key)
{
    return config->values[config_row_of(key)->id].source;
}
