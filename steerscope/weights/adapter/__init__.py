"""Reversible adapters: trained on pairs, judged like any steering, merged into plain weights."""

from steerscope.weights.adapter.adapter import AdapterDesign, SvdAdapter
from steerscope.weights.adapter.changes import Adapted, WeightChange
from steerscope.weights.adapter.factors import Factors, factorise
from steerscope.weights.adapter.files import is_adapter_file, load_adapter, save_adapter
from steerscope.weights.adapter.fitting import fresh_adapter, fresh_learned, train_adapter
from steerscope.weights.adapter.kinds import KINDS, Sizes
from steerscope.weights.adapter.learned import LearnedAdapter, LearnedDesign
from steerscope.weights.adapter.linear import FullTrainee
from steerscope.weights.adapter.merge import check_merge, merge
from steerscope.weights.adapter.objectives import AIMS, Objective, find_objective
from steerscope.weights.adapter.passes import Ruler, frozen_ruler
from steerscope.weights.adapter.training import Trained, TrainingPlan
from steerscope.weights.crossing import crossed

__all__ = [
    "AIMS",
    "Adapted",
    "AdapterDesign",
    "Factors",
    "KINDS",
    "LearnedAdapter",
    "LearnedDesign",
    "Sizes",
    "FullTrainee",
    "Objective",
    "Ruler",
    "SvdAdapter",
    "Trained",
    "TrainingPlan",
    "WeightChange",
    "check_merge",
    "crossed",
    "factorise",
    "find_objective",
    "fresh_adapter",
    "fresh_learned",
    "frozen_ruler",
    "is_adapter_file",
    "load_adapter",
    "merge",
    "save_adapter",
    "train_adapter",
]
