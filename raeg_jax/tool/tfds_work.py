"""Work on a TFDS data set: shard by shard, into another data set."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping

from raeg_jax.errors import UserError
from raeg_jax.tool import labels
from raeg_jax.tool.manifest import NAME, opened
from raeg_jax.tool.outcome import Outcome, Status
from raeg_jax.tool.outputs import FolderOutputs, folder_outputs
from raeg_jax.tool.places import DEFAULT, Places
from raeg_jax.tool.run import Runner
from raeg_jax.tool.tfds_description import Description, file_job
from raeg_jax.tool.tfds_example import Example
from raeg_jax.tool.tfds_originals import TfdsOriginals
from raeg_jax.tool.tfds_output import ShardOutputs
from raeg_jax.tool.tfds_source import Dataset, Shard


class TfdsWork:
    """See `work.Work`.

    An example that fails is left out, and told again by every run that finds its shard finished. A
    shard that lost all of its examples isn't written, and then the data set isn't finished.
    """

    format = DEFAULT[1:]
    goes_on = "the same command goes on after the last whole shard"

    def __init__(self, where: Places):
        """Opens the data set.

        Raises:
          UserError: it isn't one whose images can be protected, or another format than PNG was
            asked for.
        """
        if where.suffix != DEFAULT:
            raise UserError(
                f"{where.source} is a data set, whose images are written as PNG: leave --format out"
            )
        self._dataset, self._out = Dataset(where.source), where.out
        self.total = sum(self._dataset.lengths.values())
        self.all_failures = str(where.out / NAME)

    def originals(self, given: str) -> TfdsOriginals:
        """Finds the examples' originals in another data set."""
        return TfdsOriginals(self._dataset, given)

    def label_of(self, wanted: str | None, bundle) -> Callable[[Example], int | None]:
        """Classes are those of a label feature, where the generator has them all."""
        if wanted == "folders":
            raise UserError(
                f"--labels folders is impossible: {self._dataset.folder} is a data set, whose "
                "labels count by themselves; leave it out, or give none"
            )
        known = set(bundle.class_names)
        found = [
            name for name, classes in self._dataset.labels.items() if known.issuperset(classes)
        ]
        if wanted == "none" or len(found) != 1:
            return labels.unknown
        (feature,) = found
        print(f"classes by the feature {feature}: all are the generator's", file=sys.stderr)
        return labels.ByFeature(feature, self._dataset.labels[feature], bundle.class_names)

    def look(self, steps, runner: Runner) -> None:
        """Takes all examples through steps that write nothing."""
        for shard in self._dataset.shards:
            examples = self._examples(shard, runner, steps.tell)
            if examples is not None:
                runner.run(examples, steps, steps.tell)

    def convert(self, settings, overwrite: bool, steps_of, runner: Runner) -> None:
        """Makes a data set of what steps make of the examples."""
        recovered = settings["command"] == "recover"
        with (
            opened(self._out, settings) as manifest,
            folder_outputs(manifest, self._dataset.folder, "", overwrite) as outputs,
        ):
            description = Description(outputs, self._out, self._dataset, recovered)
            targets = {shard: outputs.begin(file_job(shard.path)) for shard in self._dataset.shards}
            if any(targets.values()):
                description.withdraw()
            whole = True
            for shard, target in targets.items():
                if target is None:
                    _note_finished(shard, manifest.left_out(shard.path.name), runner)
                else:
                    whole &= self._make(shard, target, outputs, steps_of, runner)
            if whole:
                for outcome in description.write():
                    if outcome.status is Status.FAILED:
                        runner.note(outcome, outputs.tell)

    def _examples(self, shard: Shard, runner: Runner, tell) -> Iterator[Example] | None:
        """Opens a shard; a damaged one is an outcome, so that the others have their turn."""
        try:
            return self._dataset.examples(shard)
        except UserError as error:
            runner.note(Outcome(shard.path.name, Status.FAILED, str(error)), tell)
            return None

    def _make(self, shard, target, outputs: FolderOutputs, steps_of, runner: Runner) -> bool:
        """Makes a shard; returns whether it is there."""
        examples = self._examples(shard, runner, outputs.tell)
        if examples is None:
            return False
        with contextlib.closing(ShardOutputs(outputs.staging, self._out)) as made:
            runner.run(examples, steps_of(made), made.tell)
            if shard.length and not len(made):
                for number, reason in made.left_out.items():
                    outputs.tell(_failed(shard, number, reason))
                reason = f"{target.path} isn't written, as no example of it came through"
                runner.note(Outcome(shard.path.name, Status.FAILED, reason), outputs.tell)
                return False
            details = {"left_out": made.left_out}
            (outcome,) = outputs.keep([outputs.written(target, made.finish(), (), details)])
        if outcome.status is Status.FAILED:
            runner.note(outcome, outputs.tell)
        return outcome.status is Status.DONE


def _note_finished(shard: Shard, left_out: Mapping[str, str], runner: Runner) -> None:
    """Tells of a shard that an earlier run made."""
    for _ in range(shard.length - len(left_out)):
        runner.note(Outcome(shard.path.name, Status.SKIPPED))
    for number, reason in left_out.items():
        runner.note(_failed(shard, number, reason))


def _failed(shard: Shard, number: str, reason: str) -> Outcome:
    return Outcome(f"{shard.split}/{number}", Status.FAILED, reason)
