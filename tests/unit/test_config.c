/* The configuration: precedence, types and ranges, faults with their place, and that everything derives from the
 * table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/config.h"
#include "common/log.h"

enum { ARGUMENTS_MAX = 16 };

struct fixture {
    char folder[64];
    char *file; /* folder/autobots.yaml */
    struct ab_config *config;
    struct ab_error err;
};

static int setup(void **state)
{
    struct fixture *f = ab_calloc(1, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "/tmp/autobots-config-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->file = ab_format("%s/autobots.yaml", f->folder);
    static const char *const variables[] = {"AUTOBOTS_SLOTS",         "AUTOBOTS_CONFIG",   "AUTOBOTS_DIR",
                                            "AUTOBOTS_ENDPOINT",      "AUTOBOTS_LEASE_MS", "AUTOBOTS_LIMITS",
                                            "AUTOBOTS_ALLOW_ORIGINS", "XDG_STATE_HOME"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ab_config_destroy(f->config);
    unlink(f->file);
    rmdir(f->folder);
    free(f->file);
    free(f);
    return 0;
}

static void write_file(const struct fixture *f, const char *text)
{
    FILE *file = fopen(f->file, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Creates with these arguments (NULL ends), replacing the former configuration. */
static int create(struct fixture *f, enum ab_program program, ...)
{
    static char name[] = "program", *argv[ARGUMENTS_MAX];
    int argc = 0;
    va_list args;
    va_start(args, program);
    argv[argc++] = name;
    for (char *argument; (argument = va_arg(args, char *));) {
        assert_true(argc < ARGUMENTS_MAX - 1);
        argv[argc++] = argument;
    }
    argv[argc] = NULL;
    va_end(args);
    ab_config_destroy(f->config);
    f->err = (struct ab_error){0};
    return ab_config_create(&f->config, program, argc, argv, &f->err);
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in \"%s\"", part, text);
}

/* The creation failed as usage, at that place, with that in its text. */
static void assert_refused(const struct fixture *f, int code, const char *place, const char *text)
{
    assert_int_equal(code, AB_EUSAGE);
    assert_null(f->config);
    assert_int_equal(f->err.code, AB_EUSAGE);
    assert_string_equal(f->err.path, place);
    assert_contains(f->err.text, text);
}

static char *with_folder(const struct fixture *f, const char *rest)
{
    static char text[4][160];
    static unsigned turn;
    char *out = text[turn++ % 4];
    snprintf(out, sizeof text[0], "%s%s", f->folder, rest);
    return out;
}

/* A file of this text is refused, at its line, with this in the message. */
static void assert_file_refused(struct fixture *f, const char *text, const char *line, const char *message)
{
    write_file(f, text);
    int code = create(f, AB_PROGRAM_BROKER, "--config", f->file, NULL);
    assert_refused(f, code, with_folder(f, line), message);
}

/* ---- precedence ---------------------------------------------------------------------------------------- */

static void flag_beats_environment_beats_file_beats_default(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(create(f, AB_PROGRAM_WORKER, NULL), 0);
    assert_int_equal(ab_config_int(f->config, AB_CONF_SLOTS), 64);
    assert_string_equal(ab_config_source(f->config, AB_CONF_SLOTS), "default");

    write_file(f, "# comment\n\nslots: 7\n");
    assert_int_equal(create(f, AB_PROGRAM_WORKER, "--config", f->file, NULL), 0);
    assert_int_equal(ab_config_int(f->config, AB_CONF_SLOTS), 7);
    char *source = ab_format("file %s:3", f->file);
    assert_string_equal(ab_config_source(f->config, AB_CONF_SLOTS), source);
    free(source);

    setenv("AUTOBOTS_SLOTS", "8", 1);
    assert_int_equal(create(f, AB_PROGRAM_WORKER, "--config", f->file, NULL), 0);
    assert_int_equal(ab_config_int(f->config, AB_CONF_SLOTS), 8);
    assert_string_equal(ab_config_source(f->config, AB_CONF_SLOTS), "env AUTOBOTS_SLOTS");

    assert_int_equal(create(f, AB_PROGRAM_WORKER, "--config", f->file, "--slots=9", NULL), 0);
    assert_int_equal(ab_config_int(f->config, AB_CONF_SLOTS), 9);
    assert_string_equal(ab_config_source(f->config, AB_CONF_SLOTS), "flag --slots");
}

static void an_empty_variable_counts_as_absent(void **state)
{
    struct fixture *f = *state;
    setenv("AUTOBOTS_SLOTS", "", 1);
    assert_int_equal(create(f, AB_PROGRAM_WORKER, NULL), 0);
    assert_string_equal(ab_config_source(f->config, AB_CONF_SLOTS), "default");
}

static void the_file_may_be_named_by_a_variable(void **state)
{
    struct fixture *f = *state;
    write_file(f, "{\"slots\": 5}\n");
    setenv("AUTOBOTS_CONFIG", f->file, 1);
    assert_int_equal(create(f, AB_PROGRAM_WORKER, NULL), 0);
    assert_int_equal(ab_config_int(f->config, AB_CONF_SLOTS), 5);
}

static void null_in_the_file_means_default(void **state)
{
    struct fixture *f = *state;
    write_file(f, "slots:\npool: ~\n");
    assert_int_equal(create(f, AB_PROGRAM_WORKER, "--config", f->file, NULL), 0);
    assert_int_equal(ab_config_int(f->config, AB_CONF_SLOTS), 64);
    assert_string_equal(ab_config_source(f->config, AB_CONF_SLOTS), "default");
}

static void an_empty_file_is_fine(void **state)
{
    struct fixture *f = *state;
    write_file(f, "");
    assert_int_equal(create(f, AB_PROGRAM_WORKER, "--config", f->file, NULL), 0);
    write_file(f, "# nothing yet\n---\n");
    assert_int_equal(create(f, AB_PROGRAM_WORKER, "--config", f->file, NULL), 0);
}

/* ---- types --------------------------------------------------------------------------------------------- */

static void durations_and_sizes_take_units(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(create(f, AB_PROGRAM_BROKER, "--lease-ms", "5m", "--heartbeat_ms", "250ms",
                            "--message-bytes-max", "64KiB", "--queue-bytes-max", "2TiB", NULL),
                     0);
    assert_int_equal(ab_config_int(f->config, AB_CONF_LEASE_MS), 300000);
    assert_int_equal(ab_config_int(f->config, AB_CONF_HEARTBEAT_MS), 250);
    assert_int_equal(ab_config_int(f->config, AB_CONF_MESSAGE_BYTES_MAX), 65536);
    assert_int_equal(ab_config_int(f->config, AB_CONF_QUEUE_BYTES_MAX), 2ll << 40);
}

static void numbers_out_of_range_or_shape_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *value, *text;
    } cases[] = {
        {"0", "between 1 and 4096"},  {"4097", "between 1 and 4096"},
        {"-1", "between 1 and 4096"}, {"99999999999999999999999", "between 1 and 4096"},
        {"", "a whole number"},       {"ten", "a whole number"},
        {"10s", "a whole number"},    {"1.5", "a whole number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int code = create(f, AB_PROGRAM_WORKER, "--slots", cases[i].value, NULL);
        assert_refused(f, code, "--slots", cases[i].text);
    }
    int code = create(f, AB_PROGRAM_BROKER, "--lease-ms", "9223372036854775807d", NULL);
    assert_refused(f, code, "--lease-ms", "between");
    code = create(f, AB_PROGRAM_BROKER, "--message-bytes-max", "8MB", NULL);
    assert_refused(f, code, "--message-bytes-max", "8MiB");
}

static void bools_are_words_or_the_bare_flag(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(create(f, AB_PROGRAM_WORKER, "--offline", NULL), 0);
    assert_true(ab_config_bool(f->config, AB_CONF_OFFLINE));
    assert_int_equal(create(f, AB_PROGRAM_WORKER, "--offline=no", NULL), 0);
    assert_false(ab_config_bool(f->config, AB_CONF_OFFLINE));
    write_file(f, "offline: yes\n");
    assert_int_equal(create(f, AB_PROGRAM_WORKER, "--config", f->file, NULL), 0);
    assert_true(ab_config_bool(f->config, AB_CONF_OFFLINE));
    int code = create(f, AB_PROGRAM_WORKER, "--offline=maybe", NULL);
    assert_refused(f, code, "--offline", "true or false");
}

static void the_log_level_fits_the_log(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(create(f, AB_PROGRAM_STORAGE, NULL), 0);
    assert_int_equal(ab_config_enum(f->config, AB_CONF_LOG_LEVEL), AB_INFO);
    assert_int_equal(create(f, AB_PROGRAM_STORAGE, "--log-level", "error", NULL), 0);
    assert_int_equal(ab_config_enum(f->config, AB_CONF_LOG_LEVEL), AB_ERROR_LEVEL);
    assert_string_equal(ab_config_text(f->config, AB_CONF_LOG_LEVEL), "error");
    int code = create(f, AB_PROGRAM_STORAGE, "--log-level", "err", NULL);
    assert_refused(f, code, "--log-level", "debug|info|warn|error");
}

static void lists_come_from_commas_or_a_list(void **state)
{
    struct fixture *f = *state;
    setenv("AUTOBOTS_ALLOW_ORIGINS", "http://a , http://b,", 1);
    assert_int_equal(create(f, AB_PROGRAM_GATEWAY, NULL), 0);
    const json_t *list = ab_config_tree(f->config, AB_CONF_ALLOW_ORIGINS);
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_string_value(json_array_get(list, 0)), "http://a");
    unsetenv("AUTOBOTS_ALLOW_ORIGINS");

    write_file(f, "allow_origins: [http://c]\n");
    assert_int_equal(create(f, AB_PROGRAM_GATEWAY, "--config", f->file, NULL), 0);
    list = ab_config_tree(f->config, AB_CONF_ALLOW_ORIGINS);
    assert_int_equal(json_array_size(list), 1);
    assert_file_refused(f, "allow_origins: [1]\n", "/autobots.yaml:1", "texts only");
}

/* ---- paths and endpoints ------------------------------------------------------------------------------- */

static void the_folder_follows_the_state_home(void **state)
{
    struct fixture *f = *state;
    setenv("HOME", "/nowhere", 1);
    assert_int_equal(create(f, AB_PROGRAM_STORAGE, NULL), 0);
    assert_string_equal(ab_config_text(f->config, AB_CONF_DIR), "/nowhere/.local/state/autobots");
    setenv("XDG_STATE_HOME", "/state", 1);
    assert_int_equal(create(f, AB_PROGRAM_STORAGE, NULL), 0);
    assert_string_equal(ab_config_text(f->config, AB_CONF_DIR), "/state/autobots");
    assert_string_equal(ab_config_text(f->config, AB_CONF_STORAGE_ENDPOINT),
                        "ipc:///state/autobots/storage.sock");
    assert_int_equal(create(f, AB_PROGRAM_STORAGE, "--dir", "~/x", NULL), 0);
    assert_string_equal(ab_config_text(f->config, AB_CONF_DIR), "/nowhere/x");
    unsetenv("XDG_STATE_HOME");
}

static void relative_paths_count_from_where_they_stand(void **state)
{
    struct fixture *f = *state;
    write_file(f, "dir: data\n");
    assert_int_equal(create(f, AB_PROGRAM_STORAGE, "--config", f->file, NULL), 0);
    assert_string_equal(ab_config_text(f->config, AB_CONF_DIR), with_folder(f, "/data"));

    char *here = getcwd(NULL, 0);
    assert_int_equal(create(f, AB_PROGRAM_STORAGE, "--dir", "data", NULL), 0);
    char *expected = ab_format("%s/data", here);
    assert_string_equal(ab_config_text(f->config, AB_CONF_DIR), expected);
    free(expected);
    free(here);
}

static void endpoints_lie_in_the_folder_unless_given(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(
        create(f, AB_PROGRAM_BROKER, "--dir", "/d", "--storage-endpoint", "tcp://127.0.0.1:5", NULL), 0);
    assert_string_equal(ab_config_text(f->config, AB_CONF_ENDPOINT), "ipc:///d/client.sock");
    assert_string_equal(ab_config_text(f->config, AB_CONF_WORKER_ENDPOINT), "ipc:///d/worker.sock");
    assert_string_equal(ab_config_text(f->config, AB_CONF_STORAGE_ENDPOINT), "tcp://127.0.0.1:5");
    int code = create(f, AB_PROGRAM_BROKER, "--endpoint", "127.0.0.1:5", NULL);
    assert_refused(f, code, "--endpoint", "tcp://HOST:PORT");
}

static void a_folder_too_long_for_a_socket_is_refused(void **state)
{
    struct fixture *f = *state;
    char folder[128] = "/";
    memset(folder + 1, 'x', 100);
    int code = create(f, AB_PROGRAM_BROKER, "--dir", folder, NULL);
    assert_refused(f, code, "endpoint", "choose a shorter --dir");
}

/* ---- faults -------------------------------------------------------------------------------------------- */

static void faults_of_the_file_name_file_and_line(void **state)
{
    struct fixture *f = *state;
    assert_file_refused(f, "\n\nlease_msx: 5\n", "/autobots.yaml:3", "did you mean \"lease_ms\"");
    assert_file_refused(f, "pool: a\nqqqqqq: 5\n", "/autobots.yaml:2", "there is no key");
    assert_file_refused(f, "config: x\n", "/autobots.yaml:1", "there is no key");
    assert_file_refused(f, "pool: a\nlease_ms: soon\n", "/autobots.yaml:2", "is not a duration");
    assert_file_refused(f, "pool: a\nlease_ms: {a: 1}\n", "/autobots.yaml:2", "single value");
    assert_file_refused(f, "- a\n", "/autobots.yaml:1", "mapping of keys");
    assert_file_refused(f, "pool: a\npool: b\n", "/autobots.yaml:2", "twice");
    assert_file_refused(f, "pool: a\n\tslots: 1\n", "/autobots.yaml:2", "YAML");
    assert_file_refused(f, "{\"pool\": \"a\",\n\"pools\": 1}\n", "/autobots.yaml:2", "did you mean \"pool\"");
}

static void a_value_for_another_program_is_checked_too(void **state)
{
    struct fixture *f = *state;
    write_file(f, "slots: 3\nretention_days: 1\n");
    assert_int_equal(create(f, AB_PROGRAM_BROKER, "--config", f->file, NULL), 0);
    assert_file_refused(f, "slots: 0\n", "/autobots.yaml:1", "between 1 and 4096");
}

static void a_missing_file_is_refused(void **state)
{
    struct fixture *f = *state;
    int code = create(f, AB_PROGRAM_BROKER, "--config", f->file, NULL);
    assert_refused(f, code, f->file, "No such file");
}

static void faults_of_the_environment_name_the_variable(void **state)
{
    struct fixture *f = *state;
    setenv("AUTOBOTS_LEASE_MS", "soon", 1);
    int code = create(f, AB_PROGRAM_BROKER, NULL);
    assert_refused(f, code, "AUTOBOTS_LEASE_MS", "is not a duration");
}

static void a_server_refuses_what_is_no_flag_of_its_own(void **state)
{
    struct fixture *f = *state;
    int code = create(f, AB_PROGRAM_WORKER, "--slot", "3", NULL);
    assert_refused(f, code, "--slot", "did you mean --slots?");
    code = create(f, AB_PROGRAM_STORAGE, "--slots", "3", NULL);
    assert_refused(f, code, "--slots", "no such flag");
    code = create(f, AB_PROGRAM_STORAGE, "start", NULL);
    assert_refused(f, code, "start", "unexpected argument");
    code = create(f, AB_PROGRAM_STORAGE, "--dir", NULL);
    assert_refused(f, code, "--dir", "needs a value");
}

static void a_lease_is_at_least_two_heartbeats(void **state)
{
    struct fixture *f = *state;
    int code = create(f, AB_PROGRAM_BROKER, "--lease-ms", "4s", NULL);
    assert_refused(f, code, "lease_ms", "flag --lease-ms");
    assert_int_equal(create(f, AB_PROGRAM_BROKER, "--lease-ms", "5s", NULL), 0);
}

/* ---- models and limits --------------------------------------------------------------------------------- */

static void models_and_limits_are_read(void **state)
{
    struct fixture *f = *state;
    write_file(f, "models:\n- name: gpt-*\n  base_url: http://a/v1\n  api_key_env: KEY\n"
                  "limits:\n  tenant: {'*': 10, alice: 50}\n");
    assert_int_equal(create(f, AB_PROGRAM_CLI, "--config", f->file, NULL), 0);
    const json_t *model = json_array_get(ab_config_tree(f->config, AB_CONF_MODELS), 0);
    assert_string_equal(json_string_value(json_object_get(model, "api_key_env")), "KEY");
    const json_t *tenants = json_object_get(ab_config_tree(f->config, AB_CONF_LIMITS), "tenant");
    assert_int_equal(json_integer_value(json_object_get(tenants, "alice")), 50);

    setenv("AUTOBOTS_LIMITS", "{\"pool\":{\"gpu\":2}}", 1);
    assert_int_equal(create(f, AB_PROGRAM_BROKER, "--config", f->file, NULL), 0);
    assert_null(json_object_get(ab_config_tree(f->config, AB_CONF_LIMITS), "tenant"));
    setenv("AUTOBOTS_LIMITS", "{\"pool\":", 1);
    int code = create(f, AB_PROGRAM_BROKER, NULL);
    assert_refused(f, code, "AUTOBOTS_LIMITS", "limits: ");
}

static void faults_inside_models_and_limits_have_their_line(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text, *line, *message;
    } cases[] = {
        {"models: {a: 1}\n", ":1", "models: must be a list"},
        {"models:\n- base_url: x\n  base_ulr: y\n", ":3",
         "models[0].base_ulr: is not known; did you mean \"base_url\""},
        {"models:\n- base_url: x\n- name: y\n", ":3", "models[1]: needs a base_url"},
        {"models:\n- base_url: x\n  api_key: sk-123\n", ":3", "api_key_env"},
        {"models:\n- base_url: x\n  name: 4\n", ":3", "must be text"},
        {"models:\n- base_url: x\n  api_key_env: a\n  api_key_file: b\n", ":2", "keep one"},
        {"models:\n- 5\n", ":2", "must be a mapping"},
        {"limits:\n  tenants: {a: 1}\n", ":2", "did you mean \"tenant\""},
        {"limits:\n  tenant:\n    a: 0\n", ":3", "limits.tenant.a: must be a number of jobs"},
        {"limits:\n  pool: 3\n", ":2", "must be a mapping"},
        {"limits: 3\n", ":1", "must be a mapping"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[64];
        snprintf(line, sizeof line, "/autobots.yaml%s", cases[i].line);
        assert_file_refused(f, cases[i].text, line, cases[i].message);
        assert_null(strstr(f->err.text, "sk-123"));
    }
}

/* ---- verbs, children, listings ------------------------------------------------------------------------- */

static void the_client_keeps_what_is_not_in_the_table(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(create(f, AB_PROGRAM_CLI, "submit", "--user", "u", "--dir", "/d", "-w", "F", "--help",
                            "--", "--slots", NULL),
                     0);
    int n;
    char **rest = ab_config_rest(f->config, &n);
    static const char *const expected[] = {"submit", "--user", "u", "-w", "F", "--help", "--", "--slots"};
    assert_int_equal(n, sizeof expected / sizeof *expected);
    for (int i = 0; i < n; i++)
        assert_string_equal(rest[i], expected[i]);
    assert_null(rest[n]);
    assert_string_equal(ab_config_text(f->config, AB_CONF_DIR), "/d");
    char *near = ab_config_nearest_flag(AB_PROGRAM_CLI, "--wrokers=2");
    assert_string_equal(near, "--workers");
    free(near);
}

static void children_get_the_same_values(void **state)
{
    struct fixture *f = *state;
    write_file(f, "pool: gpu\n");
    assert_int_equal(create(f, AB_PROGRAM_CLI, "up", "--config", f->file, "--dir", "/d", "--slots", "3",
                            "--lease-ms", "20s", "--limits", "{\"pool\":{\"gpu\":2}}", NULL),
                     0);
    char **flags = ab_config_flags(f->config, AB_PROGRAM_BROKER);
    struct fixture child = {0};
    assert_int_equal(create(&child, AB_PROGRAM_BROKER, flags[0], flags[1], flags[2], flags[3], NULL), 0);
    assert_null(flags[4]); /* --slots is not the broker's */
    assert_int_equal(ab_config_int(child.config, AB_CONF_LEASE_MS), 20000);
    assert_string_equal(ab_config_text(child.config, AB_CONF_DIR), "/d");
    assert_string_equal(ab_config_text(child.config, AB_CONF_CONFIG), f->file);
    assert_non_null(json_object_get(ab_config_tree(child.config, AB_CONF_LIMITS), "pool"));
    ab_config_destroy(child.config);
    ab_config_flags_destroy(flags);

    flags = ab_config_flags(f->config, AB_PROGRAM_WORKER);
    child = (struct fixture){0};
    assert_int_equal(create(&child, AB_PROGRAM_WORKER, flags[0], flags[1], flags[2], NULL), 0);
    assert_int_equal(ab_config_int(child.config, AB_CONF_SLOTS), 3);
    assert_string_equal(ab_config_text(child.config, AB_CONF_POOL), "gpu");
    ab_config_destroy(child.config);
    ab_config_flags_destroy(flags);
}

static char *printed(const struct ab_config *config, bool json)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (config)
        ab_config_print(config, out, json);
    else
        ab_config_help(AB_PROGRAM_WORKER, out);
    fclose(out);
    return text;
}

