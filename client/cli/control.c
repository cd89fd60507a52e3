/* The verbs that steer a job: cancel, pause, resume, input; and those that make a new one of it: retry, fork. */
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "common/tree.h"

static int said(struct cli *cli, int rc, const struct autobots_error *err, const char *id, const char *what)
{
    if (rc)
        return cli_fail(cli, err);
    if (cli->json)
        term_json(stdout, json_pack("{s:s, s:b}", "id", id, what, 1));
    else
        printf("%s: %s\n", id, what);
    return CLI_DONE;
}

/* One word to the job that is named first; `text` may be NULL. */
static int say(struct cli *cli, const char *what, const char *text,
               int (*send)(struct autobots *bots, const char *job, const char *text,
                           struct autobots_error *err))
{
    int code;
    char id[AUTOBOTS_ID_TEXT];
    struct autobots_error err;
    struct autobots *bots = open_for_job(cli, id, &code);
    if (bots)
        code = said(cli, send(bots, id, text, &err), &err, id, what);
    autobots_close(bots);
    return code;
}

int verb_cancel(struct cli *cli)
{
    return say(cli, "cancelling", cli->n > 1 ? cli->words[1] : NULL, autobots_cancel);
}

int verb_pause(struct cli *cli)
{
    return say(cli, "pausing", cli->n > 1 ? cli->words[1] : NULL, autobots_pause);
}

int verb_resume(struct cli *cli)
{
    return say(cli, "resumed", NULL, autobots_resume);
}

int verb_input(struct cli *cli)
{
    int code;
    char id[AUTOBOTS_ID_TEXT];
    struct autobots_error err;
    struct autobots *bots = open_for_job(cli, id, &code);
    if (bots) {
        memmove(cli->words, cli->words + 1, (size_t)--cli->n * sizeof *cli->words);
        char *text = message_text(cli, &code);
        if (text)
            code = said(cli, autobots_input(bots, id, text, &err), &err, id, "answered");
        free(text);
    }
    autobots_close(bots);
    return code;
}

/* ---- retry, fork ---- */

/* What a new job is made of. */
struct source {
    struct autobots *bots;
    json_t *answer;    /* of get_job; owned */
    const json_t *job; /* in it */
    char *workflow;    /* given again, or NULL */
    uint64_t seq;      /* the last event that is copied */
};

static void source_close(struct source *source)
{
    json_decref(source->answer);
    free(source->workflow);
    autobots_close(source->bots);
}

static int source_open(struct cli *cli, struct source *source)
{
    int code = CLI_DONE;
    *source = (struct source){0};
    const char *word = cli->option[OPT_workflow];
    bool stored = word && !workflow_is_file(word);
    if (word && !stored)
        source->workflow = workflow_read(cli, word, &code);
    if (!code)
        source->bots = service_open(cli, SERVICE_BROKER | SERVICE_STORAGE, &code);
    if (source->bots && stored)
        source->workflow = workflow_stored(cli, source->bots, word, &code);
    if (source->bots && !code)
        source->answer =
            service_ask(cli, source->bots, "get_job", json_pack("{s:s}", "job", cli->words[0]), &code);
    source->job = json_object_get(source->answer, "job");
    if (source->answer && !ab_tree_str(source->job, "id"))
        code = cli_failf(cli, CLI_FAILED, "the service's answer has no job");
    return code;
}

static int submit_fork(struct cli *cli, const struct source *source, const char *session, const char *message,
                       const char *edit)
{
    int code = CLI_DONE;
    struct autobots_job job = {.workflow = source->workflow,
                               .fork_of = ab_tree_str(source->job, "id"),
                               .fork_seq = source->seq,
                               .fork_text = edit,
                               .text = message,
                               .session = session,
                               .no_session = !session && !ab_tree_str(source->job, "session")};
    return read_deadline(cli, &job, &code) ? submit_and_follow(cli, source->bots, &job) : code;
}

static bool is(const json_t *event, const char *key, const char *value)
{
    const char *text = ab_tree_str(event, key);
    return text && !strcmp(text, value);
}

/* The last good event: the one before the end, or before the answer that did not fit its response_format. */
static int last_good(struct cli *cli, struct source *source)
{
    int code = CLI_DONE;
    const char *path = ab_tree_str(json_object_get(source->job, "end"), "path");
    static const char format[] = ".response_format";
    size_t n = path ? strlen(path) : 0;
    source->seq = (uint64_t)ab_tree_int(source->job, "seq", 1) - 1;
    if (n < sizeof format || strcmp(path + n - (sizeof format - 1), format))
        return code;
    json_t *events = run_events(cli, source->bots, ab_tree_str(source->job, "id"), NULL, &code), *event;
    size_t i;
    json_array_foreach (events, i, event) {
        if (is(event, "kind", "model_reply"))
            source->seq = (uint64_t)ab_tree_int(event, "seq", 1) - 1;
    }
    json_decref(events);
    return code;
}

int verb_retry(struct cli *cli)
{
    struct source source;
    int code = source_open(cli, &source);
    const char *state = ab_tree_str(source.job, "state"), *id = ab_tree_str(source.job, "id");
    if (!code && !json_object_get(source.job, "end"))
        code = cli_failf(cli, CLI_FAILED, "%s has not ended, it is %s; `autobots fork` makes a new job of it",
                         id, state ? state : "open");
    else if (!code && state && !strcmp(state, "succeeded"))
        code = cli_failf(cli, CLI_FAILED, "%s has succeeded; `autobots fork` makes a new job of it", id);
    if (!code)
        code = last_good(cli, &source);
    if (!code)
        code = submit_fork(cli, &source, ab_tree_str(source.job, "session"), NULL, NULL);
    source_close(&source);
    return code;
}

/* The last event of that step: a turn, a reply or an answer; NULL: the first that begins the run. 0 if there is none. */
static uint64_t seq_of(const json_t *events, const char *step)
{
    size_t i;
    json_t *event;
    uint64_t found = 0;
    json_array_foreach (events, i, event) {
        uint64_t seq = (uint64_t)ab_tree_int(event, "seq", 0);
        if (!step && is(event, "kind", "begin"))
            return seq;
        if (step && (is(event, "step", step) || (is(event, "kind", "input") && is(event, "ask", step))))
            found = seq;
    }
    return found;
}

static int find_seq(struct cli *cli, struct source *source)
{
    int code = CLI_DONE;
    const char *at = cli->option[OPT_at], *step = cli->option[OPT_step], *id = ab_tree_str(source->job, "id");
    if (at && step)
        return cli_failf(cli, CLI_USAGE, "--at and --step both say where: give one of them");
    if (at)
        return parse_number(at, &source->seq) ? CLI_DONE
                                              : cli_failf(cli, CLI_USAGE, "--at %s is no event number", at);
    json_t *events = run_events(cli, source->bots, id, NULL, &code);
    if (events)
        source->seq = seq_of(events, step);
    if (events && step && !source->seq)
        code = cli_failf(cli, CLI_FAILED, "%s has no event of step %s; `autobots watch %s --json` shows them",
                         id, step, id);
    json_decref(events);
    return code;
}

int verb_fork(struct cli *cli)
{
    struct source source;
    const char *text = cli->option[OPT_text];
    bool inside = cli->option[OPT_at] || cli->option[OPT_step];
    int code = source_open(cli, &source);
    if (!code)
        code = find_seq(cli, &source);
    if (!code)
        code = submit_fork(cli, &source, cli->option[OPT_session], inside ? NULL : text, inside ? text : NULL);
    source_close(&source);
    return code;
}
