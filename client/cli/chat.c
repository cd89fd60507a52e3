/* `autobots chat`: messages of one session, one after the other; and the answers that a person gives inline, here and in
 * `submit` on a terminal.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/lines.h"

struct chat {
    struct cli *cli;
    struct autobots *bots;
    struct view *view; /* outlives the client: late answers find it */
    struct lines lines;
    char *workflow, *session;   /* session: NULL until the first message was accepted */
    char job[AUTOBOTS_ID_TEXT]; /* the last one; "" before the first */
    bool job_open;              /* as far as is known here */
    bool plain;                 /* answers only: nothing is a command */
    bool over;
    int code; /* of the first message that failed */
};

/* ---- commands ---- */

static void command_help(struct chat *chat, const char *word);

static void command_session(struct chat *chat, const char *word)
{
    if (*word) {
        free(chat->session);
        chat->session = ab_strdup(word);
    }
    char *clean = term_line(chat->session ? chat->session : "a new one, made with the first message", 0);
    fprintf(stderr, "session: %s\n", clean);
    free(clean);
}

static void command_cancel(struct chat *chat, const char *word)
{
    struct autobots_error err;
    if (!chat->job_open)
        fprintf(stderr, "no job is open\n");
    else if (autobots_cancel(chat->bots, chat->job, *word ? word : NULL, &err))
        cli_fail(chat->cli, &err);
    else
        fprintf(stderr, "%s: cancelling\n", chat->job);
}

static void command_quit(struct chat *chat, const char *word)
{
    (void)word;
    chat->over = true;
}

static const struct command {
    const char *name, *help;
    void (*run)(struct chat *chat, const char *word);
} commands[] = {
    {"/help", "this list", command_help},
    {"/session", "which session this is; /session ID goes on with another", command_session},
    {"/cancel", "end the last job; a reason may follow", command_cancel},
    {"/quit", "end the chat, as Ctrl-D does", command_quit},
};

static void command_help(struct chat *chat, const char *word)
{
    (void)chat;
    (void)word;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(stderr, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(stderr, "  //…        a message that begins with /\n"
                    "Ctrl-C leaves the running job alone and comes back here.\n");
}

static void run_command(struct chat *chat, const char *line)
{
    size_t n = strcspn(line, " ");
    const char *word = line + n + strspn(line + n, " ");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strlen(commands[i].name) == n && !strncmp(commands[i].name, line, n)) {
            commands[i].run(chat, word);
            return;
        }
    char *clean = term_line(line, 60);
    fprintf(stderr, "there is no command %s; /help lists them, // sends a message that begins with /\n", clean);
    free(clean);
}

/* A line that is no command: its text, else NULL after the command ran. */
static const char *text_of(struct chat *chat, const char *line)
{
    if (chat->plain || *line != '/')
        return line;
    if (line[1] == '/')
        return line + 1;
    run_command(chat, line);
    return NULL;
}

/* ---- one job, with its questions ---- */

enum answered { ANSWERED, AGAIN, LEFT };

struct sending {
    bool done;
    struct autobots_error error;
};

static void on_sent(void *context, const struct autobots_answer *answer)
{
    struct sending *sending = context;
    sending->done = true;
    if (answer->error)
        sending->error = *answer->error;
}

/* To this question: if its time was over meanwhile, the words are nobody's answer. */
static enum answered send_answer(struct chat *chat, const char *text)
{
    struct sending sending = {0};
    const struct autobots_error *err = &sending.error;
    if (!autobots_start_input(chat->bots, chat->job, view_ask(chat->view), text, on_sent, &sending,
                              &sending.error))
        while (!sending.done)
            autobots_step(chat->bots, -1);
    if (!err->code || err->code == AUTOBOTS_EENDED)
        return ANSWERED; /* an end is seen by following on */
    cli_fail(chat->cli, err);
    return err->retryable ? AGAIN : LEFT;
}

/* What is typed at the question. A cancelled job is followed to its end. */
static enum answered answer_line(struct chat *chat, const char *line)
{
    const char *text = text_of(chat, line);
    if (text)
        return send_answer(chat, text);
    return chat->over ? LEFT : !strncmp(line, "/cancel", 7) ? ANSWERED : AGAIN;
}

static enum answered answer(struct chat *chat)
{
    enum answered done = AGAIN;
    while (done == AGAIN) {
        char *line = NULL;
        enum line got = lines_next(&chat->lines, chat->bots, "answer> ", &line);
        if (got == LINE_GOT)
            done = answer_line(chat, line);
        else if (got == LINE_TOO_LONG)
            cli_failf(chat->cli, CLI_FAILED, "an answer has at most %d bytes", LINES_BYTES_MAX);
        else
            done = LEFT;
        if (done == LEFT && got != LINE_GOT && chat->lines.terminal)
            fputc('\n', stderr);
        chat->over |= got == LINE_END || (got == LINE_INTERRUPTED && view_terminated());
        free(line);
    }
    return done;
}

