/* Skills that agents name, looked up in storage; what models and code are told of them. See skills.h. */
#include "worker/skills.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/skill.h"
#include "common/tree.h"
#include "common/wire/tree.h"
#include "common/workflow/tools.h"

/* --- looking up ----------------------------------------------------------------------------------------------- */

/* An entry that waits for its skill. */
struct opened {
    struct run *run;
    struct tool_offer *offer;
    char name[AB_SKILL_NAME_MAX + 1];
    uint64_t version;
    bool told;
    TAILQ_ENTRY(opened) in_run;
};

static void tell_offers(struct run *run);

static void hex(struct ab_view bytes, char *text)
{
    for (size_t i = 0; i < bytes.n; i++)
        snprintf(text + 2 * i, 3, "%02x", (unsigned char)bytes.p[i]);
}

static void take(struct skill *skill, struct ab_view answer)
{
    struct ab_op_get_skill_answer got = {0};
    char hash[2 * AB_HASH_BYTES + 1] = "";
    ab_buf_add(&skill->raw, answer.p, answer.n);
    if (ab_decode(&ab_op_get_skill_answer_schema, ab_buf_view(&skill->raw), &got, &skill->error) ||
        ab_decode(&ab_skill_record_schema, got.skill, &skill->record, &skill->error))
        return;
    hex(skill->record.hash, hash);
    snprintf(skill->version, sizeof skill->version, "%llu %s", (unsigned long long)skill->record.version, hash);
    skill->file = ab_skill_file(skill->record.name, skill->record.language);
}

static void ask_next(struct run *run);

static void on_skill(struct worker *worker, struct run *run, struct ab_view answer,
                     const struct ab_error *error)
{
    struct skill *skill;
    (void)worker;
    TAILQ_FOREACH(skill, &run->skills, in_run)
    if (skill->state == SKILL_ASKED)
        break;
    if (!skill)
        return;
    if (error)
        skill->error = *error;
    else
        take(skill, answer);
    if (skill->error.code == AB_ENOTFOUND)
        ab_fail_at(&skill->error, AB_ENOTFOUND, skill->name,
                   "user %.128s has no skill %s%s: `autobots skills add FILE` stores one", run->user,
                   skill->name, skill->wanted ? " of the version that is named" : "");
    skill->state = skill->error.code ? SKILL_MISSING : SKILL_KNOWN;
    ask_next(run);
    tell_offers(run);
}

/* One after the other: an answer does not say what was asked. */
static void ask_next(struct run *run)
{
    struct skill *skill, *next = NULL;
    TAILQ_FOREACH(skill, &run->skills, in_run)
    {
        if (skill->state == SKILL_ASKED)
            return;
        next = !next && skill->state == SKILL_WANTED ? skill : next;
    }
    if (!next)
        return;
    struct ab_op_load_skill request = {.n = run->n, .name = ab_view_of(next->name), .version = next->wanted};
    next->state = SKILL_ASKED;
    queries_ask(run->worker, run, AB_OP_load_skill, &request, on_skill);
}

const struct skill *skill_get(struct run *run, const char *name, size_t name_bytes, uint64_t version,
                              struct ab_error *err)
{
    struct skill *skill;
    TAILQ_FOREACH(skill, &run->skills, in_run)
    if (skill->wanted == version && strlen(skill->name) == name_bytes && !memcmp(skill->name, name, name_bytes))
        break;
    if (!skill) {
        skill = ab_calloc(1, sizeof *skill);
        snprintf(skill->name, sizeof skill->name, "%.*s", (int)name_bytes, name);
        skill->wanted = version;
        TAILQ_INSERT_TAIL(&run->skills, skill, in_run);
        ask_next(run);
    }
    if (skill->state == SKILL_MISSING)
        *err = skill->error;
    return skill->state == SKILL_KNOWN ? skill : NULL;
}

void skills_finish(struct run *run)
{
    struct skill *skill;
    while ((skill = TAILQ_FIRST(&run->skills))) {
        TAILQ_REMOVE(&run->skills, skill, in_run);
        ab_buf_finish(&skill->raw);
        free(skill->file);
        free(skill);
    }
}

/* --- the source of tools -------------------------------------------------------------------------------------- */

static bool boxed(const struct run *run)
{
    return strcmp(ab_config_text(run->worker->config, AB_CONF_ISOLATION), "unsafe-host") != 0;
}

/* In its sandbox a call can do nothing but change the files of its conversation, which are put back before it is made again.
 * Without one it may have done anything. */
static bool may_be_repeated(const struct run *run, const struct skill *skill)
{
    return skill->record.idempotent || boxed(run);
}

