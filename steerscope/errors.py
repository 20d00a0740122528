"""Errors that a user can cause and mend.

SteerscopeError
├── UnknownNameError        a name that is not in the list of known names
├── BadValueError           a number or option outside its range, or not finite
├── ContrastError           a contrast or prompt file that cannot be used, with its line
├── ModelLoadError          a model that cannot be loaded or converted faithfully
├── UnsupportedSiteError    a site that this model does not have
├── UnsupportedWeightError  a weight matrix that this model does not have or that cannot be changed
├── TemplateError           a chat template that is missing or refuses a text
├── ModelBusyError          a model that another thread uses and does not give back
├── ModelCopyError          copying or pickling of a model
├── NeverRanError           a steering that no pass of the model went through
├── PromptTooLongError      a prompt that does not fit into the context
├── MemoryBudgetError       work that does not fit into memory
├── DegenerateDirectionError   activations that define no direction
├── DegenerateSpectrumError a weight whose singular values an edit cannot tell apart
├── MissingEvidenceError    a method that needs more than the contrast at hand holds
├── NotFiniteError          a NaN or an infinity where a number is needed
├── TooLittleDataError      fewer items than a statistic needs, or items that do not vary
├── VectorFileError         a vector file that cannot be read
├── VectorMismatchError     a direction used on another model or width
├── AutoencoderFileError    a sparse autoencoder that cannot be found or read
├── AutoencoderMismatchError   a sparse autoencoder used on another model, site or width
├── NotCheckedError         a check of an audit that lacks what it would look at
├── ExperimentError        an experiment file or a claims file that cannot be used, with its line
├── OutputError             a place that must not be written: an input, or something of the user's
├── RunError                a run directory that cannot be read or continued
├── BusyError               a run or a file that another process is writing
├── RequestError            a request to the server that cannot be read
├── QueueFullError          a server that has as many requests waiting as it takes
├── RunConflictError        the same measurement with two different values
└── RestorationError        a model that is not as it was before, which is a fault of ours

Each message says what is wrong, where, and what to do. The command line prints it in one line and
exits with 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeVar

Name = TypeVar("Name", bound=str)
_LONGEST_LIST, _NEAREST = 400, 8  # characters of a list of names; names of a longer one


class SteerscopeError(Exception):
    """Base of every error that the user can mend."""


class UnknownNameError(SteerscopeError):
    """A name that is not known; the message lists those that are."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        listed = sorted(known)
        near = get_close_matches(str(name), listed, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(
            f"unknown {kind} {str(name)!r}.{hint} Known: {_listed(str(name), listed)}."
        )


def _listed(name: str, known: list[str]) -> str:
    """The known names, of a long list the nearest."""
    whole = ", ".join(known)
    if len(whole) <= _LONGEST_LIST:
        return whole
    nearest = sorted(get_close_matches(name, known, n=_NEAREST, cutoff=0.0))
    return f"{', '.join(nearest)} and {len(known) - len(nearest)} more"


def check_name(kind: str, name: str, known: Iterable[Name]) -> Name:
    """The name itself, if it is one of those known.

    Raises:
        UnknownNameError: it is not; the message lists the known ones.
    """
    for one in known:
        if one == name:
            return one
    raise UnknownNameError(kind, name, known)


class BadValueError(SteerscopeError):
    """A number or option outside its range."""


class NoFeaturesError(BadValueError):
    """A reading of a concept that is above zero for no feature of an autoencoder."""


class ContrastError(SteerscopeError):
    """A contrast or prompt file that cannot be used."""


class ModelLoadError(SteerscopeError):
    """A model that cannot be loaded, or whose conversion changes its output."""


class ModelBusyError(SteerscopeError):
    """A model that another thread holds and does nothing with."""


class ModelCopyError(SteerscopeError, TypeError):
    """Copying or pickling of a model, which would leave its steering behind."""


class NeverRanError(SteerscopeError):
    """A hook that no pass went through, though passes ran over its layer: its change was not made."""


class UnsupportedSiteError(SteerscopeError):
    """A site that this model does not have."""


class UnsupportedWeightError(SteerscopeError):
    """A weight matrix that this model does not have, or an edit that it would undo."""


class TemplateError(SteerscopeError):
    """A chat template that is missing or refuses a text."""


class PromptTooLongError(SteerscopeError):
    """A prompt that does not fit into the model's context."""


class MemoryBudgetError(SteerscopeError):
    """Work of which not even one row fits into the memory that there is."""


class DegenerateDirectionError(SteerscopeError):
    """Activations that define no direction, such as two equal class means."""


class DegenerateSpectrumError(SteerscopeError):
    """A weight that is zero, or whose singular values are all the same."""


class MissingEvidenceError(SteerscopeError):
    """A method that needs more than the contrast at hand holds; the message says how to get it."""


class NotFiniteError(SteerscopeError):
    """A NaN or an infinity where a number is needed."""


class NotReachedError(BadValueError):
    """No dose brings a condition to the KL that is asked for."""


class TooLittleDataError(SteerscopeError):
    """Fewer items than a statistic needs, or items that do not vary."""


class VectorFileError(SteerscopeError):
    """A vector file that cannot be read."""


class VectorMismatchError(SteerscopeError):
    """A direction used on another model or on a site of another width."""


class JudgeError(SteerscopeError):
    """A judge that cannot be had, or that returned no score; the texts it was asked about are kept."""


class AutoencoderFileError(SteerscopeError):
    """A sparse autoencoder that cannot be found or read."""


class AutoencoderMismatchError(SteerscopeError):
    """A sparse autoencoder used on another model, site or width."""


class NotCheckedError(SteerscopeError):
    """A check of an audit that lacks what it would look at; the audit says so and goes on."""


class RequestError(SteerscopeError):
    """A request to the server that cannot be read; the message names the field."""


class QueueFullError(SteerscopeError):
    """A server that has as many requests waiting as it takes; ask again later."""


class RestorationError(SteerscopeError):
    """A model that is not as it was before a sweep; load it again."""


class ExperimentError(SteerscopeError):
    """An experiment file, or one of claims, that cannot be used; the message names its line."""


class OutputError(SteerscopeError):
    """A place that must not be written: an input, or something of the user's."""


class RunError(SteerscopeError):
    """A run directory that cannot be read or continued."""


class BusyError(RunError):
    """A run or a file that another process is writing."""


class RunConflictError(RunError):
    """The same measurement was stored twice with different values."""


class BackboneWarning(UserWarning):
    """The door chose another backbone than the first choice, and says why."""


class OtherWeightsWarning(UserWarning):
    """A direction steers a model of other weights than it was found on, as it was asked to."""


class PureGainWarning(UserWarning):
    """An edit of a spectrum multiplies the whole matrix by one number and changes no spectrum."""


class LeftOutWarning(UserWarning):
    """Sites that were not asked for by number have no direction and are left out."""


class TemplateWarning(UserWarning):
    """A direction meets texts in another chat template than it was found in."""


def reason(error: Exception) -> str:
    """The first line of what an exception says, or its name if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
