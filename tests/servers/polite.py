"""A web server as people write them: it binds by itself, knows nothing of svd, and finishes its requests on TERM. With the
variable RUDE it does not, and TERM ends it in the middle of them.

The file `mode` in its directory says how this generation behaves: fine, exits (at once), silent (never listens),
broken (answers 500), hangs (accepts and never answers), late (answers 503 until it has been up for a second). Whoever
asks for something else than /healthz is written to the file `met.MODE`.
"""

import http.server
import os
import signal
import socket
import sys
import threading
import time

MODE = open("mode").read().strip() if os.path.exists("mode") else "fine"
NAME = "generation %s, pid %d" % (os.environ.get("GENERATION", "?"), os.getpid())
BORN = time.monotonic()

if MODE == "exits":
    print("this generation does not work at all", file=sys.stderr)
    sys.exit(3)
if MODE == "silent":
    signal.pause()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10  # for a client that connects and never asks
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet an answer

    def do_GET(self):
        if self.path != "/healthz":
            with open("met." + MODE, "a") as met:
                met.write(self.path + "\n")
        if MODE == "hangs":
            time.sleep(3600)
        if self.path == "/slow":
            time.sleep(0.5)
        status = 200
        if MODE == "broken" or (os.path.exists("sick.%d" % os.getpid()) and self.path == "/healthz"):
            status = 500
        if MODE == "late" and time.monotonic() < BORN + 1:
            status = 503
        body = (NAME + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if server.ending:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        server.kept.add(self.connection)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = MODE == "hangs"
    ending = False
    kept = set()

    def shutdown_request(self, request):
        self.kept.discard(request)
        super().shutdown_request(request)


server = Server(("", int(os.environ["PORT"])), Handler)


def finish():
    """Takes nothing new, answers what has been asked, and lets kept connections go."""
    server.ending = True
    server.shutdown()
    # Those who have been answered and wait for a next request read the end of the connection; what has come already is
    # still read. Those who are not answered yet will be.
    for request in list(server.kept):
        try:
            request.shutdown(socket.SHUT_RD)
        except OSError:
            pass


if "RUDE" not in os.environ:
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=finish).start())
print("open", flush=True)
server.serve_forever(poll_interval=0.05)
server.server_close()
