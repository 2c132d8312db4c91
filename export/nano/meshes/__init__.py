"""Scenes of textured triangles: rooms, streets, figures and loose shapes, ray cast with Embree on a CPU.

Axes: x, y on the floor, z up, metres. Nothing here knows of training; `pool` hands pictures over to it.
"""
