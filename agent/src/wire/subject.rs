//! Bus subjects: `eo.v1.<tenant>.<host>.<kind>`.

use super::Kind;

/// The subject of a message. Tenant and host are cleaned here only; the rows
/// carry them as they are.
pub fn subject(tenant: &str, host: &str, kind: Kind) -> String {
    format!("eo.v1.{}.{}.{}", token(tenant), token(host), kind.as_str())
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
}
