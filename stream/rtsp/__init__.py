"""An RTSP server for one encoded picture stream and many viewers (RFC 2326, RFC 3550, RFC 6184)."""
