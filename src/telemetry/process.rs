//! What the operating system tells of this process, read from `/proc/self` at each scrape; nothing where there is none.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};

/// Ticks per second in `/proc`: fixed at 100 for user space on every architecture that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A collector for the registry of the exporter's instruments.
#[derive(Debug, Default)]
pub(super) struct Process;

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        // The directory is itself open while it is counted.
        let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as f64);
        [
            family("process_cpu_seconds_total", MetricType::COUNTER, cpu_seconds(&stat)),
            family("process_resident_memory_bytes", MetricType::GAUGE, status_bytes(&status, "VmRSS:")),
            family("process_virtual_memory_bytes", MetricType::GAUGE, status_bytes(&status, "VmSize:")),
            family("process_open_fds", MetricType::GAUGE, open),
            family("process_max_fds", MetricType::GAUGE, max_fds(&limits)),
            family("process_start_time_seconds", MetricType::GAUGE, start_time(&stat, &boot)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn family(name: &str, kind: MetricType, value: Option<f64>) -> Option<MetricFamily> {
    let value = value?;
    let mut metric = Metric::default();
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(super::instruments::HELP.to_owned());
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    Some(family)
}

/// Field `number` of `/proc/self/stat` as proc(5) counts them. The second one is a name in parentheses that may hold
/// anything, so counting starts behind it.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_time(stat: &str, boot: &str) -> Option<f64> {
    let booted: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(booted + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

fn status_bytes(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn max_fds(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => None,
        soft => soft.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "12 (a (b) c) S 1 12 12 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 4200 1000000 300 1 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(start_time(stat, "cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_042.0));
        assert_eq!(status_bytes("Name:\tx\nVmRSS:\t    2048 kB\n", "VmRSS:"), Some(2_097_152.0));
        let limits = "Max processes  10  20  processes\nMax open files            1024                 4096  files\n";
        assert_eq!(max_fds(limits), Some(1024.0));
        assert_eq!(max_fds("Max open files  unlimited unlimited files"), None);
    }

    #[test]
    fn what_is_not_there_is_not_shown() {
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(start_time("", ""), None);
        assert_eq!(status_bytes("", "VmRSS:"), None);
        assert_eq!(max_fds(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_all_of_them() {
        let families = Process.collect();
        assert_eq!(families.len(), 6);
        for family in families {
            let metric = &family.get_metric()[0];
            let is_counter = family.get_field_type() == MetricType::COUNTER;
            let value = if is_counter { metric.get_counter().get_value() } else { metric.get_gauge().get_value() };
            assert!(value > 0.0 || is_counter, "{} {value}", family.name());
        }
    }
}
