"""`Recipe`: how a network is trained; one point of the recipe part of a search space."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Recipe(BaseModel):
    """The settings of one training."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    loss: Literal["softmax", "bpr"] = "softmax"
    """`softmax`: cross-entropy of a user's items against the catalogue; `bpr`: pairs (Rendle et al., 2009)."""
    temperature: float = Field(default=0.12, gt=0)
    """The scores, on the scale of cosines, are divided by it in the loss."""
    negatives: int = Field(default=4096, ge=1)
    """Items that a softmax step is taken over; a catalogue no larger than this is taken whole. BPR takes one."""
    start: Literal["svd", "noise"] = "svd"
    """How embeddings begin: singular vectors of the normalised training matrix, or small noise."""
    learning_rate: float = Field(default=0.003, gt=0)
    """Of Adam."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Factor of the squared length of the embeddings that a step's loss uses."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the embeddings' entries that a training step hides."""
    # The next two are left out where they are 0, so that trainings keep the names that they had before there were such.
    rating: float = Field(default=0.0, ge=0, exclude_if=lambda share: share == 0)
    """A training pair counts 1 + rating * z in the loss, z the normal score of its rating's rank, within -2 to 2; 0
    counts all alike, as does data without ratings."""
    recency: float = Field(default=0.0, ge=0, exclude_if=lambda age: age == 0)
    """A training pair d steps before the end of its user's time line counts 1 / (1 + d / recency) in the loss; 0 counts
    all alike, as does data without timestamps."""
    batches: int = Field(default=2, ge=1)
    """Least number of parts that an epoch divides the users into, one step each. A step costs a propagation over the
    whole graph, so few large steps are the cheaper way to the same quality; where the loss costs more than that (many
    users, few interactions each), an epoch has as many steps as make both cost alike."""
