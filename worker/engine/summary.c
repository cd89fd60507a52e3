/* The answer as a model makes it: one more call over all that was said, once everything is over. */
#include "worker/engine/node.h"

#include <stdio.h>

static const char INSTRUCTION[] = "You are given the record of a finished conversation. Write down what came "
                                  "of it, for the person whose request stands "
                                  "first: the answer itself, complete but as short as it can be. Do not "
                                  "mention the speakers, nor that there was a "
                                  "conversation.";

static const struct ab_agent *with_model(const struct ab_agent *agent)
{
    if (agent->llm.n_entries)
        return agent;
    for (size_t i = 0; i < agent->n_members; i++) {
        const struct ab_agent *member = with_model(&agent->members[i]);
        if (member)
            return member;
    }
    return NULL;
}

/* The first with a model: the sender, then the receivers as listed, a groupchat before its members. */
static const struct ab_agent *summarizer(const struct ab_workflow *workflow)
{
    const struct ab_agent *found = with_model(&workflow->sender);
    for (size_t i = 0; !found && i < workflow->n_receivers; i++)
        found = with_model(&workflow->receivers[i]);
    return found;
}

static bool something_was_said(const struct engine *engine, const struct scope *scope)
{
    for (size_t b = 0; b < engine->n_branches; b++) {
        const struct transcript *log = &engine->branches[b]->log;
        for (size_t i = 0; engine->branches[b]->call == scope->call && i < log->n; i++)
            if (!log->lines[i].filler)
                return true;
    }
    return false;
}

bool summary_wanted(const struct engine *engine, const struct scope *scope)
{
    return scope->workflow && scope->workflow->summary == AB_SUMMARY_LLM && scope->root && scope->root->stop &&
           !scope->summary && something_was_said(engine, scope) && summarizer(scope->workflow);
}

static uint64_t calls_of(const struct engine *engine, const struct scope *scope, const char *agent)
{
    uint64_t calls = 0;
    for (size_t i = 0; i < engine->n_branches; i++)
        if (engine->branches[i]->call == scope->call)
            calls += usage_calls(&engine->branches[i]->usage, agent);
    return calls;
}

/* The run's is made when all is over. */
static uint64_t last_event(const struct engine *engine, const struct scope *scope)
{
    uint64_t last = scope->call ? 0 : engine->events;
    for (size_t i = 0; scope->call && i < engine->n_branches; i++) {
        const struct branch *branch = engine->branches[i];
        if (branch->call == scope->call && branch->events > last)
            last = branch->events;
    }
    return last;
}

void summary_effect(const struct engine *engine, const struct scope *scope, struct engine_effect *effect)
{
    const struct ab_agent *agent = summarizer(scope->workflow);
    const char *name = agent->type == AB_AGENT_GROUPCHAT ? agent->groupchat.admin_name : agent->name;
    *effect = (struct engine_effect){.want = ENGINE_MODEL,
                                     .agent = name,
                                     .to = scope->workflow->sender.name,
                                     .llm = &agent->llm,
                                     .purpose = SUMMARY_PURPOSE,
                                     .after = last_event(engine, scope),
                                     .call_index = calls_of(engine, scope, name)};
}

int summary_take(struct scope *scope, const struct engine_effect *wanted, const struct journal_event *event,
                 struct ab_error *err)
{
    const struct ab_model_reply *reply = &event->model_reply;
    if (!ab_view_is(reply->purpose, wanted->purpose) || !ab_view_is(event->step, wanted->step) ||
        !ab_view_is(reply->agent, wanted->agent))
        return ab_fail_at(err, AB_ENONDETERMINISM, wanted->step,
                          "the journal has a model_reply at step %.*s instead", AB_VIEW_FMT(event->step));
    scope->summary = ab_view_dup(text_without(reply->content, ""));
    return 0;
}

/* The request, which stands first, stays when the record is too long for the model. */
void summary_prompt(const struct engine *engine, const struct scope *scope, struct prompt *prompt)
{
    prompt->system = 1;
    prompt->context.head = 1;
    messages_add_new(prompt->messages, "system", json_string(INSTRUCTION));
    for (size_t i = 0; i < engine->n_branches; i++) {
        const struct transcript *log = &engine->branches[i]->log;
        for (size_t k = 0; engine->branches[i]->call == scope->call && k < log->n; k++) {
            struct ab_buf text = {0};
            line_text(&log->lines[k], &text);
            if (text.n)
                messages_add_new(prompt->messages, "user", json_of_buf(&text));
            ab_buf_finish(&text);
        }
    }
}

void summary_join(struct prompt *prompt)
{
    struct ab_buf text = {0};
    while (json_array_size(prompt->messages) > 1) {
        ab_buf_text(&text, text.n ? "\n\n" : "");
        content_text(json_object_get(json_array_get(prompt->messages, 1), "content"), &text);
        json_array_remove(prompt->messages, 1);
    }
    messages_add_new(prompt->messages, "user", json_of_buf(&text));
}
