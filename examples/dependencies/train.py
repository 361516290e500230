"""Fit a line by gradient descent, as params.json says."""

import json

with open("params.json") as file:
    params = json.load(file)
with open("clean.csv") as file:
    points = [tuple(map(float, line.split(","))) for line in file]

slope = offset = 0.0
for epoch in range(1, params["epochs"] + 1):
    errors = [(x, slope * x + offset - y) for x, y in points]
    slope -= params["rate"] * 2 * sum(x * error for x, error in errors) / len(points)
    offset -= params["rate"] * 2 * sum(error for _, error in errors) / len(points)
    if epoch % 25 == 0:
        print(f"epoch {epoch} loss {sum(error**2 for _, error in errors) / len(points):.4f}")
with open("line.txt", "w") as file:
    file.write(f"{slope} {offset}\n")
