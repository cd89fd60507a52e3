/* What the mains of the service's programs share: how they start, and with which code they exit: 0 after SIGTERM, 100 for
 * usage and configuration, 111 when the system or the service refuses (as s6 and daemontools have it).
 */
#ifndef AB_COMMON_PROGRAM_H
#define AB_COMMON_PROGRAM_H

#include "common/config.h"

/* code: an error, below 0. */
int ab_exit_code(int code);

/* Takes a flag such as --check out of the command line: it is no configuration. True if it was there. */
bool ab_take_flag(int *argc, char **argv, const char *flag);
bool ab_take_check(int *argc, char **argv);

/* A whole main: reads the configuration, opens the log, runs until the program ends, and says in the log why. `name` as in
 * the log: broker of autobots-broker. Returns the exit code. */
int ab_program_main(enum ab_program program, const char *name, int argc, char **argv,
                    int (*run)(const struct ab_config *config, struct ab_error *err));

#endif
