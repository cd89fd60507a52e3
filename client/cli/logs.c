/* logs: the files of DIR/log in the order of time, and then as they grow. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "client/cli/cli.h"

enum { LOGS_MAX = 512, LOOK_BACK_BYTES = 4 << 20, LINES_DEFAULT = 200, READ_BYTES = 65536, AGAIN_MS = 1000 };

struct log_file {
    char *name, *path;
    off_t at;              /* read up to here */
    struct ab_buf partial; /* a line without its end */
};

struct line {
    char *text;
    size_t order; /* keeps lines of the same time in the order of their file */
};

struct logs {
    struct log_file *files[LOGS_MAX];
    size_t n;
    char *job; /* only lines that name it; NULL: all */
    struct line *lines;
    size_t lines_n, lines_cap;
    bool live; /* print at once */
};

static bool wanted(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && !strcmp(name + n - 4, ".log");
}

static void find_files(struct logs *logs, const char *folder)
{
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && logs->n < LOGS_MAX && (entry = readdir(dir));) {
        bool known = !wanted(entry->d_name);
        for (size_t i = 0; i < logs->n && !known; i++)
            known = !strcmp(logs->files[i]->name, entry->d_name);
        if (known)
            continue;
        struct log_file *file = ab_calloc(1, sizeof *file);
        file->name = ab_strdup(entry->d_name);
        file->path = ab_format("%s/%s", folder, entry->d_name);
        logs->files[logs->n++] = file;
    }
    if (dir)
        closedir(dir);
}

static void print_line(const char *text)
{
    char *clean = term_line(text, 0);
    puts(clean);
    free(clean);
}

static void take_line(struct logs *logs, const char *text)
{
    if (logs->job && !strstr(text, logs->job))
        return;
    if (logs->live) {
        print_line(text);
        return;
    }
    if (logs->lines_n == logs->lines_cap) {
        logs->lines_cap = logs->lines_cap ? logs->lines_cap * 2 : 1024;
        logs->lines = ab_realloc(logs->lines, logs->lines_cap * sizeof *logs->lines);
    }
    logs->lines[logs->lines_n] = (struct line){ab_strdup(text), logs->lines_n};
    logs->lines_n++;
}

static void read_more(struct logs *logs, struct log_file *file)
{
    char buf[READ_BYTES];
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    ssize_t n;
    if (fd < 0)
        return;
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < file->at) /* it was emptied */
        file->at = 0;
    if (!file->at && size > LOOK_BACK_BYTES)
        file->at = size - LOOK_BACK_BYTES;
    while ((n = pread(fd, buf, sizeof buf, file->at)) > 0) {
        file->at += n;
        for (ssize_t i = 0; i < n; i++) {
            if (buf[i] != '\n') {
                ab_buf_char(&file->partial, buf[i]);
                continue;
            }
            take_line(logs, ab_buf_cstr(&file->partial));
            ab_buf_clear(&file->partial);
        }
    }
    close(fd);
}

/* Lines begin with their time, or with {"time":" and it. */
static const char *time_of(const char *line)
{
    static const char json[] = "{\"time\":\"";
    return strncmp(line, json, sizeof json - 1) ? line : line + sizeof json - 1;
}

static int by_time(const void *a, const void *b)
{
    const struct line *left = a, *right = b;
    int order = strncmp(time_of(left->text), time_of(right->text), 23);
    return order ? order : left->order < right->order ? -1 : 1;
}

static void print_sorted(struct logs *logs, uint64_t limit)
{
    if (logs->lines_n)
        qsort(logs->lines, logs->lines_n, sizeof *logs->lines, by_time);
    for (size_t i = 0; i < logs->lines_n; i++) {
        if (i + limit >= logs->lines_n)
            print_line(logs->lines[i].text);
        free(logs->lines[i].text);
    }
    free(logs->lines);
    logs->lines = NULL;
    logs->lines_n = logs->lines_cap = 0;
    fflush(stdout);
}

static void read_all_files(struct logs *logs, const char *folder)
{
    find_files(logs, folder);
    for (size_t i = 0; i < logs->n; i++)
        read_more(logs, logs->files[i]);
}

static int follow(struct cli *cli, struct logs *logs, const char *folder)
{
    char events[4096];
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0 || inotify_add_watch(fd, folder, IN_MODIFY | IN_CREATE) < 0) {
        int code = cli_failf(cli, CLI_FAILED, "cannot follow %s: %s", folder, strerror(errno));
        if (fd >= 0)
            close(fd);
        return code;
    }
    logs->live = true;
    while (!ferror(stdout)) {
        read_all_files(logs, folder);
        fflush(stdout);
        struct pollfd item = {.fd = fd, .events = POLLIN};
        poll(&item, 1, AGAIN_MS);
        while (read(fd, events, sizeof events) > 0)
            ;
    }
    close(fd);
    return CLI_DONE;
}

int verb_logs(struct cli *cli)
{
    int code = CLI_DONE;
    uint64_t limit = LINES_DEFAULT;
    char id[AUTOBOTS_ID_TEXT] = "";
    if (cli->option[OPT_limit] && !parse_number(cli->option[OPT_limit], &limit))
        return cli_failf(cli, CLI_USAGE, "--limit %s is no number", cli->option[OPT_limit]);
    if (cli->n && strlen(cli->words[0]) < AUTOBOTS_ID_TEXT - 1) {
        struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
        bool found = bots && service_job(cli, bots, cli->words[0], id, &code);
        autobots_close(bots);
        if (!found)
            return code;
    }
    struct logs logs = {.job = *id ? id : cli->n ? cli->words[0] : NULL};
    char *folder = ab_format("%s/log", ab_config_text(cli->config, AB_CONF_DIR));
    read_all_files(&logs, folder);
    if (!logs.n)
        code = cli_failf(cli, CLI_FAILED,
                         "no logs in %s; `autobots up` without -d writes them to its standard error", folder);
    print_sorted(&logs, limit);
    if (!code && cli->option[OPT_follow])
        code = follow(cli, &logs, folder);
    for (size_t i = 0; i < logs.n; i++) {
        free(logs.files[i]->name);
        free(logs.files[i]->path);
        ab_buf_finish(&logs.files[i]->partial);
        free(logs.files[i]);
    }
    free(folder);
    return code;
}
