/* See workdir.h. Owns the descriptors and the memory of the lists; the files are the code's. */
#include "worker/exec/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/wire/schema.h"

enum {
    INSTANCE_NAME_MAX = 64,
};

struct workdirs {
    int root_fd, fd; /* ROOT; this process's folder, locked */
    char name[INSTANCE_NAME_MAX];
    char *path; /* of that folder */
};

/* --- the folder of this process ------------------------------------------------------------------------------- */

/* A process that lives holds the lock of its folder. */
static void sweep(struct workdirs *dirs)
{
    DIR *list = beneath_list(dirs->root_fd, ".");
    const struct dirent *entry;
    while (list && (entry = beneath_next(list))) {
        if (strncmp(entry->d_name, "w-", 2) || !strcmp(entry->d_name, dirs->name))
            continue;
        int fd = beneath_open(dirs->root_fd, entry->d_name, O_RDONLY | O_DIRECTORY, 0);
        if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB))
            beneath_remove(dirs->root_fd, entry->d_name);
        if (fd >= 0)
            close(fd);
    }
    if (list)
        closedir(list);
}

/* Between making a folder and locking it, another process may take it for a dead one's: then another name is tried. */
static int make_own(struct workdirs *dirs)
{
    for (unsigned i = 0; i < 100; i++) {
        struct stat held, named;
        snprintf(dirs->name, sizeof dirs->name, "w-%ld-%u", (long)getpid(), i);
        if (mkdirat(dirs->root_fd, dirs->name, 0700) && errno != EEXIST)
            return -1;
        dirs->fd = beneath_open(dirs->root_fd, dirs->name, O_RDONLY | O_DIRECTORY, 0);
        if (dirs->fd >= 0 && !flock(dirs->fd, LOCK_EX | LOCK_NB) && !fstat(dirs->fd, &held) &&
            !fstatat(dirs->root_fd, dirs->name, &named, AT_SYMLINK_NOFOLLOW) && held.st_ino == named.st_ino)
            return beneath_empty(dirs->fd); /* of a dead process that had our number */
        if (dirs->fd >= 0)
            close(dirs->fd);
        dirs->fd = -1;
    }
    return -1;
}

int workdirs_create(const char *root, struct workdirs **out, struct ab_error *err)
{
    struct workdirs *dirs = ab_calloc(1, sizeof *dirs);
    *out = dirs;
    dirs->root_fd = dirs->fd = -1;
    if (mkdir(root, 0700) && errno != EEXIST)
        return beneath_fault(err, root, "make this folder");
    dirs->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirs->root_fd < 0)
        return beneath_fault(err, root, "open this folder");
    if (make_own(dirs))
        return beneath_fault(err, root, "make a folder of the worker's own here");
    dirs->path = ab_format("%s/%s", root, dirs->name);
    sweep(dirs);
    return 0;
}

void workdirs_destroy(struct workdirs *dirs)
{
    if (!dirs)
        return;
    if (dirs->fd >= 0) {
        beneath_remove(dirs->root_fd, dirs->name);
        close(dirs->fd);
    }
    if (dirs->root_fd >= 0)
        close(dirs->root_fd);
    free(dirs->path);
    free(dirs);
}

/* --- one directory -------------------------------------------------------------------------------------------- */

int workdir_create(struct workdirs *dirs, const char *name, struct workdir **out, struct ab_error *err)
{
    *out = NULL;
    if (beneath_remove(dirs->fd, name) || mkdirat(dirs->fd, name, 0700))
        return beneath_fault(err, name, "make the job's directory");
    int fd = beneath_open(dirs->fd, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return beneath_fault(err, name, "open the job's directory");
    struct workdir *dir = ab_calloc(1, sizeof *dir);
    *dir = (struct workdir){
        .dirs = dirs, .fd = fd, .name = ab_strdup(name), .path = ab_format("%s/%s", dirs->path, name)};
    *out = dir;
    return 0;
}

void workdir_destroy(struct workdir *dir)
{
    if (!dir)
        return;
    close(dir->fd);
    beneath_remove(dir->dirs->fd, dir->name);
    free(dir->name);
    free(dir->path);
    free(dir);
}

const char *workdir_path(const struct workdir *dir)
{
    return dir->path;
}

int workdir_empty(struct workdir *dir, struct ab_error *err)
{
    return beneath_empty(dir->fd) ? beneath_fault(err, dir->name, "empty the job's directory") : 0;
}

/* --- paths ---------------------------------------------------------------------------------------------------- */

const char *workdir_path_fault(const char *path)
{
    size_t depth = 0;
    if (!*path)
        return "is empty";
    if (strlen(path) >= WORKDIR_PATH_MAX)
        return "is too long";
    if (*path == '/')
        return "is absolute: files are inside of the job's own directory";
    if (!ab_utf8_ok(ab_view_of(path)))
        return "is not UTF-8";
    for (const char *at = path; at; at = strchr(at, '/') ? strchr(at, '/') + 1 : NULL) {
        size_t bytes = strcspn(at, "/");
        if (!bytes || (bytes <= 2 && !strncmp(at, "..", bytes)))
            return "has an empty part, `.` or `..` in it";
        if (bytes > 255 || ++depth > WORKDIR_DEPTH_MAX)
            return "is too deep, or a part of it is too long";
    }
    for (; *path; path++)
        if ((unsigned char)*path < ' ' || *path == 0x7f)
            return "has control characters";
    return NULL;
}

int workdir_check_path(const char *path, struct ab_error *err)
{
    const char *fault = workdir_path_fault(path);
    return fault ? ab_fail_at(err, AB_EINVALID, "filename", "the file name %.64s %s", path, fault) : 0;
}

int workdir_make_folder(struct workdir *dir, const char *path, struct ab_error *err)
{
    int code = workdir_check_path(path, err);
    char *part = ab_strdup(path);
    for (char *slash = part; !code && slash;) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = 0;
        char *above = ab_strdup(part);
        char *cut = strrchr(above, '/');
        const char *name = cut ? cut + 1 : above;
        if (cut)
            *cut = 0;
        int fd = beneath_open(dir->fd, cut ? above : ".", O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0 || (mkdirat(fd, name, 0755) && errno != EEXIST))
            code = beneath_fault(err, part, "make this folder");
        if (fd >= 0)
            close(fd);
        free(above);
        if (slash)
            *slash = '/';
    }
    free(part);
    return code;
}

