/* Asks the worker's program what it can do on this machine: `autobots-worker --check`, `--mcp-list`. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/cli/cli.h"

enum { CHECK_BYTES_MAX = 16 << 10, FLAGS_MAX = 256 };

/* All of the text in a file that has no name; -1: there is no such file. */
static int as_file(const char *text)
{
    int fd = text ? memfd_create("input", MFD_CLOEXEC) : open("/dev/null", O_RDONLY | O_CLOEXEC);
    size_t n = text ? strlen(text) : 0;
    if (fd >= 0 && n && (write(fd, text, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* What it writes; NULL if the program could not be run. */
static char *run(char *const *argv, const char *input, size_t bytes_max)
{
    int fds[2], in = as_file(input);
    struct ab_buf answer = {0};
    if (in < 0)
        return NULL;
    if (pipe2(fds, O_CLOEXEC)) {
        close(in);
        return NULL;
    }
    pid_t pid = fork();
    if (!pid) {
        dup2(in, STDIN_FILENO);
        dup2(fds[1], STDOUT_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
    close(in);
    close(fds[1]);
    char bytes[1024];
    ssize_t n;
    while (pid > 0 && (n = read(fds[0], bytes, sizeof bytes)) != 0)
        if (n > 0 && answer.n < bytes_max)
            ab_buf_add(&answer, bytes, (size_t)n);
        else if (n < 0 && errno != EINTR)
            break;
    close(fds[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    ab_buf_cstr(&answer);
    return ab_buf_detach(&answer);
}

char *worker_ask(struct cli *cli, const char *flag, const char *input, size_t bytes_max)
{
    char *folder = own_folder(), *program = ab_format("%s/autobots-worker", folder);
    char **flags = ab_config_flags(cli->config, AB_PROGRAM_WORKER),
         *argv[FLAGS_MAX] = {program, ab_strdup(flag)};
    for (size_t i = 0; flags[i] && i + 3 < FLAGS_MAX; i++)
        argv[i + 2] = flags[i];
    char *answer = run(argv, input, bytes_max);
    free(argv[1]);
    ab_config_flags_destroy(flags);
    free(program);
    free(folder);
    return answer;
}

/* Lines "KIND ok|fail TEXT". */
bool worker_check(struct cli *cli, const char *kind, char **text)
{
    char *answer = worker_ask(cli, "--check", NULL, CHECK_BYTES_MAX), *found = NULL, *rest = NULL;
    size_t bytes = strlen(kind);
    bool good = false;
    for (char *line = answer ? strtok_r(answer, "\n", &rest) : NULL; line && !found;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, kind, bytes) || line[bytes] != ' ')
            continue;
        good = !strncmp(line + bytes, " ok ", 4);
        found = ab_strdup(line + bytes + (good ? 4 : strlen(" fail ")));
    }
    *text = found ? found : ab_strdup("autobots-worker --check gives no answer");
    free(answer);
    return good;
}
