"""The AWS CLI inside this process: starting it for each command would take longer than all of its answers."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex

import awscli.clidriver

import models
from capture import Call
from stage import CREDENTIALS, REGION


class Said:
    """How a command ended."""

    def __init__(self, code: int, output: str, errors: str):
        self.code, self.output, self.errors = code, output, errors

    @property
    def answer(self):
        return json.loads(self.output) if self.output.strip() else None

    @property
    def error(self) -> str | None:
        """AWS's error code, or what the CLI itself says."""
        found = re.search(r"An error occurred \(([\w.]+)\)", self.errors)
        return found[1] if found else self.errors.strip() or None


class Cli:
    """Commands against one sandbox. Every successful answer is compared with botocore's models."""

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
        # The models are read once. All else is new for each command, because the CLI remembers parts of the last one.
        self.loader = None

    def _driver(self):
        driver = awscli.clidriver.create_clidriver()
        if self.loader is None:
            self.loader = driver.session.get_component("data_loader")
        driver.session.register_component("data_loader", self.loader)
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

    def run(self, *arguments: str) -> Said:
        output, errors = io.StringIO(), io.StringIO()
        with self._surroundings(), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                code = self._driver().main(["--output", "json", *arguments])
            except SystemExit as exit:
                code = exit.code
        return Said(code, output.getvalue(), errors.getvalue())

    def said(self, command: str) -> Said:
        return self.run(*shlex.split(command))

    def __call__(self, command: str):
        """The answer of a command that succeeds."""
        said = self.said(command)
        assert said.code == 0, f"{command}\n{said.errors}"
        return said.answer
