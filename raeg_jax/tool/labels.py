"""Which class an image has: by its folder, or by a feature of a data set."""

import dataclasses
from typing import Any

from raeg_jax.errors import UserError
from raeg_jax.tool.walk import Job

WANTED = ("folders", "none")


@dataclasses.dataclass(frozen=True)
class ByFolder:
    """The class is the name of the first folder.

    Attributes:
      class_names: one a label.
      optional: images in no folder have none.
    """

    class_names: tuple[str, ...]
    optional: bool

    def __call__(self, job: Job) -> int | None:
        """Returns the label.

        Raises:
          UserError: the folder isn't a class.
        """
        folder, _, rest = job.name.partition("/")
        if self.optional and not rest:
            return None
        if not rest or folder not in self.class_names:
            raise UserError(
                f"{job.source} is in no folder with the name of a class of the generator (such as "
                f"{', '.join(self.class_names[:3])}): rename its folder, or give --labels none"
            )
        return self.class_names.index(folder)


@dataclasses.dataclass(frozen=True)
class ByFeature:
    """The class is in a feature.

    Attributes:
      feature: its name in examples.
      classes: of its values.
      class_names: one a label of the generator.
    """

    feature: str
    classes: tuple[str, ...]
    class_names: tuple[str, ...]

    def __call__(self, job: Any) -> int | None:
        """Returns the label of a `tfds_example.Example`; None where it has none, TFDS's -1.

        Raises:
          UserError: the value is no class.
        """
        value = job.label(self.feature)
        if value == -1:
            return None
        if not 0 <= value < len(self.classes):
            raise UserError(
                f"{job.source} has {self.feature} {value}, and there are {len(self.classes)} "
                "classes: give --labels none"
            )
        return self.class_names.index(self.classes[value])


def unknown(job: Job) -> None:
    """Of no image."""
