//! Logged in once instead of with every request (DSP0266, "Redfish session login").
//!
//! A BMC checks a password slowly and writes each log-in down, so a session is
//! asked for first; one that has no session service gets the password with
//! each request, over the same verified connection. A session that has ended
//! is made anew, once a request. It is closed when the gateway stops: a BMC
//! has room for a few only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use crate::gateway::PollError;
use crate::meters::http::{Answer, Client};

const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// How this BMC wants to know who asks.
#[derive(Default)]
enum State {
    #[default]
    Unknown,
    /// The password with each request; also for a BMC that asks for none.
    EachTime,
    Open(Session),
    /// For good: a request under way must not open another one.
    Closed,
}

struct Session {
    token: Arc<str>,
    /// What ends it, when it is deleted.
    path: Option<String>,
}

/// One BMC's client with its session; cheap to clone.
#[derive(Clone)]
pub struct LoggedIn {
    client: Client,
    state: Arc<Mutex<State>>,
}

impl LoggedIn {
    pub fn new(client: Client) -> LoggedIn {
        LoggedIn { client, state: Arc::default() }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The body of a document; None where the BMC has none.
    pub fn get(&self, path: &str) -> Result<Option<Vec<u8>>, PollError> {
        for is_new in [false, true] {
            let Some(token) = self.token()? else { return self.client.get(path) };
            match self.client.get_with_token(path, &token)? {
                Answer::Found(body) => return Ok(Some(body)),
                Answer::None => return Ok(None),
                // It timed out, or the BMC was restarted.
                Answer::Refused if !is_new => self.forget(),
                Answer::Refused => {}
            }
        }
        let problem = "a new session may not read it; give the user the right to";
        Err(PollError(format!("{path}: {problem}")))
    }

    /// The next request opens a session. Where the old one lives on, it has rights too few: a BMC
    /// has no room for one more at each request.
    fn forget(&self) {
        let mut state = self.state();
        if let State::Open(session) = &*state {
            self.close(session);
            *state = State::Unknown;
        }
    }

    fn close(&self, session: &Session) {
        let Some(path) = &session.path else { return };
        if let Err(error) = self.client.delete(path, &session.token) {
            tracing::debug!(%error, "a Redfish session was left to time out");
        }
    }

    /// Closes the session, if there is one. Blocks.
    pub fn log_out(&self) {
        let state = std::mem::replace(&mut *self.state(), State::Closed);
        if let State::Open(session) = state {
            self.close(&session);
        }
    }

    fn token(&self) -> Result<Option<Arc<str>>, PollError> {
        let mut state = self.state();
        if matches!(*state, State::Unknown) {
            *state = self.log_in()?;
        }
        match &*state {
            State::Open(session) => Ok(Some(session.token.clone())),
            State::EachTime => Ok(None),
            State::Unknown | State::Closed => Err(PollError("the gateway is stopping".into())),
        }
    }

    fn log_in(&self) -> Result<State, PollError> {
        let Some((user, secret)) = self.client.login() else { return Ok(State::EachTime) };
        let password = secret.read("password").map_err(|error| PollError(error.to_string()))?;
        let body = json!({"UserName": &**user, "Password": password}).to_string();
        let made = self.client.post(SESSIONS, &body)?;
        Ok(match made {
            Some(made) => State::Open(Session {
                token: made.token.into(),
                path: made.location.as_deref().and_then(path_of).map(str::to_owned),
            }),
            None => State::EachTime,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The path of `Location`, which may be a whole address; only of a session.
fn path_of(location: &str) -> Option<&str> {
    let start = location.find("/redfish/")?;
    let path = &location[start..];
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic()) && !path.contains("..");
    (plain && path.contains("/Sessions/")).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_session_is_deleted() {
        for (location, path) in [
            (
                "/redfish/v1/SessionService/Sessions/7",
                Some("/redfish/v1/SessionService/Sessions/7"),
            ),
            (
                "https://bmc/redfish/v1/SessionService/Sessions/a-b",
                Some("/redfish/v1/SessionService/Sessions/a-b"),
            ),
            ("/redfish/v1/Systems/1", None),
            ("/redfish/v1/SessionService/Sessions/../../Systems/1", None),
            ("/redfish/v1/SessionService/Sessions/1 HTTP/1.1", None),
            ("", None),
        ] {
            assert_eq!(path_of(location), path, "{location}");
        }
    }
}
