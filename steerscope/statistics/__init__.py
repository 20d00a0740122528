"""How sure: intervals, paired comparisons and corrections, on plain arrays."""

from steerscope.statistics.clusters import (
    by_cluster,
    clustered_error,
    clustered_mean,
    clustered_share,
    rank_p,
    sums_by_cluster,
)
from steerscope.statistics.correlations import Correlation, linear_correlation, rank_correlation
from steerscope.statistics.distinct import (
    clustered_difference,
    distinct_difference,
    distinct_mean,
)
from steerscope.statistics.intervals import (
    CONFIDENCE,
    Estimate,
    bootstrap_mean,
    bootstrap_ratio,
    cluster_bootstrap,
    spread_as_few,
    wilson,
)
from steerscope.statistics.multiple import benjamini_hochberg, holm
from steerscope.statistics.neighbours import (
    MOST_ITEMS,
    curve_correlation,
    every_block_order,
    interval_by_chance,
    random_block_orders,
)
from steerscope.statistics.paired import McNemar, mcnemar, paired_bootstrap, share_difference
from steerscope.statistics.permutation import (
    cell_level,
    max_mean,
    max_statistic,
    sign_flip,
    sign_flip_p,
)
from steerscope.statistics.power import (
    detectable_difference,
    detectable_effect,
    power_of,
    prompts_needed,
)
from steerscope.statistics.ranks import auroc, auroc_estimate
from steerscope.statistics.selection import BestCell, best_cell, winners
from steerscope.statistics.slopes import MixedSlope, crossing, mixed_slope

__all__ = [
    "CONFIDENCE",
    "MOST_ITEMS",
    "BestCell",
    "Correlation",
    "Estimate",
    "McNemar",
    "MixedSlope",
    "auroc",
    "auroc_estimate",
    "benjamini_hochberg",
    "best_cell",
    "bootstrap_mean",
    "bootstrap_ratio",
    "by_cluster",
    "cell_level",
    "cluster_bootstrap",
    "clustered_difference",
    "clustered_error",
    "clustered_mean",
    "clustered_share",
    "crossing",
    "curve_correlation",
    "detectable_difference",
    "detectable_effect",
    "distinct_difference",
    "distinct_mean",
    "every_block_order",
    "holm",
    "interval_by_chance",
    "linear_correlation",
    "max_mean",
    "max_statistic",
    "mcnemar",
    "mixed_slope",
    "paired_bootstrap",
    "power_of",
    "prompts_needed",
    "rank_correlation",
    "random_block_orders",
    "rank_p",
    "share_difference",
    "sign_flip",
    "sign_flip_p",
    "spread_as_few",
    "sums_by_cluster",
    "wilson",
    "winners",
]
