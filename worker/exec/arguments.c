/* What the back ends start: bubblewrap's arguments, the script's command, its environment, the probe. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/exec/internal.h"

static void add(struct args *args, const char *text)
{
    if (args->n < ARGS_MAX - 1)
        args->items[args->n++] = ab_strdup(text);
}

void args_add(struct args *args, const char *const *texts)
{
    for (; *texts; texts++)
        add(args, *texts);
}

static void add_number(struct args *args, const char *flag, unsigned long long number)
{
    char *text = ab_format("%llu", number);
    add(args, flag);
    add(args, text);
    free(text);
}

void args_finish(struct args *args)
{
    for (size_t i = 0; i < args->n; i++)
        free(args->items[i]);
}

static const struct {
    const char *name, *command[3];
} languages[] = {
    {"python", {"python3", "-u", NULL}},
    {"sh", {"/bin/sh", NULL}},
    {"bash", {"bash", NULL}},
};

/* What code finds in its environment, besides PATH: nothing of the worker's. */
static const char *const environment[ENVIRONMENT_N][2] = {
    {"PATH", "/usr/local/bin:/usr/bin:/bin"},
    {"HOME", "/tmp"},
    {"USER", "code"},
    {"LOGNAME", "code"},
    {"LANG", "C.UTF-8"},
    {"TMPDIR", "/tmp"},
    {"PYTHONDONTWRITEBYTECODE", "1"},
    {"MPLBACKEND", "Agg"},
    {"MPLCONFIGDIR", "/tmp"},
};

/* "$1" processes, in the folder "$2", the rest as a command, once the worker has put the files there. dash and busybox call the
 * limit -p, bash -u. */
static const char in_front[] =
    "ulimit -p \"$1\" 2>/dev/null || ulimit -u \"$1\" || exit 126; echo >&5; read -r go <&5 || exit 126; "
    "exec 5>&-; cd \"$2\" || exit 126; unset go OLDPWD; shift 2; exec \"$@\"";

/* What is called as a tool: "$1" is the library, "$2" the key of the call. Its stderr is no part of the result unless it fails;
 * then its beginning is. An image may have little more than a shell. */
static const char tool_in_front[] =
    "lib=$1; export AUTOBOTS_CALL_KEY=\"$2\"; shift 2; "
    "for said in \"$lib\" /tmp /dev/shm; do [ -w \"$said\" ] && break; done; said=$said/.stderr; "
    "\"$@\" <\"$lib/" EXEC_ARGUMENTS "\" 2>\"$said\"; code=$?; "
    "[ $code -eq 0 ] || head -c 16384 \"$said\" 2>/dev/null || cat \"$said\"; rm -f \"$said\" 2>/dev/null; "
    "exit $code";

/* From inside: limits, capabilities, filter, namespaces, what must not be writable, and whether the limit on processes holds. */
static const char probe_script[] =
    "cat /proc/self/status /proc/self/limits; for n in user pid net ipc uts mnt cgroup; do "
    "echo \"ns $(readlink /proc/self/ns/$n)\"; done; for f in / /usr /proc/sys/kernel/core_pattern /dev /bin; "
    "do "
    "[ -w $f ] && echo \"writable $f\"; done; "
    "more=$( (ulimit -p 1 2>/dev/null || ulimit -u 1; (exit 0); echo any) 2>/dev/null); "
    "echo \"processes ${more:-bounded}\"; exit 0";

char *args_environment(size_t i)
{
    return ab_format("%s=%s", environment[i][0], environment[i][1]);
}

/* Where a run finds its library. */
static const char *library_path(const struct exec_run *run)
{
    return run->backend == &exec_unsafe_host ? workdir_path(run->request.library) : "/skills";
}

char *args_library(const struct exec_run *run)
{
    return run->request.library ? ab_format("PYTHONPATH=%s", library_path(run)) : NULL;
}

void args_command(struct args *args, const struct exec_run *run)
{
    const struct exec_request *request = &run->request;
    if (run->probe) {
        static const char *const probe[] = {"/bin/sh", "-c", probe_script, NULL};
        args_add(args, probe);
        return;
    }
    if (request->call_key) {
        static const char *const shell[] = {"/bin/sh", "-c", tool_in_front, "sh", NULL};
        args_add(args, shell);
        add(args, library_path(run));
        add(args, request->call_key);
    }
    for (size_t i = 0; i < sizeof languages / sizeof *languages; i++)
        if (!strcmp(languages[i].name, request->language))
            args_add(args, languages[i].command);
    /* a name may begin with a dash */
    char *file = ab_format("%s/%s", request->call_key ? library_path(run) : ".", request->file);
    add(args, file);
    free(file);
}

