/* `skills test`: a skill is called with these arguments, in the sandbox of this machine, by the worker's program. No service is
 * needed for a file. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "common/json_schema.h"
#include "common/skill.h"

enum { ANSWER_BYTES_MAX = 4 << 20 };

/* ---- what is called ---- */

/* A file if it looks like one, as with workflows; else NAME[@VERSION] of a stored one. */
static bool is_file(const char *word)
{
    const char *dot = strrchr(word, '.');
    return strchr(word, '/') || (dot && (!strcmp(dot, ".py") || !strcmp(dot, ".sh"))) || !access(word, F_OK);
}

static json_t *stored(struct cli *cli, int *code)
{
    struct ab_view name;
    uint64_t version;
    json_t *skill = NULL;
    if (!ab_skill_word(ab_view_of(cli->words[0]), &name, &version)) {
        *code =
            cli_failf(cli, CLI_USAGE, "%s: there is no such file, and a skill is named NAME or NAME@VERSION",
                      cli->words[0]);
        return NULL;
    }
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, code);
    json_t *answer =
        bots ? service_ask(cli, bots, "get_skill",
                           json_pack("{s:s%, s:I}", "name", name.p, name.n, "version", (json_int_t)version),
                           code)
             : NULL;
    skill = json_incref(json_object_get(answer, "skill"));
    json_decref(answer);
    autobots_close(bots);
    return skill;
}

/* The file as storage would keep it. */
static json_t *unstored(struct cli *cli, int *code)
{
    json_t *request = skill_request(cli, cli->words[0], code), *tree = NULL;
    struct ab_faults faults = {0};
    struct ab_error err;
    struct ab_skill skill;
    if (!request)
        return NULL;
    struct ab_skill_given given = {.content = ab_tree_view(request, "content"),
                                   .name = ab_tree_view(request, "name"),
                                   .file_name = ab_tree_view(request, "file_name"),
                                   .parameters = json_object_get(request, "parameters")};
    if (!ab_skill_read(&given, &skill, NULL, &faults, &err)) /* it was checked */
        tree = json_pack("{s:s, s:s, s:O, s:O, s:I}", "name", skill.name, "language", skill.language, "content",
                         json_object_get(request, "content"), "parameters", skill.parameters, "timeout_s",
                         (json_int_t)skill.timeout_s);
    ab_skill_finish(&skill);
    ab_faults_finish(&faults);
    json_decref(request);
    return tree;
}

/* The arguments, held against the skill's parameters as for a model. */
static json_t *read_arguments(struct cli *cli, const json_t *skill, int *code)
{
    const char *text = cli->option[OPT_arguments] ? cli->option[OPT_arguments] : "{}";
    struct ab_faults faults = {0};
    struct ab_error err;
    json_t *arguments = NULL;
    if (ab_json_parse(ab_view_of(text), &arguments, &err))
        *code = cli_failf(cli, CLI_USAGE, "--arguments is no JSON: %s: %s", err.path, err.text);
    else if (ab_json_schema_validate(json_object_get(skill, "parameters"), arguments, &faults))
        *code = faults_tell(cli, NULL, "--arguments", &faults);
    ab_faults_finish(&faults);
    return arguments;
}

/* What the worker's program answers to the request. */
static json_t *ask_worker(struct cli *cli, const json_t *request, int *code)
{
    char *text = json_dumps(request, JSON_COMPACT);
    char *answer = worker_ask(cli, "--skill-test", text, ANSWER_BYTES_MAX);
    json_t *tree = NULL;
    if (!answer || ab_json_parse(ab_view_of(answer), &tree, NULL))
        *code = cli_failf(cli, CLI_FAILED, "autobots-worker --skill-test gives no answer");
    free(answer);
    free(text);
    return tree;
}

/* ---- what came of it ---- */

static void print_answer(const json_t *answer)
{
    const char *output = ab_tree_str(answer, "output"), *stopped = ab_tree_str(answer, "stopped");
    int64_t exit_code = ab_tree_int(answer, "exit_code", 0), bytes = ab_tree_int(answer, "output_bytes", 0);
    size_t i;
    json_t *file;
    term_text(stdout, output, strlen(output));
    fflush(stdout);
    if (bytes > (int64_t)strlen(output))
        fprintf(stderr, "[of %lld bytes of output only the first are shown]\n", (long long)bytes);
    if (stopped)
        fprintf(stderr, "stopped: %s\n", stopped);
    else if (exit_code)
        fprintf(stderr, "exit code %lld: a model is told that it failed, with its output\n",
                (long long)exit_code);
    json_array_foreach (json_object_get(answer, "files"), i, file) {
        char *path = term_line(ab_tree_str(file, "path"), 0);
        fprintf(stderr, "made %s, %lld bytes\n", path, (long long)ab_tree_int(file, "bytes", 0));
        free(path);
    }
}

int verb_skills_test(struct cli *cli)
{
    int code = CLI_DONE;
    json_t *skill = is_file(cli->words[0]) ? unstored(cli, &code) : stored(cli, &code);
    json_t *arguments = skill ? read_arguments(cli, skill, &code) : NULL, *answer = NULL;
    if (arguments && !code) {
        json_object_set(skill, "arguments", arguments);
        answer = ask_worker(cli, skill, &code);
    }
    const char *error = ab_tree_str(answer, "error");
    if (error)
        code = cli_failf(cli, CLI_FAILED, "%s", error);
    else if (answer) {
        code = ab_tree_int(answer, "exit_code", 1) ? CLI_FAILED : CLI_DONE;
        if (cli->json)
            term_json(stdout, json_incref(answer));
        else
            print_answer(answer);
    }
    json_decref(answer);
    json_decref(arguments);
    json_decref(skill);
    return code;
}
