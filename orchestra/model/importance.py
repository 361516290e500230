"""Which flags matter to a number: how much of its variance over runs each explains by itself.

The method is functional ANOVA over a random forest (Hutter, Hoos, Leyton-Brown: "An Efficient Approach for Assessing
Hyperparameter Importance", ICML 2014), the one that Optuna has as its default. A forest of regression trees learns the
number from the flags. Each leaf is a box, so the mean of the number over all other flags can be worked out exactly for
each value of one of them; the variance of these means, as a share of all that the tree has, is what that flag explains.
Other than there, values are weighted by how often they were tried.

What the shares leave to 1 is due to flags that only matter together. Few runs tell little: ``fit`` says how well the
forest foretells runs that it has not seen.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from orchestra.model.columns import as_number
from orchestra.model.decoding import encode
from orchestra.model.operation import FlagValue
from orchestra.model.scalars import natural

LEAST_RUNS = 4
"""Of fewer nothing can be said."""
LEAST_FOR_FIT = 10
MOST_LEARNED = 1000
"""Runs that the forest learns from: of more, evenly chosen ones."""
MOST_BINS = 16
"""Values of a flag that are told apart; of more, neighbours or the rarest are taken together."""
TREES = 32
DEEPEST = 8
FAR = 3.0
"""Numbers so many times the middle half away from it are pulled in: one run gone astray is not all there is to say."""


class FlagImportance(Struct, frozen=True, kw_only=True):
    """What one flag means to the number."""

    name: str
    share: float
    """Of the variance that the flag explains by itself: 0 to 1."""
    correlation: float | None = None
    """Spearman's: whether the number rises (to 1) or falls (to -1) with the flag. None where the flag is no number."""


class Importance(Struct, frozen=True, kw_only=True):
    """What flags mean to a number; the most important first."""

    flags: tuple[FlagImportance, ...]
    runs: int
    """So many runs had the number."""
    fit: float | None = None
    """The share of the variance of runs that were not learned from that the forest explains; None of few runs."""


class _Feature(NamedTuple):
    bins: list[int]
    """Of each run."""
    weights: list[float]
    """Of each bin: the share of the runs in it."""
    ordered: bool
    """The bins have an order of their own."""


class _Leaf(NamedTuple):
    masks: tuple[int, ...]
    """Of each feature: the bins that lead here, as bits."""
    value: float


def importance_of(flags: Mapping[str, Sequence[FlagValue]], numbers: Sequence[float]) -> Importance | None:
    """What ``flags`` (of each the value in every run) mean to the ``numbers`` of these runs, which are finite.

    None if nothing can be said: of too few runs, or when the number is the same in all of them.
    """
    varied = {name: values for name, values in flags.items() if len(set(map(encode, values))) > 1}
    if len(numbers) < LEAST_RUNS or not varied or max(numbers) == min(numbers):
        return None
    learned: Sequence[int] = range(len(numbers))
    if len(numbers) > MOST_LEARNED:
        # Not every n-th: in a grid, a flag may have the same value in all of those.
        learned = sorted(random.Random(0).sample(learned, MOST_LEARNED))
    pulled_in = _pulled_in(numbers)
    target = [pulled_in[place] for place in learned]
    names = natural(varied)
    features = [_feature([varied[name][place] for place in learned]) for name in names]
    shares, fit = _forest(features, target)
    found = [
        FlagImportance(name=name, share=share, correlation=_correlation(varied[name], numbers))
        for name, share in zip(names, shares, strict=True)
    ]
    found.sort(key=lambda one: -one.share)
    return Importance(flags=tuple(found), runs=len(numbers), fit=fit)


