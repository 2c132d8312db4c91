"""A point cloud for the Foxglove app, thinned to cubes; needs `pip install 'depthcast[foxglove]'`.

python cloud_to_foxglove.py SOURCE [POINTS.csv], then open ws://localhost:8765 in Foxglove

`depthcast run SOURCE -o foxglove://@:8765` does the same; this shows how to put it together with code of one's own.
"""

import sys

import depthcast
from stream.dataouts import FoxgloveServe
from stream.sinks.foxglove import FoxgloveSink


def main(source: str, points: str | None) -> None:
    """Until the source ends."""
    model = {"scale_to": points} if points else {"model": "VDA-Small", "metric": True}
    with depthcast.open(source, camera="fov=70", far_m=15, **model) as stream:
        sink = FoxgloveSink(FoxgloveServe("127.0.0.1"), stream.info, depthcast.CloudRule(voxel_m=0.03))
        try:
            for depth in stream:
                sink.write(depth)
        finally:
            sink.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
