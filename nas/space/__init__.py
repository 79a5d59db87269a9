"""Architectures, recipes and the declarative spaces they are drawn from."""

from nas.space.architecture import Architecture, GraphBranch, Layer
from nas.space.recipe import Recipe
from nas.space.search_space import SearchSpace

__all__ = ["Architecture", "GraphBranch", "Layer", "Recipe", "SearchSpace"]
