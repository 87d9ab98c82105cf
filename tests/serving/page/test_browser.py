"""The page in a real browser."""

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright.sync_api")
from PIL import Image
from playwright.sync_api import Page, expect
from tests.serving.page.fake_service import HOSTILE

PLAIN = {"java_script_enabled": False}
ADDRESSES = (
    "/", "/user?id=u1&w.visual=2", "/history?item=i1&q=beach", "/item?id=i5&user=u1&lands=1", "/map", "/model", "/new",
)  # fmt: skip
SMALL = """[...document.querySelectorAll('button, input:not([type=hidden])')].filter(each => {
  const {width, height} = each.getBoundingClientRect();
  return each.checkVisibility() && (width < 24 || height < 24);
}).map(each => each.outerHTML)"""  # WCAG 2.2, 2.5.8: targets of 24 pixels


def _listed(page: Page) -> list[str]:
    return page.eval_on_selector_all("#recommended li", "rows => rows.map(row => row.dataset.id)")


def _set(page: Page, slider: str, value: float) -> None:
    page.get_by_role("slider", name=slider).fill(str(value))


def test_search_follows_the_typing_and_leads_to_a_user(open_page):
    page = open_page()
    page.get_by_label("Find a user or an item").press_sequentially("u11")
    expect(page.locator("#found .chips li")).to_have_count(1)
    assert page.url.endswith("/?q=u11")
    page.get_by_role("link", name="u11").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("User u11")


def test_a_slider_ranks_again_without_a_reload_and_reset_takes_it_back(open_page):
    page = open_page("/user?id=u8")
    page.evaluate("window.stayed = true")
    before = _listed(page)
    _set(page, "words", 0)
    _set(page, "look", 3)
    expect(page.locator("#recommended .move").first).to_be_visible()
    after = _listed(page)
    assert after != before and page.evaluate("window.stayed")
    assert page.locator("output").first.text_content() == "3.0"
    page.reload()
    assert _listed(page) == after, "the address holds the sliders"
    page.get_by_role("button", name="Reset").click()
    expect(page.locator("#recommended .move")).to_have_count(0)
    assert _listed(page) == before


def test_many_moves_of_a_slider_are_few_questions_and_the_last_counts(open_page, service):
    page = open_page("/user?id=u8")
    asked = len(service.questions)
    for value in (0.5, 1.5, 2.0, 2.5, 3.0):
        _set(page, "sound", value)
    page.wait_for_url("**w.acoustic=3*")
    assert len(service.questions) - asked <= 6
    assert service.questions[-2].weights == {"acoustic": 3.0}


def test_the_reasons_are_bars_with_a_text(open_page):
    page = open_page("/user?id=u8")
    bar = page.locator("#recommended li").first.get_by_role("img")
    assert "words" in bar.get_attribute("aria-label")
    widths = bar.locator("rect").evaluate_all("pieces => pieces.map(piece => piece.getBoundingClientRect().width)")
    assert max(widths) == widths[-1] > 100


def test_a_new_item_from_the_form_lands_with_those_whose_taste_it_fits(open_page, service, tmp_path):
    page = open_page("/new")
    picture = tmp_path / "blue.png"
    Image.new("RGB", (60, 60), "blue").save(picture)
    page.get_by_label("Title").fill(HOSTILE)
    page.get_by_label("Words").fill("a walk in the forest")
    page.get_by_label("Picture").set_input_files(picture)
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_text("Added. The item is ranked from now on.")).to_be_visible()
    assert page.locator(".heading img").evaluate("picture => picture.naturalWidth") == 60
    first = page.locator("tbody tr").first
    first.get_by_role("link").click()
    user = page.get_by_role("heading", level=1).text_content().removeprefix("User ")
    assert service.tastes[user][2] == 1.0 or service.tastes[user][8] == 1.0  # blue, or forest
    expect(page.locator("#recommended li").first).to_contain_text(HOSTILE)
    expect(page.locator("#recommended li").first.locator(".badge")).to_have_text("new")


