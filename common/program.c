#include "common/program.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/log.h"

int ab_exit_code(int code)
{
    return code == AB_EUSAGE || code == AB_EINVALID ? 100 : 111;
}

bool ab_take_check(int *argc, char **argv)
{
    return ab_take_flag(argc, argv, "--check");
}

bool ab_take_flag(int *argc, char **argv, const char *flag)
{
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], flag) != 0)
            continue;
        memmove(&argv[i], &argv[i + 1], (size_t)(*argc - i) * sizeof *argv);
        (*argc)--;
        return true;
    }
    return false;
}

int ab_program_main(enum ab_program program, const char *name, int argc, char **argv,
                    int (*run)(const struct ab_config *config, struct ab_error *err))
{
    struct ab_config *config;
    struct ab_error err = {0};

    mallopt(M_ARENA_MAX, 2); /* libzmq's threads must not each keep an arena */
    int code = ab_config_create(&config, program, argc, argv, &err);
    if (code == 1)
        return 0;
    if (code) {
        fprintf(stderr, "autobots-%s: %s%s%s\n", name, err.path, *err.path ? ": " : "", err.text);
        return ab_exit_code(code);
    }
    ab_log_init(name, (enum ab_log_level)ab_config_enum(config, AB_CONF_LOG_LEVEL),
                ab_config_enum(config, AB_CONF_LOG_FORMAT) == 1);
    code = run(config, &err);
    char *event = ab_format("%s.stopped", name);
    if (code)
        ab_log(AB_ERROR_LEVEL, event, "where", err.path, "error", err.text, NULL);
    else
        ab_log(AB_INFO, event, NULL);
    free(event);
    ab_config_destroy(config);
    return code ? ab_exit_code(code) : 0;
}
