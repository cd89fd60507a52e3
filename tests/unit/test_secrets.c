/* Keys and the places they are bound to: URLs, the table of keys, sealing, the pool's key file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "worker/model/url.h"
#include "worker/secrets.h"

/* --- URLs ------------------------------------------------------------------------------------------------------ */

static void urls_have_one_spelling(void **state)
{
    static const struct {
        const char *text, *normal;
    } rows[] = {
        {"https://api.openai.com/v1", "https://api.openai.com/v1"},
        {"HTTPS://API.OpenAI.com:443/v1/", "https://api.openai.com/v1"},
        {"http://h:80", "http://h"},
        {"http://h:443//", "http://h:443"},
        {"https://h:80/V1/Path", "https://h:80/V1/Path"},
        {"http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"},
        {"http://[::1]:8080/v1", "http://[::1]:8080/v1"},
        {"http://[::1]", "http://[::1]"},
        {"https://h/a%20b", "https://h/a%20b"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *normal = NULL;
        struct ab_error err;
        assert_int_equal(url_normalise(ab_view_of(rows[i].text), &normal, &err), 0);
        assert_string_equal(normal, rows[i].normal);
        free(normal);
    }
}

static void odd_urls_are_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "https://",
        "https:///v1",
        "api.openai.com/v1",
        "ftp://h/v1",
        "file:///etc/passwd",
        "//h/v1",
        "https://user@h/v1",
        "https://api.openai.com@evil.example/v1",
        "https://user:pw@h/",
        "https://h/v1?x=1",
        "https://h/v1#x",
        "https://h/../v1",
        "https://h/v1/..",
        "https://h/./v1",
        "https://h/%2e%2e/v1",
        "https://h/%2E./v1",
        "https://h/a%2fb",
        "https://h/a%5Cb",
        "https://h/a%252e",
        "https://h/a%00",
        "https://h//v1",
        "https://h\\@evil/v1",
        "https://h/v1\\..",
        "https://h /v1",
        "https://h/v1\n",
        "https://h\t/v1",
        " https://h/v1",
        "https://h:0/v1",
        "https://h:/v1",
        "https://h:70000/v1",
        "https://h:8a/v1",
        "https://h:08/v1",
        "https://.h/v1",
        "https://h./v1",
        "https://h_\xC3\xA9/v1",
        "https://[::1/v1",
        "https://[zz]/v1",
        "https://::1/v1",
        "https://[]/v1",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *normal = NULL;
        struct ab_error err = {0};
        if (!url_normalise(ab_view_of(rows[i]), &normal, &err))
            fail_msg("accepted: %s as %s", rows[i], normal);
        assert_int_equal(err.code, AB_EINVALID);
        assert_null(normal);
    }
    char *longest = ab_calloc(1, URL_BYTES_MAX + 20), *normal = NULL;
    memset(longest, 'a', URL_BYTES_MAX + 10);
    memcpy(longest, "https://h/", 10);
    assert_int_equal(url_normalise(ab_view_of(longest), &normal, NULL), AB_ETOOLARGE);
    free(longest);
}

static void below_means_whole_path_segments(void **state)
{
    assert_true(url_is_below("https://h/v1", "https://h/v1"));
    assert_true(url_is_below("https://h/v1/x", "https://h/v1"));
    assert_true(url_is_below("https://h/v1", "https://h"));
    assert_false(url_is_below("https://h/v10", "https://h/v1"));
    assert_false(url_is_below("https://h/v", "https://h/v1"));
    assert_false(url_is_below("https://h:8443/v1", "https://h"));
    assert_false(url_is_below("https://h.evil.example", "https://h"));
    assert_false(url_is_below("http://h/v1", "https://h/v1"));
}

