"""What a reader, an index and an atlas answer, and what they refuse."""

from __future__ import annotations

import base64
import concurrent.futures
import io
import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

import layerwise
from layerwise import atlas, data, search, serve
from layerwise.cli import app as cli
from layerwise.errors import LayerwiseError
from served import base64_of, client_of, png

JSON = {"content-type": "application/json"}


def files_of(*paths: Path) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (path.name, path.read_bytes())) for path in paths]


def test_a_reader_answers_as_it_does_from_python(
    asked: TestClient, reader: Path, pictures: Path
) -> None:
    paths = [pictures / "red" / "0.png", pictures / "blue" / "3.png", pictures / "red" / "7.png"]
    told = asked.post("/predict", files=files_of(*paths)).json()
    expected = atlas.load_reader(reader).predict(data.open(paths))
    assert told["set_aside"] == []
    assert [each["label"] for each in told["answers"]] == list(expected.labels)
    assert [each["name"] for each in told["answers"]] == ["0.png", "3.png", "7.png"]
    for answer, values, far in zip(
        told["answers"], expected.values, expected.strangeness, strict=True
    ):
        given = torch.tensor([answer["probabilities"][name] for name in expected.classes])
        torch.testing.assert_close(given, values, rtol=1e-4, atol=1e-5)
        assert answer["probability"] == max(answer["probabilities"].values())
        assert answer["strangeness"] == pytest.approx(float(far), rel=1e-3)
        assert answer["unfamiliar"] == (answer["strangeness"] > 1)
    again = asked.post("/predict", json={"inputs": [base64_of(path) for path in paths]}).json()
    assert [each["probabilities"] for each in again["answers"]] == [
        each["probabilities"] for each in told["answers"]
    ]
    rows = asked.post("/embed", json={"inputs": [base64_of(paths[1])]}).json()["answers"]
    wanted = next(atlas.load_reader(reader).embed(data.open(paths[1:2])))[1]
    torch.testing.assert_close(torch.tensor([rows[0]["features"]]), wanted, rtol=1e-4, atol=1e-5)


def test_a_reader_of_a_quantity_gives_an_interval(text_reader: Path) -> None:
    texts = ["red apple apple apple", "green apple " * 40, "   ", "red apple"]
    client = client_of(text_reader)
    told = client.post("/predict", json={"inputs": texts}).json()
    files = [("files", ("a.txt", b"red apple")), ("files", ("b.txt", b"\xff\xfe"))]
    by_file = client.post("/predict", files=files).json()
    reader = atlas.load_reader(text_reader)
    expected = reader.predict(data.open([texts[0], texts[1], texts[3]]))
    assert [each["input"] for each in told["answers"]] == [0, 1, 3]
    assert told["set_aside"] == [{"input": 2, "name": "", "reason": "the text is empty"}]
    assert [each["truncated"] for each in told["answers"]] == [False, True, False]
    for answer, value in zip(told["answers"], expected.values[:, 0].tolist(), strict=True):
        assert answer["value"] == pytest.approx(value, rel=1e-4)
        assert answer["high"] - answer["low"] == pytest.approx(2 * expected.margin, rel=1e-4)
    assert by_file["answers"][0]["value"] == pytest.approx(told["answers"][2]["value"], rel=1e-4)
    reason = "the file is no text in UTF-8"
    assert by_file["set_aside"] == [{"input": 1, "name": "b.txt", "reason": reason}]


def test_inputs_of_a_request_and_of_waiting_requests_share_a_forward(
    asked: TestClient, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [pictures / "red" / f"{number}.png" for number in range(8)]
    asked.post("/predict", files=files_of(names[0]))  # how it runs fastest is tried at first
    sizes: list[int] = []
    features = atlas.Reader.features

    def counted(self: atlas.Reader, inputs: torch.Tensor) -> torch.Tensor:
        sizes.append(len(inputs))
        time.sleep(0.3)
        return features(self, inputs)

    monkeypatch.setattr(atlas.Reader, "features", counted)
    asked.post("/predict", files=files_of(*names[:5]))
    assert sizes == [5]
    sizes.clear()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        posted = [pool.submit(asked.post, "/predict", files=files_of(name)) for name in names]
        together = [each.result().json()["answers"][0] for each in posted]
    assert sum(sizes) == 8
    assert len(sizes) < 5
    alone = asked.post("/predict", files=files_of(*names)).json()["answers"]
    for one, other in zip(together, alone, strict=True):
        assert one["name"] == other["name"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], rel=1e-3)


