/* Group commit: running operations into one transaction, and making their answers final after its sync. */
#include "storage/group.h"

#include <stdlib.h>

#include "common/failpoint.h"
#include "common/log.h"

void group_init(struct group *group, struct store *store)
{
    size_t size = 0;
    for (size_t i = 0; i < ab_ops_n; i++)
        if (ab_ops[i].request->size > size)
            size = ab_ops[i].request->size;
    *group = (struct group){.store = store, .decoded = ab_alloc(size)};
}

void group_finish(struct group *group)
{
    if (group->open)
        group->store->ops->rollback(group->store);
    ab_buf_finish(&group->bodies);
    ab_buf_finish(&group->answer);
    ab_buf_finish(&group->faults);
    for (size_t i = 0; i < group->parts_n; i++)
        ab_buf_finish(&group->parts[i].request);
    free(group->answers);
    free(group->decoded);
}

/* ---- running ---- */
static void pack_failure(const struct ab_error *err, uint64_t rid, struct ab_view faults, struct ab_buf *out)
{
    struct ab_failure failure;
    ab_error_to(err, &failure);
    failure.rid = rid;
    if (faults.n)
        failure.faults = faults;
    ab_encode(out, &ab_failure_schema, &failure);
}

/* Nothing of the group counts any more. What makes no sense for others (a constraint, a row that cannot be read) is
 * this operation's own fault. */
static void fail_group(struct group *group, int code, struct ab_error *err)
{
    if (!err->code)
        ab_fail(err, code ? code : AB_EUNAVAILABLE, "the database failed");
    group->culprit = group->open && err->code != AB_EUNAVAILABLE && err->code != AB_ESYSTEM;
    group->culprit_answer = group->n - 1;
    group->culprit_op = group->answers[group->n - 1].run;
    group->down = *err;
}

/* Runs one operation into group->answer. Returns its code. */
static int run(struct group *group, const struct ab_op_row *op, struct ab_view request, uint64_t *progress,
               int64_t wall_ms, struct ab_error *err)
{
    ab_buf_clear(&group->answer);
    ab_buf_clear(&group->faults);
    group->ops++;
    if (group->down.code) {
        *err = group->down;
        return err->code;
    }
    int code = ab_decode(op->request, request, group->decoded, err);
    if (code)
        return code;
    if (!group->open) {
        code = group->store->ops->begin(group->store, wall_ms, err);
        group->open = !code;
    }
    struct store_call call = {.row = op,
                              .request = group->decoded,
                              .answer = &group->answer,
                              .faults = &group->faults,
                              .progress = progress};
    if (!code)
        code = group->store->ops->run(group->store, wall_ms, &call, err);
    if (!group->open || group->store->broken)
        fail_group(group, code, err);
    return code;
}

static struct group_answer *answer_new(struct group *group, const struct ab_route *route, uint64_t rid)
{
    if (group->n == group->cap) {
        group->cap = group->cap ? group->cap * 2 : 64;
        group->answers = ab_realloc(group->answers, group->cap * sizeof *group->answers);
    }
    struct group_answer *a = &group->answers[group->n++];
    *a = (struct group_answer){.route = *route, .rid = rid, .at = group->bodies.n};
    return a;
}

static void pack_result(struct group *group, size_t start, int code, const struct ab_error *err)
{
    if (group->bodies.n - start > BATCH_FAULTS_BYTES_MAX)
        ab_buf_clear(&group->faults);
    ab_pack_array(&group->bodies, 2);
    ab_pack_str(&group->bodies, ab_view_of(ab_code_name(code)));
    if (code)
        pack_failure(err, 0, ab_buf_view(&group->faults), &group->bodies);
    else
        ab_buf_add(&group->bodies, group->answer.p, group->answer.n);
}

