"""Mistakes that a user can make, each with a sentence that says how to fix it.

Every message names what was got, what was expected and what to do next. Anything that is not a
`MilError` is a bug of this package.
"""


class MilError(Exception):
    """Root of all errors that a user can fix."""


class ConfigError(MilError, ValueError):
    """A robot file, parameter or training configuration does not make sense."""


class EpisodeError(MilError, ValueError):
    """A recorded episode is missing, empty, truncated or lacks a stream."""


class DemoError(MilError, ValueError):
    """A demonstration does not fit the policy that should learn from it."""


class BundleError(MilError, ValueError):
    """A policy bundle is missing, damaged or made for another robot."""


class DatasetError(MilError, ValueError):
    """A training dataset is missing, inconsistent or too small."""


class CheckpointError(MilError, ValueError):
    """A training checkpoint is unreadable or belongs to another configuration."""


class ResultsError(MilError, ValueError):
    """Result documents are missing, incomplete or contradict each other."""


class ReplayError(MilError, ValueError):
    """A replay cannot be run, or its reference is missing, damaged or of something else."""


class StaleDataError(MilError):
    """No sample of a stream is young enough to act on."""


class OrderError(MilError):
    """A service was called before the step that must precede it."""


class MotionError(MilError):
    """The arm was to be moved, and was not, or not all the way."""
