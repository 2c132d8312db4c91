"""A number drawn into a picture so that it survives scaling, video coding and a phone's camera: for measuring latency.

32 cells in two rows, black or white, over the left half of the picture's top edge: 24 bits of the number and 8 bits
of a check sum, most significant bit first. A cell is a 32nd of the picture's width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROWS, _COLUMNS = 2, 16
_CELLS_PER_WIDTH = 32
_NUMBERS = 1 << 24
_POLYNOMIAL = 0x07
_DARK, _BRIGHT = 16, 240
_LEAST_CONTRAST = 48
LEAST_WIDTH = 4 * _CELLS_PER_WIDTH
"""Pixels; cells of less than four do not survive 4:2:0."""


def draw(image: NDArray[np.uint8], number: int) -> None:
    """Draw a number, 0 or more, modulo 2²⁴, into image uint8 [H, W, 3]. ValueError when it is too small."""
    height, width, _ = image.shape
    if width < LEAST_WIDTH or height < 2 * width // _CELLS_PER_WIDTH:
        raise ValueError(f"a barcode needs {LEAST_WIDTH} columns and a 16th as many lines, got {height}x{width}")
    rows, columns = _edges(width)
    for cell, bit in enumerate(_bits(number % _NUMBERS)):
        row, column = divmod(cell, _COLUMNS)
        image[rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = _BRIGHT if bit else _DARK


def read(image: NDArray[np.uint8]) -> int | None:
    """The number in a picture uint8 [H, W, 3] of any size, in the shape it was drawn into; None: none there."""
    height, width, _ = image.shape
    cell = width / _CELLS_PER_WIDTH
    if cell < 2 or height < 2 * cell:
        return None
    means = np.array([_middle(image, row, column, cell) for row in range(_ROWS) for column in range(_COLUMNS)])
    if means.max() - means.min() < _LEAST_CONTRAST:
        return None
    bits = means > (means.max() + means.min()) / 2
    word = int("".join("1" if bit else "0" for bit in bits), 2)
    number, check = word >> 8, word & 0xFF
    return number if check == _check_sum(number) else None


def _middle(image: NDArray[np.uint8], row: int, column: int, cell: float) -> float:
    """Brightness of a cell, its edges left out: they mix with the neighbours."""
    top, left, margin = row * cell, column * cell, cell / 4
    rows = slice(round(top + margin), max(round(top + cell - margin), round(top + margin) + 1))
    columns = slice(round(left + margin), max(round(left + cell - margin), round(left + margin) + 1))
    return float(image[rows, columns].mean())


def _edges(width: int) -> tuple[list[int], list[int]]:
    cell = width / _CELLS_PER_WIDTH
    return [round(row * cell) for row in range(_ROWS + 1)], [round(column * cell) for column in range(_COLUMNS + 1)]


def _bits(number: int) -> list[bool]:
    word = number << 8 | _check_sum(number)
    return [bool(word >> place & 1) for place in range(31, -1, -1)]


def _check_sum(number: int) -> int:
    """CRC-8 of the three bytes; it begins at 255, so that neither an all black nor an all white strip is a number."""
    check = 0xFF
    for byte in number.to_bytes(3, "big"):
        check ^= byte
        for _ in range(8):
            check = (check << 1 ^ _POLYNOMIAL) & 0xFF if check & 0x80 else check << 1
    return check
