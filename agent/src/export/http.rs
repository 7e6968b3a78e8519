//! Posting a body, with limits on time.
//!
//! `ureq` blocks, so a post runs on tokio's thread pool.

use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue};

use crate::config::ConfigError;
use crate::https;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A client that sends the same headers (an API key) with each request.
pub struct Poster {
    agent: ureq::Agent,
    headers: Arc<[(HeaderName, HeaderValue)]>,
}

impl Poster {
    pub fn new(headers: Vec<(String, String)>) -> Result<Poster, ConfigError> {
        let wrong = |problem: String| {
            ConfigError::new("otlp_headers_file", &problem, "write one `Name: value` a line")
        };
        let headers = headers
            .into_iter()
            .map(|(name, value)| {
                let key = HeaderName::try_from(&name)
                    .map_err(|_| wrong(format!("{name} is no header name")))?;
                let mut value = HeaderValue::try_from(value)
                    .map_err(|_| wrong(format!("the value of {name} can't be sent")))?;
                value.set_sensitive(true);
                Ok((key, value))
            })
            .collect::<Result<_, ConfigError>>()?;
        let agent = https::client(https::system_roots(), true, TIMEOUT);
        Ok(Poster { agent, headers })
    }

    /// The error is words for the log, without what was sent.
    pub async fn post(&self, url: &str, kind: &'static str, body: Vec<u8>) -> Result<(), String> {
        let mut request = self.agent.post(url).content_type(kind);
        for (name, value) in self.headers.iter() {
            request = request.header(name, value);
        }
        let sent = tokio::task::spawn_blocking(move || request.send(&body));
        let answer = sent.await.map_err(|_| "the request ended in an error of ours".to_owned())?;
        let status = answer.map_err(|error| error.to_string())?.status();
        status.is_success().then_some(()).ok_or_else(|| format!("it answered {status}"))
    }
}
