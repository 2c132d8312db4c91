"""`depthcast submit`: have a service make depth of a video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthcast.commands.console import share_progress, tell
from depthcast.errors import DepthcastError, UsageError
from stream.colour import Colormap
from stream.sinks.size import Resolution

if TYPE_CHECKING:
    from depthcast.client import Client, Generation


def submit(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A file, or an address that the service fetches.")],
    service: Annotated[str, typer.Option(help="Where the service is.")] = "http://127.0.0.1:8080",
    wait: Annotated[bool, typer.Option("--wait", help="Until it is done; implied by -o and --raw.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the video here.")] = None,
    raw: Annotated[Path | None, typer.Option(help="Save float32 maps here, NPZ.")] = None,
    depth_model: Annotated[str | None, typer.Option(help="VDA-Small, VDA-Base or VDA-Large.")] = None,
    colormap: Annotated[Colormap | None, typer.Option(help="Colours.")] = None,
    resolution: Annotated[Resolution | None, typer.Option(help="Of the video.")] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    output_fps: Annotated[float | None, typer.Option(help="Frames per second to take.")] = None,
    side_by_side: Annotated[bool, typer.Option("--side-by-side", help="The picture beside its depth.")] = False,
) -> None:
    """Have a service make depth of a video. The key is taken from DEPTHCAST_API_KEY."""
    from depthcast.client import Client, Options

    for path in (output, raw):
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"there is no folder {path.absolute().parent} for {path.name}; make it first")
    options = Options(
        depth_model=depth_model,
        colormap=colormap and colormap.value,
        resolution=resolution and resolution.value,
        max_frames=max_frames,
        output_fps=output_fps,
        side_by_side=side_by_side or None,
        include_raw_depths=True if raw is not None else None,
    )
    with Client(service) as client:
        queued = client.submit(video, options)
        if not wait and output is None and raw is None:
            print(queued.id)
            return
        _deliver(client, _waited(client, queued), output, raw)


def _waited(client: Client, queued: Generation) -> Generation:
    try:
        with share_progress() as show:
            return client.wait(queued.id, lambda now: show(now.phase or now.state.value, now.progress))
    except (KeyboardInterrupt, SystemExit):
        client.cancel(queued.id)
        tell(f"interrupted: {queued.id} was cancelled")
        raise


def _deliver(client: Client, made: Generation, output: Path | None, raw: Path | None) -> None:
    if made.url is None:
        raise DepthcastError(f"{made.id} {made.state.value}: {made.error or 'nothing was made'}")
    for note in made.notes:
        tell(note)
    if output is None:
        print(made.url)
    else:
        print(client.download(made, output))
    if raw is not None:
        print(client.download_raw(made, raw))
