"""What a worker elsewhere needs to measure as this process does: how to load model and judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from steerscope.engine.continuations import Continuation
from steerscope.errors import ModelLoadError
from steerscope.judges import Judge
from steerscope.judges.registry import KEPT, as_stored, read_judge
from steerscope.judges.second_model import SecondModel
from steerscope.models.fingerprints import same_weights
from steerscope.models.lens_model import LensModel
from steerscope.runs.judgements import JUDGEMENTS, Judgements
from steerscope.runs.results import Run
from steerscope.runs.whole_files import write_whole
from steerscope.studies.bench import Bench, Decoding, Material
from steerscope.studies.judging import Judging
from steerscope.studies.loading import Loading


@dataclass(frozen=True)
class Equipment:
    """What a worker measures with.

    Attributes:
        loading: of the steered model.
        fingerprint: of its weights; a worker that finds others refuses.
        judge: the judge, or where it was fitted or is asked, how it is stored.
        judge_url: endpoint that the judge asks.
        second: how the second model is loaded, and the fingerprint of its weights; None for none.
    """

    loading: Loading
    fingerprint: str
    judge: Judge | str
    judge_url: str | None = None
    second: tuple[Loading, str] | None = None

    @classmethod
    def of(
        cls,
        loaded: tuple[Loading, LensModel],
        judging: Judging,
        url: str | None,
        second: tuple[Loading, LensModel] | None,
    ) -> Equipment:
        """What this process measures with, for others."""
        loading, model = loaded
        return cls(
            loading.anywhere(),
            model.fingerprint,
            judging.judge if judging.known is None else as_stored(judging.known),
            url,
            None if second is None else (second[0].anywhere(), second[1].fingerprint),
        )

    def load(self) -> LensModel:
        """The steered model.

        Raises:
            ModelLoadError: its weights are not those of the process that asks.
        """
        return _same(self.loading, self.fingerprint)

    def tools(self, model: LensModel) -> Tools:
        """The model with judge and second model."""
        second = None if self.second is None else SecondModel(_same(*self.second))
        folder = TemporaryDirectory(prefix="steerscope-", ignore_cleanup_errors=True)
        judge = self.judge
        if isinstance(judge, str):
            kept = Path(folder.name) / KEPT
            write_whole(kept, judge)
            judge = read_judge(kept, model=model, url=self.judge_url or "").judge
        return Tools(model, judge, second, folder)


def _same(loading: Loading, fingerprint: str) -> LensModel:
    """A model whose weights are those of the process that asks.

    Raises:
        ModelLoadError: they are others.
    """
    model = loading.load()
    if not same_weights(model.fingerprint, fingerprint):
        raise ModelLoadError(
            f"{loading.model} on a worker has other weights than where the run was started; "
            "give every machine the same files, or a revision."
        )
    return model


@dataclass(frozen=True)
class Tools:
    """What a worker has loaded, and a folder of its own for what its judge said."""

    model: LensModel
    judge: Judge
    second: SecondModel | None
    folder: TemporaryDirectory[str]
    plain: dict[tuple[str, int], Continuation] = field(default_factory=dict)

    def bench(self, material: Material, decoding: Decoding) -> Bench:
        """What measures on some texts, and stores no rows."""
        return Bench(
            self.model,
            self.judge,
            material,
            Run(Path(self.folder.name), {}),
            decoding,
            plain=self.plain,
            second=self.second,
        )

    def judged(self) -> dict[str, float]:
        """What a costly judge said so far, by content."""
        path = Path(self.folder.name) / JUDGEMENTS
        return Judgements(path).scores if path.is_file() else {}
