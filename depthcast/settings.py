"""What the environment decides, read once."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from depthcast.errors import UsageError

HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things lie and where they come from.

    home: folder of everything that is downloaded, exported or built (`DEPTHCAST_HOME`).
    hub: base URL of the official weights (`DEPTHCAST_HUB`), without a slash at the end.
    api_key: one that `serve` asks for beside those in `keys`, and that clients bring (`DEPTHCAST_API_KEY`).
    """

    home: Path
    hub: str = HUB
    api_key: str | None = field(default=None, repr=False)

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

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Settings of this process; UsageError where a variable makes no sense."""
        values = os.environ if environment is None else environment
        hub = values.get("DEPTHCAST_HUB", HUB).rstrip("/")
        if not hub.startswith(("https://", "http://")):
            raise UsageError(f"DEPTHCAST_HUB must begin with https:// or http://, got {hub!r}")
        home = values.get("DEPTHCAST_HOME", "")
        place = Path(home).expanduser() if home else _user_cache(values) / "depthcast"
        return cls(place, hub, values.get("DEPTHCAST_API_KEY") or None)


def _user_cache(values: Mapping[str, str]) -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(values.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(values.get("XDG_CACHE_HOME") or Path.home() / ".cache")
