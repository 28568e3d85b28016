//! All kernels' cases as one suite: which there are, which of them a filter selects, and a run of them.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::case::{Memory, Profile};
use super::report::{Failed, Report};
use super::run::{Outcome, Trial, forget};
use super::shrink::{random_name, shrunk};
use super::{Failure, data::Random, expert_choice, gumbel, permute, plan, router, sample, stats};
use crate::host::{Gpu, HostError};
use crate::softmax::{self, Tier};

/// Cases of any kernel.
pub type Cases = Box<dyn Iterator<Item = Box<dyn Trial>>>;

/// A key of case names, and the values that it can have. The first is the one that names leave out.
pub type Key = (&'static str, Vec<&'static str>);

/// A kernel, as the suite knows it.
pub struct Kernel {
    /// What its cases' names begin with.
    pub name: &'static str,
    /// Its cases.
    cases: fn(Profile) -> Cases,
    parse: fn(&str) -> Result<Box<dyn Trial>, String>,
    variants: fn() -> Vec<String>,
    keys: fn() -> Vec<Key>,
}

fn boxed<C: Trial + 'static>(cases: impl Iterator<Item = C> + 'static) -> Cases {
    Box::new(cases.map(|case| Box::new(case) as Box<dyn Trial>))
}

fn parsed<C: Trial + FromStr<Err = String> + 'static>(name: &str) -> Result<Box<dyn Trial>, String> {
    name.parse::<C>().map(|case| Box::new(case) as Box<dyn Trial>)
}

fn names<V: ToString>(variants: impl IntoIterator<Item = V>) -> Vec<String> {
    variants.into_iter().map(|v| v.to_string()).collect()
}

