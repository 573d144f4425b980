//! What a measurement found: figures, each with a unit and a direction.

/// The better direction of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

/// The kind of a figure, and its names in tables and in the JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) key: &'static str,
    /// The column's title, with the unit.
    pub(crate) title: &'static str,
    pub(crate) better: Better,
}

macro_rules! metrics {
    ($($name:ident: $key:literal, $title:literal, $better:ident;)*) => {
        $(pub(crate) const $name: Metric = Metric { key: $key, title: $title, better: Better::$better };)*
    };
}

metrics! {
    OPERATIONS: "operations_per_s", "ops/s", More;
    MIB: "mib_per_s", "MiB/s", More;
    DELIVERIES: "deliveries_per_s", "deliveries/s", More;
    CREATES: "creates_per_s", "creates/s", More;
    CREATE_P99: "create_p99_ms", "create p99 ms", Less;
    APPENDS: "appends_per_s", "appends/s", More;
    CATCH_UP: "catch_up_mib_per_s", "catch-up MiB/s", More;
    P50: "p50_ms", "p50 ms", Less;
    P99: "p99_ms", "p99 ms", Less;
    P999: "p99_9_ms", "p99.9 ms", Less;
    STALL: "longest_ms", "longest ms", Less;
    PASS_P50: "pass_p50_ms", "pass p50 ms", Less;
    PASS_P99: "pass_p99_ms", "pass p99 ms", Less;
    CPU_OPERATION: "server_cpu_us_per_operation", "CPU us/op", Less;
    CPU_MIB: "server_cpu_us_per_mib", "CPU us/MiB", Less;
    CPU_DELIVERY: "server_cpu_us_per_delivery", "CPU us/delivery", Less;
    SWITCHES_OPERATION: "context_switches_per_operation", "switches/op", Less;
    SWITCHES_MIB: "context_switches_per_mib", "switches/MiB", Less;
    SWITCHES_DELIVERY: "context_switches_per_delivery", "switches/delivery", Less;
    LOAD_CPU: "load_generator_cpu_us_per_unit", "load CPU us", Less;
    WRITTEN_BYTE: "disk_bytes_per_byte_appended", "disk B/byte", Less;
    WRITTEN_APPEND: "disk_bytes_per_append", "disk B/append", Less;
    WRITTEN_STREAM: "disk_bytes_per_stream", "disk B/stream", Less;
    RSS: "rss_mib", "RSS MiB", Less;
    KIB_READER: "kib_per_reader", "KiB/reader", Less;
    KIB_STREAM: "kib_per_stream", "KiB/stream", Less;
    KIB_IDLE_STREAM: "kib_per_idle_stream", "KiB/idle stream", Less;
    RESTART: "restart_s", "restart s", Less;
}

/// The figures of a measurement, in the order of the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    values: Vec<(Metric, f64)>,
    /// Operations in each second of the measurement, for the workloads that show it.
    pub(crate) per_second: Vec<u64>,
}

impl Figures {
    /// Adds a figure. What could not be divided or read is left out.
    pub(crate) fn add(&mut self, metric: Metric, value: f64) {
        if value.is_finite() {
            self.values.push((metric, value));
        }
    }

    pub(crate) fn value(&self, metric: Metric) -> Option<f64> {
        self.values.iter().find(|(found, _)| *found == metric).map(|(_, value)| *value)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = (Metric, f64)> {
        self.values.iter().copied()
    }
}

/// The middle value; between two, their mean. `None` of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied()?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = values.get((values.len() / 2).checked_sub(1)?).copied()?;
    Some(f64::midpoint(lower, upper))
}

/// A figure with three digits that count, as tables and pictures show it.
pub(crate) fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![7.0]), Some(7.0));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn figures_have_three_digits() {
        let all = [63_232.4, 187.2, 18.75, 1.8251, 0.954].map(shown);
        assert_eq!(all, ["63232", "187", "18.8", "1.83", "0.95"]);
    }

    #[test]
    fn what_is_not_a_number_is_left_out() {
        let mut figures = Figures::default();
        figures.add(P50, f64::NAN);
        figures.add(P99, 2.0);
        assert_eq!((figures.value(P50), figures.value(P99)), (None, Some(2.0)));
    }
}
