/* See workdir.h. Owns the descriptors and the memory of the lists; the files are the code's. */
#include "worker/exec/workdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/wire/schema.h"

enum {
    INSTANCE_NAME_MAX = 64,
    FOLDERS_MAX = WORKDIR_FILES_MAX,
    PIECE_BYTES = 256 << 10,
};

struct workdirs {
    int root_fd, fd; /* ROOT; this process's folder, locked */
    char name[INSTANCE_NAME_MAX];
    char *path; /* of that folder */
};
struct workdir {
    struct workdirs *dirs;
    int fd;
    char *name, *path;
};

/* --- descriptors ---------------------------------------------------------------------------------------------- */

static int open_beneath(int dir, const char *path, int flags, mode_t mode)
{
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW),
                           .mode = mode,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
}

static int system_fault(struct ab_error *err, const char *path, const char *doing)
{
    int code = errno == ENOSPC || errno == EDQUOT ? AB_EUNAVAILABLE : AB_ESYSTEM;
    return ab_fail_at(err, code, path, "cannot %s: %s", doing, strerror(errno));
}

static DIR *open_list(int dir, const char *path)
{
    int fd = open_beneath(dir, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0 && errno == EACCES && !fchmodat(dir, path, 0700, 0)) /* code may have closed it */
        fd = open_beneath(dir, path, O_RDONLY | O_DIRECTORY, 0);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (!list && fd >= 0)
        close(fd);
    return list;
}

static const struct dirent *next_entry(DIR *list)
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
    while (!code && (entry = next_entry(list))) {
        if (!unlinkat(from, entry->d_name, 0) || errno == ENOENT)
            continue;
        snprintf(name, sizeof name, ".removed-%lu", (*moved)++);
        code = renameat(from, entry->d_name, top, name);
    }
    return code;
}

static int remove_folder(int top, const char *name, unsigned long *moved)
{
    DIR *list = open_list(top, name);
    int code = list ? fchmod(dirfd(list), 0700) : -1;
    code = code ? code : lift_folders(top, list, moved);
    if (list)
        closedir(list);
    return code ? code : unlinkat(top, name, AT_REMOVEDIR);
}

/* All that is in it. Each round removes a level of folders; what was moved up is met in the next one. */
static int empty_folder(int top)
{
    unsigned long moved = 0, before;
    do {
        before = moved;
        DIR *list = open_list(top, ".");
        const struct dirent *entry;
        int code = list ? 0 : -1;
        while (!code && (entry = next_entry(list)))
            if (unlinkat(top, entry->d_name, 0) && errno != ENOENT)
                code = remove_folder(top, entry->d_name, &moved);
        if (list)
            closedir(list);
        if (code)
            return code;
    } while (moved != before);
    return 0;
}

static int remove_tree(int parent, const char *name)
{
    int fd = open_beneath(parent, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    int code = empty_folder(fd);
    close(fd);
    return code ? code : unlinkat(parent, name, AT_REMOVEDIR);
}

/* --- the folder of this process ------------------------------------------------------------------------------- */

/* A process that lives holds the lock of its folder. */
static void sweep(struct workdirs *dirs)
{
    DIR *list = open_list(dirs->root_fd, ".");
    const struct dirent *entry;
    while (list && (entry = next_entry(list))) {
        if (strncmp(entry->d_name, "w-", 2) || !strcmp(entry->d_name, dirs->name))
            continue;
        int fd = open_beneath(dirs->root_fd, entry->d_name, O_RDONLY | O_DIRECTORY, 0);
        if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB))
            remove_tree(dirs->root_fd, entry->d_name);
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
        dirs->fd = open_beneath(dirs->root_fd, dirs->name, O_RDONLY | O_DIRECTORY, 0);
        if (dirs->fd >= 0 && !flock(dirs->fd, LOCK_EX | LOCK_NB) && !fstat(dirs->fd, &held) &&
            !fstatat(dirs->root_fd, dirs->name, &named, AT_SYMLINK_NOFOLLOW) && held.st_ino == named.st_ino)
            return empty_folder(dirs->fd); /* of a dead process that had our number */
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
        return system_fault(err, root, "make this folder");
    dirs->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirs->root_fd < 0)
        return system_fault(err, root, "open this folder");
    if (make_own(dirs))
        return system_fault(err, root, "make a folder of the worker's own here");
    dirs->path = ab_format("%s/%s", root, dirs->name);
    sweep(dirs);
    return 0;
}

