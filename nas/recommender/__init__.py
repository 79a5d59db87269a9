"""The standalone recommender: it needs numpy and safetensors, and nothing else of `nas`."""

from nas.recommender.recommender import FORMAT_VERSION, ArtefactError, Recommender

__all__ = ["FORMAT_VERSION", "ArtefactError", "Recommender"]
