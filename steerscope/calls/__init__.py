"""What a public call was given, looked at where it fails with an error that is none of ours."""

from steerscope.calls.told import as_told, misfit, told

__all__ = ["as_told", "misfit", "told"]