static void listings_say_value_and_source(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(create(f, AB_PROGRAM_CLI, "--slots", "3", "--offline", NULL), 0);
    char *text = printed(f->config, true);
    json_t *all = json_loads(text, 0, NULL);
    assert_non_null(all);
    assert_int_equal(json_object_size(all), AB_CONF_N);
    const json_t *slots = json_object_get(all, "slots");
    assert_int_equal(json_integer_value(json_object_get(slots, "value")), 3);
    assert_string_equal(json_string_value(json_object_get(slots, "source")), "flag --slots");
    assert_true(json_is_true(json_object_get(json_object_get(all, "offline"), "value")));
    json_decref(all);
    free(text);

    text = printed(f->config, false);
    assert_contains(text, "# flag --slots\n");
    free(text);
    text = printed(NULL, false);
    assert_contains(text, "--slots N");
    assert_contains(text, "[64]");
    assert_null(strstr(text, "--lease-ms TIME")); /* the broker's */
    free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(flag_beats_environment_beats_file_beats_default),
        TEST(an_empty_variable_counts_as_absent),
        TEST(the_file_may_be_named_by_a_variable),
        TEST(null_in_the_file_means_default),
        TEST(an_empty_file_is_fine),
        TEST(durations_and_sizes_take_units),
        TEST(numbers_out_of_range_or_shape_are_refused),
        TEST(bools_are_words_or_the_bare_flag),
        TEST(the_log_level_fits_the_log),
        TEST(lists_come_from_commas_or_a_list),
        TEST(the_folder_follows_the_state_home),
        TEST(relative_paths_count_from_where_they_stand),
        TEST(endpoints_lie_in_the_folder_unless_given),
        TEST(a_folder_too_long_for_a_socket_is_refused),
        TEST(faults_of_the_file_name_file_and_line),
        TEST(a_value_for_another_program_is_checked_too),
        TEST(a_missing_file_is_refused),
        TEST(faults_of_the_environment_name_the_variable),
        TEST(a_server_refuses_what_is_no_flag_of_its_own),
        TEST(a_lease_is_at_least_two_heartbeats),
        TEST(models_and_limits_are_read),
        TEST(faults_inside_models_and_limits_have_their_line),
        TEST(the_client_keeps_what_is_not_in_the_table),
        TEST(children_get_the_same_values),
        TEST(listings_say_value_and_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
