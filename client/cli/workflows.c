/* Workflows that storage keeps under names: the verbs `workflows …`, and -w NAME of other verbs. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "common/clock.h"
#include "common/id.h"
#include "common/tree.h"
#include "common/workflow/workflow.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 100000, HASH_SHOWN = 12 };

/* ---- a word that names one: NAME or NAME@VERSION ---- */

bool workflow_is_file(const char *word)
{
    return !strcmp(word, "-") || strchr(word, '/') || ab_workflow_is_file_name(ab_view_of(word)) ||
           !access(word, F_OK);
}

/* {"name", "version"?} */
static json_t *named(struct cli *cli, const char *word, int *code)
{
    const char *at = strrchr(word, '@');
    json_t *request = json_pack("{s:s#}", "name", word, (int)(at ? (size_t)(at - word) : strlen(word)));
    uint64_t version = 0;
    if (at && (!parse_number(at + 1, &version) || !version))
        *code = cli_failf(cli, CLI_USAGE, "%s: behind the @ stands a version, 1 or greater", word);
    else if (at)
        json_object_set_new(request, "version", json_integer((json_int_t)version));
    if (!*code)
        return request;
    json_decref(request);
    return NULL;
}

static bool is_builtin(const char *word)
{
    return !strcmp(word, AB_WORKFLOW_BUILTIN_NAME);
}

/* The answer of get_workflow; NULL with *code after a message. */
static json_t *get(struct cli *cli, struct autobots *bots, const char *word, int *code)
{
    struct autobots_error err;
    json_t *request = named(cli, word, code), *tree = NULL;
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL, *answer = NULL;
    if (!text)
        return NULL;
    if (!autobots_query(bots, "get_workflow", text, &answer, &err)) {
        if (ab_json_parse(ab_view_of(answer), &tree, NULL))
            *code = cli_failf(cli, CLI_FAILED, "the answer of get_workflow is no JSON");
    } else if (err.code == AUTOBOTS_ENOTFOUND && !strcmp(err.path, "name")) {
        *code = cli_failf(cli, CLI_FAILED,
                          "%s: there is no such file, and user %s has no workflow of that name; "
                          "`autobots workflows` lists them",
                          word, cli->user);
    } else {
        *code = cli_fail(cli, &err);
    }
    free(text);
    free(answer);
    json_decref(request);
    return tree;
}

char *workflow_stored(struct cli *cli, struct autobots *bots, const char *word, int *code)
{
    if (is_builtin(word))
        return workflow_default(cli, code);
    json_t *answer = get(cli, bots, word, code);
    const char *text = ab_tree_str(answer, "workflow");
    char *workflow = text ? ab_strdup(text) : NULL;
    if (answer && !text)
        *code = cli_failf(cli, CLI_FAILED, "the service's answer has no workflow");
    json_decref(answer);
    return workflow;
}

/* ---- list ---- */

static void print_row(const json_t *record)
{
    static const char *const keys[] = {"name", "hash", "timestamp", "description"};
    static const size_t columns[] = {AB_WORKFLOW_NAME_MAX, HASH_SHOWN, 10, 60};
    char *cells[4], version[24] = "built in";
    for (int i = 0; i < 4; i++) {
        const char *text = ab_tree_str(record, keys[i]);
        cells[i] = term_line(text ? text : "", 0);
        if (strlen(cells[i]) > columns[i] && i != 3)
            cells[i][columns[i]] = 0; /* ASCII */
    }
    char *description = term_line(cells[3], columns[3]);
    if (!ab_tree_bool(record, "builtin", false))
        snprintf(version, sizeof version, "@%lld", (long long)ab_tree_int(record, "version", 0));
    term_row(stdout, "%-24s  %-8s  %-12s  %-10s  %s", cells[0], version, cells[1], cells[2], description);
    free(description);
    for (int i = 0; i < 4; i++)
        free(cells[i]);
}

static int list(struct cli *cli, struct autobots *bots, json_t *request, uint64_t limit)
{
    size_t shown;
    int code = service_list(cli, bots, "list_workflows", request, "workflows", limit, print_row, &shown);
    if (!code && !shown)
        code = cli_failf(cli, CLI_FAILED, "user %s has no workflow %s", cli->user, cli->words[0]);
    return code;
}

int verb_workflows(struct cli *cli)
{
    uint64_t limit = LIMIT_DEFAULT;
    int code = CLI_DONE;
    if (cli->option[OPT_limit] &&
        (!parse_number(cli->option[OPT_limit], &limit) || !limit || limit > LIMIT_MAX))
        return cli_failf(cli, CLI_USAGE, "--limit is a number from 1 to %d", LIMIT_MAX);
    json_t *request = json_object();
    if (cli->n)
        json_object_set_new(request, "name", json_string(cli->words[0]));
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    if (bots)
        code = list(cli, bots, request, limit);
    json_decref(request);
    autobots_close(bots);
    return code;
}

