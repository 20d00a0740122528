"""Where and how hard: the effect at every layer and dose, the broken limits and the zones.

Run from the project's folder: `python analyses/sweet_spot_map.py`. The picture, its numbers and its caption go
to `figures/`; the run that it is drawn from stays in `data/runs/`.
"""

from __future__ import annotations

from _drawing import draw_from_run


def main() -> None:
    """Draw it from the shared run."""
    draw_from_run(("sweet_spot_map",), __doc__)


if __name__ == "__main__":
    main()
