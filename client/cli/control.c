/* The verbs that steer a job: cancel, pause, resume, input. */
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"

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
