/* keeper.h. A program of its own in the worker's file: nothing of the worker is in its memory. */
#include "worker/mcp/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN_TEXT = 4096, KILL_ROUNDS_MAX = 1000, WORDS_BEFORE = 3 };

static void server(char **command, pid_t keeper, const sigset_t *heard) __attribute__((noreturn));
static void server(char **command, pid_t keeper, const sigset_t *heard)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != keeper)
        _exit(KEEPER_CANNOT_START);
    sigprocmask(SIG_UNBLOCK, heard, NULL);
    execvp(command[0], command);
    dprintf(STDERR_FILENO, "cannot start %s: %s\n", command[0], strerror(errno));
    _exit(KEEPER_CANNOT_START);
}

/* The server's end is seen by the worker only when nobody else has its pipes. */
static void let_go_of_pipes(void)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (nothing < 0 || dup2(nothing, fd) < 0)
            close(fd);
}

static void kill_children(void)
{
    char text[CHILDREN_TEXT], *at = text, *end;
    int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    while (n > 0 && text[n - 1] != ' ') /* whole numbers: the beginning of one is somebody else's */
        n--;
    text[n > 0 ? n : 0] = 0;
    for (long pid; (pid = strtol(at, &end, 10)) > 0 && end != at; at = end)
        kill((pid_t)pid, SIGKILL);
}

/* All that is below: who loses its parent becomes our child. */
static void kill_all(pid_t group)
{
    for (int i = 0; i < KILL_ROUNDS_MAX; i++) {
        kill(-group, SIGKILL);
        kill_children();
        if (waitpid(-1, NULL, 0) < 0 && errno == ECHILD)
            return;
    }
}

static int code_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* True once the server itself is gone. */
static bool reap(pid_t pid, int *code)
{
    int status;
    pid_t one;
    bool gone = false;
    while ((one = waitpid(-1, &status, WNOHANG)) > 0)
        if (one == pid) {
            *code = code_of(status);
            gone = true;
        }
    return gone;
}

static int keep(pid_t pid, pid_t parent, const sigset_t *heard)
{
    int code = 128 + SIGKILL;
    bool over = getppid() != parent;
    while (!over) {
        int signo = sigwaitinfo(heard, NULL);
        if (signo == SIGTERM)
            kill(-pid, SIGTERM);
        else if (signo == SIGCHLD)
            over = reap(pid, &code);
        else
            over = signo == SIGHUP;
    }
    kill_all(pid);
    return code;
}

int keeper_main(int argc, char **argv)
{
    sigset_t heard;
    if (argc <= WORDS_BEFORE)
        return KEEPER_CANNOT_START;
    pid_t parent = (pid_t)strtol(argv[2], NULL, 10);
    sigemptyset(&heard);
    sigaddset(&heard, SIGTERM);
    sigaddset(&heard, SIGHUP);
    sigaddset(&heard, SIGCHLD);
    sigprocmask(SIG_BLOCK, &heard, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGHUP);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t keeper = getpid(), pid = fork();
    if (!pid)
        server(argv + WORDS_BEFORE, keeper, &heard);
    if (pid < 0)
        return KEEPER_CANNOT_START;
    setpgid(pid, pid);
    let_go_of_pipes();
    return keep(pid, parent, &heard);
}
