from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from browser import Browser
from layerwise.atlas import Atlas
from layerwise.errors import LayerwiseError
from layerwise.report import _write, write

VOID = {"meta", "link", "img", "br", "hr", "input", "base", "source"}
ADDRESSES = {"src", "href", "srcset", "action", "data", "poster", "formaction", "background"}


class Page(HTMLParser):
    """A page as its elements, with every tag matched to its end."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[tuple[str, dict[str, str]]] = []
        self.found: list[tuple[str, dict[str, str], str]] = []
        self.inner: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in <{tag}>: {names}"
        values = {name: value or "" for name, value in attrs}
        if tag in VOID:
            self.found.append((tag, values, ""))
        else:
            self.open.append((tag, values))
            self.inner.append([])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}, ""))

    def handle_endtag(self, tag: str) -> None:
        name, values = self.open.pop()
        assert name == tag, f"<{name}> is closed by </{tag}>"
        text = "".join(self.inner.pop())
        if self.inner and tag not in {"script", "style"}:
            self.inner[-1].append(text)
        self.found.append((tag, values, text))

    def handle_data(self, data: str) -> None:
        if self.inner:
            self.inner[-1].append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str], str]]:
        return [(values, text) for name, values, text in self.found if name == tag]


SECTIONS = {
    *(
        "answer",
        "depth",
        "cost",
        "geometry",
        "similarity",
        "samples",
        "sees",
        "inside",
        "neighbours",
        "layers",
    ),
    "made",
}
Written = tuple[str, Atlas, Path]


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def data_of(page: Page) -> dict:
    return json.loads(
        next(text for values, text in page.all("script") if values.get("id") == "atlas")
    )


def test_a_page_is_whole_valid_and_asks_for_nothing(written: Written) -> None:
    path = written[2]
    page = read(path)
    assert path.name == "index.html"
    assert path.stat().st_size < 10_000_000
    assert [each.name for each in path.parent.iterdir()] == ["index.html"]

    ids = [values["id"] for _, values, _ in page.found if "id" in values]
    assert len(ids) == len(set(ids))
    for tag, values, _ in page.found:
        assert not any(name.startswith("on") or name == "style" for name in values), (tag, values)
        for name in ADDRESSES & values.keys():
            assert values[name].startswith(("#", "data:image/")), (tag, values)
            assert not values[name].startswith("#") or values[name][1:] in ids
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert set(values.get(name, "").split()) <= set(ids)
    assert not {tag for tag, _, _ in page.found} & {
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
    }


def test_a_page_has_landmarks_and_headings_in_order(written: Written) -> None:
    page = read(written[2])
    for landmark in ("header", "main", "nav", "footer", "h1", "title"):
        assert len(page.all(landmark)) == 1, landmark
    assert page.all("html")[0][0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _, _ in page.found if re.fullmatch(r"h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    sections = [values for values, _ in page.all("section")]
    assert all("aria-labelledby" in values for values in sections)
    linked = {values["href"][1:] for values, _ in page.all("a")}
    assert {values["id"] for values in sections} <= linked


def test_only_the_page_s_own_style_and_script_may_run(written: Written) -> None:
    page = read(written[2])
    policy = next(v["content"] for v, _ in page.all("meta") if v.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert "unsafe" not in policy
    scripts = [text for values, text in page.all("script") if "type" not in values]
    assert len(page.all("script")) == 2
    for texts, rule in ((scripts, "script-src"), ([t for _, t in page.all("style")], "style-src")):
        assert len(texts) == 1
        digest = base64.b64encode(hashlib.sha256(texts[0].encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_style_and_script_reach_for_nothing(
    tmp_path: Path, make_atlas: Callable[..., Atlas]
) -> None:
    page = read(write(make_atlas(samples=12), tmp_path))
    style = page.all("style")[0][1]
    assert "url(" not in style
    assert "@import" not in style
    script = page.all("script")[1][1].replace("http://www.w3.org/2000/svg", "")
    forbidden = (
        *("http:", "https:", "fetch(", "XMLHttpRequest", "WebSocket", "EventSource", "sendBeacon"),
        *("import(", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("),
        *("new Function", "localStorage", "document.cookie"),
    )
    assert [word for word in forbidden if word in script] == []


def test_texts_of_the_data_stay_texts(
    tmp_path: Path, kinds: dict[str, Callable[[], Atlas]]
) -> None:
    atlas = kinds["hostile"]()
    evil = atlas.set_aside[0][0]
    text = write(atlas, tmp_path).read_text(encoding="utf-8")
    assert evil not in text
    page = Page(text)
    assert len(page.all("script")) == 2
    assert page.all("img") == []
    data = data_of(page)
    assert data["networks"][0]["network"] == evil
    assert data["shown"]["name"]["words"] == [evil]
    assert any(text == evil for _, text in page.all("code"))
    assert next(t for _, t in page.all("h3")) == evil


def test_the_answer_stands_in_the_page_itself(
    tmp_path: Path, make_atlas: Callable[..., Atlas]
) -> None:
    atlas = make_atlas(samples=12)
    page = read(write(atlas, tmp_path))
    cards = [text for _, text in page.all("article")]
    assert len(cards) == len(atlas.choices) == 4
    for choice, card in zip(atlas.choices, cards, strict=True):
        assert choice.words in card
        assert choice.code in card
        for value in (choice.best.layer, choice.cheapest.layer, choice.last.layer):
            assert value in card
        for number in (choice.best.test, choice.best.low, choice.best.high, choice.cheapest.test):
            assert f"{number:.3f}" in card
        assert f"{choice.gain:+.3f}" in card
        assert f"{choice.saved:.0%}" in card
        assert "Too few samples" not in card


def test_too_few_samples_are_said_plainly(tmp_path: Path, make_atlas: Callable[..., Atlas]) -> None:
    atlas = make_atlas(("minilm-l6",), samples=12, enough=False)
    page = read(write(atlas, tmp_path))
    assert all("Too few samples" in text for _, text in page.all("article"))


def test_what_was_refused_or_set_aside_is_listed(
    tmp_path: Path, make_atlas: Callable[..., Atlas]
) -> None:
    atlas = make_atlas(samples=12)
    text = " ".join(text for _, text in read(write(atlas, tmp_path)).all("section"))
    refused = [row for row in atlas.layers if row.refused]
    assert refused
    assert all(row.layer in text and row.refused in text for row in refused)
    assert all(name in text and reason in text for name, reason in atlas.set_aside)
    assert atlas.provenance.command in text
    assert atlas.networks[0].weights_sha256 in text


def test_the_script_gets_every_number(tmp_path: Path, make_atlas: Callable[..., Atlas]) -> None:
    atlas = make_atlas(samples=12)
    data = data_of(read(write(atlas, tmp_path)))
    table = data["scores"]
    layers = [table["layer"]["words"][i] for i in table["layer"]["at"]]
    assert layers == [score.layer for score in atlas.scores]
    assert table["test"] == pytest.approx([score.test for score in atlas.scores], rel=1e-4)
    assert table["penalty"] == [score.penalty for score in atlas.scores]
    values = [v for row in data["similarity"][0]["values"] for v in row]
    expected = [v for row in atlas.similarity[0].values for v in row]
    assert [v is None for v in values] == [v is None for v in expected]
    assert len(data["maps"]) == len(atlas.maps)
    assert data["choices"][1]["best"]["layer"] == atlas.choices[1].best.layer


def test_every_way_stands_in_the_page_with_its_price(
    tmp_path: Path, kinds: dict[str, Callable[[], Atlas]]
) -> None:
    atlas = kinds["text"]()
    page = read(write(atlas, tmp_path))
    data = data_of(page)
    assert data["budget"]["milliseconds"] == 9
    assert sum(data["candidates"]["front"]) == sum(each.front for each in atlas.candidates)
    assert not all(data["candidates"]["affordable"])
    said = next(text for values, text in page.all("section") if values["id"] == "cost")
    assert "A budget of 9 ms restricts the choice" in said


def test_sections_without_content_are_not_there(written: Written) -> None:
    name, _, path = written
    absent = {
        "text": {"sees"},
        "one": {"sees", "similarity"},
        "hostile": {"sees"},
        "untold": {"depth", "cost"},
        "blank": SECTIONS - {"answer", "made"},
    }
    found = {values["id"] for values, _ in read(path).all("section")}
    assert found == SECTIONS - absent.get(name, set())


def test_a_page_that_grows_too_large_leaves_things_out_and_says_so(
    tmp_path: Path, make_atlas: Callable[..., Atlas], monkeypatch: pytest.MonkeyPatch
) -> None:
    atlas = make_atlas(samples=60)
    whole = write(atlas, tmp_path).read_text(encoding="utf-8")
    assert "Left out" not in whole
    monkeypatch.setattr(_write, "LIMIT", len(whole.encode()) - 1)
    smaller = write(atlas, tmp_path).read_text(encoding="utf-8")
    assert smaller.count("Left out") == 1
    assert "but in atlas.json: What the layers see." in smaller
    monkeypatch.setattr(_write, "LIMIT", 150_000)
    smallest = write(atlas, tmp_path)
    assert smallest.stat().st_size < 0.3 * len(whole.encode())
    page = Page(smallest.read_text(encoding="utf-8"))
    best = data_of(page)["scores"]
    keys = zip(best["target"]["at"], best["network"]["at"], best["layer"]["at"], strict=True)
    assert len(set(keys)) == len(best["test"])


def test_names_that_are_not_utf_8_do_not_stop_the_page(
    tmp_path: Path, make_atlas: Callable[..., Atlas]
) -> None:
    atlas = make_atlas(("net",), depth=2, samples=12)
    shown = tuple(dataclasses.replace(each, name="\udcff.jpg") for each in atlas.shown)
    odd = dataclasses.replace(atlas, set_aside=(("\udcff.png", "zero bytes"),), shown=shown)
    assert "?.png" in write(odd, tmp_path).read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path, kinds: dict[str, Callable[[], Atlas]]
) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(LayerwiseError, match=r"index\.html cannot be written"):
        write(kinds["blank"](), tmp_path / "taken")


def test_the_page_draws_itself_in_a_browser(tmp_path: Path, written: Written) -> None:
    name, atlas, path = written
    rows = [row for row in atlas.layers if not row.refused]
    with Browser(tmp_path / "profile") as browser:
        browser.open(path.as_uri())
        browser.wait(f"document.querySelectorAll('.pick').length >= {min(len(rows), 150)}")
        if name == "photos":
            browser.wait(f"document.querySelectorAll('.dot').length > {8 * len(rows)}")
        drawn = Page(browser.run("document.documentElement.outerHTML"))
    state = drawn.all("html")[0][0]
    assert state.get("data-ready") == "yes"
    assert "data-failed" not in state
    assert "data-evil" not in state
    classes = [values.get("class", "").split() for _, values, _ in drawn.found]
    assert sum("mark" in each for each in classes) == len(atlas.shown if atlas.maps else ())
    if name == "photos":
        assert sum("seen" in each for each in classes) == 6 * 17
        assert len(drawn.all("canvas")) == 2 + 4 * 6
    rows = [values for values, text in drawn.all("table") if values.get("class") == "plain ways"]
    assert len(rows) == bool(atlas.candidates)
