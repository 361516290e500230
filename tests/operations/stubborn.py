"""An operation that does not want to end: it ignores Ctrl-C and TERM, and says so."""

import os
import signal
import time

signal.signal(signal.SIGINT, lambda *_: os.write(1, b"INT\n"))
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"TERM\n"))
os.write(1, b"ready\n")
while True:
    time.sleep(60)
