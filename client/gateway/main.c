/* autobots-gateway: the service over HTTP. Exit codes: 0 after SIGTERM, 100 for usage and configuration, 111 when the
 * system refuses. */
#include <malloc.h>
#include <stdio.h>

#include "client/gateway/server.h"
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
    int code = ab_config_create(&config, AB_PROGRAM_GATEWAY, argc, argv, &err);
    if (code == 1)
        return 0;
    if (code) {
        fprintf(stderr, "autobots-gateway: %s%s%s\n", err.path, *err.path ? ": " : "", err.text);
        return exit_code_of(code);
    }
    ab_log_init("gateway", (enum ab_log_level)ab_config_enum(config, AB_CONF_LOG_LEVEL),
                ab_config_enum(config, AB_CONF_LOG_FORMAT) == 1);
    code = gateway_run(config, &err);
    if (code)
        ab_log(AB_ERROR_LEVEL, "gateway.stopped", "where", err.path, "error", err.text, NULL);
    else
        ab_log(AB_INFO, "gateway.stopped", NULL);
    ab_config_destroy(config);
    return code ? exit_code_of(code) : 0;
}
