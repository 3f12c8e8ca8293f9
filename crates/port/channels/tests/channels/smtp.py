"""A mail server. Arguments: certificate, key, and how it behaves: tls, starttls, plain (no STARTTLS), login (no AUTH PLAIN),
or injected (says something before TLS). Prints its port, then a line of JSON for each mail."""
import asyncio, email, email.policy, json, ssl, sys

from aiosmtpd.smtp import SMTP, AuthResult

certificate, key, mode = sys.argv[1:4]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 no such mailbox"
        if address.startswith("later"):
            return "451 come again"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "subject": mail["subject"],
                          "headers": mail.keys(), "text": mail.get_content(), "user": session.auth_data,
                          "tls": session.ssl is not None or mode != "starttls"}), flush=True)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (b"hub", "wort ä".encode())
    return AuthResult(success=good, handled=good, auth_data=mechanism)


def smtp():
    options = {"authenticator": authenticate, "auth_required": True, "hostname": "localhost"}
    if mode == "login":
        options["auth_exclude_mechanism"] = ["PLAIN"]
    if mode == "starttls":
        return SMTP(Handler(), tls_context=context, require_starttls=True, **options)
    return SMTP(Handler(), auth_require_tls=False, **options)


async def inject(reader, writer):
    writer.write(b"220 hello\r\n")
    await reader.readline()
    writer.write(b"250-hello\r\n250 STARTTLS\r\n")
    await reader.readline()
    writer.write(b"220 go on\r\n250-said too early\r\n250 AUTH PLAIN\r\n")
    await reader.read()


async def main():
    loop = asyncio.get_running_loop()
    if mode == "injected":
        server = await asyncio.start_server(inject, "127.0.0.1", 0)
    else:
        server = await loop.create_server(smtp, "127.0.0.1", 0, ssl=context if mode in ("tls", "login") else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
