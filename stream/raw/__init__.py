"""Depth on the wire: one self-contained binary message a frame. docs/raw-depth.md describes it byte by byte."""
