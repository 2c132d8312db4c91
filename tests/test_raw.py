"""Raw depth messages: exact round trips, the reference readers, refusals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from engines.spec import Unit
from examples import raw_reader
from stream.camera import Intrinsics, Lens, LensModel
from stream.errors import RawError
from stream.frame import DisplayRange
from stream.raw.codec import Encoder, decode, message
from stream.raw.codes import Codes
from stream.raw.header import SIZE, Kind, RawHeader
from stream.raw.payload import Unpacker
from tests.fakes import depth_frame

ROOT = Path(__file__).parent.parent
TYPES = {Kind.UINT16: np.uint16, Kind.FLOAT16: np.float16, Kind.FLOAT32: np.float32}
CAMERA = Intrinsics(3, 5, 517.25, 516.5, 2.0, 1.25)
SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def header_of(kind: Kind, values: NDArray[Any], **fields: Any) -> RawHeader:
    plain: dict[str, Any] = {
        "unit": Unit.METRE,
        "sequence": 7,
        "pts": -3,
        "time_base": Fraction(1001, 30000),
        "captured_ns": 2**62,
        "unix_ns": 1,
        "range": DisplayRange(0.5, 8.0),
        "scale": 0.001,
    }
    return RawHeader(kind=kind, height=values.shape[0], width=values.shape[1], **{**plain, **fields})


@pytest.mark.parametrize("kind", Kind)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_every_bit_survives(kind: Kind, data: st.DataObject) -> None:
    dtype = np.dtype(TYPES[kind])
    bits = data.draw(arrays.arrays(f"u{dtype.itemsize}", SHAPES, elements={"min_value": 0}))
    values = bits.view(dtype)
    sent = header_of(kind, values)
    received = decode(message(sent, values))
    assert received.header == sent
    assert received.values.dtype == dtype
    assert np.array_equal(received.values.view(bits.dtype), bits)
    _, _, read = raw_reader.read(message(sent, values))
    assert np.array_equal(read.view(bits.dtype), bits)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("shape", [(211, 640), (479, 333), (3, 70001), (70001, 1)])
def test_every_bit_of_a_map_larger_than_a_block_survives(kind: Kind, shape: tuple[int, int]) -> None:
    dtype = np.dtype(TYPES[kind])
    values = np.frombuffer(np.random.default_rng(1).bytes(shape[0] * shape[1] * dtype.itemsize), dtype).reshape(shape)
    sent = message(header_of(kind, values), values)
    assert decode(sent).values.tobytes() == values.tobytes()
    assert raw_reader.read(sent)[2].tobytes() == values.tobytes()


def test_an_unpacker_that_is_kept_leaves_earlier_maps_alone() -> None:
    unpacker, rng = Unpacker(), np.random.default_rng(2)
    maps = [rng.integers(0, 2**16, shape, np.uint16) for shape in ((20, 30), (20, 30), (7, 5), (20, 30))]
    sent = [message(header_of(Kind.UINT16, values), values) for values in maps]
    got = []
    for one in sent:
        got.append(decode(one, unpacker).values)
        with pytest.raises(RawError, match=r"damaged|belong to its size"):
            decode(one[:SIZE] + bytes(len(one) - SIZE), unpacker)
    assert all(np.array_equal(values, received) for values, received in zip(maps, got, strict=True))


@given(
    unit=st.sampled_from(Unit),
    pts=st.integers(-(2**63), 2**63 - 1),
    sequence=st.integers(0, 2**64 - 1),
    base=st.tuples(st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1)),
    stale=st.booleans(),
    reset=st.booleans(),
    has_camera=st.booleans(),
    distorted=st.booleans(),
    scale=st.floats(width=64, allow_nan=False),
    limits=st.tuples(st.floats(0, 100, width=32), st.floats(100, width=32)),
)
def test_every_field_survives(
    unit: Unit,
    pts: int,
    sequence: int,
    base: tuple[int, int],
    stale: bool,
    reset: bool,
    has_camera: bool,
    distorted: bool,
    scale: float,
    limits: tuple[float, float],
) -> None:
    values = np.zeros((3, 5), np.uint16)
    sent = header_of(
        Kind.UINT16,
        values,
        unit=unit,
        pts=pts,
        sequence=sequence,
        time_base=Fraction(1, base[1]),
        stale=stale,
        reset=reset,
        intrinsics=CAMERA if has_camera else None,
        distorted=distorted,
        scale=scale,
        limits=limits,
    )
    assert decode(message(sent, values)).header == sent


def test_a_frame_becomes_a_message_with_all_that_is_known_of_it() -> None:

    lens = Lens(LensModel.PLUMB_BOB, (0.1, 0.0, 0.0, 0.0, 0.0))
    depth = np.array([[0.0, 0.5, np.nan], [np.inf, 70.0, 65.535]], np.float32)
    camera = Intrinsics(2, 3, 2.5, 2.5, 1.0, 0.5, lens)
    shown = replace(depth_frame(depth, 4, Unit.METRE), intrinsics=camera, stale=True)
    encoder = Encoder(limits=(0.25, 80.0))
    encoder.encode(shown, 0)
    got = decode(encoder.encode(shown, 99))
    assert (got.header.sequence, got.header.pts, got.header.unix_ns, got.header.stale) == (1, 4, 99, True)
    assert got.header.distorted
    assert got.header.intrinsics == replace(camera, lens=None)
    assert got.header.limits == (0.25, 80.0)
    assert got.values.tolist() == [[1, 500, 0], [0, 65535, 65535]]
    expected = np.array([[0.001, 0.5, np.nan], [np.nan, 65.535, 65.535]], np.float32)
    assert np.array_equal(got.depth, expected, equal_nan=True)


@pytest.mark.parametrize(("scale", "offset"), [(0.001, 0.0), (0.0003, -1.5)])
def test_codes_of_a_map_with_holes_in_some_blocks(scale: float, offset: float) -> None:
    depth = np.random.default_rng(3).uniform(0.1, 15, (400, 640)).astype(np.float32)
    depth[110:115, ::3] = np.nan
    depth[210, :4] = np.inf, -np.inf, 3e30, -3e30
    depth[310, :5] = 0, 1e-9, 65.535, 65.6, -1
    steps = np.rint(depth * np.float32(1 / scale) - np.float32(offset / scale))
    expected = np.where(np.isfinite(depth), np.clip(steps, 1, 65535), 0)
    codes = Codes(scale, offset).encode(depth)
    assert np.array_equal(codes, expected)
    assert np.array_equal(np.isnan(Codes(scale, offset).decode(codes)), ~np.isfinite(depth))


@given(arrays.arrays(np.float32, SHAPES, elements=st.floats(-1e6, 1e6, width=32)))
@settings(max_examples=30, deadline=None)
def test_sixteen_bits_of_relative_depth_span_the_map(depth: NDArray[np.float32]) -> None:
    got = decode(Encoder().encode(depth_frame(depth), 0))
    step = max(float(np.ptp(depth)) / 65534, 1e-7 * float(np.abs(depth).max()), 1e-12)
    assert np.all(np.abs(got.depth.astype(np.float64) - depth) <= 0.51 * step + 2e-6 * np.abs(depth).max())


@given(arrays.arrays(np.float32, SHAPES))
@settings(max_examples=20, deadline=None)
def test_float32_is_the_map_itself(depth: NDArray[np.float32]) -> None:
    got = decode(Encoder(Kind.FLOAT32).encode(depth_frame(depth), 0))
    assert np.array_equal(got.values.view(np.uint32), depth.view(np.uint32))


def test_a_half_that_overflows_stays_finite_and_what_is_not_finite_stays_so() -> None:
    depth = np.array([[1e30, -1e30, np.inf, np.nan, 1.5]], np.float32)
    got = decode(Encoder(Kind.FLOAT16).encode(depth_frame(depth), 0)).depth
    assert np.array_equal(got, np.array([[65504, -65504, np.inf, np.nan, 1.5]], np.float32), equal_nan=True)


def test_a_map_without_a_value_has_none() -> None:
    depth = np.full((4, 4), np.nan, np.float32)
    assert not decode(Encoder().encode(depth_frame(depth), 0)).values.any()


def _damaged() -> list[tuple[bytes, str]]:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8)
    sound = message(header_of(Kind.UINT16, values), values)
    return [
        (b"", "header of 128"),
        (b"JPEG" + sound[4:], "no raw depth message"),
        (sound[:-1], "cut short"),
        (sound[:5] + b"\x09" + sound[6:], "means nothing"),
        (sound[:6] + b"\x09" + sound[7:], "means nothing"),
        (sound[:56] + b"\xff" * 8 + sound[64:], "not plausible"),
        (sound[:SIZE] + b"\x00" * (len(sound) - SIZE), "damaged"),
        (sound[:10] + b"\x00" + sound[11:], "plain payload"),
        (sound[:56] + b"\x04" + sound[57:], "damaged|belong to its size"),
    ]


@pytest.mark.parametrize(("damaged", "hint"), _damaged())
def test_damaged_messages_are_refused(damaged: bytes, hint: str) -> None:
    with pytest.raises(RawError, match=hint):
        decode(damaged)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    with pytest.raises(RawError):
        decode(b"DCRD\x01" + data)


def test_a_header_that_lies_about_its_values_is_our_callers_fault() -> None:
    with pytest.raises(ValueError, match="the header says"):
        message(header_of(Kind.FLOAT32, np.zeros((2, 2))), np.zeros((2, 2), np.uint16))


def test_the_reference_readers_stay_small() -> None:
    for name in ("raw_reader.py", "raw_reader.mjs"):
        assert len((ROOT / "examples" / name).read_text().splitlines()) <= 70


_DUMP = """
import { readDepth } from %r;
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import * as zlib from "node:zlib";
const unzstd = zlib.zstdDecompressSync ?? createRequire(process.cwd() + "/")("fzstd").decompress;
const bytes = readFileSync(process.argv[2]), headers = [];
let at = 0, number = 0;
while (at < bytes.length) {
  const end = at + 128 + bytes.readUInt32LE(at + 12);
  const { header, values, depth } = readDepth(new Uint8Array(bytes.subarray(at, end)).buffer, unzstd);
  headers.push(header);
  writeFileSync(`values${number}`, new Uint8Array(values.buffer));
  writeFileSync(`depth${number++}`, new Uint8Array(depth.buffer));
  at = end;
}
console.log(JSON.stringify(headers, (_, value) => typeof value === "bigint" ? value.toString() : value));
"""


def node_with_zstd(folder: Path) -> str:
    """Node, able to read Zstandard, or a skip."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node 18 or newer")
    modules = os.environ.get("NODE_PATH", "")
    ask = 'process.exit(require("zlib").zstdDecompressSync || require("fzstd") ? 0 : 1)'
    asked = subprocess.run([node, "-e", ask], cwd=folder, env={**os.environ, "NODE_PATH": modules}, capture_output=True)
    if asked.returncode:
        pytest.skip("needs Node 22.15 or newer, or the npm package fzstd in a folder that NODE_PATH names")
    return node


