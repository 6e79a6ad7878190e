"""What is decoded of real servers' traffic, with tshark as the oracle."""

from __future__ import annotations

import os
import pwd
import shutil
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from instances import Machine
from machine import TIMEOUT_S, missing, need
from networks import Network, capturing, tshark

SLACK_S = 0.000_002  # tshark prints microseconds


HTTP_SERVER = """
import http.server
class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *words): pass
    def do_GET(self):
        body = b"x" * (100_000 if self.path == "/big" else 10)
        self.send_response({"/bad": 500, "/none": 404}.get(self.path, 200))
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"5\\r\\nhello\\r\\n7\\r\\n, world\\r\\n0\\r\\n\\r\\n"
        else:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "sid=anserine")
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Shop)
print("ready", flush=True)
server.serve_forever()
"""
HTTP_CLIENT = """
import http.client
connection = http.client.HTTPConnection("127.0.0.1", 8000)
for number, path in enumerate(["/a?token=bovine&page=2", "/big", "/chunked", "/bad", "/none"] * 3):
    headers = {"X-Request-ID": f"req-{number}", "traceparent": f"00-{number + 1:032x}-{number + 1:016x}-01",
               "Authorization": "Bearer corvine"}
    connection.request("GET", path, headers=headers)
    connection.getresponse().read()
connection.request("POST", "/order", body=b"password=equine&" * 500)
connection.getresponse().read()
connection.close()
"""


def test_http_is_what_tshark_says(net: Network, machine: Machine) -> None:
    """Every request has its path, status and latency, in bodies of a length, in chunks and without."""
    net.serve(HTTP_SERVER)

    with capturing(net, machine, "--payload", "full", "--snaplen", "262144") as heard:
        net.python(HTTP_CLIENT)

    exchanges = heard.all("http")
    told = tshark(heard.pcap, "http.response", "http.request_in", "http.response.code", "http.time")
    asked = tshark(heard.pcap, "http.request", "http.request.method", "http.request.uri")
    assert len(exchanges) == len(told) == 16
    assert [one["status"] for one in exchanges] == [status for _, status, _ in told]
    assert [one["what"].split("?")[0] for one in exchanges] == [
        f"{method} {path.split('?')[0]}" for method, path in asked
    ]
    for one, (_, _, took) in zip(exchanges[:-1], told[:-1], strict=True):  # tshark times from a body's end
        assert one["latency_s"] == pytest.approx(float(took), abs=SLACK_S)


def test_http_names_requests_and_hides_secrets(net: Network, machine: Machine) -> None:
    """Request ids and traces become links; tokens, cookies and bodies stand neither in the file nor in the summary."""
    net.serve(HTTP_SERVER)

    with capturing(net, machine) as heard:
        net.python(HTTP_CLIENT)

    links = {(link["request_id"], link["trace_id"]) for link in heard.manifest["links"]}
    assert ("req-0", f"{1:032x}") in links
    assert len(links) == 15
    everything = b"".join(path.read_bytes() for path in heard.pcap.parent.rglob("*") if path.is_file())
    for secret in (b"bovine", b"corvine", b"anserine", b"equine"):
        assert secret not in everything
    assert len(heard.all("http")) == 16  # bodies beyond the snaplen do not hide what follows them
    told = tshark(heard.pcap, "http.request", "http.request.uri")
    assert [uri for uri, *_ in told][:2] == ["/a?token=******&page=*", "/big"]


REDIS_CLIENT = r"""
import socket
s = socket.create_connection(("127.0.0.1", 6379))
def say(*words):
    parts = [b"*%d\r\n" % len(words)] + [b"$%d\r\n%s\r\n" % (len(w), w) for w in map(str.encode, words)]
    s.sendall(b"".join(parts))
    return s.recv(1 << 16)
for number in range(5):
    say("SET", "key", "porcine" * 100)
    say("GET", "key")
say("LPUSH", "key", "1")
say("CONFIG", "GET", "save")
s.sendall(b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n")
got = b""
while got.count(b"PONG") < 2:
    got += s.recv(100)
s.close()
"""


