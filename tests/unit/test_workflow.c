/* Workflows: the corpus of faulty files, what both forms mean, what is filled in, and what the engine refuses.
 * Runs in the root of the repository.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <dirent.h>

#include "common/workflow/workflow.h"

/* --- helpers ---------------------------------------------------------------------------------------------- */

static struct ab_workflow *parsed(const char *text)
{
    struct ab_workflow *w;
    struct ab_error err = {0};
    if (ab_workflow_read(ab_view_of(text), NULL, AB_WORKFLOW_STRICT, &w, NULL, NULL, NULL, &err))
        fail_msg("%s\n%s: %s", text, err.path, err.text);
    return w;
}

static int refused(const char *text, unsigned flags, struct ab_error *err)
{
    struct ab_workflow *w = (struct ab_workflow *)err;
    *err = (struct ab_error){0};
    int code = ab_workflow_read(ab_view_of(text), NULL, flags, &w, NULL, NULL, NULL, err);
    assert_true(code < 0);
    assert_int_equal(code, err->code);
    assert_null(w);
    return code;
}

static struct ab_buf read_file(const char *path)
{
    struct ab_buf text = {0};
    char part[4096];
    size_t n;
    FILE *file = fopen(path, "r");
    if (!file)
        fail_msg("%s: not there; run in the root of the repository", path);
    while ((n = fread(part, 1, sizeof part, file)))
        ab_buf_add(&text, part, n);
    fclose(file);
    ab_buf_cstr(&text);
    return text;
}

/* --- the corpus ------------------------------------------------------------------------------------------- */

/* Returns how many faults were not expected: 0 or 1. */
static size_t strike_out(struct ab_buf *wanted, const char *file, const char *path, const char *message)
{
    for (char *line = wanted->p, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        char *bar = strstr(line, " | ");
        assert_non_null(end);
        if (*line == '#' || !bar || bar > end)
            continue;
        char *part = ab_strndup(bar + 3, (size_t)(end - bar) - 3);
        bool hit =
            (size_t)(bar - line) == strlen(path) && !strncmp(line, path, strlen(path)) && strstr(message, part);
        free(part);
        if (hit) {
            *line = '#';
            return 0;
        }
    }
    print_error("%s: unexpected fault %s: %s\n", file, path, message);
    return 1;
}

static size_t check_corpus_file(const char *file)
{
    char *path = ab_format("tests/workflows/%s", file);
    char *sidecar = ab_format("%.*s.faults", (int)(strrchr(path, '.') - path), path);
    struct ab_buf text = read_file(path), wanted = read_file(sidecar);
    struct ab_workflow *w;
    struct ab_error err = {0};
    struct ab_faults faults = {0};
    int code = ab_workflow_read(ab_buf_view(&text), file, AB_WORKFLOW_STRICT, &w, NULL, &faults, NULL, &err);
    if (!code)
        fail_msg("%s: was taken", file);
    size_t wrong = 0;
    if (!faults.n)
        wrong += strike_out(&wanted, file, err.path, err.text);
    for (size_t i = 0; i < faults.n; i++) {
        char *message = ab_format("%s: %s", faults.items[i].what, faults.items[i].hint);
        wrong += strike_out(&wanted, file, faults.items[i].path, message);
        free(message);
    }
    for (char *line = wanted.p; *line; line = strchr(line, '\n') + 1) {
        if (*line == '#')
            continue;
        print_error("%s: not found: %.*s\n", file, (int)(strchr(line, '\n') - line), line);
        wrong++;
    }
    ab_faults_finish(&faults);
    ab_buf_finish(&text);
    ab_buf_finish(&wanted);
    free(path);
    free(sidecar);
    return wrong;
}

static void each_faulty_file_is_refused_with_all_its_faults(void **state)
{
    DIR *dir = opendir("tests/workflows");
    size_t n = 0, wrong = 0;
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || (strcmp(dot, ".yaml") && strcmp(dot, ".json")))
            continue;
        wrong += check_corpus_file(entry->d_name);
        n++;
    }
    closedir(dir);
    assert_int_equal(wrong, 0);
    assert_true(n >= 70);
}

static const char *lookup(void *context, const char *name)
{
    return context;
}

static void check_example(const char *file, const char *readme)
{
    char *path = ab_format("client/examples/%s", file);
    struct ab_buf text = read_file(path);
    struct ab_faults faults = {0};
    struct ab_workflow *w;
    struct ab_error err = {0};
    json_t *tree;
    assert_int_equal(ab_tree_parse(ab_buf_view(&text), file, &tree, NULL, &err), 0);
    assert_int_equal(ab_workflow_expand(tree, lookup, NULL, &faults), 0);
    if (ab_workflow_parse(tree, AB_WORKFLOW_STRICT, &w, NULL, NULL, &err))
        fail_msg("%s: %s: %s", path, err.path, err.text);
    assert_int_equal(ab_workflow_supported(w, &faults), 0);
    assert_non_null(strstr(readme, file));
    ab_workflow_destroy(w);
    json_decref(tree);
    ab_buf_finish(&text);
    free(path);
}

