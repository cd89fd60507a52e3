/* autobots-worker: runs the jobs of one pool; with --check only says whether code could be run here. Exit codes: 0 after SIGTERM, 100 for usage and configuration, 111 when the
 * system or the service refuses. */
#include <malloc.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/config.h"
#include "common/log.h"
#include "worker/exec/exec.h"
#include "worker/worker.h"

static int exit_code_of(int code)
{
    return code == AB_EUSAGE || code == AB_EINVALID ? 100 : 111;
}

/* Keys are in this memory: no core file shall hold it, and no other process of the user may look into it. (The sanitizers
 * must: they look into their own from a second process.) */
static void close_memory(void)
{
    static const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    prctl(PR_SET_DUMPABLE, 0);
#endif
}

static int check_kind(struct exec *exec, enum exec_kind kind, const char *name)
{
    char protections[EXEC_PROTECTIONS_MAX] = "";
    struct ab_error err = {0};
    int code = exec_check(exec, kind, protections, &err);
    printf("%s %s %s\n", name, code ? "fail" : "ok", code ? err.text : protections);
    return code;
}

/* --check: what this worker could do here, for `autobots doctor`. Exit code 1 if something is missing. */
static int check(const struct ab_config *config)
{
    struct exec_options options = {
        .unsafe_host = !strcmp(ab_config_text(config, AB_CONF_ISOLATION), "unsafe-host"),
        .memory_bytes_max = (uint64_t)ab_config_int(config, AB_CONF_CODE_MEMORY_BYTES_MAX),
        .docker_socket = ab_config_text(config, AB_CONF_DOCKER_SOCKET),
        .docker_image = ab_config_text(config, AB_CONF_DOCKER_IMAGE)};
    struct exec *exec;
    struct ab_error err = {0};
    ab_log_init("worker", AB_ERROR_LEVEL, false);
    int code = exec_create(&options, &exec, &err);
    if (code)
        printf("local fail %s\n", err.text);
    else
        code = check_kind(exec, EXEC_LOCAL, "local");
    if (!err.code && !access(options.docker_socket, F_OK))
        check_kind(exec, EXEC_DOCKER, "docker");
    exec_destroy(exec);
    return code ? 1 : 0;
}

/* Takes --check out of the command line: it is no configuration. */
static bool take_check(int *argc, char **argv)
{
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--check") != 0)
            continue;
        memmove(&argv[i], &argv[i + 1], (size_t)(*argc - i) * sizeof *argv);
        (*argc)--;
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    static struct worker worker; /* too large for a comfortable stack frame */
    struct ab_config *config;
    struct ab_error err = {0};

    bool only_check = take_check(&argc, argv);
    close_memory();
    mallopt(M_ARENA_MAX, 2); /* libzmq's threads must not each keep an arena */
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
    int code = ab_config_create(&config, AB_PROGRAM_WORKER, argc, argv, &err);
    if (code == 1)
        return 0;
    if (code) {
        fprintf(stderr, "autobots-worker: %s%s%s\n", err.path, *err.path ? ": " : "", err.text);
        return exit_code_of(code);
    }
    if (only_check) {
        code = check(config);
        ab_config_destroy(config);
        return code;
    }
    ab_log_init("worker", (enum ab_log_level)ab_config_enum(config, AB_CONF_LOG_LEVEL),
                ab_config_enum(config, AB_CONF_LOG_FORMAT) == 1);
    code = worker_init(&worker, config, &err);
    if (code) {
        ab_log(AB_ERROR_LEVEL, "worker.cannot_start", "where", err.path, "error", err.text, NULL);
        code = exit_code_of(code);
    } else {
        code = worker_run(&worker);
    }
    worker_finish(&worker);
    ab_config_destroy(config);
    return code;
}
