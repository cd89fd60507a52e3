/* autobots-gateway: the service over HTTP. */
#include "client/gateway/server.h"
#include "common/program.h"

int main(int argc, char **argv)
{
    return ab_program_main(AB_PROGRAM_GATEWAY, "gateway", argc, argv, gateway_run);
}