/* Those that are workflows: the concise form or the seed's has agents. */
static bool is_workflow(const char *file)
{
    const char *dot = strrchr(file, '.');
    if (!dot || (strcmp(dot, ".yaml") && strcmp(dot, ".json")))
        return false;
    char *path = ab_format("client/examples/%s", file);
    struct ab_buf text = read_file(path);
    bool found = strstr(text.p, "agents") || strstr(text.p, "receiver");
    ab_buf_finish(&text);
    free(path);
    return found;
}

static void each_example_is_taken_and_runs_on_this_release(void **state)
{
    struct ab_buf readme = read_file("client/examples/README.md");
    DIR *dir = opendir("client/examples");
    size_t n = 0;
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!is_workflow(entry->d_name))
            continue;
        check_example(entry->d_name, readme.p);
        n++;
    }
    closedir(dir);
    assert_true(n >= 9);
    ab_buf_finish(&readme);
}

/* --- what the forms mean ---------------------------------------------------------------------------------- */

static void one_agent_gets_a_silent_user(void **state)
{
    struct ab_workflow *w = parsed("model: gpt\nagents: [{name: bot}]");
    assert_string_equal(w->name, "workflow");
    assert_int_equal(w->type, AB_WORKFLOW_DEFAULT);
    assert_int_equal(w->summary, AB_SUMMARY_LAST);
    assert_null(w->task);
    assert_int_equal(w->n_receivers, 1);
    assert_int_equal(w->n_secrets, 0);
    assert_string_equal(w->sender.name, "user");
    assert_int_equal(w->sender.type, AB_AGENT_USERPROXY);
    assert_int_equal(w->sender.max_consecutive_auto_reply, 0);
    assert_int_equal(w->sender.llm.n_entries, 0);
    assert_string_equal(w->sender.default_auto_reply, "");
    assert_string_equal(w->sender.path, "$.agents[0].agent");
    const struct ab_agent *bot = &w->receivers[0];
    assert_string_equal(bot->name, "bot");
    assert_int_equal(bot->type, AB_AGENT_ASSISTANT);
    assert_null(bot->system_message);
    assert_int_equal(bot->human_input, AB_HUMAN_NEVER);
    assert_int_equal(bot->max_consecutive_auto_reply, 10);
    assert_true(bot->terminates);
    assert_string_equal(bot->termination_word, "TERMINATE");
    assert_int_equal(bot->code.mode, AB_CODE_OFF);
    assert_int_equal(bot->llm.n_entries, 1);
    assert_string_equal(bot->llm.entries[0].model, "gpt");
    assert_int_equal(bot->llm.entries[0].provider, AB_PROVIDER_OPENAI);
    assert_null(bot->llm.entries[0].base_url);
    assert_int_equal(bot->llm.entries[0].secret, -1);
    assert_null(bot->llm.entries[0].script);
    assert_true(bot->llm.temperature == 0 && bot->llm.timeout_s == 0 && bot->llm.max_tokens == 0);
    assert_int_equal(bot->llm.cache_seed, -1);
    assert_null(bot->llm.extra_body);
    ab_workflow_destroy(w);
    w = parsed("model: gpt\nagents: [{name: user}]");
    assert_string_equal(w->sender.name, "user_2");
    ab_workflow_destroy(w);
}

static void expect_turns(const char *max_turns, int64_t receiver, int64_t sender)
{
    char *text = ab_format("model: m\n%s\nagents: [{name: first}, {name: second}]", max_turns);
    struct ab_workflow *w = parsed(text);
    assert_string_equal(w->receivers[0].name, "first");
    assert_string_equal(w->sender.name, "second");
    assert_int_equal(w->receivers[0].max_consecutive_auto_reply, receiver);
    assert_int_equal(w->sender.max_consecutive_auto_reply, sender);
    ab_workflow_destroy(w);
    free(text);
}

static void of_two_agents_the_first_answers_first_and_turns_are_shared(void **state)
{
    expect_turns("", 10, 10);
    expect_turns("max_turns: 1", 1, 0);
    expect_turns("max_turns: 5", 3, 2);
    expect_turns("max_turns: 6", 3, 3);
    struct ab_workflow *w = parsed("model: m\nmax_turns: 6\nagents: [{name: a, max_replies: 9}, {name: b}]");
    assert_int_equal(w->receivers[0].max_consecutive_auto_reply, 9);
    assert_int_equal(w->sender.max_consecutive_auto_reply, 3);
    ab_workflow_destroy(w);
}

static void a_user_opens_wherever_it_is_listed(void **state)
{
    struct ab_workflow *w = parsed("model: m\nagents: [{name: me, type: user, reply: go on}, {name: bot}]");
    assert_string_equal(w->sender.name, "me");
    assert_string_equal(w->sender.default_auto_reply, "go on");
    assert_int_equal(w->sender.llm.n_entries, 0);
    assert_string_equal(w->receivers[0].name, "bot");
    ab_workflow_destroy(w);
    w = parsed(
        "model: m\ntype: sequential\nagents: [{name: a, task: then}, {name: me, type: user}, {name: b}]");
    assert_int_equal(w->type, AB_WORKFLOW_SEQUENTIAL);
    assert_string_equal(w->sender.name, "me");
    assert_int_equal(w->n_receivers, 2);
    assert_string_equal(w->receivers[0].task_instruction, "then");
    assert_string_equal(w->receivers[1].name, "b");
    ab_workflow_destroy(w);
}

