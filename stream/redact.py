"""What may be shown of addresses and messages: no login, no query, no part of a path that could be a secret."""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"
_SCHEME = r"\b[A-Za-z][A-Za-z0-9+.-]{1,31}:/{1,2}"
"""With one slash, too: that is what becomes of an address that was taken for a path."""
_URL = re.compile(rf"{_SCHEME}[^\s'\"<>]+")
_TRAILING = ".,:;)]}"
"""Punctuation of the sentence around an address."""
_SECRETS = (
    (re.compile(r"(?i)\b(bearer|basic|digest)\s+[^\s'\",;]+"), r"\1 ***"),
    (re.compile(r"(?i)([?&](?:sig|signature|token|key|api_key|secret|password)=)[^\s&'\"]+"), r"\1***"),
    (re.compile(r"\bdc-[A-Za-z0-9_-]{43}\b"), "dc-***"),
)
_READABLE = re.compile(r"[^\W\d_]*\d{0,8}[^\W\d_]*\d?")
"""Words as people and cameras name streams: ch0, h264Preview, mpeg4unicast, m3u8, 101."""
_LONGEST_WORD = 12
_SEPARATORS = re.compile(r"[\s._~+,()\[\]-]+")
_FRAGMENTS = ("tcp", "udp", "insecure")
_NAMES_A_SECRET = re.compile(r"(?i)user(name)?|usr|login|admin|root|pass(word|wd)?|pwd|psw|auth|token|key|secret")


def redacted_url(text: str) -> str:
    """An address as a person wrote it, right or wrong, without what could be a secret.

    What stands before the last `@` is taken for a login wherever that `@` stands: a password with `/`, `?` or `#` in
    it moves the `@` behind the host. Paths of cameras may hold logins and tokens too; `***` stands for such parts.
    """
    found = re.match(_SCHEME, text)
    if found is None:
        return _redacted_path_or_login(text)
    scheme, rest = found[0], text[found.end() :]
    login, at, place = rest.rpartition("@")
    shown_login = HIDDEN if login.strip("@") else login
    host, path, query, fragment = _split(place)
    shown_fragment = "" if not fragment else f"#{fragment}" if fragment in _FRAGMENTS else f"#{HIDDEN}"
    return f"{scheme}{shown_login}{at}{host}{_redacted_path(path)}{f'?{HIDDEN}' if query else ''}{shown_fragment}"


def redacted(text: str) -> str:
    """A message or a line of a log, all addresses in it as `redacted_url` has them, and no key or token."""
    text = _URL.sub(_redacted_match, text)
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _redacted_match(found: re.Match[str]) -> str:
    url = found[0].rstrip(_TRAILING)
    return redacted_url(url) + found[0][len(url) :]


def _redacted_path_or_login(text: str) -> str:
    """A login whose scheme was forgotten has a colon before its `@`."""
    login, at, place = text.rpartition("@")
    shown = f"{HIDDEN}{at}{place}" if ":" in login and not text.startswith(("/", ".")) else text
    return re.sub(r"\?.*", f"?{HIDDEN}", shown)


def _split(place: str) -> tuple[str, str, str, str]:
    """Host with port, path, query and fragment of what stands behind a login."""
    before, _, fragment = place.partition("#")
    before, _, query = before.partition("?")
    host, slash, path = before.partition("/")
    return host, slash + path, query, fragment


def _redacted_path(path: str) -> str:
    shown, is_named = [], False
    for segment in path.split("/"):
        hides = bool(segment) and (is_named or not _is_readable(segment))
        shown.append(HIDDEN if hides else segment)
        is_named = _NAMES_A_SECRET.fullmatch(segment) is not None
    return "/".join(shown)


def _is_readable(segment: str) -> bool:
    words = _SEPARATORS.split(unquote(segment).replace("_", " ").replace("%", " ").strip("*"))
    return all(len(word) <= _LONGEST_WORD and _READABLE.fullmatch(word) for word in words)
