/* Workflows of the command line: a file with its faults at their lines, or the built-in one; and `validate`. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "common/tree.h"
#include "common/workflow/workflow.h"

static const char *environment(void *context, const char *name)
{
    (void)context;
    return getenv(name);
}

/* ---- reading ---- */

static int read_all(const char *file, struct ab_buf *text, struct ab_error *err)
{
    FILE *in = strcmp(file, "-") ? fopen(file, "re") : stdin;
    if (!in)
        return ab_fail_at(err, AB_EUSAGE, file, "%s", strerror(errno));
    ab_buf_reserve(text, AB_WORKFLOW_BYTES_MAX + 1);
    text->n = fread(text->p, 1, AB_WORKFLOW_BYTES_MAX + 1, in);
    int rc = ferror(in) ? ab_fail_at(err, AB_EUSAGE, file, "%s", strerror(errno)) : 0;
    if (!rc && text->n > AB_WORKFLOW_BYTES_MAX)
        rc = ab_fail_at(err, AB_ETOOLARGE, file, "a workflow has at most %d bytes", AB_WORKFLOW_BYTES_MAX);
    if (in != stdin)
        fclose(in);
    return rc;
}

/* A file with everything that is known of it. */
struct document {
    const char *file;
    struct ab_places *places;
    struct ab_faults faults, warnings;
    json_t *tree;        /* expanded, keys still in it */
    char *workflow_name; /* of a valid one */
    size_t agents;
};

static void document_finish(struct document *document)
{
    ab_places_destroy(document->places);
    ab_faults_finish(&document->faults);
    ab_faults_finish(&document->warnings);
    json_decref(document->tree);
    free(document->workflow_name);
}

/* Validates a copy without its keys. */
static void document_check(struct document *document, unsigned flags)
{
    struct ab_secret_list secrets = {0};
    struct ab_workflow *workflow = NULL;
    struct ab_error err = {0};
    json_t *copy = json_deep_copy(document->tree);
    if (ab_workflow_extract_secrets(copy, &secrets, &err))
        ab_faults_add(&document->faults, err.path, err.text, "%s", "");
    else if (!ab_workflow_parse(copy, flags, &workflow, &document->faults, &document->warnings, &err)) {
        document->workflow_name = ab_strdup(workflow->name);
        document->agents = 1 + workflow->n_receivers;
        ab_workflow_supported(workflow, &document->faults);
    } else if (!document->faults.n)
        ab_faults_add(&document->faults, err.path, err.text, "%s", "");
    ab_workflow_destroy(workflow);
    ab_secret_list_finish(&secrets);
    json_decref(copy);
}

static int document_read(struct document *document, const char *file, unsigned flags, struct ab_error *err)
{
    struct ab_buf text = {0};
    *document = (struct document){.file = file, .places = ab_places_create()};
    int rc = read_all(file, &text, err);
    if (!rc) {
        rc = ab_tree_parse(ab_buf_view(&text), file, &document->tree, document->places, err);
        if (rc) { /* "line 3 column 5" */
            size_t line = 0, column = 0;
            char place[AB_ERROR_PATH_MAX];
            if (sscanf(err->path, "line %zu column %zu", &line, &column) == 2)
                snprintf(place, sizeof place, "%.120s:%zu:%zu", file, line, column);
            else
                snprintf(place, sizeof place, "%.150s", file);
            memcpy(err->path, place, sizeof place);
        }
    }
    if (!rc) {
        ab_workflow_expand(document->tree, environment, NULL, &document->faults);
        document_check(document, flags);
    }
    ab_buf_finish(&text);
    return rc;
}

/* ---- showing faults ---- */

void faults_print(const struct ab_places *places, const char *file, const struct ab_faults *faults,
                  const char *kind, FILE *out)
{
    for (size_t i = 0; i < faults->n; i++) {
        const struct ab_fault *fault = &faults->items[i];
        char *place = ab_places_describe(places, file, fault->path);
        char *line = ab_format("%s: %s%s%s%s", place, kind, fault->what, *fault->hint ? "; " : "", fault->hint);
        char *clean = term_line(line, 0);
        fprintf(out, "%s\n", clean);
        free(place);
        free(line);
        free(clean);
    }
    if (faults->dropped)
        fprintf(out, "… and %zu more\n", faults->dropped);
}

