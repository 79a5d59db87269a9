import numpy as np
import pytest

from nas.space import Architecture, GraphBranch, Layer, SearchSpace
from nas.space.picture import picture


def test_a_picture_has_a_box_a_stage_in_order() -> None:
    layers = (Layer(aggregator="gat", heads=4), Layer(aggregator="lightgcn"))
    branch = GraphBranch(hidden_size=64, layers=layers, skip="initial", readout="concat", activation="elu")
    texts = [line.strip("│ ") for line in picture(Architecture(graph=branch)).splitlines() if "│" in line]
    assert texts == [
        "user and item embeddings, 64 columns",
        "1  gatx4, elu, + 0.1 of the embeddings",
        "2  lightgcn, + 0.1 of the embeddings",
        "readout: all states, 192 columns",
        "score: dot product",
    ]


@pytest.mark.parametrize("name", ["graph", "full"])
def test_pictures_are_rectangles_that_fit_a_terminal(name: str) -> None:
    space, rng = SearchSpace.load(name), np.random.default_rng(0)
    for arch in [space.sample(rng) for _ in range(50)]:
        boxes = [line for line in picture(arch).splitlines() if "▼" not in line]
        assert len({len(line) for line in boxes}) == 1
        assert len(boxes[0]) <= 60
        texts = " ".join(line.strip("│ ") for line in boxes if "│" in line)
        assert all(str(branch) in texts for branch in arch.closed_forms.values())