def test_what_cannot_be_read_is_set_aside_and_the_rest_is_answered(
    asked: TestClient, pictures: Path
) -> None:
    good = base64_of(pictures / "red" / "1.png")
    bomb = base64.b64encode(png(12_000, 12_000)).decode()
    broken = base64.b64encode((pictures / "red" / "2.png").read_bytes()[:-30]).decode()
    inputs = ["not base64!", good, bomb, broken, f"data:image/png;base64,{good}", "aGVsbG8="]
    answer = asked.post("/predict", json={"inputs": inputs})
    assert answer.status_code == 200
    told = answer.json()
    assert [each["input"] for each in told["answers"]] == [1, 4]
    assert told["answers"][0]["probabilities"] == told["answers"][1]["probabilities"]
    reasons = {each["input"]: each["reason"] for each in told["set_aside"]}
    assert reasons.keys() == {0, 2, 3, 5}
    assert reasons[0] == "it is not the base64 of a file"
    assert "144 megapixels, above the limit" in reasons[2]
    assert "cannot be decoded" in reasons[3]
    assert reasons[5] == "no picture format is recognised in it"


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ({"content": b'{"inputs": [', "headers": JSON}, 400, "Invalid JSON"),
        ({"content": b"\xff\xfe", "headers": JSON}, 400, "Invalid JSON"),
        ({"content": b"[" * 100_000, "headers": JSON}, 400, "Invalid JSON"),
        ({"json": {"inputs": []}}, 422, "inputs: List should have at least 1 item"),
        ({"json": {"inputs": ["aGVsbG8="] * 10_000}}, 422, "inputs: List should have at most 64"),
        ({"json": {"inputs": [7]}}, 422, "inputs.0: Input should be a valid string"),
        ({"json": {"inputs": "aGVsbG8="}}, 422, "inputs: Input should be a valid"),
        ({"json": {"inputs": ["eA=="], "path": "/etc/passwd"}}, 422, "path: Extra inputs"),
        ({"json": {"inputs": ["%%%"]}}, 422, "the input cannot be read: it is not the base64"),
        ({"json": {"inputs": ["eA==", "eA=="]}}, 422, "all 2 inputs cannot be read: no picture"),
        ({"json": ["eA=="]}, 422, "Input should be an object"),
        ({"content": b"inputs=eA=="}, 415, "send application/json or multipart/form-data"),
        ({"content": b"x", "headers": {"content-type": "image/png"}}, 415, "'image/png'"),
        ({"files": {"file": ("a.png", b"x")}}, 422, "'file': give each option once"),
        ({"files": {"files": ("a.png", b"x")}, "data": {"k": "2"}}, 422, "k: Extra inputs"),
        ({"files": [("files", ("a.png", b"x"))] * 65}, 400, "Too many files"),
        (
            {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}},
            400,
            "",
        ),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
    ],
)
def test_a_mistaken_request_is_one_line_and_the_server_goes_on(
    asked: TestClient, sent: dict, status: int, words: str
) -> None:
    answer = asked.post("/predict", **sent)
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert asked.get("/health").json()["status"] == "ok"


def test_a_huge_request_is_refused_whatever_length_it_announces(
    reader: Path, pictures: Path
) -> None:
    limits = serve.Limits(bytes=20_000, seconds=600.0)
    given = files_of(pictures / "red" / "1.png")

    def parts() -> object:
        for _ in range(100):
            yield b" " * 1000

    client = client_of(reader, limits)
    for body in (b" " * 20_001, parts()):
        answer = client.post("/predict", content=body, headers=JSON)
        assert answer.status_code == 413
        assert "larger than 0.0191 MB; send less, or raise --max-mb" in answer.json()["error"]
    assert client.post("/predict", files=given).status_code == 200
    assert client.get("/", headers={"content-length": "99999"}).status_code == 413


