/* autobots-worker: runs the jobs of one pool. With --check it only says whether code could be run here, with --skill-test it calls a
 * skill (worker/skill_test.h), with --mcp-list it says which tools its MCP servers have; with --mcp-keeper it keeps one of those
 * (worker/mcp/keeper.h). Exit codes as in common/program.h. */
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/log.h"
#include "common/program.h"
#include "worker/codes.h"
#include "worker/mcp/keeper.h"
#include "worker/mcp/list.h"
#include "worker/skill_test.h"
#include "worker/worker.h"

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
static int check(const struct exec_options *options)
{
    struct exec *exec;
    struct ab_error err = {0};
    int code = exec_create(options, &exec, &err);
    if (code)
        printf("local fail %s\n", err.text);
    else
        code = check_kind(exec, EXEC_LOCAL, "local");
    if (!err.code && !access(options->docker_socket, F_OK))
        check_kind(exec, EXEC_DOCKER, "docker");
    exec_destroy(exec);
    return code ? 1 : 0;
}

/* Takes --mcp-list and --mcp-list=SERVER out of the command line: the server, "" for all, NULL if it was not there. */
static const char *take_list(int *argc, char **argv)
{
    static const char flag[] = "--mcp-list";
    for (int i = 1; i < *argc; i++) {
        const char *rest = argv[i] + sizeof flag - 1;
        if (strncmp(argv[i], flag, sizeof flag - 1) || (*rest && *rest != '='))
            continue;
        memmove(argv + i, argv + i + 1, (size_t)(*argc - i) * sizeof *argv);
        (*argc)--;
        return *rest ? rest + 1 : rest;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct worker worker; /* too large for a comfortable stack frame */
    struct ab_config *config;
    struct ab_error err = {0};

    if (argc > 1 && !strcmp(argv[1], KEEPER_FLAG))
        return keeper_main(argc, argv);
    bool only_check = ab_take_check(&argc, argv), only_test = ab_take_flag(&argc, argv, SKILL_TEST_FLAG);
    const char *list = take_list(&argc, argv);
    close_memory();
    mallopt(M_ARENA_MAX, 2); /* libzmq's threads must not each keep an arena */
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
    int code = ab_config_create(&config, AB_PROGRAM_WORKER, argc, argv, &err);
    if (code == 1)
        return 0;
    if (code) {
        fprintf(stderr, "autobots-worker: %s%s%s\n", err.path, *err.path ? ": " : "", err.text);
        return ab_exit_code(code);
    }
    if (only_check || only_test) {
        struct exec_options options = exec_options_of(config);
        ab_log_init("worker", AB_ERROR_LEVEL, false);
        code = only_check ? check(&options) : skill_test(&options);
        ab_config_destroy(config);
        return code;
    }
    if (list) {
        code = mcp_list(config, list, stdout);
        ab_config_destroy(config);
        return code;
    }
    ab_log_init("worker", (enum ab_log_level)ab_config_enum(config, AB_CONF_LOG_LEVEL),
                ab_config_enum(config, AB_CONF_LOG_FORMAT) == 1);
    code = worker_init(&worker, config, &err);
    if (code) {
        ab_log(AB_ERROR_LEVEL, "worker.cannot_start", "where", err.path, "error", err.text, NULL);
        code = ab_exit_code(code);
    } else {
        code = worker_run(&worker);
    }
    worker_finish(&worker);
    ab_config_destroy(config);
    return code;
}
