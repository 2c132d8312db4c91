"""WebRTC without HTTP: peers on an event loop of their own, offers in, answers out."""
