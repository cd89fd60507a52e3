"""`autobots import`: a database as the seed writes it, made with Python's sqlite3, taken over."""

import hashlib
import json
import os
import sqlite3

import cli
import pytest

SCHEMA = """
CREATE TABLE messages (user_id TEXT NOT NULL, session_id TEXT, root_msg_id TEXT NOT NULL, msg_id TEXT PRIMARY KEY,
    role TEXT NOT NULL, content TEXT NOT NULL, personalize INTEGER DEFAULT 0, ra TEXT, code TEXT, metadata TEXT,
    timestamp TEXT NOT NULL, FOREIGN KEY (session_id) REFERENCES sessions (session_id) ON DELETE CASCADE);
CREATE TABLE sessions (user_id TEXT NOT NULL, session_id TEXT PRIMARY KEY, timestamp TEXT NOT NULL,
    flow_config TEXT);
CREATE TABLE gallery (id TEXT PRIMARY KEY, session TEXT, messages TEXT, tags TEXT, timestamp TEXT NOT NULL);
"""
KEY = "sk-of-the-seed-0123456789"


def flow(key=KEY):
    llm = {"config_list": [{"model": "gpt-4", "api_key": key, "base_url": "http://127.0.0.1:1/v1"}], "temperature": 0}
    agent = {"agent": {"name": "helper", "type": "assistant", "config": {"name": "helper", "llm_config": llm}},
             "link": {"agent_type": "receiver"}}
    return {"name": "old flow", "type": "autonomous", "agents": [agent]}


class Seed:
    """A seed's database.sqlite."""

    def __init__(self, path):
        self.path = path
        with sqlite3.connect(path) as db:
            db.executescript(SCHEMA)

    def add(self, table, **row):
        marks = ",".join("?" * len(row))
        with sqlite3.connect(self.path) as db:
            db.execute(f"INSERT INTO {table} ({','.join(row)}) VALUES ({marks})", list(row.values()))
        db.close()

    def session(self, user, id, at="2024-03-01T10:00:00.123456", config=None):
        self.add("sessions", user_id=user, session_id=id, timestamp=at, flow_config=json.dumps(config or flow()))

    def message(self, user, session, id, role, content, at, metadata=None, **more):
        self.add("messages", user_id=user, session_id=session, root_msg_id=more.pop("root_msg_id", "0"), msg_id=id,
                 role=role, content=content, timestamp=at, metadata=metadata and json.dumps(metadata), **more)

    def digest(self):
        return hashlib.sha256(self.path.read_bytes()).hexdigest(), os.stat(self.path).st_mtime_ns


@pytest.fixture
def seed(tmp_path):
    return Seed(tmp_path / "database.sqlite")


@pytest.fixture
def bots(shared):
    def run(*args, **more):
        return cli.run(*args, home=shared.dir, **more)

    yield run
    shared.assert_alive()


def full(seed, user, other):
    """Two users, three sessions (one without messages), messages whose insertion order is not that of time."""
    seed.session(user, f"{user}-s2", "2024-03-02T08:00:00")
    seed.session(user, f"{user}-s1", "2024-03-01T10:00:00.123456")
    seed.session(other, f"{other}-s", "2024-03-03 09:30:00")
    s1 = f"{user}-s1"
    seed.message(user, s1, f"{user}-m2", "assistant", "A: 42", "2024-03-01T10:00:05", root_msg_id=f"{user}-m1",
                 metadata={"messages": [{"source": "helper"}], "files": [], "cost": 0.25}, code="print(42)")
    seed.message(user, s1, f"{user}-m1", "user", "Q: äöü?", "2024-03-01T10:00:01")
    seed.message(user, s1, f"{user}-m4", "assistant", "same second, second", "2024-03-01T10:01:00")
    seed.message(user, s1, f"{user}-m3", "user", "same second, but later row", "2024-03-01T10:01:00", personalize=1)
    seed.message(other, f"{other}-s", f"{other}-m", "user", "hello from elsewhere", "2024-03-03T09:31:00")
    published = [{"user_id": user, "role": "user", "content": "Q: äöü?", "msg_id": f"{user}-m1", "session_id": s1,
                  "metadata": json.dumps({"api_key": KEY, "n": 1})}]
    seed.add("gallery", id=f"{user}-g", timestamp="2024-03-05T00:00:00", tags=json.dumps([f"tag-{user}", "old"]),
             session=json.dumps({"user_id": user, "session_id": s1, "flow_config": json.dumps(flow())}),
             messages=json.dumps(published))


