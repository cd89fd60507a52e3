/* The private file system of a sandboxed run, in memory and of bounded size: the job's files are put in before the script
 * starts and taken out when all its processes are gone. So nothing that code makes comes to lie on the machine's disk but the
 * plain files that are kept, and no code can fill that disk, however fast it is.
 *
 * Three file systems: /workspace, /tmp and /dev/shm. The worker reaches them through the namespace's first process, before the
 * script runs, and keeps them by their descriptors. Their bytes are bounded by the kernel (EXEC_SPACE_BYTES_MAX,
 * EXEC_TMP_BYTES_MAX), their number of files by looking at it every BOX_LOOK_MS (the sandbox program has no option for it).
 */
#ifndef AB_WORKER_EXEC_BOX_H
#define AB_WORKER_EXEC_BOX_H

#include "worker/exec/beneath.h"
#include "worker/exec/users.h"

enum {
    BOX_LOOK_MS = 25,
    BOX_SPACES = 3,
};

struct box {
    bool open;
    struct user user;
    int spaces[BOX_SPACES]; /* the first is that of `dir` */
    struct workdir dir; /* /workspace, as if it were a job's directory; `name` and `path` are for messages */
    struct file_list placed;      /* what was put in, with the hashes of what the job's directory has */
    bool listed, hashed, cleared; /* steps of copying that are over … */
    size_t file;                  /* … the file that is being copied, and its bytes so far */
    uint64_t at;
};

/* A box that is not open; its user is to be taken by the caller, and given back. */
void box_init(struct box *box);
/* init: first process of the sandbox, which waits. */
int box_open(struct box *box, pid_t init, struct ab_error *err);
void box_finish(struct box *box);

/* Both copy about bytes_max bytes at a time, until *done. AB_ETOOLARGE if what is there is over a limit.
 *
 * box_take makes `to` what the box holds, with as little writing as possible; `files` is what is in the box, hashed, and gets
 * the stamps of the files in `to`. */
int box_place(struct box *box, struct workdir *from, const struct file_list *before, uint64_t bytes_max,
              bool *done, struct ab_error *err);
int box_take(struct box *box, struct workdir *to, struct file_list *files, uint64_t bytes_max, bool *done,
             struct ab_error *err);

/* As workdir_list, workdir_hash and workdir_remove, on /workspace. */
int box_list(struct box *box, struct file_list *list, struct ab_error *err);
int box_hash(struct box *box, struct file_list *list, uint64_t bytes_max, bool *done, struct ab_error *err);
void box_remove(struct box *box, const char *path);

/* Which limit is passed now, for people; NULL: none. Cheap. */
const char *box_over(const struct box *box);

#endif
