/* The build string. Alone in its file, so that a new commit recompiles only this. */
#include "common/version.h"

#ifdef AB_BUILD_ID
#define BUILD AB_VERSION "+" AB_BUILD_ID
#else
#define BUILD AB_VERSION
#endif

const char *ab_build(void)
{
    return BUILD;
}