static void an_agents_own_settings_come_before_the_workflows(void **state)
{
    struct ab_workflow *w = parsed("model: m\ntemperature: 0.5\nmax_tokens: 10\nstop: DONE\ncache_seed: 0\n"
                                   "extra_body: {top_p: 0.5}\n"
                                   "agents:\n"
                                   "  - {name: a, temperature: 1, stop: false, timeout: 2.5}\n"
                                   "  - {name: b, model: [{model: x, base_url: 'http://127.0.0.1:1/v1'}, y]}");
    const struct ab_agent *a = &w->receivers[0], *b = &w->sender;
    assert_true(a->llm.temperature == 1 && b->llm.temperature == 0.5);
    assert_int_equal(a->llm.max_tokens, 10);
    assert_int_equal(a->llm.cache_seed, 0);
    assert_true(a->llm.timeout_s == 2.5 && b->llm.timeout_s == 0);
    assert_true(ab_tree_number(a->llm.extra_body, "top_p", 0) == 0.5);
    assert_false(a->terminates);
    assert_true(b->terminates);
    assert_string_equal(b->termination_word, "DONE");
    assert_int_equal(b->llm.n_entries, 2);
    assert_string_equal(b->llm.entries[0].base_url, "http://127.0.0.1:1/v1");
    assert_string_equal(b->llm.entries[1].model, "y");
    ab_workflow_destroy(w);
}

static void a_groupchat_has_the_agents_as_members(void **state)
{
    struct ab_workflow *w = parsed("model: m\ntype: groupchat\nmax_turns: 7\nspeaker: round_robin\n"
                                   "agents: [{name: a}, {name: group}, {name: me, type: user}]");
    const struct ab_agent *group = &w->receivers[0];
    assert_int_equal(w->type, AB_WORKFLOW_GROUPCHAT);
    assert_int_equal(group->type, AB_AGENT_GROUPCHAT);
    assert_string_equal(group->name, "group_2");
    assert_int_equal(group->n_members, 2);
    assert_string_equal(group->members[1].name, "group");
    assert_string_equal(group->members[1].path, "$.agents[1].agent.agents[1]");
    assert_int_equal(group->groupchat.max_round, 7);
    assert_int_equal(group->groupchat.selection, AB_SPEAKER_ROUND_ROBIN);
    assert_true(json_is_true(group->groupchat.allow_repeat_speaker));
    assert_string_equal(group->groupchat.admin_name, "Admin");
    assert_string_equal(group->llm.entries[0].model, "m");
    assert_string_equal(w->sender.name, "me");
    ab_workflow_destroy(w);
}

static void the_seeds_sender_and_receiver_are_taken_with_its_defaults(void **state)
{
    struct ab_workflow *w = parsed(
        "{\"name\": \"w\", \"sender\": {\"config\": {\"name\": \"u\", \"code_execution_config\": null}},"
        " \"receiver\": {\"type\": \"assistant\", \"config\": {\"name\": \"a\", \"is_termination_msg\": true,"
        " \"llm_config\": {\"cache_seed\": 42, \"timeout\": 600, \"temperature\": 0.1, \"config_list\": "
        "[{\"model\": \"gpt-4\","
        " \"api_key\": \"\"}, {\"model\": \"b\", \"api_type\": \"azure\", \"api_version\": \"1\","
        " \"api_key\": {\"$secret\": 1}}]}}}}");
    const struct ab_agent *a = &w->receivers[0];
    assert_int_equal(w->sender.type, AB_AGENT_USERPROXY);
    assert_int_equal(w->sender.max_consecutive_auto_reply, 10);
    assert_int_equal(w->sender.code.mode, AB_CODE_OFF);
    assert_int_equal(a->llm.cache_seed, 42);
    assert_true(a->terminates);
    assert_int_equal(a->llm.entries[0].secret, -1);
    assert_int_equal(a->llm.entries[1].secret, 1);
    assert_int_equal(a->llm.entries[1].provider, AB_PROVIDER_AZURE);
    assert_string_equal(a->llm.entries[1].api_version, "1");
    assert_int_equal(w->n_secrets, 2);
    ab_workflow_destroy(w);
}

static void the_seeds_agents_are_linked_or_told_by_type(void **state)
{
    struct ab_workflow *w =
        parsed("name: w\ntype: sequential\nagents:\n"
               "  - {agent: {name: a, config: {llm_config: false}}, task_instruction: one}\n"
               "  - {agent: {name: u, type: userproxy}}\n"
               "  - {agent: {name: b, config: {llm_config: false}}, link: {agent_type: receiver}}\n");
    assert_string_equal(w->sender.name, "u");
    assert_int_equal(w->n_receivers, 2);
    assert_string_equal(w->receivers[0].task_instruction, "one");
    ab_workflow_destroy(w);
    w = parsed("name: w\ntype: autonomous\nagents:\n  - {agent: {name: a, config: {llm_config: false}}}\n");
    assert_string_equal(w->sender.name, "user");
    ab_workflow_destroy(w);
    w = parsed("name: w\nagents:\n"
               "  - {agent: {name: p, type: userproxy}, link: {agent_type: receiver}}\n"
               "  - {agent: {name: a, config: {llm_config: {config_list: [{model: m}]}}}, link: {agent_type: "
               "sender}}\n");
    assert_string_equal(w->sender.name, "a");
    assert_int_equal(w->sender.type, AB_AGENT_ASSISTANT);
    assert_string_equal(w->receivers[0].name, "p");
    ab_workflow_destroy(w);
}

