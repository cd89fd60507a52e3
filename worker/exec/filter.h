/* The system calls that sandboxed code may not make, as a BPF program. */
#ifndef AB_WORKER_EXEC_FILTER_H
#define AB_WORKER_EXEC_FILTER_H

#include "common/error.h"

/* A descriptor of a sealed file that holds the program, as bubblewrap's --seccomp takes it; the caller closes it. */
int filter_create(int *fd, struct ab_error *err);

#endif
