/* The parts of storage that need no process: heads, checksums, peers, migrations with their copy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/callers.h"
#include "storage/sqlite/db.h"

/* ---- heads ---- */
static void heads_hold_what_was_put(void **state)
{
    (void)state;
    enum { JOBS = 5000, STEPS = 200000 };
    static uint64_t model[JOBS + 1]; /* seq by n; 0 = not there */
    struct heads heads = {0};
    uint32_t random = 12345;
    memset(model, 0, sizeof model);
    for (int step = 0; step < STEPS; step++) {
        random = random * 1664525u + 1013904223u;
        uint64_t n = 1 + (random >> 8) % JOBS;
        if (random >> 30 == 0) {
            heads_remove(&heads, n);
            model[n] = 0;
        } else {
            model[n] = (uint64_t)step + 1;
            heads_put(&heads, &(struct head){.n = n, .seq = model[n]});
        }
    }
    size_t there = 0;
    for (uint64_t n = 1; n <= JOBS; n++) {
        struct head head;
        assert_int_equal(heads_get(&heads, n, &head), model[n] != 0);
        there += model[n] != 0;
        if (model[n])
            assert_int_equal(head.seq, model[n]);
    }
    assert_int_equal(heads.n, there);
    heads_clear(&heads);
    struct head head;
    assert_false(heads_get(&heads, 1, &head));
    heads_finish(&heads);
}

/* ---- checksums ---- */
static void crc32c_gives_the_published_values(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(crc32c(ab_view_of("123456789")), 0xe3069283);
    /* RFC 3720, B.4 */
    assert_int_equal(crc32c(ab_view(bytes, 32)), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(crc32c(ab_view(bytes, 32)), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc32c(ab_view(bytes, 32)), 0x46dd794e);
    assert_int_equal(crc32c(ab_view(bytes, 0)), 0);
}

/* ---- places of messages ---- */
static void positions_order_a_session(void **state)
{
    (void)state;
    assert_true(pos_of(1, POS_QUESTION) < pos_of(1, POS_ANSWER));
    assert_true(pos_of(1, POS_ANSWER) < pos_of(1, POS_SAVED));
    assert_true(pos_of(1, (1 << POS_BITS) - 1) < pos_of(2, POS_QUESTION));
    int64_t far = pos_of(UINT64_C(1) << 38, POS_SAVED + 7);
    assert_true(far > 0);
    assert_int_equal(pos_n(far), UINT64_C(1) << 38);
    assert_int_equal(pos_sub(far), POS_SAVED + 7);
}

/* ---- peers ---- */
static struct ab_route route_of(unsigned i)
{
    struct ab_route route = {.n = 5};
    memcpy(&route.b[1], &i, sizeof i);
    return route;
}

static void callers_are_found_until_they_are_silent(void **state)
{
    (void)state;
    enum { PEERS = 1000 };
    struct callers peers = {0};
    for (unsigned i = 0; i < PEERS; i++) {
        struct ab_route route = route_of(i);
        assert_null(callers_find(&peers, &route));
        callers_add(&peers, &route)->heard_ms = i;
    }
    struct ab_route first = route_of(0), last = route_of(PEERS - 1);
    assert_ptr_equal(callers_add(&peers, &first), callers_find(&peers, &first));
    assert_int_equal(peers.n, PEERS);
    assert_int_equal(callers_expire(&peers, 400), 400);
    assert_int_equal(peers.n, PEERS - 400);
    for (unsigned i = 0; i < PEERS; i++) {
        struct ab_route route = route_of(i);
        assert_int_equal(callers_find(&peers, &route) != NULL, i >= 400);
    }
    callers_remove(&peers, &last);
    assert_null(callers_find(&peers, &last));
    uint64_t sessions = peers.sessions;
    assert_int_equal(callers_add(&peers, &last)->session, sessions + 1); /* never given twice */
    callers_finish(&peers);
}

/* ---- migrations ---- */
static const struct migration two_steps[] = {
    {"CREATE TABLE t(a); INSERT INTO t VALUES(1)"},
    {"ALTER TABLE t ADD COLUMN b DEFAULT 7; INSERT INTO t(a) VALUES(2)"},
};
static const struct migration broken_step[] = {
    {"CREATE TABLE t(a); INSERT INTO t VALUES(1)"},
    {"ALTER TABLE t ADD COLUMN b; INSERT INTO nowhere VALUES(1)"},
};

struct place {
    char dir[64], path[96], copy[128];
};

static void place_make(struct place *p)
{
    snprintf(p->dir, sizeof p->dir, "/tmp/test-storage-XXXXXX");
    if (!mkdtemp(p->dir))
        fail_msg("cannot make a folder in /tmp");
    snprintf(p->path, sizeof p->path, "%s/database.sqlite", p->dir);
    snprintf(p->copy, sizeof p->copy, "%s.schema-1", p->path);
}

static void place_remove(const struct place *p)
{
    char path[160];
    const char *const files[] = {p->path, p->copy};
    static const char *const more[] = {"", "-wal", "-shm"};
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 3; k++) {
            snprintf(path, sizeof path, "%s%s", files[i], more[k]);
            unlink(path);
        }
    assert_int_equal(rmdir(p->dir), 0);
}

