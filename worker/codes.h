/* Code blocks of jobs: from the files they find to the files they leave (codes.c, code_files.c). */
#ifndef AB_WORKER_CODES_H
#define AB_WORKER_CODES_H

#include "worker/exec/exec.h"
#include "worker/worker.h"

enum {
    CODE_PIECE_BYTES = 512 << 10, /* of a file, on its way to or from storage */
    CODE_NAME_BYTES_MAX = WORKDIR_PATH_MAX,
};

/* A conversation's directory on this machine, as its last code block left it. */
struct workspace {
    char folder[ENGINE_FOLDER_MAX];
    struct workdir *dir;
    struct file_list files; /* in it; what the journal does not know is not */
    TAILQ_ENTRY(workspace) in_run;
};

enum code_stage {
    CODE_RESTORE, /* the directory gets what the journal says it had */
    CODE_RUN,
    CODE_STORE, /* new files go to storage, before the event that names them */
    CODE_FAILED
};

/* One block that is wanted. */
struct code {
    struct run *run;
    struct workspace *space;
    char step[ENGINE_STEP_MAX];
    enum code_stage stage;
    struct file_list want; /* what the journal says is there */
    size_t file;           /* index of the file that is being restored or stored … */
    uint64_t at;           /* … and its bytes so far */
    bool asking;           /* the query under way is ours */

    struct exec_run *exec;   /* while it runs */
    struct workdir *library; /* of skills, while it runs; NULL: none */
    bool has_library;        /* it was seen to, whether there are any or not */
    struct ab_buf skills;    /* which they are */
    struct feed feed;        /* what it writes */
    char *script;            /* the file that is run; owned */
    /* what came of it; texts owned */
    int exit_code;
    char *stopped, *isolation;
    struct ab_buf output;
    uint64_t output_bytes;
    int64_t duration_ms;
    struct file_list files; /* there now, if `listed` */
    bool listed;

    struct ab_error error; /* FAILED */
    TAILQ_ENTRY(code) in_run;
};

/* What the configuration says of sandboxes. */
struct exec_options exec_options_of(const struct ab_config *config);
/* The directory of a conversation, made if it is not there; NULL: err says why. */
struct workspace *code_space(struct run *run, const char *folder, struct ab_error *err);
/* What came of a run, as on_done has it. */
void code_take_result(struct code *code, const struct exec_result *result, const struct ab_error *error);
void code_clear(struct code *code); /* ends what runs, and frees what the struct holds */
/* Both go as far as they can; true: done. */
bool code_restore(struct code *code);
bool code_store(struct code *code);
/* code_attach.c: the files that came with the message. */
int code_attach(struct workdir *dir, const json_t *content, struct ab_error *err);
/* The files of a code_result as a list, and back. */
int code_read_files(struct ab_view raw, struct file_list *list, struct ab_error *err);
void code_write_files(const struct file_list *list, struct ab_buf *raw);
void code_fail(struct code *code, const struct ab_error *error);
/* It is the block's fault: it counts as having failed, and its directory as it was before. */
void code_refuse(struct code *code, const struct ab_error *error);

#endif
