"""What runs in or above an operation's process. The standard library alone."""