json_t *args_json(const struct exec_run *run)
{
    struct args args = {0};
    json_t *list = json_array();
    args_command(&args, run);
    for (size_t i = 0; i < args.n; i++)
        json_array_append_new(list, json_string(args.items[i]));
    args_finish(&args);
    return list;
}

json_t *args_environment_json(const struct exec_run *run)
{
    json_t *list = json_array();
    char *library = args_library(run);
    for (size_t i = 0; i < ENVIRONMENT_N; i++)
        json_array_append_new(list, json_sprintf("%s=%s", environment[i][0], environment[i][1]));
    if (library)
        json_array_append_new(list, json_string(library));
    free(library);
    return list;
}

static void add_space(struct args *args, const char *path, unsigned bytes_max)
{
    add_number(args, "--size", bytes_max);
    add(args, "--tmpfs");
    add(args, path);
}

/* Folders of the system beside /usr: links into it, or folders of their own on older systems. */
static void add_system(struct args *args)
{
    static const char *const beside[] = {"/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"};
    static const char *const optional[] = {"/etc/alternatives", "/etc/ld.so.cache", "/etc/fonts"};
    char target[256];
    struct stat st;
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        if (lstat(beside[i], &st))
            continue;
        ssize_t n = S_ISLNK(st.st_mode) ? readlink(beside[i], target, sizeof target - 1) : 0;
        target[n > 0 ? n : 0] = 0;
        add(args, n > 0 ? "--symlink" : "--ro-bind");
        add(args, n > 0 ? target : beside[i]);
        add(args, beside[i]);
    }
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++) {
        add(args, "--ro-bind-try");
        add(args, optional[i]);
        add(args, optional[i]);
    }
}

/* Copied by bubblewrap out of descriptors: so that it need not find its way to the worker's folder. */
static void add_library(struct args *args, const struct file_list *library)
{
    for (size_t i = 0; i < library->n; i++) {
        char *path = ab_format("/skills/%s", library->items[i].path);
        add_number(args, "--ro-bind-data", LIBRARY_FD + i);
        add(args, path);
        free(path);
    }
}

void args_bubblewrap(struct args *args, const struct exec_run *run, const struct file_list *library)
{
    static const char *const first[] = {"bwrap",
                                        "--unshare-user",
                                        "--unshare-pid",
                                        "--unshare-net",
                                        "--unshare-ipc",
                                        "--unshare-uts",
                                        "--unshare-cgroup-try",
                                        "--uid",
                                        "65534",
                                        "--gid",
                                        "65534",
                                        "--hostname",
                                        "sandbox",
                                        "--die-with-parent",
                                        "--new-session",
                                        "--cap-drop",
                                        "ALL",
                                        "--json-status-fd",
                                        "3",
                                        "--seccomp",
                                        "4",
                                        "--ro-bind",
                                        "/usr",
                                        "/usr",
                                        "--proc",
                                        "/proc",
                                        "--remount-ro",
                                        "/proc",
                                        "--dev",
                                        "/dev",
                                        "--remount-ro",
                                        "/dev",
                                        NULL};
    static const char *const closing[] = {"--remount-ro", "/", "--chdir", "/workspace", "--clearenv", NULL};
    args_add(args, first);
    add_space(args, "/tmp", EXEC_TMP_BYTES_MAX);
    add_space(args, "/dev/shm", EXEC_TMP_BYTES_MAX);
    add_space(args, "/workspace", EXEC_SPACE_BYTES_MAX);
    add_system(args);
    if (library)
        add_library(args, library);
    args_add(args, closing);
    for (size_t i = 0; i < ENVIRONMENT_N; i++) {
        add(args, "--setenv");
        add(args, environment[i][0]);
        add(args, environment[i][1]);
    }
    if (library) {
        static const char *const path[] = {"--setenv", "PYTHONPATH", "/skills", NULL};
        args_add(args, path);
    }
    static const char *const shell[] = {"--", "/bin/sh", "-c", in_front, NULL};
    args_add(args, shell);
    add_number(args, "sh", EXEC_PROCESSES_MAX);
    char *folder = ab_format("./%s", run->probe ? "" : run->request.folder);
    add(args, folder);
    free(folder);
}
