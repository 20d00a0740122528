"""Time our own sweep at 1, 2, 4 and 8 times the cells, prompts and new tokens, and draw it.

Writes `benchmarks/results/<device>-<shape>-scaling.json` and a picture beside it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import plotly.graph_objects as go
import torch
from interleaved import RESULTS, write_result
from shapes import SHAPES, make_model, random_prompts

import steerscope as ss
from steerscope.doses import Scale
from steerscope.extraction.activations import Provenance

FACTORS = (1, 2, 4, 8)
BASE = {"cells": 8, "prompts": 4, "new tokens": 8}


def timed(model: ss.LensModel, prompts: list[list[int]], size: dict[str, int]) -> float:
    """Seconds of one sweep: every cell adds a random vector at a layer of its own in turn."""
    origin = Provenance(model.name, model.fingerprint, "benchmark", "", "", 0, versions={})
    generator = torch.Generator().manual_seed(0)

    def cell(number: int) -> ss.Cell:
        site = ss.Site("resid_post", number % model.shape.n_layers)
        vector = torch.randn(model.width(site), generator=generator)
        direction = ss.Direction(site, vector / vector.norm(), Scale(1.0, 1.0), "random", origin)
        return ss.Cell((ss.Steering(direction, ss.Dose(2.0, "absolute")),))

    cells = [cell(i) for i in range(size["cells"])]
    began = time.perf_counter()
    ss.generate(model, prompts[: size["prompts"]], cells, n_new=size["new tokens"])
    return time.perf_counter() - began


def figure(shape: str, seconds: dict[str, dict[str, list[float]]]) -> go.Figure:
    """Time over that of the smallest sweep against its size, both logarithmic."""
    fig = go.Figure()
    for what, found in seconds.items():
        first = statistics.median(found["1"])
        ratio = [statistics.median(found[str(f)]) / first for f in FACTORS]
        fig.add_scatter(x=FACTORS, y=ratio, name=f"{what} (1 = {BASE[what]})", mode="lines+markers")
    fig.add_scatter(
        x=FACTORS, y=FACTORS, name="linear", mode="lines", line={"dash": "dot", "color": "grey"}
    )
    axis = {"type": "log", "dtick": math.log10(2)}
    fig.update_layout(
        title=f"Cost of a sweep, {shape} on cpu", template="simple_white", width=640, height=440
    )
    fig.update_xaxes(title="size (times the smallest)", **axis)
    fig.update_yaxes(title="time (times that of the smallest)", **axis)
    return fig


def main() -> None:
    """Measure one shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", nargs="?", default="microworld", choices=SHAPES)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as name:
        path = make_model(options.shape, Path(name))
        model = ss.load_model(path)
        model.tokenizer.eos_token = None  # every row writes all its tokens
        prompts = random_prompts(path, 8 * BASE["prompts"], 16)
        seconds: dict[str, dict[str, list[float]]] = {what: {} for what in BASE}
        for repetition in range(options.repetitions + 1):
            for what in BASE:
                for factor in FACTORS:
                    took = timed(model, prompts, BASE | {what: factor * BASE[what]})
                    if repetition:  # the first is to warm up
                        seconds[what].setdefault(str(factor), []).append(took)
    slopes = {
        what: math.log(statistics.median(found["8"]) / statistics.median(found["1"]), 8)
        for what, found in seconds.items()
    }
    stem = f"cpu-{options.shape}-scaling"
    write_result(
        stem,
        {"shape": options.shape, "device": "cpu", "threads": 2, "base": BASE, "seconds": seconds}
        | {"exponent_from_1_to_8": slopes},
    )
    figure(options.shape, seconds).write_image(RESULTS / f"{stem}.png", scale=2)
    for what, slope in slopes.items():
        print(f"{options.shape}: time grows as {what} to the power of {slope:.2f}")


if __name__ == "__main__":
    main()
