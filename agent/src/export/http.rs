//! Posting a body, with limits on time.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, CONTENT_TYPE};
use reqwest::redirect::Policy;
use reqwest::Client;

use crate::config::ConfigError;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A client that sends the same headers (an API key) with each request.
pub struct Poster {
    client: Client,
}

impl Poster {
    pub fn new(headers: Vec<(String, String)>) -> Result<Poster, ConfigError> {
        let wrong = |problem: String| {
            ConfigError::new("otlp_headers_file", &problem, "write one `Name: value` a line")
        };
        let mut fixed = HeaderMap::new();
        for (name, value) in headers {
            let key = HeaderName::try_from(&name)
                .map_err(|_| wrong(format!("{name} is no header name")))?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| wrong(format!("the value of {name} can't be sent")))?;
            value.set_sensitive(true);
            fixed.insert(key, value);
        }
        // Another part may have chosen the provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .default_headers(fixed)
            .timeout(TIMEOUT)
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| {
                ConfigError::new(
                    "otlp_endpoint",
                    &error.to_string(),
                    "check the system's certificates",
                )
            })?;
        Ok(Poster { client })
    }

    /// The error is words for the log, without what was sent.
    pub async fn post(&self, url: &str, kind: &str, body: Vec<u8>) -> Result<(), String> {
        let request = self.client.post(url).header(CONTENT_TYPE, kind).body(body);
        let response = request.send().await.map_err(|error| error.without_url().to_string())?;
        let status = response.status();
        status.is_success().then_some(()).ok_or_else(|| format!("it answered {status}"))
    }
}
