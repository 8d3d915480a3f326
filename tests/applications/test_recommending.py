"""A recommender learns an order that counting cannot see, and is measured as the protocol says."""

import re

import numpy as np
import pytest

from attnlab import applications, datasets
from attnlab.applications import recommending
from attnlab.cli import main
from attnlab.errors import AttnlabError

ITEMS = 24


def in_circles(people=60, length=12, seed=0):
    """After item n comes n + 1: every item is as popular as every other."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, ITEMS, people)
    sequences = [(start + np.arange(length)) % ITEMS for start in starts]
    names = [f"item {number}" for number in range(ITEMS)]
    nothing = [np.zeros(length, dtype=bool)] * people
    return datasets.Histories(names, sequences, nothing, "circles")


@pytest.fixture(scope="module")
def learned():
    histories = in_circles()
    return histories, applications.Recommender.train(
        histories, length=16, d_model=32, steps=300, dropout=0.0, learning_rate=5e-3
    )


@pytest.mark.slow
def test_it_learns_what_comes_next_where_popularity_cannot(learned):
    histories, recommender = learned
    table = applications.ranking_table(
        {"popularity": applications.by_popularity(histories), "attention": recommender.scores},
        histories,
    ).set_index(["protocol", "way"])
    assert table.loc[("full", "attention"), "ndcg"] > 0.9
    assert table.loc[("full", "attention"), "more_low"] > 0.1
    assert table.loc[("shuffled", "attention"), "ndcg"] < table.loc[("full", "attention"), "ndcg"]


@pytest.mark.slow
def test_it_recommends_by_name_and_says_what_it_rests_on(learned):
    _, recommender = learned
    past = [f"item {number}" for number in range(3, 9)]
    assert recommender.recommend(past, 1) == ["item 9"]
    rest = recommender.recommend(past, ITEMS)  # more than there are left
    assert len(rest) == ITEMS - 6 and not set(rest) & set(past)
    told = recommender.explain(past, "item 9")
    assert told["item"].tolist() == past
    assert told["missed"].argmax() == len(past) - 1  # the last one says what comes next
    assert told["attention"].min() >= 0 and told["attention"].sum() <= 1 + 1e-5
    with pytest.raises(AttnlabError, match="Did you mean 'item 9'"):
        recommender.recommend(["item  9"])


@pytest.mark.slow
def test_what_is_read_behind_the_end_and_who_else_is_asked_change_nothing(learned):
    histories, recommender = learned
    pasts = [histories.sequences[0][:3], histories.sequences[1][:9]]
    together = recommender.scores(pasts)
    for row, past in zip(together, pasts, strict=True):
        np.testing.assert_allclose(row, recommender.scores([past])[0], atol=1e-5)


def test_ranks_count_candidates_only_and_share_places_when_scores_are_equal():
    histories = in_circles(people=1)
    past, target = histories.before("test")[0], histories.targets("test")[0]
    scores = np.zeros((1, ITEMS))
    scores[0, past] = 9  # had already: no candidates
    ranks = recommending.rank_targets(lambda pasts: scores, histories)
    rivals = ITEMS - len(past) - 1
    assert ranks.tolist() == [1 + rivals / 2]
    scores[0, target] = 1
    assert recommending.rank_targets(lambda pasts: scores, histories).tolist() == [1]
    assert recommending.hits(np.array([10, 11])).tolist() == [1, 0]
    np.testing.assert_allclose(recommending.ndcg(np.array([1, 3, 11])), [1, 0.5, 0])


def test_fewer_rivals_flatter_every_way_to_recommend():
    rng = np.random.default_rng(0)
    sequences = [rng.permutation(2000)[:6] for _ in range(300)]
    nothing = [np.zeros(6, dtype=bool)] * 300
    histories = datasets.Histories([str(n) for n in range(2000)], sequences, nothing, "noise")
    chance = rng.random((300, 2000))
    table = applications.ranking_table({"chance": lambda pasts: chance}, histories)
    rates = table.set_index("protocol")["hit_rate"]
    assert rates["full"] < 0.03  # ten of some two thousand
    assert rates["sampled"] == pytest.approx(10 / 101, abs=0.05)


def test_neighbours_are_items_of_the_same_people():
    rows = [[0, 1, 4, 5], [0, 1, 5, 4], [2, 3, 4, 5], [2, 3, 5, 4]]
    nothing = [np.zeros(4, dtype=bool)] * 4
    histories = datasets.Histories(
        list("abcdef"), [np.array(row) for row in rows], nothing, "pairs"
    )
    alike = applications.by_neighbours(histories)([np.array([0]), np.array([2, 0])])
    np.testing.assert_allclose(alike[0], [0, 1, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(
        applications.by_neighbours(histories, recent=1)([np.array([2, 0])])[0], alike[0]
    )
    assert applications.by_popularity(histories)([np.array([0])])[0].tolist() == [2, 2, 2, 2, 0, 0]


def test_a_protocol_that_is_none_is_refused():
    with pytest.raises(AttnlabError, match="Did you mean 'sampled'"):
        recommending.rank_targets(lambda pasts: pasts, in_circles(1), protocol="sample")


# ── the command ────────────────────────────────────────────────────────────────────────────────


def bought(path, header="user,item,time", people=12):
    """A table in which everybody walks round a circle of ten items."""
    rows = [f"u{p},item {(p + t) % 10},{t}" for p in range(people) for t in range(8)]
    path.write_text("\n".join([header, *rows]))
    return str(path)


@pytest.mark.slow
def test_the_command_measures_and_recommends_from_a_table_of_ones_own(tmp_path, capsys):
    file = bought(tmp_path / "bought.csv", "who,what,when")
    columns = ["--user", "who", "--item", "what", "--time", "when"]
    with pytest.raises(SystemExit) as ended:
        main(["apps", "recommend", file, *columns, "--steps", "120", "--past", "item 3"])
    assert ended.value.code == 0
    table, _, named = capsys.readouterr().out.rstrip().partition("\n\n")
    assert [row.split()[1] for row in table.splitlines()[1:]] == [
        "popularity",
        "neighbours",
        "attention",
    ]
    assert named.splitlines()[0] == "item 4"
    assert "item 3" not in named


@pytest.mark.parametrize(
    ("header", "options", "words"),
    [
        ("who,item,time", [], "There is no column 'user'"),
        ("user,item,time", ["--time", "item"], "twice"),
        ("user,item,time", ["--fewest", "13"], "No person has 13"),
        ("user,item,time", ["--past", "itm 3"], "Did you mean"),
    ],
)
def test_what_is_wrong_is_said_before_training_and_every_cure_can_be_typed(
    tmp_path, capsys, monkeypatch, header, options, words
):
    monkeypatch.setattr(recommending, "train_steps", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(SystemExit):
        main(["apps", "recommend", bought(tmp_path / "bought.csv", header), *options])
    said = capsys.readouterr().err
    assert words in said
    with pytest.raises(SystemExit):
        main(["apps", "recommend", "--help"])
    known = capsys.readouterr().out
    for option in re.findall(r"--[a-z]+", said):
        assert option in known, f"{option} is named as a cure and is no option"
