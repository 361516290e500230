"""Runs as jobs of a Slurm cluster: ``orchestra run OP --executor 'slurm partition=gpu'``."""

from orchestra_slurm.executor import SlurmExecutor, open_executor
from orchestra_slurm.options import Options

__all__ = ["Options", "SlurmExecutor", "open_executor"]
