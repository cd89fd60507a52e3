/* autobots-worker: runs the jobs of one pool. Exit codes: 0 after SIGTERM, 100 for usage and configuration, 111 when the
 * system or the service refuses. */
#include <malloc.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "common/config.h"
#include "common/log.h"
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

int main(int argc, char **argv)
{
    static struct worker worker; /* too large for a comfortable stack frame */
    struct ab_config *config;
    struct ab_error err = {0};

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