fn values<T, const N: usize>(all: &[(T, &'static str); N]) -> Vec<&'static str> {
    all.iter().map(|(_, name)| *name).collect()
}

const FLAG: [&str; 2] = ["0", "1"];

/// All of them.
pub const KERNELS: [Kernel; 8] = [
    Kernel {
        name: "softmax",
        cases: |profile| boxed(super::cases(profile)),
        parse: parsed::<super::Case>,
        variants: || names(softmax::Variant::all()),
        keys: || {
            vec![
                ("fill", values(&super::Fill::ALL)),
                ("options", values(&super::OptionSet::ALL)),
                ("memory", values(&Memory::ALL)),
            ]
        },
    },
    Kernel {
        name: "gumbel",
        cases: |profile| boxed(gumbel::cases(profile)),
        parse: parsed::<gumbel::Case>,
        variants: || {
            names(gumbel::cases(Profile::Standard).map(|c| c.variant.to_string().replacen("softmax", "gumbel", 1)))
        },
        keys: || vec![("fill", values(&sample::Fill::ALL)), ("options", values(&gumbel::OptionSet::ALL))],
    },
    Kernel {
        name: "sample",
        cases: |profile| boxed(sample::cases(profile)),
        parse: parsed::<sample::Case>,
        variants: || names(crate::sample::Variant::all()),
        keys: || vec![("fill", values(&sample::Fill::ALL)), ("options", values(&sample::OptionSet::ALL))],
    },
    Kernel {
        name: "router",
        cases: |profile| boxed(router::cases(profile)),
        parse: parsed::<router::Case>,
        variants: || names(crate::router::Variant::all()),
        keys: || {
            vec![
                ("fill", values(&router::Fill::ALL)),
                ("options", values(&router::OptionSet::ALL)),
                ("scoring", crate::router::Scoring::ALL.map(crate::router::Scoring::name).to_vec()),
                ("memory", vec!["separate", "pooled"]),
                ("weights", vec!["renormalized", "raw"]),
            ]
        },
    },
    Kernel {
        name: "plan",
        cases: |profile| boxed(plan::cases(profile)),
        parse: parsed::<plan::Case>,
        variants: || names(crate::plan::Variant::ALL),
        keys: || {
            let priorities = std::iter::once("none").chain(values(&plan::PRIORITIES)).collect();
            vec![
                ("fill", values(&plan::Fill::ALL)),
                ("priority", priorities),
                ("extras", FLAG.to_vec()),
                ("tight", FLAG.to_vec()),
            ]
        },
    },
    Kernel {
        name: "permute",
        cases: |profile| boxed(permute::cases(profile)),
        parse: parsed::<permute::Case>,
        variants: || names(crate::permute::Variant::all()),
        keys: || {
            vec![
                ("fill", values(&permute::Fill::ALL)),
                ("options", values(&permute::OptionSet::ALL)),
                ("holes", values(&permute::Holes::ALL)),
            ]
        },
    },
    Kernel {
        name: "expert_choice",
        cases: |profile| boxed(expert_choice::cases(profile)),
        parse: parsed::<expert_choice::Case>,
        variants: || names(crate::expert_choice::Variant::all()),
        keys: || vec![("fill", values(&expert_choice::Fill::ALL)), ("options", values(&expert_choice::OptionSet::ALL))],
    },
    Kernel {
        name: "stats",
        cases: |profile| boxed(stats::cases(profile)),
        parse: parsed::<stats::Case>,
        variants: || names(crate::stats::Variant::all()),
        keys: || {
            let scoring = values(&crate::stats::Scoring::ALL);
            vec![("fill", values(&stats::Fill::ALL)), ("scoring", scoring), ("accumulate", FLAG.to_vec())]
        },
    },
];

/// Some of these cases, which have all their terms, and none of which could be left out: first those with a term that none before
/// them has, then of these, from the last, those with a term that no other has.
fn cover(all: Cases) -> Vec<Box<dyn Trial>> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept = Vec::new();
    for case in all {
        let terms = terms(&case.to_string());
        if terms.iter().any(|term| !times.contains_key(term)) {
            for term in &terms {
                *times.entry(term.clone()).or_default() += 1;
            }
            kept.push((case, terms));
        }
    }
    let mut needed = Vec::new();
    for (case, terms) in kept.into_iter().rev() {
        if terms.iter().any(|term| times[term] == 1) {
            needed.push(case);
        } else {
            for term in &terms {
                *times.entry(term.clone()).or_default() -= 1;
            }
        }
    }
    needed.reverse();
    needed
}

impl Kernel {
    /// Its cases; the quick profile has of the standard one's some that together have all [`terms`] of those, and needs each of them.
    #[must_use]
    pub fn cases(&self, profile: Profile) -> Cases {
        let all = (self.cases)(profile);
        if profile == Profile::Quick { Box::new(cover(all).into_iter()) } else { all }
    }

    /// What [`terms`] must come up somewhere among its cases: of every variant and every value of every key.
    #[must_use]
    pub fn vocabulary(&self) -> BTreeSet<String> {
        let mut all: BTreeSet<String> = (self.variants)().iter().flat_map(|v| terms(v)).collect();
        for (key, values) in (self.keys)() {
            all.extend(values.iter().map(|value| format!("{} {key}={value}", self.name)));
        }
        all
    }

    /// The kernel that a case's name begins with.
    #[must_use]
    pub fn of(name: &str) -> Option<&'static Self> {
        let first = name.split(['/', ':']).next().unwrap_or_default();
        KERNELS.iter().find(|kernel| kernel.name == first)
    }
}

/// What a name has that some case of its kernel should have: each part of its variant, and each KEY=VALUE that is no number,
/// with the kernel, with kernel and schedule, and with kernel and tier.
///
/// ```
/// use onesum::conformance::terms;
///
/// let terms = terms("softmax/stream/f32/baseline/w8/x4:rows=5,cols=33,gap=3,fill=wide");
/// assert!(terms.contains("softmax baseline") && terms.contains("softmax/stream fill=wide"));
/// assert!(terms.contains("softmax options=plain") && !terms.contains("softmax rows=5"));
/// ```
#[must_use]
pub fn terms(name: &str) -> BTreeSet<String> {
    let (variant, rest) = name.split_once(':').unwrap_or((name, ""));
    let parts: Vec<_> = variant.split('/').collect();
    let (kernel, schedule) = (parts[0], parts.iter().take(2).copied().collect::<Vec<_>>().join("/"));
    let mut all: Vec<_> = parts.iter().skip(1).map(ToString::to_string).collect();
    if !rest.is_empty() {
        let pairs: Vec<_> = rest.split(',').filter_map(|pair| pair.split_once('=')).collect();
        let keys = Kernel::of(kernel).map(|k| (k.keys)()).unwrap_or_default();
        let words = pairs.iter().filter(|(said, _)| keys.iter().any(|(key, _)| key == said));
        all.extend(words.map(|(key, value)| format!("{key}={value}")));
        // What a name does not say has its first value.
        let unsaid = keys.iter().filter(|(key, _)| pairs.iter().all(|(said, _)| said != key));
        all.extend(unsaid.filter_map(|(key, values)| Some(format!("{key}={}", values.first()?))));
    }
    let tier = parts.iter().find(|part| Tier::ALL.iter().any(|tier| tier.name() == **part));
    let tier = tier.map(|tier| format!("{kernel}/{tier}"));
    let with = |term: &String| {
        let of = [Some(kernel), Some(schedule.as_str()), tier.as_deref()].into_iter().flatten();
        of.map(|of| format!("{of} {term}")).collect::<Vec<_>>()
    };
    all.iter().flat_map(with).collect()
}

/// The case of this name.
///
/// # Errors
/// What is wrong with the name; a case of more than 2^28 elements is refused.
pub fn case(name: &str) -> Result<Box<dyn Trial>, String> {
    let known = || KERNELS.map(|kernel| kernel.name).join(", ");
    let kernel = Kernel::of(name).ok_or_else(|| format!("{name}: a case begins with one of {}", known()))?;
    let case = (kernel.parse)(name).map_err(|why| format!("{name}: {why}"))?;
    let sizes = name.split([',', ':']).filter_map(|pair| pair.split_once('='));
    let sizes: Vec<(&str, u64)> =
        sizes.filter_map(|(key, value)| Some((key, value.parse::<u32>().ok()?.into()))).collect();
    let product = |keys: &[&str]| {
        let counted = sizes.iter().filter(|(key, _)| keys.is_empty() || keys.contains(key));
        counted.fold(1_u64, |all, (_, n)| all.saturating_mul((*n).max(1)))
    };
    // Which sizes one buffer has. A plan's capacity is a bound, and no size.
    let buffers: &[&[&str]] = match kernel.name {
        "plan" => &[&["tokens", "k"], &["experts", "block"]],
        "router" | "stats" => &[&["tokens", "experts"], &["tokens", "k"]],
        "expert_choice" => &[&["tokens", "experts"], &["experts", "capacity"]],
        _ => &[&[]],
    };
    let elements = buffers.iter().map(|keys| product(keys)).max().unwrap_or(0);
    if elements > 1 << 28 { Err(format!("{name}: a case has at most 2^28 elements")) } else { Ok(case) }
}

/// Selects cases: by the beginning of the variant's name, by some KEY=VALUE, or by both.
///
/// ```
/// use onesum::conformance::Pattern;
///
/// let ties: Pattern = "softmax/stream:fill=ties".parse()?;
/// assert!(ties.matches("softmax/stream/f32/baseline/w8/x4:rows=5,cols=33,gap=3,fill=ties"));
/// assert!(!ties.matches("softmax/stream/f32/baseline/w8/x4:rows=5,cols=33,gap=3,fill=wide"));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    variant: String,
    pairs: Vec<String>,
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (variant, rest) = text.split_once(':').unwrap_or((text, ""));
        let known = |kernel: &Kernel| variant.starts_with(kernel.name) || kernel.name.starts_with(variant);
        if !KERNELS.iter().any(known) {
            let all = KERNELS.map(|kernel| kernel.name).join(", ");
            return Err(format!("{text:?}: no kernel's name begins like that; there are {all}"));
        }
        let pairs: Vec<_> = rest.split(',').filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
        match pairs.iter().find(|pair| !pair.contains('=')) {
            Some(pair) => Err(format!("{pair:?} is not KEY=VALUE")),
            None => Ok(Self { variant: variant.to_owned(), pairs }),
        }
    }
}

