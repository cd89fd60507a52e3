/* Verbs of skills: the files that agents call as tools and import into their code. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "common/clock.h"
#include "common/id.h"
#include "common/skill.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 100000, TITLE_SHOWN = 40, DESCRIPTION_SHOWN = 60 };

/* ---- list ---- */

static void print_row(const json_t *skill)
{
    static const char *const keys[] = {"name", "language", "timestamp", "title", "description"};
    static const size_t columns[] = {0, 0, 0, TITLE_SHOWN, DESCRIPTION_SHOWN};
    char *cells[5], version[24];
    for (int i = 0; i < 5; i++) {
        const char *text = ab_tree_str(skill, keys[i]);
        cells[i] = term_line(text ? text : "", columns[i]);
    }
    snprintf(version, sizeof version, "@%lld", (long long)ab_tree_int(skill, "version", 0));
    term_row(stdout, "%-24s  %-5s  %-6s  %.10s  %s%s%s", cells[0], version, cells[1], cells[2], cells[3],
             *cells[4] ? ": " : "", cells[4]);
    for (int i = 0; i < 5; i++)
        free(cells[i]);
}

/* What is listed: all, the versions of one, or what has all these words. */
static json_t *list_request(struct cli *cli)
{
    json_t *request = json_object();
    bool search = !strcmp(cli->verb->name, "skills search");
    struct ab_buf words = {0};
    for (int i = 0; i < cli->n; i++)
        ab_buf_format(&words, "%s%s", i ? " " : "", cli->words[i]);
    if (words.n)
        json_object_set_new(request, search ? "search" : "name", json_string(ab_buf_cstr(&words)));
    ab_buf_finish(&words);
    return request;
}

static int list(struct cli *cli, struct autobots *bots, json_t *request, uint64_t limit)
{
    size_t shown;
    int code = service_list(cli, bots, "list_skills", request, "skills", limit, print_row, &shown);
    if (!code && !shown && json_object_get(request, "name"))
        code = cli_failf(cli, CLI_FAILED, "user %s has no skill %s", cli->user, cli->words[0]);
    else if (!code && !shown && !cli->json)
        fprintf(stderr, "none; `autobots skills add FILE` stores one\n");
    return code;
}

int verb_skills(struct cli *cli)
{
    uint64_t limit = LIMIT_DEFAULT;
    int code = CLI_DONE;
    if (cli->option[OPT_limit] &&
        (!parse_number(cli->option[OPT_limit], &limit) || !limit || limit > LIMIT_MAX))
        return cli_failf(cli, CLI_USAGE, "--limit is a number from 1 to %d", LIMIT_MAX);
    json_t *request = list_request(cli);
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    if (bots)
        code = list(cli, bots, request, limit);
    json_decref(request);
    autobots_close(bots);
    return code;
}

/* ---- a file ---- */

static int read_file(struct cli *cli, const char *file, size_t bytes_max, struct ab_buf *text)
{
    FILE *in = fopen(file, "re");
    int code = CLI_DONE;
    if (!in)
        return cli_failf(cli, CLI_USAGE, "%s: %s", file, strerror(errno));
    ab_buf_reserve(text, bytes_max + 1);
    text->n = fread(text->p, 1, bytes_max + 1, in);
    if (ferror(in))
        code = cli_failf(cli, CLI_USAGE, "%s: %s", file, strerror(errno));
    else if (text->n > bytes_max)
        code = cli_failf(cli, CLI_FAILED, "%s: has more than %zu bytes", file, bytes_max);
    fclose(in);
    return code;
}

/* --parameters; NULL if it is not given. */
static json_t *read_parameters(struct cli *cli, int *code)
{
    const char *file = cli->option[OPT_parameters];
    struct ab_buf text = {0};
    struct ab_error err;
    json_t *tree = NULL;
    if (file)
        *code = read_file(cli, file, AB_SKILL_PARAMETERS_MAX, &text);
    if (file && !*code && ab_tree_parse(ab_buf_view(&text), file, &tree, NULL, &err))
        *code = cli_failf(cli, CLI_FAILED, "%s: %s: %s", file, err.path, err.text);
    ab_buf_finish(&text);
    return tree;
}

/* All of it is checked here, where the file's lines are known. */
static int check_skill(struct cli *cli, const char *file, const struct ab_skill_given *given)
{
    struct ab_faults faults = {0};
    struct ab_places *places = ab_places_create();
    struct ab_error err;
    struct ab_skill skill;
    int code = ab_skill_read(given, &skill, places, &faults, &err) ? faults_tell(cli, places, file, &faults)
                                                                   : CLI_DONE;
    ab_skill_finish(&skill);
    ab_faults_finish(&faults);
    ab_places_destroy(places);
    return code;
}

