"""The public library as a program of somebody else uses it: built with the line that its header names."""

import os
import pathlib
import re
import shlex
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

PROGRAM = r"""
#include <autobots.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct autobots_error err;
    struct autobots *bots = autobots_open(&(struct autobots_options){.dir = argv[1], .user = argv[2]}, &err);
    struct autobots_job job = {.workflow = "{\"name\": \"w\", \"agents\": [{\"name\": \"a\", \"script\": [\"Hello!\"]}]}", .text = "hi"};
    char id[AUTOBOTS_ID_TEXT], *result;
    if (!bots || autobots_submit(bots, &job, id, NULL, &err) || autobots_wait(bots, id, NULL, NULL, &result, &err)) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    puts(result);
    if (argc == 3)
        autobots_close(bots);
    exit(0);
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("program")
    (folder / "app.c").write_text(PROGRAM)
    header = (ROOT / "client" / "autobots.h").read_text()
    line = re.search(r"^ \*\s+(cc app\.c -lautobots .*)$", header, re.MULTILINE)[1]
    library = pathlib.Path(os.environ["AUTOBOTS_RELEASE"]) / "lib"
    subprocess.run(["sh", "-c", f"{line} -o app -I {shlex.quote(str(ROOT / 'client'))} -L {shlex.quote(str(library))}"],
                   cwd=folder, check=True, timeout=60)
    return folder / "app"


@pytest.mark.parametrize("how", ["closes", "just exits"])
def test_a_program_gets_its_answer_and_ends(program, shared, user, how):
    argv = [program, shared.dir, user] + ["x"] * (how == "just exits")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert '"Hello!"' in done.stdout