/* One [number, request] of a batch. */
static int run_item(struct group *group, const struct ab_batch *header, const struct group_item *item,
                    int64_t wall_ms, struct ab_error *err)
{
    const struct ab_op_row *op = ab_op_by_number(item->number);
    if (!op || op->kind != AB_OP_WRITE || !(op->by & AB_BY_BROKER))
        return ab_fail(err, AB_EDENIED, "operation %llu is none that a broker may put into a batch",
                       (unsigned long long)item->number);
    if (op->number != AB_OP_epoch && header->epoch != group->store->ops->epoch(group->store))
        return ab_fail(err, AB_ESTALE, "epoch %llu is over: a newer broker has taken over",
                       (unsigned long long)header->epoch);
    uint64_t progress = 0; /* a broker's operation is never in parts */
    return run(group, op, item->request, &progress, wall_ms, err);
}

/* The body is an array of [uint, bin], not too long: all of it is read before anything is run. */
static int read_items(struct group *group, struct ab_view body, uint32_t *count, struct ab_error *err)
{
    struct ab_reader reader = ab_reader(body);
    uint32_t pair;
    if (ab_read_array(&reader, count))
        return ab_fail(err, AB_EINVALID, "a batch's body is an array of [operation number, request]");
    if (*count > STORE_OPS_MAX)
        return ab_fail(err, AB_ETOOLARGE, "a batch holds at most %d operations, not %u", STORE_OPS_MAX, *count);
    for (uint32_t i = 0; i < *count; i++)
        if (ab_read_array(&reader, &pair) || pair != 2 || ab_read_uint(&reader, &group->items[i].number) ||
            ab_read_bin(&reader, &group->items[i].request))
            return ab_fail(err, AB_EINVALID, "item %u of the batch is no [operation number, request]", i);
    return 0;
}

int group_batch(struct group *group, const struct ab_route *route, const struct ab_batch *header,
                struct ab_view body, int64_t wall_ms, struct ab_error *err)
{
    uint32_t count = 0;
    int code = read_items(group, body, &count, err);
    if (code)
        return code;
    size_t slot = group->n;
    struct group_answer *a = answer_new(group, route, header->rid);
    a->batch = true;
    a->ops = count;
    ab_pack_array(&group->bodies, count);
    for (uint32_t i = 0; i < count; i++) {
        struct ab_error why = {0};
        ab_buf_clear(&group->faults);
        code = run_item(group, header, &group->items[i], wall_ms, &why);
        pack_result(group, group->answers[slot].at, code, &why);
        group->answers[slot].run = i + 1;
    }
    group->answers[slot].end = group->bodies.n;
    return 0;
}

/* Ends the last answer, which this code was the result of. */
static void end_query(struct group *group, uint64_t rid, int code, const struct ab_error *err)
{
    struct group_answer *a = &group->answers[group->n - 1];
    a->refused = code != 0;
    if (code)
        pack_failure(err, rid, ab_buf_view(&group->faults), &group->bodies);
    else
        ab_buf_add(&group->bodies, group->answer.p, group->answer.n);
    a->end = group->bodies.n;
}

static int keep_part(struct group *group, const struct ab_route *route, uint64_t rid,
                     const struct ab_op_row *op, struct ab_view request, uint64_t progress,
                     struct ab_error *err)
{
    if (group->parts_n == GROUP_PARTS_MAX)
        return ab_fail(err, AB_EBUSY, "%d long operations are under way, the most there may be: send it again",
                       GROUP_PARTS_MAX);
    struct group_part *part = &group->parts[group->parts_n++];
    *part = (struct group_part){.route = *route, .rid = rid, .op = op, .progress = progress};
    ab_buf_add(&part->request, request.p, request.n);
    return STORE_MORE;
}

void group_query(struct group *group, const struct ab_route *route, uint64_t rid, const struct ab_op_row *op,
                 struct ab_view request, int64_t wall_ms)
{
    struct ab_error why = {0};
    uint64_t progress = 0;
    answer_new(group, route, rid);
    int code = run(group, op, request, &progress, wall_ms, &why);
    if (code == STORE_MORE)
        code = keep_part(group, route, rid, op, request, progress, &why);
    if (code == STORE_MORE)
        group->n--;
    else
        end_query(group, rid, code, &why);
}

