"""depthcast-nano: the embedded model, its scenes, its training and its evaluation."""
