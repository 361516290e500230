#!/bin/sh
# The sweep of README.md on Slurm. --local-cluster: on one of a single node, brought up for that and ended again.
set -eu
cd "$(dirname "$0")"
if [ "${1:-}" = --local-cluster ]; then
    exec "${PYTHON:-python3}" ../../plugins/orchestra-slurm/tests/cluster.py "$PWD/sweep.sh"
fi
orchestra -C ../globals run epidemic.py 'contacts=[4,8,16]' 'infection_rate=[0.02,0.04]' --stage-trials -y
orchestra queue run-once=yes --jobs 6 --executor slurm
orchestra runs -n 6 -Fo epidemic.py
