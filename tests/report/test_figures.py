"""Pictures: what is drawn is read back from the axes; colours, print and files."""

import re

import numpy as np
import pytest

from medley.errors import InputError, MissingExtraError
from medley.evaluation.paired import Interval
from medley.report.figures import bars, lines, maps, ranks, style
from medley.report.rank_test import rank_test
from medley.report.tsne import tsne

RNG = np.random.default_rng(0)


def test_a_line_per_seed_with_a_mark_at_the_best_epoch():
    made = lines.training_curves({"a": [[0.1, 0.3, 0.2], [0.1, np.nan, 0.4, 0.3]], "b": [[0.2, 0.1]]}, metric="m")
    curves = [line for line in made.axes[0].lines if len(line.get_xdata()) > 1]
    np.testing.assert_array_equal(curves[0].get_ydata(), [0.1, 0.3, 0.2])
    np.testing.assert_array_equal(curves[1].get_xdata(), [1, 2, 3, 4])
    dots = [(line.get_xdata()[0], line.get_ydata()[0]) for line in made.axes[0].lines if len(line.get_xdata()) == 1]
    assert dots == [(2, 0.3), (3, 0.4), (1, 0.2)]


def test_the_band_at_k_is_one_standard_deviation_over_the_seeds():
    values = RNG.random((4, 3))
    made = lines.metric_at_k({"a": values}, [1, 5, 10])
    (line,), (band,) = made.axes[0].lines, made.axes[0].collections
    np.testing.assert_allclose(line.get_ydata(), values.mean(axis=0))
    corners = band.get_paths()[0].vertices
    for k, mean, std in zip([1, 5, 10], values.mean(axis=0), values.std(axis=0, ddof=1), strict=True):
        column = corners[corners[:, 0] == k, 1]
        assert column.min() == pytest.approx(mean - std) and column.max() == pytest.approx(mean + std)


def test_one_seed_has_no_band_and_a_wrong_shape_is_refused():
    assert not lines.metric_at_k({"a": [[0.1, 0.2]]}, [1, 2]).axes[0].collections
    with pytest.raises(InputError, match=r"values of a: expected \(seeds, 3\), got \(1, 2\)"):
        lines.metric_at_k({"a": [[0.1, 0.2]]}, [1, 2, 3])


def test_a_sweep_places_numbers_by_size_and_words_side_by_side():
    numbers = lines.sweep({"a": {1.0: [3.0, 5.0], 0.25: [1.0, 2.0]}}, x="drop", metric="m").axes[0]
    np.testing.assert_array_equal(numbers.lines[0].get_xdata(), [0.25, 1.0])
    np.testing.assert_array_equal(numbers.lines[0].get_ydata(), [1.5, 4.0])
    words = lines.sweep({"a": {"sum": [1.0], "max": [2.0]}}, x="fusion", metric="m").axes[0]
    assert [label.get_text() for label in words.get_xticklabels()] == ["sum", "max"]


def test_bars_show_mean_and_interval():
    made = bars.bars({"a": Interval(0.3, 0.2, 0.45), "b": Interval(0.1, 0.1, 0.1)}, metric="m")
    axes = made.axes[0]
    assert [patch.get_width() for patch in axes.patches] == [0.3, 0.1]
    assert list(axes.lines[0].get_xdata()) == [0.2, 0.45]
    assert axes.get_xlim()[1] > 0.45
    with pytest.raises(InputError, match="values of the bars: expected at least one"):
        bars.bars({}, metric="m")


def test_the_front_of_cost_agrees_with_a_plain_loop():
    points = [(float(c), float(v)) for c, v in RNG.integers(1, 8, (30, 2))]
    front = {points[place] for place in bars.pareto(points)}
    best = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)}
    assert front == best
    with pytest.raises(InputError, match="numbers above 0"):
        bars.cost({"a": (0.0, 0.1)}, x="s", metric="m")


def test_names_beside_points_do_not_overlap_where_there_is_room():
    made = bars.cost({"first": (10.0, 0.1), "second": (11.0, 0.1001), "third": (1.0, 0.05)}, x="s", metric="m")
    made.draw_without_rendering()
    boxes = [text.get_window_extent() for text in made.axes[0].texts]
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


def test_the_diagram_names_every_model_with_its_mean_rank():
    test = rank_test({name: RNG.random(30) + shift for name, shift in (("a", 0), ("b", 0.01), ("c", 3), ("d", 6))})
    texts = [text.get_text() for text in ranks.critical_difference(test).axes[0].texts]
    for name, rank in zip(test.labels, test.mean_rank, strict=True):
        assert any(re.fullmatch(rf"({name}  {rank:.2f}|{rank:.2f}  {name})", text) for text in texts)
    assert any(f"critical difference {test.critical_difference:.3g}" in text for text in texts)


def test_a_map_draws_every_point_once_per_panel_with_its_group():
    xy, group = RNG.random((20, 2)), np.arange(20) % 3
    made = maps.embedding_map({"before": xy, "after": xy + 1}, group, ["x", "y", "z"], star=np.arange(20) < 3)
    for axes, shift in zip(made.axes, (0, 1), strict=True):
        drawn = [np.asarray(each.get_offsets()) for each in axes.collections]
        assert sum(map(len, drawn)) == 20
        np.testing.assert_allclose(np.sort(np.concatenate(drawn)[:, 0]), np.sort(xy[:, 0] + shift))
    with pytest.raises(InputError, match="positions of 'm'"):
        maps.embedding_map({"m": xy}, group, ["x", "y"])