def test_what_takes_too_long_is_refused_and_the_server_goes_on(
    reader: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = atlas.Reader.features
    slow = [1.0]

    def delayed(self: atlas.Reader, inputs: torch.Tensor) -> torch.Tensor:
        time.sleep(slow[0])
        return features(self, inputs)

    monkeypatch.setattr(atlas.Reader, "features", delayed)
    given = files_of(pictures / "red" / "1.png")
    client = client_of(reader, serve.Limits(seconds=0.5))
    late = client.post("/predict", files=given)
    assert late.status_code == 503
    assert late.headers["retry-after"] == "1"
    assert late.json()["error"].startswith("not done within 0.5 seconds")
    slow[0] = 0.0
    time.sleep(0.7)
    assert client.post("/predict", files=given).status_code == 200


def test_too_many_requests_at_once_are_told_to_come_back(
    reader: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = atlas.Reader.features

    def delayed(self: atlas.Reader, inputs: torch.Tensor) -> torch.Tensor:
        time.sleep(0.5)
        return features(self, inputs)

    monkeypatch.setattr(atlas.Reader, "features", delayed)
    given = files_of(pictures / "red" / "1.png")
    client = client_of(reader, serve.Limits(requests=2, seconds=600.0))
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        posted = [pool.submit(client.post, "/predict", files=given) for _ in range(6)]
        statuses = [each.result().status_code for each in posted]
        assert set(statuses) == {200, 503}
        assert statuses.count(200) >= 2
        assert client.get("/health").status_code == 200


def test_a_defect_is_told_in_one_line_and_the_server_goes_on(
    asked: TestClient, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = files_of(pictures / "red" / "1.png")
    with monkeypatch.context() as patch:
        patch.setattr(atlas.Reader, "read", lambda *_: 1 / 0)
        answer = asked.post("/predict", files=given)
    assert answer.status_code == 500
    assert answer.json() == {"error": "ZeroDivisionError: division by zero"}
    assert asked.post("/predict", files=given).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/nowhere", "/items/x", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"),
        *("/static/x", "/docs", "/redoc", "/predict/", "/atlas", "/reader.json", "/%00"),
    ],
)
def test_nothing_else_is_there(asked: TestClient, path: str) -> None:
    answer = asked.get(path)
    assert answer.status_code == 404
    assert answer.json() == {"error": "Not Found"}


def test_a_wrong_method_says_the_right_one(asked: TestClient) -> None:
    answer = asked.get("/predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json() == {"error": "Method Not Allowed"}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("127.0.0.1:8000", 200), ("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:8000", 200)),
        *(("127.0.0.2", 200), ("evil.example", 400), ("127.0.0.1.evil.example", 400)),
        *(("192.168.0.7", 400), ("localhost@evil.example", 400), ("[", 400), ("", 400)),
    ],
)
def test_only_this_machine_is_a_host(asked: TestClient, host: str, status: int) -> None:
    assert asked.get("/health", headers={"host": host}).status_code == status


def test_a_page_of_another_site_may_not_ask(asked: TestClient, pictures: Path) -> None:
    given = files_of(pictures / "red" / "1.png")
    for origin, status in (
        ("http://127.0.0.1:8000", 200),
        ("http://127.0.0.1:9000", 403),
        ("https://evil.example", 403),
        ("null", 403),
    ):
        answer = asked.post("/predict", files=given, headers={"origin": origin})
        assert answer.status_code == status
        assert "access-control-allow-origin" not in answer.headers
    asking = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    assert asked.options("/predict", headers=asking).status_code == 403


def test_every_answer_says_what_a_browser_may_do_with_it(asked: TestClient) -> None:
    for path in ("/", "/health", "/nowhere", "/openapi.json"):
        headers = asked.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
    page = asked.get("/").text
    assert "default-src 'none'" in page
    assert "connect-src 'self'" in page
    assert "unsafe" not in page


