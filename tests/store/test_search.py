"""Full-text search: what is found, for whom, and that the index says what the messages say, whatever happens to either."""

import sqlite3
import subprocess

import pytest

import autobots_wire as wire
import service
from storehouse import Store, append_request, ended, reply, started

WORDS = "SELECT count(*) FROM message_docs"


def say(client, content, session="s1", **more):
    return client.query("save_message", {"message": {"user_id": client.user, "session_id": session, "role": "user",
                                                     "content": content, **more}})["message"]


def settled(client):
    """All that was said is in the index."""
    def is_settled():
        status = client.query("storage_status")
        return not status.get("unindexed") and not status.get("reindexing")
    service.wait_until(is_settled, what="the index")


def search(client, query, **more):
    settled(client)
    answer = client.ask("search_messages", query=query, **more)
    assert not answer.get("behind")
    return answer["hits"]


def ids(client, query, **more):
    return [hit["msg_id"] for hit in search(client, query, **more)]


def all_items(client, op, key, **request):
    """Of all pages: one may end early, when it has taken its time."""
    found, after = [], {}
    while True:
        answer = client.ask(op, **{"limit": 1000, **request, **after})
        found += answer[key]
        if not answer.get("next"):
            return found
        after = {"after": answer["next"]}


def all_hits(client, query, **more):
    settled(client)
    return all_items(client, "search_messages", "hits", query=query, **more)


def marked(hit):
    """What the marks of a hit stand on."""
    return [hit["snippet"][first:first + n] for first, n in hit["marks"]]


def test_words_phrases_and_prefixes(store):
    ann = store.client()
    for name, text in (("a", "The quick brown fox jumps over the lazy dog."), ("b", "A brown, quick hare; dogs ignore it."),
                       ("c", "Ünïcödé naïve café: straße"), ("d", "nothing to see")):
        say(ann, text, msg_id=name)
    assert set(ids(ann, "quick brown")) == {"a", "b"}
    assert ids(ann, '"quick brown"') == ["a"] and ids(ann, '"brown quick"') == ["b"]
    assert ids(ann, "dog") == ["a"] and set(ids(ann, "dog*")) == {"a", "b"}
    assert ids(ann, "UNICODE cafe") == ["c"] and ids(ann, "naïve") == ["c"]
    assert ids(ann, "quick nothing") == [] and ids(ann, "zebra") == []
    assert ids(ann, 'jumps "lazy dog') == ["a"], "a quotation mark that is not closed"
    assert ids(ann, '"lazy dog" jum*') == ["a"]


def test_marks_stand_on_what_was_found(store):
    ann = store.client()
    say(ann, "zuerst\tkam der Fuchs 🦊 und dann\nder Füchse Schar; ein fuchs.", msg_id="m")
    [hit] = search(ann, "fuchs")
    assert marked(hit) == ["Fuchs", "fuchs"] and hit["snippet"].startswith("zuerst kam") and "…" not in hit["snippet"]
    [hit] = search(ann, '"und dann" fuchse')
    assert marked(hit) == ["und dann", "Füchse"]
    assert hit["role"] == "user" and hit["session_id"] == "s1" and hit["timestamp"].endswith("Z") and 1 <= hit["rank"] <= 1000


def test_the_snippet_is_cut_out_of_a_long_text(store):
    ann = store.client()
    say(ann, "first needle " + "hay " * 5000 + "the needle and the thread " + "straw " * 5000)
    [hit] = search(ann, "thread needle")
    assert marked(hit) == ["needle", "thread"] and hit["snippet"][0] == hit["snippet"][-1] == "…"
    assert len(hit["snippet"].encode()) < 300
    say(ann, "x" * 100_000 + " end", session="s2")
    [hit] = search(ann, "end", session="s2")
    assert marked(hit) == ["end"] and len(hit["snippet"]) < 300


@pytest.mark.parametrize("text,query,found", [
    ("今天天气很好，我们去公园吧", "天气", ["天气"]),
    ("今天天气很好，我们去公园吧", "公园 今天", ["今天", "公园"]),
    ("今天天气很好", "天好", None),
    ("東京タワーへ行きました", "タワー", ["タワー"]),
    ("서울에서 만나요", "서울", ["서울"]),
    ("ภาษาไทยง่ายมาก", "ไทย", ["ไทย"]),
    ("version 2の説明", "2の説", ["2の説"]),
    ("日本", "日*", ["日"]),
])
def test_scripts_without_spaces(store, text, query, found):
    ann = store.client()
    say(ann, text)
    hits = search(ann, query)
    assert [marked(hit) for hit in hits] == ([found] if found else [])


