/* pins.h. */
#include "worker/mcp/pins.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/tree.h"

struct mcp_pins {
    const char *path;
    json_t *approved; /* of the file; NULL: there is none */
    json_t *seen;
    struct timespec at; /* of the file, as it was read */
    off_t bytes;
};

struct mcp_pins *mcp_pins_create(const char *path)
{
    struct mcp_pins *pins = ab_calloc(1, sizeof *pins);
    pins->path = path;
    pins->seen = json_object();
    return pins;
}

void mcp_pins_destroy(struct mcp_pins *pins)
{
    if (!pins)
        return;
    json_decref(pins->approved);
    json_decref(pins->seen);
    free(pins);
}

/* --- the file ------------------------------------------------------------------------------------------------- */

static int read_file(const struct mcp_pins *pins, struct ab_buf *text, struct ab_error *err)
{
    FILE *file = fopen(pins->path, "re");
    if (!file)
        return ab_fail(err, AB_EUSAGE, "cannot read %.300s: %s", pins->path, strerror(errno));
    ab_buf_reserve(text, MCP_PINS_FILE_BYTES_MAX + 1);
    text->n = fread(text->p, 1, MCP_PINS_FILE_BYTES_MAX + 1, file);
    bool bad = ferror(file) || text->n > MCP_PINS_FILE_BYTES_MAX;
    fclose(file);
    return bad ? ab_fail(err, AB_EUSAGE, "cannot read %.300s, or it is too long", pins->path) : 0;
}

static int take_file(struct mcp_pins *pins, struct ab_error *err)
{
    struct ab_buf text = {0};
    struct ab_error why = {0};
    json_t *tree = NULL;
    int code = read_file(pins, &text, err);
    if (!code && (ab_json_parse(ab_buf_view(&text), &tree, &why) || !json_is_object(tree)))
        code = ab_fail(err, AB_EUSAGE, "%.200s is no file of pins (%s %s): write it by `autobots mcp pin`",
                       pins->path, why.path, why.text);
    ab_buf_finish(&text);
    if (code) {
        json_decref(tree);
        return code;
    }
    json_decref(pins->approved);
    pins->approved = tree;
    return 0;
}

int mcp_pins_refresh(struct mcp_pins *pins, struct ab_error *err)
{
    struct stat now;
    if (stat(pins->path, &now)) {
        if (errno != ENOENT)
            return ab_fail(err, AB_EUSAGE, "cannot read %.300s: %s", pins->path, strerror(errno));
        json_decref(pins->approved);
        pins->approved = NULL;
        return 0;
    }
    if (pins->approved && now.st_mtim.tv_sec == pins->at.tv_sec && now.st_mtim.tv_nsec == pins->at.tv_nsec &&
        now.st_size == pins->bytes)
        return 0;
    int code = take_file(pins, err);
    if (!code) {
        pins->at = now.st_mtim;
        pins->bytes = now.st_size;
    }
    return code;
}

/* --- the rule ------------------------------------------------------------------------------------------------- */

/* The digest that holds for a tool without an entry in the file: the one it had when it was first seen. */
static const char *first_seen(struct mcp_pins *pins, const char *server, const struct mcp_tool *tool)
{
    json_t *of_server = json_object_get(pins->seen, server);
    if (!of_server) {
        of_server = json_object();
        json_object_set_new(pins->seen, server, of_server);
    }
    const char *digest = ab_tree_str(of_server, tool->name);
    if (digest || json_object_size(of_server) >= MCP_SEEN_MAX)
        return digest ? digest : "";
    json_object_set_new(of_server, tool->name, json_string(tool->digest));
    return tool->digest;
}

bool mcp_pins_allow(struct mcp_pins *pins, const struct mcp_server *server, const struct mcp_tool *tool,
                    const char **why)
{
    const json_t *approved = json_object_get(pins->approved, server->name);
    const char *digest = ab_tree_str(approved, tool->name);
    *why = NULL;
    if (!approved && server->pin == MCP_PIN_STRICT)
        *why = "the server has `pin: strict`, and no tools of it are approved";
    else if (approved && !digest)
        *why = "it is not among the server's approved tools";
    else if (approved ? strcmp(digest, tool->digest)
                      : strcmp(first_seen(pins, server->name, tool), tool->digest))
        *why =
            approved ? "it has changed since it was approved" : "it has changed since this worker first saw it";
    return !*why || server->pin == MCP_PIN_REPORT;
}
