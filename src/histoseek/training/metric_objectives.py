"""Objectives of `pytorch-metric-learning`, on the labelled views of a batch.

Imported only when one of them is made: the package takes seconds to load.
"""

from __future__ import annotations

from pytorch_metric_learning import distances, losses, miners, reducers
from torch import Tensor, nn

from histoseek.errors import InputError
from histoseek.training.objectives import Batch, in_float32, nothing


class Mined(nn.Module):  # type: ignore[misc]
    """A loss over the pairs or triplets that a miner finds among labelled views."""

    def __init__(self, loss: nn.Module, miner: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.miner = miner

    @in_float32
    def forward(self, batch: Batch) -> Tensor:
        """The loss of `batch`."""
        images, labels = _labelled(batch)
        if len(images) < 2:
            return nothing(batch, self)
        return self.loss(images, labels, self.miner(images, labels))


class ProxyAnchor(nn.Module):  # type: ignore[misc]
    """Labelled views against one learnt proxy a class."""

    def __init__(self, dim: int, n_classes: int, margin: float, alpha: float) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.loss = losses.ProxyAnchorLoss(n_classes, dim, margin=margin, alpha=alpha)

    @in_float32
    def forward(self, batch: Batch) -> Tensor:
        """The loss of `batch`."""
        images, labels = _labelled(batch)
        if len(images) < 2:
            return nothing(batch, self)
        highest = int(labels.max())
        if highest >= self.n_classes:
            raise InputError(
                f"the batch has label code {highest} and 'proxy-anchor' was made for codes 0 to {self.n_classes - 1}; "
                "make it for all classes of the training data"
            )
        return self.loss(images, labels)


def multi_similarity(alpha: float, beta: float, base: float, epsilon: float) -> nn.Module:
    """Multi-similarity loss on cosines, with the pair mining of its paper."""
    return Mined(
        losses.MultiSimilarityLoss(alpha=alpha, beta=beta, base=base), miners.MultiSimilarityMiner(epsilon=epsilon)
    )


def triplet(margin: float) -> nn.Module:
    """Hinge on cosines between each anchor's hardest positive and hardest negative, mean over anchors."""
    cosine = distances.CosineSimilarity()
    loss = losses.TripletMarginLoss(margin=margin, distance=cosine, reducer=reducers.MeanReducer())
    return Mined(loss, miners.BatchHardMiner(distance=cosine))


def _labelled(batch: Batch) -> tuple[Tensor, Tensor]:
    """The labelled views [L, D] and their class codes [L]."""
    labelled = batch.labels >= 0
    return batch.images[labelled], batch.labels[labelled]
