//! From the outcome of a contest to its records, and to a table for people.

use std::fmt::Write;

use super::record::{Ratio, Record, Status};
use super::rounds::{Label, Outcome, Spread, Standing, Yardstick};

/// Competitor `name` of a contest.
fn record(outcome: &Outcome, name: &str, role: &str, over: Yardstick, standing: &Standing) -> Record {
    let (status, reason, timing) = match standing {
        Standing::Timed(timing) => (Status::Timed, None, Some(**timing)),
        Standing::Wrong(why) => (Status::Wrong, Some(why.clone()), None),
        Standing::Refused(why) => (Status::Refused, Some(why.clone()), None),
    };
    let (kernel, variant) = parts(name);
    let checked = timing.filter(|t| t.rows_checked > 0);
    let bandwidth = |bandwidth: f64| (outcome.yardstick != Yardstick::Empty).then_some(bandwidth * 1e-9);
    let gb_per_s = timing.and_then(|t| bandwidth(t.bandwidth));
    let limit_gb_per_s = timing.and_then(|_| bandwidth(outcome.unit.1.bandwidth));
    Record {
        name: String::new(),
        definition: outcome.label.definition.clone(),
        kernel: kernel.to_owned(),
        rows: outcome.shape.0,
        cols: outcome.shape.1,
        choices: outcome.choices,
        dtype: outcome.label.dtype.clone(),
        options: Some(outcome.label.options.clone()).filter(|options| !options.is_empty()),
        variant: variant.to_owned(),
        role: role.to_owned(),
        status,
        reason,
        ms: timing.and_then(|t| scaled(t.seconds, 1e3)),
        cpu_ms: timing.and_then(|t| scaled(t.cpu_seconds?, 1e3)),
        gb_per_s,
        limit_gb_per_s,
        fraction_of_limit: gb_per_s.zip(limit_gb_per_s).map(|(own, limit)| own / limit).filter(|x| x.is_finite()),
        ratio: timing.and_then(|t| {
            let cpu = t.cpu_ratio.and_then(|cpu| scaled(cpu, 1.0));
            Some(Ratio { over: over.name().to_owned(), time: scaled(t.ratio, 1.0)?, cpu })
        }),
        first_use_ms: timing.and_then(|t| t.first_use).map(|seconds| seconds * 1e3),
        worst_ulp: checked.and_then(|t| t.worst_ulp),
        rows_checked: checked.map(|t| t.rows_checked),
        noisy: outcome.unit.1.seconds.is_noisy(),
    }
}

/// In another unit. JSON has no infinity: what a clock that stood still gives is no time.
fn scaled(s: Spread, by: f64) -> Option<Spread> {
    let s = s.scaled(by);
    [s.q1, s.median, s.q3].into_iter().all(f64::is_finite).then_some(s)
}

/// What a competitor does, and the name of its variant: `route: router/row/...`, `route + plan/one/...`,
/// `softmax/stream/...`.
fn parts(name: &str) -> (&str, &str) {
    if let Some((what, variant)) = name.split_once(": ") {
        return (what, variant);
    }
    // Permutations are two kernels of one name.
    let words = if name.starts_with("permute/") { 2 } else { 1 };
    let end = name.match_indices('/').nth(words - 1).map_or(name.len(), |(at, _)| at);
    (&name[..end], name.split_once(" + ").map_or(name, |(_, variant)| variant))
}

/// The records of one shape, the yardstick first.
pub fn records(outcome: &Outcome) -> Vec<Record> {
    let (unit, timing) = &outcome.unit;
    let yardstick = outcome.yardstick;
    let mut records = vec![record(outcome, unit, yardstick.name(), yardstick, &Standing::Timed(Box::new(*timing)))];
    records.extend(outcome.entrants.iter().map(|e| record(outcome, &e.name, e.role, e.over, &e.standing)));
    records
}

/// The table of one shape.
pub fn table(outcome: &Outcome) -> String {
    let records = records(outcome);
    let (cpu, unit) = (outcome.unit.1.cpu_ratio.is_some(), outcome.yardstick.name());
    let width = records.iter().map(|r| r.label().len()).max().unwrap_or(0);
    let mut text = format!(
        "\n{}\n  {:width$}  {:6}  {:>9}  {:>8}  {:>6}  {:>7}  {:>11}{}  {:>8}  {:>9}\n",
        heading(outcome),
        "variant",
        "",
        "ms",
        "GB/s",
        "limit",
        format!("x {unit}"),
        "quartiles",
        if cpu { format!("  x {unit} CPU") } else { String::new() },
        "first ms",
        "worst ULP"
    );
    for record in &records {
        let role = if record.role == "other" { "" } else { record.role.as_str() };
        let _ = write!(text, "  {:width$}  {role:6}", record.label());
        let _ = match (&record.reason, record.ms, &record.ratio) {
            (Some(reason), ..) => {
                let what = if record.status == Status::Wrong { "WRONG" } else { "not run" };
                writeln!(text, "  {what}: {reason}")
            }
            (None, Some(ms), Some(Ratio { over, time: x, cpu })) => {
                let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
                let quartiles = format!("{:.2}..{:.2}", x.q1, x.q3);
                let cpu = cpu.map_or(String::new(), |c| format!("  {:>1$.2}", c.median, unit.len() + 6));
                let ulp = or_dash(record.worst_ulp.map(number));
                let gb = or_dash(record.gb_per_s.map(|gb| format!("{gb:.2}")));
                let limit = or_dash(record.fraction_of_limit.map(|share| format!("{:.0} %", share * 100.0)));
                let first = or_dash(record.first_use_ms.map(|ms| format!("{ms:.1}")));
                let over = if over == unit { String::new() } else { format!("  x {over}") };
                writeln!(
                    text,
                    "  {:>9.3}  {gb:>8}  {limit:>6}  {:>7.2}  {quartiles:>11}{cpu}  {first:>8}  {ulp:>9}{over}",
                    ms.median, x.median
                )
            }
            _ => writeln!(text),
        };
    }
    if outcome.unit.1.seconds.is_noisy() {
        let range = outcome.unit.1.seconds.relative() * 100.0;
        let _ =
            writeln!(text, "  noisy: the interquartile range of the {unit}'s times is {range:.0} % of their median");
    }
    text
}

