"""``python -m orchestra`` is ``orchestra``."""

from orchestra.cli.entry import main

if __name__ == "__main__":
    main()