def test_import_takes_over_sessions_messages_and_gallery(bots, shared, seed, user):
    other = user + "-other"
    full(seed, user, other)
    before = seed.digest()
    result = bots("import", seed.path, "--json")
    assert result.code == 0, result
    report = result.json()
    assert report["users"] == [user, other]
    assert report["sessions"] == {"imported": 3, "present": 0, "skipped": 0}
    assert report["messages"] == {"imported": 5, "present": 0, "skipped": 0}
    assert report["gallery"] == {"imported": 1, "present": 0, "skipped": 0}
    assert report["keys_removed"] == 5 and len(report["notes"]) == 4
    assert {n["id"]: n["what"] for n in report["notes"]}[f"{user}-s1"] == (
        "1 api_key removed, the first at $.flow_config.agents[0].agent.config.llm_config.config_list[0].api_key")
    mine = {"AUTOBOTS_USER": user}
    sessions = bots("sessions", "--json", env=mine).lines()
    assert [(s["session_id"], s["timestamp"]) for s in sessions] == [
        (f"{user}-s1", "2024-03-01T10:00:00.123Z"), (f"{user}-s2", "2024-03-02T08:00:00.000Z")]
    config = flow()
    del config["agents"][0]["agent"]["config"]["llm_config"]["config_list"][0]["api_key"]
    assert sessions[0]["flow_config"] == config
    messages = bots("messages", f"{user}-s1", "--json", env=mine).lines()
    assert [m["msg_id"] for m in messages] == [f"{user}-m{i}" for i in (1, 2, 4, 3)]
    assert messages[1] == {"user_id": user, "session_id": f"{user}-s1", "msg_id": f"{user}-m2", "code": "print(42)",
                           "root_msg_id": f"{user}-m1", "role": "assistant", "content": "A: 42",
                           "timestamp": "2024-03-01T10:00:05",
                           "metadata": {"messages": [{"source": "helper"}], "files": [], "cost": 0.25}}
    assert messages[0]["content"] == "Q: äöü?" and messages[3]["personalize"] is True
    [item] = bots("gallery", "--tag", f"tag-{user}", "--json").lines()
    assert item["id"] == f"{user}-g" and item["timestamp"] == "2024-03-05T00:00:00.000Z" and item["user_id"] == user
    assert item["session"]["flow_config"] == config and item["messages"][0]["metadata"] == {"n": 1}
    assert [m["content"] for m in bots("messages", f"{other}-s", "--json", env={"AUTOBOTS_USER": other}).lines()] == [
        "hello from elsewhere"]
    assert shared.files_holding(KEY) == [] and seed.digest() == before


def test_import_again_changes_nothing_and_says_so(bots, seed, user):
    full(seed, user, user + "-other")
    mine = {"AUTOBOTS_USER": user}
    first = bots("import", seed.path)
    assert first.code == 0 and "sessions  3 imported" in first.out and "api_key removed" in first.out, first
    bots("sessions", "rename", f"{user}-s1", "Mine now", env=mine)

    def everything():
        return [bots(*args, "--json", env=mine).out for args in
                (["sessions"], ["messages", f"{user}-s1"], ["gallery", "--mine"])]

    before = everything()
    again = bots("import", seed.path)
    assert again.code == 0 and "nothing was changed: all of it is there already" in again.out, again
    assert "5 there already" in again.out and "api_key" not in again.out
    report = bots("import", seed.path, "--json").json()
    assert report["messages"] == {"imported": 0, "present": 5, "skipped": 0} and report["notes"] == []
    assert everything() == before
    # what was added since is taken, behind the rest
    seed.message(user, f"{user}-s1", f"{user}-m5", "user", "new", "2024-03-01T11:00:00")
    assert bots("import", seed.path, "--json").json()["messages"] == {"imported": 1, "present": 5, "skipped": 0}
    assert bots("messages", f"{user}-s1", "--json", env=mine).lines()[-1]["msg_id"] == f"{user}-m5"


def test_import_of_one_user(bots, seed, user):
    other = user + "-other"
    full(seed, user, other)
    report = bots("import", seed.path, "--user", other, "--json").json()
    assert report["users"] == [other] and report["messages"]["imported"] == 1
    assert bots("sessions", "--json", env={"AUTOBOTS_USER": user}).lines() == []
    nobody = bots("import", seed.path, "--user", "nobody-of-them")
    assert nobody.code == 0 and "nothing was changed: the file has nothing of this user" in nobody.out


