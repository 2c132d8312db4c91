"""GStreamer's RTSP server as a camera, or as one that others publish to. Run by Debian's own Python.

gst_server.py PORT PIPELINE [--record] [--login USER:PASSWORD] [--certificate FILE.pem]

Says `ready PORT` when it listens at rtsp://127.0.0.1:PORT/cam.
"""

from __future__ import annotations

import argparse
import signal

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtspServer  # noqa: E402


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("port")
    words.add_argument("pipeline")
    words.add_argument("--record", action="store_true")
    words.add_argument("--login")
    words.add_argument("--certificate")
    given = words.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(given.port)
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(given.pipeline)
    factory.set_shared(True)
    if given.record:
        factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
        factory.set_latency(0)
    protect(server, factory, given.login, given.certificate)
    server.get_mount_points().add_factory("/cam", factory)
    if not server.attach(None):
        raise SystemExit(f"cannot listen on {given.port}")
    print(f"ready {server.get_bound_port()}", flush=True)
    loop = GLib.MainLoop()
    GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGTERM, loop.quit)
    loop.run()


def protect(
    server: GstRtspServer.RTSPServer,
    factory: GstRtspServer.RTSPMediaFactory,
    login: str | None,
    certificate: str | None,
) -> None:
    """Ask for a login, or speak TLS."""
    if not login and not certificate:
        return
    auth = GstRtspServer.RTSPAuth.new()
    if certificate:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(certificate))
    if login:
        user, _, password = login.partition(":")
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.set_supported_methods(GstRtsp_digest())
        auth.add_digest(user, password, token)
        permissions = GstRtspServer.RTSPPermissions()
        for right in ("media.factory.access", "media.factory.construct"):
            permissions.add_permission_for_role("viewer", right, True)
        factory.set_permissions(permissions)
    server.set_auth(auth)


def GstRtsp_digest() -> object:
    gi.require_version("GstRtsp", "1.0")
    from gi.repository import GstRtsp

    return GstRtsp.RTSPAuthMethod.DIGEST


if __name__ == "__main__":
    main()
