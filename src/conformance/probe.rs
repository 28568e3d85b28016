//! What an adapter's built-in functions, operations and limits do: information, not a verdict. The specification of WGSL
//! allows nearly all of it; this says what a result relies on and what it must not rely on.
//!
//! | property | what relies on it |
//! |---|---|
//! | `+`, `-`, `*` round to the nearest f32, ties to even | everything that is the same to the bit on every device: Gumbel noise, sampled columns, routing's scores, experts and weights, sums of combine; softmax's budget |
//! | integer operations are exact, modulo 2³² | the random stream, plan, expert choice, keys of all orders |
//! | `a / b` is within 2.5 ULP | softmax's quotient (its residual corrects it) and logarithms of log-sum-exp; nothing whose bits are promised |
//! | `pack2x16float`, `unpack2x16float` | nothing: f16 is converted by integer arithmetic |
//! | `exp`, `log` are within the specification's bounds | the rival softmax schedules (`online`, `recompute`, `reload`) only; ours have functions of their own |
//! | `sqrt`, `inverseSqrt`, `tanh`, `pow`, `fma` | nothing |
//! | products are not fused with sums | nothing: softmax tolerates it, elsewhere an exclusive or stands between |
//! | sums are taken in the order they are written | nothing: an exclusive or stands where it matters |
//! | subnormal numbers are kept | nothing that is promised; where they are flushed, probabilities below 2⁻¹²⁶ are 0, and so is what combine makes below it |
//! | comparisons with NaN, NaN in `max`, `min` | nothing: NaN is told by its bits |
//! | loops go round as often as they say | up to 60,000 times in one invocation; schedules that would need more are split |

mod device;
mod functions;
mod questions;

use std::fmt;

use serde::Serialize;

pub use functions::{Measured, ulp};
pub use questions::{Answer, Topic};

use crate::Caps;
use crate::host::{Gpu, HostError};
use device::Bench;

/// What was found on one device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Probe {
    /// Built-in functions and operations against f64.
    pub functions: Vec<Measured>,
    /// What operations give where implementations part.
    pub answers: Vec<Answer>,
    /// Subgroups as they are seen from inside; nothing where they are not offered.
    pub subgroups: Option<Subgroups>,
    /// Limits that were tried out.
    pub limits: Vec<Tried>,
    /// Whether the device offers the 16-bit float type.
    pub f16: bool,
    /// Whether it offers 64-bit integers.
    pub int64: bool,
    /// What onesum's results rely on, and whether it holds here.
    pub relied: Vec<Relied>,
}

/// Subgroup sizes, reported and seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subgroups {
    /// The least and the greatest size that the adapter reports.
    pub reported: [u32; 2],
    /// What was seen in workgroups of each width.
    pub seen: Vec<Seen>,
}

/// What invocations of one workgroup width see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Invocations of the workgroup.
    pub width: u32,
    /// The least and the greatest `subgroup_size`.
    pub size: [u32; 2],
    /// The fewest and the most lanes active together, by `subgroupBallot`.
    pub active: [u32; 2],
    /// Whether lanes follow `local_invocation_index` without gaps.
    pub in_order: bool,
}

/// A limit that was tried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// Of what.
    pub what: &'static str,
    /// How much was asked for: what the device reports, as far as that is tried.
    pub asked: u32,
    /// How much there was.
    pub got: u32,
    /// Why it did not run at all.
    pub refused: Option<String>,
}

/// A property that results rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Relied {
    /// The property.
    pub property: &'static str,
    /// Whether it holds here, as far as was measured.
    pub holds: bool,
    /// What relies on it.
    pub results: &'static str,
}

/// Workgroup widths in which subgroups are looked at.
const WIDTHS: [u32; 6] = [8, 16, 32, 64, 128, 256];

/// Iterations that are asked of one invocation.
const ITERATIONS: u32 = 200_000;

