//! The suite, tried on itself: shaders with one small change each, a mutant, which some case must find wrong.
//!
//! A mutant's name is all that it takes to repeat it: `lib/exp@44:29:-->+` is the file under `shaders/`, line, column, change.
//! A mutant that no case finds is either no fault, and [`EQUIVALENT`] says why, or a case is missing.

mod change;
mod lex;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use serde::Serialize;

use self::change::{Change, changes};
use super::case::Profile;
use super::data::Random;
use super::run::{Outcome, Trial, forget};
use super::suite::{KERNELS, Kernel, case, terms, variant};
use crate::Caps;
use crate::host::{Gpu, HostError};
use crate::library::{Hook, Patch};
use crate::shader::Fragment;
use crate::softmax::Tier;

/// Mutants that no case can find, since what they compute is right, by the beginning of their names.
pub const EQUIVALENT: &[(&str, &str)] = &[
    ("lib/bits_off@2:12", UNUSED),
    ("lib/mask_off@2:12", UNUSED),
    ("lib/position_off@2:12", UNUSED),
    ("lib/router_stream_off@2:24", UNUSED),
    ("lib/lane@5:17", "any number beyond the quads of all rows does"),
    ("lib/router_rank_logit@7:21", FIELD),
    ("lib/router_rank_score@6:21", FIELD),
    ("lib/permute_weights_off@2:12", UNUSED),
    ("lib/router_bias_off@2:17", UNUSED),
    ("lib/router_noise_off@6:17", UNUSED),
    ("lib/router_bias_off@6:17", UNUSED),
    ("lib/router_field_off@15:19", UNUSED),
    ("lib/router_field_off@27:18", UNUSED),
    ("lib/router_divide_on@4:55", "one of four that are the same"),
    ("lib/reduce_workgroup@5:18", "a tree of one is as right as none"),
    ("lib/sinks_on@7:71", "one of four that are the same"),
    ("lib/router@28:57", "-0 for 0 as what logits are subtracted from: the same differences"),
    ("lib/plan_counters_own@8:39", "a guard: there are as many counters as buckets"),
    ("lib/piece@11:39", "of rows that do not exist nothing is written, whatever is read"),
    ("lib/plan_drop_on@10:25", "the first part's end wraps around, and it fills what the others do not"),
    ("sample_block_order@23:37", "a guard: invocations of a part are 8 at least, and so is their step"),
    ("expert_choice_tile@28:50", "a guard: strides are multiples of what a workgroup has"),
    ("lib/block@7:44", "rows with +inf are decided by their total, whatever enters"),
    ("lib/entry_subgroup@14:53", "no subgroup is usable then: the way without them is as right"),
    ("lib/half@25:23", "another NaN"),
    ("lib/outcome@18:27", "only read where the outcome is special"),
    (
        "sample_order@54:38",
        "a candidate after the last one goes to memory that nobody reads again; of rows without one, past its end, where this \
         driver writes nothing",
    ),
    ("lib/permute_params@30:53", "the word is 0: it is there for compilers"),
    ("lib/piece@13:22", "a row that does not exist is the last one again: the same values in the same place"),
    ("lib/plan_before@6:38", "one turn more, from invocations that there are not"),
    ("lib/plan_bucket_experts@3:40", "the bucket behind the last expert's is nobody's, as NONE is"),
    ("lib/plan_buckets_experts@3:46", "the bucket behind the last expert's is nobody's, as NONE is"),
    ("softmax_sum@11:25", "the first part's end wraps around, and it sums what the others do not"),
    ("lib/router_bias_x4@4:36", "bindings begin at any quad here, so that no offset is left"),
    ("lib/router_noise_off@2:17", UNUSED),
    ("lib/router_stream_off@2:34", UNUSED),
    ("lib/stream_off@2:24", UNUSED),
    ("lib/stream_off@2:34", UNUSED),
    ("lib/tally_off@7:18", UNUSED),
    ("lib/sinks_off@5:12", UNUSED),
    ("lib/slopes_off@2:12", UNUSED),
    ("lib/temperature_off@2:12", UNUSED),
    ("lib/sinks_on@3:21", "any number beyond all columns does"),
    ("lib/stats_softmax@2:17", "only speed: the sums are then made twice, alike"),
    ("lib/task@14:37", "of rows that do not exist nothing is written, whatever is read"),
    ("lib/temperature_kept@7:12", UNUSED),
    ("sample_part@7:16", SURPLUS),
    ("softmax_scale@7:16", SURPLUS),
    ("softmax_sum@7:9", SURPLUS),
    ("plan_count_group@8:14", SURPLUS),
    (
        "lib/plan_blocks_on@9:27",
        "the next invocation writes the same there; the last one writes behind the binding, which this device discards",
    ),
    (
        "lib/plan_counters_shared@21:34",
        "0 is added to the next tile's first counters: two invocations at once, where subgroups are not in step",
    ),
    ("plan_scan@7:5", "barriers of memory alone: this device runs a workgroup on one core"),
    ("lib/router_row_groups@35:5", "rows of one subgroup, which runs in step here"),
    (
        "lib/team_workgroup@54:5",
        "where one subgroup is the workgroup it runs in step; wider ones stop at the barriers around it",
    ),
    ("lib/router_divide_off@1:17", "weights are then divided by the 1 that inverse_of gives"),
    ("lib/router_noise_normal@5:118", "columns behind the row are excluded, whatever is read for them"),
    ("lib/score_f16@6:27", "the bit is the exponent's lowest, which is there already: 112 is even"),
    ("plan_empty@9:16", BEHIND),
    ("plan_extras@13:37", BEHIND),
    (
        "plan_one_group@13:20",
        "one workgroup takes no capacity, and without one no pair is in the bucket behind the experts'",
    ),
    ("stats@58:24", "all lanes of a row have the same total; rows behind the last are not read"),
    ("lib/exp@79:44", ROUNDING),
    ("lib/ln@18:58", ROUNDING),
    ("lib/normal_extended@14:43", "at most one ULP of the four that are allowed"),
];

