"""What goes to the hub, seen by a hub of the test's own."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
from command import Command
from small_runs import make_student

from huggingface_run import finished
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.pushing import push

pytest.importorskip("transformers", reason="transformers is not installed")


class Hub(ThreadingHTTPServer):
    """Takes a repository and one commit, as the hub does; refuses who writes to `other/...`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.created: list[dict[str, object]] = []
        self.files: dict[str, bytes] = {}


class Answering(BaseHTTPRequestHandler):
    server: Hub

    def _answer(self, value: object, status: int = 200) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        self._answer({"id": "me/small", "sha": "0", "siblings": []}, 403 if "/other/" in self.path else 200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        url = f"http://127.0.0.1:{self.server.server_port}/me/small"
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            self.server.created.append(asked)
            self._answer({"url": url, "id": "me/small"}, 403 if asked.get("organization") == "other" else 200)
        elif self.path.endswith("/preupload/main"):
            files = [
                {**each, "uploadMode": "regular", "shouldIgnore": False} for each in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._answer({"commitUrl": f"{url}/commit/0", "commitOid": "0", "success": True})
        else:
            self._answer({"valid": True})

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished(tmp_path_factory.mktemp("pushed"))


def test_a_network_of_transformers_goes_as_a_folder_that_it_loads(run: Run, hub: Hub) -> None:
    pushed = push(run, "me/small", private=True)
    assert pushed.url is not None
    assert hub.created[0]["name"] == "small"
    assert hub.created[0]["visibility"] == "private"
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= hub.files.keys()
    assert {name: len(content) for name, content in hub.files.items()} == pushed.files
    assert not (run.path / "student-hf").exists()
    card = hub.files["README.md"].decode()
    assert "# hf:encoder on text" in card
    assert "base_model" not in card, "the encoder is on no hub"
    assert not any(str(run.path.parent).encode() in content for content in hub.files.values())


def test_no_place_on_this_machine_is_in_what_goes_to_the_hub(teacher: Run, hub: Hub, tmp_path: Path) -> None:
    more = {"student": "mlp(hidden=[8])", "objective": "ce + kd", "batch_size": 50, "epochs": 4}
    middle = make_student(tmp_path / "runs" / "middle", teacher, **more)
    run = make_student(tmp_path / "runs" / "small", middle)
    push(run, "me/small")
    card = hub.files["README.md"].decode()
    assert "distilled with limbeck from `middle` (`mlp(hidden=[8])`), a teacher with 610 parameters." in card
    assert f"taught by `{teacher.path.name}`" in card
    assert "config.yaml" not in card, "it is not there"
    for path in (tmp_path, teacher.path.parent):
        assert not any(str(path).encode() in content for content in hub.files.values())
    assert f"`{middle.path}` (`mlp(hidden=[8])`)" in (run.path / "README.md").read_text()
    (run.path / "README.md").write_text(f"My own card, made in {run.path}.")
    push(run, "me/small")
    assert hub.files["README.md"].decode() == f"My own card, made in {run.path}."


def test_any_other_goes_as_limbeck_loads_it(teacher: Run, hub: Hub, tmp_path: Path) -> None:
    import limbeck

    push(teacher, "me/small")
    assert hub.files.keys() == {"README.md", "student.safetensors"}
    (tmp_path / "student.safetensors").write_bytes(hub.files["student.safetensors"])
    assert limbeck.models.fingerprint(
        limbeck.load(tmp_path / "student.safetensors")
    ) == limbeck.models.fingerprint(limbeck.load(teacher))


def test_a_dry_run_lists_the_files_and_sends_nothing(teacher: Run, hub: Hub, command: Command) -> None:
    answer = command("push", str(teacher.path), "me/small", "--dry-run")
    assert answer.code == 0
    assert "student.safetensors  " in answer.out
    assert answer.out.endswith("nothing was sent to me/small\n")
    assert hub.created == []


def test_a_refusal_is_told(teacher: Run, hub: Hub) -> None:
    with pytest.raises(
        LimbeckError, match=r"refused 'other/small' with the status 403; log in with `hf auth login`"
    ):
        push(teacher, "other/small")


def test_a_hub_that_is_not_there_is_told(teacher: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(LimbeckError, match=r"the Hugging Face hub \(http://127.0.0.1:9\) cannot be reached"):
        push(teacher, "me/small")


def test_a_name_that_is_no_repository_is_refused(teacher: Run) -> None:
    with pytest.raises(LimbeckError, match="the repository should be USER/NAME"):
        push(teacher, "small")


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="is no finished run, so there is no student to push"):
        push(tmp_path, "me/small")
