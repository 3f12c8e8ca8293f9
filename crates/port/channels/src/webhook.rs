//! Webhooks: one HTTPS POST.

use std::{fmt, time::Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, StatusCode,
    header::{CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use portreeve_alert::{Delivery, Failure, Webhook, render_json, signature};
use portreeve_types::UnixMillis;
use zeroize::Zeroizing;

use crate::{
    Channel, Receipt,
    connect::{Connector, within},
    files::{self, OpenError},
    permanent, transient,
};

/// Shortest secret, bytes: what cannot be tried out (SP 800-107 Rev. 1 §5.3.2 asks for as much as is claimed).
const SECRET_BYTES_MIN: usize = 16;
/// Most bytes of an answer that are read: its status line and headers. Its body is not looked at.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A webhook. The body is JSON; `Portreeve-Signature` signs it ([`signature`]), `Idempotency-Key` is the same for each
/// attempt.
pub(crate) struct WebhookChannel {
    connector: Connector,
    path: String,
    secret: Zeroizing<Vec<u8>>,
    hub: String,
}

impl WebhookChannel {
    pub(crate) fn open(webhook: &Webhook, hub: &str) -> Result<Self, OpenError> {
        Ok(Self {
            connector: Connector::open(&webhook.url.server, &webhook.peer)?,
            path: webhook.url.path.clone(),
            secret: files::secret(&webhook.secret_file, SECRET_BYTES_MIN)?,
            hub: hub.to_owned(),
        })
    }

    fn request(&self, delivery: &Delivery, now: UnixMillis) -> Result<Request<Full<Bytes>>, Failure> {
        let body = render_json(delivery, &self.hub);
        let server = self.connector.server();
        // A port that goes without saying is not said: some servers compare.
        let host = server.to_string();
        let host = if server.port == 443 { host.strip_suffix(":443").unwrap_or(&host) } else { &host };
        let request = Request::post(&self.path)
            .header(HOST, host)
            .header(USER_AGENT, "portreeve")
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", &delivery.idempotency_key)
            .header("portreeve-signature", signature(&self.secret, now.seconds(), body.as_bytes()))
            .body(Full::new(Bytes::from(body)));
        // Without the path, which may be a secret.
        request.map_err(|_| permanent("the URL cannot be asked for"))
    }

    async fn post(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, Failure> {
        let stream = self.connector.secure(self.connector.tcp().await?).await?;
        let broken = |error: hyper::Error| transient(&format!("{} broke off: {error}", self.connector.server()));
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(ANSWER_BYTES_MAX);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the runtime.
        tokio::spawn(connection);
        Ok(sender.send_request(request).await.map_err(broken)?.status())
    }
}

impl Channel for WebhookChannel {
    fn send(&self, delivery: &Delivery, now: UnixMillis, deadline: Instant) -> Result<Receipt, Failure> {
        let request = self.request(delivery, now)?;
        let status = within(deadline, self.post(request))?;
        let answered = format!("{} answered {}", self.connector.server(), status.as_u16());
        match status {
            status if status.is_success() => Ok(Receipt::Confirmed),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(transient(&answered)),
            status if status.is_server_error() => Err(transient(&answered)),
            status if status.is_redirection() => Err(permanent(&format!("{answered}: redirects are not followed"))),
            _ => Err(permanent(&answered)),
        }
    }
}

impl fmt::Debug for WebhookChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookChannel").field("connector", &self.connector).finish_non_exhaustive()
    }
}
