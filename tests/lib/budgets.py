"""What must hold of budgets, read from the journals."""

import sqlite3

import autobots_wire as wire


def check_journal(path, user, limit):
    """At each reservation, in the order of commits: what was settled, and what is reserved then, is within the limit."""
    with sqlite3.connect(f"file:{path}/database.sqlite?mode=ro", uri=True) as db:
        events = db.execute("SELECT v.n,v.body FROM events v JOIN jobs j ON j.n=v.n JOIN users u ON u.key=j.user "
                            "WHERE u.name=? ORDER BY v.e", (user,)).fetchall()
    settled, held, most = 0, {}, 0
    for n, body in events:
        event = wire.unpack(body)
        if event["kind"] == "call_started":
            held[n, event["step"]] = event["tokens"]
            most = max(most, settled + sum(held.values()))
            assert settled + sum(held.values()) <= limit
        elif event["kind"] == "model_reply":
            settled += event["prompt_tokens"] + event["completion_tokens"]
            held.pop((n, event["step"]), None)
        elif event["kind"] in ("waiting", "attempt_failed", "end", "paused"):
            held = {key: amount for key, amount in held.items() if key[0] != n}
    return settled, most
