/* Submitting: the message and what goes with it, and what becomes of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "common/clock.h"
#include "common/tree.h"

enum { MESSAGE_BYTES_MAX = 64 << 20 };

/* What was read, checked; takes the buffer. */
static char *checked_message(struct cli *cli, struct ab_buf *text, bool failed, int *code)
{
    struct ab_error err = {0};
    if (failed)
        ab_fail_at(&err, AB_EUSAGE, "standard input", "%s", strerror(errno));
    else if (text->n > MESSAGE_BYTES_MAX)
        ab_fail_at(&err, AB_ETOOLARGE, "text", "a message has at most %d bytes", MESSAGE_BYTES_MAX);
    else if (text->n && memchr(text->p, 0, text->n))
        ab_fail_at(&err, AB_EINVALID, "text", "a message is text; this one has a byte 0 in it");
    if (err.code) {
        struct autobots_error shown;
        memcpy(&shown, &err, sizeof shown);
        *code = cli_fail(cli, &shown);
        ab_buf_finish(text);
        return NULL;
    }
    while (text->n && text->p[text->n - 1] == '\n')
        text->n--;
    return ab_buf_detach(text);
}

static char *read_stdin(struct cli *cli, int *code)
{
    struct ab_buf text = {0};
    ssize_t n;
    do {
        ab_buf_reserve(&text, 65536);
        n = read(0, text.p + text.n, 65536);
        if (n > 0)
            text.n += (size_t)n;
    } while (text.n <= MESSAGE_BYTES_MAX && (n > 0 || (n < 0 && errno == EINTR)));
    return checked_message(cli, &text, n < 0, code);
}

/* All words are one message; `-` is standard input; none: the workflow's own task. */
char *message_text(struct cli *cli, int *code)
{
    if (cli->n == 1 && !strcmp(cli->words[0], "-"))
        return read_stdin(cli, code);
    struct ab_buf text = {0};
    for (int i = 0; i < cli->n; i++) {
        ab_buf_text(&text, i ? " " : "");
        ab_buf_text(&text, cli->words[i]);
    }
    return ab_buf_detach(&text);
}

/* Without a message: the workflow's task (the library takes it), else the configured question. */
static const char *default_text(const struct cli *cli, const char *workflow)
{
    const char *query = ab_config_text(cli->config, AB_CONF_DEFAULT_QUERY);
    json_t *tree = *query ? json_loads(workflow, 0, NULL) : NULL;
    bool has_task = ab_tree_str(tree, "task");
    json_decref(tree);
    return *query && !has_task ? query : NULL;
}

bool read_deadline(struct cli *cli, struct autobots_job *job, int *code)
{
    int64_t ms;
    const char *text = cli->option[OPT_deadline];
    if (!text)
        return true;
    if (!parse_duration(text, &ms)) {
        *code = cli_failf(cli, CLI_USAGE, "--deadline %s is no duration such as 90s, 10m or 2h", text);
        return false;
    }
    job->deadline_ms = (uint64_t)(ab_wall_ms() + ms);
    return true;
}

/* The protocol's word for --if-busy; false with *code. */
static bool read_if_busy(struct cli *cli, const char **word, int *code)
{
    static const char *const words[][2] = {
        {"enqueue", "enqueue"}, {"reject", "reject"}, {"interrupt", "interrupt"}, {"new-job", "new_job"}};
    const char *given = cli->option[OPT_if_busy];
    for (size_t i = 0; given && i < sizeof words / sizeof *words; i++)
        if (!strcmp(given, words[i][0])) {
            *word = words[i][1];
            return true;
        }
    if (given)
        *code = cli_failf(cli, CLI_USAGE, "--if-busy is enqueue, reject, interrupt or new-job, not %s", given);
    return !given;
}

struct submitting {
    struct submitted *out;
    struct autobots_error error;
    bool done;
};

static void on_submitted(void *context, const struct autobots_answer *answer)
{
    struct submitting *s = context;
    s->done = true;
    if (answer->error) {
        s->error = *answer->error;
        return;
    }
    *s->out = (struct submitted){.session = answer->session ? ab_strdup(answer->session) : NULL,
                                 .answer = answer->input,
                                 .after = answer->seq};
    snprintf(s->out->job, sizeof s->out->job, "%s", answer->job);
}

