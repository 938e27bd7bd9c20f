"""Studies of networks: every layer, with accuracy."""

import io

import numpy as np
import pytest
import torch
from study_blocks import read_page

from cbs_opt.cli.study_tables import study_table
from cbs_opt.errors import InputError
from cbs_opt.network.checkpoint import save_network
from cbs_opt.network.data import Data, digits_data
from cbs_opt.network.load import load_network
from cbs_opt.network.reference import NETWORKS
from cbs_opt.network.targets import find_targets
from cbs_opt.study import model_subject, network_subject, run_study, write_study


def test_network_study_measures_accuracy():
    model, data = load_network("digits"), digits_data()
    subject = model_subject("digits", model, data, {"fc3": "fisher"}, samples=200, blocks_per_layer=3)
    result = run_study(subject, methods=["magnitude", "bnb"], sparsities=[0.0, 0.5], jobs=1)
    assert result.notes[0].startswith("fc3.weight: 3 of 5 chunks, fisher of 200 samples")
    assert result.chosen == "3 of 5"
    assert result.share("fc3.weight") == "3 of 5 blocks"
    assert result.to_dict()["blocks_of_layers"] == {"fc3.weight": 5}
    dense = [summary for summary in result.summaries() if summary.sparsity == 0]
    assert all(s.accuracy == s.selection_accuracy == result.dense_accuracy > 0.96 for s in dense)
    assert all(s.accuracy is not None and s.accuracy > 0.5 for s in result.summaries())
    assert result.settings["damping"].keys() == {"fc3.weight"}


def test_all_layers_of_a_network_are_studied_and_what_is_left_out_is_said(conv_network, tmp_path):
    from rich.console import Console

    model, x, y = conv_network
    layers = {target.name: "fisher" for target in find_targets(model)}
    subject = model_subject("convolutions", model, Data(x, y, x, y), layers, partition=9, blocks_per_layer=2)
    assert subject.totals == {"0.weight": 4, "3.weight": 8, "7.weight": 2}
    result = run_study(subject, methods=["magnitude", "bnb"], sparsities=[0.5], jobs=1)
    assert result.blocks == 6
    assert {row.group for row in result.rows} == set(subject.totals)
    assert all(summary.proven == 6 for summary in result.summaries() if summary.method == "bnb")
    assert all(summary.accuracy is not None for summary in result.summaries())
    assert [result.share(group) for group in subject.totals] == ["2 of 4 blocks", "2 of 8 blocks", ""]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(study_table(result))
    text = console.export_text()
    assert "convolutions: 6 of 14 blocks" in text
    assert "3.weight: 2 of 8 chunks" in text
    write_study(result, tmp_path)
    page = read_page(tmp_path / "index.html").text
    assert {"6 of 14", "0.weight: 2 of 4 blocks", "3.weight: 2 of 8 blocks", "7.weight"} <= set(page)


def test_a_study_of_a_named_network_takes_every_layer(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(2, 3, 32, 32)).astype(np.float32), y=np.arange(2))
    torch.manual_seed(0)
    save_network(NETWORKS["resnet20"].build(), tmp_path / "weights.safetensors")
    subject = network_subject("resnet20", tmp_path / "data.npz", tmp_path / "weights.safetensors")
    assert len(subject.totals) == 22  # 19 convolutions of 3×3, two shortcuts, one linear layer
    assert subject.totals["conv1.weight"] == 14  # 16·27 weights, the last chunk half full
    assert subject.totals["layer3.2.conv2.weight"] == 64 * 64 * 9 // 32
    assert subject.blocks == 22 * 8
    some = network_subject("resnet20", tmp_path / "data.npz", tmp_path / "weights.safetensors", targets=["fc"])
    assert some.totals == {"fc.weight": 20}


def test_labels_are_needed_for_the_fisher_only(tmp_path):
    """With the Gram matrix answers are those of labelled data; accuracy is left out, and a note says so."""
    data = digits_data()
    np.savez(tmp_path / "x.npz", x=data.train_x)
    options = {"curvature": "gram", "targets": ["fc3"], "blocks_per_layer": 2, "samples": 100}
    bare = network_subject("digits", tmp_path / "x.npz", **options)
    bare, labelled = (
        run_study(subject, methods=["magnitude"], sparsities=[0.5], jobs=1)
        for subject in (bare, network_subject("digits", **options))
    )
    assert [row.row.objective for row in bare.rows] == [row.row.objective for row in labelled.rows]
    assert labelled.dense_accuracy is not None
    assert bare.dense_accuracy is None
    assert not bare.accuracies
    note = "accuracy is not measured, because the data have no test part with labels"
    assert note in bare.notes
    assert note not in labelled.notes
    write_study(bare, tmp_path / "out")
    assert note in " ".join(read_page(tmp_path / "out" / "index.html").text)
    with pytest.raises(InputError, match="y is missing; labels are needed"):
        network_subject("digits", tmp_path / "x.npz", curvature="fisher", targets=["fc3"])
