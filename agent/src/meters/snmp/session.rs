//! Asking one SNMP agent: walks of columns, bounded in time and size.
//!
//! The protocol is the crate `snmp2` (v2c and v3). A session that saw any
//! error is thrown away by its owner: a late answer can't reach the next
//! question, because that one has another port.

use std::time::Duration;

use snmp2::v3::{Auth, AuthErrorKind, AuthProtocol, Cipher, KeyExtension, Security};
use snmp2::{AsyncSession, Error, Oid, Pdu};
use tokio::time::timeout;

use super::decode::{Cells, Value};
use crate::config::gateway;

/// Rows of one column that are taken; a chain of four PDUs has 200 outlets,
/// with ten sensors each.
const MAX_CELLS: usize = 4096;
/// A v3 agent asks to repeat a request while clocks are being agreed on.
const MAX_REPEATS: usize = 3;

/// What to say to be let in. Has no Debug: it holds secrets.
pub enum Credentials {
    Community(String),
    User {
        name: String,
        context: String,
        auth: gateway::AuthProtocol,
        auth_password: String,
        /// None: authenticated but readable by others on the wire.
        privacy: Option<(gateway::PrivProtocol, String)>,
    },
}

/// Why an agent gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("{0}: not reachable: {1}")]
    Unreachable(String, std::io::Error),
    #[error("no answer within {0:?}: the address, the community or the access list is wrong, or the device is off")]
    Timeout(Duration),
    #[error("nothing listens at this port")]
    Closed,
    #[error("refused by SNMP v3 security ({0}): check user, protocols and passwords")]
    Denied(String),
    #[error("the answer can't be understood ({0})")]
    Garbage(String),
    #[error("the device answers in circles below {0}")]
    Circle(String),
}

pub struct Session {
    inner: AsyncSession,
    timeout: Duration,
}

impl Session {
    pub async fn open(
        address: &str,
        credentials: &Credentials,
        limit: Duration,
    ) -> Result<Session, SessionError> {
        let start = fastrand::i32(0..i32::MAX);
        let unreachable = |error| SessionError::Unreachable(address.to_owned(), error);
        let opening = async {
            match credentials {
                Credentials::Community(community) => {
                    AsyncSession::new_v2c(address, community.as_bytes(), start).await
                }
                Credentials::User { .. } => {
                    AsyncSession::new_v3(address, start, security(credentials)).await
                }
            }
        };
        let opened = timeout(limit, opening).await.map_err(|_| SessionError::Timeout(limit))?;
        let mut inner = opened.map_err(unreachable)?;
        if matches!(credentials, Credentials::User { .. }) {
            let agreed = timeout(limit, inner.init()).await;
            agreed.map_err(|_| SessionError::Timeout(limit))?.map_err(understood)?;
        }
        Ok(Session { inner, timeout: limit })
    }

    /// The value of one object.
    pub async fn get(&mut self, oid: &[u64]) -> Result<Value, SessionError> {
        let found = self.bulk(oid.split_last().map_or(oid, |(_, column)| column), 1).await?;
        Ok(found.into_iter().find(|(name, _)| name == oid).map_or(Value::Other, |(_, value)| value))
    }

    /// All cells of a column: index below `column` to value.
    pub async fn walk(&mut self, column: &[u64], repetitions: u32) -> Result<Cells, SessionError> {
        let mut cells = Cells::new();
        let mut position = column.to_vec();
        loop {
            let rows = self.bulk(&position, repetitions).await?;
            let mut ended = rows.is_empty();
            for (oid, value) in rows {
                let Some(index) = oid.strip_prefix(column).filter(|index| !index.is_empty()) else {
                    ended = true;
                    break;
                };
                if oid <= position {
                    return Err(SessionError::Circle(dotted(column)));
                }
                cells.insert(index.to_vec(), value);
                position = oid;
                if cells.len() >= MAX_CELLS {
                    return Ok(cells);
                }
            }
            if ended {
                return Ok(cells);
            }
        }
    }

