"""A headless Chromium, driven by its DevTools protocol: JSON through two pipes, so that it needs no further package."""

import json
import os
import select
import shutil
import signal
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # of root, whom the sandbox refuses
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-pipe",
)
PATIENCE_S = 60.0  # for an answer


def program() -> str:
    """Where the browser is."""
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    raise AssertionError("chromium-headless-shell is missing: apt install chromium-headless-shell")


class Browser:
    """Commands to, and events from, a browser that reads one pipe and writes another, each message ended by a 0."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """A command's result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self.next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def next(self) -> dict[str, Any]:
        """The next message."""
        end = time.monotonic() + PATIENCE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"the browser says nothing for {PATIENCE_S:.0f} s"
            data = os.read(self._read, 1 << 16)
            assert data, "the browser has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


class Page:
    """A file in a tab of its own."""

    def __init__(self, browser: Browser, file: Path, *, width: int = 1400, height: int = 1000) -> None:
        self._browser = browser
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        self.resize(width, height)
        self.url = file.resolve().as_uri()
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        begin = time.monotonic()
        loader = self.call("Page.navigate", url=self.url)["loaderId"]  # about:blank, which was there, had another
        while ("load", loader) not in [(one["name"], one["loaderId"]) for one in self._seen("Page.lifecycleEvent")]:
            browser.events.append(browser.next())
        self.run("new Promise(requestAnimationFrame)")
        self.seconds = time.monotonic() - begin  # until it is drawn

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def _seen(self, method: str) -> list[dict[str, Any]]:
        """The parameters of all such events of this page so far."""
        mine = (event for event in self._browser.events if event.get("sessionId") == self._session)
        return [event["params"] for event in mine if event["method"] == method]

    def run(self, script: str) -> Any:
        """What an expression gives, a promise's result too."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        """Until an expression is true."""
        self.run(f"new Promise(done => {{ const look = () => ({script}) ? done() : setTimeout(look, 10); look(); }})")

    def text(self, selector: str) -> str:
        found: str = self.run(f"document.querySelector({json.dumps(selector)}).innerText")
        return found

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)")
        return found

    def count(self, selector: str) -> int:
        found: int = self.run(f"document.querySelectorAll({json.dumps(selector)}).length")
        return found

    def click(self, selector: str) -> None:
        """With the mouse, in the middle of it."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect(); "
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self.move(x, y)
        for what in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=what, x=x, y=y, button="left", clickCount=1)

    def move(self, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def put(self, selector: str, value: str) -> None:
        """Give a field or a choice a value, as a person would."""
        self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)}; "
            "e.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )

    def resize(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def look(self, *, scheme: str = "light", media: str = "screen") -> None:
        """As on a dark screen, or on paper."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def png(self) -> bytes:
        """All of it."""
        return b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def pdf(self) -> bytes:
        """Of A4 paper, without backgrounds."""
        self.call("Emulation.setEmulatedMedia", media="")  # what it emulates, it prints, too
        return b64decode(self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"])

    def complaints(self) -> list[str]:
        """What the console has said, errors that nobody caught, what the browser objects to."""
        self.run("0")  # events that were on the way
        return [json.dumps(one) for kind in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
                for one in self._seen(kind)]  # fmt: skip

    def requests(self) -> list[str]:
        """What was asked for beside the page itself and what is within it."""
        urls = [one["request"]["url"] for one in self._seen("Network.requestWillBeSent")]
        return [url for url in urls if url != self.url and not url.startswith("data:")]

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own, to the end of the block."""
    where = program()
    to_read, write = os.pipe()
    read, to_write = os.pipe()
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The browser reads number 3 and writes number 4.
        command = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", where, *FLAGS]
        child = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        os.close(to_read)
        os.close(to_write)
        try:
            yield Browser(write, read)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            os.close(write)
            os.close(read)
