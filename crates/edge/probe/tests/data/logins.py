"""Logins on HTTP, weak and strong: logins.py PORT MODE [SECONDS], the time that each answer takes. The right ones are operator, the-right-secret."""

import http.cookies
import http.server
import json
import secrets
import sys
import time
import urllib.parse

FAILURES_MAX = 5
failures = {}
# What was handed out against forgery, by the session that it belongs to; each is good once.
tokens = {}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        """The page with the form: a session, and a token that belongs to it."""
        session, token = secrets.token_hex(16), secrets.token_urlsafe(16) + "=&"
        tokens[session] = token
        escaped = token.replace("&", "&amp;")
        body = (
            "<form action=/search><input type=hidden name=csrf value=of-another-form><input name=q></form>"
            f"<form method=post action=/login><input type=hidden name=csrf value='{escaped}'>"
            "<input name=user><input name=secret type=password></form>"
        )
        self.send_response(200)
        self.send_header("Set-Cookie", f"session={session}; HttpOnly; Path=/")
        self.send_header("Set-Cookie", f"XSRF-TOKEN={urllib.parse.quote(token)}; Path=/")
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def is_forged(self, token):
        session = http.cookies.SimpleCookie(self.headers["Cookie"] or "").get("session")
        return session is None or tokens.pop(session.value, None) != token

    def do_POST(self):
        time.sleep(DELAY_S)
        body = self.rfile.read(min(int(self.headers["Content-Length"]), 4096)).decode()
        if self.headers["Content-Type"] == "application/json":
            fields = json.loads(body)
        else:
            fields = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        user, is_right = fields["user"], (fields["user"], fields["secret"]) == ("operator", "the-right-secret")
        self.token = fields.get("csrf")
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

    def guarded(self, user, is_right):
        """An HTML form with a token that changes each time, and no lock."""
        if self.is_forged(self.token):
            self.say(403, "<p>This form is too old.</p>")
        elif is_right:
            self.say(302, "", {"Location": "/home"})
        else:
            self.say(200, "<p>Wrong name or password.</p>")

    def doubled(self, user, is_right):
        """A JSON login that wants the token of a cookie in a header, and locks accounts without a word."""
        if self.is_forged(self.headers["X-XSRF-TOKEN"]):
            self.say(403, json.dumps({"error": "forged"}))
        else:
            self.locking(user, is_right)

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
DELAY_S = float(sys.argv[3]) if len(sys.argv) > 3 else 0
http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
