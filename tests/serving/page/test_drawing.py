import pytest

pytest.importorskip("fastapi")
from medley.serving.http.page.drawing import MAP_HEIGHT, MAP_WIDTH, NUM_COLOURS, NUM_HUES, pattern, points, stacked


def test_a_bar_is_full_and_keeps_the_order_of_the_parts():
    pieces = stacked({"b": 1.0, "a": -3.0}, ["a", "b"])
    assert [(p.name, p.start, p.width, p.value) for p in pieces] == [("a", 0.0, 75.0, -3.0), ("b", 75.0, 25.0, 1.0)]


def test_a_part_keeps_its_colour_where_another_part_is_missing():
    order = ["a", "b", "c"]
    assert stacked({"c": 1.0}, order)[0].colour == stacked({"a": 1, "b": 1, "c": 1}, order)[2].colour == 2
    assert stacked({"x": 1.0}, list("abcdefg"))[0].colour == 7 % NUM_COLOURS


def test_nothing_to_show_is_no_bar():
    assert stacked({"a": 0.0}, ["a"]) == stacked({}, ["a"]) == []


def test_a_pattern_is_the_same_every_time_and_differs_between_items():
    assert pattern("i1", "beach") == pattern("i1", "beach")
    assert len({(p.hue, tuple(p.circles)) for p in (pattern(f"i{n}", None) for n in range(50))}) == 50
    assert {pattern(f"i{n}", None).hue for n in range(200)} == set(range(NUM_HUES))


@pytest.mark.parametrize(("title", "letter"), [("beach", "B"), ("  “ähre”", "Ä"), (None, "I"), ("…", "·"), ("", "I")])
def test_the_letter_of_a_pattern_is_the_first_of_the_title(title, letter):
    assert pattern("i1", title).letter == letter


def _place(id: str, x: float, y: float, popularity: int = 0) -> dict:
    return {"id": id, "title": None, "x": x, "y": y, "popularity": popularity, "cold": popularity == 0}


def test_all_points_lie_on_the_map_and_higher_y_is_further_up():
    drawn = {p.id: p for p in points([_place("a", -5, 0), _place("b", 100, 7, 9), _place("c", 3, 3, 2)])}
    for point in drawn.values():
        assert point.radius <= point.x <= MAP_WIDTH - point.radius
        assert point.radius <= point.y <= MAP_HEIGHT - point.radius
    assert drawn["b"].y < drawn["c"].y < drawn["a"].y and drawn["a"].x < drawn["c"].x < drawn["b"].x
    assert drawn["b"].shade == 4 and drawn["a"].shade == 0 and drawn["b"].radius > drawn["c"].radius


def test_popular_items_and_those_of_the_user_lie_on_top():
    places = [_place("a", 0, 0, 9), _place("b", 1, 1, 1), _place("c", 2, 2, 5)]
    assert [p.id for p in points(places)] == ["b", "c", "a"]
    assert [(p.id, p.role) for p in points(places, {"b": "seen"})] == [("c", "other"), ("a", "other"), ("b", "seen")]


def test_one_point_and_no_point_can_be_drawn():
    assert points([]) == []
    (point,) = points([_place("a", 2, 2)])
    assert (point.x, point.y) == (MAP_WIDTH / 2, MAP_HEIGHT / 2)
