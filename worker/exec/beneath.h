/* Below a directory, without ever leaving it or following a link; inside of worker/exec only. Errors are in errno, unless
 * it says so. */
#ifndef AB_WORKER_EXEC_BENEATH_H
#define AB_WORKER_EXEC_BENEATH_H

#include <dirent.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "worker/exec/workdir.h"

struct workdir {
    struct workdirs *dirs;
    int fd;
    char *name, *path;
};

int beneath_open(int dir, const char *path, int flags, mode_t mode);
int beneath_chmod(int fd,
                  mode_t mode); /* of what a descriptor with O_PATH is of, wherever its name leads by now */
/* Both open it to us if code has closed it. */
int beneath_folder(int dir, const char *path);
DIR *beneath_list(int dir, const char *path);
const struct dirent *beneath_next(DIR *list); /* without "." and ".." */
int beneath_empty(int dir);                   /* all that is in it, however deep */
int beneath_remove(int parent, const char *name);
struct file_stamp beneath_stamp(const struct stat *st);
/* errno as an error of ours, which is returned. */
int beneath_fault(struct ab_error *err, const char *path, const char *doing);

/* Why a path is none that may be used; NULL: it may. */
const char *workdir_path_fault(const char *path);

#endif
