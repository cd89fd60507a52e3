/* Files of the user's message, put into the directory of a conversation before its first code block runs. From then on they
 * are files like any others. Parts of images and files with their bytes in them, in our shape and in OpenAI's; what only has
 * an address stays outside. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/tree.h"
#include "worker/codes.h"

/* What stands behind the comma of "data:TYPE;base64,…"; {NULL,0} for another address. */
static struct ab_view data_of(struct ab_view url)
{
    const char *comma = url.n > 5 && !memcmp(url.p, "data:", 5) ? memchr(url.p, ',', url.n) : NULL;
    return comma ? ab_view(comma + 1, url.n - (size_t)(comma + 1 - url.p)) : (struct ab_view){0};
}

/* The base64 text of a part; {NULL,0}: it has none. */
static struct ab_view encoded_of(const json_t *part)
{
    struct ab_view data = ab_tree_view(part, "data");
    if (data.p)
        return data;
    data = ab_tree_view(json_object_get(part, "file"), "file_data");
    if (data.p)
        return data_of(data).p ? data_of(data) : data;
    const json_t *image = json_object_get(part, "image_url");
    return data_of(json_is_object(image) ? ab_tree_view(image, "url") : ab_tree_view(part, "image_url"));
}

/* A plain name, not that of an earlier part; malloc'ed. */
static char *name_of(const json_t *parts, size_t at, const char *const *taken)
{
    const json_t *part = json_array_get(parts, at);
    const char *name = ab_tree_str(part, "name");
    bool image = ab_tree_str(part, "type") && !strncmp(ab_tree_str(part, "type"), "image", 5);
    if (!name)
        name = ab_tree_str(json_object_get(part, "file"), "filename");
    if (!name || strchr(name, '/') || workdir_check_path(name, NULL))
        return ab_format(image ? "image-%zu" : "file-%zu", at + 1);
    for (size_t i = 0; i < at; i++)
        if (taken[i] && !strcmp(taken[i], name))
            return ab_format("%zu-%.200s", at + 1, name);
    return ab_strdup(name);
}

static int put(struct workdir *dir, const char *name, struct ab_view encoded, struct ab_error *err)
{
    struct ab_buf bytes = {0};
    size_t n = 0;
    ab_buf_reserve(&bytes, encoded.n + 1);
    int code = sodium_base642bin((unsigned char *)bytes.p, encoded.n + 1, encoded.p, encoded.n, "\r\n ", &n,
                                 NULL, sodium_base64_VARIANT_ORIGINAL)
                   ? ab_fail(err, AB_EINVALID, "the file %.100s of the message is no base64", name)
                   : workdir_write(dir, name, 0, ab_view(bytes.p, n), false, err);
    ab_buf_finish(&bytes);
    return code;
}

int code_attach(struct workdir *dir, const json_t *content, struct ab_error *err)
{
    size_t n = json_is_array(content) ? json_array_size(content) : 0;
    char **taken = ab_calloc(n + 1, sizeof *taken);
    int code = 0;
    for (size_t i = 0; !code && i < n; i++) {
        struct ab_view encoded = encoded_of(json_array_get(content, i));
        if (!encoded.p)
            continue;
        taken[i] = name_of(content, i, (const char *const *)taken);
        code = put(dir, taken[i], encoded, err);
    }
    for (size_t i = 0; i < n; i++)
        free(taken[i]);
    free(taken);
    return code;
}
