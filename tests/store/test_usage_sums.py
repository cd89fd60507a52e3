"""What models were used for: counted with the events that say so, once, and kept."""

import datetime

import autobots_wire as wire
import pytest
import storehouse
from storehouse import append_request, ended, reply

FIELDS = {"calls": None, "prompt_tokens": "prompt_tokens", "completion_tokens": "completion_tokens",
          "cached_tokens": "cached_tokens", "reasoning_tokens": "reasoning_tokens", "cost_pico_usd": "cost_pico_usd",
          "model_ms": "latency_ms"}


@pytest.fixture
def store(short_folder):
    with storehouse.Store(short_folder()) as one:
        yield one


def spoken(number, agent="ann's", model="m1", priced=True, **more):
    """A reply whose figures are all different."""
    figures = {"prompt_tokens": 100 + number, "completion_tokens": 10 + number, "cached_tokens": number,
               "reasoning_tokens": 3 * number, "latency_ms": 7 * number, **({"cost_pico_usd": 1000 + number} if priced else {})}
    return {**reply("x", f"s:{number}"), "agent": agent, "model": model, **figures, **more}


def job(store, replies, user="ann", state="succeeded", **more):
    """A whole job whose replies come in two appends; its commit number and session."""
    _, accepted = store.submit(user, **more)
    n, token = accepted["n"], store.begin(accepted["n"])
    store.broker.one("append", **append_request(n, 2, token, replies[:1]))
    store.broker.one("append", **append_request(n, 3, token, [*replies[1:], ended(state)], end=state))
    return n, accepted.get("session")


def journal_sums(store, user=None):
    """What the journals of the user's jobs say, copied events of forks left out: those were written under no lease."""
    query = ("SELECT e.body FROM events e JOIN jobs j ON j.n=e.n JOIN users u ON u.key=j.user"
             " WHERE e.token<>0 AND (?1 IS NULL OR u.name=?1)")
    events = [wire.unpack(body) for body, in store.rows(query, user)]
    replies = [event for event in events if event["kind"] == "model_reply"]
    sums = {field: sum(one.get(key, 0) if key else 1 for one in replies) for field, key in FIELDS.items()}
    sums["cached_calls"] = sum(1 for one in replies if one.get("cached"))
    sums["unpriced_calls"] = sum(1 for one in replies if "cost_pico_usd" not in one and not one.get("cached"))
    return {**sums, "jobs": sum(1 for event in events if event["kind"] == "end")}


def usage(store, user="ann", **more):
    rows = store.client(user).ask("usage", **more)["usage"]
    return {row.pop("key"): row for row in rows}


def added(rows):
    return {field: sum(row[field] for row in rows.values()) for field in next(iter(rows.values()))}


def test_the_sums_are_those_of_the_journals_however_they_are_grouped(store):
    job(store, [spoken(1), spoken(2, "bob's", "m2", priced=False)])
    job(store, [spoken(3), spoken(4, cached=True, priced=False)], session="s1")
    job(store, [spoken(5), spoken(6)], no_session=True, state="failed")
    job(store, [spoken(7)], user="zed")
    whole = usage(store)
    assert whole == {"": journal_sums(store, "ann")}
    assert whole[""]["jobs"] == 3 and whole[""]["calls"] == 6
    assert (whole[""]["cached_calls"], whole[""]["unpriced_calls"]) == (1, 1)
    day = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    assert usage(store, by="day") == {day: whole[""]}
    for by, names in (("model", {"m1", "m2"}), ("agent", {"ann's", "bob's"})):
        rows = usage(store, by=by)
        assert set(rows) == names
        assert added(rows) == {**whole[""], "jobs": 0}
    users = {row.pop("key"): row for row in store.client().query("usage_all", {"by": "user"})["usage"]}
    assert users == {"ann": whole[""], "zed": journal_sums(store, "zed")}
    assert usage(store, model="m2")[""]["calls"] == 1 and usage(store, agent="bob's", by="model")["m2"]["prompt_tokens"] == 102
    assert set(usage(store, "nobody")[""].values()) == {0}


