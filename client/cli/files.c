/* Verbs of the files that a job's code made: files list, files get. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "common/tree.h"

/* ---- list ---- */
static void file_row(const json_t *file)
{
    const char *path = ab_tree_str(file, "path"), *type = ab_tree_str(file, "type");
    char *clean = term_line(path ? path : "?", 0), *kind = term_line(type ? type : "?", 10);
    printf("%10lld  %-7s  %s\n", (long long)ab_tree_int(file, "bytes", 0), kind, clean);
    free(clean);
    free(kind);
}

int verb_files(struct cli *cli)
{
    int code = CLI_DONE;
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    json_t *answer =
        bots ? service_ask(cli, bots, "list_files", json_pack("{s:s}", "job", cli->words[0]), &code) : NULL;
    json_t *files = json_object_get(answer, "files"), *file;
    size_t i;
    json_array_foreach (files, i, file) {
        if (cli->json)
            term_json(stdout, json_incref(file));
        else
            file_row(file);
    }
    if (answer && !json_array_size(files) && !cli->json)
        fprintf(stderr, "none\n");
    json_decref(answer);
    autobots_close(bots);
    return code;
}

/* ---- get ---- */

/* Where the content goes: a file that is made beside its name and renamed at the end, or standard output. */
struct sink {
    FILE *out;
    char *path, *part; /* NULL: standard output */
    bool terminal;
};

static int sink_open(struct cli *cli, struct sink *sink)
{
    const char *path = cli->option[OPT_save];
    *sink = (struct sink){.out = stdout, .terminal = isatty(STDOUT_FILENO)};
    if (!path || !strcmp(path, "-"))
        return CLI_DONE;
    sink->terminal = false;
    sink->path = ab_strdup(path);
    sink->part = ab_format("%s.part-%ld", path, (long)getpid());
    int fd = open(sink->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    sink->out = fd < 0 ? NULL : fdopen(fd, "w");
    return sink->out ? CLI_DONE : cli_failf(cli, CLI_FAILED, "%s: %s", sink->part, strerror(errno));
}

static int sink_close(struct cli *cli, struct sink *sink, int code)
{
    bool failed = sink->out && (ferror(sink->out) || fflush(sink->out));
    if (sink->path && sink->out)
        failed |= fclose(sink->out) != 0;
    if (!code && sink->path && !failed)
        failed = rename(sink->part, sink->path) != 0;
    if (!code && failed)
        code =
            cli_failf(cli, CLI_FAILED, "%s: %s", sink->path ? sink->path : "standard output", strerror(errno));
    if (sink->part && code)
        unlink(sink->part);
    free(sink->path);
    free(sink->part);
    return code;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Binary values are hexadecimal in JSON; sixteen bytes look like an id, with dashes. False if it is no such text. */
static bool decode(const char *text, struct ab_buf *out)
{
    for (const char *at = text; at && *at; at++) {
        if (*at == '-')
            continue;
        int high = nibble(at[0]), low = high < 0 ? -1 : nibble(at[1]);
        if (low < 0)
            return false;
        ab_buf_char(out, (char)(high << 4 | low));
        at++;
    }
    return text != NULL;
}

/* One piece behind *at; *whole is the file's size then. */
static int get_piece(struct cli *cli, struct autobots *bots, struct sink *sink, uint64_t *at, uint64_t *whole)
{
    int code = CLI_DONE;
    struct ab_buf data = {0};
    json_t *request =
        json_pack("{s:s, s:s, s:I}", "job", cli->words[0], "path", cli->words[1], "at", (json_int_t)*at);
    json_t *answer = service_ask(cli, bots, "get_file", request, &code);
    if (!answer)
        return code;
    *whole = (uint64_t)ab_tree_int(json_object_get(answer, "file"), "bytes", 0);
    if (!decode(ab_tree_str(answer, "data"), &data) || (!data.n && *at < *whole))
        code = cli_failf(cli, CLI_FAILED, "%s: storage sent less than the whole file", cli->words[1]);
    *at += data.n;
    if (sink->terminal)
        term_text(sink->out, data.p ? data.p : "", data.n);
    else if (data.n)
        fwrite(data.p, 1, data.n, sink->out); /* errors are seen at its end */
    ab_buf_finish(&data);
    json_decref(answer);
    return code;
}

int verb_files_get(struct cli *cli)
{
    struct sink sink;
    uint64_t at = 0, whole = 0;
    int code = CLI_DONE;
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    if (!bots)
        return code;
    code = sink_open(cli, &sink);
    do {
        if (!code)
            code = get_piece(cli, bots, &sink, &at, &whole);
    } while (!code && at < whole);
    code = sink_close(cli, &sink, code);
    autobots_close(bots);
    return code;
}
