/* See box.h. */
#include "worker/exec/box.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

enum { PIECE_BYTES = 256 << 10, OPENING_BYTES = 4096 /* that opening a file counts as */ };

/* Where they are inside, and what they may hold. `tolerated`: with more the run is stopped; above it lies the kernel's
 * bound. Files: folders and links too. */
static const struct space {
    const char *path;
    uint64_t bytes_max, tolerated, files_max;
    const char *bytes_over, *files_over;
} spaces[BOX_SPACES] = {
    {"workspace", EXEC_SPACE_BYTES_MAX, EXEC_SPACE_BYTES_MAX - EXEC_SPACE_SLACK / 2,
     2 * WORKDIR_FILES_MAX + 1 /* as many folders; itself */,
     "the job's directory has more bytes than a job's files may have (64 MiB)",
     "the job's directory has more files and folders than a job may have (1000 of each)"},
    {"tmp", EXEC_TMP_BYTES_MAX, UINT64_MAX, EXEC_TMP_FILES_MAX, NULL,
     "there are more files in /tmp than may be (10000)"},
    {"dev/shm", EXEC_TMP_BYTES_MAX, UINT64_MAX, EXEC_TMP_FILES_MAX, NULL,
     "there are more files in /dev/shm than may be (10000)"},
};

/* --- reaching it ---------------------------------------------------------------------------------------------- */

void box_init(struct box *box)
{
    *box = (struct box){.spaces = {-1, -1, -1}};
}

void box_finish(struct box *box)
{
    for (size_t i = 0; i < BOX_SPACES; i++)
        if (box->spaces[i] >= 0)
            close(box->spaces[i]);
    file_list_finish(&box->placed);
    struct user user = box->user;
    box_init(box);
    box->user = user;
}

