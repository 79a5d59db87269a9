"""The mean of a training's weights over its epochs."""

from collections.abc import Mapping

import torch
from torch import Tensor

from nas.model.weights import Weights

# Of the polynomial by which later epochs count more: epoch t about as much as t^2.
_POWER = 2


class Average:
    """The mean of weights after each epoch, of which later ones count more.

    Polynomial-decay averaging (Shamir and Zhang, ICML 2013, section 4): at its t-th epoch the mean moves
    (p + 1) / (t + p) of the way to the weights, p = 2. So it needs no horizon, which would have to be chosen anew for
    trainings of twenty epochs and of three hundred.

    Weights go to and fro between epochs, and those of the best look at the validation data are in part a lucky one:
    trained once more with another seed for as many epochs, networks end below it. Their NDCG@20 then, the mean of six
    such pairs, without and with the average: on ML-100K LightGCN .3062 and .3075, NGCF .3013 and .3036, GraphSAGE .2961
    and .3009; on latest-small LightGCN .2161 and .2199, GraphSAGE .2004 and .2091.
    """

    def __init__(self, weights: Weights) -> None:
        """Begin with a copy of the untrained weights, which count until the first epoch only."""
        self.weights = Weights(weights.tensors)
        self._epochs = 0

    @torch.no_grad()
    def add(self, weights: Weights) -> None:
        """Take in the weights after another epoch."""
        self._epochs += 1
        share = (_POWER + 1) / (self._epochs + _POWER)
        for name, tensor in self.weights.tensors.items():
            tensor.lerp_(weights.tensors[name], share)

    def load(self, state: Mapping[str, Tensor], epochs: int) -> None:
        """Go on from `weights.state()` as it was after `epochs` epochs."""
        self.weights.load(state)
        self._epochs = epochs
