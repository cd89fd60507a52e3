/* A run in a file: `export` writes one, `import` brings it into another service. The format is in client/README.md.
 *
 * What people read in it (job, workflow, events) is JSON; what is imported is `exact`, the very bytes. The checksum is
 * over all of it, so that neither can be changed without the other.
 */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "common/clock.h"
#include "common/tree.h"

enum { RUN_VERSION = 2, CHECKSUM_BYTES = 32, RUN_FILE_BYTES_MAX = 1 << 30 };
static const char run_format[] = "autobots.run";

/* BLAKE2b-256, in base 16, of the run without its checksum: compact JSON, keys sorted, 15 digits for reals. */
static char *checksum_of(const json_t *run)
{
    json_t *rest = json_copy((json_t *)(uintptr_t)run);
    json_object_del(rest, "checksum");
    char *text = json_dumps(rest, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
    unsigned char hash[CHECKSUM_BYTES];
    char *hex = ab_alloc(2 * CHECKSUM_BYTES + 1);
    crypto_generichash(hash, sizeof hash, (const unsigned char *)text, strlen(text), NULL, 0);
    sodium_bin2hex(hex, 2 * CHECKSUM_BYTES + 1, hash, sizeof hash);
    free(text);
    json_decref(rest);
    return hex;
}

/* ---- export ---- */

/* The text of the job's workflow; NULL with *code. */
static char *read_workflow(struct cli *cli, struct autobots *bots, const json_t *job, int *code)
{
    const char *hash = ab_tree_str(job, "hash");
    json_t *answer = service_ask(cli, bots, "workflow", json_pack("{s:s}", "hash", hash ? hash : ""), code);
    const char *found = ab_tree_str(answer, "workflow");
    char *text = found ? ab_strdup(found) : NULL;
    if (answer && !text)
        *code = cli_failf(cli, CLI_FAILED, "the service's answer has no workflow");
    json_decref(answer);
    return text;
}

/* Takes events and contents (NULL: none). */
static json_t *build_run(json_t *job, const char *workflow, json_t *events, const char *bytes, json_t *contents)
{
    char when[AB_ISO8601_MAX];
    struct ab_buf input = {0};
    json_t *tree = NULL;
    run_add_hex(&input, ab_tree_str(job, "input"));
    json_object_del(job, "input");
    json_object_del(job, "end"); /* it is the last event */
    ab_json_parse(ab_view_of(workflow), &tree, NULL);
    json_t *run = json_pack("{s:s, s:i, s:s, s:s, s:O, s:o?, s:o, s:{s:s, s:s, s:s}}", "format", run_format,
                            "version", RUN_VERSION, "exported_at", ab_iso8601(ab_wall_ms(), when), "program",
                            autobots_version(), "job", job, "workflow", tree, "events", events, "exact",
                            "workflow", workflow, "input", ab_buf_cstr(&input), "journal", bytes);
    if (contents)
        json_object_set_new(run, "contents", contents);
    char *checksum = checksum_of(run);
    json_object_set_new(run, "checksum", json_string(checksum));
    free(checksum);
    ab_buf_finish(&input);
    return run;
}

/* What is not in the file is said. */
static void note_files(const json_t *events)
{
    size_t i, files = 0;
    json_t *event;
    json_array_foreach (events, i, event)
        files += json_array_size(json_object_get(event, "files"));
    if (files)
        fputs("the files that its code made are not exported: `autobots export --files` puts them in, `files "
              "get` fetches "
              "them\n",
              stderr);
}

int verb_export(struct cli *cli)
{
    int code = CLI_DONE;
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    json_t *answer =
        bots ? service_ask(cli, bots, "get_job", json_pack("{s:s, s:b}", "job", cli->words[0], "raw", 1), &code)
             : NULL;
    json_t *job = json_object_get(answer, "job");
    const char *id = ab_tree_str(job, "id");
    if (answer && !id)
        code = cli_failf(cli, CLI_FAILED, "the service's answer has no job");
    char *workflow = id ? read_workflow(cli, bots, job, &code) : NULL;
    struct ab_buf bytes = {0};
    json_t *events = workflow ? run_events(cli, bots, id, &bytes, &code) : NULL;
    json_t *contents = events && cli->option[OPT_files] ? run_contents_read(cli, bots, id, &code) : NULL;
    if (!cli->option[OPT_files])
        note_files(events);
    if (events && !code)
        term_json(stdout, build_run(job, workflow, events, ab_buf_cstr(&bytes), contents));
    ab_buf_finish(&bytes);
    free(workflow);
    json_decref(answer);
    autobots_close(bots);
    return code;
}

/* ---- import ---- */

bool run_file_is(const char *path)
{
    char head[64];
    FILE *in = fopen(path, "re");
    size_t n = in ? fread(head, 1, sizeof head, in) : 0, at = 0;
    if (in)
        fclose(in);
    if (n >= 3 && !memcmp(head, "\xef\xbb\xbf", 3))
        at = 3;
    while (at < n && memchr(" \t\r\n", head[at], 4))
        at++;
    return at < n && head[at] == '{';
}

static json_t *read_file(struct cli *cli, const char *path, int *code)
{
    struct ab_buf text = {0};
    FILE *in = fopen(path, "re");
    size_t n = 1;
    while (in && n && text.n <= RUN_FILE_BYTES_MAX) {
        ab_buf_reserve(&text, 1 << 16);
        n = fread(text.p + text.n, 1, 1 << 16, in);
        text.n += n;
    }
    json_error_t fault;
    json_t *run = NULL;
    if (!in || ferror(in))
        *code = cli_failf(cli, CLI_USAGE, "%s: %s", path, strerror(errno));
    else if (text.n > RUN_FILE_BYTES_MAX)
        *code = cli_failf(cli, CLI_FAILED, "%s: a run has at most %d bytes", path, RUN_FILE_BYTES_MAX);
    else if (!(run = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &fault)))
        *code = cli_failf(cli, CLI_FAILED, "%s:%d:%d: damaged: %s", path, fault.line, fault.column, fault.text);
    if (in)
        fclose(in);
    ab_buf_finish(&text);
    return run;
}

