"""`autobots up` and the gateway: its address, its restart, its end."""

import os
import re
import signal
import socket
import urllib.error
import urllib.request

import cli
import pytest
from service import processes, wait_until


def url_of(result):
    assert result.code == 0, result
    return re.search(r"^ready .* http=(http://127\.0\.0\.1:\d+) ", result.out, re.M)[1]


def healthy(url):
    try:
        return urllib.request.urlopen(url + "/healthz", timeout=5).status == 200
    except OSError:
        return False


def status(url, token=None):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {}), timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.fixture
def home(short_folder):
    folder = short_folder() / "d"
    yield folder
    cli.run("down", home=folder)


def test_up_serves_http_and_keeps_the_port_over_a_crash_of_the_gateway(home):
    url = url_of(cli.run("up", "-d", "--offline", "--http", "127.0.0.1:0", home=home))
    wait_until(lambda: healthy(url))
    [gateway] = processes("autobots-gateway", home)
    os.kill(gateway, signal.SIGKILL)
    assert healthy(url), "a client that comes while it restarts is only served a little later"
    assert processes("autobots-gateway", home) not in ([], [gateway])
    assert cli.run("down", home=home).code == 0
    assert not processes("autobots-gateway", home) and not healthy(url)


def test_a_taken_port_is_told_before_anything_starts(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = cli.run("up", "-d", "--offline", "--http", f"127.0.0.1:{port}", home=home)
        assert result.code and "ready" not in result.out
        assert f"127.0.0.1:{port} is in use; try --http 127.0.0.1:{port + 1}" in result.err
        assert not (home / "client.sock").exists()
    url_of(cli.run("up", "-d", "--offline", "--http", "127.0.0.1:0", home=home))


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_an_address_that_others_reach_needs_tokens(home, address):
    result = cli.run("up", "-d", "--offline", "--http", address, home=home)
    assert result.code == 2 and "ready" not in result.out and "autobots tokens create" in result.err
    assert not processes("autobots-", home)


def test_with_a_token_others_are_served(home):
    assert cli.run("up", "-d", "--offline", "--http", "off", home=home).code == 0
    token = cli.run("tokens", "create", "--user", "ada", home=home).out.strip()
    assert cli.run("down", home=home).code == 0
    result = cli.run("up", "-d", "--offline", "--http", "*:0", home=home)
    assert result.code == 0, result
    url = "http://127.0.0.1:" + re.search(r"http=http://0\.0\.0\.0:(\d+) ", result.out)[1] + "/api/jobs"
    wait_until(lambda: status(url, token) == 200)
    assert status(url) == 401


@pytest.mark.parametrize("address", ["8081", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000", "example.com:80", ":80", "[::1:80"])
def test_what_is_no_address_is_refused(home, address):
    result = cli.run("up", "-d", "--offline", "--http", address, home=home)
    assert result.code == 2 and "write ADDR:PORT" in result.err