static void private_places_are_known(void **state)
{
    static const char *const near[] = {"http://localhost:1/v1", "http://127.9.9.9", "http://[::1]/v1",
                                       "http://a.localhost"};
    static const char *const home[] = {
        "http://10.1.2.3",     "http://172.31.0.1/v1",       "http://192.168.0.9:80/x", "http://169.254.1.1",
        "http://[fd00::1]",    "http://[fe80::1]:1/",        "http://ollama:11434",     "http://box.lan",
        "http://gpu.local/v1", "http://host.docker.internal"};
    static const char *const far[] = {
        "https://api.openai.com/v1",     "http://172.32.0.1",          "http://8.8.8.8",
        "http://[2001:db8::1]",          "http://2130706433",          "http://127.0.0.1.evil.example",
        "http://localhost.evil.example", "http://notlocalhost.example"};
    for (size_t i = 0; i < sizeof near / sizeof *near; i++)
        assert_true(url_is_loopback(near[i]) && url_is_private(near[i]));
    for (size_t i = 0; i < sizeof home / sizeof *home; i++)
        assert_true(url_is_private(home[i]) && !url_is_loopback(home[i]));
    for (size_t i = 0; i < sizeof far / sizeof *far; i++)
        assert_false(url_is_private(far[i]) || url_is_loopback(far[i]));
}

/* --- the table ------------------------------------------------------------------------------------------------- */

static void add(struct secrets *secrets, const char *pattern, const char *url, const char *env)
{
    struct secrets_row row = {.model_pattern = pattern, .base_url = url, .api_key_env = env};
    struct ab_error err = {0};
    if (secrets_add(secrets, &row, &err))
        fail_msg("%s", err.text);
}

static void keys_are_found_only_at_their_place(void **state)
{
    setenv("T_KEY_A", "key-of-a-12345", 1);
    setenv("T_KEY_B", "key-of-b-12345", 1);
    unsetenv("T_KEY_NONE");
    struct secrets *secrets = secrets_create();
    add(secrets, "gpt-*", "https://a.example/v1", "T_KEY_A");
    add(secrets, NULL, "https://a.example/v1/special", "T_KEY_B");
    add(secrets, NULL, "https://c.example", "T_KEY_NONE");
    add(secrets, NULL, "https://open.example", NULL);
    assert_true(ab_view_is(secrets_find(secrets, "https://a.example/v1").key, "key-of-a-12345"));
    assert_true(ab_view_is(secrets_find(secrets, "https://a.example/v1/x").key, "key-of-a-12345"));
    assert_true(ab_view_is(secrets_find(secrets, "https://a.example/v1/special/x").key, "key-of-b-12345"));
    assert_false(secrets_find(secrets, "https://a.example").listed);
    assert_false(secrets_find(secrets, "http://a.example/v1").listed);
    assert_false(secrets_find(secrets, "https://a.example:444/v1").listed);
    assert_null(secrets_find(secrets, "https://evil.example/v1").key.p);
    struct secrets_found none = secrets_find(secrets, "https://c.example/v1");
    assert_true(none.listed && !none.key.n);
    assert_string_equal(none.variable, "T_KEY_NONE");
    assert_true(secrets_find(secrets, "https://open.example").listed);
    assert_string_equal(secrets_base_url(secrets, "gpt-9"), "https://a.example/v1");
    assert_null(secrets_base_url(secrets, "other"));
    secrets_destroy(secrets);
    assert_null(secrets_find(NULL, "https://a.example/v1").key.p);
}

static void the_default_row_is_openais(void **state)
{
    struct ab_error err;
    setenv("OPENAI_API_KEY", "sk-default-1234", 1);
    unsetenv("OPENAI_BASE_URL");
    struct secrets *secrets = secrets_create();
    assert_int_equal(secrets_add_openai(secrets, &err), 0);
    assert_string_equal(secrets_base_url(secrets, "any"), "https://api.openai.com/v1");
    assert_true(ab_view_is(secrets_find(secrets, "https://api.openai.com/v1").key, "sk-default-1234"));
    secrets_destroy(secrets);
    setenv("OPENAI_BASE_URL", "http://LOCALHOST:80/v1/", 1);
    secrets = secrets_create();
    assert_int_equal(secrets_add_openai(secrets, &err), 0);
    assert_string_equal(secrets_base_url(secrets, NULL), "http://localhost/v1");
    assert_false(secrets_find(secrets, "https://api.openai.com/v1").listed);
    secrets_destroy(secrets);
    unsetenv("OPENAI_API_KEY");
    unsetenv("OPENAI_BASE_URL");
}

static char directory[] = "/tmp/autobots-secrets-XXXXXX";

