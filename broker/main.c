/* autobots-broker: takes jobs, orders them and hands them to workers. It also exits with 111 when a newer broker has taken
 * over. */
#include "broker/server.h"
#include "common/program.h"

int main(int argc, char **argv)
{
    return ab_program_main(AB_PROGRAM_BROKER, "broker", argc, argv, server_run);
}
