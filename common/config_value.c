/* Configuration values: text and trees in, checked against the row, text and JSON out. Knows nothing of where keys
 * are looked for; names every fault with the place it was given.
 */
#include "common/config_value.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 4096 };

/* ---- faults ---------------------------------------------------------------------------------------------- */

char *config_place(const struct config_origin *origin, const char *json_path)
{
    size_t line, column;
    if (origin->places && ab_places_find(origin->places, json_path, &line, &column))
        return ab_format("%s:%zu", origin->name, line);
    return ab_strdup(origin->name);
}

int config_fail(const struct config_origin *origin, const char *json_path, struct ab_error *err,
                const char *format, ...)
{
    char text[AB_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *place = config_place(origin, json_path);
    int code = ab_fail_at(err, AB_EUSAGE, place, "%s", text);
    free(place);
    return code;
}

/* What is read at the moment: a row's value at a place. */
struct reading {
    const struct config_row *row;
    const struct config_origin *origin;
    struct ab_error *err;
};

static int wrong(const struct reading *reading, const char *given, const char *expected)
{
    char path[CONFIG_NAME_MAX + 4];
    snprintf(path, sizeof path, "$.%s", reading->row->key);
    return config_fail(reading->origin, path, reading->err, "%s: \"%.100s\" is not %s", reading->row->key,
                       given, expected);
}

void config_value_finish(struct config_value *value)
{
    free(value->text);
    free(value->source);
    json_decref(value->tree);
    *value = (struct config_value){0};
}

/* ---- numbers --------------------------------------------------------------------------------------------- */

struct unit {
    const char *name;
    int64_t factor;
};
static const struct unit durations[] = {{"", 1},          {"ms", 1},          {"s", 1000},
                                        {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000}};
static const struct unit sizes[] = {
    {"", 1}, {"B", 1}, {"KiB", 1ll << 10}, {"MiB", 1ll << 20}, {"GiB", 1ll << 30}, {"TiB", 1ll << 40}};
static const struct unit plain[] = {{"", 1}};

static const struct {
    const struct unit *units;
    size_t n;
    const char *expected;
} number_types[] = {
    [CONFIG_INT] = {plain, 1, "a whole number"},
    [CONFIG_DURATION] = {durations, sizeof durations / sizeof *durations,
                         "a duration: milliseconds, or with a unit as in 250ms, 10s, 5m, 1h, 1d"},
    [CONFIG_BYTES] = {sizes, sizeof sizes / sizeof *sizes,
                      "a size: bytes, or with a unit as in 64KiB, 8MiB, 1GiB, 1TiB"},
};

/* Digits and a unit; false if it is something else. Overflow gives INT64_MAX, which no range includes. */
static bool scan_number(const char *text, const struct unit *units, size_t n, int64_t *number)
{
    const char *digits = *text == '-' ? text + 1 : text;
    size_t count = strspn(digits, "0123456789");
    if (!count)
        return false;
    char *unit;
    errno = 0;
    long long value = strtoll(text, &unit, 10);
    if (errno == ERANGE)
        value = *text == '-' ? INT64_MIN : INT64_MAX;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(unit, units[i].name)) {
            if (__builtin_mul_overflow(value, units[i].factor, number))
                *number = value < 0 ? INT64_MIN : INT64_MAX;
            return true;
        }
    return false;
}

static int read_number(const struct reading *reading, const char *text, struct config_value *value)
{
    const struct config_row *row = reading->row;
    int64_t number;
    if (!scan_number(text, number_types[row->type].units, number_types[row->type].n, &number))
        return wrong(reading, text, number_types[row->type].expected);
    if (number < row->least || number > row->greatest) {
        char expected[96];
        snprintf(expected, sizeof expected, "between %lld and %lld", (long long)row->least,
                 (long long)row->greatest);
        return wrong(reading, text, expected);
    }
    value->number = number;
    return 0;
}

/* ---- words ----------------------------------------------------------------------------------------------- */

static int read_bool(const struct reading *reading, const char *text, struct config_value *value)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(text, words[i])) {
            value->number = i % 2;
            return 0;
        }
    return wrong(reading, text, "true or false");
}

