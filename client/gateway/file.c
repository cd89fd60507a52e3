/* GET /api/jobs/{job}/files/{path}: the bytes of a file that a job's code made. They come from storage piece by piece, the next
 * one when the client has taken the last, so that a gateway holds one piece of each download, whatever their sizes.
 *
 * What code wrote is nobody's friend: a browser is told to run none of it (CSP sandbox, nosniff), and shows only plain text and
 * plain images; all else it saves.
 */
#include <stdlib.h>
#include <strings.h>

#include "client/gateway/gateway.h"
#include "common/files.h"

enum { NAME_MAX_SHOWN = 255 };

struct download {
    uint64_t from, to;   /* the bytes that are answered: to is behind the last */
    uint64_t at;         /* where the next piece begins */
    uint64_t next;       /* the next byte that the client gets */
    struct ab_buf piece; /* its end is at `at` */
    char *hash;          /* of the file that was begun */
    bool ranged, asked, failed;
};

static void forget(struct call *call)
{
    struct download *d = call->state;
    ab_buf_finish(&d->piece);
    free(d->hash);
    free(d);
    call->state = NULL;
}

/* ---- what it is served as ---- */

static const struct {
    const char *extension, *type;
    bool shown; /* by a browser; else it is saved */
} types[] = {
    {"png", "image/png", true},
    {"jpg", "image/jpeg", true},
    {"jpeg", "image/jpeg", true},
    {"gif", "image/gif", true},
    {"webp", "image/webp", true},
    {"txt", "text/plain; charset=utf-8", true},
    {"log", "text/plain; charset=utf-8", true},
    {"md", "text/plain; charset=utf-8", true},
    {"csv", "text/csv; charset=utf-8", false},
    {"json", "application/json", false},
    {"pdf", "application/pdf", false},
};

static int type_of(struct ab_view extension)
{
    int n = sizeof types / sizeof *types;
    for (int i = 0; i < n; i++)
        if (strlen(types[i].extension) == extension.n &&
            !strncasecmp(types[i].extension, extension.p, extension.n))
            return i;
    return -1;
}

static bool is_plain(char c)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    return memchr(plain, c, sizeof plain - 1);
}

/* RFC 6266: the name in ASCII for old clients, and as it is. */
static char *disposition(struct ab_view name, bool shown)
{
    struct ab_buf text = {0};
    size_t n = name.n < NAME_MAX_SHOWN ? name.n : NAME_MAX_SHOWN;
    ab_buf_format(&text, "%s; filename=\"", shown ? "inline" : "attachment");
    for (size_t i = 0; i < n; i++)
        ab_buf_char(&text, is_plain(name.p[i]) ? name.p[i] : '_');
    ab_buf_text(&text, "\"; filename*=UTF-8''");
    for (size_t i = 0; i < n; i++)
        ab_buf_format(&text, is_plain(name.p[i]) ? "%c" : "%%%02X", (unsigned char)name.p[i]);
    return ab_buf_detach(&text);
}

/* ---- which part of it ---- */

static bool read_number(const char **at, uint64_t *number)
{
    char *end;
    if (**at < '0' || **at > '9')
        return false;
    *number = strtoull(*at, &end, 10);
    *at = end;
    return true;
}

/* One range of bytes, "bytes=A-B", "bytes=A-" or "bytes=-N" (RFC 9110, 14.2); others are as if they were not there. 0: the
 * whole file; 1: from … to; -1: nothing of it is there. */
static int read_range(struct ab_view header, uint64_t size, uint64_t *from, uint64_t *to)
{
    uint64_t first = 0, last = 0;
    const char *at = header.p;
    if (header.n < 6 || strncasecmp(at, "bytes=", 6))
        return 0;
    at += 6;
    bool has_first = read_number(&at, &first);
    if (*at++ != '-')
        return 0;
    bool has_last = read_number(&at, &last);
    if (*at || (!has_first && !has_last) || (has_first && has_last && last < first))
        return 0;
    *from = has_first ? first : last < size ? size - last : 0;
    *to = has_first && has_last && last < size ? last + 1 : size;
    return *from < *to ? 1 : -1;
}

/* ---- pieces ---- */

static void ask(struct call *call, autobots_done *done)
{
    struct download *d = call->state;
    d->asked = true;
    call_raw_query(call, "get_file",
                   json_pack("{s:O, s:O, s:I}", "job", json_object_get(call->args, "job"), "path",
                             json_object_get(call->args, "path"), "at", (json_int_t)d->at),
                   done);
}

struct answered {
    struct ab_file_record file;
    struct ab_view data;
};

static int read_answer(const struct autobots_answer *answer, struct answered *out, struct ab_error *err)
{
    struct ab_op_get_file_answer a;
    if (ab_decode(&ab_op_get_file_answer_schema, ab_view(answer->raw, answer->raw_bytes), &a, err) ||
        ab_decode(&ab_file_record_schema, a.file, &out->file, err))
        return err->code;
    out->data = a.data;
    return 0;
}