void workdirs_destroy(struct workdirs *dirs)
{
    if (!dirs)
        return;
    if (dirs->fd >= 0) {
        remove_tree(dirs->root_fd, dirs->name);
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
    if (remove_tree(dirs->fd, name) || mkdirat(dirs->fd, name, 0700))
        return system_fault(err, name, "make the job's directory");
    int fd = open_beneath(dirs->fd, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return system_fault(err, name, "open the job's directory");
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
    remove_tree(dir->dirs->fd, dir->name);
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
    return empty_folder(dir->fd) ? system_fault(err, dir->name, "empty the job's directory") : 0;
}

/* --- paths ---------------------------------------------------------------------------------------------------- */

static const char *path_fault(const char *path)
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
    const char *fault = path_fault(path);
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
        int fd = open_beneath(dir->fd, cut ? above : ".", O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0 || (mkdirat(fd, name, 0755) && errno != EEXIST))
            code = system_fault(err, part, "make this folder");
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
    int fd = open_beneath(dir->fd, path, O_WRONLY | O_CREAT | O_NONBLOCK | (offset ? 0 : O_TRUNC),
                          executable ? 0755 : 0644);
    if (fd < 0)
        return system_fault(err, path, "write this file");
    while (!code && data.n) {
        ssize_t n = pwrite(fd, data.p, data.n, (off_t)offset);
        if (n < 0) {
            code = system_fault(err, path, "write this file");
        } else {
            data = ab_view(data.p + n, data.n - (size_t)n);
            offset += (uint64_t)n;
        }
    }
    if (!code && fchmod(fd, executable ? 0755 : 0644))
        code = system_fault(err, path, "set the mode of this file");
    close(fd);
    return code;
}

static int open_file(struct workdir *dir, const char *path)
{
    int fd = open_beneath(dir->fd, path, O_RDONLY | O_NONBLOCK, 0);
    if (fd >= 0 || errno != EACCES)
        return fd;
    int above = open_beneath(dir->fd, path, O_PATH, 0); /* code may have closed it to itself */
    char *link = ab_format("/proc/self/fd/%d", above);
    if (above >= 0 && !chmod(link, 0644))
        fd = open_beneath(dir->fd, path, O_RDONLY | O_NONBLOCK, 0);
    free(link);
    if (above >= 0)
        close(above);
    return fd;
}

int workdir_read(struct workdir *dir, const char *path, uint64_t offset, size_t bytes, struct ab_buf *out,
                 struct ab_error *err)
{
    int fd = open_file(dir, path), code = 0;
    if (fd < 0)
        return system_fault(err, path, "read this file");
    ab_buf_reserve(out, bytes);
    while (bytes) {
        ssize_t n = pread(fd, out->p + out->n, bytes, (off_t)offset);
        if (n < 0)
            code = system_fault(err, path, "read this file");
        if (n <= 0)
            break;
        out->n += (size_t)n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    close(fd);
    return code;
}

void workdir_remove(struct workdir *dir, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *above = slash ? ab_strndup(path, (size_t)(slash - path)) : ab_strdup(".");
    int fd = open_beneath(dir->fd, above, O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0) {
        unlinkat(fd, slash ? slash + 1 : path, 0);
        close(fd);
    }
    free(above);
}

/* --- listing -------------------------------------------------------------------------------------------------- */

void file_list_finish(struct file_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].path);
    free(list->items);
    *list = (struct file_list){0};
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

struct file *file_list_find(const struct file_list *list, const char *path)
{
    struct file key;
    memset(&key, 0, sizeof key);
    key.path = ab_strdup(path);
    struct file *found = list->n ? bsearch(&key, list->items, list->n, sizeof key, by_path) : NULL;
    free(key.path);
    return found;
}

/* Folders still to be looked into; paths relative to the directory. */
struct walk {
    struct workdir *dir;
    struct file_list *list; /* NULL: only the limits count */
    unsigned give;          /* to whom everything is given; 0: to nobody */
    char **folders;
    size_t n, cap, seen;
    size_t files;
    uint64_t bytes;
    const char *over;
};

static void push(struct walk *walk, char *path)
{
    if (walk->n == walk->cap) {
        walk->cap = walk->cap ? walk->cap * 2 : 16;
        walk->folders = ab_realloc(walk->folders, walk->cap * sizeof *walk->folders);
    }
    walk->folders[walk->n++] = path;
}

static void add_file(struct walk *walk, char *path, const struct stat *st)
{
    struct file_list *list = walk->list;
    if (list->n == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 16;
        list->items = ab_realloc(list->items, list->cap * sizeof *list->items);
    }
    list->bytes += (uint64_t)st->st_size;
    list->items[list->n++] = (struct file){
        .path = path,
        .bytes = (uint64_t)st->st_size,
        .executable = st->st_mode & 0111,
        .stamp = {st->st_dev, st->st_ino, (uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec}};
}

static const char *count(struct walk *walk, const struct stat *st)
{
    uint64_t on_disk = (uint64_t)st->st_blocks * 512, size = (uint64_t)st->st_size;
    if (S_ISDIR(st->st_mode))
        return ++walk->seen > FOLDERS_MAX ? "more folders than a job may have (1000)" : NULL;
    walk->files++;
    walk->bytes += size > on_disk ? size : on_disk;
    if (walk->files > WORKDIR_FILES_MAX)
        return "more files than a job may have (1000)";
    if (S_ISREG(st->st_mode) && size > WORKDIR_FILE_BYTES_MAX)
        return "a file larger than it may be (32 MiB)";
    /* Small files take a block each; that is no matter of the sum of their sizes, but is bounded too. */
    return walk->bytes > WORKDIR_BYTES_MAX + ((uint64_t)walk->files << 12)
               ? "more bytes than a job's files may have (64 MiB)"
               : NULL;
}

static void visit(struct walk *walk, int fd, const char *folder, const char *name)
{
    struct stat st;
    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW))
        return; /* gone meanwhile */
    if (walk->give && fchownat(fd, name, walk->give, walk->give, AT_SYMLINK_NOFOLLOW))
        walk->over = strerror(errno);
    else
        walk->over = count(walk, &st);
    if (walk->over)
        return;
    char *path = *folder ? ab_format("%s/%s", folder, name) : ab_strdup(name);
    const char *fault = path_fault(path);
    if (S_ISDIR(st.st_mode) && fault) {
        walk->over = "folders that are nested too deep, or named so that they cannot be kept";
    } else if (S_ISDIR(st.st_mode)) {
        push(walk, path);
        return;
    } else if (walk->list && S_ISREG(st.st_mode) && !fault) {
        add_file(walk, path, &st);
        return;
    } else if (walk->list) {
        unlinkat(fd, name, 0);
    }
    free(path);
}

