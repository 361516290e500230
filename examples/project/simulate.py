"""Print noisy samples of a wave."""

import math
import random

samples = 5
noise = 0.1
seed = 1

random.seed(seed)
for number in range(samples):
    x = number / samples
    y = math.sin(2 * math.pi * x) + random.gauss(0, noise)
    print(f"{x:.1f} {y:+.3f}")
