//! `onesum bench compare`: what has become slower or faster between two runs.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::record::{Record, Report, Status};
use super::rounds::Spread;
use crate::failure::Failure;
use crate::run::paths::is_stdout;
use crate::tensor::Files;
use crate::terminal::{say, say_json};

const HELP: &str = "\
Examples:
  onesum bench --json before.json && onesum bench --json after.json
  onesum bench compare before.json after.json                    exit code 3 if anything became 1.10 times slower
  onesum bench compare before.json after.json softmax --threshold 1.05
  onesum bench compare one-gpu.json other-gpu.json --by time     milliseconds, not ratios to each one's own copy

Results are paired by their names: definition, shape, element type, options, and 'chosen' or a variant. What is compared
is the first that both have of: CPU time over the yardstick's, time over the yardstick's (both taken within each round,
so that a machine that is slower as a whole does not count), CPU time, time. --by says which instead. CPU time is what a
software adapter's process took on all cores: steady, but blind to work that is spread over fewer of them. Where the two
runs had different variants of the copy or read as the fastest, a ratio counts only if the time alone says the same.

'ratio' is AFTER / BEFORE, by medians. Its spread is where the ratio of the two true medians lies with 95 % confidence
(more from 11 rounds on): 2.5 standard errors to either side, from the quartiles and the number of rounds of each run. It
knows what varies between the rounds of a run, not what varies between runs; of results that a run called noisy it goes
from quartile to quartile. A regression is a ratio past the threshold
whose spread lies above 1, or a result that has become wrong. With fewer than 7 rounds nothing but wrong results is one.
Yardsticks themselves are shown, and judged only by --by time or cpu-time.";

/// Compare two runs: exit code 3 if something has become slower
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// A report of `onesum bench --json`
    #[arg(value_name = "BEFORE.json")]
    before: PathBuf,
    /// The report that is held against it
    #[arg(value_name = "AFTER.json")]
    after: PathBuf,
    /// Only results whose names contain this
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// So many times what it was is a regression
    #[arg(long, value_name = "X", default_value = "1.10", value_parser = threshold)]
    threshold: f64,
    /// What is compared
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = By::Auto)]
    by: By,
    /// Write the comparison as JSON; to standard output, in place of the table, with -
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn threshold(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if f64::is_finite(x) && x >= 1.0 => Ok(x),
        _ => Err("expected a number of at least 1, such as 1.10".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// The first of the others, in this order, that both runs have
    Auto,
    /// CPU time over the yardstick's
    CpuRatio,
    /// Time over the yardstick's
    Ratio,
    /// CPU time
    CpuTime,
    /// Time
    Time,
}

impl By {
    fn measures(self) -> &'static [Measure] {
        match self {
            Self::Auto => &[Measure::CpuRatio, Measure::Ratio, Measure::CpuTime, Measure::Time],
            Self::CpuRatio => &[Measure::CpuRatio],
            Self::Ratio => &[Measure::Ratio],
            Self::CpuTime => &[Measure::CpuTime],
            Self::Time => &[Measure::Time],
        }
    }
}

/// What two results are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Measure {
    CpuRatio,
    Ratio,
    CpuTime,
    Time,
}

impl Measure {
    fn name(self) -> &'static str {
        match self {
            Self::CpuRatio => "CPU time over the yardstick's",
            Self::Ratio => "time over the yardstick's",
            Self::CpuTime => "CPU time, ms",
            Self::Time => "time, ms",
        }
    }

    fn is_ratio(self) -> bool {
        matches!(self, Self::CpuRatio | Self::Ratio)
    }

    /// The same of the result alone, where it is over a yardstick's.
    fn alone(self) -> Option<Self> {
        match self {
            Self::CpuRatio => Some(Self::CpuTime),
            Self::Ratio => Some(Self::Time),
            Self::CpuTime | Self::Time => None,
        }
    }

    /// Both of it, if both have it and it means the same.
    fn of(self, before: &Record, after: &Record) -> Option<(Spread, Spread)> {
        let both = match self {
            Self::CpuTime => (before.cpu_ms?, after.cpu_ms?),
            Self::Time => (before.ms?, after.ms?),
            Self::CpuRatio | Self::Ratio => {
                let (a, b) = (before.ratio.as_ref()?, after.ratio.as_ref()?);
                // A yardstick over itself is 1 whatever it does.
                let same = a.over == b.over && !before.is_yardstick();
                let both = if self == Self::Ratio { Some((a.time, b.time)) } else { a.cpu.zip(b.cpu) };
                both.filter(|_| same)?
            }
        };
        (both.0.median > 0.0 && both.1.median > 0.0).then_some(both)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// Past the threshold, and more than the spread.
    Slower,
    /// The same the other way.
    Faster,
    /// Neither.
    Same,
    /// Was right and is not.
    Wrong,
    /// The yardstick, shown beside what it measures.
    Yardstick,
}

