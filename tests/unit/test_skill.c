/* Skills: their headers, with the places of faults, and their names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/skill.h"

static int read_text(const char *text, const char *language, struct ab_skill *skill, struct ab_places *places,
                     struct ab_faults *faults)
{
    struct ab_error err = {0};
    struct ab_skill_given given = {
        .content = ab_view_of(text), .name = ab_view_of("probe"), .language = ab_view_of(language)};
    return ab_skill_read(&given, skill, places, faults, &err);
}

/* The description that a file without a header has. */
static void assert_comment(const char *text, const char *language, const char *wanted)
{
    struct ab_faults faults = {0};
    struct ab_skill skill;
    assert_int_equal(read_text(text, language, &skill, NULL, &faults), 0);
    assert_string_equal(skill.description, wanted);
    assert_string_equal(skill.title, "probe");
    ab_skill_finish(&skill);
}

static void a_plain_file_says_what_it_does_in_its_first_comment(void **state)
{
    (void)state;
    assert_comment("print(1)\n", "python", "");
    assert_comment("# one\n# two\nprint(1)\n", "python", "one\ntwo");
    assert_comment("#!/usr/bin/python3\n# -*- coding: utf-8 -*-\n\n# one\n\n# two\n", "python", "one");
    assert_comment("# licence\n\nr'''What it does.'''\n", "python", "What it does.");
    assert_comment("\"\"\"not closed\n", "python", "");
    assert_comment("x = 1\n\"\"\"no docstring\"\"\"\n", "python", "");
    assert_comment("\"\"\"no docstring\"\"\"\n# nor this\n", "sh", "");
    assert_comment("#\r\n# one\r\n#\r\n", "sh", "one");
    assert_comment("# one", "sh", "one");
    assert_comment("\"\"\"\"\"\"", "python", "");
    assert_comment("\"\"\"", "python", "");
    assert_comment("#", "sh", "");
}

static void assert_title(const char *text, const char *language)
{
    struct ab_faults faults = {0};
    struct ab_skill skill;
    assert_int_equal(read_text(text, language, &skill, NULL, &faults), 0);
    assert_string_equal(skill.title, "It");
    assert_string_equal(skill.description, "");
    assert_int_equal(skill.timeout_s, AB_SKILL_TIMEOUT_S);
    ab_skill_finish(&skill);
}

static void a_header_stands_in_comments_or_in_the_docstring(void **state)
{
    (void)state;
    assert_title("# title: It\n", "python");
    assert_title("#title: It\n", "sh");
    assert_title("#!/bin/sh\n\n#\n# idempotent: true\n# title: It\n\n# not: this\n", "sh");
    assert_title("\"\"\"title: It\"\"\"\n", "python");
    assert_title("#!/usr/bin/python3\n# licence\n'''\nidempotent: false\ntitle: It\n'''\n", "python");
    assert_title("# title: It\n\"\"\"the docstring is only that\"\"\"\n", "python");
}

static void assert_fault(const char *text, const char *language, const char *path, size_t line, size_t column)
{
    struct ab_faults faults = {0};
    struct ab_skill skill;
    struct ab_places *places = ab_places_create();
    size_t l = 0, c = 0;
    assert_int_equal(read_text(text, language, &skill, places, &faults), AB_EINVALID);
    assert_int_equal(faults.n, 1);
    assert_string_equal(faults.items[0].path, path);
    assert_true(ab_places_find(places, path, &l, &c));
    assert_int_equal(l, line);
    assert_int_equal(c, column);
    ab_faults_finish(&faults);
    ab_places_destroy(places);
}

static void faults_have_the_lines_and_columns_of_the_file(void **state)
{
    (void)state;
    assert_fault("#!/bin/sh\n\n# title: It\n# timeout_s: never\n", "sh", "$.timeout_s", 4, 3);
    assert_fault(
        "# -*- x -*-\n\n'''\ntitle: It\nparameters:\n  type: object\n  properties:\n    a: {type: no}\n'''\n",
        "python", "$.parameters.properties.a.type", 8, 9);
}

static void names_can_be_imported(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        bool good;
        const char *name;
        uint64_t version;
    } words[] = {
        {"a", true, "a", 0},      {"_a9", true, "_a9", 0},  {"a@1", true, "a", 1},
        {"a@12", true, "a", 12},  {"a@", false, NULL, 0},   {"a@0", false, NULL, 0},
        {"@1", false, NULL, 0},   {"", false, NULL, 0},     {"9a", false, NULL, 0},
        {"a-b", false, NULL, 0},  {"a b", false, NULL, 0},  {"é", false, NULL, 0},
        {"a@1x", false, NULL, 0}, {"a@-1", false, NULL, 0}, {"a@99999999999999999999", false, NULL, 0},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct ab_view name;
        uint64_t version;
        assert_int_equal(ab_skill_word(ab_view_of(words[i].word), &name, &version), words[i].good);
        if (words[i].good) {
            assert_true(ab_view_is(name, words[i].name));
            assert_int_equal(version, words[i].version);
        }
    }
}

static void the_hash_is_of_all_of_it(void **state)
{
    (void)state;
    static const char *const texts[] = {"# title: a\n", "# title: a\n#\n", "# title: a\n# timeout_s: 3\n",
                                        "# title: a\n# idempotent: true\n"};
    enum { TEXTS = sizeof texts / sizeof *texts };
    uint8_t hashes[TEXTS][AB_SKILL_HASH_BYTES];
    for (size_t i = 0; i < TEXTS; i++) {
        struct ab_faults faults = {0};
        struct ab_skill skill;
        assert_int_equal(read_text(texts[i], "sh", &skill, NULL, &faults), 0);
        memcpy(hashes[i], skill.hash, sizeof hashes[i]);
        ab_skill_finish(&skill);
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(hashes[i], hashes[k], sizeof hashes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_file_says_what_it_does_in_its_first_comment),
        cmocka_unit_test(a_header_stands_in_comments_or_in_the_docstring),
        cmocka_unit_test(faults_have_the_lines_and_columns_of_the_file),
        cmocka_unit_test(names_can_be_imported),
        cmocka_unit_test(the_hash_is_of_all_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