json_t *skill_request(struct cli *cli, const char *file, int *code)
{
    static const struct {
        const char *field;
        enum cli_option option;
    } texts[] = {{"name", OPT_name}, {"title", OPT_title}, {"description", OPT_description}};
    const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
    struct ab_buf content = {0};
    json_t *request = NULL, *parameters = NULL;
    *code = read_file(cli, file, AB_SKILL_CONTENT_MAX, &content);
    if (!*code)
        parameters = read_parameters(cli, code);
    if (!*code) {
        struct ab_skill_given given = {.content = ab_buf_view(&content),
                                       .name = ab_view_of(cli->option[OPT_name]),
                                       .title = ab_view_of(cli->option[OPT_title]),
                                       .description = ab_view_of(cli->option[OPT_description]),
                                       .file_name = ab_view_of(base),
                                       .parameters = parameters};
        *code = check_skill(cli, file, &given);
    }
    if (!*code) {
        request = json_pack("{s:s%, s:s, s:O*}", "content", content.p, content.n, "file_name", base,
                            "parameters", parameters);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            if (cli->option[texts[i].option])
                json_object_set_new(request, texts[i].field, json_string(cli->option[texts[i].option]));
    }
    json_decref(parameters);
    ab_buf_finish(&content);
    return request;
}

/* ---- add ---- */

static void say_saved(struct cli *cli, const json_t *answer)
{
    const json_t *skill = json_object_get(answer, "skill");
    bool created = ab_tree_bool(answer, "created", false);
    const char *title = ab_tree_str(skill, "title");
    if (cli->json) {
        json_t *said = json_deep_copy(skill);
        json_object_set_new(said, "created", json_boolean(created));
        term_json(stdout, said);
        return;
    }
    char *clean = term_line(title ? title : "", 0);
    printf("%s@%lld  %s%s\n", ab_tree_str(skill, "name"), (long long)ab_tree_int(skill, "version", 0), clean,
           created ? "" : "  (was there already)");
    free(clean);
}

int verb_skills_add(struct cli *cli)
{
    char id[AB_ID_TEXT];
    int code = CLI_DONE;
    json_t *request =
        skill_request(cli, cli->words[0], &code); /* a faulty file is told before a missing service */
    struct autobots *bots = request ? service_open(cli, SERVICE_STORAGE, &code) : NULL;
    if (request)
        json_object_set_new(request, "id", json_string(ab_id_text(ab_id_make(ab_wall_ms()), id)));
    json_t *answer = bots ? service_ask(cli, bots, "save_skill", json_incref(request), &code) : NULL;
    if (answer)
        say_saved(cli, answer);
    json_decref(answer);
    json_decref(request);
    autobots_close(bots);
    return code;
}

/* ---- show, rm ---- */

static void print_fact(const char *name, const char *text)
{
    char *clean = term_line(text, 0);
    printf("%-12s %s\n", name, clean);
    free(clean);
}

static void print_skill(const json_t *skill)
{
    static const char *const facts[] = {"title", "description", "file_name", "language", "timestamp"};
    const char *content = ab_tree_str(skill, "content");
    char *parameters = json_dumps(json_object_get(skill, "parameters"), JSON_COMPACT);
    printf("%-12s %s@%lld\n", "skill", ab_tree_str(skill, "name"), (long long)ab_tree_int(skill, "version", 0));
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        const char *text = ab_tree_str(skill, facts[i]);
        if (text && *text)
            print_fact(facts[i], text);
    }
    print_fact("parameters", parameters ? parameters : "");
    printf("%-12s %s\n%-12s %lld\n\n", "idempotent",
           ab_tree_bool(skill, "idempotent", false) ? "true" : "false", "timeout_s",
           (long long)ab_tree_int(skill, "timeout_s", 0));
    term_text(stdout, content ? content : "", content ? strlen(content) : 0);
    free(parameters);
}

int verb_skills_show(struct cli *cli)
{
    struct ab_view name;
    uint64_t version;
    int code = CLI_DONE;
    if (!ab_skill_word(ab_view_of(cli->words[0]), &name, &version))
        return cli_failf(cli, CLI_USAGE, "%s: a skill is named NAME or NAME@VERSION", cli->words[0]);
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    json_t *request = json_pack("{s:s%, s:I}", "name", name.p, name.n, "version", (json_int_t)version);
    json_t *answer = bots ? service_ask(cli, bots, "get_skill", json_incref(request), &code) : NULL;
    if (answer && cli->json)
        term_json(stdout, json_incref(json_object_get(answer, "skill")));
    else if (answer)
        print_skill(json_object_get(answer, "skill"));
    json_decref(answer);
    json_decref(request);
    autobots_close(bots);
    return code;
}

int verb_skills_rm(struct cli *cli)
{
    return service_forget(cli, "delete_skill", "");
}
