"""Claims: what was published, the test that decides it, and what the runs say."""

from steerscope.claims.by_model import by_model
from steerscope.claims.claim import Claim, Test, bundled_claims, claims_folder, load_claims
from steerscope.claims.ledger import (
    VERDICTS,
    Judged,
    board,
    check_claims,
    decide,
    find_evidence,
    store_evidence,
)
from steerscope.claims.measures import MEASURES, Measured

__all__ = [
    "MEASURES",
    "VERDICTS",
    "Claim",
    "Judged",
    "Measured",
    "Test",
    "board",
    "bundled_claims",
    "by_model",
    "check_claims",
    "claims_folder",
    "decide",
    "find_evidence",
    "load_claims",
    "store_evidence",
]