def test_weights_are_drawn_as_distributions_and_as_rows_of_users():
    weights = RNG.dirichlet([1, 2, 3], 50)
    left, right = maps.modality_weights(weights, ["v", "a", "t"], most=7).axes[:2]
    for place, line in enumerate(left.lines):
        np.testing.assert_array_equal(line.get_xdata(), np.sort(weights[:, place]))
    assert right.images[0].get_array().shape == (7, 3)
    assert {tuple(row) for row in right.images[0].get_array().data} <= {tuple(row) for row in weights}


def test_lines_to_cooccurring_users_are_as_wide_as_their_weights():
    xy = RNG.random((9, 2))
    axes = maps.cooccurring_users(xy, [0], [{3: 4.0, 5: 2.0, 8: 0.0}], ["user a"]).axes[0]
    widths = {tuple(line.get_xdata()): line.get_linewidth() for line in axes.lines}
    assert widths == {
        (xy[0, 0], xy[3, 0]): pytest.approx(2.0),
        (xy[0, 0], xy[5, 0]): pytest.approx(1.2),
        (xy[0, 0], xy[8, 0]): pytest.approx(0.4),
    }


def test_intents_show_the_given_shares():
    shares = RNG.dirichlet(np.ones(3), 4)
    axes = maps.intents(
        shares, ["one", "two", "three", "a title that is too long for the room it has"], ["1", "2", "3"]
    ).axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), shares)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "one" and labels[3].endswith("…") and len(labels[3]) == maps.LONGEST


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_series_differ_without_colour_and_lines_are_seen_on_paper():
    plain = [(s.line, s.marker) for s in map(style.style_of, range(24))]
    assert len(set(plain)) == 24
    assert len({style.style_of(place) for place in range(100)}) == 100
    for colour in style.COLOURS:
        assert 1.05 / (luminance(colour) + 0.05) > 2.0, colour


def test_colours_stay_apart_for_people_with_deuteranopia_and_protanopia():
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    loss = {  # Vienot, Brettel and Mollon 1999
        "deuteranopia": np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]),
        "protanopia": np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]),
    }
    rgb = np.array([[int(c[at : at + 2], 16) / 255 for at in (1, 3, 5)] for c in style.COLOURS]) ** 2.2
    for kind, matrix in loss.items():
        seen = np.clip(rgb @ (np.linalg.inv(to_lms) @ matrix @ to_lms).T, 0, 1) ** (1 / 2.2)
        apart = [np.linalg.norm(seen[i] - seen[j]) for i in range(len(seen)) for j in range(i)]
        assert min(apart) > 0.09, kind


def test_equal_figures_give_equal_files_and_svg_has_a_description(tmp_path):
    for ending in (".svg", ".png", ".pdf"):
        one, two = (
            style.save(
                lines.metric_at_k({"a": [[0.1, 0.2]]}, [1, 2]), tmp_path / name / f"x{ending}", description="A < B"
            )
            for name in ("one", "two")
        )
        assert one.read_bytes() == two.read_bytes() and len(one.read_bytes()) > 1000
    svg = (tmp_path / "one" / "x.svg").read_text()
    assert 'role="img" aria-label="A &lt; B"' in svg and ">Recall@K<" in svg  # text stays text
    with pytest.raises(InputError, match=r"expected \.svg, \.pdf, \.png at its end, got \.gif"):
        style.save(lines.metric_at_k({"a": [[0.1, 0.2]]}, [1, 2]), tmp_path / "x.gif")


def test_an_embedded_figure_follows_the_theme_and_shares_no_id_with_another():
    texts = [
        style.embedded(lines.metric_at_k({"a": [[0.1, 0.2], [0.2, 0.3]]}, [1, 2]), name=name, description="d")
        for name in ("one", "two")
    ]
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in texts]
    assert ids[0] and not ids[0] & ids[1]
    assert "var(--ink)" in texts[0] and style.INK.lower() not in texts[0].lower()
    assert 'fill="white"' not in texts[0] and "#ffffff" not in texts[0]


def test_t_sne_keeps_clusters_together_and_repeats_itself():
    pytest.importorskip("sklearn")
    centre = np.repeat([0, 1, 2], 20)
    vectors = RNG.normal(size=(60, 6)) * 0.1 + np.eye(6)[centre] * 5
    xy = tsne(vectors, seed=3)
    np.testing.assert_array_equal(xy, tsne(vectors, seed=3))
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=2) + np.eye(60) * 1e9
    assert (centre[distance.argmin(axis=1)] == centre).all()
    assert xy.mean(axis=0) == pytest.approx([0, 0], abs=1e-5) and xy.std() == pytest.approx(1)
    with pytest.raises(InputError, match="n at least 4"):
        tsne(vectors[:3])


def test_t_sne_without_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.manifold", None)
    with pytest.raises(MissingExtraError, match=r"medley-rec\[media\]"):
        tsne(RNG.random((10, 3)))
