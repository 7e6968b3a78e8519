//! Bus subjects: `eo.v1.<tenant>.<host>.<kind>`, and what they are on Kafka: the
//! topic `eo.v1.<tenant>.<kind>` and the record key `<tenant>.<host>`.

use super::Kind;

/// The subject of a message. Tenant and host are cleaned here only; the rows
/// carry them as they are.
pub fn subject(tenant: &str, host: &str, kind: Kind) -> String {
    format!("eo.v1.{}.{}.{}", token(tenant), token(host), kind.as_str())
}

/// The topic of a tenant's messages of one kind.
pub fn topic(tenant: &str, kind: Kind) -> String {
    format!("eo.v1.{}.{}", token(tenant), kind.as_str())
}

/// Where a message with a subject lies on Kafka.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub topic: String,
    /// All of a node has one key, and so one partition of a topic: its order stays.
    pub key: String,
}

/// None for a text that is no subject.
pub fn place(subject: &str) -> Option<Place> {
    let mut tokens = subject.strip_prefix("eo.v1.")?.split('.');
    let (tenant, host, kind) = (tokens.next()?, tokens.next()?, tokens.next()?);
    let whole = tokens.next().is_none() && ![tenant, host, kind].contains(&"");
    whole
        .then(|| Place { topic: format!("eo.v1.{tenant}.{kind}"), key: format!("{tenant}.{host}") })
}

fn token(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '-' => c,
            _ => '_',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_wildcards_can_not_leave_their_token() {
        assert_eq!(
            subject("a.b", "node>1*é.example", Kind::Samples),
            "eo.v1.a_b.node_1___example.samples"
        );
    }

    #[test]
    fn a_subject_has_its_place_on_kafka() {
        let place = super::place(&subject("a.b", "node-1.example", Kind::Meters)).unwrap();
        assert_eq!(place.topic, topic("a.b", Kind::Meters));
        assert_eq!((&*place.topic, &*place.key), ("eo.v1.a_b.meters", "a_b.node-1_example"));
        for wrong in ["eo.v1.a.b", "eo.v1.a.b.samples.x", "eo.v1..b.samples", "other"] {
            assert_eq!(super::place(wrong), None, "{wrong}");
        }
    }
}
