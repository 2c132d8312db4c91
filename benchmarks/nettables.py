"""Markdown tables of what leaves over the network: pictures, raw depth, the service's answers."""

from __future__ import annotations

from benchmarks.tables import Result, machine, table, with_machine


def live(results: list[Result]) -> str:
    """Glass to glass."""
    rows = [
        (each["transport"], *(f"{each[name]:.0f}" for name in ("p50_ms", "p95_ms", "p99_ms")), place(each["machine"]))
        for each in sorted(results, key=lambda each: str(each["transport"]))
    ]
    return table(("transport", "p50, ms", "p95, ms", "p99, ms", "machine"), rows)


def live_slow(results: list[Result]) -> str:
    """Viewers that are too slow, on purpose."""
    rows = [
        (
            each["transport"],
            f"{each['hold_ms']:.0f}",
            len(each["p95_ms_by_minute"]),
            f"{each['first_minute_p95_ms']:.0f}",
            f"{each['last_minute_p95_ms']:.0f}",
        )
        for each in results
    ]
    heads = ("transport", "a picture is looked at for, ms", "minutes", "p95 of the first minute, ms", "of the last, ms")
    return table(heads, rows)


def place(where: Result | str) -> str:
    """A machine, described by its conditions or by words."""
    return where if isinstance(where, str) else machine(where)


def raw(results: list[Result]) -> str:
    """Raw depth over WebSocket."""
    rows = [
        (
            f"{each['size']}, {each['values']}",
            f"{each['rate']:.0f}",
            f"{each['message_kb']:.0f}",
            *(f"{p50:.1f} / {p95:.1f}" for p50, p95 in (each["encode_ms"], each["decode_ms"], each["end_to_end_ms"])),
            f"{100 * each['codec_share']:.1f}",
        )
        for each in results
    ]
    heads = (
        "maps",
        "a second",
        "kB each",
        "encode p50 / p95, ms",
        "decode, ms",
        "encode, send, decode, ms",
        "processor time of the codec, both sides, % of a core",
    )
    return with_machine(table(heads, rows), results)


def service(results: list[Result]) -> str:
    """Answers of the job service while it works, and live depth beside its jobs."""
    polled = [
        (
            each["polling"]["clients"],
            each["polling"]["listeners"],
            each["polling"]["requests"],
            each["polling"]["errors"],
            *(f"{each['polling'][name]:.0f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
        )
        for each in results
    ]
    live_beside = [
        (f"beside {part['beside']}", f"{part['p50_ms']:.0f}", f"{part['p95_ms']:.0f}", f"{part['job_fps']:.1f}")
        for each in results
        for part in each["live"]
    ]
    heads = ("clients that poll", "that listen", "requests", "errors", "GET p50, ms", "p95, ms", "p99, ms")
    tables = (
        table(heads, polled),
        table(("live step", "p50, ms", "p95, ms", "frames/s of the job"), live_beside),
    )
    return with_machine("\n\n".join(filter(None, tables)), results)