static char *description_of(const struct ab_skill_record *record)
{
    struct ab_view title = record->title, more = record->description;
    return ab_format("%.*s%s%.*s", AB_VIEW_FMT(title), more.n ? "\n" : "", (int)more.n, more.p ? more.p : "");
}

static void offer_skill(struct opened *opened, const struct skill *skill)
{
    struct ab_error err = {0};
    char *description = description_of(&skill->record);
    json_t *parameters = ab_tree_unpack(skill->record.parameters, &err);
    struct tool_spec spec = {.name = skill->name,
                             .description = description,
                             .parameters = parameters,
                             .version = skill->version,
                             .idempotent = may_be_repeated(opened->run, skill),
                             .ops = &skill_ops,
                             .data = (void *)(uintptr_t)skill};
    opened->told = true;
    if (!err.code)
        tool_offer_add(opened->offer, &spec, &err);
    if (err.code)
        tool_offer_fail(opened->offer, &err);
    else
        tool_offer_ready(opened->offer);
    json_decref(parameters);
    free(description);
}

static void tell(struct opened *opened)
{
    struct ab_error err = {0};
    const struct skill *skill =
        skill_get(opened->run, opened->name, strlen(opened->name), opened->version, &err);
    if (skill) {
        offer_skill(opened, skill);
    } else if (err.code) {
        opened->told = true;
        tool_offer_fail(opened->offer, &err);
    }
}

static void tell_offers(struct run *run)
{
    struct opened *opened;
    TAILQ_FOREACH(opened, &run->skill_offers, in_run)
    if (!opened->told)
        tell(opened);
}

static void *open_skill(void *self, const struct tool_scope *scope, const json_t *entry,
                        struct tool_offer *offer)
{
    struct opened *opened = ab_calloc(1, sizeof *opened);
    struct ab_view name = {0};
    (void)self;
    *opened = (struct opened){.run = scope->owner, .offer = offer};
    ab_skill_word(ab_tree_view(entry, "skill"), &name, &opened->version); /* the workflow was checked */
    snprintf(opened->name, sizeof opened->name, "%.*s", AB_VIEW_FMT(name));
    TAILQ_INSERT_TAIL(&opened->run->skill_offers, opened, in_run);
    tell(opened);
    return opened;
}

static void close_skill(void *handle)
{
    struct opened *opened = handle;
    TAILQ_REMOVE(&opened->run->skill_offers, opened, in_run);
    free(opened);
}

const struct tool_source skill_source = {.kind = "skill", .open = open_skill, .close = close_skill};

/* --- in sandboxes --------------------------------------------------------------------------------------------- */

struct workdir *skill_library(struct run *run, const struct skill *const *skills, size_t n,
                              struct ab_view arguments, struct ab_error *err)
{
    char id[AB_ID_TEXT];
    struct workdir *dir = NULL;
    char *name = ab_format("%s-skills-%zu", ab_id_text(run->job, id), ++run->libraries);
    int code = workdir_create(run->worker->workdirs, name, &dir, err);
    for (size_t i = 0; !code && i < n; i++)
        code = workdir_write(dir, skills[i]->file, 0, skills[i]->record.content, true, err);
    if (!code && arguments.p)
        code = workdir_write(dir, EXEC_ARGUMENTS, 0, arguments, false, err);
    free(name);
    if (code)
        workdir_destroy(dir);
    return code ? NULL : dir;
}

/* Skills that agents name, each name once: the first that names it. */
struct named {
    struct run *run;
    const struct skill *skills[SKILL_LIBRARY_MAX];
    size_t n;
    bool waits;
    struct ab_error *err;
};

static bool is_named(const struct named *named, struct ab_view name)
{
    for (size_t i = 0; i < named->n; i++)
        if (ab_view_is(name, named->skills[i]->name))
            return true;
    return false;
}

static void add_named(struct named *named, const json_t *tools)
{
    json_t *entry;
    size_t i;
    json_array_foreach (tools, i, entry) {
        struct ab_view name;
        uint64_t version;
        struct ab_view word = ab_tree_view(entry, "skill");
        if (!word.p || !ab_skill_word(word, &name, &version) || is_named(named, name))
            continue;
        if (named->n == SKILL_LIBRARY_MAX) {
            ab_fail(named->err, AB_ETOOLARGE, "the agents of the workflow name more than %d skills",
                    SKILL_LIBRARY_MAX);
            return;
        }
        const struct skill *skill = skill_get(named->run, name.p, name.n, version, named->err);
        named->waits |= !skill;
        if (skill)
            named->skills[named->n++] = skill;
    }
}

/* Each agent of the workflow, those that others call included. True: fn said so of one, and it is over. */
static bool any_agent(const struct ab_workflow *workflow, bool (*fn)(void *user, const struct ab_agent *agent),
                      void *user);

