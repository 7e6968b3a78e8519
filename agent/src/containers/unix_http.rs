//! One request over a Unix socket, bounded in time and size.
//!
//! HTTP/1.1 for Docker and Podman, HTTP/2 for gRPC. A request opens a
//! connection of its own: it is one every minute, and a daemon that restarts
//! needs no reconnecting.

use std::path::Path;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, TE};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;

const MAX_BODY_BYTES: usize = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no answer, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallError(pub String);

/// The body of a GET.
pub async fn get(socket: &Path, path: &str) -> Result<Bytes, CallError> {
    let exchange = async {
        let io = TokioIo::new(connect(socket).await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(failed)?;
        let request = Request::get(path).header(HOST, "localhost");
        let request = request.body(Full::<Bytes>::default()).map_err(failed)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(failed)?;
            let status = response.status();
            let (body, _) = collected(response).await?;
            if !status.is_success() {
                return Err(CallError(format!("{path}: HTTP {status}")));
            }
            Ok(body)
        };
        driven(answer, connection).await
    };
    within(exchange).await
}

/// The body of a unary gRPC call with this message.
pub async fn grpc(socket: &Path, path: &str, message: &[u8]) -> Result<Bytes, CallError> {
    let mut body = BytesMut::with_capacity(message.len() + 5);
    body.put_u8(0);
    body.put_u32(message.len() as u32);
    body.put_slice(message);
    let exchange = async {
        let io = TokioIo::new(connect(socket).await?);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(failed)?;
        let request = Request::post(format!("http://localhost{path}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers");
        let request = request.body(Full::new(body.freeze())).map_err(failed)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(failed)?;
            let head = response.headers().clone();
            let (body, trailers) = collected(response).await?;
            let trailers = trailers.unwrap_or(head);
            let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
            match text("grpc-status") {
                Some("0") => Ok(body),
                status => Err(CallError(format!(
                    "{path}: gRPC status {}: {}",
                    status.unwrap_or("missing"),
                    text("grpc-message").unwrap_or("no message")
                ))),
            }
        };
        driven(answer, connection).await
    };
    within(exchange).await
}

async fn connect(socket: &Path) -> Result<UnixStream, CallError> {
    UnixStream::connect(socket).await.map_err(failed)
}

async fn collected(
    response: Response<Incoming>,
) -> Result<(Bytes, Option<hyper::HeaderMap>), CallError> {
    let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await;
    let body = body.map_err(|error| CallError(error.to_string()))?;
    let trailers = body.trailers().cloned();
    Ok((body.to_bytes(), trailers))
}

/// The answer, while the connection is driven beside it.
async fn driven<T, E: std::fmt::Display>(
    answer: impl std::future::Future<Output = Result<T, CallError>>,
    connection: impl std::future::Future<Output = Result<(), E>>,
) -> Result<T, CallError> {
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        end = &mut connection => match end {
            // The last bytes may have come with the end.
            Ok(()) => answer.await,
            Err(error) => Err(CallError(error.to_string())),
        },
    }
}

async fn within<T>(
    exchange: impl std::future::Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let late = |_| CallError(format!("no answer within {} s", TIMEOUT.as_secs()));
    tokio::time::timeout(TIMEOUT, exchange).await.map_err(late)?
}

fn failed(error: impl std::fmt::Display) -> CallError {
    CallError(error.to_string())
}
