"""What is tried of every fusion and ensemble: the same ladder for both kinds, at most as many settings for each."""

from __future__ import annotations

import pytest

from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.integration_options import CompareOptions
from stagelens.pipeline.experiment.integration_settings import CONTENT_WEIGHTS, levelled, methods_of
from stagelens.pipeline.recipe import load

SIGNALS = {"interaction": load({"use": "recall.PureSVD"}), "image": "image", "text": "text"}


def methods(**options):
    found, notes = methods_of(CompareOptions(**options), SIGNALS)
    return {method.name: method for method in found}, notes


@pytest.mark.parametrize("trials", [1, 3, 8])
def test_nothing_has_more_trials_than_the_others_may_have(trials):
    found, notes = methods(trials=trials)
    assert {method.kind for method in found.values()} == {"fusion", "ensemble"}
    for name, method in found.items():
        tried = sum(setting.trials for setting in method.settings)
        assert tried <= trials
        assert (tried < trials) == any(note.startswith(f"{name} has {tried} of {trials}") for note in notes)
        assert len({repr(setting.rule) for setting in method.settings}) == len(method.settings)


@pytest.mark.parametrize("trials", [1, 2, 4])
def test_the_best_of_both_kinds_is_chosen_among_as_many_trials(trials):
    everything, _ = methods_of(CompareOptions(trials=trials), SIGNALS)
    kept, notes = levelled(everything)
    assert [one.name for one in kept] == [one.name for one in everything]  # no method leaves
    count = {
        kind: sum(s.trials for one in kept if one.kind == kind for s in one.settings)
        for kind in ("fusion", "ensemble")
    }
    if trials == 1:  # six ensembles with one setting each stay more than four fusions
        assert count == {"fusion": 4, "ensemble": 6}
    else:
        assert count["fusion"] == count["ensemble"] == 4 * trials
        assert notes
    for before, after in zip(everything, kept, strict=True):
        assert before.settings[: len(after.settings)] == after.settings  # the first ones stay


def test_weights_of_both_kinds_come_from_one_ladder():
    found, _ = methods(trials=5)
    for name in ("fusion: Concat", "fusion: Sum", "fusion: PCA", "ensemble: WeightedSum"):
        assert [setting.rule.weights for setting in found[name].settings] == [
            (1.0, weight, weight) for weight in CONTENT_WEIGHTS[:5]
        ]


def test_other_ensembles_vary_what_they_have():
    found, _ = methods()
    assert [s.rule.normalise for s in found["ensemble: CombSUM"].settings] == [
        "min-max",
        "z-score",
        "rank",
        "raw",
    ]
    assert len({s.rule.rrf_k for s in found["ensemble: ReciprocalRank"].settings}) == 4
    assert len({s.rule.l2 for s in found["ensemble: Stacking"].settings}) == 4
    trees, _ = methods(ensemble=({"use": "fusion.Stacking", "model": "lightgbm"},))
    [method] = [one for one in trees.values() if one.kind == "ensemble"]
    assert len({s.rule.leaves for s in method.settings}) == 4
    assert len({s.rule.l2 for s in method.settings}) == 1


def test_what_a_table_gives_is_not_varied():
    table = {"use": "fusion.WeightedSum", "weights": {"interaction": 0.05, "text": 0.95, "image": 0.4}}
    found, notes = methods(fusion=({"use": "fusion.Concat", "weights": [1, 2, 3]},), ensemble=(table,))
    [fusion, ensemble] = found.values()
    assert [s.rule.weights for s in fusion.settings] == [(1.0, 2.0, 3.0)]
    assert [s.rule.weights for s in ensemble.settings] == [(0.05, 0.4, 0.95)]  # in the order of the signals
    assert len(notes) == 2


def test_a_rule_that_tunes_itself_spends_the_same_trials():
    found, notes = methods(ensemble=({"use": "fusion.WeightedSum", "weights": "valid"},), trials=3)
    [setting] = found["ensemble: WeightedSum(weights=valid)"].settings
    assert setting.trials == setting.rule.trials == 3
    assert not [note for note in notes if "WeightedSum" in note]


def test_merges_of_a_union_can_be_chosen():
    found, _ = methods(ensemble=({"merge": "quota"}, {"merge": "round-robin"}))
    assert [s.weights for s in found["ensemble: quota"].settings] == [
        (1.0, w, w) for w in CONTENT_WEIGHTS[:4]
    ]
    assert [s.merge for s in found["ensemble: round-robin"].settings] == ["round-robin"]


def test_a_default_projection_is_left_out_where_torch_is_absent_and_that_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found, notes = methods()
    assert "fusion: Projected" not in found
    assert any("Projected is left out: torch" in note for note in notes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fusion": ({"use": "fusion.CombSUM"},)}, "CombSUM is a ensemble, expected vectors"),
        ({"ensemble": ({"use": "fusion.Concat"},)}, "Concat is a vectors, expected ensemble"),
        ({"ensemble": ({"use": "fusion.CombSum"},)}, "Did you mean 'CombSUM'"),
        ({"ensemble": ({"merge": "quta"},)}, "Did you mean 'quota'"),
        ({"ensemble": ({"normalise": "rank"},)}, "neither use"),
        ({"ensemble": ({"use": "fusion.Borda"}, {"use": "fusion.Borda"})}, "Borda stands there twice"),
        ({"ensemble": ({"use": "fusion.WeightedSum", "weights": {"txt": 1}},)}, "Did you mean 'text'"),
    ],
)
def test_a_wrong_table_is_answered(options, said):
    with pytest.raises(ConfigError, match=said):
        methods(**options)
