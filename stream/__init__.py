"""The streaming core: frames in, depth frames out, in order, never older than they must be."""
