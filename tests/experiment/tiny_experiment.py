"""An experiment of seconds, on planted data."""

from typing import Any

TINY: dict[str, Any] = {
    "name": "tiny",
    "threads": 1,
    "data": {"source": "planted", "planted": {"users": 60, "items": 50, "interactions_per_user": 10}},
    "search_space": {
        "name": "tiny",
        "branches": {
            "graph": {
                "layers": [0, 1, 2],
                "hidden_size": [4, 8],
                "aggregator": ["lightgcn", "gcn", "gat", "gin"],
                "heads": [1, 2],
                "skip": ["none", "residual"],
                "readout": ["last", "mean", "learned"],
                "activation": ["none", "elu"],
                "score": ["dot", "cosine"],
            }
        },
        "recipe": {"temperature": {"min": 0.1, "max": 0.5, "log": True}},
    },
    "recipe": {"trials": 3},
    "supernet": {"epochs": 3, "batches": 2},
    "search": {"trials": 24, "population": 8},
    "retrain": {"top": 2, "epochs": 6, "recipes": 3, "tuned": 1},
    "baselines": {"names": ["popularity", "itemknn", "ease"]},
}
