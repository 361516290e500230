"""Show the values that were set."""

x = 1.0
y = 2
z = "a"

print(f"{x!r} {y!r} {z!r}")
