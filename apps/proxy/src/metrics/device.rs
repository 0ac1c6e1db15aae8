//! Devices that work for a proxy, as they count themselves.

use serde_json::{Value, json};
use warpdrive_pmd::stats::DeviceStats;

use super::prometheus::{Kind, Prometheus};

/// What a device has done.
#[derive(Clone, Debug)]
pub struct DeviceReport {
    /// Its name.
    pub name: String,
    /// What it counts.
    pub stats: DeviceStats,
}

impl DeviceReport {
    /// Adds it to a text for Prometheus.
    pub fn to_prometheus(&self, out: &mut Prometheus) {
        let (labels, stats) = ([("device", &*self.name)], &self.stats);
        let mut counter = |name, help, value: u64| out.family(Kind::Counter, name, help).add(&labels, value);
        counter("device_requests_total", "Requests that the device completed.", stats.requests);
        counter("device_errors_total", "Requests that the device completed with an error.", stats.errors);
        counter("device_input_bytes_total", "Bytes that the device took.", stats.bytes_in);
        counter("device_output_bytes_total", "Bytes that the device gave.", stats.bytes_out);
        counter("device_queues_lost_total", "Times that a queue was lost.", stats.queues_lost);
        counter(
            "device_queues_reopened_total",
            "Times that a lost queue was opened anew.",
            stats.queues_reopened,
        );
        let mut failed = out.family(Kind::Gauge, "device_failed", "1 if the device has died.");
        failed.add(&labels, u64::from(stats.failed));
        let (mut sum, mut requests) = (0, 0);
        let buckets: Vec<(f64, u64)> = stats
            .fill
            .iter()
            .zip(0_u64..)
            .map(|(batches, fill)| {
                (sum, requests) = (sum + batches, requests + batches * fill);
                (fill as f64, sum)
            })
            .collect();
        let help = "How many requests a batch had: how well lanes are filled.";
        let mut fill = out.family(Kind::Histogram, "device_batch_requests", help);
        fill.distribution(&labels, buckets, requests as f64, sum);
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "requests": self.stats.requests,
            "errors": self.stats.errors,
            "failed": self.stats.failed,
            "queues_lost": self.stats.queues_lost,
            "queues_reopened": self.stats.queues_reopened,
            "fill": self.stats.fill,
            "wait_p99": self.stats.wait.p99_ns as f64 / 1e9,
        })
    }
}
