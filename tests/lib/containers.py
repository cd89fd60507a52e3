"""Container services for tests: a real podman where one starts, and a fake that speaks as much of the Docker Engine API as the
worker does, records what it was asked, and runs commands on this machine."""

import http.server
import io
import json
import os
import pathlib
import shutil
import signal
import socketserver
import struct
import subprocess
import tarfile
import threading
import time
import urllib.parse

# what the probe sees in a container as it should be
GOOD = """NoNewPrivs:\t1
Seccomp:\t2
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
Max core file size        0                    0                    bytes
""" + "".join(f"ns {name}:[1]\n" for name in ("user", "pid", "net", "ipc", "uts", "mnt", "cgroup"))


class Fake:
    """with Fake(path) as fake: …; fake.requests: [(method, path without version, version, body)]"""

    def __init__(self, path, api="1.41", least="1.12", images=("python:3-slim",), listed=(), seen=GOOD):
        self.path, self.api, self.least, self.images, self.listed = str(path), api, least, set(images), list(listed)
        self.seen, self.requests, self.containers, self.lock = "\n" + seen, [], {}, threading.Lock()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def address_string(self):
                return "worker"

            def handle_one(self, method):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                split = urllib.parse.urlsplit(self.path)
                parts = split.path.strip("/").split("/")
                version = parts.pop(0) if parts[0].startswith("v1.") else ""
                with fake.lock:
                    fake.requests.append((method, "/" + "/".join(parts), version, json.loads(body) if body else None))
                fake.answer(self, method, parts, urllib.parse.parse_qs(split.query), json.loads(body) if body else None)

            def do_GET(self):
                self.handle_one("GET")

            def do_POST(self):
                self.handle_one("POST")

            def do_DELETE(self):
                self.handle_one("DELETE")

            def reply(self, status, value=None):
                data = json.dumps(value).encode() if value is not None else b""
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self.server = Server(self.path, Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        for name in list(self.containers):
            self.remove(name)

    def remove(self, name):
        container = self.containers.pop(name, None)
        if container and container["process"]:
            try:
                os.killpg(container["process"].pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def asked(self, method, path):
        """Bodies of the requests to paths that begin so."""
        with self.lock:
            return [body for one, where, _, body in self.requests if one == method and where.startswith(path)]

    def answer(self, to, method, parts, query, body):
        if parts == ["version"]:
            to.reply(200, {"ApiVersion": self.api, "MinAPIVersion": self.least})
        elif parts == ["containers", "json"]:
            to.reply(200, self.listed)
        elif parts == ["containers", "create"]:
            if body["Image"] not in self.images:
                to.reply(404, {"message": f"No such image: {body['Image']}"})
                return
            [name] = query["name"]
            self.containers[name] = {"config": body, "process": None, "started": threading.Event()}
            to.reply(201, {"Id": name})
        else:
            self.one(to, method, parts)

    def one(self, to, method, parts):
        name, verb = parts[1], (parts[2:] or [""])[0]
        container = self.containers.get(name)
        if method == "DELETE":
            self.remove(name)
            to.reply(204)
        elif container is None:
            to.reply(404, {"message": "no such container"})
        elif verb == "attach":
            self.attach(to, container)
        elif verb == "start":
            self.start(container)
            to.reply(204)
        elif verb == "wait":
            code = container["process"].wait()
            to.reply(200, {"StatusCode": 128 - code if code < 0 else code})
        else:
            to.reply(200, {"State": {"OOMKilled": False}})

    def start(self, container):
        config = container["config"]
        binds = config["HostConfig"].get("Binds")
        command = config["Cmd"] if binds else ["cat"]
        cwd = (binds[0].split(":")[0] + config["WorkingDir"].removeprefix("/workspace")) if binds else "/"
        container["process"] = subprocess.Popen(command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                                stderr=subprocess.STDOUT, start_new_session=True)
        if not binds:
            container["process"].stdin.write(self.seen.encode())
        container["process"].stdin.close()
        container["started"].set()

    def attach(self, to, container):
        """Frames cut where nobody expects it."""
        to.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n")
        to.close_connection = True
        container["started"].wait(20)
        out = container["process"].stdout
        while piece := out.read1(7):
            frame = struct.pack(">BxxxL", 1, len(piece)) + piece
            for at in range(0, len(frame), 5):
                to.wfile.write(frame[at:at + 5])
                to.wfile.flush()


class Podman:
    """A podman of one's own: nothing of the machine's configuration, no registry, no network."""

    IMAGE = "localhost/mini:1"

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.path = str(self.folder / "sock")
        (self.folder / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\nnetns = "none"\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' +
            ('runtime = "runc"\n' if shutil.which("runc") else ""))
        (self.folder / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{self.folder}/root"\nrunroot = "{self.folder}/run"\n')
        self.environment = {**os.environ, "CONTAINERS_CONF": str(self.folder / "containers.conf"),
                            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf")}
        self.process = None

    @staticmethod
    def there():
        return shutil.which("podman") is not None and os.geteuid() == 0

    def image(self):
        """A shell and a few programs of this machine, with their libraries."""
        names = ["sh", "cat", "readlink", "ls", "sleep", "touch", "id", "head", "dd", "mkdir", "yes", "env", "ln", "mkfifo", "chmod"]
        files = {f"/bin/{name}": os.path.realpath(shutil.which(name)) for name in names}
        for line in subprocess.run(["ldd", *set(files.values())], capture_output=True, text=True).stdout.splitlines():
            for word in line.split():
                if word.startswith("/") and os.path.exists(word):
                    files[word.rstrip(":")] = os.path.realpath(word.rstrip(":"))
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for folder in ("bin", "tmp", "proc", "sys", "dev", "etc", "workspace"):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
                tar.addfile(entry)
            for path, source in sorted(files.items()):
                entry = tarfile.TarInfo(path.lstrip("/"))
                content = pathlib.Path(source).read_bytes()
                entry.size, entry.mode = len(content), 0o755
                tar.addfile(entry, io.BytesIO(content))
        return data.getvalue()

    def command(self, *words, **more):
        return subprocess.run(["podman", *words], env=self.environment, capture_output=True, timeout=120, **more)

    def __enter__(self):
        done = self.command("import", "-q", "-", self.IMAGE, input=self.image())
        assert done.returncode == 0, done
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(["podman", "system", "service", "--time=0", f"unix://{self.path}"],
                                        env=self.environment, stdout=self.log, stderr=self.log,
                                        cwd=self.folder)  # conmon leaves a file `oom` there
        end = time.monotonic() + 30
        while not os.path.exists(self.path):
            assert time.monotonic() < end and self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        return self

    def containers(self):
        return self.command("ps", "-aq").stdout.split()

    def __exit__(self, *_):
        self.command("rm", "-af", "--time=0")
        self.process.terminate()
        self.process.wait(20)
        self.log.close()