static char *path_of(const char *name)
{
    return ab_format("%s/%s", directory, name);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void key_files_are_read_and_bad_ones_refused(void **state)
{
    static const struct {
        const char *text;
        mode_t mode;
        int rc;
    } rows[] = {
        {"key-from-file-1\n", 0600, 0}, {"key-from-file-1", 0444, 0}, {"key-from-file-1", 0622, AB_EUSAGE},
        {"two words", 0600, AB_EUSAGE}, {"", 0600, AB_EUSAGE},        {"\n\n", 0600, AB_EUSAGE},
        {"line\nline", 0600, AB_EUSAGE}};
    char *path = path_of("key");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct secrets *secrets = secrets_create();
        struct secrets_row row = {.base_url = "https://h/v1", .api_key_file = path};
        struct ab_error err = {0};
        write_file(path, rows[i].text, rows[i].mode);
        assert_int_equal(secrets_add(secrets, &row, &err), rows[i].rc);
        assert_null(strstr(err.text, "key-from-file"));
        if (!rows[i].rc)
            assert_true(ab_view_is(secrets_find(secrets, "https://h/v1").key, "key-from-file-1"));
        secrets_destroy(secrets);
        unlink(path);
    }
    struct secrets *secrets = secrets_create();
    struct secrets_row row = {.base_url = "https://h/v1", .api_key_file = path};
    assert_int_equal(secrets_add(secrets, &row, NULL), AB_EUSAGE);
    secrets_destroy(secrets);
    free(path);
}

static void known_keys_are_scrubbed(void **state)
{
    static const struct {
        const char *text, *clean;
    } rows[] = {
        {"no key here", "no key here"},
        {"key-of-a-12345", "***"},
        {"x key-of-a-12345 y key-of-a-12345", "x *** y ***"},
        {"x own-key-99999 y", "x *** y"},
        {"cut: key-of-a-1", "cut: ***"},
        {"cut: key-", "cut: ***"},
        {"key-of-a-12345 then key-of", "*** then ***"},
        {"monkey", "monkey"},
        {"short", "short"},
    };
    setenv("T_KEY_A", "key-of-a-12345", 1);
    setenv("T_KEY_SHORT", "short", 1);
    struct secrets *secrets = secrets_create();
    add(secrets, NULL, "https://a.example", "T_KEY_A");
    add(secrets, NULL, "https://b.example", "T_KEY_SHORT");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = ab_strdup(rows[i].text);
        secrets_scrub(secrets, ab_view_of("own-key-99999"), text);
        assert_string_equal(text, rows[i].clean);
        free(text);
    }
    secrets_destroy(secrets);
}

/* --- sealing --------------------------------------------------------------------------------------------------- */

static void a_sealed_key_opens_only_for_its_pool_and_job(void **state)
{
    char *one = path_of("one.key"), *two = path_of("two.key");
    struct secrets_pair pair, other;
    struct ab_error err = {0};
    struct ab_buf sealed = {0}, again = {0}, open = {0};
    assert_int_equal(secrets_pair_load(&pair, one, &err), 0);
    assert_int_equal(secrets_pair_load(&other, two, &err), 0);
    assert_int_equal(ab_seal(pair.public_key, ab_view_of("job-1"), ab_view_of("sk-secret"), &sealed, &err), 0);
    assert_int_equal(ab_seal(pair.public_key, ab_view_of("job-1"), ab_view_of("sk-secret"), &again, &err), 0);
    assert_false(ab_view_eq(ab_buf_view(&sealed), ab_buf_view(&again)));
    assert_null(memmem(sealed.p, sealed.n, "sk-secret", 9));
    assert_int_equal(secrets_open(&pair, ab_view_of("job-1"), ab_buf_view(&sealed), &open, &err), 0);
    assert_true(ab_view_is(ab_buf_view(&open), "sk-secret"));
    secrets_wipe(&open);
    assert_int_equal(secrets_open(&pair, ab_view_of("job-2"), ab_buf_view(&sealed), &open, &err), AB_EDENIED);
    assert_int_equal(secrets_open(&pair, ab_view_of("job-"), ab_buf_view(&sealed), &open, &err), AB_EDENIED);
    assert_int_equal(secrets_open(&pair, ab_view_of("job-1sk"), ab_buf_view(&sealed), &open, &err), AB_EDENIED);
    assert_int_equal(secrets_open(&other, ab_view_of("job-1"), ab_buf_view(&sealed), &open, &err), AB_EDENIED);
    for (size_t n = 0; n < sealed.n; n++) {
        char *copy = ab_strndup(sealed.p, sealed.n);
        copy[n] ^= 1;
        assert_true(secrets_open(&pair, ab_view_of("job-1"), ab_view(copy, sealed.n), &open, &err) < 0);
        assert_true(secrets_open(&pair, ab_view_of("job-1"), ab_view(sealed.p, n), &open, &err) < 0);
        free(copy);
    }
    assert_int_equal(open.n, 0);
    ab_buf_finish(&sealed);
    ab_buf_finish(&again);
    secrets_pair_finish(&pair);
    secrets_pair_finish(&other);
    free(one);
    free(two);
}

