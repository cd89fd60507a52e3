"""Pages of other origins in a real browser, at the gateway of this machine that asks for no token: by every means a page has,
nothing is submitted, nothing changed, nothing read. The requests come from the gateway's own table of routes. The same means
from an origin that is allowed do submit and read, so they are known to work."""

import json
import pathlib
import re

import flows
import pytest
from browser import Browser, Pages
from every_route import EXAMPLES, fill, make_things
from http_client import Gateway
from service import wait_until

MEANS = (pathlib.Path(__file__).parent / "means.js").read_text()
SECRET = "the-hare-sleeps-at-noon"
ALIASES = ["127.0.0.1", "localhost", "evil.test"]  # what a page may call the gateway; the last one by its own DNS


@pytest.fixture(scope="module")
def browser(short_folder):
    with Browser(short_folder(), hosts={"evil.test": "127.0.0.1", "*.evil.test": "127.0.0.1"}) as one:
        yield one


@pytest.fixture(scope="module")
def pages():
    with Pages() as foreign, Pages() as allowed:
        yield foreign, allowed


@pytest.fixture(scope="module")
def gateway(shared, pages):
    one = Gateway(shared, "gateway11", flags=["--allow-origins", f"http://localhost:{pages[1].port}", "--http-rate", "0"])
    yield one
    shared.processes.pop(one.name).terminate()


@pytest.fixture(scope="module")
def things(gateway):
    flow = flows.script_chat([SECRET])
    secret = gateway.post("/api/jobs", {"workflow": flow, "text": SECRET, "wait_ms": 20000}).body
    user = gateway.get(f"/api/jobs/{secret['job']}").body["job"]["user"]
    assert gateway.request("PUT", "/api/workflows/secret", {"workflow": {**flow, "name": SECRET}}).status == 200
    return {**make_things(gateway, user), "session": secret["session"], "done": secret["job"]}


@pytest.fixture(scope="module")
def requests(gateway, things):
    """One good request for each route: [method, path, body or None]."""
    paths = gateway.get("/openapi.json").body["paths"]
    made = []
    for path, methods in paths.items():
        for method in map(str.upper, methods):
            values, body, _ = EXAMPLES.get((method, path), lambda g, t: ({}, None, 200))(gateway, things)
            made.append([method, fill(path, things, values), None if body is None else json.dumps(body)])
    assert len(made) >= 50
    return made


def everything(gateway, things):
    """What there is, so that any change shows."""
    def jobs():
        got = gateway.get("/api/jobs?limit=1000").body["jobs"]
        return got if all("ended_ms" in job or job["state"] in ("waiting", "paused") for job in got) else None
    paths = ["/api/sessions?limit=1000", "/api/workflows?limit=1000", "/api/gallery", "/api/prices", "/api/budgets",
             f"/api/sessions/{things['session']}/messages", f"/api/gallery/{things['gallery']}"]
    return [wait_until(jobs, 30, "jobs that have come to rest"), *[gateway.get(path).body for path in paths]]


def answered(gateway):
    """Requests that the gateway has answered so far with (2xx, 4xx), this one not counted."""
    text = gateway.get("/metrics").text
    return [int(re.search(r'requests_total\{class="%dxx"\} (\d+)' % n, text)[1]) for n in (2, 4)]


def check_refused(gateway, before, at_least):
    """All that came was refused; only the count itself was not."""
    well, refused = [now - then for now, then in zip(answered(gateway), before)]
    assert well == 1 and refused >= at_least


def bodies(things):
    """What a form or a beacon may send without being asked for leave: it is no JSON by its type, and is by its text."""
    message = {"message": {"user_id": things["user"], "role": "user", "content": "planted"}, "flow_config": things["flow"]}
    return {"/api/messages": json.dumps(message), "/api/jobs": json.dumps({"workflow": "stored", "text": "planted"}),
            "/api/cleardb": json.dumps({"user_id": things["user"], "session_id": things["session"]})}


@pytest.mark.parametrize("origin, aliases", [("http://localhost:{}", ALIASES), ("http://127.0.0.1:{}", ALIASES[:1]),
                                             ("http://evil.test:{}", ALIASES[:1]), ("null", ALIASES[:1])])
