/* See cgroup.h. The kernel's interface: one folder per group, limits are files in it, removing the folder ends it. */
#include "worker/exec/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"

static const char *const controllers[CGROUP_CONTROLLERS] = {"memory", "pids"};
static const char prefix[] = "autobots-";

/* --- files ---------------------------------------------------------------------------------------------------- */

static int put(const char *folder, const char *name, const char *text)
{
    char *path = ab_format("%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC), code = fd < 0 ? -errno : 0;
    if (!code && write(fd, text, strlen(text)) < 0)
        code = -errno;
    if (fd >= 0)
        close(fd);
    free(path);
    return code;
}

/* The file's text, short as they are; "" if it cannot be read. The caller frees it. */
static char *get(const char *path)
{
    char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    return ab_strndup(text, n > 0 ? (size_t)n : 0);
}

static char *get_in(const char *folder, const char *name)
{
    char *path = ab_format("%s/%s", folder, name), *text = get(path);
    free(path);
    return text;
}

static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += n)
        if ((at == text || at[-1] == ' ' || at[-1] == ',') && strchr(" ,\n", at[n]))
            return true;
    return false;
}

/* --- where groups can be made --------------------------------------------------------------------------------- */

/* Lines are "number:controllers:path"; version 2 has no controllers. The caller frees it; NULL: there is none. */
static char *own_path(const char *text, const char *controller)
{
    char *copy = ab_strdup(text), *rest = NULL, *path = NULL;
    for (char *line = strtok_r(copy, "\n", &rest); line && !path; line = strtok_r(NULL, "\n", &rest)) {
        char *names = strchr(line, ':'), *at = names ? strchr(names + 1, ':') : NULL;
        if (!at)
            continue;
        *at = 0;
        bool mine = controller ? has_word(names + 1, controller) : !names[1];
        if (mine)
            path = ab_strdup(strcmp(at + 1, "/") ? at + 1 : "");
    }
    free(copy);
    return path;
}

static bool can_make(const char *base)
{
    char *probe = ab_format("%s/%s%ld-probe", base, prefix, (long)getpid());
    bool made = !mkdir(probe, 0755) && !rmdir(probe);
    free(probe);
    return made;
}

static void find_v1(struct cgroups *groups, const char *root, const char *text)
{
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        char *path = own_path(text, controllers[i]);
        char *base = ab_format("%s/%s%s", root, controllers[i], path ? path : "");
        if (path && can_make(base))
            groups->base[i] = base;
        else
            free(base);
        free(path);
    }
}

static bool enabled(const char *base)
{
    char *text = get_in(base, "cgroup.subtree_control");
    bool all = has_word(text, "memory") && has_word(text, "pids");
    free(text);
    return all;
}

static bool enable(const char *base)
{
    return enabled(base) || (!put(base, "cgroup.subtree_control", "+memory +pids") && enabled(base));
}

/* A group that gives controllers to groups below may hold no process itself: the worker goes into one below. */
static bool move_down(struct cgroups *groups, const char *base)
{
    char *own = ab_format("%s/%sworker-%ld", base, prefix, (long)getpid());
    bool moved = !mkdir(own, 0755) && !put(own, "cgroup.procs", "0");
    if (moved && enable(base)) {
        groups->own = own;
        return true;
    }
    if (moved)
        put(base, "cgroup.procs", "0");
    rmdir(own);
    free(own);
    return false;
}

static bool use_v2(struct cgroups *groups, const char *base, bool own)
{
    char *there = get_in(base, "cgroup.controllers");
    bool good = has_word(there, "memory") && has_word(there, "pids") && can_make(base) &&
                (enable(base) || (own && move_down(groups, base)));
    free(there);
    if (!good)
        return false;
    groups->unified = true;
    groups->base[CGROUP_MEMORY] = ab_strdup(base);
    groups->base[CGROUP_PIDS] = ab_strdup(base);
    return true;
}

/* Below the worker's own group, or beside it if that is a subgroup of what was delegated. */
static void find_v2(struct cgroups *groups, const char *root, const char *text)
{
    char *path = own_path(text, NULL), *base = ab_format("%s%s", root, path ? path : "");
    char *slash = path && *path ? strrchr(base, '/') : NULL;
    if (path && !use_v2(groups, base, true) && slash) {
        *slash = 0;
        use_v2(groups, base, false);
    }
    free(base);
    free(path);
}

/* What is still in a group of ours. */
static void kill_all(const char *base, const char *name)
{
    char *procs = ab_format("%s/cgroup.procs", name), *text = get_in(base, procs), *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (strtol(line, NULL, 10) > 1)
            kill((pid_t)strtol(line, NULL, 10), SIGKILL);
    free(text);
    free(procs);
}

