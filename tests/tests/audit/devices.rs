use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::deployment::{Deployment, free_port};

/// How long all faces may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// A client that knows its server's CA and does not look at the rest, one that looks at nothing, and one that looks at everything but pins
/// nothing.
const CLIENTS: [(&str, &str, &[&str], [&str; 2]); 4] = [
    ("mqtts", "mosquitto_sub", &["--insecure", "--cafile", "ca.pem"], ["fail", "fail"]),
    ("mqtts", "mosquitto_sub", &["--cafile", "ca.pem", "--tls-version", "tlsv1.2"], ["partial", "fail"]),
    ("https", "python3", &["-c", PYTHON_BLIND], ["fail", "fail"]),
    ("https", "python3", &["-c", PYTHON_STRICT], ["partial", "fail"]),
];

const PYTHON_BLIND: &str = "import ssl, sys, socket\n\
    context = ssl.create_default_context()\ncontext.check_hostname = False\ncontext.verify_mode = ssl.CERT_NONE\n\
    with context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5), server_hostname='localhost') as s:\n\
    \x20   s.sendall(b'GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n'); s.recv(100)\n";

const PYTHON_STRICT: &str = "import ssl, sys, socket\n\
    context = ssl.create_default_context(cafile='ca.pem')\n\
    with context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5), server_hostname='localhost') as s:\n\
    \x20   s.sendall(b'GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n'); s.recv(100)\n";

/// ISVS-4.1.3, ISVS-4.1.6, IIITA-DI3: a client that does not verify its server fails, one that does is not failed for it, and neither pins.
#[test]
fn clients_show_which_bad_servers_they_accept() {
    for (scheme, program, options, expected) in CLIENTS {
        let plant = Deployment::new();
        plant.authority("ca");
        let port = free_port();
        let url = format!("{scheme}://localhost:{port}");
        let arguments = [
            "audit",
            "device",
            "127.0.0.1",
            "--listen",
            &url,
            "--trusted-ca",
            "ca",
            "--face-time",
            "5s",
            "--out",
            "audit",
        ];
        let mut audit = plant.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while audit.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "{program} {options:?}: it goes on");
            let mut client = Command::new(program);
            client.current_dir(plant.path("")).args(options);
            if program == "mosquitto_sub" {
                client.args(["-h", "localhost", "-p", &port.to_string(), "-t", "x", "-W", "2"]);
            } else {
                client.arg(port.to_string());
            }
            client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        }
        let report = plant.report("audit");
        let verdict = |check: &str| -> Value {
            let checks = report["checks"].as_array().unwrap();
            checks.iter().find(|found| found["id"] == check).unwrap().clone()
        };
        let found = ["tls.client.validate", "tls.client.pin"].map(verdict);
        assert_eq!(
            found.each_ref().map(|found| found["verdict"].as_str().unwrap()),
            expected,
            "{program} {options:?}: {found:#?}"
        );
    }
}