static void visit_folder(struct walk *walk, const char *folder)
{
    DIR *list = open_list(walk->dir->fd, *folder ? folder : ".");
    const struct dirent *entry;
    while (list && !walk->over && (entry = next_entry(list)))
        visit(walk, dirfd(list), folder, entry->d_name);
    if (list)
        closedir(list);
}

static const char *do_walk(struct workdir *dir, struct file_list *list, unsigned give)
{
    struct walk walk = {.dir = dir, .list = list, .give = give};
    push(&walk, ab_strdup(""));
    while (walk.n) {
        char *folder = walk.folders[--walk.n];
        if (!walk.over)
            visit_folder(&walk, folder);
        free(folder);
    }
    free(walk.folders);
    return walk.over;
}

int workdir_list(struct workdir *dir, struct file_list *list, struct ab_error *err)
{
    *list = (struct file_list){0};
    const char *over = do_walk(dir, list, 0);
    if (list->n)
        qsort(list->items, list->n, sizeof *list->items, by_path);
    return over ? ab_fail(err, AB_ETOOLARGE, "the job's directory has %s", over) : 0;
}

int workdir_give(struct workdir *dir, unsigned user, struct ab_error *err)
{
    const char *fault = fchown(dir->fd, user, user) ? strerror(errno) : do_walk(dir, NULL, user);
    return fault ? ab_fail(err, AB_ESYSTEM, "cannot give the job's directory to user %u: %s", user, fault) : 0;
}

const char *workdir_over(struct workdir *dir)
{
    struct statvfs disk;
    if (!fstatvfs(dir->fd, &disk) && (uint64_t)disk.f_bavail * disk.f_frsize < WORKDIR_DISK_FREE_MIN)
        return "a disk that is full";
    return do_walk(dir, NULL, 0);
}

/* --- hashing -------------------------------------------------------------------------------------------------- */

static int hash_file(struct workdir *dir, struct file *file, struct ab_error *err)
{
    crypto_generichash_state state;
    struct ab_buf piece = {0};
    uint64_t at = 0;
    int code = 0;
    crypto_generichash_init(&state, NULL, 0, WORKDIR_HASH_BYTES);
    do {
        ab_buf_clear(&piece);
        code = workdir_read(dir, file->path, at, PIECE_BYTES, &piece, err);
        crypto_generichash_update(&state, (const unsigned char *)(piece.p ? piece.p : ""), piece.n);
        at += piece.n;
    } while (!code && piece.n == PIECE_BYTES && at < file->bytes);
    crypto_generichash_final(&state, file->hash, WORKDIR_HASH_BYTES);
    ab_buf_finish(&piece);
    file->bytes = at;
    file->hashed = true;
    return code;
}

static bool unchanged(const struct file *file, const struct file_list *before)
{
    const struct file *same = before ? file_list_find(before, file->path) : NULL;
    return same && same->hashed && same->bytes == file->bytes &&
           !memcmp(same->stamp, file->stamp, sizeof file->stamp);
}

int workdir_hash(struct workdir *dir, struct file_list *list, const struct file_list *before,
                 uint64_t bytes_max, bool *done, struct ab_error *err)
{
    uint64_t hashed = 0;
    *done = false;
    for (size_t i = 0; i < list->n; i++) {
        struct file *file = &list->items[i];
        int code = 0;
        if (file->hashed)
            continue;
        if (hashed >= bytes_max)
            return 0;
        if (unchanged(file, before)) {
            memcpy(file->hash, file_list_find(before, file->path)->hash, WORKDIR_HASH_BYTES);
            file->hashed = true;
        } else {
            code = hash_file(dir, file, err);
            hashed += file->bytes + 4096; /* opening costs too */
        }
        if (code)
            return code;
    }
    *done = true;
    return 0;
}
