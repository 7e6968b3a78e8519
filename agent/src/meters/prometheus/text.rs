//! The Prometheus text format, as much of it as gauges and counters need.
//! Pure; garbage lines are left out. (The crate prometheus-parse was weighed:
//! it brings regex and chrono for what is one split of a line.)

/// Samples of one answer that are looked at.
const MAX_SAMPLES: usize = 200_000;
const MAX_LABELS: usize = 64;

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    pub metric: &'a str,
    pub labels: Vec<(&'a str, String)>,
    pub value: f64,
}

impl Sample<'_> {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str())
    }
}

/// Samples of the metrics that `wanted` accepts, with finite values.
pub fn samples<'a>(
    text: &'a str,
    wanted: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = Sample<'a>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines
        .filter(move |line| {
            let end = line.find(['{', ' ', '\t']).unwrap_or(line.len());
            wanted(&line[..end])
        })
        .take(MAX_SAMPLES)
        .filter_map(sample)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' ', '\t'])?;
    let (metric, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value: f64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
    value.is_finite().then_some(Sample { metric, labels, value })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        if labels.len() == MAX_LABELS {
            return None;
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        labels.push((name.trim(), value));
        rest = after;
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_values_and_garbage_are_told_apart() {
        let text = "# HELP a b\na 1\nb{x=\"1\",y=\"a\\\"}, \\\\n\"} 2.5 1700000000000\nc{x=1} 3\nd NaN\ne{x=\"1\n";
        let all: Vec<Sample> = samples(text, |_| true).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].metric, all[0].value), ("a", 1.0));
        assert_eq!((all[1].label("y"), all[1].value), (Some("a\"}, \\n"), 2.5));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_values_are_finite(text in "[a-z{}=\",\\\\ 0-9.\n#+eNI-]{0,200}") {
            for sample in samples(&text, |_| true) {
                prop_assert!(sample.value.is_finite());
            }
        }
    }
}