const UNUSED: &str = "of an option that is off: no program that has this file uses the value";
const BEHIND: &str = "one expert more: another invocation writes the same there, and behind the binding only its last word can change, to the 1 it is";
const SURPLUS: &str = "of workgroups that a grid has too many, which only more than 65535 of them make";
const FIELD: &str = "only where a loop makes its scores: before it, or in it";
const ROUNDING: &str = "the error of an error: its share of the result is far below the budget";

/// Which mutants to make, and how hard to try.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of one file, at most; all if there is no number.
    pub per_file: Option<usize>,
    /// Of all files, at most: of some, then, evenly.
    pub most: Option<usize>,
    /// Only those whose names begin like one of these, if there are any.
    pub names: Vec<String>,
    /// Cases that are tried on one, at most.
    pub tries: usize,
    /// As long as mutants may be begun.
    pub budget: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self { per_file: Some(2), most: None, names: Vec::new(), tries: 48, budget: None }
    }
}

/// One small change of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mutant {
    /// `lib/exp@44:29:-->+`
    pub name: String,
    /// Under `shaders/`, without its ending.
    pub file: &'static str,
    /// From 1.
    pub line: usize,
    /// The line as it was.
    pub was: String,
    /// What kind of change.
    pub class: &'static str,
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}    {}", self.name, self.was)
    }
}

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "fate")]
pub enum Fate {
    /// A case found it.
    Killed {
        /// The case's name.
        case: String,
        /// What was wrong.
        failure: String,
    },
    /// No case found it.
    Survived {
        /// Cases that ran with it and were right.
        tries: usize,
        /// Why that is no fault, if it is known.
        explained: Option<&'static str>,
    },
    /// It is no shader: not counted.
    Stillborn {
        /// Why.
        why: String,
    },
    /// No case that this device can run has the file.
    NotReached {
        /// Why.
        why: String,
    },
}

/// Mutants of files that one kernel has, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Found.
    pub killed: usize,
    /// Not found.
    pub survived: usize,
    /// Of these, equivalent.
    pub explained: usize,
}

