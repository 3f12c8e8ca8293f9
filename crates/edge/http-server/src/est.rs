//! Enrolment over Secure Transport (RFC 7030): HTTP in, the hub's use-case, HTTP out.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use portreeve_hub::{Claim, EnrolRefusal, EnrolRequest, Enrolled, Hub, Presented};
use portreeve_mqtt_server::now;
use portreeve_pki::{
    EST_BODY_BYTES_MAX, EST_NAME_HEADER, EstOperation, EstRefusal, EstResponse, KeyKind, read_enrol_body,
};
use portreeve_types::IdentityName;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::{
    exchange::{Answer, error},
    tpm,
};

/// How much of a body that is too long is passed over.
const PASSED_OVER_BYTES_MAX: usize = 1 << 20;
/// Longest value of an `Authorization` header: a name and a code in base64 are far shorter, what a TPM answered is a bit.
const AUTHORIZATION_BYTES_MAX: usize = 512;

/// Whether a path is enrolment's.
pub(crate) fn is_meant(path: &str) -> bool {
    path.starts_with("/.well-known/est") || tpm::is_meant(path)
}

/// Answers one request.
pub(crate) async fn answer(hub: Arc<Hub>, applicant: Presented, request: Request<Incoming>) -> Answer {
    if tpm::is_meant(request.uri().path()) {
        return tpm::answer(hub, applicant.source(), request).await;
    }
    // There is one CA for devices, and it has no label.
    let Some((operation, None)) = EstOperation::from_path(request.uri().path()) else {
        return error(StatusCode::NOT_FOUND, "there is nothing here");
    };
    if request.method().as_str() != operation.method() {
        let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "another method is needed");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(operation.method()));
        return answer;
    }
    let response = match operation {
        EstOperation::CaCerts => EstResponse::ca_certs(&hub.enrolment_anchors()),
        // The configuration names at least one.
        EstOperation::CsrAttrs => {
            EstResponse::csr_attrs(hub.device_keys().first().copied().unwrap_or(KeyKind::EcdsaP256))
        }
        EstOperation::SimpleEnroll | EstOperation::SimpleReenroll => {
            return enrol(hub, applicant, operation, request).await;
        }
    };
    match response {
        Ok(response) => http(response),
        Err(failure) => {
            tracing::error!(%failure, "an answer of the enrolment service could not be made");
            error(StatusCode::INTERNAL_SERVER_ERROR, "try again later")
        }
    }
}

async fn enrol(hub: Arc<Hub>, applicant: Presented, operation: EstOperation, request: Request<Incoming>) -> Answer {
    let source = applicant.source();
    let Some(claim) = claim(applicant, operation, request.headers(), hub.has_allow_lists()) else {
        return http(EstResponse::unauthorised());
    };
    let content_type = text(request.headers(), &header::CONTENT_TYPE).map(str::to_owned);
    // What is no request is shown to the hub all the same: it counts, and the log says why.
    let csr = match read_body(request.into_body(), EST_BODY_BYTES_MAX).await {
        Ok(Some(body)) => read_enrol_body(content_type.as_deref(), &body),
        Ok(None) => Err(EstRefusal::Oversized),
        Err(failure) => {
            tracing::debug!(%failure, "the body of an enrolment was not read");
            return http(EstResponse::refused());
        }
    };
    // Signing and the disk take their time, which others on this thread do not wait for.
    let work = tokio::task::spawn_blocking(move || hub.enrol(&EnrolRequest { claim, csr, source }, now()));
    match work.await {
        Ok(Ok(Enrolled { leaf, name, .. })) => http(enrolled(&leaf, &name)),
        Ok(Err(refusal)) => refused(refusal),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside the hub"),
    }
}

/// What a refused applicant hears.
pub(crate) fn refused(refusal: EnrolRefusal) -> Answer {
    http(match refusal {
        EnrolRefusal::NotEntitled => EstResponse::unauthorised(),
        EnrolRefusal::Refused => EstResponse::refused(),
        EnrolRefusal::Waiting { retry_after_s } => EstResponse::accepted(retry_after_s),
        EnrolRefusal::Busy { retry_after_s } => EstResponse::busy(retry_after_s),
    })
}

