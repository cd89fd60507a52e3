/* Reading msgpack (the msgpack specification, "Formats") without building anything, and small packers. */
#include <msgpack/pack.h>

#include "common/wire/schema.h"

static uint64_t big_endian(const uint8_t *p, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | p[i];
    return value;
}

static bool have(const struct ab_reader *reader, uint64_t bytes)
{
    return (uint64_t)(reader->end - reader->at) >= bytes;
}

/* The length behind a format byte: `wide` bytes of it; advances past both. */
static int take_length(struct ab_reader *reader, int wide, uint32_t *n)
{
    if (!have(reader, 1 + (uint64_t)wide))
        return AB_EINVALID;
    *n = (uint32_t)big_endian(reader->at + 1, wide);
    reader->at += 1 + wide;
    return 0;
}

static int take_bytes(struct ab_reader *reader, uint32_t n, struct ab_view *bytes)
{
    if (!have(reader, n))
        return AB_EINVALID;
    *bytes = ab_view(reader->at, n);
    reader->at += n;
    return 0;
}

/* Formats with 8, 16 and 32 bit lengths follow each other; `first` is the lowest, `least` its length's bytes. */
static int read_head(struct ab_reader *reader, uint8_t fix, uint8_t fix_mask, uint8_t first, int least,
                     uint32_t *n)
{
    if (!have(reader, 1))
        return AB_EINVALID;
    uint8_t format = *reader->at;
    if (fix && (format & (uint8_t)~fix_mask) == fix) {
        *n = format & fix_mask;
        reader->at++;
        return 0;
    }
    int formats = least == 1 ? 3 : 2;
    if (format < first || format >= first + formats)
        return AB_EINVALID;
    return take_length(reader, least << (format - first), n);
}

int ab_read_array(struct ab_reader *reader, uint32_t *n)
{
    struct ab_reader start = *reader;
    int rc = read_head(reader, 0x90, 0x0f, 0xdc, 2, n);
    if (!rc && !have(reader, *n)) /* each item takes a byte at least */
        rc = AB_EINVALID;
    if (rc)
        *reader = start;
    return rc;
}

int ab_read_map(struct ab_reader *reader, uint32_t *n)
{
    struct ab_reader start = *reader;
    int rc = read_head(reader, 0x80, 0x0f, 0xde, 2, n);
    if (!rc && !have(reader, 2 * (uint64_t)*n))
        rc = AB_EINVALID;
    if (rc)
        *reader = start;
    return rc;
}

static int read_run(struct ab_reader *reader, uint8_t fix, uint8_t mask, uint8_t first, struct ab_view *run)
{
    struct ab_reader start = *reader;
    uint32_t n;
    int rc = read_head(reader, fix, mask, first, 1, &n);
    if (!rc)
        rc = take_bytes(reader, n, run);
    if (rc)
        *reader = start;
    return rc;
}

int ab_read_str(struct ab_reader *reader, struct ab_view *text)
{
    if (have(reader, 1) && (*reader->at & 0xe0) == 0xa0 &&
        have(reader, 1 + (*reader->at & 0x1f))) { /* mostly */
        *text = ab_view(reader->at + 1, *reader->at & 0x1f);
        reader->at += 1 + text->n;
        return 0;
    }
    return read_run(reader, 0xa0, 0x1f, 0xd9, text);
}

int ab_read_bin(struct ab_reader *reader, struct ab_view *bytes)
{
    return read_run(reader, 0, 0, 0xc4, bytes);
}

/* Any integer: its bits and whether it is negative. */
static int read_integer(struct ab_reader *reader, uint64_t *bits, bool *negative)
{
    if (!have(reader, 1))
        return AB_EINVALID;
    uint8_t format = *reader->at;
    if (format < 0x80 || format >= 0xe0) {
        *negative = format >= 0xe0;
        *bits = *negative ? (uint64_t)(int64_t)(int8_t)format : format;
        reader->at++;
        return 0;
    }
    if (format < 0xcc || format > 0xd3)
        return AB_EINVALID;
    bool is_signed = format >= 0xd0;
    int bytes = 1 << ((format - 0xcc) & 3);
    if (!have(reader, 1 + (uint64_t)bytes))
        return AB_EINVALID;
    uint64_t value = big_endian(reader->at + 1, bytes);
    if (is_signed && bytes < 8) {
        uint64_t sign = 1ull << (8 * bytes - 1);
        value = (value ^ sign) - sign;
    }
    *negative = is_signed && value >> 63;
    *bits = value;
    reader->at += 1 + bytes;
    return 0;
}

