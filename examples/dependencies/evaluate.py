"""Compare the line with what was measured last."""

with open("line.txt") as file:
    slope, offset = map(float, file.read().split())
print(f"miss: {abs(slope * 6 + offset - 13.1):.3f}")
