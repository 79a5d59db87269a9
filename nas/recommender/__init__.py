"""The standalone recommender: it needs numpy and safetensors, and nothing else of `nas`."""

from nas.recommender.recommender import ArtefactError, InputError, Recommender, UnknownId

__all__ = ["ArtefactError", "InputError", "Recommender", "UnknownId"]
