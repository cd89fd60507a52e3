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

/* What else can be done with a noun: those after the first, which the noun alone does too. */
static void print_others(FILE *out, const char *noun)
{
    const char *before = "; also ";
    for (size_t i = 0; i < cli_verbs_n; i++) {
        const char *name = cli_verbs[i].name;
        if (!is_noun_of(noun, name) || !strcmp(name + strlen(noun), " list"))
            continue;
        fprintf(out, "%s%s", before, name + strlen(noun) + 1);
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
    fprintf(out, "  %-24s %.*s", head, (int)strcspn(verb->help, "\n"), verb->help);
    print_others(out, verb->name);
    fputc('\n', out);
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
    fputs("\nJOB is an id, the beginning of one, or `last`. --json and --help work with every verb; `help "
          "VERB` tells\n"
          "all of one, `help flags` the flags of the configuration.\n"
          "Where the service is: --endpoint or AUTOBOTS_ENDPOINT, else --dir or AUTOBOTS_DIR, else\n"
          "${XDG_STATE_HOME:-~/.local/state}/autobots.\n"
          "Exit codes: 0 done; 1 failed, dead, expired or cancelled; 2 usage; 3 no service; 4 waiting for a\n"
          "person; 130 detached by Ctrl-C.\n",
          out);
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
    printf("  %-26s %s\n", head, option->help);
}

void help_verb(const struct verb *verb)
{
    printf("usage: autobots %s%s%s\n\n%s\n", verb->name, *verb->usage ? " " : "", verb->usage, verb->help);
    const char *title = "\nalso:\n";
    for (size_t i = 0; i < cli_verbs_n; i++) {
        const struct verb *other = &cli_verbs[i];
        if (!is_noun_of(verb->name, other->name))
            continue;
        printf("%s  %s %s\n      %.*s\n", title, other->name, other->usage, (int)strcspn(other->help, "\n"),
               other->help);
        title = "";
    }
    printf("\noptions:\n");
    for (int i = 0; i < OPT_N; i++)
        if ((verb->options | OPTIONS_ALWAYS) & (1ull << i))
            print_option(&cli_options[i]);
    printf("  %-26s %s\n", "    --dir D, --endpoint E",
           "where the service is; `autobots help flags` lists more");
}
