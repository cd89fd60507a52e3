/* See followers.h. */
#include "broker/internal.h"

#include <stdlib.h>

void followers_init(struct followers *all)
{
    all->users = (struct names){.size = sizeof(struct followed)};
}

void followers_finish(struct followers *all)
{
    for (size_t i = 0; i < CHANGES_KEPT; i++)
        names_put(&all->users, all->kept[i].user);
    names_finish(&all->users);
}

/* ---- behind: a queue of those with full pipes ---- */

static void behind_remove(struct followers *all, struct follower *f)
{
    if (!f->behind)
        return;
    *(f->behind_prev ? &f->behind_prev->behind_next : &all->behind_first) = f->behind_next;
    *(f->behind_next ? &f->behind_next->behind_prev : &all->behind_last) = f->behind_prev;
    f->behind = false;
}

static void set_behind(struct followers *all, struct follower *f, uint64_t next)
{
    behind_remove(all, f);
    f->behind = true;
    f->next = next;
    f->behind_prev = all->behind_last;
    f->behind_next = NULL;
    *(all->behind_last ? &all->behind_last->behind_next : &all->behind_first) = f;
    all->behind_last = f;
}

/* ---- coming and going ---- */

static void drop(struct core *core, struct follower *f)
{
    struct followers *all = &core->followers;
    behind_remove(all, f);
    *(f->user_prev ? &f->user_prev->user_next : &f->user->followers) = f->user_next;
    if (f->user_next)
        f->user_next->user_prev = f->user_prev;
    *(f->peer_prev ? &f->peer_prev->peer_next : &f->peer->followers) = f->peer_next;
    if (f->peer_next)
        f->peer_next->peer_prev = f->peer_prev;
    names_put(&all->users, f->user);
    all->n--;
    free(f);
}

static struct follower *find(const struct peer *peer, uint64_t rid)
{
    struct follower *f = peer->followers;
    while (f && f->rid != rid)
        f = f->peer_next;
    return f;
}

void follow_drop_all(struct core *core, struct peer *peer)
{
    while (peer->followers)
        drop(core, peer->followers);
}

static struct follower *create(struct core *core, struct peer *peer, struct ab_view user, uint64_t rid)
{
    struct follower *f = ab_calloc(1, sizeof *f);
    f->rid = rid;
    f->user = names_get(&core->followers.users, user);
    f->user_next = f->user->followers;
    if (f->user_next)
        f->user_next->user_prev = f;
    f->user->followers = f;
    f->peer = peer;
    f->peer_next = peer->followers;
    if (f->peer_next)
        f->peer_next->peer_prev = f;
    peer->followers = f;
    core->followers.n++;
    return f;
}

/* ---- telling ---- */

enum { NUMBER_BITS = 40 }; /* of a cursor; above them the epoch, as in a token */

static uint64_t cursor_of(const struct core *core, uint64_t number)
{
    return core->epoch << NUMBER_BITS | number;
}

static int begin(struct core *core, const struct follower *f, uint64_t number, bool reset, bool keep)
{
    const struct ab_following message = {.rid = f->rid, .cursor = cursor_of(core, number), .reset = reset};
    return core_send(core, f->peer, AB_FOLLOWING, &message, ab_view(NULL, 0), keep);
}

static int tell(struct core *core, const struct follower *f, uint64_t number, struct ab_id job)
{
    const struct ab_changed message = {.rid = f->rid, .cursor = cursor_of(core, number), .job = job};
    return core_send(core, f->peer, AB_CHANGED, &message, ab_view(NULL, 0), false);
}

static bool kept(const struct followers *all, uint64_t next)
{
    return next + CHANGES_KEPT > all->changes;
}

/* All it lacks, or as much as its pipe takes. */
static void catch_up(struct core *core, struct follower *f)
{
    struct followers *all = &core->followers;
    uint64_t next = f->next;
    int rc = 0;
    behind_remove(all, f);
    if (!kept(all, next) && !(rc = begin(core, f, all->changes, true, false)))
        return;
    for (; !rc && next <= all->changes; next += !rc) {
        const struct change *change = &all->kept[next % CHANGES_KEPT];
        if (change->user == f->user)
            rc = tell(core, f, next, change->job);
    }
    if (rc == AB_EBUSY)
        set_behind(all, f, next);
}

void on_follow(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    const struct ab_follow *follow = message;
    struct followers *all = &core->followers;
    struct follower *f = find(peer, follow->rid);
    uint64_t number = follow->after & ((UINT64_C(1) << NUMBER_BITS) - 1);
    struct ab_error err = {0};
    (void)body;
    if (f)
        drop(core, f); /* the same request again */
    if (!follow->user.n)
        ab_fail_at(&err, AB_EINVALID, "user", "the user is empty");
    else if (all->n >= FOLLOWERS_MAX)
        ab_fail(&err, AB_EBUSY, "%d lists of jobs are being followed, no more is allowed", FOLLOWERS_MAX);
    if (err.code) {
        core_error(core, peer, follow->rid, NULL, &err);
        return;
    }
    f = create(core, peer, follow->user, follow->rid);
    bool known = follow->after >> NUMBER_BITS == core->epoch && number <= all->changes && kept(all, number + 1);
    if (!known)
        number = all->changes;
    begin(core, f, number, !known, true);
    f->next = number + 1;
    catch_up(core, f);
}

void on_unfollow(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    struct follower *f = find(peer, ((const struct ab_unfollow *)message)->rid);
    (void)body;
    if (f)
        drop(core, f);
}

void follow_change(struct core *core, const struct job *job)
{
    struct followers *all = &core->followers;
    uint64_t number = ++all->changes;
    struct change *change = &all->kept[number % CHANGES_KEPT];
    names_put(&all->users, change->user);
    *change = (struct change){.user = names_get(&all->users, job_user(job)), .job = job->id};
    for (struct follower *f = change->user->followers; f; f = f->user_next)
        if (!f->behind && tell(core, f, number, job->id) == AB_EBUSY)
            set_behind(all, f, number);
}

void follow_tick(struct core *core)
{
    struct followers *all = &core->followers;
    struct follower *last = all->behind_last, *f = all->behind_first;
    if (!f || core->now_ms < core->follow_ms)
        return;
    core->follow_ms = core->now_ms + FOLLOW_RETRY_MS;
    for (int looks = 0; f && looks < FOLLOW_LOOKS; looks++) {
        struct follower *next = f == last ? NULL : f->behind_next; /* who stays behind goes to the end */
        catch_up(core, f);
        f = next;
    }
}
