/* Keys leave a workflow, and variables come in, before anything is validated or stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/workflow/workflow.h"

static json_t *tree_of(const char *text)
{
    json_t *tree;
    struct ab_error err;
    if (ab_tree_parse(ab_view_of(text), NULL, &tree, NULL, &err))
        fail_msg("%s: %s: %s", text, err.path, err.text);
    return tree;
}

static char *text_of(const json_t *tree)
{
    struct ab_buf out = {0};
    ab_json_text(tree, &out);
    return ab_buf_detach(&out);
}

static void keys_become_references_in_order_of_the_sorted_keys(void **state)
{
    json_t *tree =
        tree_of("name: w\n"
                "sender: {name: b, config: {llm_config: {config_list: [{model: m, api_key: sk-three}]}}}\n"
                "receiver: {name: a, config: {llm_config: {config_list: [{model: m, api_key: sk-one, base_url: "
                "'https://h/v1'}, {model: n, api_key: sk-two}]}}}\n");
    struct ab_secret_list list = {0};
    assert_int_equal(ab_workflow_extract_secrets(tree, &list, NULL), 0);
    assert_int_equal(list.n, 3);
    assert_string_equal(list.items[0].path, "$.receiver.config.llm_config.config_list[0].api_key");
    assert_string_equal(list.items[0].value, "sk-one");
    assert_string_equal(list.items[0].base_url, "https://h/v1");
    assert_string_equal(list.items[1].value, "sk-two");
    assert_null(list.items[1].base_url);
    assert_string_equal(list.items[2].path, "$.sender.config.llm_config.config_list[0].api_key");
    struct ab_workflow *w;
    assert_int_equal(ab_workflow_parse(tree, AB_WORKFLOW_STRICT, &w, NULL, NULL, NULL), 0);
    assert_null(strstr(w->text, "sk-"));
    assert_int_equal(w->n_secrets, 3);
    assert_int_equal(w->receivers[0].llm.entries[1].secret, 1);
    assert_int_equal(w->sender.llm.entries[0].secret, 2);
    ab_workflow_destroy(w);
    ab_secret_list_finish(&list);
    assert_null(list.items);
    json_decref(tree);
}

static void hash_with_key(const char *key, uint8_t hash[AB_WORKFLOW_HASH_BYTES])
{
    char *text = ab_format(
        "model: {model: m, api_key: %s}\nagents: [{name: a}, {name: b, model: {model: n, api_key: other}}]",
        key);
    json_t *tree = tree_of(text);
    struct ab_secret_list list = {0};
    struct ab_workflow *w;
    assert_int_equal(ab_workflow_extract_secrets(tree, &list, NULL), 0);
    assert_int_equal(list.n, 2);
    assert_int_equal(ab_workflow_parse(tree, AB_WORKFLOW_STRICT, &w, NULL, NULL, NULL), 0);
    memcpy(hash, w->hash, AB_WORKFLOW_HASH_BYTES);
    ab_workflow_destroy(w);
    ab_secret_list_finish(&list);
    json_decref(tree);
    free(text);
}

static void the_hash_does_not_depend_on_the_key(void **state)
{
    uint8_t one[AB_WORKFLOW_HASH_BYTES], two[AB_WORKFLOW_HASH_BYTES], three[AB_WORKFLOW_HASH_BYTES];
    hash_with_key("sk-one", one);
    hash_with_key("sk-two-which-is-longer", two);
    hash_with_key("other", three); /* equal to the second agent's */
    assert_memory_equal(one, two, sizeof one);
    assert_memory_equal(one, three, sizeof one);
}

static void empty_keys_vanish_and_others_are_left_to_the_parser(void **state)
{
    json_t *tree = tree_of(
        "agents: [{name: a, model: {model: m, api_key: ''}}, {name: b, model: {model: m, api_key: null}}, "
        "{name: c, model: {model: m, api_key: 5}}]");
    struct ab_secret_list list = {0};
    assert_int_equal(ab_workflow_extract_secrets(tree, &list, NULL), 0);
    assert_int_equal(list.n, 0);
    char *text = text_of(tree);
    assert_string_equal(
        text, "{\"agents\":[{\"model\":{\"model\":\"m\"},\"name\":\"a\"},{\"model\":{\"model\":\"m\"},\"name\":"
              "\"b\"},{\"model\":{\"api_key\":5,\"model\":\"m\"},\"name\":\"c\"}]}");
    free(text);
    ab_secret_list_finish(&list);
    json_decref(tree);
}

static void keys_are_found_wherever_they_stand(void **state)
{
    json_t *tree =
        tree_of("extra: [[{deep: {api_key: sk-1}}]]\nagents: [{name: a, extra_body: {api_key: sk-2}}]");
    struct ab_secret_list list = {0};
    assert_int_equal(ab_workflow_extract_secrets(tree, &list, NULL), 0);
    assert_int_equal(list.n, 2);
    char *text = text_of(tree);
    assert_null(strstr(text, "sk-"));
    free(text);
    ab_secret_list_finish(&list);
    json_decref(tree);
}