/// A body of at most so many bytes; `None` for a longer one. That is read on for a while: who is still sending when the
/// connection ends does not read the answer.
pub(crate) async fn read_body(mut body: Incoming, bytes_max: usize) -> hyper::Result<Option<Vec<u8>>> {
    let (mut kept, mut seen) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        seen += data.len();
        if seen <= bytes_max {
            kept.extend_from_slice(&data);
        } else if seen > PASSED_OVER_BYTES_MAX {
            break;
        }
    }
    Ok((seen <= bytes_max).then_some(kept))
}

/// The certificate, and the name that it stands for: a device that was vouched for does not know it yet, and the
/// certificate does not tell.
fn enrolled(leaf: &CertificateDer<'_>, name: &IdentityName) -> EstResponse {
    let Ok(mut response) = EstResponse::enrolled(leaf) else { return EstResponse::refused() };
    response.headers.push((EST_NAME_HEADER, name.to_string()));
    response
}

/// How the applicant shows to be entitled. Codes and makers are about first certificates (RFC 7030 §4.2.2).
fn claim(applicant: Presented, operation: EstOperation, headers: &HeaderMap, may_be_listed: bool) -> Option<Claim> {
    if operation == EstOperation::SimpleEnroll {
        let shown = text(headers, &header::AUTHORIZATION);
        if let Some(token) = shown.and_then(bearer) {
            return Some(Claim::Tpm { token });
        }
        return applicant.claim(shown.and_then(basic), may_be_listed);
    }
    if applicant.is_stranger() { None } else { applicant.claim(None, false) }
}

/// What follows the name of a scheme in a header of at most [`AUTHORIZATION_BYTES_MAX`].
fn credentials<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let (named, credentials) = (value.len() <= AUTHORIZATION_BYTES_MAX).then(|| value.split_once(' '))??;
    named.eq_ignore_ascii_case(scheme).then_some(credentials.trim())
}

/// What a TPM has answered (RFC 6750 §2.1).
fn bearer(value: &str) -> Option<Zeroizing<String>> {
    credentials(value, "bearer").map(|token| Zeroizing::new(token.to_owned()))
}

/// User and password of HTTP Basic (RFC 7617).
fn basic(value: &str) -> Option<(String, Zeroizing<String>)> {
    let credentials = credentials(value, "basic")?;
    let decoded = Zeroizing::new(STANDARD.decode(credentials).ok()?);
    let (name, code) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((name.to_owned(), Zeroizing::new(code.to_owned())))
}

/// The one value of a header.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}

fn http(response: EstResponse) -> Answer {
    let mut answer = Answer::new(Full::new(Bytes::from(response.body)));
    *answer.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in response.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_read_and_nothing_else_is() {
        let value = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let read = |value: &str| basic(value).map(|(name, code)| (name, code.to_string()));
        assert_eq!(read(&value("lamp-1:AB:CD")), Some(("lamp-1".into(), "AB:CD".into())));
        assert_eq!(read(&value("lamp-1:").to_lowercase().replace("basic", "bAsIc")), None, "base64 has its case");
        assert_eq!(read("basic bGFtcC0xOg=="), Some(("lamp-1".into(), String::new())));
        for bad in ["", "Basic", "Basic !", "Bearer bGFtcC0xOg==", &value("no colon"), &value(&"x:".repeat(400))] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let token = |value: &str| bearer(value).map(|token| token.to_string());
        assert_eq!(token("bearer a.b"), Some("a.b".into()));
        for bad in ["", "Bearer", "a.b", "Basic a.b", &format!("Bearer {}", "a".repeat(AUTHORIZATION_BYTES_MAX))] {
            assert_eq!(token(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_the_paths_of_enrolment_are_meant() {
        assert!(is_meant("/.well-known/est/cacerts"));
        assert!(is_meant("/.well-known/portreeve/tpm/challenge"));
        assert!(!is_meant("/mqtt") && !is_meant("/") && !is_meant("/.well-known/other"));
    }
}