/// What was measured, in words.
fn heading(outcome: &Outcome) -> String {
    let Label { definition, dtype, options } = &outcome.label;
    // Permutations have their type in the title.
    let dtype = if outcome.title.contains(dtype.as_str()) { "" } else { dtype };
    let parts = [outcome.title.as_str(), dtype, options].into_iter().filter(|part| !part.is_empty());
    format!("{definition}: {}", parts.collect::<Vec<_>>().join(", "))
}

/// Whole numbers without decimals.
pub fn number(x: f64) -> String {
    if x.fract() == 0.0 { format!("{x:.0}") } else { format!("{x:.3}") }
}

#[cfg(test)]
mod tests {
    use super::super::record::made_up::exactly;
    use super::super::rounds::{Entrant, Timing};
    use super::*;

    fn timing(x: f64) -> Timing {
        Timing {
            seconds: exactly(x * 1e-3),
            cpu_seconds: Some(exactly(x * 2e-3)),
            ratio: exactly(x),
            cpu_ratio: Some(exactly(x)),
            bandwidth: 1e10 / x,
            first_use: Some(0.25),
            worst_ulp: Some(1.0),
            rows_checked: 3,
        }
    }

    fn outcome(yardstick: (Yardstick, &str), entrants: &[(&str, &'static str, Yardstick, Standing)]) -> Outcome {
        let entrant = |(name, role, over, standing): &(&str, &'static str, Yardstick, Standing)| Entrant {
            name: (*name).to_owned(),
            role,
            over: *over,
            standing: standing.clone(),
        };
        Outcome {
            label: Label {
                definition: "route-model".to_owned(),
                dtype: "bf16".to_owned(),
                options: "model=mine".to_owned(),
            },
            shape: (4096, 64),
            choices: Some(6),
            title: "some".to_owned(),
            yardstick: yardstick.0,
            unit: (yardstick.1.to_owned(), timing(1.0)),
            entrants: entrants.iter().map(entrant).collect(),
        }
    }

    #[test]
    fn kernels_and_variants_are_told_apart() {
        for (name, kernel, variant) in [
            ("softmax/stream/f32/w8/x4", "softmax", "softmax/stream/f32/w8/x4"),
            ("arg max: sample/stream/f32/w8/x4", "arg max", "sample/stream/f32/w8/x4"),
            ("route + plan/one/w1", "route + plan", "plan/one/w1"),
            ("permute/combine/bf16/w8", "permute/combine", "permute/combine/bf16/w8"),
            ("softmax, then inverse cdf", "softmax, then inverse cdf", "softmax, then inverse cdf"),
        ] {
            assert_eq!(parts(name), (kernel, variant));
        }
    }

    #[test]
    fn records_say_what_they_are_and_are_over() {
        let (read, route) = (Yardstick::Read, Yardstick::Route);
        let timed = |x| Standing::Timed(Box::new(timing(x)));
        let refused = Standing::Refused("too few bindings".to_owned());
        let outcome = outcome(
            (read, "read/f32/baseline"),
            &[
                ("route: router/row/bf16/w8", "chosen", read, timed(2.0)),
                ("route + plan/one/w1", "chosen", route, timed(1.5)),
                ("stats/bf16/w8", "chosen", read, refused),
            ],
        );
        let records = records(&outcome);
        assert!(records.iter().all(|r| (&*r.definition, &*r.dtype, r.choices) == ("route-model", "bf16", Some(6))));
        assert!(records.iter().all(|r| r.options.as_deref() == Some("model=mine") && !r.noisy));
        let over: Vec<_> = records.iter().map(|r| r.ratio.as_ref().map(|ratio| ratio.over.as_str())).collect();
        assert_eq!(over, [Some("read"), Some("read"), Some("route"), None]);
        assert_eq!((records[1].fraction_of_limit, records[1].first_use_ms), (Some(0.5), Some(250.0)));
        assert_eq!((records[1].ms.unwrap().median, records[1].cpu_ms.unwrap().median), (2.0, 4.0));
        assert_eq!((records[3].status, records[3].reason.as_deref()), (Status::Refused, Some("too few bindings")));
        let table = table(&outcome);
        for part in
            ["route-model: some, bf16, model=mine", "route + plan: plan/one/w1", "not run: too few bindings", "50 %"]
        {
            assert!(table.contains(part), "{table}");
        }
    }

    /// JSON has neither NaN nor infinity, so a report that had one could not be read.
    #[test]
    fn times_of_a_clock_that_stands_still_are_left_out() {
        let still = Timing { cpu_ratio: Some(exactly(f64::NAN)), cpu_seconds: Some(exactly(0.0)), ..timing(2.0) };
        let empty = Yardstick::Empty;
        let outcome =
            outcome((empty, "empty dispatch"), &[("stats/f32/w8", "chosen", empty, Standing::Timed(Box::new(still)))]);
        let record = &records(&outcome)[1];
        assert_eq!(record.ratio.as_ref().map(|ratio| ratio.cpu), Some(None));
        assert_eq!((record.gb_per_s, record.limit_gb_per_s, record.fraction_of_limit), (None, None, None));
        let text = serde_json::to_string(record).unwrap();
        assert_eq!(&serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