static int make_above(struct workdir *dir, const char *path, struct ab_error *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return 0;
    char *above = ab_strndup(path, (size_t)(slash - path));
    int code = workdir_make_folder(dir, above, err);
    free(above);
    return code;
}

/* --- contents ------------------------------------------------------------------------------------------------- */

int workdir_write(struct workdir *dir, const char *path, uint64_t offset, struct ab_view data, bool executable,
                  struct ab_error *err)
{
    int code = workdir_check_path(path, err);
    if (!code && !offset)
        code = make_above(dir, path, err);
    if (code)
        return code;
    int fd = beneath_open(dir->fd, path, O_WRONLY | O_CREAT | O_NONBLOCK | (offset ? 0 : O_TRUNC),
                          executable ? 0755 : 0644);
    if (fd < 0)
        return beneath_fault(err, path, "write this file");
    while (!code && data.n) {
        ssize_t n = pwrite(fd, data.p, data.n, (off_t)offset);
        if (n < 0) {
            code = beneath_fault(err, path, "write this file");
        } else {
            data = ab_view(data.p + n, data.n - (size_t)n);
            offset += (uint64_t)n;
        }
    }
    if (!code && fchmod(fd, executable ? 0755 : 0644))
        code = beneath_fault(err, path, "set the mode of this file");
    close(fd);
    return code;
}

int workdir_open(struct workdir *dir, const char *path)
{
    int fd = beneath_open(dir->fd, path, O_RDONLY | O_NONBLOCK, 0);
    if (fd >= 0 || errno != EACCES)
        return fd;
    int file = beneath_open(dir->fd, path, O_PATH, 0); /* code may have closed it to itself */
    if (file >= 0 && !beneath_chmod(file, 0644))
        fd = beneath_open(dir->fd, path, O_RDONLY | O_NONBLOCK, 0);
    if (file >= 0)
        close(file);
    return fd;
}

int workdir_read(struct workdir *dir, const char *path, uint64_t offset, size_t bytes, struct ab_buf *out,
                 struct ab_error *err)
{
    int fd = workdir_open(dir, path), code = 0;
    if (fd < 0)
        return beneath_fault(err, path, "read this file");
    ab_buf_reserve(out, bytes);
    while (bytes) {
        ssize_t n = pread(fd, out->p + out->n, bytes, (off_t)offset);
        if (n < 0)
            code = beneath_fault(err, path, "read this file");
        if (n <= 0)
            break;
        out->n += (size_t)n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    close(fd);
    return code;
}

/* Folder by folder, as code may have closed each of them. */
static void remove_one(struct workdir *dir, const char *path, int flags)
{
    int fd = beneath_folder(dir->fd, ".");
    const char *slash;
    for (; fd >= 0 && (slash = strchr(path, '/')); path = slash + 1) {
        char *name = ab_strndup(path, (size_t)(slash - path));
        int below = beneath_folder(fd, name);
        close(fd);
        fd = below;
        free(name);
    }
    if (fd < 0)
        return;
    unlinkat(fd, path, flags);
    close(fd);
}

void workdir_remove(struct workdir *dir, const char *path)
{
    remove_one(dir, path, 0);
}

void workdir_remove_folder(struct workdir *dir, const char *path)
{
    remove_one(dir, path, AT_REMOVEDIR);
}

int workdir_stamp(struct workdir *dir, struct file *file, bool give_time, struct ab_error *err)
{
    enum { NS = 1000000000 };
    uint64_t at = file->stamp.modified_ns;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {(time_t)(at / NS), (long)(at % NS)}};
    struct stat st;
    int fd = beneath_open(dir->fd, file->path, O_WRONLY | O_NONBLOCK, 0);
    int code = fd < 0 || (give_time && futimens(fd, times)) || fstat(fd, &st)
                   ? beneath_fault(err, file->path, "look at this file")
                   : 0;
    if (!code)
        file->stamp = beneath_stamp(&st);
    if (fd >= 0)
        close(fd);
    return code;
}
