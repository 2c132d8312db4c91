"""What the environment decides, read once."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from depthcast.errors import UsageError
from depthcast.publicurl import PublicUrl
from stream.redact import redacted_url

MAX_VIEWERS = 16
MAX_BITRATE = 4_000_000
MAX_CAMERAS = 4

HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things lie and where they come from.

    home: folder of everything that is downloaded, exported or built (`DEPTHCAST_HOME`); absolute.
    hub: base URL of the official weights (`DEPTHCAST_HUB`), without a slash at the end.
    ice_addresses: of this machine, offered to WebRTC peers; none: what is listened on (`DEPTHCAST_ICE_ADDRESSES`).
    ice_servers: `stun:HOST:PORT`, `turn:USER:PASSWORD@HOST:PORT` (`DEPTHCAST_ICE_SERVERS`); lists are parted by commas.
    max_viewers, max_bitrate: of one WebRTC output, bits per second each (`DEPTHCAST_MAX_VIEWERS`, `…_MAX_BITRATE`).
    max_cameras: of browsers, served at a time (`DEPTHCAST_MAX_CAMERAS`).
    authorities: a file of certificates that sources over TLS are verified against (`DEPTHCAST_CA_FILE`); without it
        `https://` is verified against those of the machine, `rtsps://` not at all.
    public_url: what HTTP servers are reached by from outside, behind a proxy (`--public-url`).
    api_key: one that `serve` asks for beside those in `keys`, and that clients bring (`DEPTHCAST_API_KEY`).
    """

    home: Path
    hub: str = HUB
    ice_addresses: tuple[str, ...] = ()
    ice_servers: tuple[str, ...] = field(default=(), repr=False)
    max_viewers: int = MAX_VIEWERS
    max_bitrate: int = MAX_BITRATE
    max_cameras: int = MAX_CAMERAS
    api_key: str | None = field(default=None, repr=False)
    authorities: Path | None = None
    public_url: PublicUrl | None = None

    @property
    def stun_servers(self) -> tuple[str, ...]:
        """Those of `ice_servers` that everybody may be told of."""
        return tuple(one for one in self.ice_servers if one.startswith("stun:"))

    @property
    def checkpoints(self) -> Path:
        """Downloaded official weights."""
        return self.home / "checkpoints"

    @property
    def networks(self) -> Path:
        """The model store: networks exported for one input size each."""
        return self.home / "networks"

    @property
    def engines(self) -> Path:
        """Networks compiled by TensorRT, for one GPU each."""
        return self.home / "engines"

    @property
    def keys(self) -> Path:
        """The API keys that `serve` asks for, as hashes."""
        return self.home / "keys"

    @contextmanager
    def using_home(self) -> Iterator[None]:
        """Inside the block, a failure to use a file below `home` is a UsageError that says what to set."""
        try:
            yield
        except OSError as error:
            if (reason := self.home_fault(error)) is None:
                raise
            raise UsageError(reason) from error

    def home_fault(self, error: OSError) -> str | None:
        """What to say of a file in `home`, or a folder on the way there, that cannot be used; None for another's."""
        path = Path(os.fsdecode(error.filename or ""))
        if not path.is_absolute() or not (path.is_relative_to(self.home) or self.home.is_relative_to(path)):
            return None
        return (
            f"{path}: {error.strerror or error}; models and engines are kept in {self.home}: "
            "set DEPTHCAST_HOME to a folder that can be written to"
        )

    def home_is_usable(self) -> bool:
        """It can be written to, or made."""
        try:
            there = next(folder for folder in (self.home, *self.home.parents) if folder.exists())
        except OSError:
            return False
        return there.is_dir() and os.access(there, os.W_OK | os.X_OK)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Settings of this process; UsageError where a variable makes no sense."""
        values = os.environ if environment is None else environment
        hub = values.get("DEPTHCAST_HUB", HUB).rstrip("/")
        if not hub.startswith(("https://", "http://")):
            raise UsageError(f"DEPTHCAST_HUB must begin with https:// or http://, got {redacted_url(hub)!r}")
        return cls(
            _home(values),
            hub,
            _addresses(values.get("DEPTHCAST_ICE_ADDRESSES", "")),
            _ice_servers(values.get("DEPTHCAST_ICE_SERVERS", "")),
            _count(values, "DEPTHCAST_MAX_VIEWERS", MAX_VIEWERS, 1, 1000),
            _count(values, "DEPTHCAST_MAX_BITRATE", MAX_BITRATE, 100_000, 100_000_000),
            _count(values, "DEPTHCAST_MAX_CAMERAS", MAX_CAMERAS, 1, 1000),
            api_key=values.get("DEPTHCAST_API_KEY") or None,
            authorities=_file(values, "DEPTHCAST_CA_FILE"),
        )


def _home(values: Mapping[str, str]) -> Path:
    """Absolute, for a process that changes its folder."""
    text = values.get("DEPTHCAST_HOME", "")
    try:
        home = Path(text).expanduser() if text else _user_cache(values) / "depthcast"
    except RuntimeError as error:
        raise UsageError(f"DEPTHCAST_HOME is {text}, and there is no such user: name a folder") from error
    return home.absolute()


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _addresses(text: str) -> tuple[str, ...]:
    for one in _listed(text):
        try:
            ip_address(one)
        except ValueError:
            raise UsageError(f"DEPTHCAST_ICE_ADDRESSES lists addresses such as 192.0.2.1, got {one!r}") from None
    return _listed(text)


def _ice_servers(text: str) -> tuple[str, ...]:
    for one in _listed(text):
        if not re.fullmatch(r"stun:[^@/\s]+|turns?:(?:[^@\s]+@)?[^@/\s]+", one):
            # Not shown: it may hold a password.
            raise UsageError("DEPTHCAST_ICE_SERVERS lists stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT")
    return _listed(text)


def _file(values: Mapping[str, str], name: str) -> Path | None:
    path = Path(values[name]).expanduser() if values.get(name) else None
    if path is not None and not path.is_file():
        raise UsageError(f"{name} names a file, there is none at {path}")
    return path


def _count(values: Mapping[str, str], name: str, plain: int, least: int, most: int) -> int:
    text = values.get(name) or str(plain)
    if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
        raise UsageError(f"{name} is a number from {least} to {most}, got {text!r}")
    return int(text)


def _user_cache(values: Mapping[str, str]) -> Path:
    if sys.platform == "darwin":
        return _user_home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(values.get("LOCALAPPDATA") or _user_home() / "AppData" / "Local")
    # Relative ones are to be ignored (XDG Base Directory Specification).
    cache = Path(values.get("XDG_CACHE_HOME") or "")
    return cache if cache.is_absolute() else _user_home() / ".cache"


def _user_home() -> Path:
    """The root for a user who has none, as container engines have it: what needs no files there runs."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(Path.cwd().anchor)