def _pulled_in(numbers: Sequence[float]) -> list[float]:
    ranked = sorted(numbers)
    low, high = ranked[len(ranked) // 4], ranked[-1 - len(ranked) // 4]
    reach = FAR * (high - low)
    if not 0 < reach < math.inf:
        # Of a number that hardly ever varies the exceptions are what counts.
        top = max(abs(ranked[0]), abs(ranked[-1]))
        return [number / top for number in numbers]
    return [(min(max(number, low - reach), high + reach) - low) / reach for number in numbers]


def _feature(values: Sequence[FlagValue]) -> _Feature:
    numbers = [_number(value) for value in values]
    if any(number is None and value is not None for number, value in zip(numbers, values, strict=True)):
        return _weighted(_named_bins([encode(value) for value in values]), ordered=False)
    # A flag that a run does not have comes before all numbers.
    return _weighted(
        _number_bins([-math.inf if number is None else number for number in numbers]), ordered=True
    )


def _number(value: FlagValue) -> float | None:
    return None if isinstance(value, bool) else as_number(value)


def _named_bins(texts: list[str]) -> list[int]:
    ranked = [text for text, _ in Counter(texts).most_common()]
    places = {text: min(place, MOST_BINS - 1) for place, text in enumerate(ranked)}
    return [places[text] for text in texts]


def _number_bins(numbers: list[float]) -> list[int]:
    distinct = sorted(set(numbers))
    if len(distinct) <= MOST_BINS:
        places = {number: place for place, number in enumerate(distinct)}
    else:
        counts = Counter(numbers)
        places, before = dict[float, int](), 0
        for number in distinct:
            places[number] = before * MOST_BINS // len(numbers)
            before += counts[number]
        # Without gaps: where one number is that of many runs, some places are never reached.
        used = {place: index for index, place in enumerate(sorted(set(places.values())))}
        places = {number: used[place] for number, place in places.items()}
    return [places[number] for number in numbers]


def _weighted(bins: list[int], *, ordered: bool) -> _Feature:
    counts = Counter(bins)
    return _Feature(bins, [counts[place] / len(bins) for place in range(max(bins) + 1)], ordered)


def _forest(features: list[_Feature], target: list[float]) -> tuple[list[float], float | None]:
    """The share of each feature, and the fit."""
    source = random.Random(0)  # The same runs always give the same picture.
    rows = range(len(target))
    shares = [0.0] * len(features)
    unseen: list[list[float]] = [[] for _ in rows]
    grown = 0
    for _ in range(TREES):
        sample = source.choices(rows, k=len(rows))
        tree = _Tree(features, target, unseen)
        tree.grow(
            sample, list(set(rows).difference(sample)), 0, [(1 << len(one.weights)) - 1 for one in features]
        )
        explained = _explained(features, tree.leaves)
        if explained is not None:
            grown += 1
            shares = [share + part for share, part in zip(shares, explained, strict=True)]
    return [share / max(grown, 1) for share in shares], _fit(target, unseen)


def _fit(target: list[float], unseen: list[list[float]]) -> float | None:
    if len(target) < LEAST_FOR_FIT:
        return None
    pairs = [(number, sum(told) / len(told)) for number, told in zip(target, unseen, strict=True) if told]
    mean = sum(number for number, _ in pairs) / len(pairs)
    total = sum((number - mean) ** 2 for number, _ in pairs)
    missed = sum((number - told) ** 2 for number, told in pairs)
    return max(1 - missed / total, 0.0) if total else None


class _Tree:
    """A regression tree: its leaves, and what it foretells of each run that it was not grown from."""

    def __init__(self, features: list[_Feature], target: list[float], unseen: list[list[float]]) -> None:
        self.leaves: list[_Leaf] = []
        self._features, self._target, self._unseen = features, target, unseen

    def grow(self, sample: list[int], others: list[int], depth: int, masks: Sequence[int]) -> None:
        """Grow the part of it that is within the box of ``masks``, from ``sample``; ``others`` are the unseen runs."""
        split = _best_split(self._features, self._target, sample, masks) if depth < DEEPEST else None
        if split is None:
            value = sum(self._target[row] for row in sample) / len(sample)
            self.leaves.append(_Leaf(tuple(masks), value))
            for row in others:
                self._unseen[row].append(value)
            return
        index, left = split
        bins = self._features[index].bins
        for mask in (left, masks[index] & ~left):
            part = [row for row in sample if mask >> bins[row] & 1]
            rest = [row for row in others if mask >> bins[row] & 1]
            self.grow(part, rest, depth + 1, [*masks[:index], mask, *masks[index + 1 :]])


def _best_split(
    features: list[_Feature], target: list[float], sample: list[int], masks: Sequence[int]
) -> tuple[int, int] | None:
    """The feature, and its bins as bits, that tell the sample apart best."""
    least = 1 if len(target) < 20 else max(2, len(target) // 100)
    if len(sample) < 2 * least:
        return None
    whole = sum(target[row] for row in sample)
    # A split is as good as the sum of squares that it takes away; below that of rounding there is nothing to find.
    best, found = whole * whole / len(sample) + 1e-12, None
    for index, feature in enumerate(features):
        bins, wide = feature.bins, len(feature.weights)
        counts, sums = [0] * wide, [0.0] * wide
        for row in sample:
            counts[bins[row]] += 1
            sums[bins[row]] += target[row]
        order = [place for place in range(wide) if counts[place]]
        if not feature.ordered:
            order.sort(key=lambda place: sums[place] / counts[place])
        count, total, left = 0, 0.0, 0
        for position, place in enumerate(order[:-1]):
            count, total, left = count + counts[place], total + sums[place], left | 1 << place
            rest = len(sample) - count
            score = total * total / count + (whole - total) ** 2 / rest
            if score > best and count >= least and rest >= least:
                # A number between two that were seen is nearer to the lower one.
                bits = (1 << order[position + 1]) - 1 if feature.ordered else left
                best, found = score, (index, bits & masks[index])
    return found


def _explained(features: list[_Feature], leaves: list[_Leaf]) -> list[float] | None:
    """The share of each feature in the variance of a tree; None if that has none."""
    sides = [
        [_weight(feature.weights, mask) for feature, mask in zip(features, leaf.masks, strict=True)]
        for leaf in leaves
    ]
    sizes = [math.prod(one) for one in sides]
    mean = sum(size * leaf.value for size, leaf in zip(sizes, leaves, strict=True))
    variance = sum(size * (leaf.value - mean) ** 2 for size, leaf in zip(sizes, leaves, strict=True))
    if variance <= 1e-15:
        return None
    explained: list[float] = []
    for index, feature in enumerate(features):
        means = [0.0] * len(feature.weights)
        for leaf, side in zip(leaves, sides, strict=True):
            part = leaf.value * math.prod(side[:index]) * math.prod(side[index + 1 :])
            for place in range(len(means)):
                if leaf.masks[index] >> place & 1:
                    means[place] += part
        own = sum(weight * (one - mean) ** 2 for weight, one in zip(feature.weights, means, strict=True))
        explained.append(own / variance)
    return explained


def _weight(weights: list[float], mask: int) -> float:
    return sum(weight for place, weight in enumerate(weights) if mask >> place & 1)


def _correlation(values: Sequence[FlagValue], numbers: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None where there are values that are no numbers, or too few."""
    pairs: list[tuple[float, float]] = []
    for value, number in zip(values, numbers, strict=True):
        if value is None:
            continue
        known = _number(value)
        if known is None:
            return None
        pairs.append((known, number))
    ranks = [_ranks([pair[side] for pair in pairs]) for side in (0, 1)]
    middle = (len(pairs) - 1) / 2
    one, other = ([rank - middle for rank in side] for side in ranks)
    spread = math.sqrt(sum(rank * rank for rank in one) * sum(rank * rank for rank in other))
    if len(pairs) < LEAST_RUNS or not spread:
        return None
    return sum(a * b for a, b in zip(one, other, strict=True)) / spread


def _ranks(numbers: list[float]) -> list[float]:
    """The place of each among all; equal ones share the middle of theirs."""
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    ranks = [0.0] * len(numbers)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and numbers[order[end + 1]] == numbers[order[start]]:
            end += 1
        for place in order[start : end + 1]:
            ranks[place] = (start + end) / 2
        start = end + 1
    return ranks
