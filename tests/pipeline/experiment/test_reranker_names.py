from __future__ import annotations

import pytest

from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.fitting import rerank_of
from stagelens.pipeline.experiment.kinds import KINDS
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.reranker_names import named_reranker
from stagelens.pipeline.recipe import dump


@pytest.mark.parametrize("word", ["mlp", "MLP", "rerank.MLP"])
def test_a_name_is_a_recipe(word):
    assert named_reranker(word) == {"use": "rerank.MLP"}
    assert Study.load(None, {"rerank.reranker": word}).rerank.reranker == {"use": "rerank.MLP"}
    assert Study.load(None, {}, (f"rerank.reranker={word}",)).rerank.reranker == {"use": "rerank.MLP"}


def test_a_table_and_a_class_of_ones_own_are_taken_as_they_are():
    assert named_reranker('{use="rerank.MLP", width=8}') == {"use": "rerank.MLP", "width": 8}
    assert named_reranker("mine:Ranker") == {"use": "mine:Ranker"}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("mpl", "Unknown re-ranker 'mpl'.*'mlp'.*lambdamart, mlp"),
        ("{use=", "not a TOML table"),
        ("oracle", "oracle"),
    ],
)
def test_other_words_are_refused(word, said):
    with pytest.raises(ConfigError, match=said):
        Study.load(None, {"rerank.reranker": word})


def test_the_same_recipe_keeps_the_values_of_a_configuration(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[rerank]\nreranker = { use = "rerank.MLP", width = 8 }\n', encoding="utf-8")
    kept = Study.load(str(path), {"rerank.reranker": "mlp"})
    assert kept.rerank.reranker == {"use": "rerank.MLP", "width": 8}
    replaced = Study.load(str(path), {"rerank.reranker": "lambdamart"})
    assert replaced.rerank.reranker == {"use": "rerank.LambdaMART"}
    path.write_text('[rerank]\nreranker = "mlp"\n', encoding="utf-8")
    assert Study.load(str(path)).rerank.reranker == {"use": "rerank.MLP"}


def test_the_device_of_the_study_reaches_a_network_that_names_none():
    assert Study.load(None, {"rerank.reranker": "mlp", "device": "cpu"}).reranker["device"] == "cpu"
    own = '{use="rerank.MLP", device="cuda"}'
    assert Study.load(None, {"rerank.reranker": own, "device": "cpu"}).reranker["device"] == "cuda"
    assert "device" not in Study.load(None, {"device": "cpu"}).reranker


@pytest.mark.parametrize("kind", ["stages", "attribute", "compare", "knockouts", "sparsity"])
def test_every_study_reranks_with_it_and_keeps_the_feature_groups(kind, make_study, tiny):
    options = {"kind": kind, "stage": "both", "modalities": ["text"]}

    def groups(word):
        plan = KINDS[kind].plan(make_study(**options, **{"rerank.reranker": word}), tiny)
        found = {}
        for arm in plan.arms:
            rerank = rerank_of(arm)
            for one in () if rerank is None else (*getattr(rerank, "members", ()), rerank):
                if one.label in ("MLP", "LambdaMART"):
                    found.setdefault(one.label, []).append([dump(group) for group in one.features])
        return found

    networks, trees = groups("mlp"), groups("lambdamart")
    assert networks.keys() == {"MLP"}
    assert trees.keys() == {"LambdaMART"}
    assert networks["MLP"] == trees["LambdaMART"] != []


def test_a_training_that_leads_beyond_numbers_is_said_in_a_line(monkeypatch, capsys):
    from stagelens.pipeline import cli

    def diverges(words):
        raise FloatingPointError("training MLP: the loss of epoch 1 is nan; lower learning_rate")

    monkeypatch.setattr(cli, "_run", diverges)
    assert cli.main(["run"]) == 2
    said = capsys.readouterr().err
    assert "lower learning_rate" in said
    assert "Traceback" not in said
