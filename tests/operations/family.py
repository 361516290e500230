"""An operation that leaves processes behind: a grandchild that holds its output, a daemon that has fled."""

import os
import subprocess
import time

stay = 0
"""Seconds to stay."""

grandchild = subprocess.Popen(["sleep", "600"])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "601"])
    os._exit(0)
os.wait()
print("ready", grandchild.pid, flush=True)
time.sleep(stay)
os._exit(4)
