"""Firefox as Debian has it, spoken to by its own Marionette protocol: playwright drives none but its own build."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PREFERENCES: dict[str, bool | int | str] = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    # Its viewer lets nothing be asked from its page.
    "devtools.jsonview.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.update.enabled": False,
    "marionette.port": 0,
    "media.gmp-manager.updateEnabled": False,
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.server": "",
}
_STARTING_S = 60.0
_ANSWER_S = 60.0


class Firefox:
    """One window. Its camera is Firefox's fake one."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), _ANSWER_S)
        self._said = self._connection.makefile("rb")
        self._number = 0
        self._message()
        self._ask("WebDriver:NewSession", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._ask("WebDriver:Navigate", url=url)

    def run(self, script: str, *words: Any) -> Any:
        """What the body of a function returns in the page; `arguments` are the words, a promise is waited for."""
        return self._ask("WebDriver:ExecuteScript", script=script, args=list(words), sandbox=None)["value"]

    def until(self, script: str, timeout_s: float = 30) -> None:
        """Wait until it returns something."""
        self.wait_for(lambda: self.run(script), timeout_s)

    def wait_for(self, seen: Callable[[], Any], timeout_s: float = 30) -> None:
        """Wait for something to be seen."""
        deadline = time.monotonic() + timeout_s
        while not seen():
            assert time.monotonic() < deadline, f"not seen in {timeout_s} s: {self.text('status')!r}"
            time.sleep(0.05)

    def text(self, name: str) -> str:
        """Of the element of that id."""
        return str(self.run("return document.getElementById(arguments[0])?.textContent ?? ''", name))

    def click(self, name: str) -> None:
        """On the element of that id."""
        self.run("document.getElementById(arguments[0]).click()", name)

    def quit(self) -> None:
        """Close it."""
        self._ask("Marionette:Quit", flags=["eForceQuit"])
        self._said.close()
        self._connection.close()

    def _ask(self, command: str, **words: Any) -> Any:
        self._number += 1
        text = json.dumps([0, self._number, command, words]).encode()
        self._connection.sendall(b"%d:%b" % (len(text), text))
        _, number, error, result = self._message()
        assert number == self._number
        assert error is None, error
        return result

    def _message(self) -> Any:
        length = b""
        while (one := self._said.read(1)) != b":":
            assert one, "Firefox has gone"
            length += one
        return json.loads(self._said.read(int(length)))


@contextmanager
def opened_firefox(program: str, profile: Path, **preferences: bool) -> Iterator[Firefox]:
    """Firefox without a window, with a profile of its own. preferences: beyond ours, `__` for a dot."""
    profile.mkdir()
    wanted = _PREFERENCES | {name.replace("__", "."): value for name, value in preferences.items()}
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in wanted.items())
    (profile / "user.js").write_text("".join(lines))
    process = subprocess.Popen(
        [program, "--headless", "--no-remote", "--marionette", "--profile", str(profile)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        firefox = Firefox(_port_of(process, profile / "MarionetteActivePort"))
        yield firefox
        firefox.quit()
        process.wait(30)
    finally:
        process.kill()
        process.wait()


def _port_of(process: subprocess.Popen[bytes], told: Path) -> int:
    deadline = time.monotonic() + _STARTING_S
    while time.monotonic() < deadline and process.poll() is None:
        if told.exists() and (text := told.read_text()):
            return int(text)
        time.sleep(0.05)
    raise AssertionError("Firefox does not start")
