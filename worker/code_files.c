/* Files of code blocks: out of storage into a directory before a block runs, and into storage after it. */
#include <stdlib.h>

#include "common/files.h"
#include "worker/codes.h"
#include "worker/skills.h"

/* --- lists ---------------------------------------------------------------------------------------------------- */

static void hex(const uint8_t hash[WORKDIR_HASH_BYTES], char text[AB_FILE_HASH_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < WORKDIR_HASH_BYTES; i++) {
        text[2 * i] = digits[hash[i] >> 4];
        text[2 * i + 1] = digits[hash[i] & 15];
    }
}

static bool unhex(struct ab_view text, uint8_t hash[WORKDIR_HASH_BYTES])
{
    for (size_t i = 0; i < text.n && text.n == AB_FILE_HASH_TEXT; i++) {
        char c = text.p[i];
        int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (value < 0)
            return false;
        hash[i / 2] = (uint8_t)(i % 2 ? hash[i / 2] | value : value << 4);
    }
    return text.n == AB_FILE_HASH_TEXT;
}

int code_read_files(struct ab_view raw, struct file_list *list, struct ab_error *err)
{
    struct ab_reader reader = ab_reader(raw);
    uint32_t n = 0;
    int code = raw.n ? ab_read_array(&reader, &n) : 0;
    list->items = ab_calloc(n < AB_FILES_MAX ? n + 1 : 1, sizeof *list->items);
    if (n > AB_FILES_MAX)
        code = AB_EINVALID;
    for (uint32_t i = 0; !code && i < n; i++) {
        struct ab_file_entry entry;
        struct ab_view item;
        struct file *file = &list->items[list->n];
        code = ab_read_any(&reader, &item);
        if (!code)
            code = ab_decode(&ab_file_entry_schema, item, &entry, NULL);
        if (!code && !unhex(entry.hash, file->hash))
            code = AB_EINVALID;
        if (code)
            break;
        file->path = ab_view_dup(entry.path);
        file->bytes = entry.bytes;
        file->executable = entry.executable;
        file->hashed = true;
        list->n++;
        code = workdir_check_path(file->path, err);
    }
    return code ? ab_fail_at(err, AB_EDAMAGED, "files", "the list of files in the journal is damaged") : 0;
}

void code_write_files(const struct file_list *list, struct ab_buf *raw)
{
    char text[AB_FILE_HASH_TEXT];
    ab_pack_array(raw, (uint32_t)list->n);
    for (size_t i = 0; i < list->n; i++) {
        const struct file *file = &list->items[i];
        hex(file->hash, text);
        struct ab_file_entry entry = {.path = ab_view_of(file->path),
                                      .hash = ab_view(text, sizeof text),
                                      .bytes = file->bytes,
                                      .executable = file->executable};
        ab_encode(raw, &ab_file_entry_schema, &entry);
    }
}

/* The one of a run's blocks whose question was answered. */
static struct code *asker(struct run *run)
{
    struct code *code;
    TAILQ_FOREACH(code, &run->codes, in_run)
    if (code->asking)
        break;
    if (!code)
        code = skillcall_asker(run);
    if (code)
        code->asking = false;
    return code;
}

/* --- out of storage ------------------------------------------------------------------------------------------- */

static void on_piece(struct worker *worker, struct run *run, struct ab_view answer,
                     const struct ab_error *error)
{
    struct code *code = asker(run);
    struct ab_op_file_piece piece = {0};
    struct ab_error err = {0};
    (void)worker;
    if (!code)
        return;
    const struct file *file = &code->want.items[code->file];
    if (error)
        err = *error;
    else if (!ab_decode(&ab_op_file_piece_schema, answer, &piece, &err))
        workdir_write(code->space->dir, file->path, code->at, piece.data, file->executable, &err);
    if (!err.code && !piece.data.n && code->at < file->bytes)
        ab_fail(&err, AB_EDAMAGED, "storage has only %llu bytes of the file %s", (unsigned long long)code->at,
                file->path);
    if (err.code)
        code_fail(code, &err);
    code->at += piece.data.n;
}

static bool is_there(const struct code *code, const struct file *file)
{
    const struct file *there = file_list_find(&code->space->files, file->path);
    return there && there->bytes == file->bytes && there->executable == file->executable &&
           !memcmp(there->hash, file->hash, sizeof file->hash);
}

/* True: the file is as it should be. */
static bool restore_file(struct code *code, const struct file *file)
{
    struct ab_error err = {0};
    char text[AB_FILE_HASH_TEXT];
    if (is_there(code, file) || (code->at && code->at >= file->bytes))
        return true;
    if (!file->bytes) {
        if (workdir_write(code->space->dir, file->path, 0, ab_view("", 0), file->executable, &err))
            code_fail(code, &err);
        return !err.code;
    }
    hex(file->hash, text);
    struct ab_op_load_file request = {.n = code->run->n, .hash = ab_view(text, sizeof text), .at = code->at};
    code->asking = true;
    queries_ask(code->run->worker, code->run, AB_OP_load_file, &request, on_piece);
    return false;
}

bool code_restore(struct code *code)
{
    for (; code->file < code->want.n; code->file++, code->at = 0)
        if (!restore_file(code, &code->want.items[code->file]))
            return false;
    code->file = 0;
    code->at = 0;
    return true;
}

/* --- into storage --------------------------------------------------------------------------------------------- */

static void on_put(struct worker *worker, struct run *run, struct ab_view answer, const struct ab_error *error)
{
    struct code *code = asker(run);
    (void)worker;
    (void)answer;
    if (!code)
        return;
    if (error && error->code == AB_ETOOLARGE)
        code_refuse(code, error);
    else if (error)
        code_fail(code, error);
    else
        code->at += CODE_PIECE_BYTES;
}

/* A content that the journal names already is in storage already. */
static bool is_known(const struct code *code, const struct file *file)
{
    for (size_t i = 0; i < code->want.n; i++)
        if (!memcmp(code->want.items[i].hash, file->hash, sizeof file->hash))
            return true;
    return false;
}

/* True: all of it is in storage. */
static bool store_file(struct code *code, const struct file *file)
{
    struct ab_buf piece = {0};
    struct ab_error err = {0};
    char text[AB_FILE_HASH_TEXT];
    if (code->at >= file->bytes || (!code->at && is_known(code, file)))
        return true;
    if (workdir_read(code->space->dir, file->path, code->at, CODE_PIECE_BYTES, &piece, &err)) {
        code_fail(code, &err);
    } else {
        hex(file->hash, text);
        struct ab_op_put_file request = {
            .n = code->run->n, .hash = ab_view(text, sizeof text), .at = code->at, .data = ab_buf_view(&piece)};
        code->asking = true;
        queries_ask(code->run->worker, code->run, AB_OP_put_file, &request, on_put);
    }
    ab_buf_finish(&piece);
    return false;
}

bool code_store(struct code *code)
{
    for (; code->file < code->files.n; code->file++, code->at = 0)
        if (!store_file(code, &code->files.items[code->file]))
            return false;
    return true;
}