def test_redis_is_what_tshark_says(net: Network, machine: Machine) -> None:
    """Commands by name, errors by code, pipelines in order; no key and no value."""
    net.start(need("redis-server"), "--port", "6379", "--save", "", stdout=subprocess.DEVNULL, cwd=machine.home)
    net.wait_for(6379)

    with capturing(net, machine) as heard:
        net.python(REDIS_CLIENT)

    asked = {what: (one["count"], one["failed"]) for what, one in heard.asked("redis").items()}
    assert asked == {"SET": (5, 0), "GET": (5, 0), "LPUSH": (1, 1), "CONFIG GET": (1, 0), "PING": (2, 0)}
    assert b"porcine" not in heard.pcap.read_bytes()
    requests = tshark(heard.pcap, "resp && tcp.dstport == 6379", "frame.time_epoch")
    answers = tshark(heard.pcap, "resp && tcp.srcport == 6379", "frame.time_epoch")
    first = heard.all("redis")[0]
    assert first["latency_s"] == pytest.approx(float(answers[0][0]) - float(requests[0][0]), abs=SLACK_S)


DNS_CLIENT = """
import socket, struct
def ask(number, name, kind):
    labels = b"".join(bytes([len(l)]) + l.encode() for l in name.split("."))
    s = socket.socket(2, 2)
    s.settimeout(20)
    question = labels + b"\\0" + struct.pack(">HH", kind, 1)
    s.sendto(struct.pack(">6H", number, 0x100, 1, 0, 0, 0) + question, ("127.0.0.1", 53))
    s.recv(2000)
for number in range(3):
    ask(number, "shop.example", 1)
ask(7, "shop.example", 28)
ask(8, "nowhere.example", 1)
"""


def test_dns_is_what_tshark_says(net: Network, machine: Machine) -> None:
    """Names, types, answers and latencies; a name that does not exist is an answer."""
    words = ["--no-daemon", "--no-resolv", "--no-hosts", "--local=/example/", "--host-record=shop.example,10.0.0.7"]
    user = pwd.getpwuid(os.geteuid()).pw_name
    net.start(
        need("dnsmasq"), *words, "--conf-file=/dev/null", f"--user={user}", "--pid-file=", stderr=subprocess.DEVNULL
    )
    net.wait_for(53)

    with capturing(net, machine) as heard:
        net.python(DNS_CLIENT)

    told = tshark(heard.pcap, "dns.flags.response == 1", "dns.qry.name", "dns.flags.rcode", "dns.time")
    exchanges = heard.all("dns")
    assert [one["what"] for one in exchanges] == [*["A shop.example"] * 3, "AAAA shop.example", "A nowhere.example"]
    assert [(one["what"].split()[1], one["status"] == "NXDOMAIN") for one in exchanges] == [
        (name, code == "3") for name, code, _ in told
    ]
    for one, (_, _, took) in zip(exchanges, told, strict=True):
        assert one["latency_s"] == pytest.approx(float(took), abs=SLACK_S)


TLS_SERVER = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.set_alpn_protocols(["http/1.1"])
listener = socket.create_server(("127.0.0.1", 8443))
print("ready", flush=True)
while True:
    plain, _ = listener.accept()
    try:
        with context.wrap_socket(plain, server_side=True) as s:
            s.sendall(s.recv(100))
    except OSError:
        plain.close()
"""
TLS_CLIENT = """
import socket, ssl
def talk(name, newest, check):
    context = ssl.create_default_context() if check else ssl._create_unverified_context()
    context.maximum_version = newest
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with context.wrap_socket(socket.create_connection(("127.0.0.1", 8443)), server_hostname=name) as s:
            s.sendall(b"hello")
            s.recv(100)
    except ssl.SSLError:
        pass
