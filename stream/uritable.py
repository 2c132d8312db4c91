"""What may be written for a source and for an output: the README's tables are these rows, and each has a test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what to write, and what it means."""

    form: str
    example: str
    meaning: str


SOURCES = (
    Row(
        "PATH",
        "street.mp4",
        "a video file, or a pipe such as `<(…)`",
    ),
    Row(
        "file://PATH?loop=1&realtime=1",
        "file:///videos/street.mp4?loop=1&realtime=1",
        "the same; `loop` starts again at its end, `realtime` plays at its own pace, dropping what comes too fast",
    ),
    Row("-", "-", "a video that is piped into standard input"),
    Row(
        "rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH",
        "rtsp://user:secret@192.0.2.1/stream1?channel=1",
        "a network camera, RTP over TCP; the query belongs to the camera",
    ),
    Row("rtsp://HOST/PATH#udp", "rtsp://192.0.2.1/stream1#udp", "the same, RTP over UDP"),
    Row(
        "rtsps://HOST/PATH",
        "rtsps://192.0.2.1:322/stream1",
        "the same, over TLS; most cameras sign their own certificates, so they are verified only where "
        "`DEPTHCAST_CA_FILE` is set",
    ),
    Row(
        "http://HOST/PATH, https://HOST/PATH",
        "http://192.0.2.1:8080/video.mjpg",
        "motion JPEG or any video; what has an end is a file, what has none is live",
    ),
    Row(
        "https://HOST/PATH#insecure",
        "https://192.0.2.1/video.mjpg#insecure",
        "the same, of a server whose certificate is not verified: cameras that sign their own",
    ),
    Row("/dev/videoN", "/dev/video0", "a camera of this machine (Linux)"),
    Row(
        "camera:N?size=WxH&rate=F",
        "camera:0?size=640x480&rate=30",
        "the same by number; size and rate are wishes to the driver",
    ),
    Row(
        "whip://[TOKEN@]@[ADDRESS]:PORT/NAME, webrtc://[TOKEN@]@[ADDRESS]:PORT/NAME",
        "whip://@:8080/camera",
        "a publisher comes to us, such as OBS: WHIP at `http://ADDRESS:PORT/whip/NAME`, with the token as bearer",
    ),
    Row(
        "test:?size=WxH&rate=F&frames=N&realtime=0",
        "test:?size=320x240&rate=15&frames=100",
        "a moving scene with a frame-number barcode, at its own pace unless `realtime=0`",
    ),
)

SINKS = (
    Row("FILE.mp4", "depth.mp4", "coloured video, H.264"),
    Row("FILE.mkv", "depth.mkv", "16-bit depth, lossless FFV1"),
    Row("FILE.npz", "depth.npz", "float32 maps"),
    Row(
        "rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH",
        "rtsp://192.0.2.1:8554/depth",
        "publish to an RTSP server (ANNOUNCE, RECORD); `#udp` as above",
    ),
    Row(
        "rtsp://[USER:PASSWORD@]@[ADDRESS]:PORT/PATH",
        "rtsp://@:8554/depth",
        "our own RTSP server, marked by the `@` before its address; without an address it listens on all",
    ),
    Row(
        "webrtc://[TOKEN@]@[ADDRESS]:PORT/NAME",
        "webrtc://@:8080/depth",
        "viewers come to us: a page at `http://ADDRESS:PORT/`, WHEP at `/whep/NAME` there, with the token as bearer",
    ),
    Row(
        "whip://[TOKEN@]HOST[:PORT]/PATH, whips://[TOKEN@]HOST/PATH",
        "whip://192.0.2.1:8889/depth/whip",
        "publish to a WHIP server, over HTTP or HTTPS",
    ),
    Row(
        "FOLDER/%06d.png, FOLDER/%06d.exr",
        "depth/%06d.png",
        "a picture for each frame: 16-bit, or float32 as it is; scale, unit and times in `frames.jsonl` beside them",
    ),
    Row("FOLDER/%06d.ply, FOLDER/%06d.pcd", "clouds/%06d.ply", "a coloured point cloud for each frame"),
    Row("FILE.mcap", "depth.mcap", "a recording that Foxglove opens: depth, camera, point cloud"),
    Row("FILE.ros2.mcap", "depth.ros2.mcap", "a recording of ROS 2 messages: Image, CameraInfo, CompressedImage"),
    Row(
        "ws://[TOKEN@]@[ADDRESS]:PORT/PATH?values=KIND",
        "ws://@:8080/raw?values=float16",
        "raw depth for programs over WebSocket, [documented](docs/raw-depth.md), as `uint16`, `float16` or `float32`",
    ),
    Row("foxglove://@[ADDRESS]:PORT", "foxglove://@:8765", "a live server that Foxglove connects to"),
    Row(
        "zenoh:KEY?connect=ENDPOINT&listen=ENDPOINT&values=KIND",
        "zenoh:robot/depth?connect=tcp/192.0.2.1:7447",
        "the messages of `ws://` under a key of a zenoh network",
    ),
    Row("null:", "null:", "nowhere, for measuring"),
)


def table(rows: tuple[Row, ...]) -> str:
    """The rows in Markdown."""
    lines = ["| URI | meaning |", "| --- | --- |"]
    lines += [f"| {', '.join(f'`{form}`' for form in row.form.split(', '))} | {row.meaning} |" for row in rows]
    return "\n".join(lines)
