"""push(): a folder to a small hub on this machine, by huggingface_hub's own client."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tenslora_search.hub.push import push
from tenslora_search.spec.table import QuestionError


class Hub(BaseHTTPRequestHandler):
    """What an upload asks of a hub: a repository, which files are large, the large ones, a commit
    with the small ones.
    """

    protocol_version = "HTTP/1.1"
    root: Path
    asked: list[dict]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        where = self.path.partition("?")[0]
        if self.headers.get("Authorization") != "Bearer right":
            return self.say({"error": "Invalid username or password."}, 401)
        if where.endswith("/create"):
            self.asked.append(json.loads(body))
            return self.say({"url": f"http://{self.headers['Host']}/group/adapter"})
        if where.endswith("/validate-yaml"):
            return self.say({"warnings": [], "errors": []})
        if "/preupload/" in where:
            files = [
                {"path": one["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if one["path"].endswith("safetensors") else "regular"}
                for one in json.loads(body)["files"]
            ]  # fmt: skip
            return self.say({"files": files})
        if where.endswith("/objects/batch"):
            place = f"http://{self.headers['Host']}/large/"
            objects = [
                {**one, "actions": {"upload": {"href": place + one["oid"]}}}
                for one in json.loads(body)["objects"]
            ]
            return self.say({"transfer": "basic", "objects": objects})
        return self.commit(body)

    def commit(self, body: bytes) -> None:
        for line in map(json.loads, body.decode().splitlines()):
            said = line["value"]
            if line["key"] == "file":
                (self.root / said["path"]).write_bytes(base64.b64decode(said["content"]))
            if line["key"] == "lfsFile":
                (self.root / said["oid"]).rename(self.root / said["path"])
        address = f"http://{self.headers['Host']}/group/adapter/commit/1"
        self.say({"commitUrl": address, "commitOid": "1", "hookOutput": "", "success": True})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        name = self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == name
        (self.root / name).write_bytes(content)
        self.say({})

    def do_GET(self) -> None:
        self.say({"error": "nothing here"}, 404)

    do_HEAD = do_GET

    def say(self, content: object, code: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    (tmp_path / "hub").mkdir()
    handler = type("Here", (Hub,), {"root": tmp_path / "hub", "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_TOKEN", "right")
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "adapter"
    made.mkdir()
    (made / "README.md").write_text("---\ntags:\n- tenslora-search\n---\n# It\n")
    (made / "adapter_config.json").write_text("{}")
    (made / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 40)
    return made


def test_the_folder_is_there_as_it_was(hub, folder):
    assert push(folder, "group/adapter").endswith("/group/adapter")
    asked = hub.asked[0]
    assert asked.get("visibility") == "private" or asked.get("private")  # by its version
    assert {path.name: path.read_bytes() for path in hub.root.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


def test_what_a_hub_does_not_take_is_one_line(hub, folder, monkeypatch):
    with pytest.raises(QuestionError, match=r"--push takes ORG/NAME, .*; got 'a/b/c'"):
        push(folder, "a/b/c")
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(QuestionError, match=r"cannot push to group/adapter: .* HF_TOKEN") as error:
        push(folder, "group/adapter")
    assert "\n" not in str(error.value)
