/* See users.h. Owns the namespaces: each is made by a child that goes at once; the descriptor keeps it. */
#include "worker/exec/users.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/bytes.h"

enum {
    BLOCK = 32, /* ids of one worker */
    MAP_TEXT_MAX = 4096,
};
_Static_assert((int)USERS_N <= (int)BLOCK, "a worker's ids fit its block");

/* Where a block is looked for, in this order: one for each process id there can be, in numbers that systemd's list of ids
 * leaves free; else what a container with 65536 ids has above those of people. */
static const struct span {
    unsigned first, last;
} spans[] = {{0x70000000, 0x77ffffff}, {61184, 65503}};

/* --- which ids ------------------------------------------------------------------------------------------------ */

/* Whether this process's user namespace has all of them: lines of "inside outside count". */
static bool is_mapped(const char *path, struct span span)
{
    char text[MAP_TEXT_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        unsigned long long inside, outside, count;
        if (sscanf(line, "%llu %llu %llu", &inside, &outside, &count) == 3 && span.first >= inside &&
            span.last < inside + count)
            return true;
    }
    return false;
}

static bool is_usable(struct span span)
{
    return is_mapped("/proc/self/uid_map", span) && is_mapped("/proc/self/gid_map", span);
}

static unsigned block_of(struct span span)
{
    unsigned blocks = (span.last - span.first + 1) / BLOCK;
    return span.first + (unsigned)getpid() % blocks * BLOCK;
}

static int read_range(const char *range, struct span *span, struct ab_error *err)
{
    char *end = NULL;
    unsigned long first = strtoul(range, &end, 10), last = *end == '-' ? strtoul(end + 1, &end, 10) : 0;
    if (*end || !first || last > 0xfffffffe || last < first + BLOCK - 1)
        return ab_fail_at(err, AB_EINVALID, "code_uids",
                          "%.64s is no range of ids: FIRST-LAST, not 0, at least %d of them for each worker",
                          range, BLOCK);
    *span = (struct span){(unsigned)first, (unsigned)last};
    if (!is_usable(*span))
        return ab_fail_at(err, AB_EINVALID, "code_uids",
                          "the ids %s are not there in the worker's user namespace (/proc/self/uid_map)",
                          range);
    return 0;
}

int users_init(struct users *users, const char *range, struct ab_error *err)
{
    struct span span = {0, 0};
    *users = (struct users){0};
    for (size_t i = 0; i < USERS_N; i++)
        users->space[i] = -1;
    if (geteuid())
        return 0;
    if (range && *range) {
        int code = read_range(range, &span, err);
        if (code)
            return code;
    }
    for (size_t i = 0; !span.first && i < sizeof spans / sizeof *spans; i++)
        if (is_usable(spans[i]))
            span = spans[i];
    users->first = span.first ? block_of(span) : 0;
    return 0;
}

void users_finish(struct users *users)
{
    for (size_t i = 0; i < USERS_N; i++)
        if (users->space[i] >= 0)
            close(users->space[i]);
}

/* --- their namespaces ----------------------------------------------------------------------------------------- */

static int put_map(pid_t pid, const char *name, unsigned id)
{
    char *path = ab_format("/proc/%ld/%s", (long)pid, name), *line = ab_format("0 %u 1", id);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int code = fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line) ? 0 : -1;
    if (fd >= 0)
        close(fd);
    free(path);
    free(line);
    return code;
}

/* Stays in a namespace of its own until it is killed. Only what is safe in a process with threads. */
static void hold_space(int told, pid_t parent) __attribute__((noreturn));
static void hold_space(int told, pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent || unshare(CLONE_NEWUSER) ||
        write(told, "", 1) != 1)
        _exit(1);
    close(told);
    for (;;)
        pause();
}

static int make_space(unsigned id)
{
    int told[2], fd = -1;
    char byte;
    if (pipe2(told, O_CLOEXEC))
        return -1;
    pid_t parent = getpid(), pid = fork();
    if (!pid)
        hold_space(told[1], parent);
    close(told[1]);
    if (pid > 0 && read(told[0], &byte, 1) == 1 && !put_map(pid, "uid_map", id) &&
        !put_map(pid, "gid_map", id)) {
        char *path = ab_format("/proc/%ld/ns/user", (long)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        free(path);
    }
    int failed = errno;
    close(told[0]);
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    errno = failed;
    return fd;
}

int users_take(struct users *users, struct user *user, int *space, struct ab_error *err)
{
    *user = (struct user){0};
    *space = -1;
    if (!users->first)
        return 0;
    int at = 0;
    while (at < USERS_N && users->taken[at])
        at++;
    if (at == USERS_N)
        return ab_fail(err, AB_ESYSTEM, "more code runs than there are user ids for it");
    unsigned id = users->first + (unsigned)at;
    if (users->space[at] < 0 && (users->space[at] = make_space(id)) < 0)
        return ab_fail(err, AB_ESYSTEM,
                       "code cannot be run: no user namespace can be made for user %u (%s); allow them (sysctl "
                       "user.max_user_namespaces; in a container its seccomp profile and CAP_SETUID, "
                       "CAP_SETGID, CAP_SYS_PTRACE), or run the worker as another user than root",
                       id, strerror(errno));
    users->taken[at] = true;
    *user = (struct user){.id = id, .at = at};
    *space = users->space[at];
    return 0;
}

void users_give_back(struct users *users, struct user *user)
{
    if (user->id)
        users->taken[user->at] = false;
    user->id = 0;
}

/* --- acting as one -------------------------------------------------------------------------------------------- */

/* The C library's calls would change all threads. A change of ids makes the kernel forget that the process is not to be
 * looked into, and the signal it gets when its parent dies. */
void user_act(const struct user *user, struct acting *was)
{
    *was = (struct acting){.dumpable = prctl(PR_GET_DUMPABLE), .parent = (int)getppid()};
    if (!user->id)
        return;
    prctl(PR_GET_PDEATHSIG, &was->death_signal);
    syscall(SYS_setfsgid, user->id);
    syscall(SYS_setfsuid, user->id);
}

void user_act_no_more(const struct user *user, const struct acting *was)
{
    int failed = errno;
    if (!user->id)
        return;
    syscall(SYS_setfsuid, geteuid());
    syscall(SYS_setfsgid, getegid());
    prctl(PR_SET_DUMPABLE, was->dumpable);
    prctl(PR_SET_PDEATHSIG, was->death_signal);
    if (was->death_signal && getppid() != was->parent)
        raise(was->death_signal);
    errno = failed;
}