talk("new.example", ssl.TLSVersion.TLSv1_3, False)
talk("old.example", ssl.TLSVersion.TLSv1_2, False)
talk("picky.example", ssl.TLSVersion.TLSv1_2, True)
"""


def test_tls_is_what_tshark_says(net: Network, machine: Machine, tmp_path: Path) -> None:
    """Names, versions and protocols of handshakes, and the alert of a client that trusts nobody here."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=shop", "-keyout", key, "-out", certificate]
    subprocess.run([need("openssl"), *map(str, make)], check=True, capture_output=True)
    net.serve(TLS_SERVER, str(certificate), str(key))

    with capturing(net, machine) as heard:
        net.python(TLS_CLIENT)

    assert ssl.HAS_TLSv1_3
    exchanges = {one["what"]: one for one in (*heard.summary["slowest"], *heard.summary["failed"])}
    assert exchanges["handshake new.example"]["status"] == "TLS 1.3"
    assert exchanges["handshake old.example"]["status"] == "TLS 1.2"
    assert exchanges["handshake old.example"]["details"] == {"alpn": "http/1.1"}
    assert exchanges["handshake picky.example"]["status"] == "unknown_ca from the client"
    assert exchanges["handshake picky.example"]["failed"]
    names = tshark(heard.pcap, "tls.handshake.type == 1", "tls.handshake.extensions_server_name")
    assert {f"handshake {name}" for (name,) in names} == set(exchanges)


def psql(net: Network, home: Path, statement: str) -> subprocess.CompletedProcess[str]:
    """Run one statement, and go on if it fails."""
    command = net.command(need("psql"), "-h", "127.0.0.1", "-U", "shop", "-d", "postgres", "-c", statement)
    environment = {**os.environ, "PGSSLMODE": "disable", "PGGSSENCMODE": "prefer"}
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False, timeout=60)


def test_postgresql_is_decoded(net: Network, machine: Machine, tmp_path: Path) -> None:
    """Statements as shapes, error codes, latencies; values stand nowhere."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not programs:
        missing("postgresql is not installed; `make test` as root installs it.")
    folder, user = machine.home / "pg", "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    folder.mkdir()  # not in pytest's own folder, which the start of another pytest closes to other users
    for path in (folder, machine.home):
        path.chmod(0o755)
    shutil.chown(folder, user)
    binaries = programs[-1].parent
    as_user = [need("setpriv"), f"--reuid={user}", "--clear-groups", f"--regid={pwd.getpwnam(user).pw_gid}"]
    make = [binaries / "initdb", "-D", folder / "d", "-U", "shop", "-A", "trust", "--no-sync"]
    subprocess.run([*as_user, *map(str, make)], check=True, capture_output=True, cwd="/")
    serve = [
        binaries / "postgres",
        "-D",
        folder / "d",
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        f"unix_socket_directories={folder}",
    ]
    net.start(*as_user, *serve, "-c", "fsync=off", stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/")
    end = time.monotonic() + 2 * TIMEOUT_S
    while psql(net, tmp_path, "select 1").returncode:  # it accepts connections before it takes statements
        assert time.monotonic() < end
        time.sleep(0.05)

    with capturing(net, machine) as heard:
        assert psql(net, tmp_path, "create table cows (name text, age int)").returncode == 0
        for age in range(3):
            psql(net, tmp_path, f"insert into cows values ('bovine', {age})")
        psql(net, tmp_path, "select * from cows where name = 'bovine' and age in (1, 2, 3)")
        psql(net, tmp_path, "select pg_sleep(0.1), 'porcine'")
        assert psql(net, tmp_path, "select * from sheep").returncode == 1

    asked = heard.asked("postgresql")
    assert asked["insert into cows values (?, …)"]["count"] == 3
    assert asked["select * from cows where name = ? and age in (?, …)"]["failed"] == 0
    assert asked["select pg_sleep(?), ?"]["max_s"] >= 0.1
    failed = next(one for one in heard.summary["failed"] if one["what"] == "select * from sheep")
    assert failed["status"] == "ERROR 42P01"
    content = heard.pcap.read_bytes()
    assert b"bovine" not in content
    assert b"porcine" not in content
    queries = tshark(heard.pcap, 'pgsql.type == "Simple query"', "pgsql.query")
    assert len(queries) == sum(one["count"] for one in asked.values()) == 7


def test_mariadb_is_decoded(net: Network, machine: Machine, tmp_path: Path) -> None:
    """Statements as shapes, error codes, latencies; values stand nowhere."""
    folder = tmp_path / "maria"
    folder.mkdir()
    server, client = need("mariadbd"), need("mariadb")
    run_as = f"--user={pwd.getpwuid(os.geteuid()).pw_name}"
    own = ["--no-defaults", f"--datadir={folder}", run_as]
    subprocess.run(
        [need("mariadb-install-db"), *own, "--auth-root-authentication-method=normal"], check=True, capture_output=True
    )
    net.start(
        server,
        *own,
        "--bind-address=127.0.0.1",
        f"--socket={folder}/s",
        f"--pid-file={folder}/p",
        stderr=subprocess.DEVNULL,
    )
    net.wait_for(3306)
    statements = "select 'bovine', 42; select sleep(0.1); select * from mysql.sheep where name = \"porcine\"; select 7"

    with capturing(net, machine) as heard:
        command = net.command(client, "--no-defaults", "-h", "127.0.0.1", "-u", "root", "--force", "-e", statements)
        subprocess.run(command, capture_output=True, check=False, timeout=60)

    asked = heard.asked("mysql")
    assert asked["select ?, …"]["count"] == 1
    assert asked["select sleep(?)"]["max_s"] >= 0.1
    failed = next(one for one in heard.summary["failed"] if one["protocol"] == "mysql")
    assert (failed["what"], failed["status"]) == ("select * from mysql.sheep where name = ?", "ERR 1146")
    content = heard.pcap.read_bytes()
    assert b"bovine" not in content
    assert b"porcine" not in content
    queries = tshark(heard.pcap, "mysql.command == 3", "mysql.query")
    assert len(queries) == sum(one["count"] for what, one in asked.items() if what not in ("PING",))


KAFKA_BROKER = """
import socket, struct
listener = socket.create_server(("127.0.0.1", 9092))
print("ready", flush=True)
while True:
    s, _ = listener.accept()
    stream = s.makefile("rb")
    while head := stream.read(4):
        body = stream.read(struct.unpack(">i", head)[0])
        key, version, number = struct.unpack(">hhi", body[:8])
        error = 35 if key == 18 and version == 3 else 0
        rest = struct.pack(">hi", error, 0) if key == 18 else b"\\0" * 20
        s.sendall(struct.pack(">ii", 4 + len(rest), number) + rest)
