"""FFmpeg's WHIP muxer as publisher, in a process of its own: it holds the interpreter's lock while it connects.

python -m tests.whip_publisher URL WIDTH HEIGHT FRAMES FOLDER
"""

from __future__ import annotations

import datetime
import sys
from fractions import Fraction
from pathlib import Path

import av
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stream.pacing import LIVE_TIME_BASE
from stream.sources.paced import Paced
from stream.sources.synthetic import SyntheticSource

RATE = 30


def publish(url: str, width: int, height: int, frames: int, folder: Path) -> None:
    """The test scene at its own pace."""
    options = {"cert_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}
    write_certificate(folder / "cert.pem", folder / "key.pem")
    with (
        Paced(SyntheticSource(height, width, Fraction(RATE), frames)) as source,
        av.open(url, "w", format="whip", options=options) as container,
    ):
        stream = container.add_stream("libx264", RATE, {"preset": "ultrafast", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base, stream.codec_context.gop_size = LIVE_TIME_BASE, RATE
        stream.profile = "Baseline"
        for frame in source:
            picture = frame.picture.reformat(format="yuv420p")
            picture.pts, picture.time_base = frame.index * 90_000 // RATE, LIVE_TIME_BASE
            container.mux(stream.encode(picture))


def write_certificate(certificate: Path, key: Path) -> None:
    """One of an elliptic curve: aiortc takes no other without our correction."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "publisher")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
    builder = builder.serial_number(1).not_valid_before(now - day).not_valid_after(now + day)
    signed = builder.sign(private, hashes.SHA256())
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


if __name__ == "__main__":
    publish(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