def test_an_index_finds_by_all_layers_and_by_each(
    index: Path, pictures: Path, network: layerwise.Network
) -> None:
    query = pictures / "red" / "4.png"
    client = client_of(index)
    told = client.post("/search", files=files_of(query), data={"k": "5"}).json()["answers"][0]
    assert client.get("/health").json()["kind"] == "index"
    everything = client.post("/search", json={"inputs": [base64_of(query)], "k": 100}).json()
    ways = {" + ".join(way["layers"]): way["hits"] for way in told["ways"]}
    assert list(ways) == [
        "blocks.0 (mean) + blocks.2.0 (mean)",
        "blocks.0 (mean)",
        "blocks.2.0 (mean)",
    ]
    assert all(len(hits) == 5 and hits[0]["name"] == "red/4.png" for hits in ways.values())
    assert len(everything["answers"][0]["ways"][0]["hits"]) == 40
    samples = data.open(pictures)
    pooled = layerwise.read(
        network,
        network.batch([network.prepare(samples.load(i)) for i in range(40)]),
        ["blocks.0", "blocks.2.0"],
    )
    row = samples.names.index("red/4.png")
    cosines = {}
    for layer, values in pooled.items():
        unit = torch.nn.functional.normalize(values.mean((2, 3)), dim=1)
        cosines[layer] = (unit @ unit[row]).tolist()
    for layer, of_layer in cosines.items():
        for hit in ways[f"{layer} (mean)"]:
            expected = of_layer[samples.names.index(hit["name"])]
            assert hit["score"] == pytest.approx(expected, abs=1e-4)
        best = sorted(of_layer, reverse=True)[:5]
        assert [hit["score"] for hit in ways[f"{layer} (mean)"]] == pytest.approx(best, abs=1e-4)


def test_an_index_shows_only_its_own_items(index: Path, pictures: Path, place: Path) -> None:
    (place / "secret.png").write_bytes(png(8, 8))
    client = client_of(index)
    given = files_of(pictures / "blue" / "2.png")
    hits = client.post("/search", files=given).json()["answers"][0]["ways"][0]["hits"]
    shown = client.get(f"/items/{hits[0]['key']}")
    assert shown.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(shown.content)).size == (48, 48)
    for key in (
        *(
            "x",
            "../secret.png",
            "..%2Fsecret.png",
            "%2Fetc%2Fpasswd",
            str(place / "secret.png"),
        ),
        *("red%2F1.png", hits[0]["name"], "%00", "a" * 5000),
    ):
        assert client.get(f"/items/{key}").status_code == 404
    gone = pictures / hits[1]["name"]
    kept = gone.read_bytes()
    gone.unlink()
    try:
        answer = client.get(f"/items/{hits[1]['key']}")
    finally:
        gone.write_bytes(kept)
    assert answer.status_code == 404
    assert answer.json() == {"error": "the file is gone"}


def test_an_index_of_texts_tells_them(text_index: Path) -> None:
    client = client_of(text_index)
    answer = client.post("/search", json={"inputs": ["green"], "k": 2})
    assert client.get("/items/x").status_code == 404
    (way,) = answer.json()["answers"][0]["ways"]
    assert way["hits"][0]["text"] == "green"
    assert way["hits"][0]["score"] == pytest.approx(1.0, abs=1e-4)


def test_pictures_are_found_by_words_as_on_the_command_line(both_index: Path) -> None:
    texts = ["red apple", "green"]
    client = client_of(both_index)
    answer = client.post("/search_words", json={"inputs": texts, "k": 3})
    assert answer.status_code == 200, answer.text
    done = CliRunner().invoke(cli, ["search", str(both_index), *texts, "--k", "3", "--json"])
    told = {each["query"]: each["hits"] for each in json.loads(done.stdout)}
    for text, found in zip(texts, answer.json()["answers"], strict=True):
        (way,) = found["ways"]
        assert [hit["name"] for hit in way["hits"]] == [hit["name"] for hit in told[text]]
        scores = [hit["score"] for hit in told[text]]
        assert [hit["score"] for hit in way["hits"]] == pytest.approx(scores, abs=1e-5)
    refused = client.post("/search", json={"inputs": texts})
    assert refused.status_code == 422
    assert "base64" in refused.json()["error"]


def test_an_index_of_pictures_alone_has_no_place_for_words(index: Path) -> None:
    client = client_of(index)
    assert client.post("/search_words", json={"inputs": ["red"]}).status_code == 404
    assert "<textarea" not in client.get("/").text


