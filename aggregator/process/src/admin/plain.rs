//! Metrics for those who do not read OpenMetrics: the text format of Prometheus, version 0.0.4. Pure.

use std::fmt::Write as _;

/// The same metrics as in OpenMetrics' `text`. The differences are in what stands above the samples: there a counter and an
/// info are called by their names, here as their samples are. `# EOF` stays: it is a comment here.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    // The suffix follows from the type, which stands below the help.
    let mut help = None;
    for line in text.lines() {
        if let Some(said) = line.strip_prefix("# HELP ") {
            help = said.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|said| said.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, words)) = help.take() {
                // A text takes whatever is written.
                let _ = writeln!(plain, "# HELP {name}{suffix} {words}");
            }
            let _ = writeln!(plain, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with("# UNIT ") {
            let _ = writeln!(plain, "{line}");
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_infos_are_called_as_their_samples_are_and_the_rest_stays() {
        let text = "# HELP told Told it.\n# TYPE told counter\ntold_total{a=\"b\"} 3\n\
                    # HELP build It.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n\
                    # HELP took_seconds Time.\n# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n\
                    took_seconds_bucket{le=\"+Inf\"} 1\n# EOF\n";
        let expected = "# HELP told_total Told it.\n# TYPE told_total counter\ntold_total{a=\"b\"} 3\n\
                        # HELP build_info It.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n\
                        # HELP took_seconds Time.\n# TYPE took_seconds histogram\n\
                        took_seconds_bucket{le=\"+Inf\"} 1\n# EOF\n";
        assert_eq!(plain(text), expected);
    }
}
