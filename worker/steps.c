/* What a job does next. Level-triggered: run_step looks at what is there and goes as far as it can; whatever happens to a
 * run (an answer, COMMITTED, a model's reply, a notice) only changes its state and wakes it. */
#include <stdlib.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/wire/tree.h"
#include "worker/skills.h"

enum pace { GO_ON, WAIT };

static enum pace fail_run(struct run *run, const struct ab_error *error)
{
    if (error->retryable)
        journal_retry(run, error);
    else
        journal_end(run, "failed", "error", error);
    return WAIT;
}

/* --- loading -------------------------------------------------------------------------------------------------- */

static void on_workflow(struct worker *worker, struct run *run, struct ab_view answer,
                        const struct ab_error *error)
{
    struct ab_op_workflow_answer text;
    struct workflow_entry *entry = run->workflow;
    (void)worker;
    if (entry->workflow)
        return;
    if (error)
        entry->fault = *error;
    else if (!ab_decode(&ab_op_workflow_answer_schema, answer, &text, &entry->fault))
        workflows_fill(entry, text.workflow);
}

static enum pace need_workflow(struct run *run)
{
    struct workflow_entry *entry = run->workflow;
    if (entry->workflow)
        return GO_ON;
    if (entry->fault.code)
        return fail_run(run, &entry->fault);
    struct ab_op_workflow request = {.hash = ab_view(entry->hash, sizeof entry->hash)};
    queries_ask(run->worker, run, AB_OP_workflow, &request, on_workflow);
    return WAIT;
}

static void add_inbox_rows(struct run *run, struct ab_view rows)
{
    struct ab_reader reader = ab_reader(rows);
    uint32_t n;
    if (!rows.p || ab_read_array(&reader, &n))
        return;
    for (uint32_t i = 0; i < n; i++) {
        struct ab_view row, k;
        uint64_t number = 0;
        if (ab_read_any(&reader, &row))
            return;
        k = ab_map_get(row, "k");
        struct ab_reader at = ab_reader(k);
        if (!k.p || ab_read_uint(&at, &number))
            continue;
        struct ab_view kind = ab_any_str(ab_map_get(row, "kind"));
        if (ab_view_is(kind, "cancel"))
            run_cancel(run, ab_any_str(ab_map_get(row, "text")));
        run_add_inbox(run, number, kind, ab_any_str(ab_map_get(row, "ask")),
                      ab_any_str(ab_map_get(row, "text")));
    }
}

/* Input and inbox. The journal comes in pages of its own, from where ours ends. */
static void on_load(struct worker *worker, struct run *run, struct ab_view answer, const struct ab_error *error)
{
    struct ab_op_load_answer loaded = {0};
    struct ab_input input = {0};
    struct ab_error err = {0};
    (void)worker;
    if (error)
        err = *error;
    else if (!ab_decode(&ab_op_load_answer_schema, answer, &loaded, &err))
        ab_decode(&ab_input_schema, loaded.input, &input, &err);
    if (!err.code && !run->content && !run->engine)
        run_take_input(run, &input, &err);
    if (err.code) {
        fail_run(run, &err);
        return;
    }
    if (!run->secrets.n)
        ab_buf_add(&run->secrets, loaded.secrets.p, loaded.secrets.n);
    run->inbox_known = true;
    add_inbox_rows(run, loaded.inbox);
}

static enum pace ask_load(struct run *run)
{
    struct ab_op_load request = {.n = run->n};
    queries_ask(run->worker, run, AB_OP_load, &request, on_load);
    return WAIT;
}

static enum pace need_engine(struct run *run)
{
    struct ab_error err = {0};
    if (run->engine)
        return GO_ON;
    if (!run->content)
        return ask_load(run);
    if (engine_create(run->workflow->workflow, run->content, &run->worker->limits, &run->engine, &err))
        return fail_run(run, &err);
    run->engine_seq = (int64_t)run->folded_seq; /* from here on both count the same events */
    json_decref(run->content);
    run->content = NULL;
    return GO_ON;
}

static void on_journal(struct worker *worker, struct run *run, struct ab_view answer,
                       const struct ab_error *error)
{
    struct ab_op_journal_answer page = {0};
    struct ab_error err = {0};
    uint32_t n = 0;
    (void)worker;
    if (error)
        err = *error;
    else
        ab_decode(&ab_op_journal_answer_schema, answer, &page, &err);
    if (!err.code) {
        struct ab_reader reader = ab_reader(page.events);
        if (ab_read_array(&reader, &n) || !n)
            ab_fail(&err, AB_EDAMAGED, "the journal is shorter than the job says");
        else
            ab_buf_add(&run->journal, reader.at, (size_t)(reader.end - reader.at));
    }
    if (err.code)
        fail_run(run, &err);
}

