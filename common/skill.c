/* Reads and checks skills. See skill.h; the header is found by skill_header.c. */
#include "common/skill.h"

#include <sodium.h>
#include <stdlib.h>

#include "common/json_schema.h"
#include "common/wire/schema.h"

/* --- names ---------------------------------------------------------------------------------------------------- */

static const char name_chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

bool ab_skill_name_ok(struct ab_view name)
{
    if (!name.n || name.n > AB_SKILL_NAME_MAX || (*name.p >= '0' && *name.p <= '9'))
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (!name.p[i] || !strchr(name_chars, name.p[i]))
            return false;
    return true;
}

bool ab_skill_word(struct ab_view word, struct ab_view *name, uint64_t *version)
{
    const char *at = word.n ? memchr(word.p, '@', word.n) : NULL, *end = word.p + word.n;
    *name = ab_view(word.p, at ? (size_t)(at - word.p) : word.n);
    *version = 0;
    for (const char *p = at ? at + 1 : end; p < end; p++) {
        if (*p < '0' || *p > '9' || *version > UINT32_MAX)
            return false;
        *version = 10 * *version + (uint64_t)(*p - '0');
    }
    return ab_skill_name_ok(*name) && (!at || *version);
}

char *ab_skill_file(struct ab_view name, struct ab_view language)
{
    return ab_format("%.*s.%s", AB_VIEW_FMT(name), ab_view_is(language, "python") ? "py" : "sh");
}

/* Modules of Python's library and words of its language: a skill of that name would stand in front of them, or could not be
 * imported. */
static const char taken_names[] =
    " abc antigravity argparse array ast asyncio atexit base64 bdb binascii bisect builtins bz2 cProfile "
    "calendar cmath "
    "cmd code codecs codeop collections colorsys compileall concurrent configparser contextlib contextvars "
    "copy copyreg "
    "csv ctypes curses dataclasses datetime dbm decimal difflib dis doctest email encodings ensurepip enum "
    "errno "
    "faulthandler fcntl filecmp fileinput fnmatch fractions ftplib functools gc genericpath getopt getpass "
    "gettext glob "
    "graphlib grp gzip hashlib heapq hmac html http idlelib imaplib importlib inspect io ipaddress itertools "
    "json keyword "
    "linecache locale logging lzma mailbox marshal math mimetypes mmap modulefinder multiprocessing netrc "
    "ntpath numbers "
    "opcode operator optparse os pathlib pdb pickle pickletools pkgutil platform plistlib poplib posix "
    "posixpath pprint "
    "profile pstats pty pwd py_compile pyclbr pydoc queue quopri random re readline reprlib resource "
    "rlcompleter runpy "
    "sched secrets select selectors shelve shlex shutil signal site smtplib socket socketserver sqlite3 ssl "
    "stat "
    "statistics string stringprep struct subprocess symtable sys sysconfig syslog tabnanny tarfile tempfile "
    "termios "
    "textwrap this threading time timeit tkinter token tokenize tomllib trace traceback tracemalloc tty turtle "
    "types "
    "typing unicodedata unittest urllib uuid venv warnings wave weakref webbrowser wsgiref xml xmlrpc zipapp "
    "zipfile "
    "zipimport zlib zoneinfo False None True and as assert async await break class continue def del elif else "
    "except "
    "finally for from global if import in is lambda nonlocal not or pass raise return try while with yield ";

static bool is_taken(const char *name)
{
    char *word = ab_format(" %s ", name);
    bool taken = strstr(taken_names, word);
    free(word);
    return taken;
}

/* --- values of given, header and defaults --------------------------------------------------------------------- */

struct reading {
    const struct ab_skill_given *given;
    json_t *header; /* NULL: none */
    struct ab_buf comment;
    struct ab_faults *faults;
};

