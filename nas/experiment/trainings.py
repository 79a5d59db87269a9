"""Stand-alone trainings of a run; what was trained already, and is still in memory, is not trained again.

LightGCN is trained when the recipe is chosen, again as what the search has to beat, and again as a baseline: with equal
settings and seed these are one training.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nas.model.fitting import Fitted, Patience, fit, refit
from nas.model.weights import Weights
from nas.space.architecture import Architecture
from nas.space.recipe import Recipe

if TYPE_CHECKING:
    from nas.experiment.context import Context

# On Gowalla, 59 trainings of 64 columns.
_MOST_BYTES = 2**30


class Trainings:
    """Trainings by architecture, recipe and seed; the least recently used are forgotten."""

    def __init__(self, context: "Context") -> None:
        """Train on the data of `context`."""
        self._context = context
        self._kept: OrderedDict[Any, Fitted | Weights] = OrderedDict()

    def fit(
        self,
        architecture: Architecture,
        recipe: Recipe,
        seed: int,
        report: Callable[[int, float], Any] = lambda _epoch, _value: None,
    ) -> Fitted:
        """Train the graph branch on the training part, with early stopping on the validation part.

        `report` hears of the looks at the validation data as they are made: not of those of a training that is kept.
        """
        context = self._context
        settings = context.experiment.retrain

        def train() -> Fitted:
            return fit(
                architecture,
                recipe,
                context.training,
                context.valid,
                Patience(settings.epochs, settings.every, settings.looks),
                metric=context.experiment.metric,
                ks=context.experiment.ks,
                seed=seed,
                users=context.judged_users,
                report=report,
            )

        found: Fitted = self._once(("fit", architecture.learned, recipe, seed), train)
        return found

    def refit(self, architecture: Architecture, recipe: Recipe, epochs: int, seed: int) -> Weights:
        """Train the graph branch on training and validation part, for a number of epochs that is chosen already."""

        def train() -> Weights:
            return refit(architecture, recipe, self._context.refitting, epochs=epochs, seed=seed)

        found: Weights = self._once(("refit", architecture.learned, recipe, seed, epochs), train)
        return found

    def _once(self, key: Any, train: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = train()
            while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > _MOST_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def _bytes(kept: Fitted | Weights) -> int:
    weights = kept.weights if isinstance(kept, Fitted) else kept
    return sum(tensor.nbytes for tensor in weights.tensors.values())
