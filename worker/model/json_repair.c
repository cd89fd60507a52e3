/* The scanner of json_repair.h: one pass, which knows only whether it is inside a string. */
#include "worker/model/json_repair.h"

#define REPLACEMENT_ESCAPE "\\ufffd"
#define REPLACEMENT_UTF8   "\xEF\xBF\xBD"

struct scan {
    const unsigned char *p, *end;
    struct ab_buf *out;
    const unsigned char *copied; /* up to here the input is in *out */
    bool changed;
};

/* Replaces the next n bytes by text. */
static void replace(struct scan *scan, size_t n, const char *text)
{
    ab_buf_add(scan->out, scan->copied, (size_t)(scan->p - scan->copied));
    ab_buf_text(scan->out, text);
    scan->p += n;
    scan->copied = scan->p;
    scan->changed = true;
}

static int hex_value(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The value of \uXXXX at p, or -1. */
static int escape_at(const unsigned char *p, const unsigned char *end)
{
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    int value = 0;
    for (int i = 2; i < 6; i++) {
        int digit = hex_value(p[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static void scan_escape(struct scan *scan)
{
    int value = escape_at(scan->p, scan->end);
    if (value < 0) {
        scan->p += scan->end - scan->p < 2 ? 1 : 2;
        return;
    }
    bool high = value >= 0xD800 && value <= 0xDBFF, low = value >= 0xDC00 && value <= 0xDFFF;
    if (high) {
        int next = escape_at(scan->p + 6, scan->end);
        if (next >= 0xDC00 && next <= 0xDFFF) {
            scan->p += 12;
            return;
        }
    }
    if (high || low || !value)
        replace(scan, 6, REPLACEMENT_ESCAPE);
    else
        scan->p += 6;
}

/* Bytes of the well-formed UTF-8 sequence at p (RFC 3629), 0 if there is none. */
static size_t utf8_bytes(const unsigned char *p, const unsigned char *end)
{
    static const struct {
        unsigned char first, last, second_min, second_max;
        size_t bytes;
    } forms[] = {
        {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3},
        {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
        {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (*p < forms[i].first || *p > forms[i].last)
            continue;
        if ((size_t)(end - p) < forms[i].bytes || p[1] < forms[i].second_min || p[1] > forms[i].second_max)
            return 0;
        for (size_t k = 2; k < forms[i].bytes; k++)
            if ((p[k] & 0xC0) != 0x80)
                return 0;
        return forms[i].bytes;
    }
    return 0;
}

static void scan_in_string(struct scan *scan)
{
    unsigned char c = *scan->p;
    if (c == '\\') {
        scan_escape(scan);
    } else if (c < 0x20) {
        static const char digits[] = "0123456789abcdef";
        char escape[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15], 0};
        replace(scan, 1, c ? escape : REPLACEMENT_ESCAPE);
    } else if (c < 0x80) {
        scan->p++;
    } else {
        size_t n = utf8_bytes(scan->p, scan->end);
        if (n)
            scan->p += n;
        else
            replace(scan, 1, REPLACEMENT_UTF8);
    }
}

bool json_repair(struct ab_view text, struct ab_buf *out)
{
    const unsigned char *start = (const unsigned char *)text.p;
    struct scan scan = {.p = start, .end = start + text.n, .out = out, .copied = start};
    bool in_string = false;
    while (scan.p < scan.end) {
        if (*scan.p == '"') {
            in_string = !in_string;
            scan.p++;
        } else if (in_string) {
            scan_in_string(&scan);
        } else {
            scan.p++;
        }
    }
    if (scan.changed)
        ab_buf_add(out, scan.copied, (size_t)(scan.end - scan.copied));
    return scan.changed;
}

json_t *json_parse_repaired(struct ab_view text, json_error_t *what)
{
    struct ab_buf repaired = {0};
    if (json_repair(text, &repaired))
        text = ab_buf_view(&repaired);
    json_t *json = json_loadb(text.p ? text.p : "", text.n, JSON_DECODE_ANY, what);
    ab_buf_finish(&repaired);
    return json;
}
