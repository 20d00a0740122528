"""Which judge a study has: the one that was asked for, fitted on texts that no condition wrote."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from steerscope.engine.generation import attempt
from steerscope.engine.sampling import Sample
from steerscope.errors import ContrastError, JudgeError
from steerscope.judges import Judge, TextJudge, choose_judge
from steerscope.judges.effects import TOO_SHORT
from steerscope.judges.labelled import (
    OF_THE_MODEL,
    LabelledTexts,
    from_file,
    from_pairs,
    from_replies,
)
from steerscope.judges.registry import (
    KEPT,
    ORACLE,
    PREFERENCE,
    KnownJudge,
    Means,
    as_stored,
    check_judge,
    check_judge_url,
    cost_in_words,
    make_judge,
    read_judge,
)
from steerscope.judges.scorers.functions import source_sha256
from steerscope.metrics import MIN_TOKENS
from steerscope.models.lens_model import LensModel
from steerscope.runs.results import Run, has_measured
from steerscope.runs.seals import file_sha256
from steerscope.runs.whole_files import write_whole
from steerscope.steering.interventions import Cell
from steerscope.texts.bundled import bundled_contrasts
from steerscope.texts.contrasts import (
    ContrastPair,
    ContrastSet,
    Prompt,
    PromptSet,
    Split,
    load_contrasts,
)
from steerscope.texts.pairs import pairs_in
from steerscope.texts.places import STYLE
from steerscope.texts.styles import STYLES
from steerscope.texts.words import count_words

ASKED, LENGTH = "asked", "length"
_TRIED = 16  # texts without steering, to see whether they end by themselves
_log = logging.getLogger(__name__)


_OF_A_FILE = ("words", "json", "classifier")  # judges whose argument may be a file


@dataclass(frozen=True)
class Question:
    """What a judge is asked to tell, and by what.

    Attributes:
        judge: name of the judge; None for the oracle where it can read the texts, else preference.
        labels: file of labelled texts to fit on and for the card; None for what the study has.
        contrasts: the contrast set.
        pairs: its splits, as they are given to the model.
        prompts: those that are continued.
        n_new: tokens of a continuation.
        seed: of the replies that the model is asked for.
        url: of an endpoint for the judge `lm`; None for models on this machine.
        n_texts: texts that will be written at most; 0 where nobody knows before.
    """

    judge: str | None
    labels: str | None
    contrasts: ContrastSet
    pairs: Split[ContrastSet]
    prompts: tuple[Prompt, ...]
    n_new: int
    seed: int
    url: str | None = None
    n_texts: int = 0


def question_of(
    judging: Mapping[str, str | None],
    contrasts: ContrastSet,
    prompts: Split[PromptSet],
    n_new: int,
    seed: int,
    n_texts: int = 0,
) -> Question:
    """The question of a job that names its judge as a plan does; the pairs are split by the seed.

    Args:
        judging: `judge`, `judge_labels` and `judge_url`, as far as they are given.
        contrasts: the contrast set, as it is given to the model.
        prompts: its splits, likewise.
        n_new: tokens of a continuation.
        seed: of splits and replies.
        n_texts: that will be written at most; 0 where nobody knows before.
    """
    judge, labels, url = (judging.get(k) for k in ("judge", "judge_labels", "judge_url"))
    check_judge_url(judge, url)
    asked = (*prompts.select.prompts, *prompts.test.prompts)
    pairs = contrasts.split(seed)
    return Question(judge, labels, contrasts, pairs, asked, n_new, seed, url, n_texts)


@dataclass(frozen=True)
class Judging:
    """A judge, what it was fitted on where it was fitted, and what decides what it says.

    Attributes:
        judge: reads texts.
        known: with what it was fitted on and how well it does; None where it was not fitted.
        files: that decide what it says.
        code: hash of the file in which it is written, of a function of the user's own.
    """

    judge: Judge
    known: KnownJudge | None = None
    files: tuple[str, ...] = ()
    code: str | None = None

    @property
    def settings(self) -> dict[str, list[str]]:
        """Hashes of the files that decide what the judge says; nothing where there are none."""
        hashes = [file_sha256(Path(name)) for name in self.files]
        hashes += [self.code] if self.code else []
        return {"judge_sha256": hashes} if hashes else {}

    def keep(self, run: Run) -> None:
        """Store the judge beside the rows that it makes, so that it can be had again."""
        if self.known is not None:
            write_whole(run.path / KEPT, as_stored(self.known))


def find_judge(question: Question, model: LensModel, out: str | Path) -> Judging:
    """The judge of a study; that of the run which is there already, where it is the same.

    Raises:
        UnknownNameError: no such judge.
        JudgeError: it cannot be had, or cannot read these texts.
    """
    judging = _find(question, model, out)
    if question.labels and judging.known is None and not has_measured(Path(out)):
        reads = "the oracle reads them" if judging.judge.effect.is_share else "nothing reads them"
        raise JudgeError(
            f"labelled texts ({question.labels}) are for a judge that gives texts a score, and here {reads}; "
            "name a judge, or leave them out."
        )
    _tell_of_short(judging.judge, question.n_new)
    return judging


def _find(question: Question, model: LensModel, out: str | Path) -> Judging:
    name = question.judge
    if name is None:
        return Judging(choose_judge(question.contrasts, question.prompts))
    kind, argument = check_judge(name)
    if kind == PREFERENCE:
        return Judging(TextJudge())
    if kind == ORACLE:
        judge = choose_judge(question.contrasts, question.prompts)
        if isinstance(judge, TextJudge):
            raise JudgeError(
                f"the oracle cannot read {question.contrasts.name}: it knows the bundled world, its "
                "prompts and its variables alone."
            )
        return Judging(judge)
    files = _files_of(kind, argument, question.labels)
    folder, url = Path(out), question.url or ""
    kept = folder / KEPT
    if kept.is_file() and has_measured(folder):  # else it may be that of another question
        there = read_judge(kept, model=model, url=url)
        if there.judge.name == name:
            _state_cost(name, there.means, question)
            _warn(there)
            return Judging(there.judge, there, files, _code(kind, argument, folder))
    known = fitted_judge(name, question, model, folder)
    if kind == LENGTH:
        _tell_of_cut(known, question, model)
    return Judging(known.judge, known, files, _code(kind, argument, folder))


def judge_sha256(name: str, labels: str | None) -> list[str]:
    """Hashes of the files that decide what a judge says, as they are now: `judge_sha256` of a run of it.

    Args:
        name: of the judge.
        labels: its labelled texts; None for those of its own.

    Raises:
        UnknownNameError: no such judge.
        JudgeError: it is a function that is not there.
    """
    kind, argument = check_judge(name)
    code = source_sha256(argument) if kind == "python" else None
    hashes = [file_sha256(Path(f)) for f in _files_of(kind, argument, labels)]
    return [*hashes, code] if code else hashes


def _files_of(kind: str, argument: str, labels: str | None) -> tuple[str, ...]:
    named = argument if kind in _OF_A_FILE else None
    told = bundled_contrasts().get(labels or "", labels)
    return tuple(str(f) for f in (named, told) if f and Path(f).is_file())


def _code(kind: str, place: str, folder: Path) -> str | None:
    """Hash of the file of a function; none where a run is continued from before such were kept."""
    if kind != "python":
        return None
    is_old = has_measured(folder) and "judge_sha256" not in Run.open(folder).configuration
    return None if is_old else source_sha256(place)


def fitted_judge(
    name: str, question: Question, model: LensModel, folder: Path | None = None
) -> KnownJudge:
    """A judge that gives scores, fitted on the labelled texts of its question; what it costs is said before.

    Args:
        name: of the judge, such as `lm:MODEL`.
        question: what it is to tell.
        model: the model that is steered.
        folder: where what it said is kept; None for nowhere.

    Raises:
        UnknownNameError: no such judge.
        JudgeError: it cannot be had, or reads no texts.
    """
    texts = _labelled(question, model)
    means = Means(texts, _concept(question.contrasts), model, question.url or "", folder)
    _state_cost(name, means, question)
    known = make_judge(name, means, _shown(question.contrasts))
    _warn(known)
    return known


def _warn(known: KnownJudge) -> None:
    """Say before anything is measured that a judge cannot tell, so that nothing it counts will show."""
    if known.card.tells:
        return
    asked = known.means.texts.source == OF_THE_MODEL
    remedy = (
        "; where the model does not do as it is asked no judge can tell its replies: give texts that are "
        "labelled, or a contrast set whose answers are written (--judge-labels)"
    )
    _log.warning("judge %s: %s%s", known.judge.name, known.card, remedy if asked else "")


def card_in_words(known: KnownJudge) -> str:
    """What is counted as showing the concept by a judge, and how well it tells."""
    judge = known.judge
    return (
        f"judge {judge.name}: counts {judge.scorer.words} {'above' if judge.sign > 0 else 'below'} "
        f"{judge.threshold:.3g} as {judge.positive}; {known.card}"
    )


def _tell_of_short(judge: Judge, n_new: int) -> None:
    """Say before anything is measured where every text will be too short to be undamaged."""
    effect = judge.effect
    limited = any(limit.metric == TOO_SHORT for limit in effect.held_to)
    if effect.is_share and limited and n_new < MIN_TOKENS:
        _log.warning(
            "texts of at most %d tokens are too short: in fewer than %d no repetition can be told, so "
            "that none counts as undamaged; give more tokens (--n-new)",
            n_new, MIN_TOKENS,
        )  # fmt: skip


def _tell_of_cut(known: KnownJudge, question: Question, model: LensModel) -> None:
    """Say before anything is measured where texts do not end by themselves, so that none has a length."""
    texts = [prompt.text for prompt in question.prompts[:_TRIED]]
    [written] = attempt(
        model, texts, [Cell()], n_new=question.n_new, sampler=Sample(1.0, question.seed)
    )
    cut = sorted(count_words(c.text) for c in written if not c.ended)
    if 2 * len(cut) < len(written):
        return
    middle, line = cut[len(cut) // 2], known.judge.threshold
    counted = "short" if middle <= line else "long"
    remedy = "" if known.card.tells and counted == "long" else "; give more tokens (--n-new)"
    _log.warning(
        "judge length: %d of %d texts without steering are cut at %d tokens, after some %d words, and "
        "count as %s, as the line is at %g words%s",
        len(cut), len(written), question.n_new, middle, counted, line, remedy,
    )  # fmt: skip


def _state_cost(name: str, means: Means, question: Question) -> None:
    """Say what a judge costs before it is asked."""
    cost = cost_in_words(name, means, question.n_texts, question.n_new)
    if cost:
        _log.info("judge %s: %s", name, cost)


def _shown(contrasts: ContrastSet) -> str:
    """What a text shows, in a few words: of a style its name, else the concept."""
    is_style = contrasts.name.startswith(STYLE) and contrasts.concept in STYLES
    return f"the {contrasts.concept} style" if is_style else contrasts.concept


def _concept(contrasts: ContrastSet) -> str:
    """What a text is to show, in words: of a style its instructions, else what is known of the set."""
    style = STYLES.get(contrasts.name.removeprefix(STYLE))
    if style is None or not contrasts.name.startswith(STYLE):
        return contrasts.shows or contrasts.concept
    return f"it is written by the instruction {style.wanted!r} and not by {style.otherwise!r}"


def _given(name: str, seed: int) -> LabelledTexts:
    """The labelled texts of a file, or the texts of a contrast set, bundled or in a file of pairs.

    Raises:
        JudgeError: no such file and no bundled contrast set, or none that holds such texts.
    """
    bundled = bundled_contrasts()
    if name not in bundled and not Path(name).is_file():
        raise JudgeError(
            f"no file {name!r} of labelled texts; give one with the columns text and label, or a contrast "
            f"set: a file of pairs, or of {', '.join(bundled)}."
        )
    path = bundled.get(name, Path(name))
    try:
        _, first = next(pairs_in(path))
    except ContrastError:
        first = None  # from_file says what is wrong
    if not isinstance(first, ContrastPair):
        return from_file(path, seed)
    return replace(from_pairs(load_contrasts(path).split(seed)), source=f"pairs of {path.name}")


def _labelled(question: Question, model: LensModel) -> LabelledTexts:
    """Labelled texts: those of a file or another contrast set, the model's own replies to a style, or the contrast pairs."""
    kind, argument = check_judge(question.judge or PREFERENCE)
    trains = kind == "classifier" and argument
    file = argument if trains and argument != ASKED else question.labels
    if file:
        return _given(file, question.seed)
    is_style = question.contrasts.name.startswith(STYLE)
    if trains and not is_style:
        raise JudgeError(
            "the judge classifier:asked needs instructions to ask by: give style:NAME or "
            "'style:WANTED | OTHERWISE' as contrasts, or classifier:FILE."
        )
    if is_style:
        return from_replies(model, question.pairs, n_new=question.n_new, seed=question.seed)
    return from_pairs(question.pairs)