def test_a_job_that_called_no_model_is_one_all_the_same(store):
    _, accepted = store.submit("ann")
    token = store.begin(accepted["n"])
    store.broker.one("append", **append_request(accepted["n"], 2, token, [ended("cancelled")], end="cancelled"))
    assert usage(store) == {"": journal_sums(store)} and usage(store)[""]["jobs"] == 1


def test_by_session_and_within_one(store):
    _, first = job(store, [spoken(1), spoken(2, model="m2")])
    _, second = job(store, [spoken(3)])
    job(store, [spoken(4)], session=second)
    rows = usage(store, by="session")
    assert {key: row["calls"] for key, row in rows.items()} == {first: 2, second: 2}
    assert {key: row["jobs"] for key, row in rows.items()} == {first: 1, second: 2}
    assert usage(store, session=first, by="model")["m2"]["prompt_tokens"] == 102
    with pytest.raises(wire.Failure, match="session"):
        usage(store, session="no such one")
    with pytest.raises(wire.Failure, match="session"):
        usage(store, "zed", session=first)


def test_pages_and_times(store):
    for number in range(5):
        job(store, [spoken(number, model=f"m{number}")])
    client, seen, after = store.client(), [], None
    while True:
        page = client.ask("usage", by="model", limit=2, **({"after": after} if after else {}))
        seen += [row["key"] for row in page["usage"]]
        after = page.get("next")
        if not after:
            break
    assert seen == [f"m{number}" for number in range(5)]
    day = 86400000
    now = int(datetime.datetime.now(datetime.timezone.utc).timestamp() * 1000)
    assert usage(store, since_ms=now)[""]["calls"] == 5, "whole days"
    assert usage(store, since_ms=now + day, by="model") == {}
    assert usage(store, until_ms=now - now % day, by="model") == {}
    with pytest.raises(wire.Failure, match="by"):
        usage(store, by="week")


def test_what_was_spent_stays_when_the_session_goes(store):
    _, session = job(store, [spoken(1), spoken(2)])
    before = usage(store)
    _, accepted = store.submit("ann", session=session)
    n, token = accepted["n"], store.begin(accepted["n"])
    store.client("ann").ask("delete_user_sessions", session=session)
    store.broker.one("append", **append_request(n, 2, token, [spoken(3), ended("cancelled")], end="cancelled"))
    assert store.rows("SELECT count(*) FROM events") == [(1,)]
    after = usage(store)[""]
    assert after["calls"] == before[""]["calls"] + 1 and after["jobs"] == 2
    assert usage(store, by="session") == {}
    store.check()


def test_a_fork_counts_only_what_it_did_itself(store):
    original, accepted = store.submit("ann")
    token = store.begin(accepted["n"])
    store.broker.one("append", **append_request(accepted["n"], 2, token, [spoken(1), spoken(2), ended()], end="succeeded"))
    one = usage(store)[""]
    forked = store.broker.one("submit", **{key: value for key, value in storehouse.submit_request(fork_of=original, fork_seq=3).items()
                                           if key not in ("input", "hash", "workflow")})
    assert usage(store)[""] == one
    head = store.rows("SELECT max(seq) FROM events WHERE n=?", forked["n"])[0][0]
    store.broker.one("append", **append_request(forked["n"], head + 1, store.broker.token(), [storehouse.started(1), spoken(9), ended()],
                                                end="succeeded"))
    assert usage(store) == {"": journal_sums(store)}
    assert usage(store)[""]["calls"] == 3


def test_the_same_append_again_counts_once_also_after_a_kill(store):
    _, accepted = store.submit("ann")
    token = store.begin(accepted["n"])
    request = append_request(accepted["n"], 2, token, [spoken(1), ended()], end="succeeded")
    for _ in range(2):
        store.broker.one("append", **request)
    store.kill()
    store.start()
    assert usage(store) == {"": journal_sums(store)}
    store.check()


def test_an_operation_that_fails_beside_it_takes_nothing_away(store):
    _, accepted = store.submit("ann")
    token = store.begin(accepted["n"])
    requests = [("append", append_request(accepted["n"], 2 + i, token, [spoken(i)])) for i in range(20)]
    requests.insert(10, ("append", append_request(accepted["n"], 99, token, [spoken(50)])))
    store.broker.batch(requests)
    assert usage(store) == {"": journal_sums(store)}
