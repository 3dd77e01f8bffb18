"""The AWS CLI inside this process: starting it for each command would take longer than all of its answers."""

from __future__ import annotations

import contextlib
import io
import os
import shlex

import awscli.clidriver

import models
from capture import Call
from stage import CREDENTIALS, NOT_YET, REGION, THROTTLED, Ended, until


class Cli:
    """Commands against one sandbox. Every successful answer must be as botocore's models have it."""

    # The models are read once. All else is new for each command, because the CLI remembers parts of the last one.
    loader = None

    def __init__(self, endpoint: str, home):
        self.problems: list[str] = []
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            # `awscli` has its own data there, and says so when it is imported.
            "AWS_DATA_PATH": os.environ["AWS_DATA_PATH"],
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": endpoint,
            **CREDENTIALS,
        }

    def _driver(self):
        driver = awscli.clidriver.create_clidriver()
        if Cli.loader is None:
            Cli.loader = driver.session.get_component("data_loader")
        driver.session.register_component("data_loader", Cli.loader)
        driver.session.register("before-parse", self._check)
        return driver

    @contextlib.contextmanager
    def _surroundings(self):
        """The environment of a command; the CLI reads it in this process."""
        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(self.environment)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def _check(self, response_dict, operation_model, **_):
        if response_dict["status_code"] < 300:
            headers = tuple((name.lower(), value) for name, value in response_dict["headers"].items())
            call = Call("", "", (), b"", response_dict["status_code"], headers, response_dict["body"])
            self.problems += models.in_the_answer(call, operation_model)

    def run(self, command: str) -> Ended:
        """Runs a command, which is written as in a shell, until it is not throttled."""

        def ended():
            ended = self._once(command)
            return ended if ended.error not in THROTTLED else None

        return until(ended)

    def _once(self, command: str) -> Ended:
        output, errors = io.StringIO(), io.StringIO()
        self.problems.clear()
        with self._surroundings(), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                code = self._driver().main(["--output", "json", *shlex.split(command)])
            except SystemExit as exit:
                code = exit.code
        assert not self.problems, f"{command}\n{self.problems}"
        return Ended(code, output.getvalue(), errors.getvalue())

    def __call__(self, command: str):
        """The answer of a command that succeeds, as soon as what it needs is known everywhere."""

        def ended():
            ended = self.run(command)
            assert ended.code == 0 or NOT_YET.fullmatch(ended.error), f"{command}\n{ended.stderr}"
            return ended if ended.code == 0 else None

        return until(ended).answer

    def refused(self, command: str, code: str):
        """Expects that a command fails with this error code, as soon as what it needs is known everywhere."""

        def error():
            ended = self.run(command)
            assert ended.code != 0, f"{command}\n{ended.stdout}"
            return ended.error if ended.error == code or not NOT_YET.fullmatch(ended.error) else None

        assert until(error) == code, command
