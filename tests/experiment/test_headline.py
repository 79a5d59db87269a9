import pytest

from nas.experiment.headline import fitted_on, headline

ROWS = [
    {"name": "popularity", "test": {"ndcg@20": 0.1176}, "difference": {"ndcg@20": [0.15, 0.1573, 0.16]}},
    {"name": "slim", "test": {"ndcg@20": 0.2651}, "difference": {"ndcg@20": [0.0081, 0.0098, 0.0115]}},
    {"name": "ease", "skipped": "too many items", "test": {}, "difference": {}},
]


def test_the_best_baseline_and_its_interval_are_named() -> None:
    words = headline("ndcg@20", 6022, {"ndcg@20": 0.2749}, ROWS)
    assert "NDCG@20 is 0.2749, the mean over 6,022 users" in words
    assert "The best of 2 other models that were tuned on the same data, slim, has 0.2651" in words
    assert "a lead of +0.0098, with 95 % confidence between +0.0081 and +0.0115" in words
    assert "most popular has 0.1176" in words


def test_a_baseline_that_wins_is_named_as_well() -> None:
    rows = [{"name": "ease", "test": {"recall@10": 0.4}, "difference": {"recall@10": [-0.03, -0.02, -0.01]}}]
    words = headline("recall@10", 10, {"recall@10": 0.38}, rows)
    assert "ease, has 0.4000: a lead of -0.0200, with 95 % confidence between -0.0300 and -0.0100" in words
    assert "popular" not in words


@pytest.mark.parametrize(
    "rows", [[], [{"name": "ease", "skipped": "too many items", "test": {}, "difference": {}}]]
)
def test_without_baselines_there_is_no_lead(rows: list[dict[str, object]]) -> None:
    assert "lead" not in headline("ndcg@20", 10, {"ndcg@20": 0.1}, rows)


def test_it_is_told_what_the_numbers_were_fitted_on() -> None:
    assert fitted_on(None).startswith("What was judged are the very numbers")
    assert "on all 7 interactions of shop.csv" in fitted_on("7 interactions of shop.csv")
