"""Worlds for the tests. The reference stack is applied once; each test that changes something gets a copy of it."""

import itertools
from contextlib import ExitStack

import pytest

from stage import BINARIES, GENERATOR, TRUNNION, World, stack_file


def pytest_configure():
    for binary in (TRUNNION, GENERATOR):
        if not binary.exists():
            pytest.exit(f"`{binary.name}` is not in `{BINARIES}`: run `cargo build --workspace` first", returncode=1)


def applied_and_stopped(folder, name) -> World:
    world = World(folder, stack_file(name))
    try:
        world.machine.converge()
    finally:
        world.stop()
    return world


@pytest.fixture(scope="session")
def applied_loadtest(tmp_path_factory) -> World:
    return applied_and_stopped(tmp_path_factory.mktemp("loadtest"), "loadtest")


@pytest.fixture(scope="session")
def applied_minimal(tmp_path_factory) -> World:
    return applied_and_stopped(tmp_path_factory.mktemp("minimal"), "minimal")


@pytest.fixture(scope="session")
def reference(applied_loadtest, tmp_path_factory):
    """The applied reference stack, to look at and not to change."""
    world = applied_loadtest.copy_to(tmp_path_factory.mktemp("reference"))
    yield world
    world.stop()


@pytest.fixture
def loadtest(applied_loadtest, tmp_path):
    """The applied reference stack, to do with as one likes."""
    world = applied_loadtest.copy_to(tmp_path)
    yield world
    world.stop()


@pytest.fixture
def minimal(applied_minimal, tmp_path):
    """The applied minimal stack, to do with as one likes."""
    world = applied_minimal.copy_to(tmp_path)
    yield world
    world.stop()


@pytest.fixture
def fresh(tmp_path):
    """Makes worlds in which nothing was applied yet: from the text of a stack, with options for the sandbox."""
    with ExitStack() as ended:
        number = itertools.count()

        def make(stack: str, *more: str) -> World:
            world = World(tmp_path / str(next(number)), stack, *more)
            ended.callback(world.stop)
            return world

        yield make
