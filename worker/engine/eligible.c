/* Who may speak next in a group chat: those that the transitions allow after the last speaker (a member without a row there
 * is followed by nobody), without the last speaker unless it may repeat itself, and without those that have replied by
 * themselves max_consecutive_auto_reply times and ask no person; and which of them a text names. Pure questions to a group,
 * which they do not change. */
#include "worker/engine/group.h"

enum { CHOICE_BYTES_MAX = 4096 /* of an answer that are searched for names */ };

static bool lists(const json_t *names, const char *name)
{
    size_t i;
    json_t *one;
    json_array_foreach (names, i, one) {
        if (!strcmp(json_string_value(one), name))
            return true;
    }
    return false;
}

static bool may_repeat(const struct group *group, const char *name)
{
    const json_t *repeat = group->agent->groupchat.allow_repeat_speaker;
    return json_is_array(repeat) ? lists(repeat, name) : !json_is_false(repeat);
}

bool group_eligible(const struct group *group, size_t i)
{
    const struct side *side = &group->sides[i];
    const json_t *transitions = group->agent->groupchat.allowed_transitions;

    if (side->agent->human_input == AB_HUMAN_NEVER && reply_full(side))
        return false;
    if (group->last == NOBODY)
        return true;
    if (group->last == (int)i && !may_repeat(group, side->agent->name))
        return false;
    const char *last = group->sides[group->last].agent->name;
    return !transitions || lists(json_object_get(transitions, last), side->agent->name);
}

size_t group_count_eligible(const struct group *group)
{
    size_t n = 0;
    for (size_t i = 0; i < group_members(group); i++)
        n += group_eligible(group, i);
    return n;
}

int group_next_in_list(const struct group *group)
{
    size_t n = group_members(group), first = (size_t)(group->last + 1);
    for (size_t i = 0; i < n; i++)
        if (group_eligible(group, (first + i) % n))
            return (int)((first + i) % n);
    return NOBODY;
}

int group_nth_eligible(const struct group *group, size_t nth)
{
    for (size_t i = 0; i < group_members(group); i++)
        if (group_eligible(group, i) && !nth--)
            return (int)i;
    return NOBODY;
}

/* --- by name or number -------------------------------------------------------------------------------------- */

void group_list_names(const struct group *group, bool numbers, struct ab_buf *out)
{
    size_t before = out->n;
    for (size_t i = 0; i < group_members(group); i++) {
        if (!group_eligible(group, i))
            continue;
        ab_buf_text(out, out->n > before ? ", " : "");
        if (numbers)
            ab_buf_format(out, "%zu ", i + 1);
        ab_buf_text(out, group->sides[i].agent->name);
    }
}

static bool part_of_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80);
}

/* The name stands at this place of the text, as a word of its own. */
static bool stands_at(struct ab_view text, size_t at, const char *name, bool any_case)
{
    size_t bytes = strlen(name);
    if (text.n - at < bytes || (any_case ? strncasecmp : strncmp)(text.p + at, name, bytes))
        return false;
    return !(at && part_of_word(text.p[at - 1])) && !(at + bytes < text.n && part_of_word(text.p[at + bytes]));
}

/* The member with the longest name that stands there, as one may be a part of another. */
static int member_at(const struct group *group, struct ab_view text, size_t at, bool any_case)
{
    int found = NOBODY;
    for (size_t i = 0; i < group_members(group); i++) {
        const char *name = group->sides[i].agent->name;
        if (stands_at(text, at, name, any_case) &&
            (found == NOBODY || strlen(name) > strlen(group->sides[found].agent->name)))
            found = (int)i;
    }
    return found;
}

/* The one of those that may speak who is named, however often; NOBODY if there is none or more than one (*several). */
static int named(const struct group *group, struct ab_view text, bool any_case, bool *several)
{
    int found = NOBODY;
    *several = false;
    if (text.n > CHOICE_BYTES_MAX)
        text.n = CHOICE_BYTES_MAX;
    for (size_t at = 0; at < text.n; at++) {
        int here = member_at(group, text, at, any_case);
        if (here == NOBODY)
            continue;
        at += strlen(group->sides[here].agent->name) - 1;
        if (!group_eligible(group, (size_t)here))
            continue;
        *several |= found != NOBODY && found != here;
        found = here;
    }
    return *several ? NOBODY : found;
}

int group_named(const struct group *group, struct ab_view text, bool *several)
{
    int chosen = named(group, text, false, several);
    return chosen != NOBODY || *several ? chosen : named(group, text, true, several);
}

int group_numbered(const struct group *group, struct ab_view words)
{
    size_t number = 0;
    for (size_t i = 0; i < words.n; i++) {
        if (words.p[i] < '0' || words.p[i] > '9' || number > group_members(group))
            return NOBODY;
        number = number * 10 + (size_t)(words.p[i] - '0');
    }
    return number && number <= group_members(group) && group_eligible(group, number - 1) ? (int)number - 1
                                                                                         : NOBODY;
}
