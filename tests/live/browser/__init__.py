"""The page in Chromium, whose camera plays a file."""