impl Pattern {
    /// Whether it selects the case of this name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (variant, rest) = name.split_once(':').unwrap_or((name, ""));
        let said = || rest.split(',');
        let unsaid = |pair: &str| terms(name).contains(&format!("{} {pair}", variant.split('/').next().unwrap_or("")));
        variant.starts_with(&self.variant) && self.pairs.iter().all(|p| said().any(|s| s == p) || unsaid(p))
    }

    /// The one case that it names in full, if it does.
    fn exact(&self) -> Option<Box<dyn Trial>> {
        let name = format!("{}:{}", self.variant, self.pairs.join(","));
        case(&name).ok().filter(|case| case.to_string() == name)
    }
}

/// Which cases to run, and for how long.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Cases that one of these selects; all if there are none.
    pub patterns: Vec<Pattern>,
    /// Of how many.
    pub profile: Profile,
    /// Instead of a profile's cases: such as they are, with sizes drawn by this seed, until the time is over. What fails is made
    /// smaller.
    pub random: Option<u64>,
    /// As long as cases may be begun. Random cases without it are a thousand.
    pub budget: Option<Duration>,
    /// Whether the first failure is the last case.
    pub fail_fast: bool,
}

/// Random cases where no time is given.
const RANDOM_CASES: usize = 1000;

/// As many failures are made smaller: on a device that gets everything wrong it would take forever.
const MADE_SMALLER: usize = 8;

