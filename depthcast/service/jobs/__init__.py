"""Depth of whole videos, asked for now and done later: what survives a restart, and what does the work."""