/* Groups of workers that are gone: their processes went with them, unless they were killed while they made a sandbox. */
static void sweep(const char *base)
{
    DIR *list = opendir(base);
    const struct dirent *entry;
    while (list && (entry = readdir(list))) {
        if (strncmp(entry->d_name, prefix, sizeof prefix - 1))
            continue;
        const char *number = entry->d_name + sizeof prefix - 1;
        long pid = strtol(strncmp(number, "worker-", 7) ? number : number + 7, NULL, 10);
        if (pid <= 0 || !kill((pid_t)pid, 0) || errno != ESRCH)
            continue;
        kill_all(base, entry->d_name);
        unlinkat(dirfd(list), entry->d_name, AT_REMOVEDIR);
    }
    if (list)
        closedir(list);
}

void cgroups_init(struct cgroups *groups, const char *root, const char *self)
{
    char *text = get(self);
    *groups = (struct cgroups){0};
    find_v1(groups, root, text);
    if (!groups->base[CGROUP_MEMORY] && !groups->base[CGROUP_PIDS])
        find_v2(groups, root, text);
    free(text);
    for (int i = 0; i < CGROUP_CONTROLLERS; i++)
        if (groups->base[i])
            sweep(groups->base[i]);
}

void cgroups_finish(struct cgroups *groups)
{
    for (int i = 0; i < CGROUP_CONTROLLERS; i++)
        free(groups->base[i]);
    free(groups->own); /* the worker is still in it; the next worker removes it */
    *groups = (struct cgroups){0};
}

/* --- one group ------------------------------------------------------------------------------------------------ */

/* controller, file, its value is the number of bytes / processes or this text, whether it may be missing */
static const struct limit {
    int controller;
    bool unified;
    const char *file, *text;
    bool optional;
} limits[] = {
    {CGROUP_MEMORY, false, "memory.limit_in_bytes", NULL, false},
    {CGROUP_MEMORY, false, "memory.memsw.limit_in_bytes", NULL, true}, /* swap is not always accounted */
    {CGROUP_PIDS, false, "pids.max", NULL, false},
    {CGROUP_MEMORY, true, "memory.max", NULL, false},
    {CGROUP_MEMORY, true, "memory.swap.max", "0", true},
    {CGROUP_MEMORY, true, "memory.oom.group", "1", true},
    {CGROUP_PIDS, true, "pids.max", NULL, false},
};

static int set_limits(const struct cgroup *group, const char *folder, int controller,
                      const uint64_t values[CGROUP_CONTROLLERS])
{
    int code = 0;
    for (size_t i = 0; !code && i < sizeof limits / sizeof *limits; i++) {
        const struct limit *limit = &limits[i];
        char number[32];
        if (limit->unified != group->unified || (!group->unified && limit->controller != controller))
            continue;
        snprintf(number, sizeof number, "%llu", (unsigned long long)values[limit->controller]);
        code = put(folder, limit->file, limit->text ? limit->text : number);
        if (limit->optional)
            code = 0;
    }
    return code;
}

static int make_one(struct cgroup *group, const char *base, int at, unsigned long number,
                    const uint64_t values[CGROUP_CONTROLLERS])
{
    group->path[at] = ab_format("%s/%s%ld-%lu", base, prefix, (long)getpid(), number);
    if (mkdir(group->path[at], 0755)) {
        int code = -errno;
        free(group->path[at]);
        group->path[at] = NULL;
        return code;
    }
    int code = set_limits(group, group->path[at], at, values);
    char *procs = ab_format("%s/cgroup.procs", group->path[at]);
    if (!code && (group->procs[at] = open(procs, O_WRONLY | O_CLOEXEC)) < 0)
        code = -errno;
    free(procs);
    return code;
}

int cgroup_create(struct cgroups *groups, uint64_t memory_bytes, unsigned processes, struct cgroup *out,
                  struct ab_error *err)
{
    uint64_t values[CGROUP_CONTROLLERS] = {memory_bytes, processes};
    int code = 0;
    *out = (struct cgroup){.procs = {-1, -1}, .unified = groups->unified};
    groups->made++;
    for (int i = 0; !code && i < (groups->unified ? 1 : CGROUP_CONTROLLERS); i++)
        if (groups->base[i])
            code = make_one(out, groups->base[i], i, groups->made, values);
    if (!code)
        return 0;
    cgroup_finish(out);
    return ab_fail(err, AB_ESYSTEM, "cannot make a control group for code: %s", strerror(-code));
}

void cgroup_joined(struct cgroup *group)
{
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        if (group->procs[i] >= 0)
            close(group->procs[i]);
        group->procs[i] = -1;
    }
}

bool cgroup_ran_out(const struct cgroup *group)
{
    if (!group->path[CGROUP_MEMORY])
        return false;
    char *text = get_in(group->path[CGROUP_MEMORY], group->unified ? "memory.events" : "memory.oom_control");
    const char *count = strstr(text, "oom_kill ");
    bool killed = count && strtoul(count + strlen("oom_kill "), NULL, 10) > 0;
    free(text);
    return killed;
}

void cgroup_finish(struct cgroup *group)
{
    cgroup_joined(group);
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        if (group->path[i])
            rmdir(group->path[i]);
        free(group->path[i]);
        group->path[i] = NULL;
    }
}
