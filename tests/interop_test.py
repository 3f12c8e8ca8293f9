#!/usr/bin/env python3
"""Real clients against the built hub: paho-mqtt, the Mosquitto command line clients, curl.

Bundles are used as `portreeve device add --out` writes them. The hub is $PORTREEVE_BIN, else target/debug/portreeve.
Ends with a line `test result: ok. N passed; 0 failed`, as cargo does.
"""

import contextlib
import json
import os
import pathlib
import queue
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("PORTREEVE_BIN", str(ROOT / "target/debug/portreeve"))
PATIENCE_S = 10
POLICY = """
permit (principal == Identity::"app", action in [Action::"publish", Action::"subscribe"], resource);
forbid (principal, action == Action::"subscribe", resource == Topic::"test/nosubscribe");
"""
V311, V5 = paho.MQTTv311, paho.MQTTv5


class Hub:
    """A hub with two devices and an application, in a directory of its own."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.data = self.directory / "data"
        doors = ("mqtt.listen", "mqtt.provisioning_listen", "device_https.listen", "metrics.listen")
        settings = [f"{key}=127.0.0.1:0" for key in doors]
        command = [PROGRAM, "serve", "--data", self.data, *(word for s in settings for word in ("--set", s))]
        self.log = open(self.directory / "hub.log", "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        status = json.loads(self.run("status", "--wait", "30s", "--output", "json"))
        self.listeners = {row["name"]: row["address"] for row in status["listeners"]}
        for name, kind in (("app", "application"), ("lamp-1", "device"), ("lamp-2", "device")):
            self.run("device", "add", name, "--kind", kind, "--out", self.directory / name)
        policy = self.directory / "policy.cedar"
        policy.write_text(POLICY)
        self.run("policy", "apply", policy)

    def run(self, *arguments):
        command = [PROGRAM, *map(str, arguments), "--data", str(self.data)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60).stdout

    def port(self, listener):
        return int(self.listeners[listener].rsplit(":", 1)[1])

    def file(self, name, file):
        return str(self.directory / name / file)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S * 2)
        finally:
            self.process.kill()
            self.log.close()


HUB = None
COUNT = 0


def unique(stem):
    global COUNT
    COUNT += 1
    return f"{stem}-{COUNT}"


# --- paho-mqtt -------------------------------------------------------------------------------------------------------


class Client:
    """A paho client whose callbacks fill queues."""

    def __init__(self, version, websocket=False, name="app", client_id=None, clean=True, expiry_s=None, will=None):
        self.version = version
        transport = "websockets" if websocket else "tcp"
        options = {} if version == V5 else {"clean_session": clean}
        client_id = unique("paho") if client_id is None else client_id
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=version, transport=transport, **options)
        self.paho.tls_set(HUB.file(name, "ca.pem"), HUB.file(name, "cert.pem"), HUB.file(name, "key.pem"))
        if websocket:
            self.paho.ws_set_options(path="/mqtt")
        if will:
            self.paho.will_set(**will)
        self.connects, self.messages, self.codes, self.ends = (queue.Queue() for _ in range(4))
        self.paho.on_connect = lambda _c, _u, flags, reason, _p: self.connects.put((flags.session_present, reason))
        self.paho.on_message = lambda _c, _u, message: self.messages.put(message)
        self.paho.on_subscribe = lambda _c, _u, _m, codes, _p: self.codes.put(codes)
        self.paho.on_disconnect = lambda _c, _u, flags, _r, _p: self.ends.put(flags.is_disconnect_packet_from_server)
        options = {}
        if version == V5:
            options["clean_start"] = clean
            if expiry_s is not None:
                options["properties"] = properties(PacketTypes.CONNECT, SessionExpiryInterval=expiry_s)
        port = HUB.port("device_https" if websocket else "mqtt")
        self.paho.connect("localhost", port, keepalive=60, **options)
        self.paho.loop_start()
        self.present, reason = self.connects.get(timeout=PATIENCE_S)
        self.reason = reason
        assert not reason.is_failure, reason

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.paho.disconnect()
        self.paho.loop_stop()

    def subscribe(self, topic, qos):
        self.paho.subscribe(topic, qos)
        codes = self.codes.get(timeout=PATIENCE_S)
        return [code.value for code in codes]

    def publish(self, topic, payload, qos=1, retain=False, **values):
        block = properties(PacketTypes.PUBLISH, **values) if values else None
        info = self.paho.publish(topic, payload, qos, retain, block)
        info.wait_for_publish(PATIENCE_S)
        assert info.is_published(), "not acknowledged"

    def take(self):
        return self.messages.get(timeout=PATIENCE_S)

    def nothing(self, seconds=0.4):
        with contextlib.suppress(queue.Empty):
            message = self.messages.get(timeout=seconds)
            raise AssertionError(f"a message that nobody expected: {message.topic} {message.payload}")

    def vanish(self):
        self.paho.loop_stop()
        self.paho.socket().close()


def properties(packet, **values):
    block = Properties(packet)
    for name, value in values.items():
        setattr(block, name, value)
    return block


def each_way():
    """Both versions over both transports."""
    return [(version, websocket) for version in (V311, V5) for websocket in (False, True)]


def paho_echo_at_every_qos():
    for version, websocket in each_way():
        topic = unique("echo")
        with Client(version, websocket) as client:
            assert client.subscribe(topic, 2) == [2]
            for qos in (0, 1, 2):
                client.publish(topic, f"qos {qos}", qos)
                message = client.take()
                assert (message.payload.decode(), message.qos, message.retain) == (f"qos {qos}", qos, False)


def paho_large_and_empty_payloads():
    for version, websocket in each_way():
        topic = unique("size")
        with Client(version, websocket) as client:
            client.subscribe(topic, 1)
            for length in (0, 1, 125, 126, 65_535, 65_536, 200_000):
                client.publish(topic, b"x" * length)
                assert client.take().payload == b"x" * length


def paho_many_messages_stay_in_order():
    for version, websocket in each_way():
        topic = unique("order")
        with Client(version, websocket) as receiver, Client(version, websocket) as sender:
            receiver.subscribe(topic, 2)
            for number in range(300):
                sender.paho.publish(topic, str(number), number % 3 and 2)
            got = [receiver.take().payload.decode() for _ in range(300)]
            # QoS 0 may pass QoS 2, whose handshake is longer; each keeps its order.
            for kind in (0, 1):
                numbers = [int(text) for text in got if bool(int(text) % 3) == bool(kind)]
                assert numbers == sorted(numbers), numbers
            assert sorted(map(int, got)) == list(range(300))


def paho_persistent_session():
    for version, websocket in each_way():
        topic, name = unique("kept"), unique("keeper")
        session = {"client_id": name, "clean": False, "expiry_s": 300}
        with Client(version, websocket, **session) as client:
            assert not client.present
            client.subscribe(topic, 2)
        with Client(version) as sender:
            for qos in (1, 2):
                sender.publish(topic, str(qos), qos)
        with Client(version, websocket, **session) as client:
            assert client.present
            assert [client.take().payload for _ in range(2)] == [b"1", b"2"]


def paho_retained():
    for version, websocket in each_way():
        topic = unique("retained")
        with Client(version, websocket) as client:
            client.publish(topic, "kept", 1, retain=True)
            client.subscribe(topic, 1)
            message = client.take()
            assert (message.payload, message.retain) == (b"kept", True)
            client.publish(topic, "", 1, retain=True)
        with Client(version, websocket) as client:
            client.subscribe(topic, 1)
            client.nothing()


def paho_will():
    for version, websocket in each_way():
        topic = unique("will")
        with Client(V5) as witness:
            witness.subscribe(topic, 1)
            Client(version, websocket, will={"topic": topic, "payload": "gone", "qos": 1}).vanish()
            assert witness.take().payload == b"gone"
            with Client(version, websocket, will={"topic": topic, "payload": "gone", "qos": 1}):
                pass
            witness.nothing()


def paho_properties_and_options():
    topic = unique("properties")
    with Client(V5) as client, Client(V5) as sender:
        client.paho.subscribe(topic, options=SubscribeOptions(qos=2, noLocal=True, retainAsPublished=True))
        client.codes.get(timeout=PATIENCE_S)
        pairs = [("a", "2"), ("c", "3"), ("a", "4")]
        values = {
            "UserProperty": pairs,
            "ContentType": "text/plain",
            "PayloadFormatIndicator": 1,
            "ResponseTopic": "answer/here",
            "CorrelationData": b"334",
            "MessageExpiryInterval": 60,
        }
        sender.publish(topic, "x", 2, retain=True, **values)
        message = client.take()
        block = message.properties
        assert block.UserProperty == pairs and block.ContentType == "text/plain"
        assert (block.ResponseTopic, block.CorrelationData) == ("answer/here", b"334")
        assert message.retain and 59 <= block.MessageExpiryInterval <= 60
        client.publish(topic, "own")
        client.nothing()
        sender.publish(topic, "", 1, retain=True)


def paho_shared_subscription():
    topic = unique("shared")
    with Client(V5) as one, Client(V5) as two, Client(V5) as sender:
        for member in (one, two):
            assert member.subscribe(f"$share/group/{topic}", 1) == [1]
        for number in range(10):
            sender.publish(topic, str(number))
        time.sleep(0.5)
        assert (one.messages.qsize(), two.messages.qsize()) == (5, 5)


def paho_refusals():
    for version, missing in ((V311, 0x80), (V5, 0x87)):
        with Client(version) as client:
            assert client.subscribe("test/nosubscribe", 1) == [0x80]
            assert client.subscribe("$SYS/#", 1) == [missing]
        with Client(version, name="lamp-1", client_id="lamp-1") as lamp:
            assert lamp.subscribe("devices/lamp-1/commands/#", 1) == [1]
            assert lamp.subscribe("devices/lamp-2/commands/#", 1) == [missing]
            assert lamp.subscribe("#", 1) == [missing]
        try:
            Client(version, name="lamp-1", client_id="lamp-2")
            raise RuntimeError("another's client id was accepted")
        except AssertionError:
            pass


def paho_assigned_client_id():
    with Client(V5, client_id="") as client:
        topic = unique("assigned")
        client.subscribe(topic, 1)
        client.publish(topic, "x")
        assert client.take().payload == b"x"


def paho_disabled_is_told():
    with Client(V5, name="lamp-2", client_id="lamp-2") as lamp:
        lamp.paho.reconnect_delay_set(60, 60)
        started = time.monotonic()
        HUB.run("device", "disable", "lamp-2")
        # This client reads a reason only where properties follow it; that there was a packet, it notices.
        assert lamp.ends.get(timeout=PATIENCE_S), "no DISCONNECT packet"
        assert time.monotonic() - started < 1
    HUB.run("device", "enable", "lamp-2")


# --- Mosquitto -------------------------------------------------------------------------------------------------------


def mosquitto(program, *arguments, name="app"):
    tls = ["--cafile", HUB.file(name, "ca.pem"), "--cert", HUB.file(name, "cert.pem"), "--key", HUB.file(name, "key.pem")]
    return [program, "-h", "localhost", "-p", str(HUB.port("mqtt")), *tls, *map(str, arguments)]


def mosquitto_pub(*arguments, name="app"):
    command = mosquitto("mosquitto_pub", *arguments, name=name)
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_S * 2, check=False)


@contextlib.contextmanager
def mosquitto_sub(*arguments):
    """A subscriber that has had its SUBACK; yields a function that waits for its end and returns its lines."""
    command = mosquitto("mosquitto_sub", "-d", *arguments)
    # Debug output goes to standard output too, unbuffered only on a terminal.
    process = subprocess.Popen(["stdbuf", "-oL", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines, subscribed = [], threading.Event()

    def read():
        for line in process.stdout:
            if line.startswith("Subscribed"):
                subscribed.set()
            elif not line.startswith("Client "):
                lines.append(line.rstrip("\n"))
        subscribed.set()

    reader = threading.Thread(target=read)
    reader.start()

    def finish():
        assert process.wait(PATIENCE_S * 2) == 0, lines
        reader.join()
        return lines

    try:
        assert subscribed.wait(PATIENCE_S), lines
        yield finish
    finally:
        process.kill()
        process.wait()
        reader.join()


def mosquitto_echo():
    for version in ("311", "5"):
        for qos in (0, 1, 2):
            topic = unique("m")
            with mosquitto_sub("-V", version, "-q", qos, "-t", topic, "-C", 2, "-F", "%q %p") as finish:
                for text in ("one", "two"):
                    sent = mosquitto_pub("-V", version, "-q", qos, "-t", topic, "-m", text)
                    assert sent.returncode == 0, sent
                assert finish() == [f"{qos} one", f"{qos} two"]


def mosquitto_lines():
    topic = unique("m")
    text = "".join(f"{number}\n" for number in range(500))
    with mosquitto_sub("-V", 5, "-q", 2, "-t", topic, "-C", 500) as finish:
        command = mosquitto("mosquitto_pub", "-V", 5, "-q", 2, "-t", topic, "-l")
        subprocess.run(command, input=text, text=True, check=True, timeout=PATIENCE_S * 3)
        assert finish() == text.split()


def mosquitto_retained_and_expiry():
    topic = unique("m")
    sent = mosquitto_pub("-V", 5, "-q", 1, "-r", "-t", topic, "-m", "kept", "-D", "publish", "message-expiry-interval", 60)
    assert sent.returncode == 0, sent
    with mosquitto_sub("-V", 5, "-t", topic, "-C", 1, "-F", "%r %p") as finish:
        assert finish() == ["1 kept"]
    assert mosquitto_pub("-r", "-t", topic, "-n", "-q", 1).returncode == 0


def mosquitto_persistent_session():
    for version in ("311", "5"):
        topic, name = unique("m"), unique("mosq")
        session = ["-V", version, "-i", name, "-c", "-q", 1, "-t", topic]
        if version == "5":
            session += ["-x", 300]
        subprocess.run(mosquitto("mosquitto_sub", *session, "-E"), check=True, timeout=PATIENCE_S)
        for text in ("one", "two"):
            assert mosquitto_pub("-q", 1, "-t", topic, "-m", text).returncode == 0
        command = mosquitto("mosquitto_sub", *session, "-C", 2, "-W", PATIENCE_S)
        got = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S * 2)
        assert got.stdout.split() == ["one", "two"], got


def mosquitto_properties():
    topic = unique("m")
    with mosquitto_sub("-V", 5, "-t", topic, "-C", 1, "-F", "%P|%C|%R|%D|%p") as finish:
        block = []
        for name, *values in (
            ("user-property", "k", "v"),
            ("content-type", "text/plain"),
            ("response-topic", "answer"),
            ("correlation-data", "334"),
        ):
            block += ["-D", "publish", name, *values]
        assert mosquitto_pub("-V", 5, "-t", topic, "-m", "x", *block).returncode == 0
        assert finish() == ["k:v|text/plain|answer|334|x"]


def mosquitto_shared_subscription():
    topic = unique("m")
    group = ("-V", 5, "-q", 1, "-t", f"$share/group/{topic}", "-C", 3)
    with mosquitto_sub(*group) as one, mosquitto_sub(*group) as two:
        for number in range(6):
            assert mosquitto_pub("-q", 1, "-t", topic, "-m", number).returncode == 0
        assert sorted(one() + two()) == [str(number) for number in range(6)]


def mosquitto_will():
    topic = unique("m")
    with mosquitto_sub("-V", 5, "-t", topic, "-C", 1) as finish:
        command = mosquitto("mosquitto_sub", "-V", 5, "-t", unique("idle"), "-d", "--will-topic", topic, "--will-payload", "gone")
        dying = subprocess.Popen(["stdbuf", "-oL", *command], stdout=subprocess.PIPE, text=True)
        while "SUBACK" not in dying.stdout.readline():
            pass
        dying.kill()
        dying.wait()
        dying.stdout.close()
        assert finish() == ["gone"]


def mosquitto_refusals():
    foreign = mosquitto_pub("-V", 5, "-i", "lamp-1", "-q", 1, "-t", "devices/lamp-2/x", "-m", "x", name="lamp-1")
    assert foreign.returncode != 0 or b"ot authorized" in foreign.stderr, foreign
    own = mosquitto_pub("-V", 5, "-i", "lamp-1", "-q", 1, "-t", "devices/lamp-1/x", "-m", "x", name="lamp-1")
    assert own.returncode == 0, own
    another = mosquitto_pub("-V", 311, "-i", "lamp-2", "-t", "devices/lamp-1/x", "-m", "x", name="lamp-1")
    assert another.returncode != 0, another
    # MQTT 3.1 (level 3) is refused cleanly.
    old = mosquitto_pub("-V", 31, "-t", "x", "-m", "x")
    assert old.returncode != 0 and b"nacceptable protocol version" in old.stderr, old
    bare = ["mosquitto_pub", "-h", "localhost", "-p", str(HUB.port("mqtt")), "-t", "x", "-m", "x"]
    without_tls = subprocess.run(bare, capture_output=True, timeout=PATIENCE_S, check=False)
    assert without_tls.returncode != 0
    anonymous = subprocess.run([*bare, "--cafile", HUB.file("app", "ca.pem")], capture_output=True, timeout=PATIENCE_S, check=False)
    assert anonymous.returncode != 0


# --- Enrolment over MQTT ----------------------------------------------------------------------------------------------


def applicant(name):
    """Registers a device and makes a key and a request as the device would; returns its code and the request's file."""
    HUB.run("device", "add", name)
    folder = HUB.directory / name
    folder.mkdir()
    shutil.copy(HUB.file("app", "ca.pem"), folder)
    make = ["openssl", "req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/"]
    files = ["-keyout", HUB.file(name, "key.pem"), "-out", HUB.file(name, "csr.pem")]
    subprocess.run([*make, *files], check=True, capture_output=True, timeout=PATIENCE_S)
    code = json.loads(HUB.run("device", "code", name, "--output", "json"))["code"]
    return code, folder / "csr.pem"