static int open_space(int root, const struct space *space, int *fd, struct ab_error *err)
{
    struct statfs fs;
    *fd = beneath_open(root, space->path, O_RDONLY | O_DIRECTORY, 0);
    if (*fd < 0 || fstatfs(*fd, &fs))
        return beneath_fault(err, space->path, "open this folder of the sandbox");
    if (fs.f_type != TMPFS_MAGIC || !fs.f_blocks ||
        (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize > space->bytes_max)
        return ab_fail(err, AB_ESYSTEM, "code cannot be run: /%s of the sandbox is not bounded", space->path);
    return 0;
}

int box_open(struct box *box, pid_t init, struct ab_error *err)
{
    char *path = ab_format("/proc/%ld/root", (long)init);
    int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int code = root < 0 ? beneath_fault(err, path, "look into the sandbox") : 0;
    for (size_t i = 0; !code && i < BOX_SPACES; i++)
        code = open_space(root, &spaces[i], &box->spaces[i], err);
    if (root >= 0)
        close(root);
    free(path);
    static char name[] = "workspace";
    box->dir = (struct workdir){.fd = box->spaces[0], .name = name, .path = name};
    box->open = !code;
    return code;
}

const char *box_over(const struct box *box)
{
    for (size_t i = 0; i < BOX_SPACES; i++) {
        struct statfs fs;
        if (fstatfs(box->spaces[i], &fs))
            continue;
        if ((uint64_t)(fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize > spaces[i].tolerated)
            return spaces[i].bytes_over;
        if ((uint64_t)(fs.f_files - fs.f_ffree) > spaces[i].files_max)
            return spaces[i].files_over;
    }
    return NULL;
}

/* --- what is in it -------------------------------------------------------------------------------------------- */

int box_list(struct box *box, struct file_list *list, struct ab_error *err)
{
    struct acting was;
    user_act(&box->user, &was);
    int code = workdir_list(&box->dir, list, err);
    user_act_no_more(&box->user, &was);
    return code;
}

/* Always of the bytes: writing through a mapping leaves no time stamp on this kind of file system. */
int box_hash(struct box *box, struct file_list *list, uint64_t bytes_max, bool *done, struct ab_error *err)
{
    struct acting was;
    user_act(&box->user, &was);
    int code = workdir_hash(&box->dir, list, NULL, bytes_max, done, err);
    user_act_no_more(&box->user, &was);
    return code;
}

void box_remove(struct box *box, const char *path)
{
    struct acting was;
    user_act(&box->user, &was);
    workdir_remove(&box->dir, path);
    user_act_no_more(&box->user, &was);
}

static int box_read(struct box *box, const char *path, struct ab_buf *piece, struct ab_error *err)
{
    struct acting was;
    user_act(&box->user, &was);
    int code = workdir_read(&box->dir, path, box->at, PIECE_BYTES, piece, err);
    user_act_no_more(&box->user, &was);
    return code;
}

static int box_write(struct box *box, const struct file *file, struct ab_view piece, struct ab_error *err)
{
    struct acting was;
    user_act(&box->user, &was);
    int code = workdir_write(&box->dir, file->path, box->at, piece, file->executable, err);
    user_act_no_more(&box->user, &was);
    return code;
}

/* --- copying -------------------------------------------------------------------------------------------------- */

/* The next piece of the file box->at is in; *whole: there is no more of it. */
static int copy_piece(struct box *box, bool in, struct workdir *other, const struct file *file, bool *whole,
                      struct ab_error *err)
{
    struct ab_buf piece = {0};
    int code = in ? workdir_read(other, file->path, box->at, PIECE_BYTES, &piece, err)
                  : box_read(box, file->path, &piece, err);
    if (!code && in)
        code = box_write(box, file, ab_buf_view(&piece), err);
    if (!code && !in)
        code = workdir_write(other, file->path, box->at, ab_buf_view(&piece), file->executable, err);
    box->at += piece.n;
    *whole = piece.n < PIECE_BYTES || box->at >= file->bytes;
    ab_buf_finish(&piece);
    return code;
}

static int finish_file(struct box *box, bool in, struct workdir *other, struct file *file, struct ab_error *err)
{
    struct acting was;
    if (!in)
        return workdir_stamp(other, file, true, err);
    user_act(&box->user, &was);
    struct file copy = *file;
    int code = workdir_stamp(&box->dir, &copy, true, err);
    user_act_no_more(&box->user, &was);
    return code;
}

/* Files of the list from box->file on, but those that `kept` has already. */
static int copy_files(struct box *box, bool in, struct workdir *other, struct file_list *list,
                      const struct file_list *kept, uint64_t bytes_max, bool *done, struct ab_error *err)
{
    uint64_t copied = 0;
    int code = 0;
    for (; !code && box->file < list->n && copied < bytes_max;) {
        struct file *file = &list->items[box->file];
        const struct file *same = kept ? file_list_find(kept, file->path) : NULL;
        bool whole = same && file_same(same, file);
        uint64_t before = box->at;
        if (whole) {
            file->stamp = same->stamp;
        } else {
            code = copy_piece(box, in, other, file, &whole, err);
            copied += box->at - before + OPENING_BYTES;
            if (!code && whole)
                code = finish_file(box, in, other, file, err);
        }
        box->file += whole;
        box->at = whole ? 0 : box->at;
    }
    *done = !code && box->file == list->n;
    if (*done)
        box->file = 0;
    return code;
}

static int make_folders(struct box *box, struct ab_error *err)
{
    struct acting was;
    int code = 0;
    user_act(&box->user, &was);
    for (size_t i = 0; !code && i < box->placed.folders_n; i++)
        code = workdir_make_folder(&box->dir, box->placed.folders[i], err);
    user_act_no_more(&box->user, &was);
    return code;
}

int box_place(struct box *box, struct workdir *from, const struct file_list *before, uint64_t bytes_max,
              bool *done, struct ab_error *err)
{
    int code = 0;
    *done = false;
    if (!box->listed) {
        code = workdir_list(from, &box->placed, err);
        box->listed = true;
        return code ? code : make_folders(box, err);
    }
    if (!box->hashed)
        return workdir_hash(from, &box->placed, before, bytes_max, &box->hashed, err);
    return copy_files(box, true, from, &box->placed, NULL, bytes_max, done, err);
}

/* What is not in the box any more, or is a folder there that was a file, or the other way round. */
static int clear_away(struct box *box, struct workdir *to, const struct file_list *files, struct ab_error *err)
{
    const struct file_list *placed = &box->placed;
    int code = 0;
    for (size_t i = 0; i < placed->n; i++)
        if (!file_list_find(files, placed->items[i].path))
            workdir_remove(to, placed->items[i].path);
    for (size_t i = placed->folders_n; i-- > 0;) /* sorted: what is in a folder comes after it */
        if (!file_list_has_folder(files, placed->folders[i]))
            workdir_remove_folder(to, placed->folders[i]);
    for (size_t i = 0; !code && i < files->folders_n; i++)
        code = workdir_make_folder(to, files->folders[i], err);
    return code;
}

int box_take(struct box *box, struct workdir *to, struct file_list *files, uint64_t bytes_max, bool *done,
             struct ab_error *err)
{
    *done = false;
    if (!box->cleared) {
        box->cleared = true;
        int code = clear_away(box, to, files, err);
        if (code)
            return code;
    }
    return copy_files(box, false, to, files, &box->placed, bytes_max, done, err);
}
