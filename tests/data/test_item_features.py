import pytest

from nas.data import ItemTable
from nas.data.item_features import item_features

TABLE = ItemTable(
    title=("The Wood", "the SEA", "", "Sea of trees (1999)", "1999"),
    genres=(("war",), (), ("war", "sea"), ("sea", "sea"), ()),
    features=((), ("brand: x",), ("brand: x",), (), ("label: x",)),
)
# One row an item: words the, sea, 1999; genres war, sea; brand x. What one item alone has is left out.
SHARED = {
    0: {"the", "war"},
    1: {"the", "sea", "x"},
    2: {"war", "genre sea", "x"},
    3: {"sea", "1999", "genre sea"},
    4: {"1999"},
}


def test_an_item_has_its_words_genres_and_features() -> None:
    found = item_features(TABLE, 5).toarray()
    assert found.shape == (5, 6)
    assert set(found.ravel()) == {0, 1}
    for a in range(5):
        for b in range(5):
            assert found[a] @ found[b] == len(SHARED[a] & SHARED[b])


@pytest.mark.parametrize(
    "table", [ItemTable(), ItemTable(title=("a", "b", "")), ItemTable(genres=((), (), ()))]
)
def test_what_is_not_shared_is_no_feature(table: ItemTable) -> None:
    assert item_features(table, 3).shape == (3, 0)


def test_the_commonest_are_left_out_where_pairs_would_be_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    table = ItemTable(genres=(("all", "some"), ("all", "some"), ("all",), ("all", "few"), ("all", "few")))
    assert item_features(table, 5).shape == (5, 3)
    # Four pairs of each of the two, of an item with itself among them; 25 of the third.
    monkeypatch.setattr("nas.data.item_features.MOST_PAIRS", 8)
    item_features.cache_clear()
    assert item_features(table, 5).sum(0).tolist() == [2, 2]


def test_some_items_have_the_features_that_they_share_among_themselves() -> None:
    table = TABLE.select([1, 3])  # type: ignore[arg-type]
    assert table.title == ("the SEA", "Sea of trees (1999)")
    assert table.features == (("brand: x",), ())
    assert item_features(table, 2).toarray().tolist() == [[1], [1]]