def enrolled(name, chain_pem):
    """The certificate is worth something at the other door."""
    pathlib.Path(HUB.file(name, "cert.pem")).write_bytes(chain_pem)
    with Client(V5, name=name, client_id=name) as client:
        client.publish(f"devices/{name}/telemetry/t", "on")


def mosquitto_enrols():
    for version in (5, 311):
        name = unique("rr")
        code, csr = applicant(name)
        command = ["mosquitto_rr", "-V", version, "-h", "localhost", "-p", HUB.port("mqtt_provisioning"), "-W", PATIENCE_S]
        # As text: with `-f` this client, as of 2.0.11, does not send the file.
        command += ["--cafile", HUB.file("app", "ca.pem"), "-u", name, "-P", code, "-q", 1, "-m", csr.read_text()]
        command += ["-t", "$provisioning/request", "-e", "$provisioning/certificate"]
        answer = subprocess.run([*map(str, command)], capture_output=True, timeout=PATIENCE_S * 2, check=False)
        assert answer.stdout.startswith(b"-----BEGIN CERTIFICATE-----"), answer
        enrolled(name, answer.stdout)


def paho_enrols():
    for version in (V311, V5):
        name = unique("paho-enrols")
        code, csr = applicant(name)
        client = paho.Client(CallbackAPIVersion.VERSION2, "", protocol=version)
        client.tls_set(HUB.file("app", "ca.pem"))
        client.username_pw_set(name, code)
        subscribed, messages = queue.Queue(), queue.Queue()
        client.on_connect = lambda client, *_: client.subscribe("$provisioning/#")
        client.on_subscribe = lambda _c, _u, _m, codes, _p: subscribed.put(codes)
        client.on_message = lambda _c, _u, message: messages.put(message)
        client.connect("localhost", HUB.port("mqtt_provisioning"))
        client.loop_start()
        assert not subscribed.get(timeout=PATIENCE_S)[0].is_failure
        told = {}
        # Refused first, on the same connection.
        for payload, topics in ((b"no request", ("refused",)), (csr.read_bytes(), ("name", "certificate"))):
            client.publish("$provisioning/request", payload, 1).wait_for_publish(PATIENCE_S)
            for topic in topics:
                message = messages.get(timeout=PATIENCE_S)
                assert message.topic == f"$provisioning/{topic}", message.payload
                told[topic] = message
        assert (told["refused"].payload, told["name"].payload) == (b"refused", name.encode())
        if version == V5:
            assert told["certificate"].properties.UserProperty == [("portreeve-name", name)]
        assert client.is_connected()
        client.disconnect()
        client.loop_stop()
        enrolled(name, told["certificate"].payload)


