"""Depthcast over HTTP. One application serves pages, viewers and jobs; who needs a route brings a router."""