/// What came of all mutants.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What was found, by which case.
    pub killed: Vec<(Mutant, Fate)>,
    /// What was not.
    pub survived: Vec<(Mutant, Fate)>,
    /// What was no shader.
    pub stillborn: Vec<(Mutant, Fate)>,
    /// What never ran.
    pub not_reached: Vec<(Mutant, Fate)>,
    /// By kernel; files of several kernels are counted as `shared`.
    pub kernels: BTreeMap<String, Count>,
    /// Cases that fail without any mutant, and therefore find none.
    pub broken: BTreeSet<String>,
    /// Why the run ended before its mutants did.
    pub ended: Option<String>,
}

impl Report {
    /// Mutants that were shaders and ran.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.killed.len() + self.survived.len()
    }

    /// Survivors that nothing explains.
    pub fn unexplained(&self) -> impl Iterator<Item = &Mutant> {
        let unknown = |fate: &Fate| matches!(fate, Fate::Survived { explained: None, .. });
        self.survived.iter().filter(move |(_, fate)| unknown(fate)).map(|(mutant, _)| mutant)
    }

    /// The share that was found of mutants that are not equivalent.
    #[must_use]
    pub fn score(&self) -> f64 {
        let (killed, missed) = (self.killed.len(), self.unexplained().count());
        if killed + missed == 0 { 0.0 } else { killed as f64 / (killed + missed) as f64 }
    }

    fn add(&mut self, kernel: &str, mutant: Mutant, fate: Fate) {
        let count = self.kernels.entry(kernel.to_owned()).or_default();
        let list = match fate {
            Fate::Killed { .. } => {
                count.killed += 1;
                &mut self.killed
            }
            Fate::Survived { explained, .. } => {
                count.survived += 1;
                count.explained += usize::from(explained.is_some());
                &mut self.survived
            }
            Fate::Stillborn { .. } => &mut self.stillborn,
            Fate::NotReached { .. } => &mut self.not_reached,
        };
        list.push((mutant, fate));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.broken {
            writeln!(f, "FAILED without a mutant: {case}")?;
        }
        for (mutant, fate) in &self.survived {
            match fate {
                Fate::Survived { explained: Some(why), .. } => writeln!(f, "equivalent {mutant}\n           {why}")?,
                Fate::Survived { tries, .. } => writeln!(f, "SURVIVED {mutant}\n         {tries} cases")?,
                _ => {}
            }
        }
        let mut reasons = BTreeMap::<_, usize>::new();
        for (_, fate) in &self.not_reached {
            if let Fate::NotReached { why } = fate {
                *reasons.entry(why).or_default() += 1;
            }
        }
        for (why, count) in reasons {
            writeln!(f, "not reached {count}: {why}")?;
        }
        for (kernel, Count { killed, survived, explained }) in &self.kernels {
            writeln!(f, "{kernel:28} {killed:6} killed, {survived} survived, {explained} of them equivalent")?;
        }
        if let Some(why) = &self.ended {
            writeln!(f, "ended early: {why}")?;
        }
        let (killed, survived) = (self.killed.len(), self.survived.len());
        let (stillborn, not_reached) = (self.stillborn.len(), self.not_reached.len());
        let made = killed + survived + stillborn + not_reached;
        write!(f, "mutants: {made} made, {killed} killed, {survived} survived, {stillborn} stillborn")?;
        write!(f, ", {not_reached} not reached")
    }
}

/// A file, and the cases whose programs have it, the most telling first.
struct File {
    fragment: Fragment,
    /// With which capabilities of [`Bench::caps`], and which case.
    cases: Vec<(usize, usize)>,
    kernel: String,
}

/// Files by name, and which cases have them.
type Found = BTreeMap<&'static str, (Fragment, Vec<(usize, usize)>)>;

/// Cases of one file that are too few to be all.
const FEW: usize = 24;

/// All that mutants are tried with.
struct Bench {
    gpu: Gpu,
    /// As the device has them, without what replaces files of the baseline, and with subgroups larger than there are.
    caps: Vec<Caps>,
    cases: Vec<String>,
    /// Whether a case is right without a mutant.
    sound: Mutex<HashMap<(usize, usize), bool>>,
}

