"""Fixtures of the tests that run the real program."""

import contextlib
import gc
import importlib
import os
import signal
import sys
from pathlib import Path

import hypothesis
import pytest

from tests.support.program import Program, Sandbox

# To rewrite the asserts of all modules takes each worker twice as long as to import them: once must do.
sys.dont_write_bytecode = False

# No test may depend on how busy the machine is.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

# In the background ctrl-C may be ignored; what the tests start must not inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config):
    """Three a core: most tests wait for a process or a clock."""
    return 3 * (os.cpu_count() or 1)


def pytest_sessionstart(session):
    """Let each worker begin to import elsewhere: what one has compiled, the others find."""
    config = session.config
    if not hasattr(config, "workerinput") or config.args != config.getini("testpaths"):
        return
    number, count = int(config.workerinput["workerid"][2:]), config.workerinput["workercount"]
    modules = sorted(Path(__file__).parent.rglob("test_*.py"))
    begin = len(modules) * number // count
    for module in (*modules[begin:], *modules[:begin]):
        # Whatever is wrong with one, its collection says better.
        with contextlib.suppress(Exception):
            importlib.import_module(".".join(module.relative_to(config.rootpath).with_suffix("").parts))


def pytest_collection_finish(session):
    """What was imported and collected stays to the end: let the garbage collector pass it over."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def sandbox():
    """An empty sandbox that goes wrong in no way."""
    with Sandbox() as running:
        yield running


@pytest.fixture
def program(tmp_path, sandbox):
    """The program, pointed at `sandbox`."""
    program = Program(tmp_path, sandbox.url)
    yield program
    program.end_all()


@pytest.fixture
def aim(tmp_path):
    """A way to point the program at a sandbox of the test's own making."""
    programs = []

    def make(base_url, **more):
        folder = tmp_path / f"p{len(programs)}"
        folder.mkdir()
        programs.append(Program(folder, base_url, **more))
        return programs[-1]

    yield make
    for program in programs:
        program.end_all()