/* Why this run cannot be taken over; NULL if it can. malloc'ed. */
static char *fault_of(const json_t *run)
{
    static const char *const ends[] = {"succeeded", "failed", "cancelled", "expired", "dead"};
    const char *format = ab_tree_str(run, "format"), *said = ab_tree_str(run, "checksum");
    const json_t *job = json_object_get(run, "job");
    const char *state = ab_tree_str(job, "state");
    int64_t version = ab_tree_int(run, "version", 0);
    if (!format || strcmp(format, run_format))
        return ab_strdup("is no exported run: `format` is not autobots.run");
    if (version > RUN_VERSION)
        return ab_format("has version %lld of the format; this program knows up to %d: update it",
                         (long long)version, RUN_VERSION);
    if (version < RUN_VERSION)
        return ab_format("has version %lld of the format, which lacks the exact bytes: export it again",
                         (long long)version);
    char *checksum = checksum_of(run);
    bool same = said && !strcmp(checksum, said);
    free(checksum);
    if (!same)
        return ab_strdup("is damaged, or was changed by hand: its checksum does not fit");
    bool ended = false;
    for (size_t i = 0; state && i < sizeof ends / sizeof *ends; i++)
        ended |= !strcmp(state, ends[i]);
    if (!ended)
        return ab_format("its job had not ended when it was exported (%.20s): export it again when it has",
                         state ? state : "no state");
    int64_t first = ab_tree_int(json_array_get(json_object_get(run, "events"), 0), "seq", 0);
    if (first != 1)
        return ab_format("its journal begins with event %lld: the retention had removed what was before",
                         (long long)first);
    return NULL;
}

static json_t *request_of(const struct cli *cli, const json_t *run)
{
    static const char *const of_job[][2] = {
        {"job", "id"}, {"created_ms", "created_ms"}, {"ended_ms", "ended_ms"}, {"hash", "hash"}};
    static const char *const of_exact[][2] = {
        {"workflow", "workflow"}, {"input", "input"}, {"events", "journal"}};
    json_t *request = json_object();
    for (size_t i = 0; i < sizeof of_job / sizeof *of_job; i++)
        json_object_set(request, of_job[i][0], json_object_get(json_object_get(run, "job"), of_job[i][1]));
    for (size_t i = 0; i < sizeof of_exact / sizeof *of_exact; i++)
        json_object_set(request, of_exact[i][0],
                        json_object_get(json_object_get(run, "exact"), of_exact[i][1]));
    if (cli->option[OPT_session])
        json_object_set_new(request, "session", json_string(cli->option[OPT_session]));
    return request;
}

static void say_imported(const struct cli *cli, const json_t *run, const json_t *answer)
{
    const json_t *job = json_object_get(run, "job");
    const char *id = ab_tree_str(job, "id"), *state = ab_tree_str(job, "state");
    bool created = ab_tree_bool(answer, "created", false);
    long long events = (long long)ab_tree_int(answer, "seq", 0);
    if (cli->json)
        term_json(stdout, json_pack("{s:s, s:s, s:I, s:O?, s:b}", "id", id, "state", state, "events",
                                    (json_int_t)events, "session", json_object_get(answer, "session"),
                                    "created", created));
    else
        printf("%s: %s, %s, %lld events\n", id, created ? "imported" : "there already", state, events);
}

int run_file_import(struct cli *cli)
{
    int code = CLI_DONE;
    json_t *run = read_file(cli, cli->words[0], &code), *answer = NULL;
    char *fault = run ? fault_of(run) : NULL;
    if (fault)
        code = cli_failf(cli, CLI_FAILED, "%s: %s", cli->words[0], fault);
    /* A faulty file is told before a missing service. */
    struct autobots *bots = code ? NULL : service_open(cli, SERVICE_STORAGE, &code);
    if (bots)
        answer = service_ask(cli, bots, "import_run", request_of(cli, run), &code);
    json_t *contents = json_object_get(run, "contents");
    if (answer && contents)
        code = run_contents_write(cli, bots, ab_tree_str(json_object_get(run, "job"), "id"), contents);
    if (answer && !code)
        say_imported(cli, run, answer);
    json_decref(answer);
    json_decref(run);
    free(fault);
    autobots_close(bots);
    return code;
}
