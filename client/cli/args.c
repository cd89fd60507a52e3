/* From words to a verb with its options. The configuration has taken its own flags before. */
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/cli/cli.h"
#include "common/tree.h"

const struct option_row cli_options[OPT_N] = {
#define X(name, letter, arg, help) {#name, arg, help, letter},
    CLI_OPTIONS(X)
#undef X
};

/* Says what is wrong and how it is written. Returns CLI_USAGE. */
static int usage_fault(const struct cli *cli, const char *near, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int usage_fault(const struct cli *cli, const char *near, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *line = ab_format("%s%s%s%s", text, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    char *clean = term_line(line, 300);
    fprintf(stderr, "autobots: %s\n", clean);
    if (cli->json)
        term_json(stdout,
                  json_pack("{s:{s:s, s:s, s:s}}", "error", "code", "usage", "text", clean, "path", ""));
    if (cli->verb)
        help_usage(stderr, cli->verb);
    else
        fprintf(stderr, "`autobots help` lists the verbs\n");
    free(line);
    free(clean);
    return CLI_USAGE;
}

/* ---- verbs ---- */

static bool verb_fits(const struct verb *verb, int argc, char **argv, int *words)
{
    const char *rest = verb->name;
    for (*words = 0; *rest && *words < argc; ++*words) {
        size_t n = strcspn(rest, " ");
        if (strlen(argv[*words]) != n || strncmp(argv[*words], rest, n))
            return false;
        rest += n + (rest[n] == ' ');
    }
    return !*rest;
}

/* The longest name that fits. */
static const struct verb *find_verb(int argc, char **argv, int *words)
{
    const struct verb *found = NULL;
    *words = 0;
    for (size_t i = 0; i < cli_verbs_n; i++) {
        int n;
        if (verb_fits(&cli_verbs[i], argc, argv, &n) && n > *words) {
            found = &cli_verbs[i];
            *words = n;
        }
    }
    return found;
}

static const char *nearest_verb(const char *word)
{
    const char *names[128];
    size_t n = 0;
    for (; n < cli_verbs_n && n < 128; n++)
        names[n] = cli_verbs[n].name;
    return ab_nearest(word, names, n);
}

/* ---- options ---- */

/* An option is written as it is named here, with - for _. */
static bool is_option_written(const char *name, const char *word, size_t n)
{
    size_t i = 0;
    while (i < n && name[i] && (name[i] == '_' ? '-' : name[i]) == word[i])
        i++;
    return i == n && !name[i];
}

static int option_of(const struct verb *verb, const char *word, size_t n, char letter)
{
    for (int i = 0; i < OPT_N; i++) {
        bool same = letter ? cli_options[i].letter == letter : is_option_written(cli_options[i].name, word, n);
        if (same && ((verb->options | OPTIONS_ALWAYS) & (1ull << i)))
            return i;
    }
    return -1;
}

/* "--name", or NULL if nothing is near; malloc'ed. */
static char *nearest_option(const struct verb *verb, const char *word)
{
    const char *names[OPT_N];
    size_t n = 0;
    for (int i = 0; i < OPT_N; i++)
        if ((verb->options | OPTIONS_ALWAYS) & (1ull << i))
            names[n++] = cli_options[i].name;
    const char *near = ab_nearest(word, names, n);
    char *name = near ? option_written(near) : NULL, *option = near ? ab_format("--%s", name) : NULL;
    free(name);
    return option;
}

static int unknown_option(const struct cli *cli, const char *word)
{
    char *near = nearest_option(cli->verb, word + (word[1] == '-' ? 2 : 1));
    if (!near)
        near = ab_config_nearest_flag(AB_PROGRAM_CLI, word);
    int rc = usage_fault(cli, near, "there is no option %s here", word);
    free(near);
    return rc;
}

/* Takes argv[*at], and the next word if the option needs one. */
static int take_option(struct cli *cli, int argc, char **argv, int *at)
{
    const char *word = argv[*at], *value = NULL;
    int found;
    if (word[1] == '-') {
        size_t n = strcspn(word + 2, "=");
        found = option_of(cli->verb, word + 2, n, 0);
        value = word[2 + n] ? word + 3 + n : NULL;
    } else {
        found = option_of(cli->verb, "", 0, word[1]);
        value = word[2] ? word + 2 : NULL;
    }
    if (found < 0)
        return unknown_option(cli, word);
    if (!cli_options[found].arg && value)
        return usage_fault(cli, NULL, "%s takes no value", word);
    if (cli_options[found].arg && !value && ++*at >= argc)
        return usage_fault(cli, NULL, "%s needs a value", word);
    if (cli->given_n == CLI_GIVEN_MAX)
        return usage_fault(cli, NULL, "too many options, from %s on", word);
    cli->option[found] = !cli_options[found].arg ? "" : value ? value : argv[*at];
    cli->given[cli->given_n].option = found;
    cli->given[cli->given_n++].value = cli->option[found];
    return 0;
}

static int take_words(struct cli *cli, int argc, char **argv)
{
    bool ended = false;
    for (int i = 0; i < argc; i++) {
        int rc = 0;
        if (!ended && !strcmp(argv[i], "--"))
            ended = true;
        else if (!ended && argv[i][0] == '-' && argv[i][1])
            rc = take_option(cli, argc, argv, &i);
        else if (cli->n < CLI_WORDS_MAX - 1)
            cli->words[cli->n++] = argv[i];
        else
            rc = usage_fault(cli, NULL, "too many words, from %s on", argv[i]);
        if (rc)
            return rc;
    }
    return 0;
}

/* A word behind a noun that is none of the noun's verbs: `sessions lst`. All of them are told. */
static int unknown_of_noun(const struct cli *cli, const char *word)
{
    const char *noun = cli->verb->name, *names[CLI_OF_NOUN_MAX];
    struct ab_buf all = {0};
    size_t length = strlen(noun), n = 0;
    for (size_t i = 0; i < cli_verbs_n && n < CLI_OF_NOUN_MAX; i++)
        if (!strncmp(cli_verbs[i].name, noun, length) && cli_verbs[i].name[length] == ' ') {
            names[n] = cli_verbs[i].name + length + 1;
            ab_buf_format(&all, "%s%s", n ? ", " : "", names[n]);
            n++;
        }
    int rc = n ? usage_fault(&(struct cli){.json = cli->json}, ab_nearest(word, names, n),
                             "there is no `%s %s`, only %s", noun, word, ab_buf_cstr(&all))
               : 0;
    ab_buf_finish(&all);
    return rc;
}

static int check_count(const struct cli *cli)
{
    const struct verb *verb = cli->verb;
    int rc = verb->most >= 0 && cli->n > verb->most ? unknown_of_noun(cli, cli->words[0]) : 0;
    if (rc)
        return rc;
    if (cli->n < verb->least)
        return usage_fault(cli, NULL, "%s needs %s", verb->name, verb->usage);
    if (verb->most >= 0 && cli->n > verb->most)
        return usage_fault(cli, NULL, "%s: that is one word too many", cli->words[verb->most]);
    return 0;
}

static void tell_verb(const struct cli *cli, const struct verb *verb)
{
    if (cli->json)
        help_json(verb);
    else
        help_verb(verb);
}

bool args_want_json(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--json"))
            return true;
    return false;
}

int args_parse(struct cli *cli, int argc, char **argv)
{
    cli->json = args_want_json(argc, argv);
    /* Options may stand before the verb: `autobots --json status`. */
    int words, rc, first = 0;
    while (first < argc &&
           (!strcmp(argv[first], "--json") || !strcmp(argv[first], "--help") || !strcmp(argv[first], "-h")))
        cli->option[argv[first++][2] == 'j' ? OPT_json : OPT_help] = "";
    if (first < argc && !strcmp(argv[first], "--version"))
        argv[first] = argv[first] + 2;
    if (first == argc) {
        if (cli->json)
            help_json(NULL);
        else
            help_overview(cli->option[OPT_help] ? stdout : stderr);
        return cli->option[OPT_help] ? CLI_HELPED : CLI_USAGE;
    }
    cli->verb = find_verb(argc - first, argv + first, &words);
    if (!cli->verb)
        return usage_fault(cli, nearest_verb(argv[first]), "there is no %s %s",
                           argv[first][0] == '-' ? "option" : "verb", argv[first]);
    rc = take_words(cli, argc - first - words, argv + first + words);
    if (!rc && cli->option[OPT_help]) {
        tell_verb(cli, cli->verb);
        return CLI_HELPED;
    }
    return rc ? rc : check_count(cli);
}

/* ---- help ---- */

int verb_help(struct cli *cli)
{
    if (!cli->n && cli->json)
        help_json(NULL);
    else if (!cli->n)
        help_overview(stdout);
    if (!cli->n)
        return CLI_DONE;
    if (!strcmp(cli->words[0], "flags")) {
        ab_config_help(AB_PROGRAM_CLI, stdout);
        return CLI_DONE;
    }
    int words;
    const struct verb *verb = find_verb(cli->n, cli->words, &words);
    if (!verb) {
        cli->verb = NULL;
        return usage_fault(cli, nearest_verb(cli->words[0]), "there is no verb %s", cli->words[0]);
    }
    tell_verb(cli, verb);
    return CLI_DONE;
}

/* ---- values ---- */

bool parse_number(const char *text, uint64_t *number)
{
    char *end;
    if (!isdigit((unsigned char)*text) || strlen(text) > 18)
        return false;
    *number = strtoull(text, &end, 10);
    return !*end;
}

bool parse_duration(const char *text, int64_t *ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end;
    if (!isdigit((unsigned char)*text) || strspn(text, "0123456789") > 9)
        return false;
    int64_t number = strtoll(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(end, units[i].unit)) {
            *ms = number * units[i].ms;
            return true;
        }
    return false;
}

bool parse_since(const char *text, int64_t now_ms, int64_t *ms)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S",
                                        "%Y-%m-%d"};
    if (parse_duration(text, ms)) {
        *ms = now_ms - *ms;
        return true;
    }
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = {.tm_isdst = -1};
        const char *end = strptime(text, forms[i], &tm);
        if (!end || *end)
            continue;
        *ms = (int64_t)(i == 0 ? timegm(&tm) : mktime(&tm)) * 1000;
        return true;
    }
    return false;
}
