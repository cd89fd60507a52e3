/* The answer as a model makes it: one more call over all that was said, once everything is over. */
#include "worker/engine/node.h"

#include <stdio.h>

#define SUMMARY_STEP "summary:1"

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

static bool something_was_said(const struct engine *engine)
{
    for (size_t b = 0; b < engine->n_branches; b++) {
        const struct transcript *log = &engine->branches[b]->log;
        for (size_t i = 0; i < log->n; i++)
            if (!log->lines[i].filler)
                return true;
    }
    return false;
}

bool summary_wanted(const struct engine *engine)
{
    return engine->workflow->summary == AB_SUMMARY_LLM && engine->root && engine->root->stop &&
           !engine->summary && something_was_said(engine) && summarizer(engine->workflow);
}

static uint64_t calls_of(const struct engine *engine, const char *agent)
{
    uint64_t calls = 0;
    for (size_t i = 0; i < engine->n_branches; i++)
        calls += usage_calls(&engine->branches[i]->usage, agent);
    return calls;
}

void summary_effect(const struct engine *engine, struct engine_effect *effect)
{
    const struct ab_agent *agent = summarizer(engine->workflow);
    const char *name = agent->type == AB_AGENT_GROUPCHAT ? agent->groupchat.admin_name : agent->name;
    *effect = (struct engine_effect){.want = ENGINE_MODEL,
                                     .step = SUMMARY_STEP,
                                     .agent = name,
                                     .to = engine->workflow->sender.name,
                                     .llm = &agent->llm,
                                     .purpose = "summary",
                                     .after = engine->events,
                                     .call_index = calls_of(engine, name)};
}

json_t *summary_messages(const struct engine *engine)
{
    json_t *messages = json_array();
    struct ab_buf text = {0};

    messages_add_new(messages, "system", json_string(INSTRUCTION));
    for (size_t i = 0; i < engine->n_branches; i++)
        transcript_text(&engine->branches[i]->log, 0, &text);
    messages_add_new(messages, "user", json_of_buf(&text));
    return messages;
}