int ab_read_uint(struct ab_reader *reader, uint64_t *value)
{
    struct ab_reader start = *reader;
    bool negative;
    int rc = read_integer(reader, value, &negative);
    if (!rc && negative)
        rc = AB_EINVALID;
    if (rc)
        *reader = start;
    return rc;
}

int ab_read_int(struct ab_reader *reader, int64_t *value)
{
    struct ab_reader start = *reader;
    uint64_t bits = 0;
    bool negative = false;
    int rc = read_integer(reader, &bits, &negative);
    if (!rc && !negative && bits > INT64_MAX)
        rc = AB_EINVALID;
    if (rc)
        *reader = start;
    else
        *value = (int64_t)bits;
    return rc;
}

int ab_read_bool(struct ab_reader *reader, bool *value)
{
    if (!have(reader, 1) || (*reader->at & 0xfe) != 0xc2)
        return AB_EINVALID;
    *value = *reader->at++ & 1;
    return 0;
}

/* The formats from 0xc0 to 0xdf: what they are, and the bytes of the value (FIXED) or of its length. */
enum shape { REFUSED, FIXED, BYTES, TEXT, ARRAY, MAP };
static const struct {
    uint8_t shape, bytes;
} formats[32] = {
    [0x00] = {FIXED, 0}, [0x02] = {FIXED, 0}, [0x03] = {FIXED, 0}, [0x04] = {BYTES, 1}, [0x05] = {BYTES, 2},
    [0x06] = {BYTES, 4}, [0x0a] = {FIXED, 4}, [0x0b] = {FIXED, 8}, [0x0c] = {FIXED, 1}, [0x0d] = {FIXED, 2},
    [0x0e] = {FIXED, 4}, [0x0f] = {FIXED, 8}, [0x10] = {FIXED, 1}, [0x11] = {FIXED, 2}, [0x12] = {FIXED, 4},
    [0x13] = {FIXED, 8}, [0x19] = {TEXT, 1},  [0x1a] = {TEXT, 2},  [0x1b] = {TEXT, 4},  [0x1c] = {ARRAY, 2},
    [0x1d] = {ARRAY, 4}, [0x1e] = {MAP, 2},   [0x1f] = {MAP, 4},
};

/* Takes a format byte, with its length: *n is the bytes or items that follow. REFUSED at the end, and for extension
 * types: the protocol has none. */
static enum shape take_format(struct ab_reader *reader, uint32_t *n)
{
    *n = 0;
    if (reader->at == reader->end)
        return REFUSED;
    uint8_t format = *reader->at;
    if (format < 0x80 || format >= 0xe0) {
        reader->at++;
        return FIXED;
    }
    if (format < 0xc0) {
        reader->at++;
        *n = format & (format < 0xa0 ? 0x0f : 0x1f);
        return format < 0x90 ? MAP : format < 0xa0 ? ARRAY : TEXT;
    }
    enum shape shape = formats[format - 0xc0].shape;
    int bytes = formats[format - 0xc0].bytes;
    if (shape != FIXED)
        return shape == REFUSED || take_length(reader, bytes, n) ? REFUSED : shape;
    reader->at++;
    *n = (uint32_t)bytes;
    return FIXED;
}

/* Skips one scalar, or the head of an array or map (then *items is what follows). */
static int skip_one(struct ab_reader *reader, uint64_t *items)
{
    uint32_t n;
    struct ab_view run;
    enum shape shape = take_format(reader, &n);
    *items = shape == MAP ? 2 * (uint64_t)n : shape == ARRAY ? n : 0;
    if (shape == REFUSED)
        return AB_EINVALID;
    if (shape == MAP || shape == ARRAY)
        return have(reader, *items) ? 0 : AB_EINVALID; /* each item takes a byte at least */
    if (take_bytes(reader, n, &run))
        return AB_EINVALID;
    return shape != TEXT || ab_utf8_ok(run) ? 0 : AB_EINVALID;
}

static int read_any(struct ab_reader *reader, int depth_max, uint64_t items_max, struct ab_view *raw)
{
    struct ab_reader start = *reader;
    uint64_t left[AB_DEPTH_MAX], total = 0;
    int depth = 0;
    left[0] = 1;
    while (depth >= 0) {
        if (!left[depth]) {
            depth--;
            continue;
        }
        left[depth]--;
        uint64_t items;
        if (skip_one(reader, &items) || (total += items) > items_max || (items && depth + 1 == depth_max)) {
            *reader = start;
            return AB_EINVALID;
        }
        if (items)
            left[++depth] = items;
    }
    *raw = ab_view(start.at, (size_t)(reader->at - start.at));
    return 0;
}

