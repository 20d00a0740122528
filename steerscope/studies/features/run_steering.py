"""Steering by the features of one concept beside its mean difference, as a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from steerscope.errors import BadValueError
from steerscope.extraction.activations import extract
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.runs.distinct import PROMPTS
from steerscope.runs.results import Run, measuring
from steerscope.sae.files import load_sae
from steerscope.sae.reading import mean_code_difference
from steerscope.sae.steering import clamped
from steerscope.studies.beginnings import load_planned, start_planned
from steerscope.studies.features.candidates import candidates
from steerscope.studies.features.measure import run_trials
from steerscope.studies.features.plan import FeaturePlan
from steerscope.studies.features.stored import rows_of_trials, texts_of_trials
from steerscope.studies.judging import find_judge, question_of
from steerscope.texts.chats import Chat
from steerscope.texts.contrasts import load_contrasts, prompts_for, usual_prompts

CLAMPED = {"features clamped": None, "feature clamped": 1}  # how many, None for those of the plan


def run_features(
    path: str | Path,
    plan: FeaturePlan,
    *,
    chat: Chat | None = None,
    device: str | None = None,
    memory: str | None = None,
    model: LensModel | None = None,
    progress: Track = silent,
) -> Run:
    """The candidates of a concept and its features clamped, at every KL, into a run.

    Args:
        path: the run's folder.
        plan: what is measured.
        chat: puts texts into the chat template; None for plain text.
        device: as in `load_model`.
        memory: as in `load_model`.
        model: the model, if it is loaded already.
        progress: shows the loops.

    Raises:
        AutoencoderMismatchError: the autoencoder is of another model.
        UnsupportedSiteError: the model lacks the site that it reads.
        BadValueError: as `run_trials`, or no judge that reads texts.
        RunError: the folder holds another run, or something else.
    """
    spoken = load_contrasts(plan.contrasts)
    asked = prompts_for(spoken, plan.prompts or usual_prompts(plan.contrasts))
    loaded = model or load_planned(plan, device=device, memory=memory)
    sae = load_sae(plan.autoencoder, model=loaded)
    contrasts = in_chat(loaded, spoken, chat)
    parts, fit = in_chat(loaded, asked, chat).split(plan.seed), contrasts.split(plan.seed).fit
    judging = {k: getattr(plan, k) for k in ("judge", "judge_labels", "judge_url")}
    question = question_of(judging, contrasts, parts, plan.n_new, plan.seed)
    with measuring(path):
        found = find_judge(question, loaded, path)
        if not found.judge.effect.is_share:
            raise BadValueError(
                "features are told by what is written; give a judge that reads texts."
            )
        more = {
            "contrasts_sha256": spoken.sha256,
            "asked_sha256": asked.sha256,
            "n_features": sae.n_features,
            "site": str(sae.site),
            "autoencoder_sha256": sae.digest,
            "effect": asdict(found.judge.effect.undamaged),
        }
        groups = {"test": {PROMPTS: parts.test.groups}}
        run = start_planned(path, plan, loaded, chat, more, found.files, groups)
        found.keep(run)
        contrast = extract(loaded, fit, [sae.site])[sae.site]
        codes = mean_code_difference(sae, contrast)
        trials = run_trials(
            loaded,
            candidates(loaded, sae, contrast, fit, k=plan.k, n_nulls=plan.n_nulls, seed=plan.seed),
            found.judge,
            parts.select.prompts,
            parts.test.prompts,
            edits={name: clamped(sae, codes, k=k or plan.k) for name, k in CLAMPED.items()},
            plan=plan,
            progress=progress,
        )
        run.append(rows_of_trials(trials, contrasts.concept, sae.site), texts_of_trials(trials))
        run.seal()
    return run
