"""Depth beside the camera's picture, in a window of OpenCV; needs opencv-python.

python opencv_loop.py 0
"""

import sys

import cv2

import depthcast


def main(device: str) -> None:
    """Until the camera ends or `q` is pressed."""
    camera = cv2.VideoCapture(int(device) if device.isdigit() else device)
    with depthcast.DepthStream() as stream:
        while True:
            is_there, image = camera.read()
            if not is_there:
                break
            # A copy, since OpenCV may write the next picture to the same place.
            depth = stream.step(image.copy(), order="bgr")
            coloured = depthcast.colourise(depth.depth, depth.range, depth.unit, depthcast.Colormap.TURBO)
            cv2.imshow("depth", cv2.hconcat([image, cv2.cvtColor(coloured, cv2.COLOR_RGB2BGR)]))
            if cv2.waitKey(1) == ord("q"):
                break
    camera.release()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "0")
