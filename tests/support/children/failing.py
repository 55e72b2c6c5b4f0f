"""Says on stderr why it cannot start, the variable SECRET included, and exits with status 3."""

import os
import sys

sys.stderr.write("Traceback (most recent call last):\n")
sys.stderr.write(f"\x1b[31mConfigurationError\x1b[0m: the key {os.environ.get('SECRET')} is not valid\n")
sys.exit(3)