/// Asks the device everything. A feature that it lacks is left out.
///
/// # Errors
/// When the device fails, or cannot run a program that needs no feature.
pub fn probe(gpu: &Gpu) -> Result<Probe, HostError> {
    let bench = Bench { gpu };
    let caps = gpu.library.caps();
    let functions = functions::FUNCTIONS.iter().map(|f| f.measure(&bench)).collect::<Result<Vec<_>, _>>()?;
    let answers = questions::asked(&bench, caps.f16)?;
    let subgroups = if caps.subgroup { Some(subgroups(&bench, caps)?) } else { None };
    let limits = limits(&bench, caps)?;
    let relied = relied(&functions, &answers, &limits);
    Ok(Probe { functions, answers, subgroups, limits, f16: caps.f16, int64: caps.int64, relied })
}

fn range(values: impl Iterator<Item = u32> + Clone) -> [u32; 2] {
    [values.clone().min().unwrap_or(0), values.max().unwrap_or(0)]
}

fn subgroups(bench: &Bench<'_>, caps: &Caps) -> Result<Subgroups, HostError> {
    let look = |width: u32| {
        let lanes = bench.subgroups(width)?;
        let local = |i: usize| i as u32 % width;
        Ok(Seen {
            width,
            size: range(lanes.iter().map(|l| l[0])),
            active: range(lanes.iter().map(|l| l[2])),
            in_order: lanes.iter().enumerate().all(|(i, &[_, lane, _, first])| local(i) == first + lane),
        })
    };
    let widths = WIDTHS.into_iter().filter(|&w| w <= caps.max_invocations);
    let seen = widths.map(look).collect::<Result<_, HostError>>()?;
    let info = &bench.gpu.info;
    Ok(Subgroups { reported: [info.subgroup_min_size, info.subgroup_max_size], seen })
}

fn limits(bench: &Bench<'_>, caps: &Caps) -> Result<Vec<Tried>, HostError> {
    let (width, words) = (caps.max_invocations, caps.max_workgroup_bytes / 4);
    let mut all = Vec::new();
    // What does not run because it is too much is an answer.
    let mut tried = |what, asked, got: Result<u32, HostError>| match got {
        Ok(got) => {
            all.push(Tried { what, asked, got, refused: None });
            Ok(())
        }
        Err(HostError::Build(error)) => {
            all.push(Tried { what, asked, got: 0, refused: Some(error.to_string()) });
            Ok(())
        }
        Err(error) => Err(error),
    };
    // Two groups; the worse one counts.
    let worse = |counts: &[u32], of: fn(&[u32]) -> u32| counts.chunks(width as usize).map(of).min().unwrap_or(0);
    let run = |words| bench.workgroup(width, words);
    let ran = |counts: &[u32]| counts.iter().filter(|c| **c > 0).count() as u32;
    tried("invocations of a workgroup", width, run(width).map(|counts| worse(&counts, ran)))?;
    let bytes = |counts: &[u32]| counts.iter().sum::<u32>() * 4;
    tried("bytes of workgroup memory", words * 4, run(words).map(|counts| worse(&counts, bytes)))?;
    let groups = caps.max_workgroups.min(65_535);
    let numbers = bench.groups(groups);
    let counted = |n: Vec<u32>| n.iter().zip(1..).filter(|(n, want)| **n == *want).count() as u32;
    tried("workgroups of a dispatch", groups, numbers.map(counted))?;
    tried("iterations of one loop", ITERATIONS, bench.iterations(1, ITERATIONS))?;
    tried("iterations of four loops after each other", ITERATIONS, bench.iterations(4, ITERATIONS / 4))?;
    Ok(all)
}

