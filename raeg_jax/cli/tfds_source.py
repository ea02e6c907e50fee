"""A TFDS data set as a source of images: its description comes last."""

from raeg_jax.cli.outputs import FolderOutputs
from raeg_jax.cli.record_source import RecordSource
from raeg_jax.cli.scan import Paths
from raeg_jax.cli.tfds_dataset import TfdsDataset
from raeg_jax.cli.tfds_output import TfdsDescription
from raeg_jax.errors import UserError
from raeg_jax.remote import RemotePath


class TfdsSource(RecordSource):
    """A data set of TFDS.

    Args:
      paths: of source and outputs.

    Raises:
      UserError: it isn't a data set whose images can be protected, or another format than PNG was
        asked for.
    """

    _dataset: TfdsDataset

    def __init__(self, paths: Paths):
        for place in (paths.source, paths.out):
            if isinstance(place, RemotePath):
                raise UserError(
                    f"{place} is a URL, and data sets of TFDS are read and written on this machine "
                    "only: copy it here or mount it, and name the folder"
                )
        super().__init__(paths, TfdsDataset(paths.source))

    def describe(self, outputs: FolderOutputs, recovered: bool) -> TfdsDescription:
        """See `RecordSource`."""
        return TfdsDescription(outputs, self._out, self._dataset, recovered)
