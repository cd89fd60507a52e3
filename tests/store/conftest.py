import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import storehouse  # noqa: E402


@pytest.fixture
def folder(short_folder):
    return short_folder()


@pytest.fixture
def store(folder):
    with storehouse.Store(folder) as s:
        yield s
        s.drop_peers()
    print(s.check())
