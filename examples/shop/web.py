"""The shop's page: shows how many orders there are and takes new ones."""

import os
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import orders

PORT = int(os.environ.get("PORT", "5000"))
BELL = orders.open_bell()


class Shop(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/healthz":
            self.answer(200, "ok\n")
        elif self.path == "/":
            with closing(orders.connect()) as db:
                counts = orders.counts(db)
            self.answer(200, "".join(f"{state}: {count}\n" for state, count in counts.items()))
        else:
            self.answer(404, "there is / and /healthz\n")

    def do_POST(self):
        if self.path != "/orders":
            return self.answer(404, "orders go to /orders\n")
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        item = parse_qs(body.decode()).get("item", [""])[0]
        if not item:
            return self.answer(400, "what would you like? curl -d item=tea …\n")
        with closing(orders.connect()) as db:
            number = orders.add(db, BELL, item)
        self.answer(201, f"order {number}: {item}\n")

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *values):
        if self.path != "/healthz":
            print(form % values)


server = ThreadingHTTPServer(("", PORT), Shop)
print(f"open on port {PORT}")
server.serve_forever()