impl Filter {
    /// The cases, in order. A pattern that is a case's whole name selects it whether the profile has it or not.
    pub fn cases(&self) -> impl Iterator<Item = Box<dyn Trial>> {
        let exact: Vec<_> = self.patterns.iter().filter_map(Pattern::exact).collect();
        let patterns: Vec<_> = self.patterns.iter().filter(|p| p.exact().is_none()).cloned().collect();
        let profile = self.profile;
        let wanted = if self.patterns.is_empty() || !patterns.is_empty() { &KERNELS[..] } else { &[] };
        let all = wanted.iter().flat_map(move |kernel| kernel.cases(profile));
        let selected =
            all.filter(move |case| patterns.is_empty() || patterns.iter().any(|p| p.matches(&case.to_string())));
        exact.into_iter().chain(selected)
    }

    /// The cases to try: names, since those of a profile are made by whoever runs them.
    fn names(&self) -> Box<dyn Iterator<Item = String> + Send> {
        let Some(seed) = self.random else {
            let names: Vec<_> = self.cases().map(|case| case.to_string()).collect();
            return Box::new(names.into_iter());
        };
        // Each kernel as often as any other.
        let mut pools = BTreeMap::<_, Vec<String>>::new();
        for case in (Self { profile: Profile::Full, ..self.clone() }).cases() {
            let name = case.to_string();
            pools.entry(Kernel::of(&name).map(|kernel| kernel.name)).or_default().push(name);
        }
        let pools: Vec<_> = pools.into_values().collect();
        let mut random = Random::of(&format!("random {seed}"));
        let endless = std::iter::from_fn(move || {
            let pool = pools.get(random.below(pools.len() as u32) as usize)?;
            let name = &pool[random.below(pool.len() as u32) as usize];
            Some(random_name(&mut random, name))
        });
        let most = if self.budget.is_some() { usize::MAX } else { RANDOM_CASES };
        Box::new(endless.filter(|name| case(name).is_ok()).take(most))
    }
}

/// Runs the cases that `filter` selects on a device of the caller's: see [`run_with`].
///
/// # Errors
/// When the device lacks compute shaders altogether.
pub fn run(device: &wgpu::Device, queue: &wgpu::Queue, filter: &Filter) -> Result<Report, HostError> {
    run_with(device, queue, filter, |_, _, _| ControlFlow::Continue(()))
}

/// The same, telling `tell` of each case as it ends: its place among the cases, its name, what came of it. When that breaks, no
/// further case is begun.
///
/// Makes buffers and pipelines of its own, submits to the queue and waits for it; touches nothing else. With a thread a
/// core, 2 to 8, since compiling takes longer than running.
///
/// # Errors
/// When the device lacks compute shaders altogether.
pub fn run_with(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    filter: &Filter,
    tell: impl FnMut(usize, &str, &Outcome) -> ControlFlow<()>,
) -> Result<Report, HostError> {
    let gpu = Gpu::from_parts(device, queue)?;
    let threads = threads(&gpu.info);
    Ok(run_on(&vec![gpu; threads], filter, tell))
}

/// As many devices of this adapter as [`run_on`] makes use of: on a CPU, whose driver compiles on one thread a device, one for
/// each thread of [`run_with`]; else clones of one.
///
/// # Errors
/// When the adapter gives no device.
pub fn devices(adapter: &wgpu::Adapter) -> Result<Vec<Gpu>, HostError> {
    let info = adapter.get_info();
    let threads = threads(&info);
    if info.device_type == wgpu::DeviceType::Cpu {
        (0..threads).map(|_| Gpu::of(adapter)).collect()
    } else {
        Ok(vec![Gpu::of(adapter)?; threads])
    }
}

