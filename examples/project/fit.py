"""Fit a wave to noisy samples by its Taylor series, and print how far off it is."""

import math
import random

degree = 3
noise = 0.1
samples = 50
seed = 1

random.seed(seed)
total = 0.0
for number in range(samples):
    x = (number / samples - 0.5) * math.pi
    y = math.sin(x) + random.gauss(0, noise)
    fitted = sum((-1) ** n * x ** (2 * n + 1) / math.factorial(2 * n + 1) for n in range(degree))
    total += (y - fitted) ** 2
print(f"error: {math.sqrt(total / samples):.4f}")
