"""API keys: told once, kept as hashes.

A key is 256 random bits, so that one round of SHA-256 is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from depthcast.errors import UsageError

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_LINE = re.compile(r"(\S+) sha256:([0-9a-f]{64})", re.ASCII)
_SHORTEST = 16
_FROM_ENVIRONMENT = "default"


@dataclass(frozen=True, slots=True)
class Key:
    """Who brings it, and what it hashes to."""

    name: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of a service. Falsy where there is none."""

    entries: tuple[Key, ...] = ()

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
        return type(self)((*self.entries, Key(name, digest_of(key))))

    def without(self, name: str) -> Self:
        """These but one; UsageError where there is none of that name."""
        rest = tuple(entry for entry in self.entries if entry.name != name)
        if len(rest) == len(self.entries):
            raise UsageError(f"there is no key named {name}; `depthcast keys list` names them")
        return type(self)(rest)


class KeyRing:
    """The keys in a file, read again when it changes, and the one of the environment."""

    __slots__ = ("_extra", "_keys", "_path", "_read_ns")

    def __init__(self, path: Path, extra: str | None = None) -> None:
        self._path = path
        self._extra = extra
        self._read_ns: int | None = None
        self._keys = Keys()

    def __call__(self) -> Keys:
        """As they are now. Raises UsageError where the file is none of ours; one that became so changes nothing."""
        try:
            written_ns = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            written_ns = 0
        if written_ns != self._read_ns:
            try:
                keys = read_keys(self._path)
                self._keys = keys.with_key(_FROM_ENVIRONMENT, self._extra) if self._extra else keys
            except UsageError as error:
                if self._read_ns is None:
                    raise
                _LOG.error("the keys stay as they were: %s", error)
            self._read_ns = written_ns
        return self._keys


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
