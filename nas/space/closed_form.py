"""The branches that are not learned step by step: they score a user by its history, in closed form."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


def _said(branch: BaseModel) -> str:
    """Return the settings that are not at their default."""
    default = {name: field.default for name, field in type(branch).model_fields.items()}
    changed = {name: value for name, value in branch if value != default[name] and name != "kind"}
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in changed.items())


class SpectralBranch(BaseModel):
    """The spectral branch: a linear and an ideal low-pass filter of the history (GF-CF; Shen et al., CIKM 2021, eq. 14).

    With N = D_u^-1/2 R D_i^-1/2 and V its `rank` leading right singular vectors, the scores of a history r are
    r N'N + low_pass r D_i^-1/2 V V' D_i^1/2.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: int = Field(default=256, ge=1)
    """Singular vectors that the ideal low-pass filter keeps."""
    low_pass: float = Field(default=0.3, ge=0)
    """Weight of the ideal low-pass filter beside the linear one."""
    neighbours: int = Field(default=0, ge=0)
    """Entries that the linear filter keeps for each item, the largest; 0 keeps all."""
    recency: float = Field(default=0.0, ge=0)
    """An item of the history d steps before the end of its user's time line counts 1 / (1 + d / recency), half at d =
    recency; 0 counts all alike, as does data without timestamps."""

    def __str__(self) -> str:
        return ", ".join(
            filter(None, [f"spectral, rank {self.rank}", _said(self.model_copy(update={"rank": 256}))])
        )

    def canonical(self) -> "SpectralBranch":
        """Return the one spelling of this function."""
        return self.model_copy(update={"rank": 1}) if self.low_pass == 0 else self

    def fitted(self) -> "SpectralBranch":
        """Return the settings that a fit depends on; the others say how its histories count."""
        return self.canonical().model_copy(update={"recency": 0.0})


class UserBranch(BaseModel):
    """The user branch: what the users most like someone have had, with inverse user frequencies and case amplification
    (Breese et al., UAI 1998).

    See `NearestUsers` for the likeness of two users.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    neighbours: int = Field(default=50, ge=1)
    """The users most like someone who count."""
    power: float = Field(default=3.0, gt=0, le=100)
    """A neighbour counts likeness ** power."""
    rarity: float = Field(default=0.5, ge=0, le=10)
    """An item that two users share counts popularity ** -rarity; 0 counts all alike."""
    recency: float = Field(default=0.0, ge=0)
    """An item of the history d steps before the end of its user's time line counts 1 / (1 + d / recency), half at d =
    recency; 0 counts all alike, as does data without timestamps."""

    def __str__(self) -> str:
        first = f"users, neighbours {self.neighbours}, power {self.power:g}, rarity {self.rarity:g}"
        return first + (f", recency {self.recency:g}" if self.recency else "")

    def canonical(self) -> "UserBranch":
        """Return the one spelling of this function."""
        return self

    def fitted(self) -> "UserBranch":
        """Return the settings that a fit depends on; the other says how its histories count."""
        return self.model_copy(update={"recency": 0.0})


class ItemBranch(BaseModel):
    """The item branch: a user's scores are its history times item-item weights.

    `ease`: the weights that predict each item from the others (Steck, WWW 2019), the closed form of a linear
    autoencoder without self-connections; with `dropout`, that of one trained with dropout (EDLAE; Steck, NeurIPS 2020).
    `slim`: non-negative and mostly zero, from an elastic net of each item on the others, in a large catalogue on the closest
    of them (SLIM and fsSLIM; Ning and Karypis, ICDM 2011).
    `next`: the weights that predict what a user had after an item, or along with it, by ridge regression (SLIT; Choi et al.,
    WWW 2021).
    `cosine`: similarities of an item to its nearest (Sarwar et al., WWW 2001).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["ease", "slim", "next", "cosine"] = "ease"
    """How the weights are found."""
    regularisation: float = Field(default=500.0, gt=0)
    """ease, slim, next: added to the diagonal of the items' co-occurrences. cosine: added to the denominator."""
    l1: float = Field(default=1.0, gt=0)
    """slim: an item that shares no more than so many users with another gets no weight for it; more, fewer weights."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """ease, next: p of the dropout whose expectation is regularised with, p / (1 - p) of the diagonal."""
    user_norm: float = Field(default=0.0, ge=0, le=1)
    """ease, slim, next: a user with n interactions counts (n / typical n) ** -user_norm; 0 counts all users alike."""
    proximity: float = Field(default=0.0, ge=0)
    """ease, slim, next: two items d steps apart in a user's time line count 1 / sqrt(1 + d / proximity), interactions of the same
    moment being one step; 0 counts all pairs alike, as does data without timestamps."""
    features: float = Field(default=0.0, ge=0, exclude_if=lambda users: users == 0)
    """ease, slim, next: a genre, a word of the titles or another feature counts as so many users who had the items that have
    it, spread over these; 0 looks at none, as does data without a table of items."""
    rating: float = Field(default=0.0, ge=0)
    """An item of the history counts 1 + rating * z, z the normal score of the rating's rank, within -2 to 2; 0 counts
    all alike, as does data without ratings."""
    recency: float = Field(default=0.0, ge=0)
    """An item of the history d steps before the end of its user's time line counts 1 / (1 + d / recency), half at d =
    recency; 0 counts all alike, as does data without timestamps."""
    debias: float = Field(default=0.0, ge=0, le=1, exclude_if=lambda power: power == 0)
    """The score of an item that n users had is divided by (1 + n) ** debias, as in RP3beta (Paudel et al., TiiS 2017)."""
    neighbours: int = Field(default=0, ge=0)
    """So many weights times the number of items are kept, the largest of all; 0 keeps all. cosine: of each item so many."""

    def __str__(self) -> str:
        return ", ".join(filter(None, [f"item {self.kind}", _said(self)]))

    def canonical(self) -> "ItemBranch":
        """Return the one spelling of this function."""
        plain = {
            "ease": {"l1": 1.0},
            "slim": {"dropout": 0.0},
            "next": {"l1": 1.0},
            "cosine": {"l1": 1.0, "dropout": 0.0, "user_norm": 0.0, "proximity": 0.0, "features": 0.0},
        }
        return self.model_copy(update=plain[self.kind])

    def fitted(self) -> "ItemBranch":
        """Return the settings that a fit depends on; the others say how its histories and its scores count."""
        return self.canonical().model_copy(update={"rating": 0.0, "recency": 0.0, "debias": 0.0})


ClosedForm = SpectralBranch | ItemBranch | UserBranch

CLOSED_FORMS: dict[str, type[ClosedForm]] = {
    "spectral": SpectralBranch,
    "item": ItemBranch,
    "user": UserBranch,
}
"""By name, in the order in which they are settled."""


def name_of(branch: ClosedForm) -> str:
    """Return the name of a branch among those of an architecture."""
    return next(name for name, kind in CLOSED_FORMS.items() if isinstance(branch, kind))
