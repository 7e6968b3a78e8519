//! Bounded HTTP for meters: what flows in is a path, out comes a body.
//!
//! `ureq` blocks, so `Client::blocking` runs it on tokio's thread pool: the
//! runtime's own thread is never held up. How the other side is trusted and
//! what is never followed is `https`'s.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use ureq::tls::RootCerts;

use crate::config::gateway::Secret;
use crate::config::{address, ConfigError};
use crate::gateway::PollError;
use crate::https;

/// Of one document. Redfish's largest are some 100 KiB, node_exporter's 1 MiB.
const MAX_BODY_BYTES: u64 = 8 << 20;
const MAX_CA_BYTES: u64 = 1 << 20;
/// Of Redfish.
const TOKEN_HEADER: &str = "X-Auth-Token";
const MAX_HEADER_CHARS: usize = 4096;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Where, and as whom.
pub struct Endpoint<'a> {
    pub url: &'a str,
    pub user: Option<&'a str>,
    pub password: Option<Secret>,
    pub ca_file: Option<&'a Path>,
    pub insecure: bool,
}

/// What a server says to somebody with a token.
pub enum Answer {
    Found(Vec<u8>),
    None,
    /// The token is not, or no longer, good.
    Refused,
}

/// What a server made at a POST.
pub struct Made {
    pub token: String,
    pub location: Option<String>,
}

/// One host's client; cheap to clone.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: Arc<str>,
    login: Option<(Arc<str>, Secret)>,
}

impl Client {
    /// Checks the address, reads `ca_file`, and sees that the secret is there.
    pub fn new(endpoint: Endpoint, at: &impl Fn(&str) -> String) -> Result<Client, ConfigError> {
        let plain = endpoint.url.starts_with("http://");
        let instead = "the keys user and password_file";
        address::without_login(&at("url"), endpoint.url, instead)?;
        if !plain && !endpoint.url.starts_with("https://") {
            return Err(ConfigError::new(
                &at("url"),
                "is no address of a web server",
                "write it as https://host or https://host:port",
            ));
        }
        let login = match (endpoint.user, endpoint.password) {
            (Some(user), Some(secret)) => {
                secret.read(&at("password"))?;
                Some((user.into(), secret))
            }
            (None, None) => None,
            _ => {
                let problem = "user and password file belong together";
                return Err(ConfigError::new(&at("user"), problem, "give both, or neither"));
            }
        };
        if plain && login.is_some() && !endpoint.insecure {
            return Err(ConfigError::new(
                &at("url"),
                "http:// would send the password in the clear",
                "use https://, or set insecure = true where nobody can listen",
            ));
        }
        if endpoint.insecure {
            tracing::warn!(setting = at("insecure"), "the other side's identity is not verified");
        }
        let trusted = roots(endpoint.ca_file, plain || endpoint.insecure, at)?;
        let agent = https::client(trusted, !endpoint.insecure, REQUEST_TIMEOUT);
        let base = endpoint.url.trim_end_matches('/').into();
        Ok(Client { agent, base, login })
    }

