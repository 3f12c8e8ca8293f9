"""An HTTPS receiver that checks signatures by itself. Arguments: certificate, key, secret. Prints its port, then a line
of JSON for each request that it took."""
import hashlib, hmac, http.server, json, ssl, sys, time

certificate, key, secret = sys.argv[1:4]
seen = {}


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fields = dict(part.split("=", 1) for part in self.headers["Portreeve-Signature"].split(","))
        expected = hmac.new(secret.encode(), f"{fields['t']}.".encode() + body, hashlib.sha256).hexdigest()
        signed = hmac.compare_digest(expected, fields["v1"]) and abs(time.time() - int(fields["t"])) < 300
        seen[self.path] = seen.get(self.path, 0) + 1
        status = {"/redirect": 302, "/missing": 404, "/busy": 429, "/slow": 408}.get(self.path, 204)
        if self.path == "/flaky" and seen[self.path] == 1:
            status = 500
        if self.path == "/hang":
            time.sleep(30)
        print(json.dumps({"path": self.path, "signed": signed, "key": self.headers["Idempotency-Key"],
                          "host": self.headers["Host"], "body": json.loads(body)}), flush=True)
        if self.path == "/garbage":
            return self.wfile.write(b"220 mail.example.org ESMTP\r\n")
        self.send_response(status)
        if self.path == "/redirect":
            self.send_header("Location", "/stolen")
        if self.path == "/headers":
            for number in range(10000):
                self.send_header(f"X-{number}", "x" * 1000)
        if self.path == "/huge":
            self.send_header("Content-Length", str(1 << 40))
            self.end_headers()
            while True:
                self.wfile.write(b"x" * 65536)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
