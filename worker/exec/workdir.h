/* The directories in which jobs' code works: made, filled, listed, removed. Nothing here follows a link or leaves the
 * directory (openat2 with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS), as code that has run there may have left anything.
 *
 *   ROOT/w-PID-N/JOB…     one folder per worker process, locked while it lives; those of dead ones are removed by the next
 *
 * What is kept of a directory are its regular files, in folders: their paths, contents and whether they are executable.
 * Links, sockets, pipes, devices and names that are not UTF-8 are removed when it is listed.
 */
#ifndef AB_WORKER_EXEC_WORKDIR_H
#define AB_WORKER_EXEC_WORKDIR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/error.h"

enum {
    WORKDIR_FILES_MAX = 1000,          /* of one directory */
    WORKDIR_BYTES_MAX = 64 << 20,      /* of all its files */
    WORKDIR_FILE_BYTES_MAX = 32 << 20, /* of one file */
    WORKDIR_DEPTH_MAX = 16,            /* folders in folders */
    WORKDIR_PATH_MAX = 512,            /* of a file's path */
    WORKDIR_HASH_BYTES = 32,           /* BLAKE2b-256 of the content */
    WORKDIR_DISK_FREE_MIN = 256 << 20, /* with less free on its disk no code goes on */
};

struct workdirs;
struct workdir;

struct file {
    char *path; /* owned; relative, no "." or ".." in it */
    uint64_t bytes;
    bool executable;
    bool hashed;
    uint8_t hash[WORKDIR_HASH_BYTES];
    struct file_stamp {
        uint64_t device, inode, changed_ns, modified_ns;
    } stamp; /* the same means the same content, where nobody wrote through a mapping of a file in memory */
};
struct file_list {
    struct file *items; /* sorted by path */
    size_t n, cap;
    uint64_t bytes;
    char **folders; /* sorted, owned; not part of what is kept of a directory */
    size_t folders_n, folders_cap;
};
void file_list_finish(struct file_list *list);
bool file_same(const struct file *a, const struct file *b); /* content and mode; both are hashed */
bool file_list_has_folder(const struct file_list *list, const char *path);
struct file *file_list_find(const struct file_list *list, const char *path); /* NULL: it is not there */

/* Makes ROOT and this process's folder in it, and removes those of dead processes. */
int workdirs_create(const char *root, struct workdirs **out, struct ab_error *err);
void workdirs_destroy(struct workdirs *dirs); /* with the folder; NULL is allowed */

/* `name` is a plain name; a directory of that name that is there is emptied. */
int workdir_create(struct workdirs *dirs, const char *name, struct workdir **out, struct ab_error *err);
void workdir_destroy(struct workdir *dir); /* removes all of it; NULL is allowed */
const char *workdir_path(const struct workdir *dir);
int workdir_empty(struct workdir *dir, struct ab_error *err);

/* A path that a program or model named: AB_EINVALID unless it is plain and stays inside. */
int workdir_check_path(const char *path, struct ab_error *err);
int workdir_make_folder(struct workdir *dir, const char *path, struct ab_error *err); /* with those above it */
/* Writes at `offset`; at 0 what was there is replaced, and the folders above are made. */
int workdir_write(struct workdir *dir, const char *path, uint64_t offset, struct ab_view data, bool executable,
                  struct ab_error *err);
/* Reads up to `bytes` from `offset`, appended; fewer at its end. */
int workdir_read(struct workdir *dir, const char *path, uint64_t offset, size_t bytes, struct ab_buf *out,
                 struct ab_error *err);

/* To be read; -1 with errno. */
int workdir_open(struct workdir *dir, const char *path);
/* All of it belongs to that user from here on; only as root. */
int workdir_give(struct workdir *dir, unsigned user, struct ab_error *err);
void workdir_remove(struct workdir *dir, const char *path);        /* a file, if it is there */
void workdir_remove_folder(struct workdir *dir, const char *path); /* if it is there, and empty */
/* Notes the stamp of the file that is there; give_time: after it was given the time of the stamp that it has. */
int workdir_stamp(struct workdir *dir, struct file *file, bool give_time, struct ab_error *err);

/* Lists what is there, without hashes, and removes what cannot be kept. AB_ETOOLARGE if it is over a limit. */
int workdir_list(struct workdir *dir, struct file_list *list, struct ab_error *err);
/* Hashes files that have none yet, about `bytes_max` of them; those unchanged since `before` keep its hash. *done tells
 * whether all have one. */
int workdir_hash(struct workdir *dir, struct file_list *list, const struct file_list *before,
                 uint64_t bytes_max, bool *done, struct ab_error *err);
/* Which limit is passed now, for people; cheap enough to be asked while code runs. NULL: none. */
const char *workdir_over(struct workdir *dir);
const char *workdir_disk_over(struct workdir *dir); /* of these, what its disk is over */

#endif