/// A result that both runs have.
#[derive(Serialize)]
struct Pair<'a> {
    name: &'a str,
    /// What chose a variant may choose another one.
    variants: [&'a str; 2],
    /// Nothing of what is wrong.
    by: Option<Measure>,
    before: Option<Spread>,
    after: Option<Spread>,
    ratio: Option<f64>,
    /// Where the true ratio lies; nothing where there are too few rounds to say.
    spread: Option<[f64; 2]>,
    /// The ratios are over different variants of the yardstick.
    other_yardstick: bool,
    /// One of the runs said so.
    noisy: bool,
    verdict: Verdict,
}

/// A result that is not compared, and why.
#[derive(Serialize)]
struct Unpaired<'a> {
    name: &'a str,
    why: String,
}

/// A thing that both runs say and not the same of.
#[derive(Serialize)]
struct Difference {
    what: &'static str,
    before: String,
    after: String,
}

/// Two runs, side by side. Field names are stable.
#[derive(Serialize)]
struct Comparison<'a> {
    version: u32,
    before: String,
    after: String,
    threshold: f64,
    differences: Vec<Difference>,
    results: Vec<Pair<'a>>,
    unpaired: Vec<Unpaired<'a>>,
    slower: usize,
    faster: usize,
    wrong: usize,
    /// Of the ratios that are judged.
    geometric_mean: Option<f64>,
}

/// Fewer rounds do not say how much they vary: quartiles of so few are hardly better than the extremes.
const FEWEST_ROUNDS: u32 = 7;

/// In standard errors: 95 % of ratios are within with 7 rounds (simulated below), 97.6 % with 21.
const WIDTH: f64 = 2.5;

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (before, after) = (Report::read(&args.before)?, Report::read(&args.after)?);
    let filter = args.filter.as_deref().unwrap_or_default();
    let comparison = compare(&before, &after, args.by, args.threshold, filter);
    let names = [&args.before, &args.after].map(|path| path.display().to_string());
    if comparison.results.is_empty() {
        let named = if filter.is_empty() { String::new() } else { format!(" whose name contains {filter:?}") };
        return Err(Failure::error(format!("{} and {} have no result in common{named}", names[0], names[1])));
    }
    match &args.json {
        Some(path) if is_stdout(path) => say_json(&comparison)?,
        Some(path) => {
            let mut files = Files::default();
            files.text(path, &(serde_json::to_string_pretty(&comparison)? + "\n"))?;
            files.commit()?;
            say(&comparison.table(&names))?;
        }
        None => say(&comparison.table(&names))?,
    }
    comparison.verdict()
}

