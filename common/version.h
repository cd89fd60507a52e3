/* What this build calls itself. */
#ifndef AB_COMMON_VERSION_H
#define AB_COMMON_VERSION_H

#define AB_VERSION "0.1.0" /* the release; follows semver.org */

/* The release and, if built from a checkout, the commit: "0.1.0+1a2b3c4-dirty". Sent in HELLO, shown by --version. */
const char *ab_build(void);

#endif
