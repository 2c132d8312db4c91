"""Addresses that open one file for a while, for whoever holds them."""

from __future__ import annotations

import hashlib
import hmac


def sign(secret: bytes, name: str, expires_at: int) -> str:
    """The signature of a file that may be read until `expires_at`, Unix seconds."""
    return hmac.new(secret, f"{expires_at}\n{name}".encode(), hashlib.sha256).hexdigest()


def is_valid(secret: bytes, name: str, expires: str, signature: str, now: float) -> bool:
    """Whether a signature is ours and has not expired; compared in constant time."""
    if not (expires.isascii() and expires.isdecimal() and len(expires) <= 12 and signature.isascii()):
        return False
    return hmac.compare_digest(sign(secret, name, int(expires)), signature) and now < int(expires)
