//! Folded stacks: `command;root;...;leaf count`, one line each, as Brendan
//! Gregg's flamegraph.pl, inferno and speedscope read them.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Profile;

/// Lines with the most samples first.
pub fn encode(profile: &Profile) -> String {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for stack in &profile.stacks {
        let mut line = part(&stack.command);
        for frame in &stack.frames {
            line.push(';');
            line.push_str(&part(frame));
        }
        *sums.entry(line).or_default() += stack.samples;
    }
    let mut lines: Vec<_> = sums.into_iter().collect();
    lines.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let mut text = String::new();
    for (line, samples) in lines {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{line} {samples}");
    }
    text
}

/// The separators of the format may not stand in a name.
fn part(name: &str) -> String {
    name.replace(';', ":").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn lines_are_sorted_and_separators_stay_separators() {
        let text = encode(&example());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "app;[truncated: no frame pointer];spin (app) 5");
        assert_eq!(lines[1], "app;main (app);work: hard (app);write (libc.so.6) 3");
        assert_eq!(lines.len(), 3);
    }
}