fn compare<'a>(before: &'a Report, after: &'a Report, by: By, threshold: f64, filter: &str) -> Comparison<'a> {
    // What a yardstick takes over itself says nothing.
    let useful = |record: &&Record| {
        record.name.contains(filter) && !(record.is_yardstick() && matches!(by, By::Ratio | By::CpuRatio))
    };
    let known: HashMap<_, _> = after.results.iter().map(|record| (record.name.as_str(), record)).collect();
    let rounds = [before.method.rounds, after.method.rounds];
    let (old_units, new_units) = (Yardsticks::of(before), Yardsticks::of(after));
    let (mut results, mut unpaired) = (Vec::new(), Vec::new());
    for old in before.results.iter().filter(useful) {
        match known.get(old.name.as_str()) {
            None => unpaired.push(Unpaired { name: &old.name, why: "only before".to_owned() }),
            Some(new) => {
                match pair(old, new, by, [old_units.variant(old), new_units.variant(new)], threshold, rounds) {
                    Ok(pair) => results.push(pair),
                    Err(why) => unpaired.push(Unpaired { name: &old.name, why }),
                }
            }
        }
    }
    let old: HashSet<_> = before.results.iter().map(|record| &record.name).collect();
    let new = after.results.iter().filter(useful).filter(|record| !old.contains(&record.name));
    unpaired.extend(new.map(|record| Unpaired { name: &record.name, why: "only after".to_owned() }));
    let count = |verdict| results.iter().filter(|pair| pair.verdict == verdict).count();
    let (slower, faster, wrong) = (count(Verdict::Slower), count(Verdict::Faster), count(Verdict::Wrong));
    let judged = results.iter().filter(|pair| pair.verdict != Verdict::Yardstick).filter_map(|pair| pair.ratio);
    let logs: Vec<f64> = judged.map(f64::ln).collect();
    let geometric_mean = (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp());
    Comparison {
        version: 1,
        before: before.line(),
        after: after.line(),
        threshold,
        differences: differences(before, after),
        results,
        unpaired,
        slower,
        faster,
        wrong,
        geometric_mean,
    }
}

fn pair<'a>(
    old: &'a Record,
    new: &'a Record,
    by: By,
    units: [Option<&str>; 2],
    threshold: f64,
    rounds: [u32; 2],
) -> Result<Pair<'a>, String> {
    let pair = Pair {
        name: &old.name,
        variants: [&old.variant, &new.variant],
        by: None,
        before: None,
        after: None,
        ratio: None,
        spread: None,
        other_yardstick: false,
        noisy: old.noisy || new.noisy,
        verdict: Verdict::Wrong,
    };
    match (old.status, new.status) {
        (Status::Timed, Status::Timed) => {}
        (Status::Timed, Status::Wrong) => return Ok(pair),
        (a, b) if a == b => return Err(a.name().to_owned()),
        (a, b) => return Err(format!("{} before, {} after", a.name(), b.name())),
    }
    let judge = |measure: Measure| {
        let (before, after) = measure.of(old, new)?;
        let ratio = after.median / before.median;
        let spread = spread(before, after, rounds, pair.noisy);
        let past = |ratio: f64, low: f64| ratio > threshold && low > 1.0;
        let verdict = match spread {
            Some([low, _]) if past(ratio, low) => Verdict::Slower,
            Some([_, high]) if past(1.0 / ratio, 1.0 / high) => Verdict::Faster,
            _ => Verdict::Same,
        };
        Some((measure, before, after, ratio, spread, verdict))
    };
    let Some((measure, before, after, ratio, spread, verdict)) = by.measures().iter().copied().find_map(judge) else {
        return Err("nothing to compare by".to_owned());
    };
    let other_yardstick = measure.is_ratio() && units[0] != units[1];
    let verdict = match measure.alone() {
        _ if old.is_yardstick() && by == By::Auto => Verdict::Yardstick,
        // Over another variant of the copy, what changed may be that: the times themselves must agree.
        Some(alone) if other_yardstick && judge(alone).is_some_and(|alone| alone.5 != verdict) => Verdict::Same,
        _ => verdict,
    };
    Ok(Pair {
        by: Some(measure),
        before: Some(before),
        after: Some(after),
        ratio: Some(ratio),
        spread,
        other_yardstick,
        verdict,
        ..pair
    })
}

/// The variants that ratios of a report are over.
struct Yardsticks<'a>(HashMap<(Contest<'a>, &'a str), &'a str>);

/// What records that took turns have in common.
type Contest<'a> = (&'a str, &'a str, Option<&'a str>, String);

fn contest(record: &Record) -> Contest<'_> {
    (&record.definition, &record.dtype, record.options.as_deref(), record.shape())
}