static void members_stand_beside_config_or_in_it(void **state)
{
    const char *beside = "name: w\ntype: groupchat\nreceiver: {name: g, type: groupchat, config: "
                         "{speaker_selection_method: random, agents: [{name: x}]}, agents: [{name: a, config: "
                         "{llm_config: false}}, "
                         "{agent: {name: b, type: userproxy}}]}";
    const char *inside = "name: w\ntype: groupchat\nreceiver: {name: g, config: {allow_repeat_speaker: [a], "
                         "speaker_selection_method: round_robin, allowed_transitions: {a: [b], b: []}, agents: "
                         "[{name: a, config: {llm_config: false}}, {name: b, type: userproxy}]}}";
    struct ab_workflow *w = parsed(beside);
    assert_int_equal(w->receivers[0].n_members, 2);
    assert_string_equal(w->receivers[0].members[1].name, "b");
    assert_null(w->receivers[0].groupchat.allowed_transitions);
    ab_workflow_destroy(w);
    w = parsed(inside);
    assert_int_equal(w->receivers[0].type, AB_AGENT_GROUPCHAT);
    assert_int_equal(w->receivers[0].n_members, 2);
    assert_int_equal(json_array_size(w->receivers[0].groupchat.allow_repeat_speaker), 1);
    assert_int_equal(json_object_size(w->receivers[0].groupchat.allowed_transitions), 2);
    ab_workflow_destroy(w);
}

static void scripts_say_everything_in_their_replies(void **state)
{
    struct ab_workflow *w =
        parsed("agents:\n"
               "  - name: a\n"
               "    script: {repeat: loop, delay_ms: 5, replies: [hi, {text: x, delay_ms: 0, "
               "usage: {prompt_tokens: 3, completion_tokens: 2}}, {error: {status: 429}}]}\n"
               "  - {name: b, script: echo}\n");
    struct ab_buf text = {0};
    const struct ab_llm_entry *entry = &w->receivers[0].llm.entries[0];
    assert_int_equal(entry->provider, AB_PROVIDER_SCRIPT);
    assert_string_equal(entry->model, "script");
    ab_json_text(entry->script, &text);
    assert_string_equal(ab_buf_cstr(&text),
                        "{\"chunk_bytes\":0,\"delay_ms\":5,\"repeat\":\"loop\",\"replies\":["
                        "{\"chunk_bytes\":0,\"delay_ms\":5,\"text\":\"hi\"},"
                        "{\"chunk_bytes\":0,\"delay_ms\":0,\"text\":\"x\",\"usage\":{\"cached_tokens\":0,"
                        "\"completion_tokens\":2,"
                        "\"prompt_tokens\":3,\"reasoning_tokens\":0}},"
                        "{\"chunk_bytes\":0,\"delay_ms\":5,\"error\":{\"status\":429}}]}");
    ab_buf_clear(&text);
    ab_json_text(w->sender.llm.entries[0].script, &text);
    assert_string_equal(ab_buf_cstr(&text), "{\"chunk_bytes\":0,\"delay_ms\":0,\"echo\":true}");
    ab_buf_finish(&text);
    ab_workflow_destroy(w);
}

static void script_is_found_beside_the_model_or_at_the_top(void **state)
{
    static const char *const texts[] = {
        "script: [x]\nagents: [{name: a}]",
        "script: [x]\nmodel: script\nagents: [{name: a}]",
        "model: script\nagents: [{name: a, script: [x]}]",
        "agents: [{name: a, model: script, script: [x]}]",
        "agents: [{name: a, model: {script: [x]}}]",
        "name: w\nreceiver: {name: a, config: {llm_config: {config_list: [{script: {replies: [x]}}]}}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct ab_workflow *w = parsed(texts[i]);
        const struct ab_llm_entry *entry = &w->receivers[0].llm.entries[0];
        assert_int_equal(entry->provider, AB_PROVIDER_SCRIPT);
        assert_string_equal(entry->model, "script");
        assert_int_equal(json_array_size(json_object_get(entry->script, "replies")), 1);
        ab_workflow_destroy(w);
    }
}

