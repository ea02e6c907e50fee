"""`python -m raeg_jax`: the command `raeg`."""

import sys

from raeg_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