"""
KAFKA_CLIENT = """
import socket, struct
s = socket.create_connection(("127.0.0.1", 9092))
def ask(key, version, number, rest=b""):
    body = struct.pack(">hhih", key, version, number, 7) + b"shopper" + rest
    s.sendall(struct.pack(">i", len(body)) + body)
for number, (key, version) in enumerate([(18, 3), (18, 0), (3, 1), (3, 1)]):
    ask(key, version, number)
    s.recv(1000)
ask(1, 4, 10, b"bovine" * 30)
ask(9, 2, 11)
got = b""
while len(got) < 56:
    got += s.recv(1000)
s.close()
"""


def test_kafka_is_what_tshark_says(net: Network, machine: Machine) -> None:
    """Requests by name and version, matched by their number, with an error where it stands for all."""
    net.serve(KAFKA_BROKER)

    with capturing(net, machine) as heard:
        net.python(KAFKA_CLIENT)

    asked = {what: (one["count"], one["failed"]) for what, one in heard.asked("kafka").items()}
    assert asked == {
        "ApiVersions v3": (1, 1),
        "ApiVersions v0": (1, 0),
        "Metadata v1": (2, 0),
        "Fetch v4": (1, 0),
        "OffsetFetch v2": (1, 0),
    }
    assert {one["details"]["client"] for one in heard.all("kafka")} == {"shopper"}
    assert next(one["status"] for one in heard.all("kafka")) == "UNSUPPORTED_VERSION"
    keys = tshark(heard.pcap, "kafka.request_frame || kafka.correlation_id && tcp.dstport == 9092", "kafka.api_key")
    assert len([key for (key,) in keys if key]) >= 5
    assert b"bovine" not in heard.pcap.read_bytes()
