/* What is in a directory: listed, counted against the limits, hashed. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "worker/exec/beneath.h"

enum { FOLDERS_MAX = WORKDIR_FILES_MAX, PIECE_BYTES = 256 << 10 };

/* --- listing -------------------------------------------------------------------------------------------------- */

void file_list_finish(struct file_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].path);
    for (size_t i = 0; i < list->folders_n; i++)
        free(list->folders[i]);
    free(list->items);
    free(list->folders);
    *list = (struct file_list){0};
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool file_list_has_folder(const struct file_list *list, const char *path)
{
    return list->folders_n && bsearch(&path, list->folders, list->folders_n, sizeof *list->folders, by_text);
}

bool file_same(const struct file *a, const struct file *b)
{
    return a->bytes == b->bytes && a->executable == b->executable && !memcmp(a->hash, b->hash, sizeof a->hash);
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

static void add_folder(struct file_list *list, const char *path)
{
    if (list->folders_n == list->folders_cap) {
        list->folders_cap = list->folders_cap ? list->folders_cap * 2 : 16;
        list->folders = ab_realloc(list->folders, list->folders_cap * sizeof *list->folders);
    }
    list->folders[list->folders_n++] = ab_strdup(path);
}

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
    list->items[list->n++] = (struct file){.path = path,
                                           .bytes = (uint64_t)st->st_size,
                                           .executable = st->st_mode & 0111,
                                           .stamp = beneath_stamp(st)};
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
    const char *fault = workdir_path_fault(path);
    if (S_ISDIR(st.st_mode) && fault) {
        walk->over = "folders that are nested too deep, or named so that they cannot be kept";
    } else if (S_ISDIR(st.st_mode)) {
        if (walk->list)
            add_folder(walk->list, path);
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
    DIR *list = beneath_list(walk->dir->fd, *folder ? folder : ".");
    const struct dirent *entry;
    if (!list && walk->list && errno != ENOENT) /* while code runs, folders come and go */
        walk->over = "a folder that cannot be read";
    while (list && !walk->over && (entry = beneath_next(list)))
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
    if (list->folders_n)
        qsort(list->folders, list->folders_n, sizeof *list->folders, by_text);
    return over ? ab_fail(err, AB_ETOOLARGE, "the job's directory has %s", over) : 0;
}

int workdir_give(struct workdir *dir, unsigned user, struct ab_error *err)
{
    const char *fault = fchown(dir->fd, user, user) ? strerror(errno) : do_walk(dir, NULL, user);
    return fault ? ab_fail(err, AB_ESYSTEM, "cannot give the job's directory to user %u: %s", user, fault) : 0;
}

const char *workdir_disk_over(struct workdir *dir)
{
    struct statvfs disk;
    return !fstatvfs(dir->fd, &disk) && (uint64_t)disk.f_bavail * disk.f_frsize < WORKDIR_DISK_FREE_MIN
               ? "a disk that is full"
               : NULL;
}

const char *workdir_over(struct workdir *dir)
{
    const char *over = workdir_disk_over(dir);
    return over ? over : do_walk(dir, NULL, 0);
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
           !memcmp(&same->stamp, &file->stamp, sizeof file->stamp);
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
