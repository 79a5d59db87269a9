"""What every stage works with: the experiment, its data, its folder, its device."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas.data import Interactions, Split, load, split
from nas.data.item_features import item_features
from nas.errors import UserError
from nas.experiment.closed_forms import ClosedForms
from nas.experiment.config import Experiment
from nas.experiment.folder import RunFolder
from nas.experiment.reachable import check_reachable
from nas.experiment.service_costs import ServiceCosts
from nas.experiment.sizing import sized
from nas.experiment.storage import open_storage
from nas.experiment.team import Team
from nas.experiment.trainings import Trainings
from nas.graph.memory import keep_freed_memory
from nas.model.evaluation import sample_users
from nas.model.metrics import evaluated_users
from nas.model.training import TrainingData


@contextmanager
def told_on_success(logger: logging.Logger) -> Iterator[None]:
    """Hold back what the data says of itself until nothing is wrong with it: a fault is told in one line alone."""
    held: list[logging.LogRecord] = []

    def hold(record: logging.LogRecord) -> bool:
        held.append(record)
        return False

    logger.addFilter(hold)
    try:
        yield
    finally:
        logger.removeFilter(hold)
    for record in held:
        logger.handle(record)


@dataclass(frozen=True, eq=False)
class Context:
    """An experiment with its data at hand.

    Attributes:
        experiment: what is to be done, every setting chosen.
        folder: where it is written down.
        interactions: all of the data.
    """

    experiment: Experiment
    folder: RunFolder
    interactions: Interactions
    _split: Split

    @classmethod
    def open(cls, experiment: Experiment, path: Path) -> "Context":
        """Load and split the data, then claim the folder: what is wrong with either is found before a file is written.

        Raises:
            UserError: bad data, constraints that nothing can meet, a folder that holds another experiment or other data,
                or no such device.
        """
        if experiment.device == "cuda" and not torch.cuda.is_available():
            raise UserError("device: cuda is asked for, but torch finds no GPU; expected auto or cpu")
        keep_freed_memory()
        with told_on_success(logging.getLogger("nas.data")):
            return cls._open(experiment, path)

    @classmethod
    def _open(cls, experiment: Experiment, path: Path) -> "Context":
        interactions = load(experiment.data, Path())
        experiment = sized(experiment, interactions)
        parts = split(interactions, experiment.split)
        for name, held_out in (("valid", parts.valid), ("test", parts.test)):
            if not len(evaluated_users(held_out, parts.train)):
                raise UserError(
                    f"split: no user of the {name} part has training interactions, so nothing can be judged; "
                    "choose another split.strategy"
                )
        folder = RunFolder(path)
        if folder.started and folder.experiment().resolved()["data"] == experiment.resolved()["data"]:
            held = folder.read_json("data.json") or {}
            for name, key, one in (
                ("data", "fingerprint", interactions.fingerprint()),
                ("table of the items", "items_fingerprint", interactions.items.fingerprint()),
            ):
                if held.get(key, one) != one:
                    raise UserError(
                        f"{path}: the {name} changed since this run began; restore it, or give another folder with --run"
                    )
        if experiment.search.storage is not None:
            open_storage(experiment, path)
        context = cls(experiment, folder, interactions, parts)
        if not folder.started:
            check_reachable(context)
        folder.claim(experiment)
        if folder.read_json("data.json") is None:
            folder.write_json("data.json", context._describe_data())
        return context

    def _describe_data(self) -> dict[str, Any]:
        return {
            "users": self.interactions.n_users,
            "items": self.interactions.n_items,
            "interactions": len(self.interactions),
            "fingerprint": self.interactions.fingerprint(),
            "items_fingerprint": self.interactions.items.fingerprint(),
            "item_features": item_features(self.interactions.items, self.interactions.n_items).shape[1],
            "train": len(self._split.train),
            "valid": len(self._split.valid),
            "test": len(self._split.test),
        }

    @cached_property
    def device(self) -> torch.device:
        """Where networks live."""
        if self.experiment.device == "cpu" or not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda")

    @property
    def threads(self) -> int | None:
        """Threads of each process: as the experiment says, or as the run began with; None as long as nobody chose."""
        begun: dict[str, Any] = self.folder.read_json("environment.json") or {}
        return self.experiment.threads or begun.get("threads")

    @property
    def data_name(self) -> str:
        """What to call the data."""
        return self.experiment.data_name

    @property
    def train(self) -> Interactions:
        """The training part: all that graphs and losses see until everything is chosen."""
        return self._split.train

    @property
    def valid(self) -> Interactions:
        """The validation part: what every choice is made on."""
        return self._split.valid

    @cached_property
    def train_and_valid(self) -> Interactions:
        """What the winner and the baselines are fitted on once everything is chosen."""
        return self._split.train.union(self._split.valid)

    @cached_property
    def training(self) -> TrainingData:
        """The training part on the device; the graph holds training edges only."""
        return TrainingData.of(self.train, self.device)

    @cached_property
    def refitting(self) -> TrainingData:
        """Training and validation parts on the device."""
        return TrainingData.of(self.train_and_valid, self.device)

    @cached_property
    def judged_users(self) -> NDArray[np.int64]:
        """The validation users that everything is judged on until it is chosen: all, or a sample drawn once."""
        settings = self.experiment.search
        return sample_users(self.valid, self.train, settings.users, settings.seed)

    @cached_property
    def closed_forms(self) -> ClosedForms:
        """The fitted closed-form branches."""
        return ClosedForms(self)

    @cached_property
    def costs(self) -> ServiceCosts:
        """What architectures cost in service."""
        return ServiceCosts(self)

    @cached_property
    def trainings(self) -> Trainings:
        """The stand-alone trainings."""
        return Trainings(self)

    @cached_property
    def team(self) -> Team:
        """All processes that work in the folder."""
        return Team(self)

    def read_test(self, by: str) -> Interactions:
        """Return the test part, and note when and by what it was read. Only the last stage calls this."""
        readings = self.folder.read_json("test_reads.json") or []
        reading = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "by": by}
        self.folder.write_json("test_reads.json", [*readings, reading])
        return self._split.test

    def done(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what JSON file `name` holds; make and write it first, with its seconds, if it is not there."""
        found = self.folder.read_json(name)
        if found is None:
            started = time.perf_counter()
            found = make()
            found.setdefault("seconds", time.perf_counter() - started)
            self.folder.write_json(name, found)
        result: dict[str, Any] = found
        return result
