/* Code blocks in messages, files by their names, directories of code, control groups: without running any code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/files.h"
#include "worker/engine/blocks.h"
#include "worker/exec/cgroup.h"
#include "worker/exec/workdir.h"

/* --- blocks --------------------------------------------------------------------------------------------------- */

/* "language name|code\n" of each block, one after the other. */
static char *blocks_of(const json_t *content)
{
    struct ab_buf text = {0};
    struct code_block block;
    for (size_t i = 0; code_block_at(content, i, &block); i++)
        ab_buf_format(&text, "%s %.*s|%.*s", block.language, AB_VIEW_FMT(block.name), AB_VIEW_FMT(block.code));
    ab_buf_cstr(&text);
    return ab_buf_detach(&text);
}

static void blocks_are_found(void **state)
{
    static const struct {
        const char *text, *blocks;
    } cases[] = {
        {"no code", ""},
        {"```python\nprint(1)\n```", "python |print(1)\n"},
        {"a\n```sh\nls\n```\nb\n```bash\nps\n```\n", "sh |ls\nbash |ps\n"},
        {"```py\nx\n```", "python |x\n"},
        {"```Python\nx\n```", "python |x\n"},
        {"```shell\nx\n```", "sh |x\n"},
        {"```python title=\"x\"\ny\n```", "python |y\n"},
        {"  ```sh  \nindented\n  ```", "sh |indented\n"},
        {"```sh\r\nls\r\n```\r\n", "sh |ls\r\n"},
        {"````sh\n```\ninner\n````", "sh |```\ninner\n"},
        {"```sh\nnot closed", ""},
        {"```sh\n```", "sh |"},
        {"```json\n{}\n```", ""},
        {"```\nls\n```", ""},
        {"```json\n```python\n```\n```sh\nls\n```", "sh |ls\n"},
        {"text ```sh\nls\n```", ""},
        {"```python\n# filename: a/b.py\nx\n```", "python a/b.py|# filename: a/b.py\nx\n"},
        {"```sh\n#Filename:  with space.sh \nx\n```", "sh with space.sh|#Filename:  with space.sh \nx\n"},
        {"```sh\necho\n# filename: late.sh\n```", "sh |echo\n# filename: late.sh\n"},
        {"```sh\n# filename:\n```", "sh |# filename:\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *content = json_string(cases[i].text);
        char *found = blocks_of(content);
        assert_string_equal(found, cases[i].blocks);
        free(found);
        json_decref(content);
    }
}

static void blocks_of_all_text_parts_count_on(void **state)
{
    json_t *content = json_pack("[{s:s,s:s},{s:s},{s:s,s:s}]", "type", "text", "text", "```sh\none\n```",
                                "type", "image", "type", "text", "text", "```sh\ntwo\n```\n```sh\nthree\n```");
    (void)state;
    char *found = blocks_of(content);
    assert_string_equal(found, "sh |one\nsh |two\nsh |three\n");
    assert_int_equal(code_block_count(content), 3);
    free(found);
    json_decref(content);
}

static void a_message_has_a_bounded_number_of_blocks(void **state)
{
    struct ab_buf text = {0};
    (void)state;
    for (int i = 0; i < CODE_BLOCKS_MAX + 10; i++)
        ab_buf_text(&text, "```sh\nx\n```\n");
    json_t *content = json_stringn(text.p, text.n);
    assert_int_equal(code_block_count(content), CODE_BLOCKS_MAX);
    json_decref(content);
    ab_buf_finish(&text);
}

/* --- files ---------------------------------------------------------------------------------------------------- */

static void files_have_types_by_their_names(void **state)
{
    static const struct {
        const char *path, *type;
    } cases[] = {{"a.py", "code"},     {"a/b.PY", "code"}, {"t.csv", "csv"},        {"x.tar.png", "image"},
                 {"doc.pdf", "pdf"},   {"n.txt", "text"},  {"Makefile", "unknown"}, {".py", "unknown"},
                 {"a.pyx", "unknown"}, {"a.", "unknown"},  {"py", "unknown"},       {"dir.py/file", "unknown"},
                 {"a.json", "text"},   {"s.svg", "image"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(ab_file_type(ab_view_of(cases[i].path)), cases[i].type);
}

/* --- directories ------------------------------------------------------------------------------------------------ */

struct place {
    char root[64];
    struct workdirs *dirs;
    struct workdir *dir;
};

static int make_place(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    struct ab_error err = {0};
    snprintf(place->root, sizeof place->root, "/tmp/test-code-XXXXXX");
    *state = place;
    return mkdtemp(place->root) && !workdirs_create(place->root, &place->dirs, &err) &&
                   !workdir_create(place->dirs, "job", &place->dir, &err)
               ? 0
               : -1;
}

static int remove_place(void **state)
{
    struct place *place = *state;
    workdir_destroy(place->dir);
    workdirs_destroy(place->dirs);
    int code = rmdir(place->root); /* empty: nothing was left */
    free(place);
    return code;
}

static int put(struct place *place, const char *path, const char *text)
{
    struct ab_error err = {0};
    return workdir_write(place->dir, path, 0, ab_view_of(text), false, &err);
}

static void paths_stay_inside(void **state)
{
    static const char *const bad[] = {"",       "/x",    "..",   "../x",
                                      "a/../x", "a//x",  "./x",  "a/.",
                                      "x\ny",   "x\x7f", "\xff", "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q"};
    static const char *const good[] = {"x", "a/b/c", "...", "..x", ".hidden", "ä", "with space", "-dash"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(workdir_check_path(bad[i], NULL), AB_EINVALID);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(workdir_check_path(good[i], NULL), 0);
}

static void links_are_neither_followed_nor_kept(void **state)
{
    struct place *place = *state;
    struct ab_error err = {0};
    struct file_list list;
    char *link = ab_format("%s/link", workdir_path(place->dir)),
         *up = ab_format("%s/up", workdir_path(place->dir));
    char *outside = ab_format("%s/outside", place->root);
    FILE *file = fopen(outside, "w");
    assert_non_null(file);
    fputs("untouched", file);
    fclose(file);
    assert_int_equal(symlink(outside, link), 0);
    assert_int_equal(symlink(place->root, up), 0);
    assert_int_equal(put(place, "link", "x"), AB_ESYSTEM);
    assert_int_equal(put(place, "up/new", "x"), AB_ESYSTEM);
    assert_int_equal(put(place, "kept", "x"), 0);
    struct ab_buf read = {0};
    assert_int_not_equal(workdir_read(place->dir, "link", 0, 100, &read, &err), 0);
    assert_int_equal(workdir_list(place->dir, &list, &err), 0);
    assert_int_equal(list.n, 1);
    assert_string_equal(list.items[0].path, "kept");
    assert_int_equal(access(link, F_OK), -1);
    struct stat st;
    assert_int_equal(stat(outside, &st), 0);
    assert_int_equal(st.st_size, strlen("untouched"));
    file_list_finish(&list);
    ab_buf_finish(&read);
    unlink(outside);
    free(outside);
    free(link);
    free(up);
}

static void files_are_listed_and_hashed(void **state)
{
    static const char *const paths[] = {"a", "b/c", "b/d/e", "z"};
    struct place *place = *state;
    struct ab_error err = {0};
    struct file_list before, after;
    bool done;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(put(place, paths[3 - i], "same"), 0);
    assert_int_equal(put(place, "z", "other"), 0);
    assert_int_equal(workdir_list(place->dir, &before, &err), 0);
    assert_int_equal(before.n, 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(before.items[i].path, paths[i]);
    do /* in slices, one file each at least */
        assert_int_equal(workdir_hash(place->dir, &before, NULL, 1, &done, &err), 0);
    while (!done);
    assert_memory_equal(before.items[0].hash, before.items[1].hash, WORKDIR_HASH_BYTES);
    assert_memory_not_equal(before.items[0].hash, before.items[3].hash, WORKDIR_HASH_BYTES);
    assert_int_equal(workdir_list(place->dir, &after, &err), 0);
    assert_int_equal(workdir_hash(place->dir, &after, &before, 1, &done, &err), 0);
    assert_true(done); /* nothing was read again */
    assert_null(file_list_find(&after, "b"));
    assert_non_null(file_list_find(&after, "b/d/e"));
    file_list_finish(&before);
    file_list_finish(&after);
}

static void limits_of_a_directory(void **state)
{
    struct place *place = *state;
    struct ab_error err = {0};
    struct file_list list;
    char name[32];
    for (int i = 0; i <= WORKDIR_FILES_MAX; i++) {
        snprintf(name, sizeof name, "f%d", i);
        assert_int_equal(put(place, name, ""), 0);
        if (i + 1 == WORKDIR_FILES_MAX)
            assert_null(workdir_over(place->dir));
    }
    assert_non_null(workdir_over(place->dir));
    assert_int_equal(workdir_list(place->dir, &list, &err), AB_ETOOLARGE);
    file_list_finish(&list);
    assert_int_equal(workdir_empty(place->dir, &err), 0);
    assert_null(workdir_over(place->dir));
    char *large = ab_format("%s/large", workdir_path(place->dir));
    assert_int_equal(put(place, "large", "x"), 0);
    assert_int_equal(truncate(large, WORKDIR_FILE_BYTES_MAX + 1), 0);
    assert_non_null(workdir_over(place->dir));
    free(large);
}

/* --- control groups --------------------------------------------------------------------------------------------- */

static void file_in(const char *root, const char *path, const char *text)
{
    char *whole = ab_format("%s/%s", root, path);
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    free(whole);
}

/* A folder tree is no kernel: what is written where is looked at, and files that the kernel would make are not there. */
static void delegated_groups_of_version_2_are_found(void **state)
{
    struct place *place = *state;
    struct cgroups groups;
    char *self = ab_format("%s/self", place->root), *root = ab_format("%s/cg", place->root);
    mkdir(root, 0755);
    char *own = ab_format("%s/unit", root);
    mkdir(own, 0755);
    file_in(place->root, "self", "0::/unit\n");
    file_in(root, "unit/cgroup.controllers", "cpu memory pids\n");
    file_in(root, "unit/cgroup.subtree_control", "memory pids\n");
    cgroups_init(&groups, root, self);
    assert_true(groups.unified);
    assert_string_equal(groups.base[CGROUP_MEMORY], own);
    assert_string_equal(groups.base[CGROUP_PIDS], own);
    assert_null(groups.own);
    cgroups_finish(&groups);
    file_in(place->root, "self", "0::/unit/service\n"); /* a subgroup, which holds the worker */
    char *below = ab_format("%s/service", own);
    mkdir(below, 0755);
    cgroups_init(&groups, root, self);
    assert_string_equal(groups.base[CGROUP_PIDS], own);
    cgroups_finish(&groups);
    rmdir(below);
    free(below);
    file_in(place->root, "self", "0::/unit\n");
    file_in(root, "unit/cgroup.controllers", "cpu io\n"); /* not delegated */
    cgroups_init(&groups, root, self);
    assert_null(groups.base[CGROUP_MEMORY]);
    assert_null(groups.base[CGROUP_PIDS]);
    cgroups_finish(&groups);
    static const char *const left[] = {"cg/unit/cgroup.controllers", "cg/unit/cgroup.subtree_control", "self"};
    for (size_t i = 0; i < 3; i++) {
        char *path = ab_format("%s/%s", place->root, left[i]);
        unlink(path);
        free(path);
    }
    assert_int_equal(rmdir(own), 0); /* no group was left in it */
    rmdir(root);
    free(own);
    free(self);
    free(root);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_found),
        cmocka_unit_test(blocks_of_all_text_parts_count_on),
        cmocka_unit_test(a_message_has_a_bounded_number_of_blocks),
        cmocka_unit_test(files_have_types_by_their_names),
        cmocka_unit_test(paths_stay_inside),
        cmocka_unit_test_setup_teardown(links_are_neither_followed_nor_kept, make_place, remove_place),
        cmocka_unit_test_setup_teardown(files_are_listed_and_hashed, make_place, remove_place),
        cmocka_unit_test_setup_teardown(limits_of_a_directory, make_place, remove_place),
        cmocka_unit_test_setup_teardown(delegated_groups_of_version_2_are_found, make_place, remove_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
