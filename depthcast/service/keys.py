"""API keys: told once, kept as hashes.

A key is 256 random bits, so that one round of SHA-256 is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from depthcast.errors import UsageError

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_LINE = re.compile(r"(\S+) sha256:([0-9a-f]{64})", re.ASCII)
_SHORTEST = 16
_FROM_ENVIRONMENT = "default"
_TICK_NS = 100_000_000
"""File systems count in ticks: a file that changed so lately may change again and look the same."""


@dataclass(frozen=True, slots=True)
class Key:
    """Who brings it, and what it hashes to."""

    name: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of a service. Falsy where there is none. trouble: why there may be more than these, in a sentence."""

    entries: tuple[Key, ...] = ()
    trouble: str = ""

    def __bool__(self) -> bool:
        return bool(self.entries)

    def name_of(self, key: str) -> str | None:
        """Whose key this is. Takes as long for a wrong one as for a right one."""
        digest, found = digest_of(key), None
        for entry in self.entries:
            if hmac.compare_digest(entry.digest, digest):
                found = entry.name
        return found

    def with_key(self, name: str, key: str) -> Self:
        """These and one more; UsageError where the name is taken or means nothing, or the key is too short."""
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot name a key; use up to 64 letters, digits, dots, dashes")
        if any(entry.name == name for entry in self.entries):
            raise UsageError(f"there is a key named {name} already; remove it first or use another name")
        if len(key) < _SHORTEST:
            raise UsageError(
                f"a key has at least {_SHORTEST} characters, got {len(key)}; let `depthcast keys add` make one"
            )
        return replace(self, entries=(*self.entries, Key(name, digest_of(key))))

    def without(self, name: str) -> Self:
        """These but one; UsageError where there is none of that name."""
        rest = tuple(entry for entry in self.entries if entry.name != name)
        if len(rest) == len(self.entries):
            raise UsageError(f"there is no key named {name}; `depthcast keys list` names them")
        return replace(self, entries=rest)


class KeyRing:
    """The keys in a file, read again when it changes, and the one of the environment.

    Once there has been a key, one is asked for until the process ends, whatever becomes of the file: a key that is
    taken away, or a file that cannot be read, must let nobody in.
    """

    __slots__ = ("_extra", "_has_read", "_is_asking", "_keys", "_path", "_seen")

    def __init__(self, path: Path, extra: str | None = None) -> None:
        self._path = path
        self._extra = extra
        self._is_asking = self._has_read = False
        self._seen: tuple[int, ...] | None = None
        self._keys = Keys()

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def __call__(self) -> Keys | None:
        """As they are now; None: nobody is asked for one. Costs one look at the file's status while it stays the same.

        Raises UsageError where the first reading fails; later, only the key of the environment is left then.
        """
        seen = self._status()
        if seen is None or seen != self._seen:
            try:
                self._take(self._with_extra(read_keys(self._path)))
            except UsageError as error:
                if not self._has_read:
                    raise
                if not self._keys.trouble:
                    _LOG.error("nobody is let in by the keys of the file: %s", error)
                self._take(self._with_extra(Keys(trouble="the keys of this service cannot be read at present")))
                # What the disk refuses now it may give later, without any change of the file.
                seen = None if isinstance(error.__cause__, OSError) else seen
            self._seen, self._has_read = seen, True
        return self._keys if self._is_asking else None

    def _with_extra(self, keys: Keys) -> Keys:
        own = Keys().with_key(_FROM_ENVIRONMENT, self._extra) if self._extra else Keys()
        return replace(keys, entries=(*keys.entries, *own.entries))

    def _take(self, keys: Keys) -> None:
        is_asking = self._is_asking or bool(keys or keys.trouble)
        if self._has_read and is_asking and not self._is_asking:
            _LOG.warning("there are keys now: every client is asked for one")
        elif self._keys and not (keys or keys.trouble):
            _LOG.warning("the last key was removed: nobody is let in until there is one again, or a restart")
        self._keys, self._is_asking = keys, is_asking

    def _status(self) -> tuple[int, ...] | None:
        """Differs once the file has changed, was replaced, came or went. None: it is to be read in any case."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return ()
        except OSError:
            return None
        changed_ns = max(status.st_mtime_ns, status.st_ctime_ns)
        if time.time_ns() - changed_ns < _TICK_NS:
            return None
        return (status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino, status.st_size)


def new_key() -> str:
    """A key that nobody has."""
    return f"dc-{secrets.token_urlsafe(32)}"


def digest_of(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def read_keys(path: Path) -> Keys:
    """Keys of a file; none where it is absent. Raises UsageError."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return Keys()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the keys in {path} cannot be read: {error}; DEPTHCAST_HOME says where they are") from error
    entries = []
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line)
        if found is None or not _NAME.fullmatch(found[1]):
            raise UsageError(f"{path}, line {number} is not a key: write it with `depthcast keys add`")
        entries.append(Key(found[1], bytes.fromhex(found[2])))
    return Keys(tuple(entries))


def write_keys(path: Path, keys: Keys) -> None:
    """Put keys into a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    new.touch(mode=0o600)
    new.write_text("".join(f"{entry.name} sha256:{entry.digest.hex()}\n" for entry in keys.entries))
    new.replace(path)