impl<'a> Yardsticks<'a> {
    fn of(report: &'a Report) -> Self {
        // By role, or, of routing that others are over, by kernel.
        let name = |r: &'a Record| if r.is_yardstick() { r.role.as_str() } else { r.kernel.as_str() };
        let units = report.results.iter().filter(|r| r.is_yardstick() || r.role == "chosen");
        Self(units.map(|r| ((contest(r), name(r)), r.variant.as_str())).collect())
    }

    fn variant(&self, record: &'a Record) -> Option<&'a str> {
        self.0.get(&(contest(record), record.ratio.as_ref()?.over.as_str())).copied()
    }
}

/// Where the ratio of two medians lies, by the quartiles of so many rounds each.
fn spread(before: Spread, after: Spread, rounds: [u32; 2], noisy: bool) -> Option<[f64; 2]> {
    if rounds.iter().any(|&n| n < FEWEST_ROUNDS) {
        return None;
    }
    // Standard error of a median: sqrt(pi / 2) * sigma / sqrt(n), and sigma is the interquartile range over 1.349, of a
    // normal distribution (McGill, Tukey & Larsen 1978, whose notches are made so). Relative ones add as squares.
    let error = |s: Spread, n: u32| 1.2533 / 1.349 * (s.q3 - s.q1) / f64::from(n).sqrt() / s.median;
    let error = error(before, rounds[0]).hypot(error(after, rounds[1]));
    let (ratio, by) = (after.median / before.median, (WIDTH * error).exp());
    let [low, high] = [ratio / by, ratio * by];
    // What disturbs a machine lasts longer than a round: rounds are not independent, and many say no more than one.
    if noisy { Some([low.min(after.q1 / before.q3), high.max(after.q3 / before.q1)]) } else { Some([low, high]) }
}

fn differences(before: &Report, after: &Report) -> Vec<Difference> {
    let facts = |r: &Report| {
        let host = r.host.cpu.as_deref().unwrap_or("unknown");
        [
            ("adapter", format!("{}, {}, {}", r.adapter.name, r.adapter.kind, r.adapter.backend)),
            ("driver", format!("{} {}", r.adapter.driver, r.adapter.driver_info)),
            ("host", format!("{host}, {} threads, {}", r.host.threads, r.host.system)),
            ("onesum", r.onesum.clone()),
            ("wgpu", r.wgpu.clone()),
            ("features", r.features.join(" ")),
            ("preset", r.preset.clone().unwrap_or_else(|| "none".to_owned())),
            ("clock", r.method.clock.clone()),
            ("rounds", r.method.rounds.to_string()),
            ("order", r.method.order.clone()),
            ("data", r.method.data.clone()),
            ("rotation, bytes", r.method.rotate_bytes.to_string()),
            ("submit, seconds", r.method.submit_seconds.to_string()),
        ]
    };
    let both = facts(before).into_iter().zip(facts(after));
    both.filter(|(a, b)| a != b).map(|((what, before), (_, after))| Difference { what, before, after }).collect()
}

impl Comparison<'_> {
    /// For people; `names` are those of the files.
    fn table(&self, files: &[String; 2]) -> String {
        let mut text = format!("before: {}\n  {}\nafter: {}\n  {}\n", files[0], self.before, files[1], self.after);
        // Writing to a String cannot fail.
        for Difference { what, before, after } in &self.differences {
            let _ = writeln!(text, "  note: {what} differs: {before} / {after}");
        }
        if self.differences.iter().any(|d| matches!(d.what, "adapter" | "driver" | "host")) {
            text += "  note: ratios are to each run's own yardstick: they compare how near kernels come to that, not speed \
                     (--by time)\n";
        }
        let names = self.results.iter().map(|pair| pair.name.len());
        let width = names.max().unwrap_or(0).max(Measure::CpuRatio.name().len());
        for measure in [Measure::CpuRatio, Measure::Ratio, Measure::CpuTime, Measure::Time] {
            let mut pairs = self.results.iter().filter(|pair| pair.by == Some(measure)).peekable();
            if pairs.peek().is_some() {
                let (a, b, ratio, spread) = ("before", "after", "ratio", "spread");
                let _ = writeln!(text, "\n{:width$}  {a:>9}  {b:>9}  {ratio:>6}  {spread:>12}", measure.name());
                pairs.for_each(|pair| text += &pair.line(width));
            }
        }
        for pair in self.results.iter().filter(|pair| pair.verdict == Verdict::Wrong) {
            let _ = writeln!(text, "\n{}: WRONG, and was right before", pair.name);
        }
        if !self.unpaired.is_empty() {
            text += "\nnot compared\n";
        }
        for Unpaired { name, why } in &self.unpaired {
            let _ = writeln!(text, "  {name}: {why}");
        }
        let judged = self.results.iter().filter(|pair| pair.verdict != Verdict::Yardstick).count();
        let mean = self.geometric_mean.map_or(String::new(), |mean| format!("; geometric mean {mean:.3}"));
        let _ = writeln!(
            text,
            "\n{judged} compared: {} slower, {} faster (past {:.2} and their spread), {} wrong{mean}",
            self.slower, self.faster, self.threshold, self.wrong
        );
        if self.results.iter().any(|pair| pair.by.is_some() && pair.spread.is_none()) {
            let _ = writeln!(text, "With fewer than {FEWEST_ROUNDS} rounds there is no telling what is slower.");
        }
        text
    }

