"""Logins on HTTP, weak and strong: logins.py PORT MODE. The right ones are operator, the-right-secret."""

import http.server
import json
import sys
import urllib.parse

FAILURES_MAX = 5
failures = {}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(min(int(self.headers["Content-Length"]), 4096)).decode()
        if self.headers["Content-Type"] == "application/json":
            fields = json.loads(body)
        else:
            fields = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        user, is_right = fields["user"], (fields["user"], fields["secret"]) == ("operator", "the-right-secret")
        getattr(self, MODE)(user, is_right)

    def telling(self, user, is_right):
        """An HTML form that says whether a user exists, and lets anybody guess for ever."""
        if is_right:
            self.say(302, "", {"Location": "/home?session=of-operator"})
        elif user != "operator":
            self.say(200, f"<p>There is no {user}.</p>")
        else:
            self.say(200, f"<p>Wrong password for {user}.</p>")

    def locking(self, user, is_right):
        """A JSON login that locks accounts without a word."""
        if failures.get(user, 0) >= FAILURES_MAX:
            is_right = False
        failures[user] = 0 if is_right else failures.get(user, 0) + 1
        if is_right:
            self.say(200, json.dumps({"token": "of-operator"}))
        else:
            self.say(401, json.dumps({"error": "wrong credentials", "request": f"{id(self):x}", "try": failures[user]}))

    def careless(self, user, is_right):
        """One that lets everybody in."""
        self.say(302, "", {"Location": "/home"})

    def say(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


PORT, MODE = int(sys.argv[1]), sys.argv[2]
http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
