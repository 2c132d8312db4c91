"""What is measured, and the documents that are drawn from it."""

import engines  # noqa: F401 -- switches off what libraries report to their makers