/* Behind that event, until the job's end, Ctrl-C, or a question that is left open. Returns the exit code. */
static int follow(struct chat *chat, uint64_t after)
{
    int code;
    chat->job_open = true;
    while ((code = view_follow(chat->view, chat->bots, chat->job, after)) == CLI_WAITING) {
        after = view_seq(chat->view);
        if (answer(chat) == LEFT)
            break;
    }
    chat->job_open = code == CLI_WAITING || code == CLI_DETACHED;
    chat->over |= code == CLI_DETACHED && view_terminated();
    return say_what_next(chat->cli, code, chat->job);
}

int follow_and_answer(struct cli *cli, struct autobots *bots, struct view *view, const char *job,
                      uint64_t after)
{
    struct chat chat = {.cli = cli, .bots = bots, .view = view, .plain = true};
    snprintf(chat.job, sizeof chat.job, "%s", job);
    lines_init(&chat.lines, STDIN_FILENO);
    int code = follow(&chat, after);
    lines_finish(&chat.lines);
    return code;
}

/* ---- the session ---- */

static int submit(struct chat *chat, const char *text)
{
    struct submitted made;
    struct autobots_job job = {.workflow = chat->workflow, .text = text, .session = chat->session};
    int code = submit_message(chat->cli, chat->bots, &job, &made);
    if (code)
        return code;
    memcpy(chat->job, made.job, sizeof chat->job);
    if (made.session) {
        free(chat->session);
        chat->session = made.session;
    }
    return follow(chat, made.after);
}

static bool blank(const char *line)
{
    return !line[strspn(line, " \t\r")];
}

static void take_line(struct chat *chat, const char *line)
{
    const char *text = blank(line) ? NULL : text_of(chat, line);
    int code = text ? submit(chat, text) : CLI_DONE;
    if (!chat->code)
        chat->code = code;
}

static void converse(struct chat *chat)
{
    while (!chat->over) {
        char *line = NULL;
        switch (lines_next(&chat->lines, chat->bots, "> ", &line)) {
        case LINE_GOT:
            take_line(chat, line);
            break;
        case LINE_TOO_LONG:
            chat->code = cli_failf(chat->cli, CLI_FAILED, "a message has at most %d bytes", LINES_BYTES_MAX);
            break;
        case LINE_INTERRUPTED:
            fputs("\n", stderr);
            chat->over = view_terminated();
            if (!chat->over)
                fputs("Ctrl-D or /quit ends the chat\n", stderr);
            break;
        case LINE_END:
            chat->over = true;
            if (chat->lines.terminal)
                fputs("\n", stderr);
        }
        free(line);
    }
}

/* How to come back to it. */
static void say_session(const struct chat *chat)
{
    if (!*chat->job || !chat->session || !chat->lines.terminal)
        return;
    char *clean = term_line(chat->session, 0);
    fprintf(stderr, "to go on: autobots chat -s %s\n", clean);
    free(clean);
}

int verb_chat(struct cli *cli)
{
    struct chat chat = {.cli = cli};
    const char *file = cli->option[OPT_workflow],
               *session = cli->option[OPT_session] ? cli->option[OPT_session]
                                                   : ab_config_text(cli->config, AB_CONF_DEFAULT_SESSION_ID);
    chat.session = *session ? ab_strdup(session) : NULL;
    bool stored = file && !workflow_is_file(file);
    if (file && !stored)
        chat.workflow = workflow_read(cli, file, &chat.code);
    if (!chat.code)
        chat.bots = service_open(cli, stored ? SERVICE_BROKER | SERVICE_STORAGE : SERVICE_BROKER, &chat.code);
    if (chat.bots && !chat.workflow)
        chat.workflow =
            stored ? workflow_stored(cli, chat.bots, file, &chat.code) : workflow_default(cli, &chat.code);
    lines_init(&chat.lines, STDIN_FILENO);
    if (chat.bots && chat.workflow) {
        view_catch_signals();
        chat.view = view_create(cli, stdout, cli->json);
        if (chat.lines.terminal)
            fputs("/help lists the commands, Ctrl-D ends the chat\n", stderr);
        converse(&chat);
        say_session(&chat);
        if (chat.lines.terminal)
            chat.code = CLI_DONE; /* a person has seen what went wrong */
    }
    autobots_close(chat.bots);
    view_destroy(chat.view);
    lines_finish(&chat.lines);
    free(chat.workflow);
    free(chat.session);
    return chat.code;
}
