#!/bin/sh
# Random walks on a line: how far from the start is one on average?
# Flags arrive as options (--steps 100) and as variables (FLAG_STEPS=100); this script reads the variables.
set -eu

awk -v steps="${FLAG_STEPS:-100}" -v walks="${FLAG_WALKS:-200}" -v seed="${FLAG_SEED:-1}" '
BEGIN {
    srand(seed)
    for (walk = 1; walk <= walks; walk++) {
        place = 0
        for (step = 1; step <= steps; step++) place += rand() < 0.5 ? -1 : 1
        distance = place < 0 ? -place : place
        sum += distance
        print walk, place > "places.txt"
    }
    printf "mean distance: %.2f\n", sum / walks
}'
