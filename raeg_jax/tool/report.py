"""The end of a run in words."""

import collections

from raeg_jax.tool.outcome import Outcome, Status

# Of failures and notes; a manifest has all failures.
_LISTED = 20


class Report:
    """Counts outcomes, and remembers a few lines of them.

    Attributes:
      counts: images by status.
      failures: reasons, the first ones.
    """

    def __init__(self, total: int, goes_on: str):
        """Nothing has happened.

        Args:
          total: number of images.
          goes_on: how the same command goes on, such as 'the same command goes on from there';
            empty where it begins anew.
        """
        self.counts: collections.Counter[Status] = collections.Counter()
        self.failures: list[str] = []
        # Of images for which all went well: the number of each note, and the first image's name.
        self._notes: dict[str, list] = {}
        self._total, self._goes_on = total, goes_on
        self._payloads: collections.Counter[str] = collections.Counter()
        self._psnr_sum, self._psnr_count = 0.0, 0

    def add(self, outcome: Outcome) -> None:
        """Takes note of an outcome."""
        self.counts[outcome.status] += 1
        if outcome.status is Status.FAILED and len(self.failures) < _LISTED:
            self.failures.append(outcome.reason)
        for note in outcome.notes:
            self._notes.setdefault(note, [0, outcome.name])[0] += 1
        if payload := outcome.details.get("payload"):
            self._payloads[payload] += 1
        if psnr := outcome.details.get("psnr"):
            self._psnr_sum, self._psnr_count = self._psnr_sum + psnr, self._psnr_count + 1

    @property
    def done(self) -> int:
        """Images that are finished, by this run or an earlier one."""
        return self.counts[Status.DONE] + self.counts[Status.SKIPPED]

    @property
    def failed(self) -> int:
        """Images that failed."""
        return self.counts[Status.FAILED]

    @property
    def progress(self) -> str:
        """For a run that ended early."""
        text = f"{self.done} of {counted(self._total, 'image')} done"
        return text + (f", and {self._goes_on}" if self._goes_on else "")

    def summary(self, verb: str) -> str:
        """One line for a run that took all images through, such as with `verb` 'protected'."""
        parts = [f"{counted(self.counts[Status.DONE], 'image')} {verb}"]
        if self._payloads:
            pixels, chunk = self._payloads["pixels"], self._payloads["chunk"]
            parts.append(f"payload in the pixels of {pixels}, in a PNG chunk of {chunk}")
        if self._psnr_count:
            parts.append(f"mean PSNR {self._psnr_sum / self._psnr_count:.2f} dB")
        if skipped := self.counts[Status.SKIPPED]:
            parts.append(f"{skipped} were done before")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return "; ".join(parts)

    @property
    def notes(self) -> list[str]:
        """Lines on images for which all went well; one where a note is on many."""
        lines = [
            f"{name}: {note}" + (f" (and {counted(count - 1, 'more image')})" if count > 1 else "")
            for note, (count, name) in list(self._notes.items())[:_LISTED]
        ]
        if more := len(self._notes) - len(lines):
            lines.append(f"{more} more kinds of notes")
        return lines

    def failures_told(self, elsewhere: str) -> list[str]:
        """Lines on failures; `elsewhere`, if it isn't empty, is where all are written down."""
        lines = [f"failed: {reason}" for reason in self.failures]
        if more := self.failed - len(lines):
            lines.append(f"failed: {more} more" + (f", see {elsewhere}" if elsewhere else ""))
        return lines


def counted(number: int, noun: str) -> str:
    """Returns such as '1 image' or '2 images'."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