@pytest.mark.parametrize("query", ["a AND", "NOT x", "foo OR bar", "( b", "a)b", 'x"', "col:val", "place:u1", "a^b", "-x", "*x", "a + b",
                                   "{a b} : c", "NEAR(a b, 5)", "'; DROP TABLE jobs", "a\x00b", "ab**", "🦊 x", "x" * 1000])
def test_nothing_in_a_query_is_a_syntax_error(store, query):
    ann = store.client()
    say(ann, "a b c foo or bar not and near 5 col val x u1 s1 place")
    settled(ann)
    ann.ask("search_messages", query=query)
    ann.ask("search_sessions", query=query)


@pytest.mark.parametrize("query,text", [("", "no word"), ('!? "..." *', "no word"), ("a*", "at least 2"), ("w " * 17, "at most 16"),
                                        ('"' + "w " * 100 + '"', "at most 64"), ("x" * 1100, "")])
def test_queries_that_cannot_be(store, query, text):
    for op in ("search_messages", "search_sessions"):
        with pytest.raises(wire.Failure) as refused:
            store.client().ask(op, query=query)
        assert refused.value.code in ("invalid", "too_large") and text in refused.value.text
        assert refused.value.path == "query"


def test_questions_answers_and_parts(store):
    ann = store.client()
    job, n, session = store.chat(content=[{"type": "text", "text": "which whale"}, {"type": "image", "url": "http://narwhal/"},
                                          {"type": "text", "text": "is blue"}], answer="the blue whale")
    [asked] = search(ann, "which blue")
    [answered] = search(ann, '"blue whale"')
    assert asked["msg_id"] == f"{wire.id_text(job)}.user" and answered["msg_id"] == f"{wire.id_text(job)}.assistant"
    assert asked["job"] == answered["job"] == job and answered["role"] == "assistant" and answered["session_id"] == session
    assert search(ann, "narwhal") == []
    job, accepted = store.submit(content="still running", session=session)
    assert [hit["job"] for hit in search(ann, "still running")] == [job], "the question of a job that has not ended"


def test_sessions_and_users_are_kept_apart(store):
    ann, bob = store.client(), store.client("bob")
    say(ann, "owl one", "a", msg_id="1")
    say(ann, "owl two", "b", msg_id="2")
    say(bob, "owl three", "a", msg_id="3")
    assert set(ids(ann, "owl")) == {"1", "2"} and ids(bob, "owl") == ["3"]
    assert ids(ann, "owl", session="a") == ["1"]
    assert store.client("eve").ask("search_messages", query="owl") == {"hits": []}
    with pytest.raises(wire.Failure) as refused:
        bob.ask("search_messages", query="owl", session="b")
    assert refused.value.code == "not_found"
    # how well a message fits does not tell how common its words are with others
    [before] = search(bob, "owl")
    for i in range(50):
        say(ann, f"owl {i}")
    assert search(bob, "owl") == [before]


def test_what_fits_better_comes_first_and_pages_go_on(store):
    ann = store.client()
    for i in range(30):
        say(ann, "cat " * (i % 3 + 1) + "filler " * (i * 3), msg_id=f"m{i}")
    say(ann, "cat", msg_id="best")
    hits = all_hits(ann, "cat")
    ranks = [hit["rank"] for hit in hits]
    assert len(hits) == 31 and ranks == sorted(ranks, reverse=True) and len(set(ranks)) > 5
    for more in ({}, {"newest": True}):
        whole = [hit["msg_id"] for hit in all_hits(ann, "cat", **more)]
        assert [hit["msg_id"] for hit in all_hits(ann, "cat", limit=7, **more)] == whole
    assert whole == ["best"] + [f"m{i}" for i in reversed(range(30))]
    with pytest.raises(wire.Failure) as refused:
        ann.ask("search_messages", query="cat", after="x")
    assert refused.value.path == "after"


def test_search_sessions(store):
    ann = store.client()
    for name, session in (("Garden plans", "g"), (None, "k"), ("Kitchen", "trip-to-rome")):
        ann.ask("create_session", session={"user_id": "ann", "session_id": session, "name": name or "", "description": "d"})
    say(ann, "we need tomatoes", "g")
    say(ann, "tomatoes for the sauce", "k")
    store.client("bob").ask("create_session", session={"user_id": "bob", "session_id": "tomatoes"})
    settled(ann)

    def found(query, **more):
        return [s["session_id"] for s in ann.ask("search_sessions", query=query, **more)["sessions"]]

    assert found("tomatoes") == ["g", "k"] and found("tomatoes garden") == ["g"], "one word in its name, one in a message"
    assert found("rome kitchen") == ["trip-to-rome"] and found("gard*") == ["g"] and found("d") == ["g", "k", "trip-to-rome"]
    assert found('"we need"') == ["g"] and found('"need we"') == []
    first = ann.ask("search_sessions", query="tomatoes", limit=1)
    assert found("tomatoes", after=first["next"]) == ["k"]


