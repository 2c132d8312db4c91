"""A form with a file in it, read as it arrives: the file goes to its place, and nothing is kept beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from depthcast.service.errors import invalid

_MOST_FIELDS = 64
_LARGEST_FIELDS = 1 << 20
_LARGEST_HEAD = 8192
_BUFFER = 1 << 20
Write = Callable[[bytes], Awaitable[None]]


class _Parts:
    """What the parser says of one form. file: bytes of the file that are still to be written."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.files = 0
        self.file = bytearray()
        self.is_whole = False
        self._count = self._field_bytes = 0
        self._name = ""
        self._is_file = False
        self._value = bytearray()
        self._header, self._header_value = bytearray(), bytearray()
        self._head_bytes = 0
        self._disposition = b""

    def callbacks(self) -> dict[str, Any]:
        """For the parser."""
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_header_field": lambda data, start, end: self._head(self._header, data[start:end]),
            "on_header_value": lambda data, start, end: self._head(self._header_value, data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_end": self._all,
        }

    def _begin(self) -> None:
        self._disposition, self._head_bytes = b"", 0
        self._count += 1
        if self._count > _MOST_FIELDS:
            raise invalid(f"a form has at most {_MOST_FIELDS} parts")

    def _head(self, kept: bytearray, data: bytes) -> None:
        self._head_bytes += len(data)
        if self._head_bytes > _LARGEST_HEAD:
            raise invalid(f"the head of a form's part has at most {_LARGEST_HEAD:,} bytes")
        kept += data

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header, self._header_value = bytearray(), bytearray()

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise invalid("every part of a form has a name")
        self._name, self._is_file = _text(options[b"name"]), b"filename" in options
        self.files += self._is_file
        if self.files > 1:
            raise one_file()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.file += data[start:end]
            return
        self._field_bytes += end - start
        if self._field_bytes > _LARGEST_FIELDS:
            raise invalid(f"the fields of a form have at most {_LARGEST_FIELDS:,} bytes together")
        self._value += data[start:end]

    def _end(self) -> None:
        if not self._is_file:
            self.fields[self._name] = _text(self._value)
        self._value = bytearray()

    def _all(self) -> None:
        self.is_whole = True


async def read_form(request: Request, body: AsyncIterator[bytes], write: Write) -> dict[str, str]:
    """The fields of a form with exactly one file, which is given to `write` in pieces. Raises ApiError."""
    _, options = parse_options_header(request.headers.get("Content-Type", ""))
    if not options.get(b"boundary"):
        raise invalid("the form has no boundary")
    parts = _Parts()
    parser = MultipartParser(options[b"boundary"], parts.callbacks())  # type: ignore[arg-type]
    try:
        async for chunk in body:
            parser.write(chunk)
            if len(parts.file) >= _BUFFER:
                await write(bytes(parts.file))
                parts.file.clear()
    except FormParserError as error:
        raise invalid("the form cannot be read") from error
    if not parts.is_whole:
        raise invalid("the form is cut short")
    if not parts.files:
        raise one_file()
    await write(bytes(parts.file))
    return parts.fields


def one_file() -> Exception:
    """Why a form with no file, or with several, is refused."""
    return invalid("a form must hold the video as one file, named video")


def _text(data: bytes | bytearray) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
