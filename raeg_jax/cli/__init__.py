"""The command `raeg`: protecting and recovering image files and data sets.

`parser` has its arguments, `commands` what each command does with them. Images take this path: a
source (`sources`, `tfds_source`) finds them; a `pipeline` reads each, does an operation (`protect`,
`recover`, `verify`) in batches, and writes what it makes to `outputs`, where a `manifest` commits
it; a `report` counts the results.
"""

from collections.abc import Sequence

from raeg_jax.process import command_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      argv: the command and its arguments; those of the process by default.

    Returns:
      the exit status: 0 if all went well, 1 if some images failed or no more could be written, 2
      for a mistake in the arguments, 75 for SIGTERM, 130 for Ctrl-C.
    """
    try:
        with command_errors():
            # Imported here, as Ctrl-C may come at any time.
            from raeg_jax.cli.parser import run

            return run(argv)
    except SystemExit as error:
        return int(error.code or 0)
