"""Video Depth Anything, written from its published facts, with the official parameter names."""
