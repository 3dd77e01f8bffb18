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


# Each takes a minute or more. Begun last, one of them would run alone at the end.
LONG = {
    "test_apply_after_destroy_creates_every_kind_again",
    "test_a_lost_stack_tag_is_out_of_reach_and_the_help_says_so",
    "test_commands_work_with_their_policies_and_use_them",
    "test_every_call_of_a_whole_life_is_as_the_models_have_it",
    "test_modules_agree_with_what_trunnion_made",
    "test_modules_make_the_platform_once_and_operate_it",
    "test_policies_of_forget_and_import_are_enough_and_that_of_apply_is_not",
    "test_ten_applies_at_once_work_one_after_the_other",
    "test_the_documents_lead_from_a_new_account_to_a_stack_and_back",
    "test_the_policy_of_plan_allows_no_change",
}


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.originalname not in LONG)


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
