/* tools.h: the names of tools, and whose they are. Pure. */
#include <ctype.h>
#include <sodium.h>
#include <stdio.h>

#include "common/tree.h"
#include "common/workflow/tools.h"

enum { HASH_BYTES = crypto_generichash_BYTES_MIN, HASH_DIGITS = 8 };

static bool name_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

bool ab_tool_name_ok(struct ab_view name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!name_char(name.p[i]))
            return false;
    return name.n && name.n <= AB_TOOL_NAME_MAX;
}

bool ab_tool_server_ok(struct ab_view name)
{
    for (size_t i = 1; i < name.n; i++)
        if (name.p[i] == '_' && name.p[i - 1] == '_')
            return false;
    return name.n <= AB_TOOL_SERVER_MAX && ab_tool_name_ok(name) && name.p[0] != '_' &&
           name.p[name.n - 1] != '_';
}

void ab_tool_mcp_name(const char *server, const char *tool, char name[AB_TOOL_NAME_MAX + 1])
{
    unsigned char hash[HASH_BYTES];
    int n = snprintf(name, AB_TOOL_NAME_MAX + 1, "%s__%s", server, tool);
    bool same = n <= AB_TOOL_NAME_MAX && *tool;
    for (char *c = name; *c; c++) {
        same = same && name_char(*c);
        *c = name_char(*c) ? *c : '_';
    }
    if (same)
        return;
    size_t keep = AB_TOOL_NAME_MAX - HASH_DIGITS - 1, bytes = strlen(name);
    bytes = bytes < keep ? bytes : keep;
    crypto_generichash(hash, sizeof hash, (const unsigned char *)tool, strlen(tool), NULL, 0);
    snprintf(name + bytes, AB_TOOL_NAME_MAX + 1 - bytes, "_%02x%02x%02x%02x", hash[0], hash[1], hash[2],
             hash[3]);
}

/* --- of entries ----------------------------------------------------------------------------------------------- */

const char *ab_tool_kind(const json_t *entry)
{
    static const char *const kinds[] = {
#define X(key, doc) #key,
        AB_TOOL_KINDS(X)
#undef X
    };
    enum { KINDS = sizeof kinds / sizeof *kinds };
    for (size_t i = 0; i < KINDS; i++)
        if (json_object_get(entry, kinds[i]))
            return kinds[i];
    return kinds[KINDS - 1];
}

static bool server_has(const json_t *entry, const char *server, const char *name)
{
    const json_t *allow = json_object_get(entry, "allow"), *tool;
    char mapped[AB_TOOL_NAME_MAX + 1];
    size_t n = strlen(server), i;
    if (strncmp(name, server, n) || strncmp(name + n, "__", 2) || strlen(name) > AB_TOOL_NAME_MAX)
        return false;
    if (!allow)
        return true;
    json_array_foreach (allow, i, tool) {
        ab_tool_mcp_name(server, json_string_value(tool), mapped);
        if (!strcmp(mapped, name))
            return true;
    }
    return false;
}

bool ab_tool_is_of(const json_t *entry, const char *name)
{
    const char *own = ab_tree_str(entry, "name"), *server = ab_tree_str(entry, "mcp"),
               *skill = ab_tree_str(entry, "skill");
    if (server)
        return server_has(entry, server, name);
    if (skill) {
        size_t n = strcspn(skill, "@");
        return strlen(name) == n && !memcmp(skill, name, n);
    }
    return own && !strcmp(own, name);
}

void ab_tool_show(const json_t *entry, struct ab_buf *out)
{
    const char *own = ab_tree_str(entry, "name"), *server = ab_tree_str(entry, "mcp"),
               *skill = ab_tree_str(entry, "skill");
    const json_t *allow = json_object_get(entry, "allow"), *tool;
    char mapped[AB_TOOL_NAME_MAX + 1];
    size_t i;
    if (server && !allow)
        ab_buf_format(out, "%s__…", server);
    else if (skill)
        ab_buf_format(out, "%.*s", (int)strcspn(skill, "@"), skill);
    else if (!server)
        ab_buf_text(out, own ? own : "");
    json_array_foreach (allow, i, tool) {
        ab_tool_mcp_name(server, json_string_value(tool), mapped);
        ab_buf_format(out, "%s%s", i ? ", " : "", mapped);
    }
}
