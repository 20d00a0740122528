"""Claims: what was published, the test that decides it, and what the runs say."""

from steerscope.claims.claim import Claim, Test, claims_folder, load_claims
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
    "check_claims",
    "claims_folder",
    "decide",
    "find_evidence",
    "load_claims",
    "store_evidence",
]
