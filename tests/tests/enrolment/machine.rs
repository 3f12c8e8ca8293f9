//! A machine that has curl and openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use portreeve_tests::{Hub, Identity, hub::program};

/// What one request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// A machine that has curl and openssl, and knows the hub's root certificate.
pub(crate) struct Machine<'h> {
    pub(crate) hub: &'h Hub,
    folder: PathBuf,
}

impl<'h> Machine<'h> {
    pub(crate) fn new(hub: &'h Hub) -> Self {
        let folder = hub.beside_data("machine");
        fs::create_dir_all(&folder).unwrap();
        Self { hub, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.hub.address("device_https").port())
    }

    pub(crate) fn curl(&self, arguments: &[&str], path: &str) -> Reply {
        let body = self.path("answer");
        let _ = fs::remove_file(&body);
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
            .arg(self.hub.data().join("pki/root.pem"));
        command.args(["--write-out", "%{http_code}", "--output"]).arg(&body).args(arguments).arg(self.url(path));
        let output = done(&mut command);
        let status = String::from_utf8(output.stdout).unwrap().parse().unwrap();
        Reply { status, body: fs::read(&body).unwrap_or_default() }
    }

    /// Makes a key and a request for it; returns the request's file, in base64.
    pub(crate) fn request(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let (key, der, request) =
            (self.path(&format!("{name}.key")), self.path("csr.der"), self.path(&format!("{name}.csr")));
        let mut command = openssl(&["req", "-new", "-nodes", "-outform", "DER"]);
        command.args(arguments).arg("-keyout").arg(&key).arg("-out").arg(&der);
        done(&mut command);
        let mut command = openssl(&["base64"]);
        done(command.arg("-in").arg(&der).arg("-out").arg(&request));
        request
    }

    pub(crate) fn good_request(&self, name: &str) -> PathBuf {
        self.request(name, &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", &format!("/CN={name}")])
    }

    pub(crate) fn post(&self, operation: &str, request: &Path, arguments: &[&str]) -> Reply {
        let data = format!("@{}", request.display());
        let fixed = ["--header", "Content-Type: application/pkcs10", "--data-binary", &data];
        self.curl(&[&fixed, arguments].concat(), &format!("/.well-known/est/{operation}"))
    }

    pub(crate) fn enrol(&self, name: &str, code: &str, request: &Path) -> Reply {
        self.post("simpleenroll", request, &["--user", &format!("{name}:{code}")])
    }

    pub(crate) fn reenrol(&self, name: &str, request: &Path) -> Reply {
        let (cert, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        let arguments = ["--cert", &cert.display().to_string(), "--key", &key.display().to_string()];
        self.post("simplereenroll", request, &arguments)
    }

    /// Whether the hub refuses the certificate that was kept under this name.
    pub(crate) fn is_refused(&self, name: &str) -> bool {
        let (bundle, port) = (self.path(&format!("{name}.bundle")), self.hub.mqtt().port().to_string());
        let mut command = Command::new(program());
        command.args([
            "client",
            "pub",
            "--host",
            "localhost",
            "--port",
            &port,
            "-t",
            "devices/x",
            "-m",
            "x",
            "--bundle",
        ]);
        let output = command.arg(&bundle).stdin(Stdio::null()).output().unwrap();
        output.status.code() == Some(4)
            && String::from_utf8_lossy(&output.stderr).contains("did not accept the certificate")
    }

    /// Keeps the certificate of an answer beside the key of that name.
    pub(crate) fn keep(&self, name: &str, reply: &Reply) -> Identity {
        assert_eq!(reply.status, 200, "{}\n{}", String::from_utf8_lossy(&reply.body), self.hub.log());
        let (base64, der, pem) = (self.path("p7.b64"), self.path("p7.der"), self.path(&format!("{name}.pem")));
        fs::write(&base64, &reply.body).unwrap();
        let mut command = openssl(&["base64", "-d"]);
        done(command.arg("-in").arg(&base64).arg("-out").arg(&der));
        let mut command = openssl(&["pkcs7", "-inform", "DER", "-print_certs"]);
        done(command.arg("-in").arg(&der).arg("-out").arg(&pem));
        self.bundle(name)
    }

    /// Keeps a certificate in PEM beside the key of that name.
    pub(crate) fn keep_pem(&self, name: &str, chain_pem: &[u8]) -> Identity {
        fs::write(self.path(&format!("{name}.pem")), chain_pem).unwrap();
        self.bundle(name)
    }

    fn bundle(&self, name: &str) -> Identity {
        let pem = self.path(&format!("{name}.pem"));
        let bundle = self.path(&format!("{name}.bundle"));
        fs::create_dir_all(&bundle).unwrap();
        fs::copy(self.hub.data().join("pki/root.pem"), bundle.join("ca.pem")).unwrap();
        fs::copy(&pem, bundle.join("cert.pem")).unwrap();
        fs::copy(self.path(&format!("{name}.key")), bundle.join("key.pem")).unwrap();
        Identity::from_bundle(name, &bundle)
    }
}

pub(crate) fn openssl(arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(arguments);
    command
}

pub(crate) fn done(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

pub(crate) fn code(hub: &Hub, name: &str) -> String {
    hub.json(&["device", "code", name])["code"].as_str().unwrap().to_owned()
}

pub(crate) fn expected(hub: &Hub, name: &str) -> String {
    let _ = hub.succeed(&["device", "add", name]);
    code(hub, name)
}

pub(crate) fn state(hub: &Hub, name: &str) -> String {
    hub.json(&["device", "show", name])["state"].as_str().unwrap().to_owned()
}
