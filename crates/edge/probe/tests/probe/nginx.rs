use std::fs;

use crate::support::{Certificates, Server, free_port, start};

/// nginx with these `server` blocks and what else stands beside them; the first port is the server's.
pub(crate) fn nginx(certificates: &Certificates, port: u16, http: &str) -> Server {
    let (folder, path) = (certificates.path(""), certificates.path(&format!("nginx-{port}.conf")));
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind}-{port};\n"))
        .concat();
    let settings = format!(
        "daemon off; master_process off; pid {folder}/nginx-{port}.pid; error_log stderr crit;\n\
         events {{ worker_connections 64; }}\nhttp {{ access_log off; default_type text/plain;\n{temporary}{http}\n}}\n"
    );
    fs::write(&path, settings).unwrap();
    start("/usr/sbin/nginx", port, &["-e", "stderr", "-c", &path])
}

/// A console of TLS as it should be: sessions by role, a page to log in, HTTP that leads to HTTPS.
pub(crate) fn strong_console(certificates: &Certificates) -> (Server, u16) {
    let (port, clear) = (free_port(), free_port());
    let pair = certificates.server("console", crate::support::P256);
    let http = format!(
        r#"map $http_cookie $role {{ default ""; "session=of-admin" admin; "session=of-operator" operator; }}
        add_header Strict-Transport-Security "max-age=31536000" always;
        add_header Content-Security-Policy "default-src 'self'; frame-ancestors 'none'" always;
        add_header X-Content-Type-Options nosniff always;
        add_header Set-Cookie "session=fresh-and-secret; Path=/; Secure; HttpOnly; SameSite=Strict" always;
        server {{
            listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};
            location = / {{ return 302 /login?next=secret-of-the-query; }}
            location = /login {{ default_type text/html; return 200 '<form><input name=p type="password"></form>'; }}
            location /admin {{ if ($role != admin) {{ return 403; }} return 200 "of administrators"; }}
            location /api {{ if ($role = "") {{ return 401; }} return 200 "of everybody inside"; }}
            location / {{ return 404; }}
        }}
        server {{ listen 127.0.0.1:{clear}; return 301 https://localhost:{port}$request_uri; }}"#,
        pair.0, pair.1
    );
    (nginx(certificates, port, &http), clear)
}

/// One as it should not be.
pub(crate) fn weak_console(certificates: &Certificates) -> (Server, u16) {
    let (port, clear) = (free_port(), free_port());
    let pair = certificates.server("weak-console", crate::support::P256);
    let passwords = certificates.path("weak-passwords");
    fs::write(&passwords, "admin:{PLAIN}admin\n").unwrap();
    let http = format!(
        r#"server {{
            listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};
            add_header Set-Cookie "sid=1" always;
            location = / {{ default_type text/html; return 200 "<h1>Welcome</h1>"; }}
            location = /admin {{ return 301 /admin/; }}
            location = /admin/ {{ return 200 "everything"; }}
            location /config {{ auth_basic "console"; auth_basic_user_file {passwords}; }}
            location /metrics {{ if ($http_authorization ~ "^Bearer ") {{ return 200 "up 1"; }} return 401; }}
            location / {{ return 404; }}
        }}
        server {{ listen 127.0.0.1:{clear}; return 200 "the same in clear"; }}"#,
        pair.0, pair.1
    );
    (nginx(certificates, port, &http), clear)
}

/// HTTP Basic in clear before one path, for `operator` with `the-right-secret`, and more settings for it.
pub(crate) fn basic(certificates: &Certificates, beside: &str, inside: &str) -> Server {
    let port = free_port();
    let (passwords, root) = (certificates.path("passwords"), certificates.path("root"));
    fs::write(&passwords, "operator:{PLAIN}the-right-secret\n").unwrap();
    fs::create_dir_all(&root).unwrap();
    fs::write(format!("{root}/index.html"), "inside").unwrap();
    let http = format!(
        "{beside}\nserver {{ listen 127.0.0.1:{port}; root {root}; location / {{ {inside}\nauth_basic \"x\"; \
         auth_basic_user_file {passwords}; }} }}"
    );
    nginx(certificates, port, &http)
}
