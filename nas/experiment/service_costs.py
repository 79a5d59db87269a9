"""What an architecture costs in service: fitted on train + validation, as it is exported."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from nas.model.evaluation import costs, history_costs
from nas.recommender import recommender
from nas.space.architecture import Architecture
from nas.space.closed_form import ClosedForm

if TYPE_CHECKING:
    from nas.experiment.context import Context

SIMILARITY_COLUMNS = 64
"""Of the singular vectors that say which items are alike, where there is no graph branch."""

# Manifest and README of an artefact: 9 kB, and somewhat more where names are long.
_TEXT_BYTES = 16_384
# And at most so much of each layer, whose arrays are listed twice.
_LAYER_BYTES = 1_536


class ServiceCosts:
    """Architecture -> {parameters, refresh_macs, artefact_bytes}; what is constrained is what will be exported."""

    def __init__(self, context: "Context") -> None:
        """Count on the data of `context`."""
        self._context = context
        items = context.interactions.items
        lists = [context.interactions.user_ids, context.interactions.item_ids, items.title, items.genres]
        text = sum(len(json.dumps(one, ensure_ascii=False).encode()) for one in lists if one is not None)
        self._closed_forms: dict[ClosedForm, dict[str, int]] = {}
        self._same_for_all = text + Path(recommender.__file__).stat().st_size + _TEXT_BYTES

    def __call__(self, architecture: Architecture) -> dict[str, int]:
        """Return the costs by name; a closed-form branch is fitted for it, once."""
        data = self._context.interactions
        sizes = (data.n_users, data.n_items, len(self._context.train_and_valid))
        found = costs(architecture, *sizes)
        found["artefact_bytes"] += self._same_for_all
        if architecture.graph is not None:
            found["artefact_bytes"] += _LAYER_BYTES * len(architecture.graph.layers)
        else:
            columns = min(SIMILARITY_COLUMNS, data.n_users, data.n_items)
            found["artefact_bytes"] += 4 * columns * (data.n_users + data.n_items + columns)
        for branch in architecture.closed_forms.values():
            if branch not in self._closed_forms:
                model = self._context.closed_forms.model(branch, "train and valid")
                self._closed_forms[branch] = history_costs(model, *sizes)
            found = {name: value + self._closed_forms[branch][name] for name, value in found.items()}
        return found