fn relied(functions: &[Measured], answers: &[Answer], limits: &[Tried]) -> Vec<Relied> {
    let is = |question: &str, bits: u32| answers.iter().any(|a| a.question == question && a.bits == bits);
    let within = |name: &str| functions.iter().filter(|f| f.function == name).all(Measured::within);
    let iterations = limits.iter().filter(|t| t.what.starts_with("iterations")).map(|t| t.got).min();
    vec![
        Relied {
            property: "+, -, * round to nearest, ties to even",
            holds: functions.iter().all(|f| f.not_nearest.unwrap_or(0) == 0),
            results: "all that is the same to the bit everywhere: noise, samples, routing, combine",
        },
        Relied {
            property: "integers are exact, modulo 2^32",
            holds: is("0xffffffff * 0xffffffff", 1),
            results: "the random stream, plan, expert choice, the order of keys",
        },
        Relied {
            property: "a / b is within 2.5 ULP",
            holds: within("a / b"),
            results: "softmax and log-sum-exp, within their budgets",
        },
        Relied {
            property: "exp and log are within the specification",
            holds: within("exp") && within("log"),
            results: "the rivals online, recompute, reload; nothing of ours",
        },
        Relied {
            property: "60,000 iterations in one invocation",
            holds: iterations.is_some_and(|n| n >= 60_000),
            results: "every kernel; schedules that would need more are split",
        },
        Relied {
            property: "+, -, *, / keep subnormal numbers",
            holds: (answers.iter().filter(|a| a.topic == Topic::Subnormal && !a.question.starts_with("exp")))
                .all(|a| a.answer != "flushed"),
            results: "nothing promised: probabilities and combined sums below 2^-126 differ",
        },
    ]
}

impl Probe {
    /// The answer to a question of this text.
    #[must_use]
    pub fn answer(&self, question: &str) -> Option<&Answer> {
        self.answers.iter().find(|a| a.question == question)
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "built-in functions against f64; bounds of WGSL, \"Floating Point Accuracy\"")?;
        for m in &self.functions {
            let pair = m.function.contains('b') || m.function == "pow";
            let of = |[a, b]: [f32; 2]| if pair { format!("{a:e}, {b:e}") } else { format!("{a:e}") };
            let outside = m.outside_at.map_or("within".to_owned(), |at| {
                format!("{} of {}, {} first, outside of", m.outside, m.arguments, of(at))
            });
            let nearest = m.not_nearest.map_or(String::new(), |n| format!(", {n} not the nearest"));
            writeln!(
                f,
                "  {:<11} {:>10} ULP, {:.2e} absolute, {outside} {}{nearest}",
                m.function,
                number(m.ulps),
                m.absolute,
                m.bound,
            )?;
            let at = of(m.argument);
            writeln!(f, "  {:<11} {}: worst at {at}: {:e}, not {:e}", "", m.domain, m.got, m.want)?;
        }
        for (topic, title) in Topic::ALL {
            writeln!(f, "{title}")?;
            for answer in self.answers.iter().filter(|a| a.topic == topic) {
                writeln!(f, "  {:<42} {}", answer.question, answer.answer)?;
            }
            if topic == Topic::Half && !self.f16 {
                writeln!(f, "  {:<42} not offered", "the type f16")?;
            }
        }
        match &self.subgroups {
            None => writeln!(f, "subgroups: not offered")?,
            Some(subgroups) => {
                writeln!(f, "subgroups, of {} by report", span(subgroups.reported))?;
                for s in &subgroups.seen {
                    let order = if s.in_order { "in order" } else { "not in order" };
                    let (size, active) = (span(s.size), span(s.active));
                    writeln!(f, "  in workgroups of {:<4} size {size}, {active} active, lanes {order}", s.width)?;
                }
            }
        }
        writeln!(f, "limits")?;
        for t in &self.limits {
            let what = t.what;
            match (&t.refused, t.got == t.asked) {
                (Some(why), _) => writeln!(f, "  {what}: {} refused: {why}", t.asked)?,
                (None, true) => writeln!(f, "  {what}: all {}", t.asked)?,
                (None, false) => writeln!(f, "  {what}: ended at {} of {}", t.got, t.asked)?,
            }
        }
        let offered = |is| if is { "offered" } else { "not offered" };
        writeln!(f, "  f16 {}, 64-bit integers {}", offered(self.f16), offered(self.int64))?;
        writeln!(f, "what results rely on")?;
        for r in &self.relied {
            writeln!(f, "  {:<42} {}: {}", r.property, if r.holds { "yes" } else { "no" }, r.results)?;
        }
        Ok(())
    }
}

fn number(ulps: f64) -> String {
    if ulps < 1e5 { format!("{ulps:.2}") } else { format!("{ulps:.2e}") }
}

fn span([least, most]: [u32; 2]) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}
