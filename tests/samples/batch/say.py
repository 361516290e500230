"""Say a message."""

import argparse

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--msg", default="hello", help="what to say")
parser.add_argument("--loud", action="store_true", help="say it in capitals")

args = parser.parse_args()
print(args.msg.upper() if args.loud else args.msg)
