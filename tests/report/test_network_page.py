"""The page of a pruned network, as text: complete, escaped, loading nothing."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from cbs_opt.report.network_page import BlockLine, LayerLine, NetworkPage, network_page

HOSTILE = "</title><script>alert('x')</script>\u202e<img src=x onerror=alert(1)>"

PAGE = NetworkPage(
    title="Pruned network: small",
    lead="Asked for: half of it.",
    cards=[("perplexity, dense", "21.31"), ("perplexity, pruned", "28.65")],
    layers=[
        LayerLine("layers.0.q_proj", 100, 50, 2.0, 0.004, 1.5, 0.25, seconds=1.5),
        LayerLine("layers.0.k_proj", 50, 25, 1.0, 0.002, 1.0, 0.0, seconds=0.5),
        LayerLine("layers.1.q_proj", 100, 60, 4.0, 0.016, -math.inf, math.inf, seconds=1.0),
        LayerLine("layers.1.k_proj", 50, 25, 0.0, 0.0, 0.0, 0.0, seconds=0.25),
    ],
)


def cells(text: str, first: str) -> list[str]:
    """What stands in the row of a table that begins with ``first``."""
    row = next(row for row in re.findall("<tr.*?</tr>", text) if f">{first}<" in row)
    return re.findall("<td[^>]*>(.*?)</td>", row)


def picture(text: str) -> ElementTree.Element:
    """The one picture; it is well-formed XML."""
    (svg,) = re.findall("<svg.*?</svg>", text, re.DOTALL)
    return ElementTree.fromstring(svg)


def dots(panel: ElementTree.Element) -> dict[str, tuple[float, float, str]]:
    """Place and colour by the name of the layer."""
    return {
        str(dot[0].text).partition(":")[0]: (float(dot.attrib["cx"]), float(dot.attrib["cy"]), dot.attrib["fill"])
        for dot in panel.iter("circle")
        if len(dot)
    }


def test_every_layer_says_what_is_known_of_it() -> None:
    text = network_page(PAGE)
    assert cells(text, "layers.0.q_proj") == [
        "layers.0.q_proj", "100", "50.00 %", "4.00e-3", "2.00e0", "1.50e0", "25.0 %", "1.5 s",
    ]  # fmt: skip
    assert cells(text, "layers.1.q_proj")[-3:] == ["–", "unknown", "1.0 s"]
    assert "28.65" in text
    assert "Block by block" not in text
    assert "Stages" not in text


def test_a_bound_nobody_asked_for_is_not_asked() -> None:
    text = network_page(replace(PAGE, bound_asked=False))
    assert cells(text, "layers.1.q_proj")[-3:-1] == ["not asked", "not asked"]
    assert cells(text, "layers.0.q_proj")[-3:-1] == ["1.50e0", "25.0 %"]  # a bound that is there is said
    assert not re.search(r"\b(inf|nan|None)\b", text)


def test_blocks_stages_notes_and_times() -> None:
    page = replace(
        PAGE,
        blocks=[BlockLine("layers.0", 0.015, 0.01), BlockLine("layers.1", 0.03)],
        stages=[(0.25, 1.0, 0.5, 0.5, "25.00"), (0.5, 2.0, -math.inf, math.inf, "28.65")],
        measure="perplexity",
        seconds={"selection": 75.0},
        notes=["λ is large"],
        settings={"sparsity": 0.5},
    )
    text = network_page(page)
    assert cells(text, "layers.0") == ["layers.0", "1.50e-2", "1.00e-2"]
    assert cells(text, "layers.1") == ["layers.1", "3.00e-2", "–"]
    assert cells(text, "25.00 %")[2:] == ["1.00e0", "5.00e-1", "50.0 %", "25.00"]
    assert "<dt>selection</dt><dd>75.0 s</dd>" in text
    assert "<li>λ is large</li>" in text
    unrefined = network_page(replace(page, blocks=[BlockLine("layers.0", 0.015)]))
    assert cells(unrefined, "layers.0") == ["layers.0", "1.50e-2"]


def test_the_picture_orders_layers_as_their_numbers_do() -> None:
    relative, gap = picture(network_page(PAGE)).findall("g")
    heights = {name: y for name, (_, y, _) in dots(relative).items()}
    assert sorted(heights, key=lambda name: -heights[name]) == [
        "layers.1.k_proj", "layers.0.k_proj", "layers.0.q_proj", "layers.1.q_proj",
    ]  # fmt: skip
    # On a logarithmic axis equal ratios are equal distances: .002 → .004 is half of .004 → .016.
    steps = [heights[a] - heights[b] for a, b in (("layers.0.k_proj", "layers.0.q_proj"),)]
    assert heights["layers.0.q_proj"] - heights["layers.1.q_proj"] == pytest.approx(2 * steps[0], abs=0.3)
    across = [x for x, _, _ in dots(relative).values()]
    assert across == sorted(across)
    assert set(dots(gap)) == {"layers.0.q_proj", "layers.0.k_proj", "layers.1.k_proj"}  # one has no gap
    colours = {name: colour for name, (_, _, colour) in dots(relative).items()}
    assert colours["layers.0.q_proj"] == colours["layers.1.q_proj"] != colours["layers.0.k_proj"]


@pytest.mark.parametrize("value", [1e-300, 0.0, 3.0, 1e12])
@pytest.mark.parametrize("layers", [1, 300])
def test_any_numbers_can_be_drawn(value: float, layers: int) -> None:
    lines = [LayerLine(f"l{i}", 10, 5, value, value, value, value, seconds=0.0) for i in range(layers)]
    found = picture(network_page(replace(PAGE, layers=lines)))
    for panel in found.findall("g"):
        assert len(dots(panel)) == layers
        assert all(0 <= x <= 680 and 0 <= y <= 190 for x, y, _ in dots(panel).values())
        assert len([text for text in panel.findall("text") if text.attrib.get("text-anchor") == "middle"]) <= 12


def test_layers_without_a_problem_of_their_own_have_no_empty_columns() -> None:
    text = network_page(replace(PAGE, layers=[LayerLine("fc1", 10, 5)]))
    assert cells(text, "fc1") == ["fc1", "10", "50.00 %"]
    assert "<svg" not in text


def test_it_loads_nothing_and_names_stay_names() -> None:
    line = LayerLine(HOSTILE, 10, 5, 1.0, 0.1, 0.5, 0.5, seconds=1.0)
    page = NetworkPage(
        title=HOSTILE,
        lead=HOSTILE,
        cards=[(HOSTILE, HOSTILE)],
        layers=[line, line],
        rivals=HOSTILE,
        blocks=[BlockLine(HOSTILE, 0.1)],
        stages=[(0.5, 1.0, 0.5, 0.5, HOSTILE)] * 2,
        measure=HOSTILE,
        seconds={HOSTILE: 1.0},
        notes=[HOSTILE],
        settings={HOSTILE: HOSTILE},
    )
    text = network_page(page)
    assert text.count("<script") == 1  # that of the sortable tables
    assert "<img" not in text
    assert "style=" not in text
    assert "Content-Security-Policy" in text
    assert not re.findall(
        r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|,)[a-z/.]""", network_page(PAGE).split("<script>")[0]
    )


def test_a_judged_layer_has_both_losses_and_both_gaps() -> None:
    text = network_page(NetworkPage("t", "l", [], [LayerLine("stem.0", 10, 5, 4.0, 0.5, 1.0, 0.75, 2.0, 0.5, 1.0)]))
    headings = re.findall(r"<th[^>]*>(.*?)</th>", text)
    assert [re.sub("<[^>]*>", "", heading) for heading in headings] == [
        "layer", "weights", "sparsity",
        "relative objective", "as it is", "re-tuned", "bound", "gap", "mask gap", "time",
    ]  # fmt: skip
    assert cells(text, "stem.0")[4:9] == ["4.00e0", "2.00e0", "1.00e0", "75.0 %", "50.0 %"]


def test_layers_in_containers_are_told_apart_by_the_containers_names() -> None:
    names = ["stem.0", "stem.1", "mix.0", "fc"]
    text = network_page(NetworkPage("t", "l", [], [LayerLine(name, 4, 2, 1.0, 0.1, 0.5, 0.5) for name in names]))
    legend = text.partition("in the order of the network</text>")[2].partition("</svg>")[0]
    assert re.findall(r">(\w+)</text>", legend) == ["stem", "mix", "fc"]
