"""Tests. Nothing of what they run reports to anybody."""

import engines  # noqa: F401 -- switches off what libraries report to their makers
