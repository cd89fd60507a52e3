/* What `help` prints: all verbs under headings, or one verb with its options. */
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"

/* The table of verbs is in this order; each heading stands before its first verb. */
static const struct heading {
    const char *title, *first;
} headings[] = {
    {"the service", "up"},
    {"chats", "submit"},
    {"jobs", "watch"},
    {"what is kept", "sessions"},
    {"what agents use", "workflows"},
    {"money and operation", "prices"},
    {"this program", "demo"},
};

static const char *heading_before(const char *verb)
{
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++)
        if (!strcmp(headings[i].first, verb))
            return headings[i].title;
    return NULL;
}

/* "sessions" of "sessions list" */
static bool is_noun_of(const char *noun, const char *verb)
{
    size_t n = strlen(noun);
    return !strncmp(noun, verb, n) && verb[n] == ' ';
}

/* As wide as the terminal, if it is no novel that way. */
enum { COLUMNS_MIN = 60, COLUMNS_DEFAULT = 80, COLUMNS_MAX = 100, HELP_AT = 27, OPTION_AT = 29 };

static size_t columns_of(FILE *out)
{
    size_t columns = term_columns(out);
    return !columns                ? COLUMNS_DEFAULT
           : columns < COLUMNS_MIN ? COLUMNS_MIN
           : columns > COLUMNS_MAX ? COLUMNS_MAX
                                   : columns;
}

/* What else can be done with a noun: those after the first, which the noun alone does too. */
static void add_others(struct ab_buf *text, const char *noun)
{
    const char *before = "; also ";
    for (size_t i = 0; i < cli_verbs_n; i++) {
        const char *name = cli_verbs[i].name;
        if (!is_noun_of(noun, name) || !strcmp(name + strlen(noun), " list"))
            continue;
        ab_buf_format(text, "%s%s", before, name + strlen(noun) + 1);
        before = ", ";
    }
}

/* A verb with its words, without its options. */
static void print_row(FILE *out, const struct verb *verb)
{
    char head[64];
    size_t n = (size_t)snprintf(head, sizeof head, "%s", verb->name);
    for (const char *at = verb->usage, *end; *at; at = *end ? end + 1 : end) {
        end = *at == '[' ? at + strcspn(at, "]") + 1 : at + strcspn(at, " ");
        if (strncmp(at, "[-", 2) && n + (size_t)(end - at) + 1 < sizeof head)
            n += (size_t)snprintf(head + n, sizeof head - n, " %.*s", (int)(end - at), at);
    }
    struct ab_buf text = {0};
    ab_buf_format(&text, "%.*s", (int)strcspn(verb->help, "\n"), verb->help);
    add_others(&text, verb->name);
    fprintf(out, "  %-24s ", head);
    term_wrapped(out, ab_buf_cstr(&text), HELP_AT, HELP_AT, columns_of(out));
    ab_buf_finish(&text);
}

void help_overview(FILE *out)
{
    fprintf(out, "autobots %s: durable chats of agents\n\nusage: autobots VERB …\n", autobots_version());
    for (size_t i = 0; i < cli_verbs_n; i++) {
        const struct verb *verb = &cli_verbs[i];
        const char *title = heading_before(verb->name);
        if (title)
            fprintf(out, "\n%s\n", title);
        if (!strchr(verb->name, ' '))
            print_row(out, verb);
    }
    static const char *const notes[] = {
        "JOB is an id, the beginning of one, or `last`. --json and --help work with every verb; `help VERB` "
        "tells "
        "all of one, `help flags` the flags of the configuration.",
        "Where the service is: --endpoint or AUTOBOTS_ENDPOINT, else --dir or AUTOBOTS_DIR, else "
        "${XDG_STATE_HOME:-~/.local/state}/autobots.",
        "Exit codes: 0 done; 1 failed, dead, expired or cancelled; 2 usage; 3 no service; 4 waiting for a "
        "person; 130 detached by Ctrl-C.",
    };
    fputc('\n', out);
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++)
        term_wrapped(out, notes[i], 0, 2, columns_of(out));
}

char *option_written(const char *name)
{
    char *text = ab_strdup(name);
    for (char *c = text; (c = strchr(c, '_'));)
        *c = '-';
    return text;
}

static void print_option(const struct option_row *option)
{
    char letter[8] = "    ", head[64], *name = option_written(option->name);
    if (option->letter)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(head, sizeof head, "%s--%s %s", letter, name, option->arg ? option->arg : "");
    free(name);
    printf("  %-26s ", head);
    term_wrapped(stdout, option->help, OPTION_AT, OPTION_AT, columns_of(stdout));
}

void help_usage(FILE *out, const struct verb *verb)
{
    char *text = ab_format("usage: autobots %s %s", verb->name, verb->usage);
    term_wrapped(out, text, 0, 7, columns_of(out));
    free(text);
}

static json_t *verb_tree(const struct verb *verb)
{
    json_t *options = json_array();
    for (int i = 0; i < OPT_N; i++)
        if ((verb->options | OPTIONS_ALWAYS) & (1ull << i)) {
            char *name = option_written(cli_options[i].name);
            json_array_append_new(options, json_pack("{s:s, s:s*, s:s}", "name", name, "value",
                                                     cli_options[i].arg, "help", cli_options[i].help));
            free(name);
        }
    return json_pack("{s:s, s:s, s:s, s:o}", "verb", verb->name, "usage", verb->usage, "help", verb->help,
                     "options", options);
}

void help_json(const struct verb *only)
{
    for (size_t i = 0; i < cli_verbs_n; i++)
        if (!only || only == &cli_verbs[i])
            term_json(stdout, verb_tree(&cli_verbs[i]));
}

void help_verb(const struct verb *verb)
{
    size_t columns = columns_of(stdout);
    help_usage(stdout, verb);
    fputc('\n', stdout);
    term_wrapped(stdout, verb->help, 0, 0, columns);
    const char *title = "\nalso:\n";
    for (size_t i = 0; i < cli_verbs_n; i++) {
        const struct verb *other = &cli_verbs[i];
        if (!is_noun_of(verb->name, other->name))
            continue;
        char *head = ab_format("%s %s", other->name, other->usage);
        char *about = ab_format("%.*s", (int)strcspn(other->help, "\n"), other->help);
        printf("%s  ", title);
        term_wrapped(stdout, head, 2, 10, columns);
        printf("      ");
        term_wrapped(stdout, about, 6, 6, columns);
        free(head);
        free(about);
        title = "";
    }
    printf("\noptions:\n");
    for (int i = 0; i < OPT_N; i++)
        if ((verb->options | OPTIONS_ALWAYS) & (1ull << i))
            print_option(&cli_options[i]);
    printf("  %-26s where the service is; more: `autobots help flags`\n", "    --dir D, --endpoint E");
}
