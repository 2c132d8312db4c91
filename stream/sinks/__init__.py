"""Where depth frames go."""
