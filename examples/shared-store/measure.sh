#!/bin/sh
# Measures something that takes a while, with whatever n it is told.
sleep 0.2
echo "n squared: $((FLAG_n * FLAG_n))"
