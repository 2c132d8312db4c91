"""depthcast: a camera goes in, temporally consistent depth comes out, per frame, live."""
