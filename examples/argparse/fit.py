"""Fit a curve through noisy points by gradient descent."""

import argparse
import json
import math
import random


def noisy_points(count, noise, chance):
    """Points of ``sin`` over one period, each off by a bit."""
    for index in range(count):
        x = 2 * math.pi * index / (count - 1)
        yield x / math.pi - 1, math.sin(x) + chance.gauss(0, noise)


def predict(weights, x):
    return sum(weight * x**power for power, weight in enumerate(weights))


def mean_squared_error(weights, points):
    return sum((predict(weights, x) - y) ** 2 for x, y in points) / len(points)


def step(weights, points, lr):
    """The weights after one step down the gradient of the mean squared error."""
    errors = [(x, predict(weights, x) - y) for x, y in points]
    return [
        weight - lr * 2 * sum(error * x**power for x, error in errors) / len(points)
        for power, weight in enumerate(weights)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--degree", type=int, default=3, help="degree of the polynomial")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate")
    parser.add_argument("--epochs", type=int, default=100, help="steps of gradient descent")
    parser.add_argument("--noise", type=float, default=0.1, help="standard deviation of the noise")
    parser.add_argument("--seed", type=int, default=1, help="seed of the noise")
    args = parser.parse_args()

    points = list(noisy_points(40, args.noise, random.Random(args.seed)))
    weights = [0.0] * (args.degree + 1)
    for _ in range(args.epochs):
        weights = step(weights, points, args.lr)

    print(f"loss: {mean_squared_error(weights, points):.4f}")
    with open("weights.json", "w") as file:
        json.dump([round(weight, 4) for weight in weights], file)


if __name__ == "__main__":
    main()