# -- what is gone, is gone ----------------------------------------------------------------------------------------------


def on_disk(store, *words):
    """Which of the words stand anywhere in the file, once the log is in it."""
    with sqlite3.connect(store.dir / "database.sqlite") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    data = b"".join(p.read_bytes() for p in store.dir.iterdir() if p.is_file() and p.name.startswith("database.sqlite"))
    return [word for word in words if word.encode() in data]


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "noted"])
@pytest.mark.parametrize("how", ["message", "all", "clear", "session"])
def test_deleted_is_not_found(folder, how, indexed):
    env = {} if indexed else {"AUTOBOTS_FAILPOINT": "storage.feed:error"}
    with Store(folder, env=env) as store:
        ann = store.client()
        job, n, session = store.chat(content="xylophonic question", answer="zymurgical answer: xylophonic question")
        say(ann, "quixotical note", session, msg_id="note")
        say(ann, "xylophonic elsewhere", "other", msg_id="else")
        if indexed:
            assert len(search(ann, "xylophonic")) == 3
        if how == "message":
            ann.ask("delete_message", msg_id=f"{wire.id_text(job)}.user")
            ann.ask("delete_message", msg_id="note")
        elif how == "all":
            ann.ask("delete_message", session=session, delete_all=True)
        else:
            ann.ask({"clear": "clear_session", "session": "delete_user_sessions"}[how], session=session)
        store.kill()
        store.start(env={"AUTOBOTS_FAILPOINT": ""})
        ann = store.client()
        assert ids(ann, "xylophonic") == ["else"] and ids(ann, "quixotical") == []
        assert ids(ann, "zymurgical") == [], "an answer that repeats the question goes with it"
        assert len(ids(ann, "deleted")) == (how == "message")
        service.wait_until(lambda: not store.rows("SELECT 1 FROM meta WHERE key='words_merge'"), what="the merge")
        store.drop_peers()
        assert store.process.terminate() == 0
        print(store.check())
        assert on_disk(store, "quixotic", "zymurgical", "xylophonic question", "elsewhere") == ["elsewhere"]


def test_a_question_deleted_while_its_job_runs(store):
    ann = store.client()
    job, accepted = store.submit(content="vanishing words")
    assert len(search(ann, "vanishing")) == 1
    ann.ask("delete_message", msg_id=f"{wire.id_text(job)}.user")
    assert search(ann, "vanishing") == []
    store.finish(accepted["n"], "you said: vanishing words")
    assert search(ann, "vanishing") == [] and len(search(ann, "deleted")) == 1, "the answer repeated it"


def test_a_fork_takes_the_place_of_its_question(store):
    job, accepted = store.submit(content="asked once", session="s")
    store.broker.one("append", **append_request(accepted["n"], 1, store.broker.token(), [started(1), ended("failed")], end="failed"))
    fork = wire.make_id()
    store.broker.one("submit", job=fork, user="ann", fork_of=job, fork_seq=0, session="s")
    assert [hit["job"] for hit in search(store.client(), "asked once")] == [fork]


# -- the feeder -----------------------------------------------------------------------------------------------------------


def test_what_is_behind_is_said_and_caught_up(folder):
    with Store(folder, env={"AUTOBOTS_FAILPOINT": "storage.feed:error"}) as store:
        ann = store.client()
        for i in range(20):
            say(ann, f"late word {i}")
        answer = ann.ask("search_messages", query="late")
        assert answer == {"hits": [], "behind": True}
        assert ann.query("storage_status")["unindexed"] == 20
        assert store.client("bob").ask("search_messages", query="late") == {"hits": []}, "bob has said nothing"
        print(store.check())
        store.kill()
        store.start(env={"AUTOBOTS_FAILPOINT": ""})
        ann = store.client()
        assert len(search(ann, "late")) == 20
        store.drop_peers()
        assert store.process.terminate() == 0
        print(store.check())