/// [`run_with`] on several devices of one adapter, each with a thread of its own; the same device may come several times. Nothing is
/// run on none.
pub fn run_on(gpus: &[Gpu], filter: &Filter, mut tell: impl FnMut(usize, &str, &Outcome) -> ControlFlow<()>) -> Report {
    let Some(first) = gpus.first() else { return Report::default() };
    let (start, stop) = (Instant::now(), AtomicBool::new(false));
    let over = || filter.budget.is_some_and(|budget| start.elapsed() >= budget);
    let names = Mutex::new(filter.names().enumerate().peekable());
    let unbegun = AtomicUsize::new(0);
    let (mut done, mut told) = (Vec::new(), false);
    let (send, receive) = mpsc::channel();
    let worker = |mut gpu: Gpu, send: &mpsc::Sender<_>| {
        let ended = || stop.load(Ordering::Relaxed) || over();
        while !ended() {
            let batch = of_one_variant(&mut names.lock().unwrap_or_else(PoisonError::into_inner));
            if batch.is_empty() {
                break;
            }
            forget(&mut gpu);
            for (index, name) in batch {
                if ended() {
                    unbegun.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let outcome = match case(&name).map_or_else(Outcome::Skipped, |trial| caught(&*trial, &gpu)) {
                    // Sizes at random need not make sense.
                    Outcome::Failed(Failure::Refused(_)) if filter.random.is_some() => {
                        Outcome::Skipped("the library refuses these sizes".into())
                    }
                    outcome => outcome,
                };
                if filter.fail_fast && matches!(outcome, Outcome::Failed(_)) {
                    stop.store(true, Ordering::Relaxed);
                }
                if send.send((index, name, outcome)).is_err() {
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for gpu in gpus {
            let (gpu, send, worker) = (gpu.clone(), send.clone(), &worker);
            scope.spawn(move || worker(gpu, &send));
        }
        drop(send);
        for (index, name, outcome) in receive {
            if tell(index, &name, &outcome).is_break() {
                stop.store(true, Ordering::Relaxed);
                told = true;
            }
            done.push((index, name, outcome));
        }
    });
    let timed_out = over();
    done.sort_by_key(|(index, ..)| *index);
    let mut report = Report::of(first);
    for (_, name, outcome) in done {
        let Ok(trial) = case(&name) else { continue };
        let failed = matches!(outcome, Outcome::Failed(_));
        report.add(&trial, outcome);
        if failed && filter.random.is_some() && !told && report.failures.len() <= MADE_SMALLER {
            make_smaller(first, &mut report, &name);
        }
    }
    let left = names.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.ended = if told {
        Some(format!("it was stopped after {} cases", report.executed + report.skips()))
    } else if stop.into_inner() {
        Some("a case failed".into())
    } else if timed_out && filter.random.is_none() {
        Some(format!("the time was over before {} cases were", left.count() + unbegun.into_inner()))
    } else {
        None
    };
    report
}

/// The variant in the name of a case.
pub(super) fn variant(name: &str) -> &str {
    name.split(':').next().unwrap_or_default()
}

/// The next names, as long as they are of the variant of the first: threads that shared them would compile it twice.
fn of_one_variant<N: Iterator<Item = (usize, String)>>(names: &mut Peekable<N>) -> Vec<(usize, String)> {
    let mut batch: Vec<_> = names.next().into_iter().collect();
    while let Some(next) = names.next_if(|(_, name)| batch.first().is_some_and(|(_, b)| variant(b) == variant(name))) {
        batch.push(next);
    }
    batch
}

/// A thread a core, 2 to 8: compiling takes longer than running. The GL backend has one context, which threads wait for only so
/// long.
fn threads(info: &wgpu::AdapterInfo) -> usize {
    if info.backend == wgpu::Backend::Gl {
        return 1;
    }
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8)
}

/// Runs a case. A panic is the suite's fault, or wgpu's when a driver surprises it: the other cases are run all the same.
fn caught(trial: &dyn Trial, gpu: &Gpu) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| trial.run(gpu))).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
        Outcome::Failed(Failure::Broken(format!("panicked: {text}")))
    })
}

/// Replaces the failure that was added last by the smallest that is found from it.
fn make_smaller(gpu: &Gpu, report: &mut Report, name: &str) {
    let fails = |trial: &dyn Trial| match caught(trial, gpu) {
        Outcome::Failed(Failure::Refused(_)) | Outcome::Passed(_) | Outcome::Skipped(_) => None,
        Outcome::Failed(failure) => Some(failure),
    };
    if let Some((smaller, failure)) = shrunk(name, fails)
        && let Some(last) = report.failures.last_mut()
    {
        *last = Failed { from: Some(name.to_owned()), ..Failed::new(smaller, &failure) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What panics has failed, and says why.
    #[test]
    fn a_panic_is_a_failure() {
        struct Panics;

        impl std::fmt::Display for Panics {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "panics")
            }
        }

        impl Trial for Panics {
            fn kind(&self) -> String {
                "none".into()
            }

            fn measured(&self) -> bool {
                false
            }

            fn run(&self, _: &Gpu) -> Outcome {
                panic!("{} is too many", 3)
            }
        }

        let gpu = Gpu::open(None).unwrap();
        let want = Outcome::Failed(Failure::Broken("panicked: 3 is too many".into()));
        assert_eq!(caught(&Panics, &gpu), want);
    }
}
