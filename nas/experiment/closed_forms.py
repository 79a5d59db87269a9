"""The closed-form branches of a run, fitted once each and kept."""

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

from nas.data.interactions import Interactions
from nas.model.fusion import Held
from nas.model.history import HistoryModel, with_settings
from nas.model.item_weights import fit_items
from nas.model.nearest_users import fit_users
from nas.model.spectral import fit_spectral
from nas.space.architecture import Architecture
from nas.space.closed_form import ClosedForm, ItemBranch, UserBranch

if TYPE_CHECKING:
    from nas.experiment.context import Context

Part = Literal["train", "train and valid"]

# Branches kept in memory: those of the winner, on both parts, and the fits that they are made of.
_KEPT = 12
# Of which the scores are: one of each, and one that takes the place of another.
_HELD = 4


class ClosedForms:
    """Fitted branches, and their scores of the users that candidates are judged on."""

    def __init__(self, context: "Context") -> None:
        """Fit on the data of `context` whatever is asked for."""
        self._context = context
        self._models: OrderedDict[tuple[ClosedForm, Part], HistoryModel] = OrderedDict()
        self._held: OrderedDict[ClosedForm, Held] = OrderedDict()

    def model(self, branch: ClosedForm, part: Part = "train") -> HistoryModel:
        """Return a fitted branch."""
        key = (branch, part)
        if key not in self._models:
            self._models[key] = self._made(branch, part)
            while len(self._models) > _KEPT:
                self._models.popitem(last=False)
        self._models.move_to_end(key)
        return self._models[key]

    def held(self, branch: ClosedForm) -> Held:
        """Return the standardised scores of the users that candidates are judged on, by the branch fitted on the training part."""
        if branch not in self._held:
            self._held[branch] = Held(
                self.model(branch), self._context.judged_users, self._context.train.n_users
            )
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(branch)
        return self._held[branch]

    def of(self, architecture: Architecture, part: Part = "train") -> dict[str, HistoryModel]:
        """Return the fitted closed-form branches of an architecture, by name."""
        return {name: self.model(branch, part) for name, branch in architecture.closed_forms.items()}

    def _made(self, branch: ClosedForm, part: Part) -> HistoryModel:
        """Return a branch by the fit that it shares with others."""
        interactions = self._context.train if part == "train" else self._context.train_and_valid
        if branch.fitted() == branch:
            return self._fit(branch, part, interactions)
        return with_settings(self.model(branch.fitted(), part), branch, interactions)

    def _fit(self, branch: ClosedForm, part: Part, interactions: Interactions) -> HistoryModel:
        context = self._context
        if isinstance(branch, ItemBranch):
            return fit_items(branch, interactions)
        if isinstance(branch, UserBranch):
            return fit_users(branch, interactions)
        data = context.training if part == "train" else context.refitting
        return fit_spectral(branch, interactions, data.graph, context.experiment.search.seed)