def test_the_javascript_reader_reads_a_capture(tmp_path: Path) -> None:
    node = node_with_zstd(tmp_path)
    (tmp_path / "dump.mjs").write_text(_DUMP % (ROOT / "examples" / "raw_reader.mjs").as_uri())
    rng = np.random.default_rng(0)
    maps = [rng.uniform(0.2, 9, (23, 31)).astype(np.float32) for _ in range(3)]
    maps[1][2:4] = np.nan
    maps[2][5, 5], maps[2][5, 6], maps[2][5, 7] = np.inf, 0, 1e-7
    frames = [depth_frame(depth, 3 * index, Unit.METRE) for index, depth in enumerate(maps)]
    sent = [Encoder(kind).encode(frame, 2**53 + 1) for kind in Kind for frame in frames]
    (tmp_path / "capture.bin").write_bytes(b"".join(sent))
    said = subprocess.run(
        [node, "dump.mjs", "capture.bin"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert said.returncode == 0, said.stderr
    for number, (header, one) in enumerate(zip(json.loads(said.stdout), sent, strict=True)):
        got = decode(one)
        assert (header["pts"], header["unixNs"], header["unit"]) == (str(got.header.pts), str(2**53 + 1), "metre")
        assert header["reset"] == got.header.reset
        assert (tmp_path / f"values{number}").read_bytes() == got.values.tobytes()
        depth = np.frombuffer((tmp_path / f"depth{number}").read_bytes(), np.float32).reshape(23, 31)
        assert np.array_equal(depth, got.depth, equal_nan=True)
    assert list(raw_reader.split(b"".join(sent))) == sent