    /// What follows `oid`, until the end of what the agent has.
    async fn bulk(
        &mut self,
        oid: &[u64],
        repetitions: u32,
    ) -> Result<Vec<(Vec<u64>, Value)>, SessionError> {
        let name = Oid::from(oid).map_err(|_| SessionError::Garbage("unusable OID".into()))?;
        let names = [&name];
        for _ in 0..MAX_REPEATS {
            let asking = self.inner.getbulk(&names, 0, repetitions);
            let answer = timeout(self.timeout, asking).await;
            match answer.map_err(|_| SessionError::Timeout(self.timeout))? {
                Ok(pdu) => return rows(&pdu, repetitions),
                Err(Error::AuthUpdated) => {}
                Err(error) => return Err(understood(error)),
            }
        }
        Err(SessionError::Denied("clocks can't be agreed on".into()))
    }
}

pub(crate) fn rows(
    pdu: &Pdu<'_>,
    repetitions: u32,
) -> Result<Vec<(Vec<u64>, Value)>, SessionError> {
    if pdu.error_status != 0 {
        return Err(SessionError::Garbage(format!("error status {}", pdu.error_status)));
    }
    let mut rows = Vec::new();
    for (oid, value) in pdu.varbinds.clone().take(repetitions as usize) {
        if matches!(value, snmp2::Value::EndOfMibView) {
            break;
        }
        let Some(parts) = oid.iter() else { break };
        rows.push((parts.collect(), from_wire(&value)));
    }
    Ok(rows)
}

fn from_wire(value: &snmp2::Value<'_>) -> Value {
    match value {
        snmp2::Value::Integer(number) => Value::Number(*number),
        snmp2::Value::Counter32(number) | snmp2::Value::Unsigned32(number) => {
            Value::Number(i64::from(*number))
        }
        snmp2::Value::Counter64(number) => {
            i64::try_from(*number).map_or(Value::Other, Value::Number)
        }
        snmp2::Value::ObjectIdentifier(oid) => {
            oid.iter().map_or(Value::Other, |parts| Value::Oid(parts.collect()))
        }
        _ => Value::Other,
    }
}

fn understood(error: Error) -> SessionError {
    match error {
        // The kernel tells of a closed port on the next receive.
        Error::Send | Error::Receive => SessionError::Closed,
        Error::AuthFailure(AuthErrorKind::NotAuthenticated) => {
            SessionError::Denied("not authenticated".into())
        }
        Error::AuthFailure(kind) => SessionError::Denied(kind.to_string()),
        Error::Crypto(_) => SessionError::Denied("the answer can't be decrypted".into()),
        other => SessionError::Garbage(other.to_string()),
    }
}

pub(crate) fn security(credentials: &Credentials) -> Security {
    let Credentials::User { name, context, auth, auth_password, privacy } = credentials else {
        return Security::new(b"", b"").with_auth(Auth::NoAuthNoPriv);
    };
    let protocol = match auth {
        gateway::AuthProtocol::Md5 => AuthProtocol::Md5,
        gateway::AuthProtocol::Sha1 => AuthProtocol::Sha1,
        gateway::AuthProtocol::Sha256 => AuthProtocol::Sha256,
        gateway::AuthProtocol::Sha512 => AuthProtocol::Sha512,
    };
    let level = match privacy {
        None => Auth::AuthNoPriv,
        Some((protocol, password)) => Auth::AuthPriv {
            cipher: match protocol {
                gateway::PrivProtocol::Des => Cipher::Des,
                gateway::PrivProtocol::Aes128 => Cipher::Aes128,
                gateway::PrivProtocol::Aes256 | gateway::PrivProtocol::Aes256Blumenthal => {
                    Cipher::Aes256
                }
            },
            privacy_password: password.as_bytes().to_vec(),
        },
    };
    // MD5 and SHA-1 give shorter keys than AES-256 takes; vendors extend them in two ways.
    let extension = match privacy {
        Some((gateway::PrivProtocol::Aes256Blumenthal, _)) => KeyExtension::Blumenthal,
        _ => KeyExtension::Reeder,
    };
    Security::new(name.as_bytes(), auth_password.as_bytes())
        .with_auth_protocol(protocol)
        .with_key_extension_method(extension)
        .with_context_name(context)
        .with_auth(level)
}

fn dotted(oid: &[u64]) -> String {
    oid.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}
