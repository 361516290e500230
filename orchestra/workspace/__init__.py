"""A run's directory on disk: its layout, its records, its source, its output."""