static void take_piece(struct download *d, struct ab_view data)
{
    ab_buf_clear(&d->piece);
    ab_buf_add(&d->piece, data.p, data.n);
    d->failed |= !d->piece.n && d->at < d->to;
    d->at += d->piece.n;
}

/* A later piece: the answer goes out already, so what fails ends the connection. */
static void on_piece(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct download *d = call->state;
    struct answered a;
    struct ab_error err;
    if (call->connection) {
        d->asked = false;
        d->failed |= answer->error || read_answer(answer, &a, &err) ||
                     !ab_view_is(a.file.hash, d->hash); /* it is another one by now */
        if (!d->failed)
            take_piece(d, a.data);
        call_wake(call);
    }
    call_drop(call);
}

static ssize_t on_read(void *owner, uint64_t position, char *to, size_t most)
{
    struct call *call = owner;
    struct download *d = call->state;
    (void)position;
    if (call->abandoned || d->failed)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (d->next == d->to)
        return MHD_CONTENT_READER_END_OF_STREAM;
    uint64_t begins = d->at - d->piece.n;
    if (d->next < d->at) {
        uint64_t n = (d->at < d->to ? d->at : d->to) - d->next;
        n = n < most ? n : most;
        memcpy(to, d->piece.p + (d->next - begins), n);
        d->next += n;
        return (ssize_t)n;
    }
    if (!d->asked)
        ask(call, on_piece);
    if (d->asked) { /* its answer wakes us */
        call->suspended = true;
        MHD_suspend_connection(call->connection);
    }
    return 0;
}

/* ---- the answer ---- */

static void describe(struct call *call, const struct ab_file_record *file)
{
    struct download *d = call->state;
    int type = type_of(file->extension);
    char *name = disposition(file->name, type >= 0 && types[type].shown);
    char *tag = ab_format("\"%s\"", d->hash);
    call_header_add(call, "Content-Disposition", name);
    call_header_add(call, "Content-Security-Policy", "sandbox; default-src 'none'");
    call_header_add(call, "ETag", tag);
    call_header_add(call, "Accept-Ranges", "bytes");
    if (d->ranged) {
        char *range = ab_format("bytes %llu-%llu/%llu", (unsigned long long)d->from,
                                (unsigned long long)d->to - 1, (unsigned long long)file->bytes);
        call_header_add(call, "Content-Range", range);
        free(range);
    }
    free(name);
    free(tag);
}

static bool has_tag(struct ab_view header, const char *hash)
{
    return header.n && (ab_view_is(header, "*") || strstr(header.p, hash));
}

/* If-Range has one tag, which must be this very one (RFC 9110, 13.1.5). */
static bool is_tag(struct ab_view header, const char *hash)
{
    size_t n = strlen(hash);
    return header.n == n + 2 && *header.p == '"' && !memcmp(header.p + 1, hash, n) && header.p[n + 1] == '"';
}

static void refuse_range(struct call *call, uint64_t size)
{
    struct ab_error err;
    char *range = ab_format("bytes */%llu", (unsigned long long)size);
    ab_fail_at(&err, AB_EINVALID, "Range", "the file has %llu bytes", (unsigned long long)size);
    call_fail_as(call, MHD_HTTP_RANGE_NOT_SATISFIABLE, "invalid", &err, NULL);
    call_header_add(call, "Content-Range", range);
    free(range);
}

/* With the first piece, which says what the file is. */
static void begin(struct call *call, const struct answered *a)
{
    struct download *d = call->state;
    uint64_t size = a->file.bytes;
    struct ab_view if_range = call_header(call, "If-Range");
    int type = type_of(a->file.extension);
    d->hash = ab_view_dup(a->file.hash);
    d->to = size;
    bool known = has_tag(call_header(call, "If-None-Match"), d->hash);
    int ranged = known || (if_range.n && !is_tag(if_range, d->hash))
                     ? 0
                     : read_range(call_header(call, "Range"), size, &d->from, &d->to);
    d->ranged = ranged > 0;
    d->next = d->from;
    take_piece(d, a->data);
    if (d->from >= d->at) { /* it begins in a later one */
        d->at = d->from - d->from % AB_FILE_PIECE_MAX;
        ab_buf_clear(&d->piece);
    }
    if (known)
        call_answer_empty(call, MHD_HTTP_NOT_MODIFIED);
    else if (ranged < 0) {
        refuse_range(call, size);
        return;
    } else
        call_answer_pieces(call, d->ranged ? MHD_HTTP_PARTIAL_CONTENT : MHD_HTTP_OK,
                           type < 0 ? "application/octet-stream" : types[type].type, d->to - d->from, on_read,
                           call);
    describe(call, &a->file);
}

static void on_first(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct answered a;
    struct ab_error err;
    if (!call->connection)
        ;
    else if (answer->error)
        call_failed(call, answer);
    else if (read_answer(answer, &a, &err))
        call_fail(call, &err, NULL);
    else {
        ((struct download *)call->state)->asked = false;
        begin(call, &a);
    }
    call_drop(call);
}

void file_handle(struct call *call)
{
    call->state = ab_calloc(1, sizeof(struct download));
    call->forget = forget;
    ask(call, on_first);
}