/* ---- add ---- */

/* Takes the references away that ab_workflow_extract_secrets has put in the keys' places. */
static void drop_references(json_t *tree)
{
    const char *key;
    json_t *value;
    void *next;
    size_t i;
    json_object_foreach_safe (tree, next, key, value) {
        if (!strcmp(key, "api_key") && json_object_get(value, "$secret"))
            json_object_del(tree, key);
        else
            drop_references(value);
    }
    json_array_foreach (tree, i, value)
        drop_references(value);
}

/* A key is never stored: the text without any. */
static char *without_keys(struct cli *cli, char *text, int *code)
{
    struct ab_secret_list keys = {0};
    struct ab_error err = {0};
    json_t *tree = json_loads(text, 0, NULL);
    char *clean = NULL;
    if (ab_workflow_extract_secrets(tree, &keys, &err)) {
        *code = cli_failf(cli, CLI_FAILED, "%s: %s", err.path, err.text);
    } else {
        if (keys.n)
            fprintf(stderr,
                    "%zu api_key%s not stored; jobs of this workflow use those of the workers "
                    "(OPENAI_API_KEY, or api_key_env of `models`)\n",
                    keys.n, keys.n == 1 ? " is" : "s are");
        drop_references(tree);
        clean = json_dumps(tree, JSON_COMPACT);
    }
    ab_secret_list_finish(&keys);
    json_decref(tree);
    explicit_bzero(text, strlen(text));
    free(text);
    return clean;
}

static json_t *save_request(struct cli *cli, int *code)
{
    char id[AB_ID_TEXT];
    char *text = workflow_read(cli, cli->words[0], code);
    text = text ? without_keys(cli, text, code) : NULL;
    if (!text)
        return NULL;
    json_t *request = json_pack("{s:s, s:s}", "workflow", text, "id", ab_id_text(ab_id_make(ab_wall_ms()), id));
    if (cli->option[OPT_name])
        json_object_set_new(request, "name", json_string(cli->option[OPT_name]));
    free(text);
    return request;
}

static void say_saved(struct cli *cli, const json_t *answer)
{
    const json_t *record = json_object_get(answer, "workflow");
    bool created = ab_tree_bool(answer, "created", false);
    const char *name = ab_tree_str(record, "name"), *hash = ab_tree_str(record, "hash");
    if (cli->json) {
        json_t *said = json_deep_copy(record);
        json_object_set_new(said, "created", json_boolean(created));
        term_json(stdout, said);
        return;
    }
    char *clean = term_line(name ? name : "?", 0);
    printf("%s@%lld  %.*s%s\n", clean, (long long)ab_tree_int(record, "version", 0), HASH_SHOWN,
           hash ? hash : "", created ? "" : "  was there already");
    free(clean);
}

int verb_workflows_add(struct cli *cli)
{
    int code = CLI_DONE;
    json_t *request = save_request(cli, &code); /* a faulty file is told before a missing service */
    struct autobots *bots = request ? service_open(cli, SERVICE_STORAGE, &code) : NULL;
    json_t *answer = bots ? service_ask(cli, bots, "save_workflow", json_incref(request), &code) : NULL;
    if (answer)
        say_saved(cli, answer);
    json_decref(answer);
    json_decref(request);
    autobots_close(bots);
    return code;
}

/* ---- show, rm ---- */

/* {"record", "workflow": its text}, as get_workflow answers; the built-in one with the model that is meant here. */
static json_t *whole(struct cli *cli, struct autobots *bots, int *code)
{
    if (!is_builtin(cli->words[0]))
        return get(cli, bots, cli->words[0], code);
    char *text = workflow_default(cli, code);
    json_t *tree = text ? json_pack("{s:{s:s, s:b}, s:s}", "record", "name", AB_WORKFLOW_BUILTIN_NAME,
                                    "builtin", 1, "workflow", text)
                        : NULL;
    free(text);
    return tree;
}

int verb_workflows_show(struct cli *cli)
{
    int code = CLI_DONE;
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    json_t *answer = bots ? whole(cli, bots, &code) : NULL, *workflow = NULL;
    if (answer && ab_json_parse(ab_tree_view(answer, "workflow"), &workflow, NULL))
        code = cli_failf(cli, CLI_FAILED, "the stored workflow is no JSON");
    if (workflow && cli->json) {
        json_t *shown = json_deep_copy(json_object_get(answer, "record"));
        json_object_set(shown, "workflow", workflow);
        term_json(stdout, shown);
    } else if (workflow) { /* can be written to a file and run or added again */
        char *text = json_dumps(workflow, JSON_INDENT(2));
        term_text(stdout, text, strlen(text));
        fputs("\n", stdout);
        free(text);
    }
    json_decref(workflow);
    json_decref(answer);
    autobots_close(bots);
    return code;
}

int verb_workflows_rm(struct cli *cli)
{
    return service_forget(cli, "delete_workflow", "; jobs that ran with it keep it");
}
