"""Serve: a real server, on this machine alone, that shows what runs now and disturbs nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from browser import chromium, needs_chromium, page_of, serious
from looking_back import asked
from speedsheet.bench.running import Running, running
from speedsheet.bench.sheet import measure_sheet
from speedsheet.cli import main
from speedsheet.core.errors import UsageError
from speedsheet.core.request import Progress, RowRequest
from speedsheet.core.sheet import Sheet
from speedsheet.history.explanations import explained, keep
from speedsheet.host.places import cache_folder
from speedsheet.pages import server as pages_server
from speedsheet.pages.server import Place, application, checked
from speedsheet.sheets import files
from speedsheet.sheets.document import Document
from test_compare_records import FAST, HOST, served
from test_pages import HOSTILE, sealed

TOKEN = "a token of many letters"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Make a data folder with a run of two rows, one of them named by an enemy."""
    folder = tmp_path_factory.mktemp("serve") / "data"
    rows = (sealed(folder / "records"), sealed(folder / "records", model=HOSTILE))
    files.write(Document.of(Sheet(HOST, rows)), folder / "sheets")
    return folder


def serving(data: Path, *more: str):
    """Start the command, wait until it answers; return the process and its address."""
    port = free_port()
    command = [sys.executable, "-m", "speedsheet", "serve", "--data", str(data), "--port", str(port), *more]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    for _ in range(200):
        try:
            httpx.get(url, timeout=1)
        except httpx.HTTPError:
            if process.poll() is not None:
                raise AssertionError(process.stderr.read()) from None
            time.sleep(0.1)
        else:
            return process, url
    raise AssertionError("the server does not answer")


@pytest.fixture(scope="module")
def server(data):
    """Serve the folder."""
    process, url = serving(data)
    yield url
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_runs_and_records_are_listed_and_shown(server, data):
    """The list names them, each has its page, and JSON for scripts."""
    text = httpx.get(server).text
    (run,) = (data / "sheets").iterdir()
    assert f"/run/{run.name}" in text
    assert httpx.get(f"{server}/run/{run.name}").text.startswith("<!doctype html>")
    records = httpx.get(f"{server}/api/records").json()
    assert len(records) == 2
    page = httpx.get(f"{server}/record/{records[0]['folder']}")
    assert page.status_code == 200
    assert httpx.get(f"{server}/api/records?model=resnet").json()[0]["model"] == "resnet50"
    assert httpx.get(f"{server}/?lang=zh").text.count('<html lang="zh-CN">') == 1


@pytest.mark.parametrize("path", ["/run/%2e%2e%2f%2e%2e", "/record/.hidden", "/record/none", "/etc/passwd",
                                  "/run/..%5c..", "/static/x"])  # fmt: skip
def test_no_path_leads_out_of_the_folder(server, path):
    """Whatever is asked for, there is no such page."""
    answer = httpx.get(f"{server}{path}")
    assert answer.status_code == 404
    assert "root:" not in answer.text


def test_a_list_that_does_not_hold_all_says_so(data, monkeypatch):
    """How many there are, and where the others are; where all are listed there is nothing to say."""
    client = TestClient(application(Place(data, cache_folder())), base_url="http://127.0.0.1")
    assert "The newest" not in client.get("/").text.partition('id="phrases"')[0]
    monkeypatch.setattr(pages_server, "_LISTED", 1)
    text = client.get("/").text.partition('id="phrases"')[0]
    assert f"The newest 1 of 2; speedsheet history --store {data} --limit 2 lists all" in text
    assert "仅列出 2 条中最新的 1 条" in text
    assert "the page of an older one" not in text


def test_an_explanation_made_later_is_seen(server, data):
    """A page that was looked at before shows what `speedsheet explain` has found since."""
    folder = httpx.get(f"{server}/api/records").json()[0]["folder"]
    assert "Convolution" not in httpx.get(f"{server}/record/{folder}").text.partition('id="charts"')[0]
    steps = [{"name": "conv1", "kind": "Convolution", "time_us": 900.0, "executed": "bf16", "nodes": ["conv1"]}]
    found = explained(
        {"steps": steps, "macs": {}, "batch_size": 16, "runs": 5}, model="m", engine="e", precision="fp16"
    )
    keep(data / "explanations", folder, found)
    assert "Convolution" in httpx.get(f"{server}/record/{folder}").text.partition('id="charts"')[0]


def test_hostile_names_are_escaped_in_the_list(server):
    """No element of the list is a model's."""
    assert "<script>alert" not in httpx.get(server).text


def test_another_host_name_is_refused(server):
    """A page of somebody else's, whose name was made to lead here, gets nothing."""
    assert httpx.get(server, headers={"host": "evil.example"}).status_code == 400
    assert httpx.get(server).headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in httpx.get(server).headers["content-security-policy"]


def test_another_address_needs_a_token():
    """Refused before anything listens; a short token is none."""
    for host in ("0.0.0.0", "192.0.2.7", "::", "example.org"):
        with pytest.raises(UsageError, match="--token"):
            checked(host, None)
        checked(host, TOKEN)
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        checked(host, None)
    with pytest.raises(UsageError, match="can be guessed"):
        checked("127.0.0.1", "short")
    assert main(["serve", "--host", "0.0.0.0"]) == 2


def test_a_port_that_is_none_is_refused(capsys):
    """In one line, before anything is said to listen."""
    assert main(["serve", "--port", "65536"]) == 2
    assert capsys.readouterr().err.startswith("speedsheet: --port: 65536 is not in the range")


