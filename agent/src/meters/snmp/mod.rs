//! A PDU over SNMP: watts at the wall, per outlet where it measures outlets.
//!
//! `oids` says where each vendor keeps its figures, `session` walks them,
//! `decode` turns them into readings with units, `rows` picks the ones that
//! count and gives them to nodes. `gateway` asks, one `Pdu` per device.
//!
//! Understood are APC (rPDU2, and rPDU where rPDU2 says -1), Raritan (PDU2
//! and PX) and Server Technology (Sentry 3 and 4). Banks and branches tell
//! amperes only, and watts made of amperes would be a guess: they are left out.

pub(crate) mod decode;
pub(crate) mod oids;
mod rows;
pub(crate) mod session;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub use decode::Place;
pub use session::Credentials;

use crate::gateway::{Device, Poll, PollError, Reading};
use decode::{Level, Point, Value};
use oids::{Table, Vendor};
use rows::Rows;
use session::{Session, SessionError};

/// One PDU of the gateway's file.
pub struct Pdu {
    name: String,
    address: String,
    credentials: Credentials,
    timeout: Duration,
    rows: Rows,
    /// Kept from poll to poll; gone after any error and while a poll is under way.
    session: Option<(Session, &'static Vendor)>,
}

impl Pdu {
    pub fn new(
        name: &str,
        address: &str,
        credentials: Credentials,
        timeout: Duration,
        outlets: HashMap<Place, Arc<str>>,
    ) -> Pdu {
        Pdu {
            name: name.to_owned(),
            address: address.to_owned(),
            credentials,
            timeout,
            rows: Rows::new(name, outlets),
            session: None,
        }
    }

    async fn ask(&mut self) -> Result<Vec<Point>, PollError> {
        let (mut session, vendor) = match self.session.take() {
            Some(open) => open,
            None => self.open().await?,
        };
        let points = self.points(&mut session, vendor).await.map_err(|e| self.failed(&e))?;
        self.session = Some((session, vendor));
        if points.iter().all(|point| point.power_watts.is_err()) {
            return Err(PollError(format!(
                "{}: this {} device tells no watts at any level",
                self.address, vendor.name
            )));
        }
        Ok(points)
    }

    async fn open(&self) -> Result<(Session, &'static Vendor), PollError> {
        let opened = Session::open(&self.address, &self.credentials, self.timeout).await;
        let mut session = opened.map_err(|error| self.failed(&error))?;
        let id = session.get(oids::SYS_OBJECT_ID).await.map_err(|error| self.failed(&error))?;
        let number = match &id {
            Value::Oid(oid) => oid.strip_prefix(oids::ENTERPRISES).and_then(|rest| rest.first()),
            _ => None,
        };
        let vendor = number.and_then(|number| oids::vendor(*number)).ok_or_else(|| {
            let known: Vec<&str> = oids::VENDORS.iter().map(|vendor| vendor.name).collect();
            PollError(format!(
                "{}: sysObjectID {id:?} is of no known PDU; known are {}",
                self.address,
                known.join(", ")
            ))
        })?;
        Ok((session, vendor))
    }

    /// Outlets first; coarser levels where those are not measured or a node hangs on them.
    async fn points(
        &self,
        session: &mut Session,
        vendor: &Vendor,
    ) -> Result<Vec<Point>, SessionError> {
        let mut points: Vec<Point> = Vec::new();
        for level in [Level::Outlet, Level::Phase, Level::Device] {
            let known = points.iter().any(|point| point.power_watts.is_ok());
            if known && !self.rows.wants(level) {
                continue;
            }
            let mut found = Vec::new();
            for table in vendor.tables.iter().filter(|table| table.level == level) {
                let more = read(session, table, vendor.max_repetitions).await?;
                let knows = more.iter().any(|point| point.power_watts.is_ok());
                if found.is_empty() || knows {
                    found = more;
                }
                if knows {
                    break;
                }
            }
            // One phase is the device again, which is the better name for it.
            if level == Level::Phase && found.len() < 2 && !self.rows.wants(level) {
                continue;
            }
            points.extend(found);
        }
        Ok(points)
    }

    fn failed(&self, error: &SessionError) -> PollError {
        PollError(format!("{}: {error}", self.address))
    }
}

/// One table: power and its decimal point, and energy where there is power.
async fn read(
    session: &mut Session,
    table: &Table,
    repetitions: u32,
) -> Result<Vec<Point>, SessionError> {
    let mut columns =
        HashMap::from([(table.power.oid, session.walk(table.power.oid, repetitions).await?)]);
    if columns[table.power.oid].is_empty() {
        return Ok(Vec::new());
    }
    let energy = table.energy.as_ref();
    let more = [table.power.digits, energy.map(|column| column.oid), energy.and_then(|c| c.digits)];
    for oid in more.into_iter().flatten() {
        if !columns.contains_key(oid) {
            columns.insert(oid, session.walk(oid, repetitions).await?);
        }
    }
    Ok(decode::points(table, |oid| columns.get(oid)))
}

impl Device for Pdu {
    fn name(&self) -> &str {
        &self.name
    }

    fn meter(&self) -> &'static str {
        rows::METER
    }

    fn poll(&mut self, interval: Option<f64>) -> Poll<'_> {
        Box::pin(async move {
            let points = self.ask().await?;
            Ok(self.rows.make(points, interval))
        })
    }

    fn silent(&mut self, interval: f64, reason: &str) -> Vec<Reading> {
        self.rows.silent(interval, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::contract;

    /// What a real agent answers is tried in tests/agent; this one answers nonsense.
    #[tokio::test]
    async fn a_pdu_that_talks_nonsense_keeps_the_promises_of_every_meter() {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let nonsense = tokio::spawn(async move {
            let mut request = [0; 2048];
            for turn in 0usize.. {
                let Ok((size, peer)) = socket.recv_from(&mut request).await else { return };
                // The request itself, a cut one, bytes of chance.
                let answer = match turn % 3 {
                    0 => request[..size].to_vec(),
                    1 => request[..size / 2].to_vec(),
                    _ => (0..size).map(|_| fastrand::u8(..)).collect(),
                };
                let _ = socket.send_to(&answer, peer).await;
            }
        });
        let user = |privacy| Credentials::User {
            name: "eo".into(),
            context: String::new(),
            auth: crate::config::gateway::AuthProtocol::Sha256,
            auth_password: "auth-s3cret".into(),
            privacy,
        };
        let privacy = (crate::config::gateway::PrivProtocol::Aes128, "priv-s3cret".to_owned());
        for credentials in
            [Credentials::Community("public".into()), user(None), user(Some(privacy))]
        {
            let outlets = HashMap::from([("1".parse().unwrap(), "node-a".into())]);
            let limit = Duration::from_millis(200);
            let mut pdu = Pdu::new("p", &address, credentials, limit, outlets);
            for _ in 0..20 {
                let error = pdu.poll(Some(2.0)).await.unwrap_err().to_string();
                assert!(error.starts_with(&address), "{error}");
                assert!(!error.contains("s3cret") && !error.contains("public"), "{error}");
            }
            assert_eq!(contract::device_holds(&mut pdu).await, 0);
        }
        nonsense.abort();
    }
}
