"""Who may watch: Digest (RFC 2617, MD5, with and without qop) and Basic (RFC 7617)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from stream.uris import Login

REALM = "depthcast"
_LONGEST = 4096
"""Characters of a header that are looked at; a proof has a few hundred."""


def challenges(nonce: str) -> tuple[tuple[str, str], ...]:
    """Headers of a 401 answer, the stronger way first."""
    return (
        ("WWW-Authenticate", f'Digest realm="{REALM}", nonce="{nonce}", algorithm=MD5, qop="auth"'),
        ("WWW-Authenticate", f'Basic realm="{REALM}"'),
    )


def is_allowed(login: Login, header: str, method: str, nonce: str) -> bool:
    """Whether an Authorization header proves the login.

    nonce: what this connection's challenge held; no other is taken, so nothing can be used again elsewhere.
    """
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "basic":
        return _basic(login, rest.strip())
    if scheme.lower() == "digest":
        return _digest(login, rest, method, nonce)
    return False


def proof(login: Login, challenge: Sequence[str], method: str, url: str) -> str | None:
    """The Authorization header that answers a 401's WWW-Authenticate headers; None where there is no way to."""
    for text in challenge:
        scheme, _, rest = text.partition(" ")
        asked = _parameters(rest)
        if scheme.lower() == "digest" and asked.get("algorithm", "MD5").upper() == "MD5":
            realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
            # Without qop, as RFC 2069 had it: every server takes that, and no count of requests is needed.
            secret, request = _md5(f"{login.user}:{realm}:{login.password}"), _md5(f"{method}:{url}")
            words = f'username="{login.user}", realm="{realm}", nonce="{nonce}", uri="{url}"'
            return f'Digest {words}, response="{_md5(f"{secret}:{nonce}:{request}")}"'
    if any(text.lower().startswith("basic") for text in challenge):
        return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    return None


def _basic(login: Login, text: str) -> bool:
    try:
        given = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, f"{login.user}:{login.password}".encode())


def _digest(login: Login, text: str, method: str, nonce: str) -> bool:
    given = _parameters(text)
    if given.get("nonce") != nonce or given.get("realm") != REALM:
        return False
    secret = _md5(f"{login.user}:{REALM}:{login.password}")
    request = _md5(f"{method}:{given.get('uri', '')}")
    middle = [given.get(name, "") for name in ("nc", "cnonce", "qop")] if "qop" in given else []
    wanted = _md5(":".join([secret, nonce, *middle, request]))
    is_user = hmac.compare_digest(given.get("username", "").encode(), login.user.encode())
    return is_user and hmac.compare_digest(given.get("response", "").encode(), wanted.encode())


def _parameters(text: str) -> dict[str, str]:
    """Pairs such as `nonce="ab", algorithm=MD5`. Every character is looked at once: a stranger wrote them."""
    found, at = dict[str, str](), 0
    text = text[:_LONGEST]
    while (equals := text.find("=", at)) >= 0:
        words = text[at:equals].replace(",", " ").split()
        rest = equals + 1
        while text[rest : rest + 1].isspace():
            rest += 1
        if text[rest : rest + 1] == '"':
            end = text.find('"', rest + 1)
            if end < 0:
                break
            value, at = text[rest + 1 : end], end + 1
        else:
            end = at = next((place for place in range(rest, len(text)) if text[place] in ' \t,"'), len(text))
            value = text[rest:end]
        if words and words[-1].isalpha():
            found[words[-1].lower()] = value
    return found


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