def test_a_history_is_typed_and_gets_a_list(open_page, service):
    page = open_page("/history")
    page.get_by_label("Find an item to add").press_sequentially("forest")
    page.locator("#hits button").first.click()
    expect(page.locator("#recommended li").first).to_be_visible()
    assert len(service.questions[-1].history) == 1
    _set(page, "look", 0)
    page.wait_for_url("**w.visual=0*")
    assert service.questions[-2].weights == {"visual": 0.0}
    page.get_by_role("button", name="remove").click()
    expect(page.get_by_text("The list appears with the first item.")).to_be_visible()


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_everything_without_scrolling_sideways(open_page, site, width):
    page = open_page(viewport={"width": width, "height": 640}, has_touch=True, is_mobile=True)
    for address in ADDRESSES:
        page.goto(site + address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        assert page.evaluate(SMALL) == [], address


def test_the_keyboard_is_enough(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "q"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.type("u8")
    page.keyboard.press("Enter")
    expect(page.locator("#found .chips li")).to_have_count(1)
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("User u8")
    before = _listed(page)
    page.get_by_role("slider", name="words").focus()
    page.keyboard.press("Home")
    page.wait_for_url("**w.textual=0*")
    assert _listed(page) != before


def test_the_map_is_walked_with_the_arrow_keys(open_page):
    page = open_page("/map")
    assert page.locator("#map a[tabindex='0']").count() == 1
    page.locator("#map a[tabindex='0']").focus()
    place = "document.activeElement.firstElementChild.cx.baseVal.value"
    start = page.evaluate(place)
    key, sign = ("ArrowLeft", -1) if start > 500 else ("ArrowRight", 1)
    page.keyboard.press(key)
    assert sign * (page.evaluate(place) - start) > 0
    title = page.evaluate("document.activeElement.getAttribute('aria-label')")
    expect(page.locator("#pointed")).to_have_text(title)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(title)


def test_pointing_at_the_map_shows_the_title(open_page):
    page = open_page("/map")
    last = page.locator("#map a").last
    last.hover()
    expect(page.locator("#pointed")).to_have_text(last.get_attribute("aria-label"))


def test_everything_works_without_javascript(open_page):
    page = open_page("/", **PLAIN)
    page.get_by_label("Find a user or an item").fill("u8")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="u8").click()
    before = page.locator("#recommended li .name").all_text_contents()
    page.get_by_role("slider", name="words").focus()
    page.keyboard.press("Home")
    page.get_by_role("button", name="Rank again").click()
    assert page.locator("#recommended li .name").all_text_contents() != before
    assert not page.get_by_role("button", name="Reset").is_visible()
    page.get_by_role("link", name="Try a history").click()
    page.get_by_label("Find an item to add").fill("beach")
    page.get_by_role("button", name="Search").click()
    page.locator("#hits button").first.click()
    assert page.locator("#recommended li").count() == 12
    page.get_by_role("link", name="New item").click()
    page.get_by_label("Words").fill("a kitchen")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_text("Added. The item is ranked from now on.")).to_be_visible()
    page.get_by_role("link", name="Map").click()
    page.locator("summary").click()
    assert page.locator("tbody tr").count() == 25


def test_a_refused_question_is_said(open_page):
    page = open_page("/user?id=u8")
    page.route("**/user?*", lambda route: route.fulfill(status=429, body="<p>"))
    _set(page, "look", 2)
    expect(page.locator("#status")).to_contain_text("429")
    assert "429" in open_page.complaints.pop()
    assert page.locator("#status").is_visible() and page.locator("#recommended li").count() == 12


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_opens_without_a_complaint_in_both_themes(open_page, site, scheme):
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    grounds = set()
    for address in ADDRESSES:
        assert page.goto(site + address).ok
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert page.evaluate("[...document.images].every(picture => picture.complete)")
    assert len(grounds) == 1 and (grounds.pop() == "rgb(253, 252, 250)") == (scheme == "light")


def test_a_page_is_small_and_comes_at_once(open_page, site):
    page = open_page("/user?id=u8")
    sizes = page.evaluate("performance.getEntriesByType('resource').map(each => [each.name, each.encodedBodySize])")
    assert all(name.startswith(site) for name, _ in sizes)
    assert sum(size for _, size in sizes) < 30_000


def test_signing_in_with_the_browser(browser, locked_site):
    context = browser.new_context()
    page = context.new_page()
    page.goto(locked_site + "/user?id=u1")
    page.get_by_label("API key").fill("reader")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("User u1")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    context.close()