def test_import_names_what_it_skips_and_why(bots, seed, user):
    seed.session(user, f"{user}-s", at="a while ago")
    seed.message(user, f"{user}-s", f"{user}-robot", "system", "x", "2024-01-01")
    seed.message(user, f"{user}-s", f"{user}-fine", "user", "kept", "2024-01-02")
    seed.message(user, None, f"{user}-lost", "user", "nowhere", "2024-01-03")
    seed.add("messages", user_id=user, session_id=f"{user}-s", root_msg_id="", msg_id=f"{user}-bytes", role="user",
             content=b"\xff\xfe", timestamp="2024-01-04")
    seed.add("sessions", user_id=user, session_id=f"{user}-odd", timestamp="2024-01-05",
             flow_config="{'api_key': '" + KEY + "'}")
    seed.add("gallery", id=f"{user}-bad", session=json.dumps({"user_id": user}), messages="{}", tags="[]",
             timestamp="2024-01-06")
    result = bots("import", seed.path, "--json")
    assert result.code == 1, result
    report = result.json()
    whys = {n["id"]: n["what"] for n in report["notes"]}
    assert report["messages"] == {"imported": 2, "present": 0, "skipped": 2}
    assert "user or assistant" in whys[f"{user}-robot"] and "UTF-8" in whys[f"{user}-bytes"]
    assert "gallery.messages" in whys[f"{user}-bad"] and report["gallery"]["skipped"] == 1
    assert "timestamp" in whys[f"{user}-s"] and "flow_config" in whys[f"{user}-odd"]
    assert report["sessions"] == {"imported": 2, "present": 0, "skipped": 0}
    env = {"AUTOBOTS_USER": user}
    assert [m["content"] for m in bots("messages", f"{user}-s", "--json", env=env).lines()] == ["kept"]
    assert [m["content"] for m in bots("messages", "seed-messages", "--json", env=env).lines()] == ["nowhere"]
    assert f"messages {user}-robot: skipped" in bots("import", seed.path).out


def test_import_of_rows_without_an_owner_and_of_odd_ones(bots, tmp_path, user):
    """Columns without a type, in WAL mode, as another program may have made them."""
    path = tmp_path / "odd.sqlite"
    db = sqlite3.connect(path)
    db.executescript("PRAGMA journal_mode=WAL; CREATE TABLE messages(user_id, role, content, msg_id, session_id, timestamp);"
                     "CREATE TABLE sessions(user_id, session_id, timestamp, flow_config);"
                     "CREATE TABLE gallery(id, session, messages, tags, timestamp);")
    number = int(user[4:]) + 7_000_000
    db.execute("INSERT INTO messages VALUES(?,'user','by a number','m','s',1709288400.5)", [number])
    db.execute("INSERT INTO messages VALUES(NULL,'user','[{\"type\":\"text\",\"text\":\"parts\"}]',NULL,'s',NULL)")
    db.execute("INSERT INTO gallery VALUES(?,NULL,NULL,NULL,NULL)", [f"{user}-g"])
    db.commit()
    result = bots("import", path, "--json", env={"AUTOBOTS_USER": user})
    assert result.code == 0 and result.json()["users"] == [str(number), user], result
    [message] = bots("messages", "s", "--json", env={"AUTOBOTS_USER": str(number)}).lines()
    assert message["content"] == "by a number" and message["timestamp"] == "2024-03-01T10:20:00.500Z"
    [message] = bots("messages", "s", "--json", env={"AUTOBOTS_USER": user}).lines()
    assert message["content"] == [{"type": "text", "text": "parts"}] and message["msg_id"] == "seed-row-2"
    [item] = bots("gallery", "--mine", "--json", env={"AUTOBOTS_USER": user}).lines()
    assert item["id"] == f"{user}-g" and item["messages"] == [] and item["tags"] == []
    assert bots("import", path, "--json", env={"AUTOBOTS_USER": user}).json()["messages"]["present"] == 2
    db.close()


def broken(seed):
    with sqlite3.connect(seed.path) as db:
        db.executemany("INSERT INTO sessions VALUES (?,?,?,?)",
                       [("u", f"s{i}", "2024-01-01", "x" * 500) for i in range(200)])
    db.close()
    data = bytearray(seed.path.read_bytes())
    data[4096 * 8:4096 * 20] = os.urandom(4096 * 12)
    seed.path.write_bytes(data)


def foreign(seed):
    with sqlite3.connect(seed.path) as db:
        db.execute("DROP TABLE gallery")
    db.close()


@pytest.mark.parametrize("spoil,code,exit_code,text", [
    (broken, "damaged", 1, "damaged"), (foreign, "usage", 2, "no database of the seed"),
    (lambda seed: seed.path.write_text("certainly no database, " * 100), "damaged", 1, "no SQLite database"),
    (lambda seed: seed.path.unlink(), "usage", 2, "No such file")], ids=["damaged", "foreign", "text", "absent"])
def test_import_of_a_file_that_is_no_seed_says_what_it_is(bots, seed, spoil, code, exit_code, text):
    spoil(seed)
    result = bots("import", seed.path, "--json")
    assert result.code == exit_code and result.json()["error"]["code"] == code, result
    assert text in result.err and str(seed.path) in result.err
    assert "Traceback" not in result.err


def test_import_of_our_own_database_says_so(bots, shared):
    result = bots("import", shared.dir / "database.sqlite")
    assert result.code == 2 and "is a database of this autobots" in result.err, result


def test_import_without_a_service(tmp_path, seed):
    assert cli.run("import", seed.path, home=tmp_path / "nothing").code == 3
