//! Whom servers of HTTPS let through.

use portreeve_assurance::{Verdict, checks::mutual::tls_mutual, evidence::mutual::Credential};
use portreeve_probe::{
    Dialer,
    mutual::{Application, mutual, stranger},
};

use crate::{
    mqtt::localhost,
    nginx::nginx,
    support::{Authority, Certificates, P256, free_port, limits},
};

/// ISVS-4.2.3, CSA-SNT-09: an HTTPS server that answers 400, 401 or 403 to whoever has no good certificate has let nobody through; one that
/// answers anything else has, even if there is nothing at the path.
#[tokio::test]
async fn https_says_by_its_status_who_gets_through() {
    let (certificates, authority) = (Certificates::new(), Authority::new());
    let pair = certificates.server("mutual", P256);
    let (ca, at) = (authority.file(&certificates), |more: &str| {
        let port = free_port();
        let http = format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {}; {more} }}",
            pair.0, pair.1
        );
        nginx(&certificates, port, &http)
    });
    let identities = [(Credential::WrongCa, stranger().unwrap()), (Credential::Valid, authority.client("valid"))];
    let optional = "ssl_verify_client optional_no_ca;";
    for (settings, verdict) in [
        (format!("ssl_client_certificate {ca}; ssl_verify_client on; location / {{ return 404; }}"), Verdict::Partial),
        (
            format!(
                "ssl_client_certificate {ca}; ssl_verify_client optional; location / {{ if ($ssl_client_verify != SUCCESS) {{ return 403; }} return 200 \"in\"; }}"
            ),
            Verdict::Partial,
        ),
        (format!("{optional} location / {{ return 404; }}"), Verdict::Fail),
        (format!("{optional} location / {{ return 401; }}"), Verdict::Inconclusive),
        ("location / { return 200 \"all\"; }".to_owned(), Verdict::Fail),
    ] {
        let server = at(&settings);
        let facts = mutual(&Dialer::new(server.address, limits()), &localhost(), Application::Http, &identities).await;
        let judgement = tls_mutual(&facts);
        assert_eq!(judgement.verdict, verdict, "{settings}: {judgement:?}");
    }
}
