/* See beneath.h. */
#include "worker/exec/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- descriptors ---------------------------------------------------------------------------------------------- */

int beneath_open(int dir, const char *path, int flags, mode_t mode)
{
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW),
                           .mode = mode,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
}

int beneath_fault(struct ab_error *err, const char *path, const char *doing)
{
    int code = errno == ENOSPC || errno == EDQUOT ? AB_EUNAVAILABLE : AB_ESYSTEM;
    return ab_fail_at(err, code, path, "cannot %s: %s", doing, strerror(errno));
}

/* fchmod refuses such descriptors; its name in /proc does not follow what is at the file's own name. */
int beneath_chmod(int fd, mode_t mode)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return chmod(path, mode);
}

int beneath_folder(int dir, const char *path)
{
    int at =
        strcmp(path, ".") ? beneath_open(dir, path, O_PATH | O_DIRECTORY, 0) : fcntl(dir, F_DUPFD_CLOEXEC, 0);
    int fd = at < 0 ? -1 : beneath_open(at, ".", O_RDONLY | O_DIRECTORY, 0);
    if (at >= 0 && fd < 0 && errno == EACCES && !beneath_chmod(at, 0700))
        fd = beneath_open(at, ".", O_RDONLY | O_DIRECTORY, 0);
    if (at >= 0)
        close(at);
    return fd;
}

DIR *beneath_list(int dir, const char *path)
{
    int fd = beneath_folder(dir, path);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (!list && fd >= 0)
        close(fd);
    return list;
}

struct file_stamp beneath_stamp(const struct stat *st)
{
    enum { NS = 1000000000 };
    return (struct file_stamp){
        .device = st->st_dev,
        .inode = st->st_ino,
        .changed_ns = (uint64_t)st->st_ctim.tv_sec * NS + (uint64_t)st->st_ctim.tv_nsec,
        .modified_ns = (uint64_t)st->st_mtim.tv_sec * NS + (uint64_t)st->st_mtim.tv_nsec,
    };
}

const struct dirent *beneath_next(DIR *list)
{
    const struct dirent *entry;
    while ((entry = readdir(list)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            return entry;
    return NULL;
}

/* --- removing ------------------------------------------------------------------------------------------------- */

/* A folder's folders are moved up beside it, so that no depth is too deep and no path too long. */
static int lift_folders(int top, DIR *list, unsigned long *moved)
{
    const struct dirent *entry;
    char name[32];
    int from = dirfd(list), code = 0;
    while (!code && (entry = beneath_next(list))) {
        if (!unlinkat(from, entry->d_name, 0) || errno == ENOENT)
            continue;
        snprintf(name, sizeof name, ".removed-%lu", (*moved)++);
        code = renameat(from, entry->d_name, top, name);
    }
    return code;
}

static int remove_folder(int top, const char *name, unsigned long *moved)
{
    DIR *list = beneath_list(top, name);
    int code = list ? fchmod(dirfd(list), 0700) : -1;
    code = code ? code : lift_folders(top, list, moved);
    if (list)
        closedir(list);
    return code ? code : unlinkat(top, name, AT_REMOVEDIR);
}

/* All that is in it. Each round removes a level of folders; what was moved up is met in the next one. */
int beneath_empty(int top)
{
    unsigned long moved = 0, before;
    do {
        before = moved;
        DIR *list = beneath_list(top, ".");
        const struct dirent *entry;
        int code = list ? 0 : -1;
        while (!code && (entry = beneath_next(list)))
            if (unlinkat(top, entry->d_name, 0) && errno != ENOENT)
                code = remove_folder(top, entry->d_name, &moved);
        if (list)
            closedir(list);
        if (code)
            return code;
    } while (moved != before);
    return 0;
}

int beneath_remove(int parent, const char *name)
{
    int fd = beneath_open(parent, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    int code = beneath_empty(fd);
    close(fd);
    return code ? code : unlinkat(parent, name, AT_REMOVEDIR);
}