int submit_message(struct cli *cli, struct autobots *bots, const struct autobots_job *given,
                   struct submitted *out)
{
    int code = CLI_DONE;
    char id[AUTOBOTS_ID_TEXT];
    struct autobots_job job = *given;
    struct submitting s = {.out = out};
    if (!read_if_busy(cli, &job.if_busy, &code))
        return code;
    if (autobots_start_submit(bots, &job, id, on_submitted, &s, &s.error))
        return cli_fail(cli, &s.error);
    while (!s.done)
        autobots_step(bots, -1);
    if (s.error.code)
        return cli_fail(cli, &s.error);
    if (out->answer)
        fprintf(stderr, "taken as the answer to the question of job %s\n", out->job);
    return CLI_DONE;
}

int submit_and_follow(struct cli *cli, struct autobots *bots, const struct autobots_job *job)
{
    struct submitted made;
    int failed = submit_message(cli, bots, job, &made);
    if (failed)
        return failed;
    const char *id = made.job;
    free(made.session);
    if (cli->option[OPT_detach]) {
        if (cli->json)
            term_json(stdout, made.answer ? json_pack("{s:s, s:b}", "id", id, "answered", 1)
                                          : json_pack("{s:s}", "id", id));
        else
            puts(id);
        return CLI_DONE;
    }
    if (!cli->json && isatty(2))
        fprintf(stderr, "%s%s%s\n", term_dim(term_colours(stderr)), id, term_reset(term_colours(stderr)));
    view_catch_signals();
    struct view *view = view_create(cli, stdout, cli->json);
    bool asks = isatty(STDIN_FILENO) && !cli->json;
    int code = asks ? follow_and_answer(cli, bots, view, id, made.after)
                    : say_what_next(cli, view_follow(view, bots, id, made.after), id);
    view_destroy(view);
    return code;
}

/* What is attached goes with the text, which may be the workflow's own task. */
static int attach(struct cli *cli, struct autobots_job *job, char **content)
{
    int code = CLI_DONE;
    if (!cli->option[OPT_attach] && !cli->option[OPT_file])
        return code;
    json_t *workflow = json_loads(job->workflow, 0, NULL);
    const char *text = job->text ? job->text : ab_tree_str(workflow, "task");
    *content = content_with(cli, text, &code);
    job->content = *content;
    job->text = NULL;
    json_decref(workflow);
    return code;
}

int verb_submit(struct cli *cli)
{
    int code = CLI_DONE;
    const char *file = cli->option[OPT_workflow],
               *session = ab_config_text(cli->config, AB_CONF_DEFAULT_SESSION_ID);
    struct autobots_job job = {.session = cli->option[OPT_session] ? cli->option[OPT_session]
                                          : *session               ? session
                                                                   : NULL};
    if (!cli->n && !file)
        return cli_failf(cli, CLI_USAGE, "what is the message? autobots submit TEXT, or - for standard input");
    job.budget = cli->option[OPT_budget];
    if (!read_deadline(cli, &job, &code))
        return code;
    /* A faulty file is told before a missing service; a missing service before a missing model. */
    bool stored = file && !workflow_is_file(file);
    char *workflow = file && !stored ? workflow_read(cli, file, &code) : NULL;
    unsigned needs = stored ? SERVICE_BROKER | SERVICE_STORAGE : SERVICE_BROKER;
    struct autobots *bots = code ? NULL : service_open(cli, needs, &code);
    if (bots && !workflow)
        workflow = stored ? workflow_stored(cli, bots, file, &code) : workflow_default(cli, &code);
    char *text = bots && workflow ? message_text(cli, &code) : NULL, *content = NULL;
    if (text) {
        job.text = cli->n ? text : default_text(cli, workflow);
        job.workflow = workflow;
        code = attach(cli, &job, &content);
    }
    if (text && !code)
        code = submit_and_follow(cli, bots, &job);
    free(content);
    autobots_close(bots);
    free(workflow);
    free(text);
    return code;
}
