/* autobots-broker: takes jobs, orders them and hands them to workers. Exit codes: 0 after SIGTERM, 100 for usage and
 * configuration, 111 when the system refuses or a newer broker has taken over. */
#include <malloc.h>
#include <stdio.h>

#include "broker/server.h"
#include "common/log.h"

static int exit_code_of(int code)
{
    return code == AB_EUSAGE || code == AB_EINVALID ? 100 : 111;
}

int main(int argc, char **argv)
{
    struct ab_config *config;
    struct ab_error err = {0};

    mallopt(M_ARENA_MAX, 2); /* libzmq's threads must not each keep an arena */
    int code = ab_config_create(&config, AB_PROGRAM_BROKER, argc, argv, &err);
    if (code == 1)
        return 0;
    if (code) {
        fprintf(stderr, "autobots-broker: %s%s%s\n", err.path, *err.path ? ": " : "", err.text);
        return exit_code_of(code);
    }
    ab_log_init("broker", (enum ab_log_level)ab_config_enum(config, AB_CONF_LOG_LEVEL),
                ab_config_enum(config, AB_CONF_LOG_FORMAT) == 1);
    code = server_run(config, &err);
    if (code)
        ab_log(AB_ERROR_LEVEL, "broker.stopped", "where", err.path, "error", err.text, NULL);
    else
        ab_log(AB_INFO, "broker.stopped", NULL);
    ab_config_destroy(config);
    return code ? exit_code_of(code) : 0;
}
