"""The fixtures. Each stack is applied once; a test that changes something gets a copy."""

import itertools
from contextlib import ExitStack

import pytest

from cli import Cli
from stage import BINARIES, GENERATOR, TRUNNION, Setup, stack_file


def pytest_configure():
    for binary in (TRUNNION, GENERATOR):
        if not binary.exists():
            pytest.exit(f"`{binary.name}` is not in `{BINARIES}`: run `cargo build --workspace` first", returncode=1)


def applied_and_stopped(folder, name) -> Setup:
    setup = Setup(folder, stack_file(name))
    try:
        setup.machine.converge()
    finally:
        setup.stop()
    return setup


@pytest.fixture(scope="session")
def applied_loadtest(tmp_path_factory) -> Setup:
    return applied_and_stopped(tmp_path_factory.mktemp("loadtest"), "loadtest")


@pytest.fixture(scope="session")
def applied_minimal(tmp_path_factory) -> Setup:
    return applied_and_stopped(tmp_path_factory.mktemp("minimal"), "minimal")


@pytest.fixture(scope="session")
def reference(applied_loadtest, tmp_path_factory):
    """The applied reference stack, for tests that do not change it."""
    setup = applied_loadtest.copy_to(tmp_path_factory.mktemp("reference"))
    yield setup
    setup.stop()


@pytest.fixture(scope="session")
def aws(reference, tmp_path_factory):
    """The AWS CLI on the applied reference stack, for commands that do not change it."""
    return Cli(reference.sandbox.endpoint, tmp_path_factory.mktemp("cli"))


@pytest.fixture
def loadtest(applied_loadtest, tmp_path):
    """A copy of the applied reference stack, for tests that change it."""
    setup = applied_loadtest.copy_to(tmp_path)
    yield setup
    setup.stop()


@pytest.fixture
def minimal(applied_minimal, tmp_path):
    """A copy of the applied minimal stack, for tests that change it."""
    setup = applied_minimal.copy_to(tmp_path)
    yield setup
    setup.stop()


@pytest.fixture
def fresh(tmp_path):
    """Makes setups without an applied stack, from the text of a stack and options for the sandbox."""
    with ExitStack() as ended:
        number = itertools.count()

        def make(stack: str | None, *more: str, **where: str) -> Setup:
            setup = Setup(tmp_path / str(next(number)), stack, *more, **where)
            ended.callback(setup.stop)
            return setup

        yield make