static void references_from_outside_are_refused(void **state)
{
    json_t *tree = tree_of("agents: [{name: a, model: {model: m, api_key: {$secret: 0}}}]");
    struct ab_secret_list list = {0};
    struct ab_error err = {0};
    assert_int_equal(ab_workflow_extract_secrets(tree, &list, &err), AB_EINVALID);
    assert_string_equal(err.path, "$.agents[0].model.api_key");
    ab_secret_list_finish(&list);
    json_decref(tree);
}

static void the_number_of_keys_is_capped(void **state)
{
    json_t *tree = json_array();
    struct ab_secret_list list = {0};
    struct ab_error err = {0};
    for (int i = 0; i <= AB_WORKFLOW_SECRETS_MAX; i++)
        json_array_append_new(tree, json_pack("{s:s}", "api_key", "k"));
    assert_int_equal(ab_workflow_extract_secrets(tree, &list, &err), AB_ETOOLARGE);
    assert_int_equal(list.n, AB_WORKFLOW_SECRETS_MAX);
    ab_secret_list_finish(&list);
    json_decref(tree);
}

static void a_clear_key_is_refused_without_being_repeated(void **state)
{
    json_t *tree = tree_of("agents: [{name: a, model: {model: m, api_key: sk-clear}}]");
    struct ab_workflow *w;
    struct ab_faults faults = {0};
    struct ab_error err = {0};
    assert_int_equal(ab_workflow_parse(tree, 0, &w, &faults, NULL, &err), AB_EINVALID);
    assert_string_equal(err.path, "$.agents[0].model.api_key");
    assert_non_null(strstr(err.text, "client must seal"));
    assert_null(strstr(err.text, "sk-clear"));
    assert_null(strstr(faults.items[0].what, "sk-clear"));
    ab_faults_finish(&faults);
    json_decref(tree);
}

/* --- variables -------------------------------------------------------------------------------------------- */

static const char *lookup(void *context, const char *name)
{
    (void)context;
    return !strcmp(name, "SET") ? "value" : !strcmp(name, "EMPTY") ? "" : NULL;
}

static void expect_model(const char *written, const char *wanted)
{
    json_t *tree = json_pack("{s:s}", "model", written);
    struct ab_faults faults = {0};
    assert_int_equal(ab_workflow_expand(tree, lookup, NULL, &faults), 0);
    assert_string_equal(ab_tree_str(tree, "model"), wanted);
    json_decref(tree);
}

static void variables_are_replaced_with_their_otherwise(void **state)
{
    expect_model("plain", "plain");
    expect_model("${SET}", "value");
    expect_model("a${SET}b${SET}c", "avaluebvaluec");
    expect_model("${SET:-x}", "value");
    expect_model("${UNSET:-x}", "x");
    expect_model("${EMPTY:-x}", "x");
    expect_model("${UNSET:-}", "");
    expect_model("$SET", "$SET");
}

static void variables_are_replaced_in_three_keys_only(void **state)
{
    json_t *tree = tree_of("model: ['${SET}', {model: '${SET}', base_url: '${SET}', api_key: '${SET}'}]\n"
                           "task: '${SET}'\nagents: [{name: a, system: '${SET}'}]");
    struct ab_faults faults = {0};
    assert_int_equal(ab_workflow_expand(tree, lookup, NULL, &faults), 0);
    char *text = text_of(tree);
    assert_string_equal(
        text,
        "{\"agents\":[{\"name\":\"a\",\"system\":\"${SET}\"}],\"model\":[\"value\",{\"api_key\":\"value\","
        "\"base_url\":\"value\",\"model\":\"value\"}],\"task\":\"${SET}\"}");
    free(text);
    json_decref(tree);
}

static void unset_variables_are_faults_with_their_place(void **state)
{
    json_t *tree = tree_of("agents: [{name: a, model: ['${UNSET}', '${SET']}, {name: b, model: '${EMPTY}'}]");
    struct ab_faults faults = {0};
    assert_int_equal(ab_workflow_expand(tree, lookup, NULL, &faults), 3);
    assert_int_equal(faults.n, 3);
    assert_string_equal(faults.items[0].path, "$.agents[0].model[0]");
    assert_non_null(strstr(faults.items[0].what, "UNSET is not set"));
    assert_string_equal(faults.items[1].path, "$.agents[0].model[1]");
    assert_non_null(strstr(faults.items[1].what, "not closed"));
    assert_string_equal(faults.items[2].path, "$.agents[1].model");
    ab_faults_finish(&faults);
    json_decref(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_become_references_in_order_of_the_sorted_keys),
        cmocka_unit_test(the_hash_does_not_depend_on_the_key),
        cmocka_unit_test(empty_keys_vanish_and_others_are_left_to_the_parser),
        cmocka_unit_test(keys_are_found_wherever_they_stand),
        cmocka_unit_test(references_from_outside_are_refused),
        cmocka_unit_test(the_number_of_keys_is_capped),
        cmocka_unit_test(a_clear_key_is_refused_without_being_repeated),
        cmocka_unit_test(variables_are_replaced_with_their_otherwise),
        cmocka_unit_test(variables_are_replaced_in_three_keys_only),
        cmocka_unit_test(unset_variables_are_faults_with_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
