"""What every suite of pytest shares: paths, the seed, services and model servers, logs of a failed test."""

import os
import pathlib
import random
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "lib"), str(HERE)]

SEED = int(os.environ.get("AUTOBOTS_SEED") or time.time_ns() % 1_000_000_007)
_number = iter(range(1, 1_000_000))


def pytest_report_header():
    return f"seed: AUTOBOTS_SEED={SEED}"


def pytest_terminal_summary(terminalreporter):
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"repeat with AUTOBOTS_SEED={SEED}")


def unclaimed(items, claims):
    """The tests of files that no other process of this run has taken; a file is taken when its first test is asked for."""
    mine = {}
    for item in items:
        if item.path not in mine:
            try:
                (claims / item.nodeid.partition("::")[0].replace("/", ".")).touch(exist_ok=False)
                mine[item.path] = True
            except FileExistsError:
                mine[item.path] = False
        if mine[item.path]:
            yield item


def pytest_runtestloop(session):
    """With AUTOBOTS_CLAIMS, a folder that processes of tests/run.py share: file by file, until none is left."""
    claims = os.environ.get("AUTOBOTS_CLAIMS")
    if not claims or session.testsfailed or session.config.option.collectonly:
        return None  # pytest's own loop, which also tells why nothing was collected
    items = unclaimed(session.items, pathlib.Path(claims))
    item = next(items, None)
    while item:
        following = next(items, None)  # taken now: what it shares with this one is not put away in between
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        import service
        for one in service.ALL:
            if one.folder.exists():
                report.sections.append((f"logs of {one.folder}", one.tails()))
    if call.when == "teardown":
        import service
        service.ALL[:] = [one for one in service.ALL if any(p.running() for p in one.processes.values())]


@pytest.fixture
def rng(request):
    """A generator of this test's own, so that running one test alone repeats it."""
    return random.Random(f"{SEED}:{request.node.nodeid}")


@pytest.fixture(scope="session")
def short_folder(tmp_path_factory):
    """A function that makes a new folder with a short path: a unix socket's path has room for 107 bytes."""
    base = tmp_path_factory.getbasetemp()

    def make():
        folder = base / f"s{next(_number)}"
        folder.mkdir(mode=0o700)
        return folder

    return make


@pytest.fixture
def make_service(short_folder):
    """A function that starts a Service; it is stopped, and must have stayed whole, when the test ends."""
    from service import Service
    made = []

    def make(*args, **more):
        made.append(Service(short_folder(), *args, **more))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def model_server():
    """One model server for the run; tests tell their calls apart by the model's name (fixture `model`)."""
    from model_server import ModelServer
    with ModelServer() as server:
        yield server


class Model:
    """A model's name of this test's own, on the shared server."""

    def __init__(self, server, name):
        self.server, self.name, self.first = server, name, len(server.calls())

    @property
    def url(self):
        return self.server.url

    def behave(self, **behaviour):
        self.server.control(models={self.name: behaviour})
        return self

    def calls(self):
        return [call for call in self.server.calls(self.first) if call.get("model") == self.name]


@pytest.fixture
def model(model_server):
    return Model(model_server, f"m{next(_number)}").behave()


@pytest.fixture
def cast(model):
    """Agents with a model each."""
    from flows import Cast
    return Cast(model)


@pytest.fixture(scope="session")
def shared(short_folder):
    """A service with two workers that tests share when they do not break it; each test uses users of its own."""
    from service import Service
    one = Service(short_folder(), workers=2)
    yield one
    one.stop()


@pytest.fixture
def user():
    return f"user{next(_number)}"


@pytest.fixture(autouse=True)
def shared_is_whole(request):
    """Nothing waits for a shared service that an earlier test has broken."""
    if "shared" in request.fixturenames:
        request.getfixturevalue("shared").assert_alive()


@pytest.fixture
def client(shared, user):
    """A client of the shared service; afterwards all its processes must still be alive."""
    with shared.client(user) as one:
        yield one
    shared.assert_alive()
