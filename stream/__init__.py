"""The streaming core: frames in, depth frames out, in order, never older than they must be."""

import engines  # noqa: F401 -- switches off what libraries report to their makers