# --- HTTP ------------------------------------------------------------------------------------------------------------


def curl(*arguments):
    command = ["curl", "--silent", "--show-error", "--max-time", str(PATIENCE_S), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def curl_metrics_and_health():
    base = f"http://{HUB.listeners['metrics']}"
    metrics = curl(f"{base}/metrics").stdout
    assert metrics.endswith("# EOF\n"), metrics[-200:]
    for name in ("portreeve_sessions_total_limit", "portreeve_sessions_total_used"):
        assert any(line.startswith(f"{name} ") for line in metrics.splitlines()), name
    assert "lamp-1" not in metrics, "a device's name in a metric"
    for path in ("/livez", "/readyz"):
        assert curl("-o", "/dev/null", "-w", "%{http_code}", base + path).stdout == "200", path
    assert curl("-o", "/dev/null", "-w", "%{http_code}", f"{base}/nothing").stdout == "404"
    assert curl("-X", "POST", "-o", "/dev/null", "-w", "%{http_code}", f"{base}/metrics").stdout == "405"


def curl_device_https():
    base = f"https://localhost:{HUB.port('device_https')}"
    ca = ("--cacert", HUB.file("app", "ca.pem"))
    certificate = ("--cert", HUB.file("app", "cert.pem"), "--key", HUB.file("app", "key.pem"))
    stranger = curl(*ca, "-o", "/dev/null", "-w", "%{http_code}", f"{base}/mqtt")
    assert stranger.stdout == "401", f"no certificate: {stranger}"
    answer = curl(*ca, *certificate, "-o", "/dev/null", "-w", "%{http_code}", f"{base}/mqtt")
    assert answer.returncode == 0 and answer.stdout in ("400", "426"), answer
    upgrade = ("--http1.1", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13")
    key = ("-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    refused = curl(*ca, *certificate, *upgrade, *key, "-H", "Sec-WebSocket-Protocol: mqtt", "-H", "Origin: https://evil.example",
                   "-o", "/dev/null", "-w", "%{http_code}", f"{base}/mqtt")
    assert refused.stdout == "403", refused
    other = curl(*ca, *certificate, *upgrade, *key, "-o", "/dev/null", "-w", "%{http_code}", f"{base}/mqtt")
    assert other.stdout == "400", f"no subprotocol: {other}"


def tls_is_never_resumed_by_python():
    context = ssl.create_default_context(cafile=HUB.file("app", "ca.pem"))
    context.load_cert_chain(HUB.file("app", "cert.pem"), HUB.file("app", "key.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    session = None
    for _ in range(2):
        with socket.create_connection(("localhost", HUB.port("mqtt"))) as tcp:
            with context.wrap_socket(tcp, server_hostname="localhost", session=session) as tls:
                assert not tls.session_reused
                session = tls.session


TESTS = [
    paho_echo_at_every_qos,
    paho_large_and_empty_payloads,
    paho_many_messages_stay_in_order,
    paho_persistent_session,
    paho_retained,
    paho_will,
    paho_properties_and_options,
    paho_shared_subscription,
    paho_refusals,
    paho_assigned_client_id,
    paho_disabled_is_told,
    mosquitto_echo,
    mosquitto_lines,
    mosquitto_retained_and_expiry,
    mosquitto_persistent_session,
    mosquitto_properties,
    mosquitto_shared_subscription,
    mosquitto_will,
    mosquitto_refusals,
    mosquitto_enrols,
    paho_enrols,
    curl_metrics_and_health,
    curl_device_https,
    tls_is_never_resumed_by_python,
]


def main():
    global HUB
    chosen = [test for test in TESTS if not sys.argv[1:] or any(word in test.__name__ for word in sys.argv[1:])]
    directory = tempfile.mkdtemp(prefix="portreeve-interop-")
    failed = []
    HUB = None
    try:
        HUB = Hub(directory)
        for test in chosen:
            try:
                test()
                print(f"test {test.__name__} ... ok", flush=True)
            except Exception:  # noqa: BLE001 - whatever goes wrong is a failed test
                failed.append(test.__name__)
                print(f"test {test.__name__} ... FAILED\n{traceback.format_exc()}", flush=True)
    finally:
        if HUB:
            HUB.stop()
        if failed:
            print((pathlib.Path(directory) / "hub.log").read_text()[-6000:])
        shutil.rmtree(directory)
    verdict = "FAILED" if failed else "ok"
    print(f"test result: {verdict}. {len(chosen) - len(failed)} passed; {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