static void code_execution_has_its_forms(void **state)
{
    static const struct {
        const char *text;
        enum ab_code_mode mode;
        int64_t timeout_s;
        const char *work_dir;
    } cases[] = {
        {"false", AB_CODE_OFF, 0, NULL},
        {"none", AB_CODE_OFF, 0, NULL},
        {"local", AB_CODE_LOCAL, 60, NULL},
        {"docker", AB_CODE_DOCKER, 60, NULL},
        {"{}", AB_CODE_LOCAL, 60, NULL},
        {"{use_docker: true, timeout: 9}", AB_CODE_DOCKER, 9, NULL},
        {"{work_dir: a/b..c}", AB_CODE_LOCAL, 60, "a/b..c"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = ab_format("model: m\nagents: [{name: a, code: %s}]", cases[i].text);
        struct ab_workflow *w = parsed(text);
        const struct ab_code_config *code = &w->receivers[0].code;
        assert_int_equal(code->mode, cases[i].mode);
        assert_int_equal(code->timeout_s, cases[i].timeout_s);
        assert_int_equal(!code->work_dir, !cases[i].work_dir);
        if (code->work_dir)
            assert_string_equal(code->work_dir, cases[i].work_dir);
        ab_workflow_destroy(w);
        free(text);
    }
}

/* --- the canonical tree ----------------------------------------------------------------------------------- */

static void canonical_text_is_a_fixed_point_and_hashed(void **state)
{
    static const char *const texts[] = {
        "model: m\nagents: [{name: a}]",
        "model: m\ntask: t\nmax_turns: 3\ntemperature: 0.7\nagents: [{name: a, code: docker}, {name: b, stop: "
        "X, human: ALWAYS}]",
        "model: m\ntype: groupchat\nagents: [{name: a, tools: [now, {name: calculator, approval: ask}]}, "
        "{name: b}]",
        "model: m\nagents: [{name: a.b, tools: [{mcp: files, allow: [read.it, write], approval: ask}, {skill: "
        "s@3}, {agent: "
        "c}, {workflow: w w, name: ww, description: d}], tool_choice: s, parallel_tool_calls: true}, {name: c, "
        "description: C}]",
        "model: m\nagents: [{name: a, tools: [{agent: {name: b c, tools: [{workflow: {model: n, agents: "
        "[{name: a}]}, "
        "approval: ask}]}}, {name: d, agent: {name: g, config: {speaker_selection_method: random}, agents: "
        "[{name: x, "
        "config: {default_auto_reply: x}}, {name: y, config: {default_auto_reply: y}}]}}]}]",
        "name: w\ntype: groupchat\nreceiver: {name: g, config: {messages: [hi], speaker_selection_method: "
        "random, agents: "
        "[{name: a, config: {llm_config: false}}, {name: b, type: userproxy}]}}",
        "script: {echo: true, delay_ms: 3}\nsummary: none\nagents: [{name: a, reply: x, model: false}]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct ab_workflow *w = parsed(texts[i]), *again = parsed(w->text);
        uint8_t hash[AB_WORKFLOW_HASH_BYTES];
        assert_string_equal(w->text, again->text);
        assert_int_equal(w->text_bytes, strlen(w->text));
        ab_workflow_hash(ab_view(w->text, w->text_bytes), hash);
        assert_memory_equal(w->hash, again->hash, sizeof hash);
        assert_memory_equal(w->hash, hash, sizeof hash);
        ab_workflow_destroy(w);
        ab_workflow_destroy(again);
    }
}

static void both_forms_of_the_same_workflow_have_one_hash(void **state)
{
    struct ab_workflow *concise = parsed("name: w\nmodel: m\nagents: [{name: a, system: s}]");
    struct ab_workflow *seed = parsed("{\"type\":\"default\",\"receiver\":{\"config\":{\"system_message\":"
                                      "\"s\",\"name\":\"a\",\"llm_config\":{"
                                      "\"config_list\":[{\"model\":\"m\"}]}}},\"sender\":{\"type\":"
                                      "\"userproxy\",\"config\":{\"name\":\"user\","
                                      "\"max_consecutive_auto_reply\":0}},\"name\":\"w\"}");
    assert_string_equal(concise->text, seed->text);
    assert_memory_equal(concise->hash, seed->hash, AB_WORKFLOW_HASH_BYTES);
    ab_workflow_destroy(concise);
    ab_workflow_destroy(seed);
}

static void the_hash_is_blake2b_256(void **state)
{
    static const uint8_t of_abc[] = {0xbd, 0xdd, 0x81, 0x3c, 0x63, 0x42, 0x39, 0x72, 0x31, 0x71, 0xef,
                                     0x3f, 0xee, 0x98, 0x57, 0x9b, 0x94, 0x96, 0x4e, 0x3b, 0xb1, 0xcb,
                                     0x3e, 0x42, 0x72, 0x62, 0xc8, 0xc0, 0x68, 0xd5, 0x23, 0x19};
    uint8_t hash[AB_WORKFLOW_HASH_BYTES];
    ab_workflow_hash(ab_view_of("abc"), hash);
    assert_memory_equal(hash, of_abc, sizeof hash);
}

/* --- caps, flags, codes ----------------------------------------------------------------------------------- */

static void unknown_seed_keys_are_warnings_unless_strict(void **state)
{
    const char *text = "{\"name\":\"w\",\"id\":7,\"receiver\":{\"name\":\"a\",\"timestamp\":1,\"config\":{"
                       "\"llm_config\":false}}}";
    struct ab_faults faults = {0}, warnings = {0};
    struct ab_workflow *w;
    struct ab_error err;
    assert_int_equal(ab_workflow_read(ab_view_of(text), NULL, 0, &w, NULL, &faults, &warnings, NULL), 0);
    assert_int_equal(faults.n, 0);
    assert_int_equal(warnings.n, 2);
    assert_string_equal(warnings.items[0].path, "$.id");
    assert_string_equal(warnings.items[1].path, "$.receiver.timestamp");
    assert_null(strstr(w->text, "timestamp"));
    ab_workflow_destroy(w);
    ab_faults_finish(&warnings);
    assert_int_equal(refused(text, AB_WORKFLOW_STRICT, &err), AB_EINVALID);
    assert_int_equal(refused("model: m\nagents: [{name: a}]\nid: 7", 0, &err),
                     AB_EINVALID); /* our own form: always */
}

static void only_missing_models_are_told_apart(void **state)
{
    struct ab_error err;
    assert_int_equal(refused("agents: [{name: a}, {name: b}]", 0, &err), AB_ENOMODEL);
    assert_string_equal(err.path, "$.agents[0].model");
    assert_non_null(strstr(err.text, "1 more fault)"));
    assert_int_equal(refused("agents: [{name: a}, {name: b, x: 1}]", 0, &err), AB_EINVALID);
    ab_workflow_destroy(parsed("agents: [{name: a, reply: hello}]"));
    ab_workflow_destroy(parsed("agents: [{name: a, model: false}]"));
}

static void agents(struct ab_buf *text, size_t n)
{
    ab_buf_clear(text);
    ab_buf_text(text, "model: m\ntype: sequential\nagents:\n");
    for (size_t i = 0; i < n; i++)
        ab_buf_format(text, "  - name: a%zu\n", i);
    ab_buf_cstr(text);
}

static void group_of_groups(struct ab_buf *text, size_t depth)
{
    ab_buf_clear(text);
    ab_buf_text(text, "{\"name\":\"w\",\"type\":\"groupchat\",\"receiver\":");
    for (size_t i = 0; i < depth; i++)
        ab_buf_format(
            text,
            "{\"name\":\"g%zu\",\"type\":\"groupchat\",\"config\":{\"speaker_selection_method\":\"random\"},"
            "\"agents\":[{\"name\":\"u%zu\",\"type\":\"userproxy\"},",
            i, i);
    ab_buf_text(text, "{\"name\":\"last\",\"type\":\"userproxy\"}");
    for (size_t i = 0; i < depth; i++)
        ab_buf_text(text, "]}");
    ab_buf_char(text, '}');
    ab_buf_cstr(text);
}

static void caps_are_kept(void **state)
{
    struct ab_buf text = {0};
    struct ab_error err;
    agents(&text, AB_WORKFLOW_AGENTS_MAX);
    ab_workflow_destroy(parsed(text.p));
    agents(&text, AB_WORKFLOW_AGENTS_MAX + 1);
    assert_int_equal(refused(text.p, 0, &err), AB_EINVALID);
    assert_string_equal(err.path, "$.agents");
    group_of_groups(&text, AB_WORKFLOW_DEPTH_MAX);
    ab_workflow_destroy(parsed(text.p));
    group_of_groups(&text, AB_WORKFLOW_DEPTH_MAX + 1);
    refused(text.p, 0, &err);
    assert_non_null(strstr(err.text, "deeper than 16"));

    char *filler = ab_alloc(AB_WORKFLOW_BYTES_MAX + 1);
    memset(filler, ' ', AB_WORKFLOW_BYTES_MAX + 1);
    struct ab_workflow *w;
    assert_int_equal(
        ab_workflow_read(ab_view(filler, AB_WORKFLOW_BYTES_MAX + 1), NULL, 0, &w, NULL, NULL, NULL, &err),
        AB_ETOOLARGE);
    /* one large script shared by many agents: small as written, large in the canonical text */
    memset(filler, 'x', 100000);
    filler[100000] = 0;
    char *large = ab_format(
        "type: sequential\nscript: [%s]\nagents: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}, "
        "{name: f}, {name: g}, {name: h}, {name: i}, {name: j}, {name: k}]",
        filler);
    assert_int_equal(refused(large, 0, &err), AB_ETOOLARGE);
    free(large);
    free(filler);
    ab_buf_clear(&text);
    ab_buf_text(&text,
                "name: w\ntype: groupchat\nreceiver: {name: g, config: {speaker_selection_method: random, "
                "agents: [{name: a, type: userproxy}, {name: b, type: userproxy}], allowed_transitions: {");
    for (int i = 0; i <= AB_WORKFLOW_AGENTS_MAX; i++)
        ab_buf_format(&text, "n%d: [], ", i);
    ab_buf_text(&text, "}}}");
    refused(ab_buf_cstr(&text), 0, &err);
    assert_string_equal(err.path, "$.receiver.config.allowed_transitions");
    assert_non_null(strstr(err.text, "has 257 members: at most 256"));
    ab_buf_finish(&text);
}

static void at_most_a_hundred_faults_are_kept_and_the_rest_counted(void **state)
{
    struct ab_buf text = {0};
    struct ab_faults faults = {0};
    struct ab_workflow *w;
    ab_buf_text(&text, "model: m\nagents: [{name: a}]\n");
    for (int i = 0; i < 130; i++)
        ab_buf_format(&text, "zz%d: 1\n", i);
    assert_int_equal(ab_workflow_read(ab_buf_view(&text), NULL, 0, &w, NULL, &faults, NULL, NULL), AB_EINVALID);
    assert_int_equal(faults.n, AB_FAULTS_MAX);
    assert_int_equal(faults.dropped, 30);
    ab_faults_finish(&faults);
    struct ab_faults warnings = {0};
    ab_buf_text(&text, "receiver: {name: a, config: {llm_config: false}}\nname: w\n");
    char *seed = strstr(ab_buf_cstr(&text), "zz0");
    assert_int_equal(ab_workflow_read(ab_view_of(seed), NULL, 0, &w, NULL, NULL, &warnings, NULL), 0);
    ab_workflow_destroy(w);
    assert_int_equal(warnings.n, AB_FAULTS_MAX);
    assert_int_equal(warnings.dropped, 30);
    ab_faults_finish(&warnings);
    ab_buf_finish(&text);
}

/* --- what this release runs ------------------------------------------------------------------------------- */

#define GROUP(config)                                                                                          \
    "{\"name\": \"w\", \"type\": \"groupchat\", \"receiver\": {\"name\": \"g\", \"config\": "                  \
    "{\"speaker_selection_method\": "                                                                          \
    "\"random\", " config "}, \"agents\": [{\"name\": \"a\", \"config\": {\"llm_config\": false}}, "           \
    "{\"name\": \"b\", \"config\": {\"llm_config\": false}}]}}"

static void what_the_engine_cannot_run_is_named(void **state)
{
    static const struct {
        const char *text, *path; /* NULL: it can */
    } cases[] = {
        {"model: m\nagents: [{name: a}]", NULL},
        {"model: m\nagents: [{name: a}, {name: b}]", NULL},
        {"model: m\ntype: sequential\nagents: [{name: a}]", NULL},
        {"model: m\ntype: autonomous\nsummary: none\nagents: [{name: a}]", NULL},
        {"model: m\ntype: autonomous\nagents: [{name: a}, {name: b}]", NULL},
        {"model: m\ntype: sequential\nagents: [{name: a}, {name: b}]", NULL},
        {"model: m\ntype: groupchat\nagents: [{name: a}, {name: b}]", NULL},
        {"model: m\nsummary: llm\nagents: [{name: a}]", NULL},
        {"summary: llm\nagents: [{name: a, model: false, reply: x}]", "$.summary_method"},
        {GROUP("\"messages\": [\"hi\", {\"name\": \"a\", \"content\": \"ho\"}]"), NULL},
        {GROUP("\"messages\": [1]"), "$.agents[1].agent.config.messages"},
        {GROUP("\"human_input_mode\": \"ALWAYS\""), "$.agents[1].agent.config.human_input_mode"},
        {GROUP("\"default_auto_reply\": \"x\""), "$.agents[1].agent.config.default_auto_reply"},
        {"model: m\nagents: [{name: a, human: TERMINATE}]", NULL},
        {"model: m\nagents: [{name: a}, {name: b, human: ALWAYS}]", NULL},
        {"model: m\nagents: [{name: a, human: ALWAYS, human_timeout_s: 60, human_default: go}]", NULL},
        {"model: m\nagents: [{name: a, human: ALWAYS, human_default: go}]",
         "$.agents[1].agent.config.human_default"},
        {"model: m\nagents: [{name: a, human_timeout_s: 60}]", "$.agents[1].agent.config.human_timeout_s"},
        {GROUP("\"human_timeout_s\": 60"), "$.agents[1].agent.config.human_timeout_s"},
        {"model: m\nagents: [{name: a, code: local}]", NULL},
        {"model: m\nagents: [{name: a, code: docker}]", NULL},
        {"model: m\nagents: [{name: a, tools: [now]}]", NULL},
        {"agents: [{name: a, model: false, reply: x, tools: [now]}]", "$.agents[1].agent.tools"},
        {"name: w\ntype: groupchat\nreceiver: {name: g, tools: [now], config: {speaker_selection_method: "
         "random}, "
         "agents: [{name: a, config: {llm_config: false}}, {name: b, config: {llm_config: false}}]}",
         "$.agents[1].agent.tools"},
        {"model: m\nagents: [{name: a, tools: []}]", NULL},
        {"model: m\nagents: [{name: a, tools: [{agent: {name: b, model: false}}]}]", "$.agents[1].agent.tools"},
        {"model: m\nagents: [{name: a, tools: [{agent: u}]}, {name: u, type: user, max_replies: 0}]",
         "$.agents[1].agent.tools"},
        {"model: m\nagents: [{name: a, tools: [{agent: u}]}, {name: u, type: user, human: ALWAYS}]", NULL},
        {"model: m\nagents: [{name: a, tools: [{agent: {name: b, model: false, reply: x}}]}]", NULL},
        {"model: m\nagents: [{name: a, tools: [{workflow: {agents: [{name: b, model: m, tools: [{agent: c}]}, "
         "{name: "
         "c, model: false}]}}]}]",
         "$.agents[1].agent.tools[0].workflow.agents[1].agent.tools"},
        {"model: m\nagents: [{name: a, tools: [now], tool_choice: now, parallel_tool_calls: false}]", NULL},
        {"model: m\nagents: [{name: a, tools: [{mcp: files}], tool_choice: files__read}]", NULL},
        {"model: m\nagents: [{name: a, tools: [now], tool_choice: calculator}]",
         "$.agents[1].agent.tool_choice"},
        {"model: m\nagents: [{name: a, tool_choice: required}]", "$.agents[1].agent.tools"},
        {"model: m\nagents: [{name: a, parallel_tool_calls: true}]", "$.agents[1].agent.tools"},
        {"model: m\nagents: [{name: a, human_timeout_s: 3, tools: [{name: now, approval: ask}]}]", NULL},
        {"model: m\nagents: [{name: a, human_timeout_s: 3, tools: [now]}]",
         "$.agents[1].agent.config.human_timeout_s"},
        {"name: w\nreceiver: {name: a, skills: [x], config: {llm_config: false}}", "$.agents[1].agent.skills"},
        {"agents: [{name: a, model: {model: m, api_type: azure}}]", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ab_faults faults = {0};
        struct ab_workflow *w = parsed(cases[i].text);
        assert_int_equal(ab_workflow_supported(w, &faults), cases[i].path ? 1 : 0);
        assert_int_equal(faults.n, cases[i].path ? 1 : 0);
        if (cases[i].path) {
            assert_string_equal(faults.items[0].path, cases[i].path);
            assert_true(*faults.items[0].hint);
        }
        ab_faults_finish(&faults);
        ab_workflow_destroy(w);
    }
}

static void the_builtin_workflow_is_a_user_and_an_assistant(void **state)
{
    char *text = ab_workflow_builtin("we\"ird: name");
    struct ab_workflow *w = parsed(text);
    assert_int_equal(w->sender.type, AB_AGENT_USERPROXY);
    assert_int_equal(w->receivers[0].type, AB_AGENT_ASSISTANT);
    assert_string_equal(w->receivers[0].llm.entries[0].model, "we\"ird: name");
    ab_workflow_destroy(w);
    free(text);
    text = ab_workflow_builtin(NULL);
    w = parsed(text);
    assert_int_equal(w->receivers[0].llm.entries[0].provider, AB_PROVIDER_SCRIPT);
    assert_true(ab_tree_bool(w->receivers[0].llm.entries[0].script, "echo", false));
    ab_workflow_destroy(w);
    free(text);
    ab_workflow_destroy(NULL);
}

static void the_printed_reference_has_every_field(void **state)
{
    static const char *const keys[] = {
        "`max_turns`",           "`agents` *", "`config_list` *",  "`allowed_transitions`",
        "`completion_tokens` *", "`api_key`",  "chat, sequential", "0 to 2"};
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    ab_workflow_print_fields(out);
    fclose(out);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strstr(text, keys[i]))
            fail_msg("%s is not in the reference", keys[i]);
    assert_null(strstr(text, "(null)"));
    free(text);
}

static void the_output_agent_is_kept_in_both_forms(void **state)
{
    struct ab_workflow *w = parsed("model: m\noutput: b\nagents: [{name: a}, {name: b}]"),
                       *again = parsed(w->text);
    (void)state;
    assert_string_equal(w->output, "b");
    assert_string_equal(again->output, "b");
    assert_memory_equal(w->hash, again->hash, sizeof w->hash);
    ab_workflow_destroy(again);
    ab_workflow_destroy(w);
    w = parsed("model: m\nagents: [{name: a}]");
    assert_null(w->output);
    ab_workflow_destroy(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_faulty_file_is_refused_with_all_its_faults),
        cmocka_unit_test(each_example_is_taken_and_runs_on_this_release),
        cmocka_unit_test(one_agent_gets_a_silent_user),
        cmocka_unit_test(of_two_agents_the_first_answers_first_and_turns_are_shared),
        cmocka_unit_test(a_user_opens_wherever_it_is_listed),
        cmocka_unit_test(an_agents_own_settings_come_before_the_workflows),
        cmocka_unit_test(a_groupchat_has_the_agents_as_members),
        cmocka_unit_test(the_seeds_sender_and_receiver_are_taken_with_its_defaults),
        cmocka_unit_test(the_seeds_agents_are_linked_or_told_by_type),
        cmocka_unit_test(members_stand_beside_config_or_in_it),
        cmocka_unit_test(scripts_say_everything_in_their_replies),
        cmocka_unit_test(script_is_found_beside_the_model_or_at_the_top),
        cmocka_unit_test(code_execution_has_its_forms),
        cmocka_unit_test(canonical_text_is_a_fixed_point_and_hashed),
        cmocka_unit_test(both_forms_of_the_same_workflow_have_one_hash),
        cmocka_unit_test(the_hash_is_blake2b_256),
        cmocka_unit_test(unknown_seed_keys_are_warnings_unless_strict),
        cmocka_unit_test(only_missing_models_are_told_apart),
        cmocka_unit_test(caps_are_kept),
        cmocka_unit_test(at_most_a_hundred_faults_are_kept_and_the_rest_counted),
        cmocka_unit_test(what_the_engine_cannot_run_is_named),
        cmocka_unit_test(the_builtin_workflow_is_a_user_and_an_assistant),
        cmocka_unit_test(the_output_agent_is_kept_in_both_forms),
        cmocka_unit_test(the_printed_reference_has_every_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
