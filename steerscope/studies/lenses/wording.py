"""What drifted, in sentences."""

from __future__ import annotations

import pandas as pd

from steerscope.studies.lenses.findings import COMMON, DRIFT, RARE, STILL


def lenses_in_words(table: pd.DataFrame) -> list[str]:
    """What drifted, in sentences."""
    drifting = table[table.says == DRIFT]
    lines = [
        f"{row.lens} drifts by {row.change:+.2f} [{row.low:+.2f}, {row.high:+.2f}] weighted words in 100 "
        f"(threshold {row.threshold:.2f}, n = {row.n} prompts)."
        for row in drifting.itertuples()
    ]
    rest = table[table.says == STILL].lens
    if len(rest):
        lines.append(f"Not told from plain text: {', '.join(rest)}.")
    unseen = table[table.says == RARE].lens
    if len(unseen):
        lines.append(f"Nothing is known of {', '.join(unseen)}: no word of it was written.")
    common = table[table.says == COMMON].lens
    if len(common):
        lines.append(
            f"Nothing is known of {', '.join(common)}: words of it were written, but they are in every "
            "text without steering by which words are weighed, so that they weigh 0."
        )
    lost = table[~table.says.isin([COMMON, DRIFT, STILL, RARE])]
    return lines + [f"{', '.join(mine.lens)}: {why}." for why, mine in lost.groupby("says")]