static void sealing_has_limits(void **state)
{
    uint8_t zero[AB_SEAL_KEY_BYTES] = {0};
    struct secrets_pair pair;
    struct ab_buf out = {0};
    char *path = path_of("one.key"), *big = ab_calloc(1, AB_SEAL_SECRET_BYTES_MAX + 2);
    memset(big, 'x', AB_SEAL_SECRET_BYTES_MAX + 1);
    assert_int_equal(secrets_pair_load(&pair, path, NULL), 0);
    assert_int_equal(ab_seal(pair.public_key, ab_view_of("j"), ab_view_of(big), &out, NULL), AB_EINVALID);
    assert_int_equal(ab_seal(pair.public_key, ab_view_of("j"), ab_view_of(""), &out, NULL), AB_EINVALID);
    assert_int_equal(ab_seal(pair.public_key, ab_view_of(big), ab_view_of("k"), &out, NULL), AB_ETOOLARGE);
    assert_int_equal(ab_seal(zero, ab_view_of("j"), ab_view_of("k"), &out, NULL), AB_EINVALID);
    assert_int_equal(out.n, 0);
    ab_buf_finish(&out);
    free(big);
    free(path);
}

static void the_key_file_is_made_once_and_kept(void **state)
{
    char *path = path_of("pool.key");
    struct secrets_pair first, second;
    struct stat st;
    struct ab_error err = {0};
    assert_int_equal(secrets_pair_load(&first, path, &err), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(secrets_pair_load(&second, path, &err), 0);
    assert_memory_equal(&first, &second, sizeof first);
    chmod(path, 0640);
    assert_int_equal(secrets_pair_load(&second, path, &err), AB_EUSAGE);
    write_file(path, "0123", 0600);
    assert_int_equal(secrets_pair_load(&second, path, &err), AB_EDAMAGED);
    free(path);
    path = path_of("no/such/directory.key");
    assert_int_equal(secrets_pair_load(&second, path, &err), AB_ESYSTEM);
    free(path);
}

/* Workers of one pool start together. */
static void workers_that_start_at_once_share_one_key(void **state)
{
    enum { WORKERS = 8 };
    char *path = path_of("race.key");
    int ends[2];
    struct secrets_pair mine, theirs;
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < WORKERS; i++) {
        if (fork())
            continue;
        struct secrets_pair pair;
        _exit(secrets_pair_load(&pair, path, NULL) || write(ends[1], pair.public_key, 32) != 32);
    }
    for (int i = 0, status; i < WORKERS; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
        assert_int_equal(read(ends[0], theirs.public_key, 32), 32);
        assert_int_equal(secrets_pair_load(&mine, path, NULL), 0);
        assert_memory_equal(mine.public_key, theirs.public_key, 32);
    }
    close(ends[0]);
    close(ends[1]);
    free(path);
}

static int make_directory(void **state)
{
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    static const char *const names[] = {"one.key", "two.key", "pool.key", "race.key", "key"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = path_of(names[i]);
        unlink(path);
        free(path);
    }
    return rmdir(directory); /* fails if a temporary file was left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_have_one_spelling),
        cmocka_unit_test(odd_urls_are_refused),
        cmocka_unit_test(below_means_whole_path_segments),
        cmocka_unit_test(private_places_are_known),
        cmocka_unit_test(keys_are_found_only_at_their_place),
        cmocka_unit_test(the_default_row_is_openais),
        cmocka_unit_test(key_files_are_read_and_bad_ones_refused),
        cmocka_unit_test(known_keys_are_scrubbed),
        cmocka_unit_test(a_sealed_key_opens_only_for_its_pool_and_job),
        cmocka_unit_test(sealing_has_limits),
        cmocka_unit_test(the_key_file_is_made_once_and_kept),
        cmocka_unit_test(workers_that_start_at_once_share_one_key),
    };
    return cmocka_run_group_tests_name("secrets", tests, make_directory, remove_directory);
}
