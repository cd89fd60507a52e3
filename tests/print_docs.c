/* Prints the part of common/README.md that is made from the message tables: `make docs` writes it there, a lint
 * checks that it is what stands there. */
#include <stdio.h>

#include "common/wire/operations.h"

int main(void)
{
    ab_print_protocol(stdout);
    return fflush(stdout) || ferror(stdout);
}