/// Elements, more or less.
fn cost(name: &str) -> u64 {
    let numbers = name.split([',', ':']).filter_map(|pair| pair.split_once('=')?.1.parse::<u64>().ok());
    numbers.fold(1, |all, n| all.saturating_mul(n.clamp(1, 1 << 20)))
}

/// Invocations of a workgroup, in steps of 16: wide ones are dear to compile and to run on a CPU.
fn weight(name: &str) -> usize {
    let part = name.split(['/', ':']).find_map(|part| part.strip_prefix('w')?.split(['l', 'k']).next()?.parse().ok());
    part.map_or(1, |width: usize| 1 + width / 16)
}

/// What decides which fragments there are, more or less: kernel and schedule, and all that is no number, but for the fill.
fn sort(name: &str) -> String {
    let (variant, rest) = name.split_once(':').unwrap_or((name, ""));
    let schedule = variant.split('/').take(2);
    let number =
        |pair: &str| pair.split_once('=').is_none_or(|(key, value)| key == "fill" || value.parse::<f64>().is_ok());
    schedule.chain(rest.split(',').filter(|pair| !number(pair))).collect::<Vec<_>>().join(" ")
}

/// Cases in an order in which every second has as much as possible that none before it had, for what it costs, the others being
/// the largest: what loops and boundaries do wrong is seen in long rows.
fn telling(names: &[String], mut cases: Vec<(usize, usize)>, most: usize) -> Vec<(usize, usize)> {
    cases.sort_by_key(|&(_, c)| (cost(&names[c]), c));
    let mut left: Vec<_> =
        cases.into_iter().map(|at| (at, &terms(&names[at.1]) | &BTreeSet::from([sort(&names[at.1])]))).collect();
    let (mut seen, mut order) = (BTreeSet::<String>::new(), Vec::new());
    while !left.is_empty() && order.len() < most {
        let worth = |(_, case): &(usize, usize), terms: &BTreeSet<String>| {
            let worth = if order.len() % 2 == 0 {
                (1 + terms.difference(&seen).count()) * 1000
            } else {
                cost(&names[*case]).min(LARGE) as usize
            };
            worth / weight(&names[*case])
        };
        let worths = left.iter().map(|(at, terms)| worth(at, terms)).enumerate();
        let best = worths.max_by_key(|&(i, n)| (n, usize::MAX - i)).map_or(0, |(i, _)| i);
        let (at, terms) = left.remove(best);
        seen.extend(terms);
        order.push(at);
    }
    order
}

/// From so many elements on, larger is not better.
const LARGE: u64 = 1 << 15;

impl Bench {
    fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Result<Self, HostError> {
        let gpu = Gpu::from_parts(device, queue)?;
        let mut caps = vec![gpu.library.caps().clone()];
        if caps[0].int64 {
            caps.push(Caps { int64: false, ..caps[0].clone() });
        }
        // Where subgroups are smaller than claimed, one invocation has all the work.
        if caps[0].subgroup && caps[0].min_subgroup_size < 32 {
            caps.push(Caps { min_subgroup_size: 32, ..caps[0].clone() });
        }
        let names = |profile| KERNELS.iter().flat_map(move |kernel| kernel.cases(profile)).map(|c| c.to_string());
        let mut cases: Vec<_> = names(Profile::Quick).collect();
        // The quick profile does not look at sizes: of each kernel and schedule, the largest case that is soon done.
        let mut large = BTreeMap::new();
        for name in names(Profile::Standard).filter(|name| weight(name) == 1 && cost(name) <= LARGE * 4) {
            let schedule = variant(&name).split('/').take(2).collect::<Vec<_>>().join("/");
            let best = large.entry(schedule).or_insert_with(|| name.clone());
            if cost(&name) > cost(best) {
                *best = name;
            }
        }
        // Nor at options together with others: of each set of them, one case.
        let mut known: BTreeSet<_> = cases.iter().map(|name| sort(name)).collect();
        let small = names(Profile::Standard).filter(|name| weight(name) == 1 && cost(name) <= LARGE);
        let others: Vec<_> = small.filter(|name| known.insert(sort(name))).collect();
        cases.extend(large.into_values().chain(others));
        // Nor at every variant: of the others one case, to see what files they have.
        let mut known: BTreeSet<_> = cases.iter().map(|name| variant(name).to_owned()).collect();
        let small = names(Profile::Standard).filter(|name| weight(name) == 1 && cost(name) <= LARGE);
        cases.extend(small.filter(|name| known.insert(variant(name).to_owned())).collect::<Vec<_>>());
        let mut once = BTreeSet::new();
        cases.retain(|name| once.insert(name.clone()));
        Ok(Self { gpu, caps, cases, sound: Mutex::default() })
    }

