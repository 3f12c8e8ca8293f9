//! The challenge for a device with a TPM: JSON in, the hub's use-case, JSON out. The request itself is one of [`crate::est`].

use std::{net::IpAddr, sync::Arc};

use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use portreeve_hub::Hub;
use portreeve_mqtt_server::now;
use portreeve_pki::{QUESTION_BYTES_MAX, Question, QuestionRefusal, TPM_CHALLENGE_PATH};

use crate::{
    est,
    exchange::{Answer, content, error},
};

pub(crate) fn is_meant(path: &str) -> bool {
    path == TPM_CHALLENGE_PATH
}

pub(crate) async fn answer(hub: Arc<Hub>, source: IpAddr, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "another method is needed");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return answer;
    }
    // What is no question is shown to the hub all the same: it counts, and the log says why.
    let question = match est::read_body(request.into_body(), QUESTION_BYTES_MAX).await {
        Ok(Some(body)) => Question::read(&body),
        Ok(None) => Err(QuestionRefusal::Oversized),
        Err(failure) => {
            tracing::debug!(%failure, "the body of a question was not read");
            return error(StatusCode::BAD_REQUEST, "the request was refused");
        }
    };
    // The arithmetic takes its time, which others on this thread do not wait for.
    match tokio::task::spawn_blocking(move || hub.tpm_challenge(question, source, now())).await {
        Ok(Ok(challenge)) => content(StatusCode::OK, "application/json", challenge.to_json()),
        Ok(Err(refusal)) => est::refused(refusal),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside the hub"),
    }
}
