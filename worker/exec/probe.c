/* What a probe saw from inside of a sandbox or container, held against what must be so. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "worker/exec/internal.h"

/* The number or word behind a line's title; "" if there is no such line. */
static void field(const char *text, const char *title, char *out, size_t size)
{
    const char *at = strstr(text, title);
    at = at ? at + strlen(title) : "";
    at += strspn(at, " \t");
    snprintf(out, size, "%.*s", (int)strcspn(at, " \t\n"), at);
}

static bool has_field(const char *text, const char *title, const char *value)
{
    char found[64];
    field(text, title, found, sizeof found);
    return !strcmp(found, value);
}

/* A namespace that is not the worker's: its link does not stand among those that the worker sees. */
static bool own_namespace(const char *text, const char *name)
{
    char path[64], ours[64], line[96];
    snprintf(path, sizeof path, "/proc/self/ns/%s", name);
    ssize_t n = readlink(path, ours, sizeof ours - 1);
    if (n <= 0)
        return false;
    ours[n] = 0;
    snprintf(line, sizeof line, "ns %s\n", ours);
    char *title = ab_format("ns %s:[", name);
    bool there = strstr(text, title) != NULL;
    free(title);
    return there && !strstr(text, line);
}

static const char processes[] = "limit on processes";

const char *probe_missing(const char *text, bool container)
{
    static const char *const namespaces[] = {"pid", "net", "ipc", "uts", "mnt", "user"};
    char number[16];
    snprintf(number, sizeof number, "%d", EXEC_PROCESSES_MAX);
    size_t n = sizeof namespaces / sizeof *namespaces - (container ? 1 : 0);
    for (size_t i = 0; i < n; i++)
        if (!own_namespace(text, namespaces[i]))
            return namespaces[i];
    if (!has_field(text, "\nNoNewPrivs:", "1") || !has_field(text, "\nSeccomp:", "2"))
        return "filter of system calls (seccomp)";
    if (!has_field(text, "\nCapEff:", "0000000000000000") || !has_field(text, "\nCapBnd:", "0000000000000000"))
        return "dropping of capabilities";
    if (strstr(text, "\nwritable "))
        return "read-only system";
    if ((!container && !has_field(text, "\nMax processes", number)) ||
        !has_field(text, "\nMax core file size", "0"))
        return "limits (rlimits)";
    /* The kernel does not count root's processes, whatever it is called inside. */
    return !container && !strstr(text, "\nprocesses bounded") ? processes : NULL;
}

int probe_judge(const struct exec_run *probe, char protections[EXEC_PROTECTIONS_MAX], struct ab_error *err)
{
    struct ab_buf text = {0};
    char *const *base = probe->exec->cgroups.base;
    ab_buf_add(&text, probe->kept.p, probe->kept.n);
    const char *seen = ab_buf_cstr(&text), *lacks = NULL;
    int code = 0;
    if (probe->exit_code || !probe->ran)
        code = ab_fail(
            err, AB_ESYSTEM,
            "code cannot be run: bubblewrap does not work here (%.*s); the worker needs unprivileged user "
            "namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
            "kernel.apparmor_restrict_unprivileged_userns; in a container also its seccomp profile)",
            (int)strcspn(seen, "\n"), seen);
    else if ((lacks = probe_missing(seen, false)) && (lacks != processes || !base[CGROUP_PIDS]))
        code = ab_fail(
            err, AB_ESYSTEM, "code cannot be run: the sandbox has no %s here%s", lacks,
            lacks != processes
                ? ""
                : "; run the worker as another user than root, give it user ids of its own (code_uids), or "
                  "let it make control groups (pids) below its own");
    else
        snprintf(protections, EXEC_PROTECTIONS_MAX,
                 "bubblewrap: namespaces user pid net ipc uts mnt%s; %sread-only system; private files in "
                 "memory; no "
                 "capabilities; seccomp; rlimits%s%s%s",
                 own_namespace(seen, "cgroup") ? " cgroup" : "",
                 probe->box.user.id ? "user id of its own; " : "",
                 base[CGROUP_MEMORY] || base[CGROUP_PIDS] ? "; cgroup" : "",
                 base[CGROUP_MEMORY] ? " memory" : "", base[CGROUP_PIDS] ? " pids" : "");
    ab_buf_finish(&text);
    return code;
}