    /// Notes what the programs of these cases, from one on, are made of.
    fn survey(&self, found: &mut Found, from: usize) {
        for (c, name) in self.cases.iter().enumerate().skip(from) {
            let Ok(trial) = case(name) else { continue };
            for (at, caps) in self.caps.iter().enumerate() {
                // Only shuffles ask how large a subgroup is.
                let other = caps.min_subgroup_size != self.caps[0].min_subgroup_size;
                if other && !name.contains(&format!("/{}/", Tier::Shuffle.name())) {
                    continue;
                }
                let hook = Arc::new(Hook::Survey(Mutex::default()));
                let mut gpu = self.gpu.clone();
                gpu.library = gpu.library.hooked(caps.clone(), Arc::clone(&hook));
                // What it computes is nothing, and wrong.
                let _ = trial.run(&gpu);
                if let Hook::Survey(seen) = &*hook {
                    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    for fragment in seen.iter() {
                        let (_, cases) = found.entry(fragment.name).or_insert_with(|| (*fragment, Vec::new()));
                        if !cases.iter().any(|(_, known)| *known == c) {
                            cases.push((at, c));
                        }
                    }
                }
            }
        }
    }

    /// The files of all cases' programs.
    fn files(&mut self, tries: usize) -> Vec<File> {
        let mut found = Found::new();
        self.survey(&mut found, 0);
        // Where few cases have a file, more cases of the same variants.
        let sparse = found.values().filter(|(_, cases)| cases.len() < FEW).flat_map(|(_, cases)| cases);
        let sparse: BTreeSet<_> = sparse.map(|&(_, c)| variant(&self.cases[c]).to_owned()).collect();
        let (mut taken, known) =
            (BTreeMap::<String, usize>::new(), self.cases.iter().cloned().collect::<BTreeSet<_>>());
        let from = self.cases.len();
        for name in KERNELS.iter().flat_map(|kernel| kernel.cases(Profile::Standard)).map(|c| c.to_string()) {
            if sparse.contains(variant(&name)) && !known.contains(&name) {
                let count = taken.entry(variant(&name).to_owned()).or_default();
                *count += 1;
                if *count <= FEW {
                    self.cases.push(name);
                }
            }
        }
        self.survey(&mut found, from);
        let mut alike = BTreeMap::<String, Vec<usize>>::new();
        let known: BTreeSet<_> = self.cases.iter().cloned().collect();
        for name in KERNELS.iter().flat_map(|kernel| kernel.cases(Profile::Standard)).map(|c| c.to_string()) {
            if weight(&name) == 1 && cost(&name) <= LARGE && !known.contains(&name) {
                alike.entry(sort(&name)).or_default().push(self.cases.len());
                self.cases.push(name);
            }
        }
        let alike = &alike;
        let file = |(fragment, cases): (Fragment, Vec<(usize, usize)>)| {
            let kernels: BTreeSet<_> =
                cases.iter().filter_map(|&(_, c)| Kernel::of(&self.cases[c]).map(|k| k.name)).collect();
            let kernel = match kernels.len() {
                1 => kernels.into_iter().collect(),
                _ => "shared".to_owned(),
            };
            // Those for larger subgroups than there are go first: they are few, and nothing else goes that way.
            let least = self.caps[0].min_subgroup_size;
            let (odd, usual): (Vec<_>, Vec<_>) =
                cases.into_iter().partition(|&(at, _)| self.caps[at].min_subgroup_size != least);
            // Last, what differs from those that have the file in fills and sizes only.
            let sorts: BTreeSet<_> = usual.iter().map(|&(_, c)| sort(&self.cases[c])).collect();
            let turns = (0..tries).flat_map(|turn| sorts.iter().filter_map(move |sort| Some((turn, alike.get(sort)?))));
            let more = turns.filter_map(|(turn, alike)| Some((0, *alike.get(turn)?))).take(tries).collect();
            let cases = [telling(&self.cases, odd, FEW / 4), telling(&self.cases, usual, tries), more].concat();
            File { fragment, cases, kernel }
        };
        found.into_values().map(file).collect()
    }

