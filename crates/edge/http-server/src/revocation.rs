//! Revocation as relying parties ask for it: the lists at `/pki/devices.crl`, `/pki/devices-2.crl` and so on, one for each
//! CA that has issued to devices; at `/pki/root.crl` those of the roots; OCSP at `/pki/ocsp`. Beside them what devices are to trust, at `/pki/trust`. Anybody may
//! ask.

use std::sync::Arc;

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use portreeve_hub::{Hub, PublicationError};
use portreeve_mqtt_server::now;
use portreeve_pki::{
    OCSP_REQUEST_BYTES_MAX, OCSP_REQUEST_TYPE, OCSP_RESPONSE_TYPE, OcspAnswer, number_in_series, ocsp_request_from_path,
};

use crate::exchange::{Answer, content, error};

const TRUST_PATH: &str = "/pki/trust";
const OCSP_PATH: &str = "/pki/ocsp";

/// Whether a path is one of these.
pub(crate) fn is_meant(path: &str) -> bool {
    ca_of(path).is_some()
        || path == TRUST_PATH
        || path == OCSP_PATH
        || path.strip_prefix(OCSP_PATH).is_some_and(|rest| rest.starts_with('/'))
}

/// The name of the CA whose list is at this path.
fn ca_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/pki/")?.strip_suffix(".crl")?;
    ["devices", "root"].iter().any(|stem| number_in_series(stem, name).is_some()).then_some(name)
}

/// Answers one request.
pub(crate) async fn answer(hub: Arc<Hub>, request: Request<Incoming>) -> Answer {
    if let Some(ca) = ca_of(request.uri().path()) {
        let ca = ca.to_owned();
        return if request.method() == Method::GET { list(hub, ca).await } else { only("GET") };
    }
    if request.uri().path() == TRUST_PATH {
        return if request.method() == Method::GET { trust(hub).await } else { only("GET") };
    }
    match *request.method() {
        // RFC 6960 §A.1
        Method::GET => {
            let escaped = request.uri().path().strip_prefix(OCSP_PATH).and_then(|rest| rest.strip_prefix('/'));
            let question = escaped.and_then(|escaped| ocsp_request_from_path(escaped).ok()).unwrap_or_default();
            ocsp(hub, question).await
        }
        Method::POST => {
            if request.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind != OCSP_REQUEST_TYPE) {
                return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "an OCSP request is expected");
            }
            // One byte more than may be, so that what is too long is told from what is not.
            match Limited::new(request.into_body(), OCSP_REQUEST_BYTES_MAX + 1).collect().await {
                Ok(body) => ocsp(hub, body.to_bytes().to_vec()).await,
                Err(_) => error(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long"),
            }
        }
        _ => only("GET, POST"),
    }
}

fn only(methods: &'static str) -> Answer {
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "another method is needed");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    answer
}

/// Making a list takes a signature and the disk.
async fn list(hub: Arc<Hub>, ca: String) -> Answer {
    match tokio::task::spawn_blocking(move || hub.crl(&ca, now().wall)).await {
        Ok(Ok(der)) => content(StatusCode::OK, "application/pkix-crl", der),
        Ok(Err(failure @ PublicationError::NoSuchCa)) => error(StatusCode::NOT_FOUND, &failure.to_string()),
        Ok(Err(failure)) => {
            tracing::error!(%failure, "no revocation list could be made");
            error(StatusCode::SERVICE_UNAVAILABLE, "try again later")
        }
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside the hub"),
    }
}

async fn trust(hub: Arc<Hub>) -> Answer {
    match tokio::task::spawn_blocking(move || hub.trust_bundle(now().wall)).await {
        Ok(Ok(document)) => content(StatusCode::OK, "application/jose", document),
        Ok(Err(failure)) => {
            tracing::error!(%failure, "no trust bundle could be made");
            error(StatusCode::SERVICE_UNAVAILABLE, "try again later")
        }
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside the hub"),
    }
}

async fn ocsp(hub: Arc<Hub>, question: Vec<u8>) -> Answer {
    match tokio::task::spawn_blocking(move || hub.ocsp(&question, now())).await {
        Ok(Ok(answer)) => answered(answer),
        Ok(Err(failure)) => {
            tracing::error!(%failure, "no OCSP answer could be made");
            error(StatusCode::SERVICE_UNAVAILABLE, "try again later")
        }
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside the hub"),
    }
}

fn answered(answer: OcspAnswer) -> Answer {
    if let Err(refusal) = &answer.outcome {
        tracing::debug!(%refusal, "an OCSP request was refused");
    }
    let mut response = content(StatusCode::OK, OCSP_RESPONSE_TYPE, answer.der);
    if answer.max_age_s > 0
        && let Ok(value) =
            HeaderValue::from_str(&format!("max-age={}, public, no-transform, must-revalidate", answer.max_age_s))
    {
        response.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_these_paths_are_meant() {
        for path in [
            "/pki/devices.crl",
            "/pki/devices-2.crl",
            "/pki/root.crl",
            "/pki/root-2.crl",
            "/pki/trust",
            "/pki/ocsp",
            "/pki/ocsp/",
            "/pki/ocsp/MEow",
        ] {
            assert!(is_meant(path), "{path}");
        }
        for path in [
            "/pki",
            "/pki/",
            "/pki/devices.key",
            "/pki/devices-0.crl",
            "/pki/hub.crl",
            "/pki/ocspx",
            "/pki/devices.crl/",
        ] {
            assert!(!is_meant(path), "{path}");
        }
    }
}
