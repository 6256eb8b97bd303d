//! What this process costs its node, for `/metrics`: under the names that every other program has for it.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads the figures when somebody asks. To be registered without a prefix. Where the kernel does not say, none are shown.
#[derive(Debug)]
pub struct Cost;

/// Of a second, what /proc counts processor time in: `USER_HZ`, which is 100 for every architecture that Rust's std has.
const TICKS_PER_SECOND: f64 = 100.0;

impl Collector for Cost {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // An error here would cost the whole page: a figure that cannot be read is missing from it, never wrong.
        let read = |file| fs::read_to_string(file).ok();
        if let Some(ticks) = read("/proc/self/stat").and_then(|stat| cpu_ticks(&stat)) {
            let seconds = ConstCounter::new(ticks as f64 / TICKS_PER_SECOND);
            show(&mut encoder, "process_cpu_seconds", "Processor time that this process has taken", &seconds)?;
        }
        if let Some(bytes) = read("/proc/self/status").and_then(|status| resident_bytes(&status)) {
            let bytes = ConstGauge::new(bytes);
            show(&mut encoder, "process_resident_memory_bytes", "Memory that this process holds", &bytes)?;
        }
        Ok(())
    }
}

/// User and system time of `/proc/PID/stat` (proc(5): fields 14 and 15), in ticks.
fn cpu_ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name, in parentheses, and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(14 - 3);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some(user + system)
}

/// `VmRSS` of `/proc/PID/status`, which is in KiB, in bytes.
fn resident_bytes(status: &str) -> Option<u64> {
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kibibytes.parse::<u64>().ok()? * 1024)
}

fn show(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn processor_time_is_that_of_both_modes_whatever_the_program_is_called() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 500 0 2 0 250 31 9 9 20 0 3 0 100 1000 200";
        assert_eq!(cpu_ticks(stat), Some(281));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_what_is_resident_in_bytes() {
        assert_eq!(resident_bytes("VmSize:\t  900 kB\nVmRSS:\t    12 kB\n"), Some(12 * 1024));
        assert_eq!(resident_bytes("VmSize:\t  900 kB\n"), None);
    }

    #[test]
    fn this_process_has_both_figures() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Cost));
        let mut text = String::new();
        encode(&mut text, &registry).expect("written");
        let value = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse::<f64>().expect("a number")
        };
        assert!((1e6..1e10).contains(&value("process_resident_memory_bytes")), "{text}");
        assert!((0.0..1e6).contains(&value("process_cpu_seconds_total")), "{text}");
    }
}
