/* The configuration as text: listings, --help, and the flags that hand it on to another program. */
#include "common/config.h"

#include <stdlib.h>

#include "common/config_value.h"

/* ---- handing on ------------------------------------------------------------------------------------------ */

char **ab_config_flags(const struct ab_config *config, enum ab_program program)
{
    char **flags = ab_calloc(AB_CONF_N + 1, sizeof *flags);
    size_t n = 0;
    for (int i = 0; i < AB_CONF_N; i++) {
        const struct config_row *row = config_row_of(i);
        const struct config_value *value = config_value_of(config, i);
        bool always = i == AB_CONF_DIR || (i == AB_CONF_CONFIG && value->text);
        if (!config_row_for(row, program) || !(always || !strncmp(value->source, "flag ", 5)))
            continue;
        char name[CONFIG_NAME_MAX];
        config_flag_name(row, name);
        char *text = config_value_text(row, value);
        flags[n++] = ab_format("%s=%s", name, text);
        free(text);
    }
    return flags;
}

void ab_config_flags_destroy(char **flags)
{
    for (char **flag = flags; flag && *flag; flag++)
        free(*flag);
    free(flags);
}

/* ---- listing --------------------------------------------------------------------------------------------- */

static void print_json(const struct ab_config *config, FILE *out)
{
    json_t *all = json_object();
    for (int i = 0; i < AB_CONF_N; i++) {
        const struct config_value *value = config_value_of(config, i);
        if (config_row_for(config_row_of(i), config_program_of(config)))
            json_object_set_new(all, config_row_of(i)->key,
                                json_pack("{s:o, s:s}", "value", config_value_json(config_row_of(i), value),
                                          "source", value->source));
    }
    struct ab_buf text = {0};
    ab_json_text(all, &text);
    fprintf(out, "%s\n", ab_buf_cstr(&text));
    ab_buf_finish(&text);
    json_decref(all);
}

static void print_lines(const struct ab_config *config, FILE *out)
{
    for (int i = 0; i < AB_CONF_N; i++) {
        const struct config_row *row = config_row_of(i);
        const struct config_value *value = config_value_of(config, i);
        if (!config_row_for(row, config_program_of(config)))
            continue;
        char *text = config_value_text(row, value);
        fprintf(out, "%-28s = %-28s # %s\n", row->key, text, value->source);
        free(text);
    }
}

void ab_config_print(const struct ab_config *config, FILE *out, bool json)
{
    if (json)
        print_json(config, out);
    else
        print_lines(config, out);
}

static const char *placeholder(const struct config_row *row)
{
    static const char *const words[] = {
        [CONFIG_BOOL] = "",       [CONFIG_INT] = " N",        [CONFIG_DURATION] = " TIME",
        [CONFIG_BYTES] = " SIZE", [CONFIG_ENUM] = " WORD",    [CONFIG_STRING] = " TEXT",
        [CONFIG_PATH] = " PATH",  [CONFIG_ENDPOINT] = " URL", [CONFIG_LIST] = " A,B",
        [CONFIG_TREE] = " JSON",
    };
    return words[row->type];
}

void ab_config_help(enum ab_program program, FILE *out)
{
    for (int i = 0; i < AB_CONF_N; i++) {
        const struct config_row *row = config_row_of(i);
        if (!config_row_for(row, program))
            continue;
        char name[CONFIG_NAME_MAX];
        config_flag_name(row, name);
        int wide = fprintf(out, "  %s%s", name, placeholder(row));
        fprintf(out, "%*s%s", wide < 30 ? 30 - wide : 2, "", row->help);
        if (row->choices)
            fprintf(out, " (%s)", row->choices);
        if (*row->otherwise)
            fprintf(out, " [%s]", row->otherwise);
        fputc('\n', out);
    }
    fprintf(
        out,
        "\nEach flag is also a variable (--log-level: AUTOBOTS_LOG_LEVEL) and, but for --config, a key of the\n"
        "configuration file (log_level). Flags win over variables, variables over the file.\n");
}
