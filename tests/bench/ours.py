"""Drives svd in peerbench: copy beside peerbench.py or name this folder in PEERBENCH_OURS; OURS_BIN is svd, svctl lies beside it."""
import json, os, signal, socket
from pathlib import Path

from peerbench import Adapter, HttpCase, LogSpec, Service

SVD = Path(os.environ.get("OURS_BIN", Path(__file__).resolve().parents[2] / "target/release/svd"))
SVCTL = SVD.with_name("svctl")


class Ours(Adapter):
    key = "ours"
    restarts = logs = rotates = raw_log = True
    max_n = 1000             # the most that one config may ask for of one process is 1000; here each is a process
    pidns = False

    @classmethod
    def available(cls):
        missing = [str(path) for path in (SVD, SVCTL) if not path.exists()]
        return f"{', '.join(missing)} missing (set OURS_BIN)" if missing else ""

    @classmethod
    def version(cls):
        return os.popen(f"{SVD} --version").read().strip()

    @property
    def root(self) -> Path:
        return self.work / "root"

    @property
    def socket_path(self) -> Path:
        return self.root / "run/control.sock"

    def config(self, services: list[Service], log: LogSpec | None = None):
        text = [
            'app = "bench"\n[defaults]\n'
            'restart = { when = "always", backoff = "0s..0s", limit = "none" }\n'
            'stop = ["TERM", "10s", "KILL"]\n'
        ]
        for service in services:
            if log:
                # Nothing may be deleted while it is measured: room for all that peers keep, and the segment being written.
                out = f"{{ segment = {log.maxbytes}, max_size = {log.maxbytes * (log.backups + 2)} }}"
            elif self.capture:
                out = "{ segment = 1000000, max_size = 4000000 }"
            else:
                out = '"none"'
            argv = ", ".join(json.dumps(str(arg)) for arg in service.argv)
            text.append(f"[process.{service.name}]\nrun = [{argv}]\nlogs = {out}\n")
        self.conf = self.work / "Procfile.toml"
        self.conf.write_text("\n".join(text))

    def command(self):
        # In the foreground svd also copies what services write to its own output, a cost that the peers do not have.
        return [SVD, "run", "--config", self.conf, "--root", self.root]

    def request_stop(self):
        self.main.send_signal(signal.SIGTERM)

    def log_files(self, services: list[Service]):
        """The segments, each holding exactly the service's bytes; the indexes beside them are no output."""
        found = []
        for service in services:
            found += sorted((self.root / "logs" / f"{service.name}.1").glob("*.log"))
        return found

    def ctl(self, n):
        base = [SVCTL, "--socket", self.socket_path, "status"]
        return {"all": base, "one": [*base, "svc0"]}

    def api(self, n):
        def get(path: str) -> bytes:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(str(self.socket_path))
                s.sendall(f"GET {path} HTTP/1.1\r\nHost: svd\r\nConnection: close\r\n\r\n".encode())
                answer = b""
                while data := s.recv(65536):
                    answer += data
            assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
            return answer

        return {"all": lambda: get("/v1/status"), "one": lambda: get("/v1/processes/svc0")}


class OursPid1(Ours):
    """The same program as PID 1 of a pid and mount namespace of its own."""
    key = "ours-pid1"
    pidns = True

    def command(self):
        return ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", *map(str, super().command())]

    def request_stop(self):
        # PID 1 as seen from here is the child of unshare, which is self.main.
        children = Path(f"/proc/{self.main.pid}/task/{self.main.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)


ADAPTERS = [Ours, OursPid1]


class OursHttp(HttpCase):
    """Restarts one web process and comes back when the new one is ready and the old one gets nothing new any more."""

    def serve(self, listen: str, extra: str):
        self.ad = Ours(self.work)
        self.ad.config([])
        argv = ", ".join(json.dumps(word) for word in self.app(listen))
        with open(self.ad.conf, "a") as f:
            f.write(f'[process.web]\nrun = [{argv}]\nlisten = "127.0.0.1:{self.port}"\n{extra}')
        self.ad.start()

    def restart(self):
        self.run(SVCTL, "--socket", self.ad.socket_path, "restart", "web")


class OursHandoff(OursHttp):
    key, what = "ours: socket handoff", "svctl restart; the program is given its listening socket, and is ready when it accepts from it"

    def setup(self):
        self.serve("fd:3", 'handoff = "listen-fds"\n')


class OursIntercept(OursHttp):
    key, what = "ours: program binds by itself", "svctl restart; the unmodified program binds its port, which svd answers"

    def setup(self):
        self.serve(f"port:{self.port}", "")


HTTP_CASES = [OursHandoff, OursIntercept]