static bool any_of(const struct ab_agent *agent, bool (*fn)(void *user, const struct ab_agent *agent),
                   void *user)
{
    bool any = fn(user, agent);
    for (size_t i = 0; !any && i < agent->n_members; i++)
        any = any_of(&agent->members[i], fn, user);
    for (size_t i = 0; !any && i < agent->n_delegates; i++) {
        const struct ab_delegate *delegate = &agent->delegates[i];
        any = (delegate->own && any_of(delegate->own, fn, user)) ||
              (delegate->workflow && any_agent(delegate->workflow, fn, user));
    }
    return any;
}

static bool any_agent(const struct ab_workflow *workflow, bool (*fn)(void *user, const struct ab_agent *agent),
                      void *user)
{
    bool any = any_of(&workflow->sender, fn, user);
    for (size_t i = 0; !any && i < workflow->n_receivers; i++)
        any = any_of(&workflow->receivers[i], fn, user);
    return any;
}

static bool add_agent(void *user, const struct ab_agent *agent)
{
    add_named(user, agent->tools);
    return false;
}

bool skills_for_code(struct run *run, struct workdir **library, struct ab_buf *words, struct ab_error *err)
{
    struct named named = {.run = run, .err = err};
    any_agent(run->workflow->workflow, add_agent, &named);
    if (named.waits || err->code)
        return false;
    for (size_t i = 0; i < named.n; i++)
        ab_buf_format(words, "%s%s@%llu", i ? " " : "", named.skills[i]->name,
                      (unsigned long long)named.skills[i]->record.version);
    if (named.n)
        *library = skill_library(run, named.skills, named.n, (struct ab_view){0}, err);
    return !named.n || *library;
}

/* --- what a model is told ------------------------------------------------------------------------------------- */

static bool runs_code(void *user, const struct ab_agent *agent)
{
    (void)user;
    return agent->code.mode != AB_CODE_OFF;
}

/* The functions at the top of a module that are not its own business: "a, b". */
static void add_functions(struct ab_view content, struct ab_buf *out)
{
    const char *at = content.p, *end = content.p + content.n;
    size_t before = out->n;
    while (at && at < end) {
        const char *next = memchr(at, '\n', (size_t)(end - at));
        if (end - at > 5 && !memcmp(at, "def ", 4) && at[4] != '_') {
            const char *name = at + 4;
            size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
            ab_buf_format(out, "%s%.*s", out->n > before ? ", " : "", (int)n, name);
        }
        at = next ? next + 1 : NULL;
    }
}

static void add_note(const struct skill *skill, const char *folder, struct ab_buf *note)
{
    const struct ab_skill_record *record = &skill->record;
    struct ab_buf functions = {0};
    if (ab_view_is(record->language, "python")) {
        add_functions(record->content, &functions);
        ab_buf_format(note, "\n- %s: %.*s", skill->name, AB_VIEW_FMT(record->title));
        if (functions.n)
            ab_buf_format(note, ": from %s import %s", skill->name, ab_buf_cstr(&functions));
    } else {
        ab_buf_format(note, "\n- %s/%s: %.*s", folder, skill->file, AB_VIEW_FMT(record->title));
    }
    ab_buf_finish(&functions);
}

static void add_text(json_t *messages, const char *note)
{
    json_t *first = json_array_get(messages, 0), *content = json_object_get(first, "content");
    const char *role = ab_tree_str(first, "role");
    if (role && !strcmp(role, "system") && json_is_string(content)) {
        char *text = ab_format("%s\n\n%s", json_string_value(content), note);
        json_object_set_new(first, "content", json_string(text));
        free(text);
    } else {
        json_array_insert_new(messages, 0, json_pack("{s:s, s:s}", "role", "system", "content", note));
    }
}

void skills_tell(struct run *run, const struct engine_effect *effect, json_t *messages)
{
    struct ab_error err = {0};
    struct named named = {.run = run, .err = &err};
    struct ab_buf note = {0};
    /* Without a sandbox it is another folder at each worker; the variable names it everywhere. */
    const char *folder = boxed(run) ? "/skills" : "$PYTHONPATH";
    if (!effect->tools || !any_agent(run->workflow->workflow, runs_code, NULL))
        return;
    add_named(&named, effect->tools); /* all known: the agent's toolbox is ready */
    ab_buf_format(&note,
                  "These skills are installed%s in %s, where code blocks of this conversation run; "
                  "Python code can import them:",
                  boxed(run) ? ", read-only" : "", folder);
    for (size_t i = 0; i < named.n && note.n < SKILL_NOTE_BYTES_MAX; i++)
        add_note(named.skills[i], folder, &note);
    if (named.n)
        add_text(messages, ab_buf_cstr(&note));
    ab_buf_finish(&note);
}