/* Inbox rows that the journal names are not consumed again. What was copied names those of another job's inbox. */
static void note_input(struct run *run, struct ab_view event)
{
    struct ab_input_event input;
    struct ab_waiting waiting;
    enum ab_event_kind kind = ab_event_kind(event);
    if (kind == AB_KIND_FORKED)
        run->input_k = run->asked_k = 0;
    else if (kind == AB_KIND_WAITING && !ab_decode(&ab_waiting_schema, event, &waiting, NULL) &&
             waiting.inbox_seen > run->asked_k)
        run->asked_k = waiting.inbox_seen;
    else if (kind == AB_KIND_INPUT && !ab_decode(&ab_input_event_schema, event, &input, NULL) &&
             input.k > run->input_k)
        run->input_k = input.k;
}

static int fold(struct run *run, struct ab_error *err)
{
    struct ab_reader reader = ab_reader(ab_buf_view(&run->journal));
    int code = 0;
    while (!code && reader.at < reader.end && run->folded_seq < run->job_seq) {
        struct ab_view event;
        if (ab_read_any(&reader, &event))
            return ab_fail(err, AB_EDAMAGED, "the journal cannot be read after event %llu",
                           (unsigned long long)run->folded_seq);
        code = engine_apply(run->engine, event, err);
        note_input(run, event);
        run->folded_seq++;
    }
    return code;
}

static enum pace need_journal(struct run *run)
{
    struct ab_error err = {0};
    int code = fold(run, &err);
    ab_buf_finish(&run->journal);
    if (code)
        return fail_run(run, &err);
    if (run->folded_seq >= run->job_seq) {
        if (run->input_k > run->inbox_seen)
            run->inbox_seen = run->input_k;
        return GO_ON;
    }
    struct ab_op_journal request = {.job = run->job, .after = run->folded_seq};
    queries_ask(run->worker, run, AB_OP_journal, &request, on_journal);
    return WAIT;
}

/* --- performing ----------------------------------------------------------------------------------------------- */

static void on_history(struct worker *worker, struct run *run, struct ab_view answer,
                       const struct ab_error *error)
{
    struct ab_op_history_answer earlier;
    struct ab_error err = {0};
    (void)worker;
    run->history_known = true;
    if (error)
        err = *error;
    else if (!ab_decode(&ab_op_history_answer_schema, answer, &earlier, &err))
        engine_history(earlier.messages, ENGINE_HISTORY_MESSAGES_MAX, ENGINE_HISTORY_BYTES_MAX, &run->history,
                       &err);
    if (err.code == AB_ENOTFOUND) /* the session was deleted meanwhile */
        return;
    if (err.code)
        fail_run(run, &err);
}

static enum pace add(struct run *run, enum ab_event_kind kind, const void *event)
{
    struct ab_error err = {0};
    return journal_add(run, kind, event, &err) ? fail_run(run, &err) : GO_ON;
}

/* The seed of all that is random in the run: of the job, so that a journal lost with its worker is made the same again. */
static uint64_t seed_of(struct ab_id job)
{
    uint64_t seed = 0;
    for (int i = AB_ID_BYTES / 2; i < AB_ID_BYTES; i++)
        seed = seed << 8 | job.b[i];
    return seed >> 2; /* without the variant bits */
}

/* Behind the session's, what came with the job: run->history becomes both, within the engine's bound. */
static int add_given(struct run *run, struct ab_error *err)
{
    struct ab_reader earlier = ab_reader(ab_buf_view(&run->history)),
                     given = ab_reader(ab_buf_view(&run->given));
    struct ab_buf both = {0};
    uint32_t n = 0, more;
    if (!run->given.n)
        return 0;
    if ((run->history.n && ab_read_array(&earlier, &n)) || ab_read_array(&given, &more))
        return ab_fail_at(err, AB_EINVALID, "history", "the history is not an array");
    ab_pack_array(&both, n + more);
    ab_buf_add(&both, earlier.at, (size_t)(earlier.end - earlier.at));
    ab_buf_add(&both, given.at, (size_t)(given.end - given.at));
    ab_buf_clear(&run->history);
    int code = engine_history(ab_buf_view(&both), ENGINE_HISTORY_MESSAGES_MAX, ENGINE_HISTORY_BYTES_MAX,
                              &run->history, err);
    ab_buf_finish(&both);
    ab_buf_finish(&run->given);
    return code;
}

