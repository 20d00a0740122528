"""Sums of squares in tables of which some numbers may be unknown, and the best R² of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.api.typing import DataFrameGroupBy


def whole_sums(groups: DataFrameGroupBy, columns: Sequence[str]) -> pd.DataFrame:
    """Sums of each group; NaN where one of its numbers is, since what is unknown is not nothing."""
    numbers = groups[list(columns)]
    return numbers.sum().where(numbers.count().eq(groups.size(), axis=0))


def best_r2(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The row of the largest known R² by some keys; the first one, with its NaN, where none is known."""
    r2 = table.assign(r2=table.r2.fillna(-np.inf)).groupby(list(keys)).r2
    return table.loc[r2.idxmax()]