void group_again(struct group *group, int64_t wall_ms)
{
    if (!group->parts_n)
        return;
    struct ab_error why = {0};
    struct group_part part = group->parts[0];
    memmove(group->parts, group->parts + 1, --group->parts_n * sizeof *group->parts);
    answer_new(group, &part.route, part.rid);
    int code = run(group, part.op, ab_buf_view(&part.request), &part.progress, wall_ms, &why);
    if (code == STORE_MORE) {
        group->n--;
        group->parts[group->parts_n++] = part;
    } else {
        end_query(group, part.rid, code, &why);
        ab_buf_finish(&part.request);
    }
}

/* ---- committing ---- */

/* What becomes of operation `op` of answer `i`, after the group has failed. */
static const struct ab_error *verdict(const struct group *group, size_t i, uint32_t op,
                                      const struct ab_error *others)
{
    return group->culprit && i == group->culprit_answer && op == group->culprit_op ? &group->down : others;
}

/* Nothing of the group is on disk: every operation of it is refused. */
static void refuse_all(struct group *group)
{
    struct ab_error others = group->down;
    if (others.code != AB_EUNAVAILABLE)
        ab_fail(&others, AB_EUNAVAILABLE, "an operation beside this one failed: send it again");
    ab_buf_clear(&group->bodies);
    ab_buf_clear(&group->faults);
    for (size_t i = 0; i < group->n; i++) {
        struct group_answer *a = &group->answers[i];
        a->at = group->bodies.n;
        a->refused = true;
        if (a->batch)
            ab_pack_array(&group->bodies, a->ops);
        for (uint32_t op = 0; op < a->ops; op++) {
            const struct ab_error *why = verdict(group, i, op, &others);
            pack_result(group, a->at, why->code, why);
        }
        if (!a->batch)
            pack_failure(verdict(group, i, 0, &others), a->rid, (struct ab_view){0}, &group->bodies);
        a->end = group->bodies.n;
    }
}

/* Their steps are undone too; whoever asked sends them again. */
static void give_parts_up(struct group *group)
{
    for (size_t i = 0; i < group->parts_n; i++) {
        answer_new(group, &group->parts[i].route, group->parts[i].rid);
        ab_buf_finish(&group->parts[i].request);
    }
    group->parts_n = 0;
}

int group_commit(struct group *group, struct ab_error *err)
{
    int code = 0;
    AB_FAILPOINT("storage.before_commit");
    if (group->open && !group->down.code && (code = group->store->ops->commit(group->store, &group->down)))
        group->down.code = code;
    if (group->down.code == AB_ESYSTEM) {
        *err = group->down;
        return err->code;
    }
    if (group->down.code) {
        give_parts_up(group);
        ab_log(AB_ERROR_LEVEL, "commit.failed", "code", ab_code_name(group->down.code), "text",
               group->down.text, NULL);
        if (group->open)
            group->store->ops->rollback(group->store);
        refuse_all(group);
    }
    group->open = false;
    AB_FAILPOINT("storage.after_commit");
    return 0;
}

void group_each(struct group *group, group_send_fn *send, void *context)
{
    for (size_t i = 0; i < group->n; i++) {
        const struct group_answer *a = &group->answers[i];
        AB_FAILPOINT("storage.before_answer");
        send(context, a, ab_view(group->bodies.p + a->at, a->end - a->at));
    }
    ab_buf_clear(&group->bodies);
    group->n = 0;
    group->ops = 0;
    group->down = (struct ab_error){0};
    group->culprit = false;
    if (group->bodies.cap > 2 * GROUP_BYTES_MAX)
        ab_buf_finish(&group->bodies);
}