static enum pace do_begin(struct run *run, const struct engine_effect *effect)
{
    struct ab_error err = {0};
    (void)effect;
    if (run->history_wanted && !run->history_known) {
        struct ab_op_history request = {.n = run->n, .limit = ENGINE_HISTORY_MESSAGES_MAX};
        queries_ask(run->worker, run, AB_OP_history, &request, on_history);
        return WAIT;
    }
    if (add_given(run, &err))
        return fail_run(run, &err);
    struct ab_begin begin = {
        .engine = ENGINE_VERSION, .seed = seed_of(run->job), .at_ms = (uint64_t)ab_wall_ms()};
    if (run->history.n)
        begin.history = ab_buf_view(&run->history);
    enum pace pace = add(run, AB_KIND_BEGIN, &begin);
    ab_buf_finish(&run->history);
    return pace;
}

static enum pace do_say(struct run *run, const struct engine_effect *effect)
{
    struct ab_buf content = {0};
    ab_pack_str(&content, ab_view_of(effect->text));
    struct ab_turn turn = {.step = ab_view_of(effect->step),
                           .agent = ab_view_of(effect->agent),
                           .to = ab_view_of(effect->to),
                           .content = ab_buf_view(&content),
                           .chosen = ab_view_of(effect->chosen),
                           .at_ms = (uint64_t)ab_wall_ms()};
    enum pace pace = add(run, AB_KIND_TURN, &turn);
    ab_buf_finish(&content);
    return pace;
}

/* A call costs money: it is made only when all it follows from is on disk, and the cap has room for it beside those that
 * are under way. Nor is it made before prices are known: it could never be priced. */
static enum pace do_model(struct run *run, const struct engine_effect *effect)
{
    struct ab_error err = {0};
    if (run->gave_up.code || call_of(run, effect->step))
        return WAIT;
    bool tools_known = !effect->tools || toolkit_of(run, effect, &err);
    if (err.code)
        run_give_up(run, &err);
    else if (tools_known && run->worker->pricing.ready && journal_holds(run, effect->after))
        (run->budget || run->reserving || run->no_room ? budget_reserve : call_start)(run, effect);
    return WAIT;
}

/* Code may do anything but leave its sandbox: also it runs only when what it follows from is on disk. */
static enum pace do_code(struct run *run, const struct engine_effect *effect)
{
    struct ab_error err = {0};
    if (run->gave_up.code || !journal_holds(run, effect->after))
        return WAIT;
    if (code_step(run, effect, &err))
        return GO_ON;
    if (err.code)
        run_give_up(run, &err);
    return WAIT;
}

/* What this attempt has announced is called, also when the attempt is given up. */
static enum pace do_tool(struct run *run, const struct engine_effect *effect)
{
    struct ab_error err = {0};
    if (run->gave_up.code && !toolcall_under_way(run, effect))
        return WAIT;
    if (toolcall_step(run, effect, &err))
        return GO_ON;
    if (err.code)
        run_give_up(run, &err);
    return WAIT;
}

static enum pace take_answer(struct run *run, const struct inbox_row *row, const struct engine_effect *effect)
{
    struct ab_input_event input = {.k = row->k,
                                   .ask = ab_view_of(effect->step),
                                   .text = ab_view_of(row->text),
                                   .at_ms = (uint64_t)ab_wall_ms()};
    enum pace pace = add(run, AB_KIND_INPUT, &input);
    run_pop_inbox(run);
    return pace;
}

/* Nobody answered in time: whoever did is in the inbox, which was looked at first. */
static enum pace take_silence(struct run *run, const struct engine_effect *effect)
{
    struct ab_input_event input = {.ask = ab_view_of(effect->step),
                                   .text = ab_view_of(effect->otherwise),
                                   .timeout = true,
                                   .at_ms = (uint64_t)ab_wall_ms()};
    return add(run, AB_KIND_INPUT, &input);
}

/* The row answers this question: it names it, or names none and this one was asked or none was. Nobody agrees to a call before
 * it was asked for: the second of two that say `yes` to a question says nothing to the next one. */
static bool answers(const struct run *run, const struct inbox_row *row, const struct engine_effect *effect,
                    bool first)
{
    if (strcmp(row->kind, "input") || (effect->approval && (!effect->asked || row->k <= run->asked_k)))
        return false;
    return *row->ask ? !strcmp(row->ask, effect->step) : effect->asked || first;
}

/* Questions of agents that talk at the same time are asked one after the other, once nothing else can be done. */
static enum pace ask(struct run *run, const struct engine_effect *effect)
{
    if (run_busy(run))
        return WAIT;
    if (!run->inbox_known)
        return ask_load(run);
    if (effect->asked && effect->until_ms && (effect->due || ab_wall_ms() >= effect->until_ms))
        return take_silence(run, effect);
    if (journal_settled(run)) /* alone in its batch: see journal_conflict */
        journal_wait(run, effect);
    return WAIT;
}