static int read_enum(const struct reading *reading, const char *text, struct config_value *value)
{
    const char *choice = reading->row->choices;
    size_t bytes = strlen(text);
    for (int64_t i = 0; choice; i++) {
        size_t n = strcspn(choice, "|");
        if (n == bytes && !memcmp(choice, text, n)) {
            value->number = i;
            value->text = ab_strdup(text);
            return 0;
        }
        choice = choice[n] ? choice + n + 1 : NULL;
    }
    char expected[128];
    snprintf(expected, sizeof expected, "one of %s", reading->row->choices);
    return wrong(reading, text, expected);
}

static int read_string(const struct reading *reading, const char *text, struct config_value *value)
{
    if (strlen(text) > TEXT_BYTES_MAX)
        return wrong(reading, text, "shorter than 4 KiB");
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return wrong(reading, text, "text without control characters");
    value->text = *text ? ab_strdup(text) : NULL;
    return 0;
}

static int read_endpoint(const struct reading *reading, const char *text, struct config_value *value)
{
    static const char *const transports[] = {"ipc://", "tcp://"};
    for (size_t i = 0; i < sizeof transports / sizeof *transports; i++)
        if (!strncmp(text, transports[i], strlen(transports[i])) && text[strlen(transports[i])])
            return read_string(reading, text, value);
    return wrong(reading, text, "an endpoint: ipc://PATH or tcp://HOST:PORT");
}

/* ---- paths ----------------------------------------------------------------------------------------------- */

static const char *home_folder(void)
{
    const char *home = getenv("HOME");
    if (home && *home == '/')
        return home;
    const struct passwd *user = getpwuid(getuid());
    return user && user->pw_dir && *user->pw_dir == '/' ? user->pw_dir : NULL;
}

/* The default's word for where programs keep what must outlive them (XDG Base Directory Specification). */
static const char state_folder_word[] = "${XDG_STATE_HOME:-~/.local/state}";

/* Absolute, malloc'ed; NULL if a home folder is needed and there is none. */
static char *expand_path(const char *text, const char *folder)
{
    if (*text == '/')
        return ab_strdup(text);
    const char *home = home_folder(), *state = getenv("XDG_STATE_HOME");
    if (!strncmp(text, state_folder_word, sizeof state_folder_word - 1)) {
        text += sizeof state_folder_word - 1;
        if (state && *state == '/')
            return ab_format("%s%s", state, text);
        return home ? ab_format("%s/.local/state%s", home, text) : NULL;
    }
    if (text[0] == '~' && (text[1] == '/' || !text[1]))
        return home ? ab_format("%s%s", home, text + 1) : NULL;
    if (folder)
        return ab_format("%s/%s", folder, text);
    char *current = getcwd(NULL, 0);
    if (!current)
        return NULL;
    char *path = ab_format("%s/%s", current, text);
    free(current);
    return path;
}

static int read_path(const struct reading *reading, const char *text, struct config_value *value)
{
    int code = read_string(reading, text, value);
    if (code || !value->text)
        return code;
    free(value->text);
    value->text = expand_path(text, reading->origin->folder);
    return value->text
               ? 0
               : wrong(reading, text, "usable without a home or current folder; write an absolute path");
}

/* ---- lists and trees ------------------------------------------------------------------------------------- */

static int read_list(const struct reading *reading, const char *text, struct config_value *value)
{
    json_t *list = json_array();
    if (!list)
        ab_out_of_memory();
    while (*text) {
        text += strspn(text, " ,");
        size_t n = strcspn(text, ",");
        while (n && text[n - 1] == ' ')
            n--;
        if (n && json_array_append_new(list, json_stringn(text, n))) {
            json_decref(list);
            return wrong(reading, text, "a comma-separated list in UTF-8");
        }
        text += strcspn(text, ",");
    }
    value->tree = list;
    return 0;
}

static int read_tree(const struct reading *reading, const char *text, struct config_value *value)
{
    if (!*text)
        return 0;
    json_t *tree;
    struct ab_error fault;
    if (ab_json_parse(ab_view_of(text), &tree, &fault))
        return config_fail(reading->origin, "$", reading->err, "%s: %s", reading->row->key, fault.text);
    int code = config_check_tree(reading->row, tree, reading->origin, "$", reading->err);
    if (code)
        json_decref(tree);
    else
        value->tree = tree;
    return code;
}

/* ---- in -------------------------------------------------------------------------------------------------- */