def test_a_page_of_another_origin_submits_nothing_and_reads_nothing(browser, pages, gateway, things, requests, origin, aliases):
    page = browser.page(f"http://localhost:{pages[0].port}/" if origin == "null" else origin.format(pages[0].port) + "/")
    before = everything(gateway, things)
    so_far, tries = answered(gateway), 0
    for alias in aliases:
        base = f"http://{alias}:{gateway.port}"
        means = MEANS if origin != "null" else f"const source = {json.dumps(MEANS)}; {IN_A_SANDBOX}"
        tried = page.run(means + "; return await all_means(...args)", base, requests, bodies(things), things["done"], timeout=120)
        assert len(tried) > 3 * len(requests), "all was tried"
        tries += len(requests) * 2
        for one in tried:
            assert not one.get("read") and not one.get("status"), one
        assert SECRET not in json.dumps(tried)
    check_refused(gateway, so_far, tries)
    assert everything(gateway, things) == before


# The page's means run in a frame that has the origin null; it says what it saw with a message.
IN_A_SANDBOX = """
async function all_means(...args) {
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-scripts allow-forms';
    frame.srcdoc = `<body><script>onmessage = async (e) => { ${source};
        parent.postMessage(await all_means(...e.data), '*'); }; parent.postMessage('there', '*')</` + 'script>';
    return await new Promise((done) => {
        onmessage = (e) => e.data === 'there' ? frame.contentWindow.postMessage(args, '*') : done(e.data);
        document.body.append(frame);
    });
}"""


def test_a_name_that_points_here_is_refused_even_to_its_own_page(browser, gateway, things, requests):
    """DNS rebinding: the page's own name has come to mean 127.0.0.1, so that for the browser it is one origin."""
    before = everything(gateway, things)
    so_far = answered(gateway)
    page = browser.page(f"http://evil.test:{gateway.port}/api/jobs")
    tried = page.run(MEANS + "; return await same_origin(...args)", requests, bodies(things), timeout=120)
    assert len(tried) >= 2 * len(requests)
    assert {one["status"] for one in tried} == {403}, [one for one in tried if one["status"] != 403][:3]
    assert SECRET not in json.dumps(tried)
    check_refused(gateway, so_far, len(tried))
    assert everything(gateway, things) == before


def test_an_allowed_origin_reads_and_submits_by_the_same_means(browser, pages, gateway, things, requests):
    page = browser.page(f"http://localhost:{pages[1].port}/")
    reading = [one for one in requests if one[0] == "GET"]
    before = len(everything(gateway, things)[0])
    tried = page.run(MEANS + "; return await all_means(...args)", f"http://127.0.0.1:{gateway.port}", reading, bodies(things),
                     things["done"], timeout=120)
    works = {one["means"] for one in tried if one.get("read")}
    assert {"fetch", "fetch with leave", "xhr", "events"} <= works, tried
    assert SECRET in json.dumps(tried)
    submitted = [job for job in everything(gateway, things)[0] if job["content"] == "planted"]
    # fetch, fetch without reading, XMLHttpRequest, beacon, form: what each sends to the seed's route is taken as JSON
    assert len(submitted) >= 5 and len(everything(gateway, things)[0]) >= before + 5
    made = page.run("""
        const r = await fetch(args[0] + '/api/jobs', {method: 'POST', headers: {'Content-Type': 'application/json',
            'Idempotency-Key': 'k', 'X-Stainless-Lang': 'js'}, body: args[1]});
        return {status: r.status, location: r.headers.get('Location'), job: (await r.json()).job}""",
                    f"http://127.0.0.1:{gateway.port}", bodies(things)["/api/jobs"])
    assert made["status"] == 202 and made["job"] in made["location"]
    gone = page.run("return (await fetch(args[0], {method: 'DELETE'})).status",
                    f"http://127.0.0.1:{gateway.port}/api/workflows/secret")
    assert gone == 200


def test_the_gateways_own_origin_needs_no_leave(browser, gateway, things):
    page = browser.page(f"http://127.0.0.1:{gateway.port}/openapi.json")
    seen = page.run("""
        const put = await fetch('/api/workflows/own', {method: 'PUT', headers: {'Content-Type': 'application/json'}, body: args[0]});
        const list = await fetch('/api/workflows');
        return [put.status, list.status, await list.text()]""", json.dumps({"workflow": things["flow"]}))
    assert seen[:2] == [200, 200] and '"own"' in seen[2]
