/* How the next speaker of a group chat is chosen among those that may speak (eligible.c).
 *
 *   one alone     that one
 *   round_robin   the next in the list after the last speaker
 *   random        by the run's seed and this step: the same in every fold
 *   auto          the admin's model is asked (model_reply with purpose speaker): exactly one named wins, else it is asked
 *                 again; after CHOICES_MAX answers the next in the list speaks
 *   manual        a person is asked for a name or number; an empty answer: the next in the list; `exit` ends the chat
 */
#include "worker/engine/group.h"

#include <stdio.h>

enum { CHOICES_MAX = 3 };

/* A good mixture of the run's seed and the step, whose path no other node has. */
static uint64_t mixed(const struct group *group)
{
    char step[ENGINE_STEP_MAX];
    uint64_t x = group->node.engine->seed + 0x9e3779b97f4a7c15;
    node_step(&group->node, step);
    for (const char *c = step; *c; c++) {
        x = (x ^ (unsigned char)*c) * 0xbf58476d1ce4e5b9;
        x ^= x >> 31;
    }
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

/* by: a rule; NULL: a model or a person. */
static void choose(struct group *group, int speaker, const char *by)
{
    group->speaker = speaker;
    group->chosen = by;
    group->asked = false;
    json_array_clear(group->choices);
    const struct transcript *said = &group->transcript;
    group->reply = reply_begin(group->sides[speaker].agent, said->n ? said->lines[said->n - 1].content : NULL);
}

void group_choose_alone(struct group *group)
{
    size_t n = group_count_eligible(group);
    enum ab_speaker_selection selection = group->agent->groupchat.selection;

    if (!n)
        group->node.stop = ENGINE_STOP_SPEAKERS;
    else if (selection == AB_SPEAKER_ROUND_ROBIN)
        choose(group, group_next_in_list(group), "round_robin");
    else if (n == 1)
        choose(group, group_next_in_list(group), "only");
    else if (selection == AB_SPEAKER_RANDOM)
        choose(group, group_nth_eligible(group, mixed(group) % n), "random");
}

static int take_choice_of_model(struct group *group, const struct journal_event *event, struct ab_error *err)
{
    const struct ab_model_reply *reply = &event->model_reply;
    if (!ab_view_is(reply->purpose, "speaker") || !ab_view_is(reply->agent, group->agent->groupchat.admin_name))
        return node_not_wanted(&group->node, event, err);
    json_t *answer = json_stringn(reply->content.p, reply->content.n);
    if (!answer)
        return ab_fail_at(err, AB_EDAMAGED, "content", "the reply of a model in the journal is not UTF-8");
    json_array_append_new(group->choices, answer);
    group->node.counter++;
    bool several;
    int chosen = group_named(group, reply->content, &several);
    if (chosen == NOBODY && json_array_size(group->choices) >= CHOICES_MAX)
        chosen = group_next_in_list(group);
    if (chosen != NOBODY)
        choose(group, chosen, NULL);
    return 0;
}

/* Whoever answers without naming one is asked again. */
static int take_choice_of_person(struct group *group, const struct journal_event *event, struct ab_error *err)
{
    struct ab_view words = text_without(event->input.text, "");
    bool several;
    (void)err;
    group->node.counter++;
    group->asked = false;
    if (ab_view_is(words, "exit")) {
        group->node.stop = ENGINE_STOP_HUMAN_EXIT;
        return 0;
    }
    int chosen = words.n ? group_numbered(group, words) : group_next_in_list(group);
    if (chosen == NOBODY)
        chosen = group_named(group, words, &several);
    if (chosen != NOBODY)
        choose(group, chosen, NULL);
    return 0;
}

int group_take_choice(struct group *group, const struct journal_event *event, struct ab_error *err)
{
    bool manual = group->agent->groupchat.selection == AB_SPEAKER_MANUAL;

    if (!manual && event->kind == AB_KIND_MODEL_REPLY)
        return take_choice_of_model(group, event, err);
    if (manual && event->kind == AB_KIND_INPUT)
        return take_choice_of_person(group, event, err);
    if (!manual || event->kind != AB_KIND_WAITING)
        return node_not_wanted(&group->node, event, err);
    group->asked = true;
    group->until_ms = event->waiting.until_ms > INT64_MAX ? INT64_MAX : (int64_t)event->waiting.until_ms;
    return 0;
}

/* --- what is wanted ----------------------------------------------------------------------------------------- */

/* Names are ASCII: they may be cut anywhere. */
static void want_choice_of_person(const struct group *group, struct engine_effect *effect)
{
    struct ab_buf text = {0};
    ab_buf_text(&text,
                "Who speaks next? A name or number; empty: the next in the list; `exit` ends the chat: ");
    group_list_names(group, true, &text);
    snprintf(effect->prompt, sizeof effect->prompt, "%s", ab_buf_cstr(&text));
    ab_buf_finish(&text);
    reply_ask(&group->node, group->agent, group->asked, group->until_ms, effect);
}

void group_want_choice(const struct group *group, struct engine_effect *effect)
{
    const char *admin = group->agent->groupchat.admin_name;

    *effect =
        (struct engine_effect){.agent = admin, .to = group->agent->name, .after = group->node.branch->events};
    node_step(&group->node, effect->step);
    if (group->agent->groupchat.selection == AB_SPEAKER_MANUAL) {
        want_choice_of_person(group, effect);
        return;
    }
    effect->want = ENGINE_MODEL;
    effect->llm = &group->agent->llm;
    effect->purpose = "speaker";
    effect->call_index = usage_calls(&group->node.branch->usage, admin);
}

/* --- what the choosing model is told ------------------------------------------------------------------------ */

static const char *role_of(const struct ab_agent *agent)
{
    if (agent->description && *agent->description)
        return agent->description;
    return agent->system_message ? agent->system_message : "";
}

static json_t *choice_system(const struct group *group)
{
    struct ab_buf text = {0};
    if (group->agent->system_message && *group->agent->system_message)
        ab_buf_format(&text, "%s\n\n", group->agent->system_message);
    ab_buf_text(&text,
                "Several members talk with each other, and you decide who of them speaks next. The members:\n");
    for (size_t i = 0; i < group_members(group); i++)
        ab_buf_format(&text, "\n%s: %s", group->sides[i].agent->name, role_of(group->sides[i].agent));
    ab_buf_text(
        &text,
        "\n\nRead what was said so far, then answer with the name of the next speaker and nothing else.");
    return json_of_buf(&text);
}

static void ask_for_choice(const struct group *group, json_t *messages, const char *why)
{
    struct ab_buf text = {0};
    ab_buf_format(&text, "%sWho speaks next? Answer with exactly one of these names: ", why);
    group_list_names(group, false, &text);
    messages_add_new(messages, "user", json_of_buf(&text));
}

void group_choice_prompt(const struct group *group, struct prompt *prompt)
{
    json_t *messages = prompt->messages, *answer;
    size_t i;

    prompt->system = 1;
    prompt->context = group->agent->context;
    messages_add_new(messages, "system", choice_system(group));
    for (i = 0; i < group->transcript.n; i++)
        messages_add_new(messages, "user", group_heard(group, &group->transcript.lines[i]));
    size_t before = json_array_size(messages);
    ask_for_choice(group, messages, "");
    json_array_foreach (group->choices, i, answer) {
        bool several;
        group_named(group, ab_view(json_string_value(answer), json_string_length(answer)), &several);
        messages_add(messages, "assistant", answer);
        ask_for_choice(group, messages,
                       several ? "You named more than one member. "
                               : "You named no member who may speak now. ");
    }
    prompt->tail = json_array_size(messages) - before;
}