    /// Runs `work` with this client where blocking is allowed.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Client) -> Result<T, PollError> + Send + 'static,
    ) -> Result<T, PollError> {
        let client = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&client)).await;
        done.unwrap_or_else(|_| Err(PollError("the request ended in an error of ours".into())))
    }

    pub fn login(&self) -> Option<&(Arc<str>, Secret)> {
        self.login.as_ref()
    }

    /// As `get`, with a token in place of user and password.
    pub fn get_with_token(&self, path: &str, token: &str) -> Result<Answer, PollError> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.get(&url).header(TOKEN_HEADER, token);
        let response = request.call().map_err(|error| failed(&url, &error))?;
        if matches!(response.status().as_u16(), 401 | 403) {
            return Ok(Answer::Refused);
        }
        Ok(body(&url, response)?.map_or(Answer::None, Answer::Found))
    }

    /// Posts JSON and returns the token that comes back; None where the server
    /// takes no such POST.
    pub fn post(&self, path: &str, json: &str) -> Result<Option<Made>, PollError> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.post(&url).header("Content-Type", "application/json");
        let response = request.send(json).map_err(|error| failed(&url, &error))?;
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            (value.len() <= MAX_HEADER_CHARS).then(|| value.to_owned())
        };
        match response.status().as_u16() {
            200 | 201 => match header(TOKEN_HEADER) {
                Some(token) => Ok(Some(Made { token, location: header("Location") })),
                None => Ok(None),
            },
            404 | 405 | 501 => Ok(None),
            status => Err(refused(&url, status)),
        }
    }

    pub fn delete(&self, path: &str, token: &str) -> Result<(), PollError> {
        let url = format!("{}{path}", self.base);
        let response = self.agent.delete(&url).header(TOKEN_HEADER, token).call();
        match response.map_err(|error| failed(&url, &error))?.status().as_u16() {
            200..=299 => Ok(()),
            status => Err(refused(&url, status)),
        }
    }

    /// The body below the base address; None where the server has none (404).
    pub fn get(&self, path: &str) -> Result<Option<Vec<u8>>, PollError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.get(&url);
        if let Some((user, secret)) = &self.login {
            let password = secret.read("password").map_err(|error| PollError(error.to_string()))?;
            let pair = format!("{user}:{password}");
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            request = request.header("Authorization", format!("Basic {pair}"));
        }
        body(&url, request.call().map_err(|error| failed(&url, &error))?)
    }
}

fn body(
    url: &str,
    mut response: ureq::http::Response<ureq::Body>,
) -> Result<Option<Vec<u8>>, PollError> {
    match response.status().as_u16() {
        200 => {
            let body = response.body_mut().with_config().limit(MAX_BODY_BYTES);
            body.read_to_vec().map(Some).map_err(|error| failed(url, &error))
        }
        404 => Ok(None),
        status => Err(refused(url, status)),
    }
}

fn failed(url: &str, error: &ureq::Error) -> PollError {
    PollError(format!("{url}: {}", hint(error)))
}

fn refused(url: &str, status: u16) -> PollError {
    let next = match status {
        401 | 403 => "check user and password",
        300..=399 => "redirects are not followed; give the address it points to",
        _ => "look at the server's log",
    };
    PollError(format!("{url}: HTTP status {status}; {next}"))
}

fn hint(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BodyExceedsLimit(limit) => format!("the answer is larger than {limit} bytes"),
        ureq::Error::Io(io) if io.to_string().contains("certificate") => {
            format!("{io}; name the authority's file as ca_file")
        }
        ureq::Error::Rustls(_) => format!("{error}; name the authority's file as ca_file"),
        _ => error.to_string(),
    }
}

fn roots(
    file: Option<&Path>,
    unused: bool,
    at: &impl Fn(&str) -> String,
) -> Result<RootCerts, ConfigError> {
    let Some(file) = file else {
        return Ok(if unused { https::no_roots() } else { https::system_roots() });
    };
    let wrong = |problem: String| {
        let problem = format!("{}: {problem}", file.display());
        ConfigError::new(&at("ca_file"), &problem, "give a PEM file of certificates")
    };
    let size = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?.len();
    if size > MAX_CA_BYTES {
        return Err(wrong("is larger than 1 MiB".into()));
    }
    let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let found = https::roots_of(&text).map_err(|error| wrong(error.to_string()))?;
    found.ok_or_else(|| wrong("holds no certificate".into()))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// A client of a server that gives `body` to whatever is asked.
    pub fn client_of(body: &'static str) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(&stream).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
                let _ = write!(&stream, "{head} {}\r\n\r\n{body}", body.len());
            }
        });
        let endpoint =
            Endpoint { url: &url, user: None, password: None, ca_file: None, insecure: false };
        Client::new(endpoint, &|key: &str| key.to_owned()).unwrap()
    }
}