/* What is given, else what the header has, else NULL; malloc'ed. */
static char *text_of(struct reading *r, struct ab_view given, const char *key, size_t max)
{
    const json_t *value = json_object_get(r->header, key);
    char *path = ab_format("$.%s", key), *text = NULL;
    struct ab_view view = given.p ? given : ab_view(json_string_value(value), json_string_length(value));
    if (!given.p && value && !json_is_string(value))
        ab_faults_add(r->faults, path, "must be text", "put it in quotes");
    else if (view.n > max)
        ab_faults_add(r->faults, path, "is too long", "at most %zu bytes", max);
    else if (view.n && memchr(view.p, 0, view.n))
        ab_faults_add(r->faults, path, "has a NUL character in it", "%s", "");
    else
        text = view.n ? ab_view_dup(view) : NULL;
    free(path);
    return text;
}

static void check_keys(struct reading *r)
{
    static const char *const keys[] = {"title", "description", "name", "parameters", "idempotent", "timeout_s"};
    enum { KEYS = sizeof keys / sizeof *keys };
    const char *key;
    json_t *value;
    json_object_foreach (r->header, key, value) {
        size_t i = 0;
        while (i < KEYS && strcmp(keys[i], key))
            i++;
        if (i < KEYS)
            continue;
        struct ab_buf path = {0};
        const char *near = ab_nearest(key, keys, KEYS);
        ab_buf_text(&path, "$");
        ab_path_key(&path, key);
        ab_faults_add(r->faults, ab_buf_cstr(&path), "is no key of a skill's header", "%s%s",
                      near ? "did you mean "
                           : "there are title, description, name, parameters, idempotent, timeout_s",
                      near ? near : "");
        ab_buf_finish(&path);
    }
}

/* --- the language --------------------------------------------------------------------------------------------- */

static const char *const languages[] = {"python", "sh", "bash", NULL};

static bool has_line(struct ab_view content, const char *word)
{
    const char *end = content.n ? memchr(content.p, '\n', content.n) : NULL;
    size_t n = end ? (size_t)(end - content.p) : content.n;
    return n > 2 && !memcmp(content.p, "#!", 2) && memmem(content.p, n, word, strlen(word));
}

static bool ends_in(struct ab_view text, const char *end)
{
    size_t n = strlen(end);
    return text.n > n && !memcmp(text.p + text.n - n, end, n);
}

/* Named, else by its first line, else by its file's name. NULL with a fault. */
static const char *language_of(const struct ab_skill_given *given, struct ab_faults *faults)
{
    for (size_t i = 0; given->language.p && languages[i]; i++)
        if (ab_view_is(given->language, languages[i]))
            return languages[i];
    if (given->language.p) {
        ab_faults_add(faults, "$.language", "is none of python, sh and bash", "%s", "");
        return NULL;
    }
    if (has_line(given->content, "python") || ends_in(given->file_name, ".py"))
        return "python";
    if (has_line(given->content, "bash") || ends_in(given->file_name, ".bash"))
        return "bash";
    if (has_line(given->content, "sh") || ends_in(given->file_name, ".sh"))
        return "sh";
    ab_faults_add(faults, "$.language", "is not known",
                  "name it (python, sh or bash), or a file that ends in .py or .sh");
    return NULL;
}

/* --- the parts ------------------------------------------------------------------------------------------------ */

/* "Mean of numbers" → mean_of_numbers; NULL if nothing is left. */
static char *name_from(const char *text, size_t n)
{
    struct ab_buf out = {0};
    for (size_t i = 0; i < n && out.n < AB_SKILL_NAME_MAX; i++) {
        char c = text[i];
        if (c && strchr(name_chars, c))
            ab_buf_char(&out, c >= 'A' && c <= 'Z' ? (char)(c | 32) : c);
        else if (out.n && out.p[out.n - 1] != '_')
            ab_buf_char(&out, '_');
    }
    while (out.n && out.p[out.n - 1] == '_')
        out.n--;
    if (out.n)
        return ab_buf_detach(&out);
    ab_buf_finish(&out);
    return NULL;
}

