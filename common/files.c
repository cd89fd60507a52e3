/* See files.h. */
#include "common/files.h"

#include <stdio.h>
#include <strings.h>

static const struct {
    const char *type, *extensions;
} types[] = {
    {"code",
     " py sh bash c h cc cpp hpp cs go hs java js jsx kt lua m php pl r rb rs scala sql swift ts tsx ipynb "},
    {"csv", " csv tsv "},
    {"image", " png jpg jpeg gif svg webp bmp tif tiff ico "},
    {"pdf", " pdf "},
    {"text", " txt md rst log json jsonl yaml yml toml ini xml html htm css tex "},
};

static struct ab_view name_of(struct ab_view path)
{
    const char *slash = path.n ? memrchr(path.p, '/', path.n) : NULL;
    return slash ? ab_view(slash + 1, path.n - (size_t)(slash + 1 - path.p)) : path;
}

/* Without the dot; empty if there is none, or the name only begins with one. */
static struct ab_view extension_of(struct ab_view name)
{
    const char *dot = name.n > 1 ? memrchr(name.p + 1, '.', name.n - 1) : NULL;
    return dot ? ab_view(dot + 1, name.n - (size_t)(dot + 1 - name.p)) : ab_view("", 0);
}

const char *ab_file_type(struct ab_view path)
{
    struct ab_view extension = extension_of(name_of(path));
    char word[16];
    int n = snprintf(word, sizeof word, " %.*s ", extension.n < 12 ? (int)extension.n : 12, extension.p);
    for (size_t i = 0; n > 2 && i < sizeof types / sizeof *types; i++)
        if (strcasestr(types[i].extensions, word))
            return types[i].type;
    return "unknown";
}

void ab_file_describe(struct ab_view folder, const struct ab_file_entry *entry, char path[AB_FILE_PATH_MAX],
                      struct ab_file_record *record)
{
    int n = snprintf(path, AB_FILE_PATH_MAX, "%.*s%s%.*s", AB_VIEW_FMT(folder), folder.n ? "/" : "",
                     AB_VIEW_FMT(entry->path));
    struct ab_view whole = ab_view(path, n < AB_FILE_PATH_MAX ? (size_t)n : AB_FILE_PATH_MAX - 1);
    struct ab_view name = name_of(whole);
    *record = (struct ab_file_record){.path = whole,
                                      .name = name,
                                      .extension = extension_of(name),
                                      .type = ab_view_of(ab_file_type(whole)),
                                      .bytes = entry->bytes,
                                      .hash = entry->hash,
                                      .executable = entry->executable};
}

static json_t *text(struct ab_view view)
{
    return json_stringn(view.p ? view.p : "", view.n);
}

void ab_files_tree(struct ab_view folder, struct ab_view files, json_t *array)
{
    struct ab_reader reader = ab_reader(files);
    struct ab_file_entry entry;
    struct ab_file_record record;
    struct ab_view raw;
    char path[AB_FILE_PATH_MAX];
    uint32_t n;
    if (!files.n || ab_read_array(&reader, &n))
        return;
    for (uint32_t i = 0; i < n && !ab_read_any(&reader, &raw); i++) {
        if (ab_decode(&ab_file_entry_schema, raw, &entry, NULL))
            continue;
        ab_file_describe(folder, &entry, path, &record);
        json_t *tree = json_pack("{so so so so sI so}", "path", text(record.path), "name", text(record.name),
                                 "extension", text(record.extension), "type", text(record.type), "bytes",
                                 (json_int_t)record.bytes, "hash", text(record.hash));
        if (tree && record.executable)
            json_object_set_new(tree, "executable", json_true());
        json_array_append_new(array, tree);
    }
}
