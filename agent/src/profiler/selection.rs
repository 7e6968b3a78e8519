//! Whose stacks may leave the node: a pure choice by workload, namespace or label.
//!
//! Patterns are workload keys with `*` for any text (`declared/shop-*`,
//! `systemd/nginx.service`), `namespace:shop-*`, or `label:profile=on` for a
//! label of the pod or container. Without `only`, everything may; `except` wins.
//! Who is not known yet has no namespace and no labels. What is not chosen keeps its samples under one name, so that CPU totals
//! stay right.

use std::collections::HashMap;
use std::sync::Arc;

use wildmatch::WildMatch;

use super::{ProcessId, Window};

pub const NOT_PROFILED: &str = "[not profiled]";

/// What is known of the owner of a stack.
#[derive(Debug, Clone, Copy, Default)]
pub struct Whose<'a> {
    pub workload: &'a str,
    pub namespace: Option<&'a str>,
    /// Each `key=value`.
    pub labels: &'a [Arc<str>],
}

/// One pattern, ready for matching.
#[derive(Debug, Clone)]
enum Pattern {
    Workload(WildMatch),
    Namespace(WildMatch),
    Label(WildMatch),
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        if let Some(label) = text.strip_prefix("label:") {
            return Pattern::Label(WildMatch::new(label));
        }
        match text.strip_prefix("namespace:") {
            Some(namespace) => Pattern::Namespace(WildMatch::new(namespace)),
            None => Pattern::Workload(WildMatch::new(text)),
        }
    }

    fn matches(&self, whose: Whose<'_>) -> bool {
        match self {
            Pattern::Workload(pattern) => pattern.matches(whose.workload),
            Pattern::Namespace(pattern) => {
                whose.namespace.is_some_and(|name| pattern.matches(name))
            }
            Pattern::Label(pattern) => whose.labels.iter().any(|label| pattern.matches(label)),
        }
    }
}

/// All patterns.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    only: Vec<Pattern>,
    except: Vec<Pattern>,
}

impl Selection {
    pub fn new(only: &[String], except: &[String]) -> Selection {
        let ready = |patterns: &[String]| patterns.iter().map(|text| Pattern::new(text)).collect();
        Selection { only: ready(only), except: ready(except) }
    }

    pub fn takes(&self, whose: Whose<'_>) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|one| one.matches(whose));
        (self.only.is_empty() || any(&self.only)) && !any(&self.except)
    }

    /// Leaves the stacks of the chosen, and the counts of all. `owner` tells
    /// that of a process; a process without one is nobody's and is not chosen
    /// where there is a choice.
    pub fn apply<'a>(
        &self,
        window: Window,
        owner: impl Fn(ProcessId) -> Option<Whose<'a>>,
    ) -> Window {
        if self.only.is_empty() && self.except.is_empty() {
            return window;
        }
        let mut stacks: HashMap<(ProcessId, Vec<Arc<str>>), i64> = HashMap::new();
        for ((process, stack), count) in window.stacks {
            let taken = owner(process).is_some_and(|whose| self.takes(whose));
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
        let of = |workload| Whose { workload, ..Whose::default() };
        assert!(all.takes(of("declared/shop")));
        let some = selection(&["declared/shop*", "systemd/nginx.service"], &["declared/shop-pay*"]);
        for (workload, taken) in [
            ("declared/shop", true),
            ("declared/shop-cart", true),
            ("declared/shop-payment", false),
            ("systemd/nginx.service", true),
            ("process/bash", false),
        ] {
            assert_eq!(some.takes(of(workload)), taken, "{workload}");
        }
        assert!(!selection(&[], &["process/*"]).takes(of("process/bash")));
    }

    #[test]
    fn a_namespace_or_a_label_opts_in() {
        let labels = ["app=web".into(), "profile=on".into()];
        let pod = Whose { workload: "pod/shop.web", namespace: Some("shop"), labels: &labels };
        let stranger = Whose { workload: "pod/shop.web", ..Whose::default() };
        for (only, except, taken) in [
            (&["label:profile=on"][..], &[][..], true),
            (&["label:profile=*"], &["namespace:sh*"], false),
            (&["label:profile=o"], &[], false),
            (&["namespace:shop"], &[], true),
            (&["namespace:shop"], &["label:app=web"], false),
            (&["profile=on"], &[], false),
        ] {
            let selection = selection(only, except);
            assert_eq!(selection.takes(pod), taken, "{only:?} except {except:?}");
            assert!(!selection.takes(stranger), "nothing is known of it: {only:?}");
        }
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
            1 => Some(Whose { workload: "process/private", ..Whose::default() }),
            2 => Some(Whose { workload: "declared/open", ..Whose::default() }),
            _ => None,
        };
        let left = selection(&["declared/*"], &[]).apply(window, names);
        assert_eq!((left.samples(), left.lost), (17, 4));
        assert_eq!(left.stacks[&(id(1), vec![NOT_PROFILED.into()])], 5);
        assert_eq!(left.stacks[&(id(2), vec!["open".into()])], 5);
        assert_eq!(left.stacks[&(id(3), vec![NOT_PROFILED.into()])], 7);
    }
}