/* The first row that answers an open question; what answers none is dropped. */
static enum pace do_humans(struct run *run, const struct engine_effect *effects, size_t n, bool others)
{
    const struct engine_effect *first = NULL, *asked = NULL;
    for (size_t i = 0; i < n; i++) {
        if (effects[i].want != ENGINE_HUMAN)
            continue;
        first = first ? first : &effects[i];
        asked = !asked && effects[i].asked ? &effects[i] : asked;
    }
    while (first && !STAILQ_EMPTY(&run->inbox)) {
        const struct inbox_row *row = STAILQ_FIRST(&run->inbox);
        for (size_t i = 0; i < n; i++)
            if (effects[i].want == ENGINE_HUMAN &&
                answers(run, row, &effects[i], !asked && &effects[i] == first))
                return take_answer(run, row, &effects[i]);
        run_pop_inbox(run);
    }
    return first && !others ? ask(run, asked ? asked : first) : WAIT;
}

/* What is under way is paid for: it is waited for, also when a cap ends the run. */
static enum pace do_finish(struct run *run, const struct engine_effect *effect)
{
    if (effect->failure)
        return fail_run(run, effect->failure);
    codes_abort(run);
    toolcalls_abort(run);
    if (run_busy(run))
        return WAIT;
    journal_end(run, "succeeded", engine_stop_name(effect->stop), NULL);
    return WAIT;
}

static enum pace (*const performers[])(struct run *run, const struct engine_effect *effect) = {
    [ENGINE_BEGIN] = do_begin,   [ENGINE_MODEL] = do_model, [ENGINE_SAY] = do_say,
    [ENGINE_FINISH] = do_finish, [ENGINE_CODE] = do_code,   [ENGINE_TOOL] = do_tool,
};

/* It is to be paused: what is under way comes to its end, nothing else begins. */
static enum pace wind_down(struct run *run, struct engine_effect *effects)
{
    bool due = !TAILQ_EMPTY(&run->codes) || !TAILQ_EMPTY(&run->toolcalls);
    size_t n = due ? engine_next(run->engine, effects, ENGINE_EFFECTS_MAX) : 0;
    for (size_t i = 0; i < n; i++) {
        const struct engine_effect *effect = &effects[i];
        bool ours = (effect->want == ENGINE_CODE && code_under_way(run, effect->step)) ||
                    (effect->want == ENGINE_TOOL && toolcall_under_way(run, effect));
        if (ours && performers[effect->want](run, effect) == GO_ON)
            return GO_ON;
    }
    if (!run_busy(run) && journal_settled(run))
        journal_pause(run);
    return WAIT;
}

/* No budget has room for its next call, and nothing else is under way. */
static enum pace park(struct run *run)
{
    if (!run->inbox_known)
        return ask_load(run);
    if (journal_settled(run))
        journal_park(run);
    return WAIT;
}

/* All that is wanted, in the order in which the engine tells it, until something changed. */
static enum pace perform(struct run *run)
{
    struct engine_effect *effects = run->worker->effects;
    bool others = false;

    budget_go_on(run);
    skillcalls_step(run);
    if (run->asking)
        return WAIT;
    if (run->gave_up.code)
        codes_abort(run); /* unlike a model's reply, what they bring costs nothing */
    if (run->gave_up.code && !run_busy(run))
        return fail_run(run, &run->gave_up);
    if (!journal_room(run))
        return WAIT;
    if (run->paused)
        return wind_down(run, effects);
    if (run->no_room && !run_busy(run))
        return park(run);
    size_t n = engine_next(run->engine, effects, ENGINE_EFFECTS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (effects[i].want == ENGINE_HUMAN)
            continue;
        others = true;
        if (performers[effects[i].want](run, &effects[i]) == GO_ON)
            return GO_ON;
        if (journal_closed(run) || run->asking || run->unsent.call)
            return WAIT;
    }
    return do_humans(run, effects, n, others);
}

/* At once, whatever is under way: the model's server must see the connection close. */
static void heed_cancel(struct run *run)
{
    struct ab_error why = {0};
    if (!run->cancelled || journal_closed(run))
        return;
    calls_abort(run);
    codes_abort(run);
    toolcalls_abort(run);
    ab_fail(&why, AB_ECANCELLED, "%s", run->cancelled);
    journal_end(run, "cancelled", "cancelled", &why);
}

/* In this order; the last one is repeated until it has to wait. */
static enum pace (*const stages[])(struct run *run) = {need_workflow, need_engine, need_journal, perform};

void run_step(struct run *run)
{
    size_t stage = 0;
    heed_cancel(run);
    while (stage < sizeof stages / sizeof *stages && !run->asking && !journal_closed(run)) {
        if (stages[stage](run) == WAIT)
            break;
        if (stage + 1 < sizeof stages / sizeof *stages)
            stage++;
    }
    journal_flush(run);
    calls_flush_text(run);
    codes_flush_text(run);
}
