"""Curves of a comparison, as SVG."""

from collections.abc import Mapping, Sequence
from typing import Any

from raeg_jax.comparison.scores import misled
from raeg_jax.experiments.plots import figure_of, svg
from raeg_jax.methods.registry import TITLES


def curves(results: Sequence[Mapping[str, Any]], targets: Sequence[str]) -> str:
    """Share misled and SSIM against PSNR, a line each method; dashed the held-out classifiers."""
    figure = figure_of(2, width=10, shared=False)
    success, similar = figure.axes
    for colour, (name, title) in enumerate(TITLES.items()):
        own = [one for one in results if one["method"] == name and one["protected"]]
        own = [one for one in own if one["psnr"]["file"] is not None and not one["chance"]]
        own.sort(key=lambda one: one["psnr"]["file"])
        psnrs = [one["psnr"]["file"] for one in own]
        for held_out, style in ((False, "o-"), (True, "--")):
            values = [misled(one, "file", targets, held_out) for one in own]
            if own and None not in values:
                success.plot(psnrs, values, style, color=f"C{colour}")
        if own:
            ssims = [one["ssim"]["file"] for one in own]
            similar.plot(psnrs, ssims, "o-", color=f"C{colour}", label=title)
    success.set(xlabel="PSNR of files, dB", ylabel="share misled (dashed: held out)", ylim=(0, 1))
    similar.set(xlabel="PSNR of files, dB", ylabel="SSIM of files")
    similar.legend(loc="lower right")
    return svg(figure)
