/* Asks the worker's program what it can do on this machine: `autobots-worker --check`. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/cli/cli.h"

enum { ANSWER_BYTES_MAX = 16 << 10, FLAGS_MAX = 256 };

/* Lines "KIND ok|fail TEXT"; NULL if the program could not be run. */
static char *ask(char *const *argv)
{
    int fds[2];
    struct ab_buf answer = {0};
    if (pipe2(fds, O_CLOEXEC))
        return NULL;
    pid_t pid = fork();
    if (!pid) {
        dup2(fds[1], STDOUT_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
    close(fds[1]);
    char bytes[1024];
    ssize_t n;
    while (pid > 0 && (n = read(fds[0], bytes, sizeof bytes)) != 0)
        if (n > 0 && answer.n < ANSWER_BYTES_MAX)
            ab_buf_add(&answer, bytes, (size_t)n);
        else if (n < 0 && errno != EINTR)
            break;
    close(fds[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    ab_buf_cstr(&answer);
    return ab_buf_detach(&answer);
}

bool worker_check(struct cli *cli, const char *kind, char **text)
{
    char *folder = own_folder(), *program = ab_format("%s/autobots-worker", folder), *found = NULL,
         *rest = NULL;
    char **flags = ab_config_flags(cli->config, AB_PROGRAM_WORKER),
         *argv[FLAGS_MAX] = {program, ab_strdup("--check")};
    size_t bytes = strlen(kind);
    bool good = false;
    for (size_t i = 0; flags[i] && i + 3 < FLAGS_MAX; i++)
        argv[i + 2] = flags[i];
    char *answer = ask(argv);
    for (char *line = answer ? strtok_r(answer, "\n", &rest) : NULL; line && !found;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, kind, bytes) || line[bytes] != ' ')
            continue;
        good = !strncmp(line + bytes, " ok ", 4);
        found = ab_strdup(line + bytes + (good ? 4 : strlen(" fail ")));
    }
    *text = found ? found : ab_format("%s --check gives no answer", program);
    free(answer);
    free(argv[1]);
    ab_config_flags_destroy(flags);
    free(program);
    free(folder);
    return good;
}