def test_killed_while_feeding(folder):
    with Store(folder) as store:
        for round in range(6):
            store.kill()
            store.start(env={"AUTOBOTS_FAILPOINT": f"storage.{('feed', 'fed')[round % 2]}:kill:{round // 2 + 1}"})
            ann = store.peer(wire.Storage(store.endpoint, "ann", greet=False))
            ann.send("HELLO", ann.hello)  # feeding what is left may kill it before it answers
            for i in range(200):
                record = {"user_id": "ann", "session_id": "s1", "role": "user", "content": f"round {round} number {i} " + "filler " * 500}
                ann.send("QUERY", {"rid": next(ann.rids), "op": "save_message"}, wire.pack({"message": record}))
            store.wait_dead()
            store.drop_peers()
            print(store.check())
        store.start(env={"AUTOBOTS_FAILPOINT": ""})
        ann = store.client()
        said = {m["msg_id"] for m in all_items(ann, "load_messages", "messages", session="s1")}
        assert said and {hit["msg_id"] for hit in all_hits(ann, "round")} == said
        store.drop_peers()
        assert store.process.terminate() == 0
        print(store.check())


def reindex(store):
    return subprocess.run(store.argv("--reindex"), env=service.clean_environment(), stdout=subprocess.DEVNULL).returncode


def older(store):
    """The file as a version without search left it."""
    with sqlite3.connect(store.dir / "database.sqlite") as db:
        db.executescript("DROP TABLE message_words; DROP TABLE message_docs; DROP TABLE unindexed;"
                         "DELETE FROM meta WHERE key LIKE 'words%';"
                         "DROP TABLE budget_waiters;"
                         "CREATE TABLE budget_waits(n INTEGER PRIMARY KEY, budget, tokens, usd, turns)")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        db.execute(f"PRAGMA user_version={version - 2}")
    db.close()


@pytest.mark.parametrize("how", ["migration", "reindex"])
def test_the_index_is_made_anew_beside_the_service(folder, how):
    with Store(folder) as store:
        ann = store.client()
        for i in range(300):
            say(ann, f"old word {i} " + "filler " * 1000, f"s{i % 7}", msg_id=f"m{i}")
        store.drop_peers()
        assert store.process.terminate() == 0
        if how == "migration":
            older(store)
        else:
            assert reindex(store) == 0
        store.start(env={"AUTOBOTS_FAILPOINT": "storage.fed:kill:2"})
        ann = store.client()
        assert ann.ask("search_messages", query="old").get("behind")
        store.wait_dead()
        print(store.check())
        store.start(env={"AUTOBOTS_FAILPOINT": ""})
        ann = store.client()
        ann.ask("delete_message", msg_id="m299")
        say(ann, "new word", msg_id="new")
        assert {hit["msg_id"] for hit in all_hits(ann, "word")} == {"new", *(f"m{i}" for i in range(299))}
        store.drop_peers()
        assert store.process.terminate() == 0
        print(store.check())


@pytest.mark.parametrize("change,fault", [
    ("DELETE FROM message_docs WHERE doc=2", "is not in the text index"),
    ("INSERT INTO message_docs(session,pos) VALUES(99,99)", "in the text index, but not shown"),
    ("DELETE FROM message_words_docsize WHERE id=1", "has no words in the text index"),
    ("UPDATE message_docs SET pos=CASE doc WHEN 1 THEN -1 ELSE pos END", "not shown"),
])
def test_the_check_knows_the_index(folder, change, fault):
    with Store(folder) as store:
        ann = store.client()
        for i in range(3):
            say(ann, "word " * (i + 1))
        settled(ann)
        store.drop_peers()
        assert store.process.terminate() == 0
        print(store.check())
        with sqlite3.connect(store.dir / "database.sqlite") as db:
            db.execute(change)
        db.close()
        with pytest.raises(AssertionError, match=fault):
            store.check()
        assert reindex(store) == 0
        store.start()
        ann = store.client()
        assert len(search(ann, "word")) == 3
        store.drop_peers()
        assert store.process.terminate() == 0
        print(store.check())


def test_a_long_search_holds_nobody_up(store):
    """Searches have a thread of their own: listings are answered while many of them wait."""
    ann = store.client()
    for i in range(40):
        say(ann, "common " * 30000)
    settled(ann)
    many = [next(ann.rids) for _ in range(30)]
    for rid in many:
        ann.send("QUERY", {"rid": rid, "op": "search_messages"}, wire.pack({"user": "ann", "query": "common", "limit": 100}))
    assert store.client("bob").ask("load_messages", session="x") == {"messages": []}
    assert len(ann.answer(many[0], 30).body_value()["hits"]) > 0