def test_an_index_that_grows_is_searched_anew(
    place: Path, pictures: Path, network: layerwise.Network
) -> None:
    few = data.open(pictures).take(range(5))
    search.index_samples(network, few, place / "growing", layers="blocks.0")
    given = files_of(pictures / "red" / "1.png")
    client = client_of(place / "growing")
    first = client.post("/search", files=given).json()["answers"][0]["ways"][0]["hits"]
    search.index_samples(network, data.open(pictures), place / "growing")
    then = client.post("/search", files=given).json()["answers"][0]["ways"][0]["hits"]
    assert (len(first), len(then)) == (5, 10)
    assert then[0]["name"] == "red/1.png"


def test_an_atlas_shows_what_each_layer_makes_of_an_input(surveyed: Path, pictures: Path) -> None:
    given = files_of(pictures / "red" / "5.png", pictures / "blue" / "6.png")
    client = client_of(surveyed)
    told = client.post("/look", files=given).json()["answers"]
    page = client.get("/atlas")
    picture = client.get(f"/items/{told[0]['layers'][0]['nearest'][0]['key']}")
    saved = atlas.load(surveyed)
    for answer, name in zip(told, ("red/5.png", "blue/6.png"), strict=True):
        assert [each["layer"] for each in answer["layers"]] == ["blocks.0", "blocks.2.0"]
        for each in answer["layers"]:
            assert each["nearest"][0]["name"] == name
            assert each["nearest"][0]["score"] == pytest.approx(1.0, abs=1e-3)
            scores = [near["score"] for near in each["nearest"]]
            assert scores == sorted(scores, reverse=True)
            assert each["nearest"][0]["targets"] == {"class": name.split("/")[0]}
            (reading,) = each["readings"]
            assert reading["answer"] == name.split("/")[0]
            assert reading["test"] in [
                s.test for s in saved.scores if (s.layer, s.readout) == (each["layer"], "linear")
            ]
            sees = base64.b64decode(each["sees"].removeprefix("data:image/png;base64,"))
            assert Image.open(io.BytesIO(sees)).size[0] > 1
    assert "<h1>Which layer?</h1>" in page.text
    assert "script-src 'sha256-" in page.text
    assert picture.headers["content-type"] == "image/jpeg"


def test_neighbours_are_those_of_the_atlas_own_page(surveyed: Path, pictures: Path) -> None:
    saved = atlas.load(surveyed)
    listed = saved.neighbours[0]
    shown = saved.shown[listed.queries[0]]
    client = client_of(surveyed)
    given = files_of(pictures / shown.name)
    told = client.post("/look", files=given).json()["answers"][0]["layers"]
    mine = next(each for each in told if each["layer"] == listed.layer)
    names = {each.name for each in saved.shown}
    found = [near["name"] for near in mine["nearest"] if near["name"] in names - {shown.name}]
    assert found
    # The page compares shown samples only, standardised among themselves: the first still agrees.
    assert found[0] in [saved.shown[i].name for i in listed.nearest[0][:3]]


def test_the_page_of_an_atlas_is_drawn_anew(surveyed: Path, place: Path) -> None:
    copied = place / "hostile"
    shutil.copytree(surveyed, copied)
    (copied / "index.html").write_text("<script>alert(1)</script>")
    client = client_of(copied)
    assert "alert(1)" not in client.get("/atlas").text


def test_another_network_is_refused(surveyed: Path, index: Path, place: Path) -> None:
    copied = place / "other-atlas"
    shutil.copytree(surveyed, copied)
    text = (copied / "atlas.json").read_text()
    (copied / "atlas.json").write_text(
        text.replace("random:timm:test_efficientnet", "random:timm:test_resnet")
    )
    with pytest.raises(LayerwiseError, match=r"opens here: other weights \(there"):
        serve.application(copied)
    copied = place / "other-index"
    shutil.copytree(index, copied)
    card = json.loads((copied / "index.json").read_text())
    card["reading"]["about"]["network"] = "random:timm:test_resnet"
    (copied / "index.json").write_text(json.dumps(card))
    with pytest.raises(LayerwiseError, match="was made otherwise than test_resnet"):
        serve.application(copied)


def test_what_is_no_such_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LayerwiseError, match=r"holds no reader\.json, atlas\.json or index\.json"):
        serve.application(tmp_path)
    with pytest.raises(LayerwiseError, match="holds no reader"):
        serve.application(tmp_path / "nowhere")


def test_a_limit_is_above_zero() -> None:
    with pytest.raises(LayerwiseError, match="the limit must be above 0"):
        serve.Limits(seconds=-1.0)