static void open_db(struct db *db, const char *path)
{
    struct ab_error err = {0};
    *db = (struct db){.writer = true};
    assert_int_equal(db_connect(db, path, &err), 0);
}

static void an_older_database_is_copied_then_migrated(void **state)
{
    (void)state;
    struct place p = {0};
    struct db db;
    struct stat st;
    struct ab_error err = {0};
    place_make(&p);
    open_db(&db, p.path);
    assert_int_equal(db_migrate(&db, two_steps, 1, &err), 0);
    assert_int_equal(stat(p.copy, &st), -1); /* a new one needs no copy */
    assert_int_equal(db_migrate(&db, two_steps, 2, &err), 0);
    assert_int_equal(db_number(&db, "PRAGMA user_version", -1), 2);
    assert_int_equal(db_number(&db, "SELECT sum(b) FROM t", -1), 14);
    db_disconnect(&db);
    open_db(&db, p.copy);
    assert_int_equal(db_number(&db, "PRAGMA user_version", -1), 1);
    assert_int_equal(db_number(&db, "SELECT count(*) FROM t", -1), 1);
    db_disconnect(&db);
    place_remove(&p);
}

static void a_failed_migration_changes_nothing(void **state)
{
    (void)state;
    struct place p = {0};
    struct db db;
    struct ab_error err = {0};
    place_make(&p);
    open_db(&db, p.path);
    assert_int_equal(db_migrate(&db, broken_step, 1, &err), 0);
    assert_true(db_migrate(&db, broken_step, 2, &err) < 0);
    assert_int_equal(db_number(&db, "PRAGMA user_version", -1), 1);
    assert_int_equal(db_number(&db, "SELECT count(*) FROM pragma_table_info('t')", -1), 1);
    db_disconnect(&db);
    place_remove(&p);
}

static void run_all(struct db *db, const char *const *texts)
{
    struct ab_error err = {0};
    for (; *texts; texts++)
        assert_int_equal(db_exec(db, *texts, &err), 0);
}

/* One job for each unit; what it needs is that of the unit of the budget it waits for. */
static void jobs_wait_on_after_the_migration_of_their_table(void **state)
{
    (void)state;
    static const char *const waiting[] = {
        "INSERT INTO budgets SELECT 11+value,1,1,value,0,100,0,0,0,0 FROM json_each('[0,1,2,3,4]')",
        "INSERT INTO budget_waits SELECT 21+value,11+value,500,600,7 FROM json_each('[0,1,2,3,4]')", NULL};
    static const char needs[] = "SELECT count(*) FROM budget_waiters WHERE (n,budget,need) IN "
                                "(VALUES(21,11,500),(22,12,600),(23,13,1),(24,14,7),(25,15,0))";
    const char *texts[] = {NULL, NULL};
    struct place p = {0};
    struct db db;
    unsigned v = 0;
    place_make(&p);
    open_db(&db, p.path);
    for (; v < migrations_n && !strstr(migrations[v].text, "CREATE TABLE budget_waiters"); v++) {
        texts[0] = migrations[v].text;
        run_all(&db, texts);
    }
    assert_true(v < migrations_n);
    run_all(&db, waiting);
    texts[0] = migrations[v].text;
    run_all(&db, texts);
    assert_int_equal(db_number(&db, "SELECT count(*) FROM budget_waiters", -1), 5);
    assert_int_equal(db_number(&db, needs, -1), 5);
    db_disconnect(&db);
    place_remove(&p);
}

static void a_newer_database_is_refused(void **state)
{
    (void)state;
    struct place p = {0};
    struct db db;
    struct ab_error err = {0};
    place_make(&p);
    open_db(&db, p.path);
    assert_int_equal(db_migrate(&db, two_steps, 2, &err), 0);
    assert_int_equal(db_migrate(&db, two_steps, 1, &err), AB_EUSAGE);
    assert_non_null(strstr(err.text, "newer"));
    db_disconnect(&db);
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_hold_what_was_put),
        cmocka_unit_test(crc32c_gives_the_published_values),
        cmocka_unit_test(positions_order_a_session),
        cmocka_unit_test(callers_are_found_until_they_are_silent),
        cmocka_unit_test(an_older_database_is_copied_then_migrated),
        cmocka_unit_test(a_failed_migration_changes_nothing),
        cmocka_unit_test(jobs_wait_on_after_the_migration_of_their_table),
        cmocka_unit_test(a_newer_database_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
