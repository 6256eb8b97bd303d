//! Which namespaces count.

use crate::config::{Scope, SystemNamespaces};
use crate::finding::Severity;

const SYSTEM: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

impl Scope {
    /// Whether a finding of that severity in `namespace` counts. What has no namespace (a node) always does.
    pub fn admits(&self, namespace: &str, severity: Severity) -> bool {
        if namespace.is_empty() {
            return true;
        }
        if SYSTEM.contains(&namespace) {
            match self.system {
                SystemNamespaces::Off => return false,
                SystemNamespaces::Critical if severity < Severity::Critical => return false,
                SystemNamespaces::Critical | SystemNamespaces::All => {}
            }
        }
        let any = |patterns: &[String]| patterns.iter().any(|pattern| glob(pattern, namespace));
        (self.watch.is_empty() || any(&self.watch)) && !any(&self.exclude)
    }
}

/// Whether all of `text` fits `pattern`. Linear in memory and at worst the product of both lengths in time.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and where the text goes on behind what it stands for.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, behind)) => {
                    star = Some((at, behind + 1));
                    (p, t) = (at + 1, behind + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_and_a_question_mark_for_one() {
        for (pattern, text) in
            [("*", ""), ("*", "a"), ("team-*", "team-a"), ("*-prod", "a-b-prod"), ("a?c", "abc"), ("a*b*c", "axxbxbc")]
        {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("team-*", "team"), ("a?c", "ac"), ("a*b", "abc"), ("abc", "ab")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn system_namespaces_count_for_what_is_critical() {
        let admits = |system, severity| Scope { system, ..Scope::default() }.admits("kube-system", severity);
        assert!(admits(SystemNamespaces::Critical, Severity::Critical));
        assert!(!admits(SystemNamespaces::Critical, Severity::Warning));
        assert!(admits(SystemNamespaces::All, Severity::Info));
        assert!(!admits(SystemNamespaces::Off, Severity::Critical));
        assert!(Scope::default().admits("kube-systems", Severity::Info));
    }

    #[test]
    fn what_is_excluded_does_not_count_even_when_watched() {
        let scope = Scope { watch: vec!["team-*".into()], exclude: vec!["*-test".into()], ..Scope::default() };
        assert!(scope.admits("team-a", Severity::Info));
        assert!(!scope.admits("team-a-test", Severity::Critical));
        assert!(!scope.admits("other", Severity::Critical));
        assert!(scope.admits("", Severity::Info), "nodes have no namespace");
    }
}
