/* Who may do what: roles and operations, tokens and scopes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/auth.h"

static void test_each_operation_is_asked_where_and_by_whom_its_row_says(void **state)
{
    static const unsigned roles[] = {AB_BY_BROKER, AB_BY_WORKER, AB_BY_CLIENT};
    (void)state;
    for (size_t i = 0; i < ab_ops_n; i++)
        for (int r = 0; r < 3; r++) {
            const struct ab_op_row *row = &ab_ops[i], *op;
            struct ab_view name = ab_view_of(row->name);
            bool by = row->by & roles[r], batched = row->kind == AB_OP_WRITE && roles[r] == AB_BY_BROKER;
            int storage = ab_auth_query(AB_AT_STORAGE, roles[r], name, &op, NULL);
            int broker = ab_auth_query(AB_AT_BROKER, roles[r], name, &op, NULL);
            assert_int_equal(!storage, by && !batched && row->kind != AB_OP_BROKER);
            assert_int_equal(!broker, by && row->kind == AB_OP_BROKER);
            assert_ptr_equal(op, row);
        }
}

static void test_unknown_roles_and_operations_are_nobodys(void **state)
{
    const struct ab_op_row *op;
    (void)state;
    assert_int_equal(ab_role_of(ab_view_of("root")), 0);
    assert_int_equal(ab_role_of(ab_view_of("worker")), AB_BY_WORKER);
    assert_int_equal(ab_auth_query(AB_AT_STORAGE, AB_BY_CLIENT, ab_view_of("drop"), &op, NULL), AB_ENOTFOUND);
    assert_int_not_equal(ab_auth_query(AB_AT_STORAGE, 0, ab_view_of("list_jobs"), &op, NULL), 0);
}

static void test_a_client_names_a_user_wherever_an_operation_has_one(void **state)
{
    (void)state;
    assert_true(ab_auth_of_user(ab_op_by_number(AB_OP_journal)));
    assert_true(ab_auth_of_user(ab_op_by_number(AB_OP_job_status)));
    assert_false(ab_auth_of_user(ab_op_by_number(AB_OP_get_gallery)));
    assert_false(ab_auth_of_user(ab_op_by_number(AB_OP_status)));
    for (size_t i = 0; i < ab_ops_n; i++) {
        static const struct {
            const char *body;
            bool names;
        } bodies[] = {{"\x80", false},
                      {"\x81\xa4user\xa0", false},
                      {"\x81\xa4user\x01", false},
                      {"", false},
                      {"\x81\xa4user\xa3"
                       "ann",
                       true}};
        for (size_t b = 0; b < sizeof bodies / sizeof *bodies; b++) {
            struct ab_view body = ab_view_of(bodies[b].body);
            int rc = ab_auth_user(AB_BY_CLIENT, &ab_ops[i], body, NULL);
            assert_int_equal(rc, ab_auth_of_user(&ab_ops[i]) && !bodies[b].names ? AB_EINVALID : 0);
            assert_int_equal(ab_auth_user(AB_BY_WORKER, &ab_ops[i], body, NULL), 0);
        }
    }
}

static void test_tokens_are_random_and_known_by_their_shape(void **state)
{
    char one[AB_TOKEN_TEXT], two[AB_TOKEN_TEXT];
    uint8_t a[AB_TOKEN_HASH_BYTES], b[AB_TOKEN_HASH_BYTES];
    (void)state;
    assert_int_equal(ab_token_make(one, NULL), 0);
    assert_int_equal(ab_token_make(two, NULL), 0);
    assert_string_not_equal(one, two);
    assert_true(ab_token_shaped(ab_view_of(one)));
    ab_token_hash(ab_view_of(one), a);
    ab_token_hash(ab_view_of(two), b);
    assert_memory_not_equal(a, b, sizeof a);
    assert_false(ab_token_shaped(ab_view(one, strlen(one) - 1)));
    assert_false(ab_token_shaped(ab_view(NULL, 0)));
    one[10] = '/';
    assert_false(ab_token_shaped(ab_view_of(one)));
    two[0] = 'x';
    assert_false(ab_token_shaped(ab_view_of(two)));
}

static void test_a_scope_holds_those_before_it_and_a_token_its_user_only(void **state)
{
    (void)state;
    for (int has = AB_SCOPE_READ; has < AB_SCOPE_N; has++) {
        assert_int_equal(ab_scope_of(ab_view_of(ab_scope_names[has])), has);
        for (int needs = AB_SCOPE_NONE; needs < AB_SCOPE_N; needs++)
            assert_int_equal(!ab_auth_token("ann", has, needs, NULL, NULL), needs <= has);
        assert_int_equal(ab_auth_token("ann", has, AB_SCOPE_READ, "ann", NULL), 0);
        assert_int_equal(ab_auth_token("ann", has, AB_SCOPE_READ, "", NULL), 0);
        assert_int_equal(ab_auth_token("ann", has, AB_SCOPE_READ, "eve", NULL), AB_EDENIED);
        assert_int_equal(ab_auth_token("ann", has, AB_SCOPE_READ, "ANN", NULL), AB_EDENIED);
    }
    assert_int_equal(ab_auth_token("*", AB_SCOPE_READ, AB_SCOPE_READ, "ann", NULL), 0); /* for all */
    assert_int_equal(ab_auth_token("*", AB_SCOPE_READ, AB_SCOPE_WRITE, "ann", NULL), AB_EDENIED);
    assert_false(ab_auth_for_all("**") || ab_auth_for_all(""));
    assert_int_equal(ab_scope_of(ab_view_of("none")), AB_SCOPE_NONE);
    assert_int_equal(ab_scope_of(ab_view_of("Read")), AB_SCOPE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_operation_is_asked_where_and_by_whom_its_row_says),
        cmocka_unit_test(test_unknown_roles_and_operations_are_nobodys),
        cmocka_unit_test(test_a_client_names_a_user_wherever_an_operation_has_one),
        cmocka_unit_test(test_tokens_are_random_and_known_by_their_shape),
        cmocka_unit_test(test_a_scope_holds_those_before_it_and_a_token_its_user_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