int ab_read_any(struct ab_reader *reader, struct ab_view *raw)
{
    return read_any(reader, AB_DEPTH_MAX, AB_ITEMS_MAX, raw);
}

bool ab_any_ok(struct ab_view raw)
{
    struct ab_reader reader = ab_reader(raw);
    struct ab_view whole;
    return raw.n && !read_any(&reader, AB_DEPTH_SENT_MAX, AB_ITEMS_SENT_MAX, &whole) && reader.at == reader.end;
}

struct ab_view ab_map_get(struct ab_view map, const char *key)
{
    struct ab_reader reader = ab_reader(map);
    uint32_t n;
    if (!map.p || ab_read_map(&reader, &n))
        return (struct ab_view){0};
    while (n--) {
        struct ab_view name, value;
        if (ab_read_str(&reader, &name) || ab_read_any(&reader, &value))
            break;
        if (ab_view_is(name, key))
            return value;
    }
    return (struct ab_view){0};
}

struct ab_view ab_any_str(struct ab_view raw)
{
    struct ab_reader reader = ab_reader(raw);
    struct ab_view text = {0};
    return raw.p && !ab_read_str(&reader, &text) ? text : (struct ab_view){0};
}

/* How many bytes at p are ASCII for sure: nearly all text is, so many are looked at together. */
static size_t ascii_run(const uint8_t *p, size_t n)
{
    const uint64_t high = UINT64_C(0x8080808080808080);
    uint64_t w[8];
    size_t at = 0;
    for (; n - at >= sizeof w; at += sizeof w) {
        memcpy(w, p + at, sizeof w);
        if ((w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7]) & high)
            return at;
    }
    for (; n - at >= sizeof *w; at += sizeof *w) {
        memcpy(w, p + at, sizeof *w);
        if (*w & high)
            return at;
    }
    if (at && at < n) { /* the last ones once more, with some before them */
        memcpy(w, p + n - sizeof *w, sizeof *w);
        at = *w & high ? at : n;
    }
    return at;
}

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool ab_utf8_ok(struct ab_view text)
{
    const uint8_t *p = (const uint8_t *)(text.p ? text.p : ""), *end = p + text.n;
    p += ascii_run(p, text.n);
    while (p < end) {
        if (*p < 0x80) {
            p++;
            continue;
        }
        int more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
        if (*p < 0xc2 || *p > 0xf4 || end - p <= more)
            return false;
        uint8_t low = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80;
        uint8_t high = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : 0xbf;
        if (p[1] < low || p[1] > high)
            return false;
        for (int i = 2; i <= more; i++)
            if ((p[i] & 0xc0) != 0x80)
                return false;
        p += 1 + more;
    }
    return true;
}

static int write_buf(void *out, const char *p, size_t n)
{
    ab_buf_add(out, p, n);
    return 0;
}

#define PACKER(out) (&(msgpack_packer){.data = (out), .callback = write_buf})

void ab_pack_array(struct ab_buf *out, uint32_t n)
{
    msgpack_pack_array(PACKER(out), n);
}

void ab_pack_map(struct ab_buf *out, uint32_t n)
{
    msgpack_pack_map(PACKER(out), n);
}

void ab_pack_str(struct ab_buf *out, struct ab_view text)
{
    ab_buf_reserve(out, text.n + 5);
    msgpack_pack_str(PACKER(out), text.n);
    ab_buf_add(out, text.p, text.n);
}

void ab_pack_bin(struct ab_buf *out, struct ab_view bytes)
{
    ab_buf_reserve(out, bytes.n + 5);
    msgpack_pack_bin(PACKER(out), bytes.n);
    ab_buf_add(out, bytes.p, bytes.n);
}

void ab_pack_uint(struct ab_buf *out, uint64_t value)
{
    msgpack_pack_uint64(PACKER(out), value);
}

void ab_pack_int(struct ab_buf *out, int64_t value)
{
    msgpack_pack_int64(PACKER(out), value);
}

void ab_pack_bool(struct ab_buf *out, bool value)
{
    ab_buf_char(out, (char)(value ? 0xc3 : 0xc2));
}

void ab_pack_nil(struct ab_buf *out)
{
    ab_buf_char(out, (char)0xc0);
}
