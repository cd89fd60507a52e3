"""Tokens of the gateway: made, found by their hash, listed, revoked; a version that tells whether anything changed."""

import hashlib
import time

import autobots_wire as wire
import pytest


def digest(token):
    return hashlib.blake2b(token.encode(), digest_size=32).digest()


def make(client, token="abt_one", user="ann", scope="write", **more):
    return client.ask("create_token", id=more.pop("id", None) or wire.make_id(), user=user, hash=digest(token), scope=scope, **more)["token"]


def check(client, token):
    return client.ask("check_token", hash=digest(token)).get("token")


def refused(code, path, call):
    with pytest.raises(wire.Failure) as failure:
        call()
    assert (failure.value.code, failure.value.path) == (code, path)


def test_a_token_is_known_by_its_hash_until_it_is_revoked(store):
    ann = store.client()
    made = make(ann, name="ci")
    assert made["user"] == "ann" and made["scope"] == "write" and made["name"] == "ci" and "hash" not in made
    assert check(ann, "abt_one") == made and check(ann, "abt_two") is None
    assert ann.ask("check_token") == {"version": 1, "tokens": 1}
    ann.ask("token_used", id=made["id"])
    assert check(ann, "abt_one")["used_ms"] and ann.ask("check_token")["version"] == 1
    gone = ann.ask("revoke_token", id=made["id"])["token"]
    assert gone["revoked_ms"] and check(ann, "abt_one") is None
    assert ann.ask("check_token") == {"version": 2, "tokens": 1}
    assert ann.ask("revoke_token", id=made["id"])["token"] == gone, "again changes nothing"
    refused("not_found", "id", lambda: ann.ask("revoke_token", id=wire.make_id()))
    store.kill()
    store.start()
    assert [row["id"] for row in store.client().ask("list_tokens")["tokens"]] == [made["id"]]
    assert check(store.client(), "abt_one") is None


def test_an_expired_token_is_refused_by_itself(store):
    ann = store.client()
    make(ann, expires_ms=int(time.time() * 1000) + 300)
    assert check(ann, "abt_one")
    deadline = time.monotonic() + 10
    while check(ann, "abt_one"):
        assert time.monotonic() < deadline
    assert ann.ask("list_tokens")["tokens"][0]["expires_ms"]


def test_a_creation_sent_again_is_the_same_token(store):
    ann = store.client()
    one = wire.make_id()
    assert make(ann, id=one) == make(ann, id=one) and ann.ask("check_token")["version"] == 1
    refused("conflict", "id", lambda: make(ann, "abt_other", id=one))
    refused("conflict", "hash", lambda: make(ann, user="eve"))


@pytest.mark.parametrize("fields, path", [({"scope": "all"}, "scope"), ({"user": ""}, "user"), ({"expires_ms": 1}, "expires_ms")])
def test_a_faulty_one_is_refused(store, fields, path):
    refused("invalid", path, lambda: make(store.client(), **fields))


def test_a_hash_has_its_length(store):
    refused("invalid", "hash", lambda: store.client().ask("create_token", id=wire.make_id(), user="a", hash=b"short", scope="read"))


def test_lists_are_pages_and_of_one_user_if_wanted(store):
    ann = store.client()
    made = [make(ann, f"abt_{i}", "ann" if i % 2 else "eve")["id"] for i in range(5)]
    page = ann.ask("list_tokens", limit=3)
    assert [row["id"] for row in page["tokens"]] == made[:3]
    rest = ann.ask("list_tokens", limit=3, after=page["next"])
    assert [row["id"] for row in rest["tokens"]] == made[3:] and "next" not in rest
    assert [row["id"] for row in ann.ask("list_tokens", of="ann")["tokens"]] == [made[1], made[3]]


def test_brokers_do_not_ask_for_tokens(store):
    refused("denied", "op", lambda: store.broker.query("check_token", {"hash": digest("abt_one")}))