    fn sound(&self, gpu: &mut Gpu, at: (usize, usize)) -> bool {
        let known = || self.sound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sound) = known().get(&at) {
            return *sound;
        }
        forget(gpu);
        if *gpu.library.caps() != self.caps[at.0]
            && let Ok(library) = crate::Library::with_caps(&self.gpu.device, self.caps[at.0].clone(), None)
        {
            gpu.library = library;
        }
        let sound = case(&self.cases[at.1]).is_ok_and(|trial| !matches!(trial.run(gpu), Outcome::Failed(_)));
        known().insert(at, sound);
        sound
    }

    /// Tries cases until one finds the change. `first` is what found the last one of this file.
    fn fate(&self, plain: &mut Gpu, file: &File, name: &str, change: &Change, first: &mut Vec<(usize, usize)>) -> Fate {
        let hook = Arc::new(Hook::Patch(Patch {
            file: file.fragment.name,
            text: change.apply(file.fragment.text),
            applied: AtomicUsize::new(0),
            refused: Mutex::default(),
        }));
        let libraries: Vec<_> =
            self.caps.iter().map(|caps| self.gpu.library.hooked(caps.clone(), Arc::clone(&hook))).collect();
        let order: Vec<_> =
            first.iter().copied().chain(file.cases.iter().copied().filter(|at| !first.contains(at))).collect();
        let explained = EQUIVALENT.iter().find(|(known, _)| name.starts_with(known)).map(|(_, why)| *why);
        // An explanation is tried too, for a while.
        let most = if explained.is_some() { FEW / 6 } else { order.len() };
        let (mut tries, mut skipped) = (0, String::new());
        for at in order.into_iter().take(most) {
            let Ok(trial) = case(&self.cases[at.1]) else { continue };
            let gpu = Gpu { library: libraries[at.0].clone(), ..self.gpu.clone() };
            let outcome = trial.run(&gpu);
            if let Hook::Patch(patch) = &*hook
                && let Some(why) = patch.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
            {
                return Fate::Stillborn { why };
            }
            match outcome {
                Outcome::Passed(_) => tries += 1,
                Outcome::Skipped(why) => skipped = why,
                Outcome::Failed(failure) if self.sound(plain, at) => {
                    first.retain(|known| *known != at);
                    first.insert(0, at);
                    return Fate::Killed { case: trial.to_string(), failure: failure.to_string() };
                }
                Outcome::Failed(_) => {}
            }
        }
        if tries == 0 {
            return Fate::NotReached { why: if skipped.is_empty() { "no case has the file".into() } else { skipped } };
        }
        Fate::Survived { tries, explained }
    }
}

/// The changes of a file, spread over lines and kinds; the order is always the same.
fn spread(file: &str, text: &str) -> Vec<Change> {
    let mut left = changes(text);
    left.sort_by_cached_key(|c| Random::of(&format!("{file}@{}:{}:{}", c.line, c.column, c.label)).bits());
    let mut order: Vec<Change> = Vec::new();
    while !left.is_empty() {
        // How often its line and its kind have been taken.
        let taken = |c: &Change| {
            let same = |of: fn(&Change, &Change) -> bool| order.iter().filter(|o| of(o, c)).count();
            same(|a, b| a.class == b.class) + same(|a, b| a.line == b.line)
        };
        let best = left.iter().enumerate().min_by_key(|(i, c)| (taken(c), *i)).map_or(0, |(i, _)| i);
        order.push(left.remove(best));
    }
    order
}

