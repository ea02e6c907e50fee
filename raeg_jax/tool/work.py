"""What can be protected and recovered: image files, or a data set."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from raeg_jax.tool.outputs import Outputs
from raeg_jax.tool.run import Runner
from raeg_jax.tool.steps import Steps
from raeg_jax.tool.walk import Job


class Work(Protocol):
    """All images of a source.

    Attributes:
      total: number of images.
      format: of the outputs' images, by name.
      goes_on: how the same command goes on after one that was stopped; empty where it doesn't.
      all_failures: where all failures are written down; empty where they aren't.
    """

    total: int
    format: str
    goes_on: str
    all_failures: str

    def originals(self, given: str) -> Any:
        """Finds the images' originals, see `originals.Originals`.

        Raises:
          UserError: these can't be the originals.
        """

    def label_of(self, wanted: str | None, bundle: Any) -> Callable[[Job], int | None]:
        """Returns what tells the class of an image, or None where the targets are to.

        Args:
          wanted: of `labels.WANTED`, or None.
          bundle: whose classes count.
        """

    def look(self, steps: Any, runner: Runner) -> None:
        """Takes all images through steps that write nothing, as `verifying.Verifying`."""

    def convert(
        self,
        settings: Mapping[str, Any],
        overwrite: bool,
        steps_of: Callable[[Outputs], Steps],
        runner: Runner,
    ) -> None:
        """Takes all images through steps that write.

        Args:
          settings: of the run, for the manifest.
          overwrite: files of others may be replaced.
          steps_of: makes steps that write to some outputs.
          runner: takes them.

        Raises:
          UserError: outputs can't be written.
          StoppedError: it ended early.
        """