    fn verdict(&self) -> Result<(), Failure> {
        let bad = self.results.iter().filter(|pair| matches!(pair.verdict, Verdict::Slower | Verdict::Wrong));
        let bad: Vec<_> = bad.map(|pair| pair.name).collect();
        let Some(first) = bad.first() else { return Ok(()) };
        let others = if bad.len() > 1 { format!(" and {} more", bad.len() - 1) } else { String::new() };
        Err(Failure::Regression(format!("slower than {:.2} times or wrong: {first}{others}", self.threshold)))
    }
}

impl Pair<'_> {
    fn line(&self, width: usize) -> String {
        let number = |s: Option<Spread>| s.map_or(String::new(), |s| format!("{:.3}", s.median));
        let spread = self.spread.map_or("unknown".to_owned(), |[low, high]| format!("{low:.2}..{high:.2}"));
        let ratio = self.ratio.map_or(String::new(), |ratio| format!("{ratio:.3}"));
        let verdict = match self.verdict {
            Verdict::Slower => "  SLOWER",
            Verdict::Faster => "  faster",
            Verdict::Same | Verdict::Wrong | Verdict::Yardstick => "",
        };
        let noisy = if self.noisy { "  noisy" } else { "" };
        let yardstick = if self.other_yardstick { "  over another yardstick" } else { "" };
        let [old, new] = self.variants;
        let other = if old == new { String::new() } else { format!("  ({old}, now {new})") };
        let (before, after) = (number(self.before), number(self.after));
        format!(
            "{:width$}  {before:>9}  {after:>9}  {ratio:>6}  {spread:>12}{verdict}{noisy}{yardstick}{other}\n",
            self.name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Ratio, made_up};
    use super::*;

    /// All of a report, or of a part of it, so many times as slow.
    fn slowed(report: &Report, by: f64, which: &str) -> Report {
        let mut report = report.clone();
        let scaled = |s: Spread| Spread { q1: s.q1 * by, median: s.median * by, q3: s.q3 * by };
        for record in report.results.iter_mut().filter(|record| record.name.contains(which)) {
            record.ms = record.ms.map(scaled);
            record.cpu_ms = record.cpu_ms.map(scaled);
            let ratio = record.ratio.take();
            record.ratio = ratio.map(|r| Ratio { over: r.over, time: scaled(r.time), cpu: r.cpu.map(scaled) });
        }
        report
    }

    fn verdicts(comparison: &Comparison<'_>) -> Vec<Verdict> {
        comparison.results.iter().map(|pair| pair.verdict).collect()
    }

    #[test]
    fn what_became_slower_is_found() {
        let before = made_up::report(made_up::softmaxes());
        let after = slowed(&slowed(&before, 1.2, "4096x1024/f32/chosen"), 0.8, "online");
        let comparison = compare(&before, &after, By::Auto, 1.1, "");
        let [unit, same, slow, fast] = [Verdict::Yardstick, Verdict::Same, Verdict::Slower, Verdict::Faster];
        assert_eq!(verdicts(&comparison), [unit, slow, fast, unit, same, fast]);
        assert_eq!((comparison.slower, comparison.faster, comparison.wrong), (1, 2, 0));
        let pair = &comparison.results[1];
        assert_eq!(pair.by, Some(Measure::CpuRatio));
        assert!((pair.ratio.unwrap() - 1.2).abs() < 1e-12);
        let failure = comparison.verdict().unwrap_err();
        assert_eq!(failure.code(), 3);
        assert!(failure.line().unwrap().contains("softmax/4096x1024/f32/chosen"), "{failure:?}");
        assert!(compare(&before, &after, By::Auto, 1.25, "").verdict().is_ok());
        assert!(compare(&before, &after, By::Auto, 1.1, "512x").verdict().is_ok());
        let mean = compare(&before, &slowed(&before, 2.0, ""), By::Auto, 1.1, "").geometric_mean.unwrap();
        assert!((mean - 2.0).abs() < 1e-12, "{mean}");
    }

    /// The standard error of a median of 21 is 0.929 / sqrt(21) of the quartiles' distance, here 2 % of the median for
    /// both: 2.5 times sqrt(2) * 0.004055 is 1.434 %.
    #[test]
    fn the_spread_is_that_of_both_medians() {
        let one = Spread { q1: 0.99, median: 1.0, q3: 1.01 };
        let [low, high] = spread(one, one, [21, 21], false).unwrap();
        assert!((high - 1.014_44).abs() < 1e-4 && (low * high - 1.0).abs() < 1e-12, "{low} {high}");
        assert_eq!(spread(one, one, [21, 6], false), None);
        assert_eq!(spread(one, one, [2100, 2100], true), Some([0.99 / 1.01, 1.01 / 0.99]));
        let certain = made_up::exactly(1.0);
        assert_eq!(spread(certain, made_up::exactly(2.0), [7, 7], true), Some([2.0, 2.0]));
    }

    /// Of runs that differ by chance alone, at most one in twenty lies outside of its spread.
    #[test]
    fn chance_is_within_the_spread() {
        let mut state = 1_u64;
        let mut uniform = || {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        };
        for (rounds, most) in [(7, 0.06), (21, 0.03)] {
            let trials = 4000;
            // Rounds are disturbed to one side only, now and then by much.
            let mut run = || Spread::of((0..rounds).map(|_| 1.0 - 0.1 * uniform().ln()));
            let outside = (0..trials).filter(|_| {
                let [low, high] = spread(run(), run(), [rounds; 2], false).unwrap();
                low > 1.0 || high < 1.0
            });
            let share = outside.count() as f64 / f64::from(trials);
            assert!(share < most && share > 0.005, "{rounds}: {share}");
        }
    }

    #[test]
    fn a_change_within_the_spread_is_none() {
        let mut before = made_up::report(made_up::softmaxes());
        for record in &mut before.results {
            let wide = |s: Spread| Spread { q1: s.median * 0.8, q3: s.median * 1.2, ..s };
            let ratio = record.ratio.take();
            record.ratio = ratio.map(|r| Ratio { over: r.over, time: wide(r.time), cpu: r.cpu.map(wide) });
        }
        let after = slowed(&before, 1.2, "");
        assert_eq!(compare(&before, &after, By::Auto, 1.1, "").slower, 0);
        assert_eq!(compare(&before, &slowed(&before, 1.5, ""), By::Auto, 1.1, "").slower, 4);
    }

    #[test]
    fn the_steadiest_that_both_have_is_compared() {
        let before = made_up::report(made_up::softmaxes());
        let by = |change: fn(&mut Record)| {
            let mut after = before.clone();
            after.results.iter_mut().for_each(change);
            compare(&before, &after, By::Auto, 1.1, "chosen").results[0].by
        };
        assert_eq!(by(|_| ()), Some(Measure::CpuRatio));
        assert_eq!(by(|r| r.ratio.as_mut().unwrap().cpu = None), Some(Measure::Ratio));
        // Over another yardstick it is another thing.
        assert_eq!(by(|r| r.ratio.as_mut().unwrap().over = "read".to_owned()), Some(Measure::CpuTime));
        assert_eq!(by(|r| (r.ratio, r.cpu_ms) = (None, None)), Some(Measure::Time));
        let mut none = before.clone();
        none.results.iter_mut().for_each(|r| (r.ratio, r.cpu_ms, r.ms) = (None, None, None));
        let comparison = compare(&before, &none, By::Auto, 1.1, "chosen");
        assert!(comparison.results.is_empty());
        assert!(comparison.unpaired.iter().all(|u| u.why == "nothing to compare by"));
    }

    /// The fastest copy may be another one the next time, and all ratios another.
    #[test]
    fn over_another_yardstick_ratios_alone_do_not_count() {
        let before = made_up::report(made_up::softmaxes());
        let verdicts = |after: &Report| verdicts(&compare(&before, after, By::Auto, 1.1, "chosen"));
        let mut after = slowed(&before, 1.3, "");
        assert_eq!(verdicts(&after), [Verdict::Slower; 2]);
        after.results[0].variant = "copy/f32/baseline/w8q1024/x4".to_owned();
        assert_eq!(verdicts(&after), [Verdict::Slower; 2]);
        // Times as before: it is the copy that became faster.
        for (record, old) in after.results.iter_mut().zip(&before.results) {
            (record.ms, record.cpu_ms) = (old.ms, old.cpu_ms);
        }
        assert_eq!(verdicts(&after), [Verdict::Same, Verdict::Slower]);
        assert_eq!(compare(&before, &after, By::Ratio, 1.1, "chosen").slower, 1);
    }

    #[test]
    fn yardsticks_are_judged_by_their_times_alone() {
        let before = made_up::report(made_up::softmaxes());
        let after = slowed(&before, 1.5, "copy");
        assert!(compare(&before, &after, By::Auto, 1.1, "").verdict().is_ok());
        assert_eq!(compare(&before, &after, By::Time, 1.1, "").slower, 2);
        let ratios = compare(&before, &after, By::Ratio, 1.1, "");
        assert!(ratios.unpaired.is_empty() && ratios.results.iter().all(|pair| !pair.name.ends_with("copy")));
    }

    #[test]
    fn what_is_wrong_now_is_a_regression() {
        let before = made_up::report(made_up::softmaxes());
        let mut after = before.clone();
        after.results[1] = made_up::untimed(Status::Wrong, "row 1", after.results[1].clone());
        after.results[2] = made_up::untimed(Status::Refused, "no", after.results[2].clone());
        after.method.rounds = 1;
        let comparison = compare(&before, &after, By::Auto, 1.1, "");
        assert_eq!((comparison.wrong, comparison.verdict().unwrap_err().code()), (1, 3));
        let why: Vec<_> = comparison.unpaired.iter().map(|u| u.why.as_str()).collect();
        assert_eq!(why, ["timed before, refused after"]);
        let table = comparison.table(&["a".to_owned(), "b".to_owned()]);
        for part in ["chosen: WRONG, and was right before", "fewer than 7 rounds", "note: rounds differs: 21 / 1"] {
            assert!(table.contains(part), "{part} is not in {table}");
        }
    }

    #[test]
    fn what_only_one_has_is_named() {
        let (mut before, mut after) = (made_up::report(made_up::softmaxes()), made_up::report(made_up::softmaxes()));
        before.results.remove(4);
        after.results.remove(1);
        after.adapter.name = "Other GPU".to_owned();
        let comparison = compare(&before, &after, By::Auto, 1.1, "");
        let unpaired: Vec<_> = comparison.unpaired.iter().map(|u| (u.name, u.why.as_str())).collect();
        let expected =
            [("softmax/4096x1024/f32/chosen", "only before"), ("softmax/512x32768/f32/chosen", "only after")];
        assert_eq!(unpaired, expected);
        let table = comparison.table(&["a".to_owned(), "b".to_owned()]);
        let differs = "adapter differs: Some GPU, cpu, vulkan / Other GPU, cpu, vulkan";
        assert!(table.contains(differs) && table.contains("--by time"), "{table}");
        assert!(table.contains("\n2 compared: 0 slower, 0 faster"), "{table}");
    }
}
