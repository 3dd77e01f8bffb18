"""Opens pages in headless Chromium, over its debugging protocol on two pipes."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from stage import PATIENCE, needed

# The part of the protocol that says what a page does.
DOMAINS = ("Page", "Runtime", "Log", "Network")
SAID = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Page.javascriptDialogOpening"}


@dataclass
class Opened:
    """What the console says, what is fetched beside the page itself, and by how many pixels the page is too wide."""

    said: list[dict]
    fetched: list[str]
    overflow: int


class Browser:
    """A Chromium with one page. It keeps nothing but its profile, in a folder."""

    def __init__(self, profile: Path):
        commands, self.commands = os.pipe()
        self.answers, answers = os.pipe()
        # Chromium reads the descriptor 3 and writes 4. It refuses its own sandbox to root, which CI is.
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        options += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
        options += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        command = ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash", needed("chromium"), *options]
        self.process = subprocess.Popen(
            command,
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self.received, self.number, self.events, self.session = b"", 0, [], None
        pages = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self.session = self.call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)["sessionId"]
        for domain in DOMAINS:
            self.call(f"{domain}.enable")

    def _next(self) -> dict:
        """The next message, each of which ends with a zero byte."""
        while b"\0" not in self.received:
            assert select.select([self.answers], [], [], PATIENCE)[0], "Chromium hangs"
            more = os.read(self.answers, 1 << 20)
            assert more, "Chromium has ended"
            self.received += more
        message, self.received = self.received.split(b"\0", 1)
        return json.loads(message)

    def call(self, method: str, **parameters) -> dict:
        """The result of a call of the protocol. Events that come before it are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.number:
            self._keep(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _keep(self, event: dict):
        if "method" not in event:
            return
        self.events.append(event)
        # Nothing else happens on the page until somebody answers.
        if event["method"] == "Page.javascriptDialogOpening":
            answer = {"id": 0, "sessionId": self.session, "method": "Page.handleJavaScriptDialog"}
            os.write(self.commands, json.dumps({**answer, "params": {"accept": True}}).encode() + b"\0")

    def value(self, expression: str):
        """The value of an expression of JavaScript on the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def open(self, page: Path, width: int = 1280, is_dark: bool = False) -> Opened:
        """Opens a file as a window of this width shows it. Below 600 pixels, it is a phone's."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._keep(self._next())
        # What a script or a missing image causes comes a moment later.
        time.sleep(0.1)
        # A phone makes `innerWidth` as wide as what does not fit.
        overflow = self.value("document.documentElement.scrollWidth") - width
        happened = [(event["method"], event["params"]) for event in self.events]
        asked = [about["request"]["url"] for method, about in happened if method == "Network.requestWillBeSent"]
        fetched = [url for url in asked if url != page.resolve().as_uri() and not url.startswith("data:")]
        return Opened([about for method, about in happened if method in SAID], fetched, overflow)

    def close(self):
        self.session = None
        try:
            self.call("Browser.close")
        finally:
            os.close(self.commands)
            os.close(self.answers)
            self.process.wait(PATIENCE)
