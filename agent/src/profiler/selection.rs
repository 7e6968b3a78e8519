//! Whose stacks may leave the node: a pure choice by workload.
//!
//! Patterns are workload keys with `*` for any text (`declared/shop-*`,
//! `systemd/nginx.service`). Without `only`, everything may; `except` wins.
//! What is not chosen keeps its samples under one name, so that CPU totals
//! stay right.

use std::collections::HashMap;
use std::sync::Arc;

use wildmatch::WildMatch;

use super::{ProcessId, Window};

pub const NOT_PROFILED: &str = "[not profiled]";

/// The patterns, ready for matching.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    only: Vec<WildMatch>,
    except: Vec<WildMatch>,
}

impl Selection {
    pub fn new(only: &[String], except: &[String]) -> Selection {
        let ready =
            |patterns: &[String]| patterns.iter().map(|text| WildMatch::new(text)).collect();
        Selection { only: ready(only), except: ready(except) }
    }

    pub fn takes(&self, workload: &str) -> bool {
        let any = |patterns: &[WildMatch]| patterns.iter().any(|one| one.matches(workload));
        (self.only.is_empty() || any(&self.only)) && !any(&self.except)
    }

    /// Leaves the stacks of the chosen, and the counts of all. `workload` names
    /// that of a process; a process without one is nobody's and is not chosen
    /// where there is a choice.
    pub fn apply(
        &self,
        window: Window,
        workload: impl Fn(ProcessId) -> Option<Arc<str>>,
    ) -> Window {
        if self.only.is_empty() && self.except.is_empty() {
            return window;
        }
        let mut stacks: HashMap<(ProcessId, Vec<Arc<str>>), i64> = HashMap::new();
        for ((process, stack), count) in window.stacks {
            let taken = workload(process).is_some_and(|key| self.takes(&key));
            let stack = if taken { stack } else { vec![NOT_PROFILED.into()] };
            *stacks.entry((process, stack)).or_default() += count;
        }
        Window { stacks, ..window }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(only: &[&str], except: &[&str]) -> Selection {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        Selection::new(&owned(only), &owned(except))
    }

    #[test]
    fn except_wins_and_nothing_said_is_everything() {
        let all = selection(&[], &[]);
        assert!(all.takes("declared/shop"));
        let some = selection(&["declared/shop*", "systemd/nginx.service"], &["declared/shop-pay*"]);
        for (workload, taken) in [
            ("declared/shop", true),
            ("declared/shop-cart", true),
            ("declared/shop-payment", false),
            ("systemd/nginx.service", true),
            ("process/bash", false),
        ] {
            assert_eq!(some.takes(workload), taken, "{workload}");
        }
        assert!(!selection(&[], &["process/*"]).takes("process/bash"));
    }

    #[test]
    fn what_is_not_chosen_keeps_its_count_only() {
        let id = |pid| ProcessId { pid, start_ticks: 1 };
        let mut window = Window { lost: 4, ..Window::default() };
        window.stacks.insert((id(1), vec!["main".into(), "secret".into()]), 2);
        window.stacks.insert((id(1), vec!["main".into()]), 3);
        window.stacks.insert((id(2), vec!["open".into()]), 5);
        window.stacks.insert((id(3), vec!["ended".into()]), 7);
        let names = |process: ProcessId| match process.pid {
            1 => Some("process/private".into()),
            2 => Some("declared/open".into()),
            _ => None,
        };
        let left = selection(&["declared/*"], &[]).apply(window, names);
        assert_eq!((left.samples(), left.lost), (17, 4));
        assert_eq!(left.stacks[&(id(1), vec![NOT_PROFILED.into()])], 5);
        assert_eq!(left.stacks[&(id(2), vec!["open".into()])], 5);
        assert_eq!(left.stacks[&(id(3), vec![NOT_PROFILED.into()])], 7);
    }
}