static void read_name(struct reading *r, struct ab_skill *skill)
{
    const struct ab_view file = r->given->file_name;
    const char *dot = file.n ? memrchr(file.p, '.', file.n) : NULL;
    skill->name = text_of(r, r->given->name, "name", AB_SKILL_NAME_MAX);
    if (!skill->name && file.n)
        skill->name = name_from(file.p, dot ? (size_t)(dot - file.p) : file.n);
    if (!skill->name && skill->title)
        skill->name = name_from(skill->title, strlen(skill->title));
    if (!skill->name)
        ab_faults_add(r->faults, "$.name", "is missing", "letters, digits and _, such as mean_of_numbers");
    else if (!ab_skill_name_ok(ab_view_of(skill->name)))
        ab_faults_add(r->faults, "$.name", "is no name of a skill",
                      "1 to %d letters, digits and _, the first no digit: Python shall be able to import it",
                      AB_SKILL_NAME_MAX);
    else if (skill->language && !strcmp(skill->language, "python") && is_taken(skill->name))
        ab_faults_add(r->faults, "$.name", "is a module or a word of Python itself",
                      "give another name: code that imports %s must get Python's", skill->name);
}

static void read_texts(struct reading *r, struct ab_skill *skill)
{
    const struct ab_view file = r->given->file_name;
    skill->title = text_of(r, r->given->title, "title", AB_SKILL_TITLE_MAX);
    skill->description = text_of(r, r->given->description, "description", AB_SKILL_DESCRIPTION_MAX);
    if (!skill->description) {
        struct ab_view whole = ab_buf_view(&r->comment);
        if (whole.n > AB_SKILL_DESCRIPTION_MAX)
            for (whole.n = AB_SKILL_DESCRIPTION_MAX; whole.n && (whole.p[whole.n] & 0xc0) == 0x80; whole.n--)
                continue; /* whole characters */
        skill->description = ab_view_dup(whole);
    }
    read_name(r, skill);
    if (!skill->title && skill->name)
        skill->title = ab_strdup(skill->name);
    skill->file_name = file.n ? ab_view_dup(file)
                       : skill->name && skill->language
                           ? ab_skill_file(ab_view_of(skill->name), ab_view_of(skill->language))
                           : ab_strdup("");
    if (file.n > AB_SKILL_FILE_NAME_MAX || strpbrk(skill->file_name, "/\r\n") ||
        memchr(file.p ? file.p : "", 0, file.n))
        ab_faults_add(r->faults, "$.file_name", "is no plain name of a file", "at most %d bytes, without /",
                      AB_SKILL_FILE_NAME_MAX);
}

static void read_parameters(struct reading *r, struct ab_skill *skill)
{
    const json_t *schema =
        r->given->parameters ? r->given->parameters : json_object_get(r->header, "parameters");
    const char *type = ab_tree_str(schema, "type");
    struct ab_buf text = {0};
    skill->parameters =
        schema ? json_deep_copy(schema) : json_pack("{s:s, s:{}}", "type", "object", "properties");
    if (ab_json_schema_check(skill->parameters, "$.parameters", r->faults))
        ;
    else if (!type ? schema != NULL : strcmp(type, "object"))
        ab_faults_add(r->faults, "$.parameters", "must be a schema of an object",
                      "{type: object, properties: {NAME: {type: …}}, required: [NAME]}");
    else if (ab_json_text_max(skill->parameters, &text, AB_SKILL_PARAMETERS_MAX))
        ab_faults_add(r->faults, "$.parameters", "is too long", "at most %d bytes", AB_SKILL_PARAMETERS_MAX);
    ab_buf_finish(&text);
}