typedef int read_text(const struct reading *reading, const char *text, struct config_value *value);
static read_text *const text_readers[] = {
    [CONFIG_BOOL] = read_bool,    [CONFIG_INT] = read_number,        [CONFIG_DURATION] = read_number,
    [CONFIG_BYTES] = read_number, [CONFIG_ENUM] = read_enum,         [CONFIG_STRING] = read_string,
    [CONFIG_PATH] = read_path,    [CONFIG_ENDPOINT] = read_endpoint, [CONFIG_LIST] = read_list,
    [CONFIG_TREE] = read_tree,
};

/* Moves what was read into *value, which keeps nothing of its old content but its source. */
static void take(struct config_value *value, struct config_value *fresh)
{
    fresh->source = value->source;
    value->source = NULL;
    config_value_finish(value);
    *value = *fresh;
}

int config_value_from_text(const struct config_row *row, const char *text, const struct config_origin *origin,
                           struct config_value *value, struct ab_error *err)
{
    struct config_value fresh = {0};
    int code = text_readers[row->type](&(struct reading){row, origin, err}, text, &fresh);
    if (code)
        config_value_finish(&fresh);
    else
        take(value, &fresh);
    return code;
}

/* The scalar as one would write it on a command line; NULL if it is none. malloc'ed. */
static char *scalar_text(const json_t *tree)
{
    switch (json_typeof(tree)) {
    case JSON_STRING:
        return ab_strdup(json_string_value(tree));
    case JSON_INTEGER:
        return ab_format("%lld", (long long)json_integer_value(tree));
    case JSON_REAL:
        return ab_format("%.17g", json_real_value(tree));
    case JSON_TRUE:
        return ab_strdup("true");
    case JSON_FALSE:
        return ab_strdup("false");
    default:
        return NULL;
    }
}

static int take_list(const struct reading *reading, json_t *tree, struct config_value *value)
{
    size_t i;
    json_t *item;
    json_array_foreach (tree, i, item)
        if (!json_is_string(item))
            return wrong(reading, "[…]", "a list of texts only");
    struct config_value fresh = {.tree = json_incref(tree)};
    take(value, &fresh);
    return 0;
}

int config_value_from_tree(const struct config_row *row, json_t *tree, const struct config_origin *origin,
                           struct config_value *value, struct ab_error *err)
{
    const struct reading reading = {row, origin, err};
    char path[CONFIG_NAME_MAX + 4];
    snprintf(path, sizeof path, "$.%s", row->key);
    if (row->type == CONFIG_TREE) {
        int code = config_check_tree(row, tree, origin, path, err);
        struct config_value fresh = {.tree = code ? NULL : json_incref(tree)};
        if (!code)
            take(value, &fresh);
        return code;
    }
    if (row->type == CONFIG_LIST && json_is_array(tree))
        return take_list(&reading, tree, value);
    char *text = scalar_text(tree);
    if (!text)
        return wrong(&reading, json_is_array(tree) ? "[…]" : "{…}", "a single value");
    int code = config_value_from_text(row, text, origin, value, err);
    free(text);
    return code;
}

/* ---- out ------------------------------------------------------------------------------------------------- */

json_t *config_value_json(const struct config_row *row, const struct config_value *value)
{
    switch (row->type) {
    case CONFIG_BOOL:
        return json_boolean(value->number);
    case CONFIG_INT:
    case CONFIG_DURATION:
    case CONFIG_BYTES:
        return json_integer(value->number);
    case CONFIG_LIST:
    case CONFIG_TREE:
        return value->tree ? json_incref(value->tree) : json_null();
    default:
        return value->text ? json_string(value->text) : json_null();
    }
}

static char *list_text(const json_t *list)
{
    struct ab_buf text = {0};
    size_t i;
    const json_t *item;
    json_array_foreach (list, i, item)
        ab_buf_format(&text, "%s%s", i ? "," : "", json_string_value(item));
    return ab_buf_detach(&text);
}

char *config_value_text(const struct config_row *row, const struct config_value *value)
{
    struct ab_buf text = {0};
    switch (row->type) {
    case CONFIG_BOOL:
        return ab_strdup(value->number ? "true" : "false");
    case CONFIG_INT:
    case CONFIG_DURATION:
    case CONFIG_BYTES:
        return ab_format("%lld", (long long)value->number);
    case CONFIG_LIST:
        return list_text(value->tree);
    case CONFIG_TREE:
        if (value->tree)
            ab_json_text(value->tree, &text);
        return ab_buf_detach(&text);
    default:
        return ab_strdup(value->text ? value->text : "");
    }
}
