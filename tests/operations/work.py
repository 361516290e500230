"""An operation that keeps a journal of its own: what really was executed, whatever orchestra says."""

import argparse
import os
import signal
import time

parser = argparse.ArgumentParser()
parser.add_argument("--lines", type=int, default=5, help="Numbered lines to print.")
parser.add_argument("--pause", type=float, default=0.0, help="Seconds after each line.")
parser.add_argument("--code", type=int, default=0, help="The exit status.")
parser.add_argument("--gate", default="", help="After half of the lines, wait until this file is there.")
parser.add_argument("--number", type=int, default=0, help="Tells the runs of a batch apart.")
arguments = parser.parse_args()

RUN, ATTEMPT = os.environ["ORCHESTRA_ATTEMPT"].split(".")[:2]


def journal(what, *more):
    line = " ".join(map(str, (what, RUN, ATTEMPT, os.getpid(), time.monotonic_ns(), *more)))
    fd = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, line.encode() + b"\n")
    os.close(fd)


signal.signal(signal.SIGINT, signal.SIG_DFL)
journal("S")
written = 0
for number in range(arguments.lines):
    written += os.write(1, b"%06d\n" % number)
    while arguments.gate and number == arguments.lines // 2 and not os.path.exists(arguments.gate):
        time.sleep(0.01)
    time.sleep(arguments.pause)
journal("E", written, arguments.code)
os._exit(arguments.code)