def test_with_a_token_nothing_is_told_without_it(data):
    """By header, by cookie after the first address; wrong or missing is 401, for every path."""
    process, url = serving(data, "--token", TOKEN)
    try:
        for path in ("/", "/events", "/api/records", "/api/running", "/run/x", "/record/x"):
            assert httpx.get(url + path).status_code == 401, path
            assert httpx.get(url + path, headers={"authorization": f"Bearer {TOKEN}x"}).status_code == 401
        assert httpx.get(f"{url}/api/records", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        with httpx.Client() as client:
            first = client.get(url, params={"token": TOKEN}, follow_redirects=True)
            assert first.status_code == 200
            assert "token" not in str(first.url)
            assert client.get(f"{url}/api/records").status_code == 200
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def test_a_running_sheet_is_told_as_it_goes(server, data):
    """Server-sent events: nothing, then the row in hand, then the row that is done, then nothing."""
    request = RowRequest("resnet50", precision="fp16")
    with httpx.stream("GET", f"{server}/events", timeout=30) as stream:
        lines = stream.iter_lines()

        def heard():
            return json.loads(next(line for line in lines if line.startswith("data: ")).removeprefix("data: "))

        assert heard() == []
        with Running(data / "running", "Mine", [request], lambda _: None, lambda _: None) as state:
            state.listen(Progress(1, 1, "resnet50", "measuring on openvino", 0.5, 3.0, 9.0))
            state.finished(served())
            (now,) = heard()
            assert (now["title"], now["done"][0]["model"]) == ("Mine", "resnet50")
            assert now["stages"] == {"en": "measuring on openvino", "zh": "在 openvino 上测量"}
        assert heard() == []


def test_what_is_running_is_told_only_while_it_runs(tmp_path):
    """A file of a process that was killed is not shown, and is swept by the next sheet; a half file is passed over."""
    folder = tmp_path / "running"
    script = (
        "import os, signal, sys; from pathlib import Path; from speedsheet.bench.running import Running\n"
        "Running(Path(sys.argv[1]), 'x', [], None, None).__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    assert len(list(folder.glob("*.json"))) == 1
    assert list(running(folder)) == []
    (folder / f"{os.getpid()}-half.json").write_text("{")
    with Running(folder, "next", [], lambda _: None, lambda _: None):
        assert [one["title"] for one in running(folder)] == ["next"]
    assert [path.name for path in folder.glob("*.json")] == [f"{os.getpid()}-half.json"]


def test_a_folder_that_cannot_be_written_ends_no_measurement(tmp_path):
    """What cannot be shown is measured all the same."""
    (tmp_path / "file").write_text("")
    heard: list[object] = []
    with Running(tmp_path / "file" / "running", "x", [], heard.append, heard.append) as state:
        state.listen(Progress(1, 1, "a", "b"))
    assert len(heard) == 1


@needs_chromium
def test_a_browser_sees_a_sheet_run(server, data, small_model, tmp_path):
    """A real sheet is measured while a real browser looks: its row appears, and nothing serious is in the way."""
    with chromium() as browser, page_of(browser, f"{server}/") as view:
        view.get_by_text("Nothing is being measured.").wait_for()
        with Running(data / "running", "Looked at", [asked(small_model)], lambda _: None, lambda _: None) as state:
            sheet = measure_sheet([asked(small_model, window_s=1.0)], store=tmp_path / "records", listen=state.listen,
                                  finished=state.finished)  # fmt: skip
            assert sheet.ok
            view.get_by_role("heading", name="Looked at").wait_for()
            view.locator("#running td", has_text="onnxruntime").wait_for()
            assert serious(view) == []
        view.locator("#language").click()
        view.get_by_text("没有正在进行的测试。").wait_for()
        assert serious(view) == []


def test_a_row_that_is_measured_again_takes_its_own_place(tmp_path):
    """What is done is never more than what was asked: a better known row replaces the one that it was."""
    asked_for = [RowRequest("resnet50"), RowRequest("bert_128")]
    with Running(tmp_path, "Again", asked_for, lambda _: None, lambda _: None) as state:
        for row in (served(), served(model="bert_128")):
            state.finished(row)
        state.listen(Progress(1, 2, "resnet50", "measuring", None, None))
        state.finished(served(throughput_samples_per_s=FAST))
        (told,) = running(tmp_path)
    assert [(row["model"], row["samples_per_s"]) for row in told["done"]] == [("resnet50", 200.0), ("bert_128", 100.0)]


@needs_chromium
def test_what_runs_is_told_without_taking_the_focus(server, data):
    """A link stays in focus while rows go on; one line is told aloud when a row is done, in the page's language."""
    with chromium() as browser, page_of(browser, f"{server}/") as view:
        view.get_by_text("Nothing is being measured.").wait_for()
        with Running(data / "running", "Told", [RowRequest("resnet50")] * 2, lambda _: None, lambda _: None) as state:
            view.get_by_role("heading", name="Told").wait_for()
            assert view.locator("#running[aria-live]").count() == 0
            state.finished(served(record="/records/one"))
            link = view.locator("#running a")
            link.focus()
            assert view.locator("#news").inner_text().startswith("resnet50 FP16: 100 ")
            view.locator("#language").evaluate("button => button.click()")
            state.finished(served(model="bert_128").failed("the worker was killed"))
            view.locator("#running tr.failed", has_text="失败: the worker was killed").wait_for()
            view.wait_for_function("document.getElementById('news').textContent.startsWith('bert_128 FP16: 失败')")
            assert link.evaluate("link => link === document.activeElement")
            view.locator("#language").evaluate("button => button.click()")
            view.locator("#running tr.failed", has_text="failed: the worker was killed").wait_for()
            assert link.evaluate("link => link === document.activeElement")
