/* See skill_test.h. */
#include "worker/skill_test.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/skill.h"
#include "common/tree.h"

enum { REQUEST_BYTES_MAX = 2 << 20, WAIT_MS = 1000 };

struct test {
    json_t *request, *answer;
    struct exec *exec;
    struct workdirs *dirs;
    struct workdir *dir, *library;
    char root[64];
    bool over;
};

static int read_request(struct test *test, struct ab_error *err)
{
    struct ab_buf text = {0};
    ab_buf_reserve(&text, REQUEST_BYTES_MAX);
    text.n = fread(text.p, 1, REQUEST_BYTES_MAX, stdin);
    int code = ab_json_parse(ab_buf_view(&text), &test->request, err);
    if (!code && (!ab_tree_str(test->request, "name") || !ab_tree_str(test->request, "language") ||
                  !ab_tree_str(test->request, "content")))
        code = ab_fail(err, AB_EINVALID, "name, language and content are needed");
    ab_buf_finish(&text);
    return code;
}

static int make_dirs(struct test *test, const char *file, struct ab_error *err)
{
    char *arguments = json_dumps(json_object_get(test->request, "arguments"), JSON_COMPACT | JSON_ENCODE_ANY);
    snprintf(test->root, sizeof test->root, "/tmp/autobots-skill-XXXXXX");
    int code = mkdtemp(test->root)
                   ? workdirs_create(test->root, &test->dirs, err)
                   : ab_fail(err, AB_ESYSTEM, "cannot make a folder in /tmp: %s", strerror(errno));
    if (!code)
        code = workdir_create(test->dirs, "work", &test->dir, err);
    if (!code)
        code = workdir_create(test->dirs, "skills", &test->library, err);
    if (!code)
        code = workdir_write(test->library, file, 0, ab_tree_view(test->request, "content"), true, err);
    if (!code)
        code = workdir_write(test->library, EXEC_ARGUMENTS, 0, ab_view_of(arguments ? arguments : "{}"), false,
                             err);
    free(arguments);
    return code;
}

static void on_output(void *user, struct ab_view piece)
{
    (void)user;
    (void)piece;
}

static void on_done(void *user, const struct exec_result *result, const struct ab_error *error)
{
    struct test *test = user;
    json_t *files = json_array();
    test->over = true;
    for (size_t i = 0; !error && result->files && i < result->files->n; i++)
        json_array_append_new(files, json_pack("{s:s, s:I}", "path", result->files->items[i].path, "bytes",
                                               (json_int_t)result->files->items[i].bytes));
    test->answer =
        error ? json_pack("{s:s}", "error", error->text)
              : json_pack("{s:i, s:s%, s:I, s:I, s:s, s:s*, s:O}", "exit_code", result->exit_code, "output",
                          result->output.p ? result->output.p : "", result->output.n, "output_bytes",
                          (json_int_t)result->output_bytes, "duration_ms", (json_int_t)result->duration_ms,
                          "isolation", result->protections, "stopped", result->stopped, "files", files);
    json_decref(files);
}

static void run(struct test *test, const char *file)
{
    static const struct exec_callbacks callbacks = {.on_output = on_output, .on_done = on_done};
    struct exec_request request = {
        .kind = ab_tree_bool(test->request, "docker", false) ? EXEC_DOCKER : EXEC_LOCAL,
        .dir = test->dir,
        .folder = "",
        .language = ab_tree_str(test->request, "language"),
        .file = file,
        .keep_file = true,
        .library = test->library,
        .call_key = "test",
        .timeout_ms = ab_tree_int(test->request, "timeout_s", AB_SKILL_TIMEOUT_S) * 1000,
    };
    exec_start(test->exec, &request, &callbacks, test, ab_mono_ms());
    while (!test->over) {
        struct pollfd one = {.fd = exec_fd(test->exec), .events = POLLIN};
        int64_t left_ms = exec_deadline_ms(test->exec) - ab_mono_ms();
        poll(&one, 1, left_ms > WAIT_MS ? WAIT_MS : left_ms > 0 ? (int)left_ms : 0);
        exec_poll(test->exec, ab_mono_ms());
    }
}

int skill_test(const struct exec_options *options)
{
    struct test test = {0};
    struct ab_error err = {0};
    char *file = NULL;
    int code = read_request(&test, &err);
    if (!code)
        code = exec_create(options, &test.exec, &err);
    if (!code) {
        file = ab_skill_file(ab_tree_view(test.request, "name"), ab_tree_view(test.request, "language"));
        code = make_dirs(&test, file, &err);
    }
    if (!code)
        run(&test, file);
    if (!test.answer)
        test.answer = json_pack("{s:s}", "error", err.text);
    json_dumpf(test.answer, stdout, JSON_COMPACT);
    code = json_object_get(test.answer, "error") != NULL;
    exec_destroy(test.exec);
    workdir_destroy(test.library);
    workdir_destroy(test.dir);
    workdirs_destroy(test.dirs);
    if (*test.root)
        rmdir(test.root);
    json_decref(test.request);
    json_decref(test.answer);
    free(file);
    return code;
}
