"""An operation that starts a run in the background and ends."""

import os
import subprocess
import sys

command = [
    sys.executable,
    "-m",
    "orchestra",
    "run",
    "-y",
    "--background",
    "work.py",
    f"gate={os.environ['GATE']}",
]
subprocess.run(command, check=True, cwd=os.environ["PROJECT"])
