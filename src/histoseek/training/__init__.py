"""Manifest → better encoder: objectives, augmentation, balanced batches, the loop."""

from histoseek.errors import needs_extra

with needs_extra("torch"):
    from histoseek.training.augmentation import Augmentation, augmentation_of
    from histoseek.training.config import TrainConfig
    from histoseek.training.plan import Plan, class_rows, describe_plan, make_plan
    from histoseek.training.run import TrainedRun, is_first_process, train

__all__ = [
    "Augmentation",
    "Plan",
    "TrainConfig",
    "TrainedRun",
    "augmentation_of",
    "class_rows",
    "describe_plan",
    "is_first_process",
    "make_plan",
    "train",
]