static json_t *faults_json(const struct ab_places *places, const struct ab_faults *faults)
{
    json_t *list = json_array();
    for (size_t i = 0; i < faults->n; i++) {
        const struct ab_fault *fault = &faults->items[i];
        json_t *row =
            json_pack("{s:s, s:s, s:s}", "path", fault->path, "what", fault->what, "hint", fault->hint);
        size_t line, column;
        if (ab_places_find(places, fault->path, &line, &column)) {
            json_object_set_new(row, "line", json_integer((json_int_t)line));
            json_object_set_new(row, "column", json_integer((json_int_t)column));
        }
        json_array_append_new(list, row);
    }
    return list;
}

int faults_tell(struct cli *cli, const struct ab_places *places, const char *file,
                const struct ab_faults *faults)
{
    faults_print(places, file, faults, "", stderr);
    if (cli->json)
        term_json(stdout, json_pack("{s:{s:s, s:s, s:s, s:o}}", "error", "code", "invalid", "path",
                                    faults->items[0].path, "text", faults->items[0].what, "faults",
                                    faults_json(places, faults)));
    return CLI_FAILED;
}

static int syntax_fault(struct cli *cli, const struct ab_error *err)
{
    struct autobots_error shown;
    memcpy(&shown, err, sizeof shown);
    cli_fail(cli, &shown);
    return err->code == AB_EUSAGE ? CLI_USAGE : CLI_FAILED;
}

int verb_validate(struct cli *cli)
{
    struct document document;
    struct ab_error err;
    int code = CLI_DONE;
    if (document_read(&document, cli->words[0], AB_WORKFLOW_STRICT, &err))
        code = syntax_fault(cli, &err);
    else {
        code = document.faults.n ? CLI_FAILED : CLI_DONE;
        if (cli->json)
            term_json(stdout,
                      json_pack("{s:s, s:b, s:o, s:o}", "file", document.file, "valid", code == CLI_DONE,
                                "faults", faults_json(document.places, &document.faults), "warnings",
                                faults_json(document.places, &document.warnings)));
        else {
            faults_print(document.places, document.file, &document.faults, "", stdout);
            faults_print(document.places, document.file, &document.warnings, "warning: ", stdout);
            if (code == CLI_DONE)
                printf("%s: valid: workflow \"%s\", %zu agents\n", document.file, document.workflow_name,
                       document.agents);
            else
                printf("%s: %zu fault%s\n", document.file, document.faults.n + document.faults.dropped,
                       document.faults.n == 1 ? "" : "s");
        }
    }
    document_finish(&document);
    return code;
}

char *workflow_read(struct cli *cli, const char *file, int *code)
{
    struct document document;
    struct ab_error err;
    char *text = NULL;
    if (document_read(&document, file, 0, &err))
        *code = syntax_fault(cli, &err);
    else if (document.faults.n) {
        *code = faults_tell(cli, document.places, file, &document.faults);
    } else {
        faults_print(document.places, file, &document.warnings, "warning: ", stderr);
        text = json_dumps(document.tree, JSON_COMPACT);
    }
    document_finish(&document);
    return text;
}

/* ---- the built-in one ---- */

/* A model of the configuration that is named in full. */
static const char *configured_model(const struct cli *cli)
{
    const json_t *models = ab_config_tree(cli->config, AB_CONF_MODELS);
    for (size_t i = 0; i < json_array_size(models); i++) {
        const char *name = ab_tree_str(json_array_get(models, i), "name");
        if (name && !strpbrk(name, "*?["))
            return name;
    }
    return NULL;
}

char *workflow_parse_yaml(const char *yaml)
{
    json_t *tree = NULL;
    char *text = NULL;
    if (!ab_yaml_parse(ab_view_of(yaml), &tree, NULL, NULL))
        text = json_dumps(tree, JSON_COMPACT);
    json_decref(tree);
    return text;
}

char *workflow_builtin(const char *model)
{
    char *yaml = ab_workflow_builtin(model), *text = workflow_parse_yaml(yaml);
    free(yaml);
    return text;
}

char *workflow_default(struct cli *cli, int *code)
{
    bool offline = ab_config_bool(cli->config, AB_CONF_OFFLINE);
    const char *model = cli->option[OPT_model];
    service_supervisor(ab_config_text(cli->config, AB_CONF_DIR), &offline);
    if (!model)
        model = getenv("MODEL");
    if (!model || !*model)
        model = configured_model(cli);
    if (model || offline)
        return workflow_builtin(model);
    *code = cli_failf(
        cli, CLI_USAGE,
        "no model: set MODEL=NAME (and OPENAI_API_KEY where the workers run), name one with --model, take a "
        "workflow with -w FILE, or start the service offline: autobots up --offline");
    return NULL;
}