/// Makes mutants, and has the suite's cases find them: on a device of the caller's, with pipelines and buffers of its own.
/// `tell` hears of each as its fate is known, and can end the run.
///
/// A device that a mutant makes useless ends the run.
///
/// # Errors
/// When the device lacks compute shaders altogether.
pub fn run(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    options: &Options,
    mut tell: impl FnMut(&Mutant, &Fate) -> ControlFlow<()>,
) -> Result<Report, HostError> {
    let (start, mut bench) = (Instant::now(), Bench::new(device, queue)?);
    let stop = AtomicBool::new(false);
    let late = || options.budget.is_some_and(|budget| start.elapsed() >= budget);
    let over = || stop.load(Ordering::Relaxed) || late();
    let files = bench.files(options.tries.max(1));
    let bench = bench;
    let mut work: Vec<_> = files
        .iter()
        .map(|file| (file, spread(file.fragment.name, file.fragment.text)))
        .filter(|(_, changes)| !changes.is_empty())
        .collect();
    let wanted = |name: &str| options.names.is_empty() || options.names.iter().any(|n| name.starts_with(n.as_str()));
    let name = |file: &File, c: &Change| format!("{}@{}:{}:{}", file.fragment.name, c.line, c.column, c.label);
    for (file, changes) in &mut work {
        changes.retain(|c| wanted(&name(file, c)));
    }
    let mut each = if options.names.is_empty() { options.per_file.unwrap_or(usize::MAX) } else { usize::MAX };
    if let Some(most) = options.most {
        let files = work.len().max(1);
        each = each.min((most / files).max(1));
        let due = |i: usize| most >= files || i * most / files != (i + 1) * most / files;
        work = work.into_iter().enumerate().filter(|(i, _)| due(*i)).map(|(_, of)| of).collect();
    }
    let next = AtomicUsize::new(0);
    let (send, receive) = mpsc::channel();
    let worker = |send: &mpsc::Sender<_>| {
        let mut plain = bench.gpu.clone();
        while let Some((index, (file, changes))) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, work.get(i)?)))
        {
            let (mut counted, mut first) = (0, Vec::new());
            for change in changes {
                if counted == each || over() {
                    break;
                }
                let name = name(file, change);
                let fate = bench.fate(&mut plain, file, &name, change, &mut first);
                counted += usize::from(!matches!(fate, Fate::Stillborn { .. }));
                let was = file.fragment.text.lines().nth(change.line - 1).unwrap_or_default().trim().to_owned();
                let mutant = Mutant { name, file: file.fragment.name, line: change.line, was, class: change.class };
                if send.send((index, file.kernel.as_str(), mutant, fate)).is_err() {
                    return;
                }
            }
        }
    };
    let mut done = Vec::new();
    // The GL backend has one context, which threads wait for only so long.
    let threads = if bench.gpu.info.backend == wgpu::Backend::Gl { 1 } else { 2 };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (send, worker) = (send.clone(), &worker);
            scope.spawn(move || worker(&send));
        }
        drop(send);
        for (index, kernel, mutant, fate) in receive {
            if tell(&mutant, &fate).is_break() {
                stop.store(true, Ordering::Relaxed);
            }
            done.push((index, kernel, mutant, fate));
        }
    });
    done.sort_by_key(|(index, ..)| *index);
    let mut report = Report::default();
    for (_, kernel, mutant, fate) in done {
        report.add(kernel, mutant, fate);
    }
    let sound = bench.sound.lock().unwrap_or_else(PoisonError::into_inner);
    report.broken = sound.iter().filter(|(_, sound)| !**sound).map(|((_, c), _)| bench.cases[*c].clone()).collect();
    report.ended = if stop.load(Ordering::Relaxed) {
        Some("it was stopped".into())
    } else {
        late().then(|| "the time was over".into())
    };
    Ok(report)
}