static void read_numbers(struct reading *r, struct ab_skill *skill)
{
    const json_t *idempotent = json_object_get(r->header, "idempotent");
    const json_t *timeout = json_object_get(r->header, "timeout_s");
    skill->idempotent = r->given->idempotent || json_is_true(idempotent);
    skill->timeout_s = r->given->timeout_s ? r->given->timeout_s
                       : timeout           ? (uint64_t)json_integer_value(timeout)
                                           : AB_SKILL_TIMEOUT_S;
    if (idempotent && !json_is_boolean(idempotent))
        ab_faults_add(r->faults, "$.idempotent", "must be true or false", "%s", "");
    if (!skill->timeout_s || skill->timeout_s > AB_SKILL_TIMEOUT_S_MAX)
        ab_faults_add(r->faults, "$.timeout_s", "must be a number of seconds", "1 to %d",
                      AB_SKILL_TIMEOUT_S_MAX);
}

static void check_content(struct reading *r)
{
    struct ab_view content = r->given->content;
    if (!content.n)
        ab_faults_add(r->faults, "$.content", "is empty", "the text of a Python or shell file");
    else if (content.n > AB_SKILL_CONTENT_MAX)
        ab_faults_add(r->faults, "$.content", "is too long", "at most %d bytes", AB_SKILL_CONTENT_MAX);
    else if (memchr(content.p, 0, content.n) || !ab_utf8_ok(content))
        ab_faults_add(r->faults, "$.content", "is no text in UTF-8", "%s", "");
}

/* --- the whole ------------------------------------------------------------------------------------------------ */

static int read_header(struct reading *r, const struct ab_skill *skill, struct ab_places *places,
                       struct ab_error *err)
{
    struct ab_buf yaml = {0};
    ab_skill_header(r->given->content, skill->language && !strcmp(skill->language, "python"), &yaml,
                    &r->comment);
    int code = yaml.n ? ab_yaml_parse(ab_buf_view(&yaml), &r->header, places, err) : 0;
    if (code) {
        char place[AB_ERROR_PATH_MAX];
        memcpy(place, err->path, sizeof place);
        ab_faults_add(r->faults, place, err->text, "the header of a skill is YAML: title: …");
    } else if (r->header && !json_is_object(r->header)) {
        ab_faults_add(r->faults, "$", "is no header of a skill", "title: …");
    } else {
        check_keys(r);
    }
    ab_buf_finish(&yaml);
    return code;
}

static void hash(struct ab_skill *skill)
{
    struct ab_buf text = {0};
    json_t *tree =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:O, s:b, s:I, s:s#}", "name", skill->name, "title", skill->title,
                  "description", skill->description, "file_name", skill->file_name, "language", skill->language,
                  "parameters", skill->parameters, "idempotent", skill->idempotent, "timeout_s",
                  (json_int_t)skill->timeout_s, "content", skill->content.p, (int)skill->content.n);
    ab_json_text(tree, &text);
    crypto_generichash(skill->hash, sizeof skill->hash, (const unsigned char *)text.p, text.n, NULL, 0);
    ab_buf_finish(&text);
    json_decref(tree);
}

int ab_skill_read(const struct ab_skill_given *given, struct ab_skill *skill, struct ab_places *places,
                  struct ab_faults *faults, struct ab_error *err)
{
    struct reading r = {.given = given, .faults = faults};
    size_t before = faults->n;
    *skill = (struct ab_skill){.content = given->content};
    check_content(&r);
    if (faults->n == before) {
        skill->language = language_of(given, faults);
        read_header(&r, skill, places, err);
    }
    if (faults->n == before) {
        read_texts(&r, skill);
        read_parameters(&r, skill);
        read_numbers(&r, skill);
    }
    json_decref(r.header);
    ab_buf_finish(&r.comment);
    if (faults->n == before) {
        hash(skill);
        return 0;
    }
    ab_skill_finish(skill);
    const struct ab_fault *first = &faults->items[before];
    return ab_fail_at(err, AB_EINVALID, first->path, "%s%s%s", first->what, *first->hint ? ": " : "",
                      first->hint);
}

void ab_skill_finish(struct ab_skill *skill)
{
    free(skill->name);
    free(skill->title);
    free(skill->description);
    free(skill->file_name);
    json_decref(skill->parameters);
    *skill = (struct ab_skill){0};
}
