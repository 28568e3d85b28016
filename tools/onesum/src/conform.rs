//! `onesum conform`: the conformance suite on an adapter of this machine.

mod html;
mod junit;
mod record;
mod select;
mod summary;
mod table;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use onesum::conformance::{self, Adapter, Filter, Outcome, Report, case, run_on};
use onesum::host::{self, Gpu};

use crate::device;
use crate::failure::Failure;
use crate::run::paths::{check, is_stdout, named_output};
use crate::tensor::Files;
use crate::terminal::{quietly, say};
use record::Record;

const HELP: &str = "\
Examples:
  onesum conform                                     644 cases that have everything; a minute, longer the first time
  onesum conform softmax/onchip plan                 those whose names begin so
  onesum conform sample:fill=special router:options=cap    those with KEY=VALUE, or with both
  onesum conform 'plan/serial/w8:tokens=7,experts=5,k=2,fill=zipf'    one case, by its whole name
  onesum conform --profile random --budget-seconds 600   sizes drawn at random; what fails is made smaller
  onesum conform --adapter 1 --json report.json --junit report.xml --html report.html
  onesum conform --list sample | head                names
  onesum conform --export DIR plan sample            cases as files, for Dawn and browsers
  onesum conform --mutants                           does the suite find small faults in every shader?
  onesum conform --table a.json b.json               several reports side by side

A case's name is all that is needed to repeat it, on any adapter: its inputs are made from it. Outputs are held against a
CPU reference (floats within a derived error budget, everything else to the bit), words around them must be untouched,
inputs unchanged, and a second run bit-identical. A case that the adapter cannot run is skipped, with the reason.

Exit codes: 0 all cases that ran passed; 1 an error, or no case ran; 2 the command line makes no sense, or selects nothing;
3 a case failed; 130 interrupted.";

/// Run the conformance suite: every kernel, checked against the CPU reference.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Only cases whose names begin so, have this KEY=VALUE (kernel:KEY=VALUE), or are this [default: all]
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// How many cases; `random` draws sizes until the time is over
    #[arg(long, value_enum, default_value_t = Profile::Quick)]
    profile: Profile,
    /// Adapter, by its number or a part of its name (`onesum info`)
    #[arg(long, value_name = "NAME_OR_INDEX")]
    adapter: Option<String>,
    /// Print the cases' names, and run none
    #[arg(long, conflicts_with_all = ["json", "junit", "html", "fail_fast", "budget_seconds", "adapter"])]
    list: bool,
    /// Write the report as JSON (`-`: to standard output, instead of text)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as `JUnit` XML, for CI
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the report as one page of HTML
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Of `--profile random`: what sizes are drawn by [default: by the time]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Begin no case after so many seconds [default of `--profile random`: 30]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    budget_seconds: Option<u64>,
    /// End with the first failure
    #[arg(long)]
    fail_fast: bool,
    /// Write each case that fails into a folder here: shaders, inputs, what this adapter gave (as --export does)
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Write the cases as files, for other implementations of WebGPU (tools/web), instead of a report
    #[arg(long, value_name = "DIR", conflicts_with_all =
        ["list", "json", "junit", "html", "fail_fast", "budget_seconds", "save"])]
    export: Option<PathBuf>,
    /// Try the suite itself: shaders with one small fault each must fail. Filters are mutants' names then (lib/exp, lib/exp@79)
    #[arg(long, conflicts_with_all = ["list", "json", "junit", "html", "fail_fast", "save", "export", "profile", "seed"])]
    mutants: bool,
    /// Print a table of these reports (of --json), one row for each implementation and tier, and run none
    #[arg(long, value_name = "REPORT", num_args = 1.., conflicts_with_all =
        ["filters", "list", "json", "junit", "html", "fail_fast", "budget_seconds", "adapter", "seed", "profile", "save",
         "export", "mutants"])]
    table: Vec<PathBuf>,
}

/// How many cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// As few as have everything
    Quick,
    /// Every variant of f32; other types on one geometry of each schedule
    Standard,
    /// Every variant with everything
    Full,
    /// Any, with sizes drawn at random
    Random,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Standard => "standard",
            Self::Full => "full",
            Self::Random => "random",
        }
    }

    /// The library's; random cases are made from those of the full one.
    fn cases(self) -> conformance::Profile {
        match self {
            Self::Quick => conformance::Profile::Quick,
            Self::Standard => conformance::Profile::Standard,
            Self::Full | Self::Random => conformance::Profile::Full,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    if !args.table.is_empty() {
        return say(&table::table(&args.table)?);
    }
    if args.mutants {
        return mutants(args);
    }
    let random = args.profile == Profile::Random;
    if args.seed.is_some() && !random {
        return Err(Failure::usage("--seed is for --profile random: other cases are what they are"));
    }
    if args.export.is_some() && random {
        return Err(Failure::usage("--export writes the cases of a profile; random ones are drawn as they run"));
    }
    if args.list && random {
        return Err(Failure::usage("--list lists the cases of a profile; random ones are drawn as they run"));
    }
    let filter = Filter {
        patterns: select::patterns(&args.filters, args.profile)?,
        profile: args.profile.cases(),
        random: random.then(|| args.seed.unwrap_or_else(seed_of_now)),
        budget: args.budget_seconds.or(random.then_some(30)).map(Duration::from_secs),
        fail_fast: args.fail_fast,
    };
    if args.list {
        return list(&filter);
    }
    if let Some(dir) = &args.export {
        return export(args, &filter, dir);
    }
    let outputs = Outputs::new(args)?;
    if let Some(dir) = &args.save {
        std::fs::create_dir_all(dir).map_err(|e| Failure::error(format!("{}: {e}", dir.display())))?;
    }
    let gpus = quietly(|| conformance::devices(&host::adapter(args.adapter.as_deref())?))?;
    let gpu = &gpus[0];
    let interrupted = interruption();
    let lost = Arc::new(AtomicBool::new(false));
    for gpu in &gpus {
        tell_of_loss(&gpu.device, &lost);
    }

    let mut live = Live::new(args, &filter, outputs.takes_stdout());
    live.say(&format!("{}\n", Adapter::new(&gpu.info).line()))?;
    if let Some(seed) = filter.random {
        live.say(&format!("random cases, --seed {seed}\n"))?;
    }
    let (start, mut tried) = (Instant::now(), Vec::new());
    let keeps_going = !outputs.is_empty();
    let mut report = run_on(&gpus, &filter, |index, name, outcome| {
        tried.push((index, Tried { name: name.to_owned(), outcome: outcome.clone() }));
        let shown = live.tell(name, outcome);
        let stop = interrupted.load(Ordering::Relaxed) || lost.load(Ordering::Relaxed);
        // Whoever reads a pipe may have seen enough; files want all cases.
        if stop || (shown.is_err() && !keeps_going) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    live.bar.finish_and_clear();
    if lost.load(Ordering::Relaxed) {
        report.ended = Some("the device was lost".to_owned());
    } else if interrupted.load(Ordering::Relaxed) {
        report.ended = Some("it was interrupted".to_owned());
    }
    tried.sort_by_key(|(index, _)| *index);
    let tried: Vec<_> = tried.into_iter().map(|(_, tried)| tried).collect();
    let time = start.elapsed();
    if keeps_going && !lost.load(Ordering::Relaxed) {
        report.probe = Some(conformance::probe::probe(gpu)?);
    }
    let record = Record::new(args, &filter, &report, &tried, time);
    let shown = live.say(&summary::text(&report, &live.again));
    outputs.write(&record, &live.again)?;
    if let Some(dir) = &args.save {
        live.say(&save(gpu, &report, dir)?)?;
    }
    verdict(&report, interrupted.load(Ordering::Relaxed))?;
    shown
}

/// Writes cases for other implementations.
fn export(args: &Args, filter: &Filter, dir: &Path) -> Result<(), Failure> {
    let gpu = device::open(args.adapter.as_deref())?;
    let mut live = Live::new(args, filter, false);
    let mut shown = Ok(());
    let done = conformance::export_with(&gpu, filter.cases(), dir, |name, outcome| {
        shown = live.tell(name, outcome);
    })?;
    live.bar.finish_and_clear();
    shown?;
    say(&format!("{done}\n"))?;
    match done.failed.len() {
        0 => Ok(()),
        failed => Err(Failure::OutsideBudget(format!("{failed} cases fail here, and were not written"))),
    }
}

/// Writes the failing cases of a report, each into a folder of its own; says where.
fn save(gpu: &Gpu, report: &Report, dir: &Path) -> Result<String, Failure> {
    let saved = report.failures.iter().take(SHOWN).map(|failed| {
        let case = case(&failed.case).map_err(Failure::error)?;
        let folder = dir.join(failed.case.replace(['/', ':'], "_"));
        conformance::save(gpu, &*case, &folder)?;
        Ok(format!("saved {}\n", folder.display()))
    });
    saved.collect()
}

/// The suite, tried on itself.
fn mutants(args: &Args) -> Result<(), Failure> {
    use conformance::mutants::{Fate, Options, run};

    let mut files = conformance::representatives().flat_map(|program| program.fragments).map(|file| file.name);
    let known = |file: &str| args.filters.iter().any(|name| file.starts_with(name.split('@').next().unwrap_or("")));
    if !args.filters.is_empty() && !files.any(known) {
        return Err(Failure::usage("no mutant's name begins so: they begin with a file of shaders/, such as lib/exp"));
    }
    let gpu = device::open(args.adapter.as_deref())?;
    let interrupted = interruption();
    let options = Options {
        names: args.filters.clone(),
        budget: args.budget_seconds.map(Duration::from_secs),
        ..Options::default()
    };
    say(&format!("{}\n", Adapter::new(&gpu.info).line()))?;
    let bar = ProgressBar::no_length().with_style(
        ProgressStyle::with_template("{elapsed} {pos} mutants {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    let mut stopped = false;
    let report = run(&gpu.device, &gpu.queue, &options, |mutant, fate| {
        bar.set_message(mutant.name.clone());
        bar.inc(1);
        if matches!(fate, Fate::Survived { explained: None, .. }) {
            stopped |= bar.suspend(|| say(&format!("SURVIVED {mutant}\n"))).is_err();
        }
        if stopped || interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    bar.finish_and_clear();
    say(&format!("{report}\n"))?;
    if report.counted() + report.not_reached.len() == 0 {
        return Err(Failure::error("no mutant was made: those that are named are no shaders, or not of this version"));
    }
    if interrupted.load(Ordering::Relaxed) {
        return Err(Failure::Interrupted("interrupted".to_owned()));
    }
    match report.unexplained().count() + report.broken.len() {
        0 => Ok(()),
        n => Err(Failure::OutsideBudget(format!("{n} mutants survived, or cases failed without one"))),
    }
}

/// How a run ends.
fn verdict(report: &Report, interrupted: bool) -> Result<(), Failure> {
    let (executed, failed) = (report.executed, report.failures.len());
    if failed > 0 {
        return Err(Failure::OutsideBudget(format!("{failed} of {executed} cases failed")));
    }
    if interrupted {
        return Err(Failure::Interrupted(format!("interrupted: {executed} cases ran and passed")));
    }
    if executed > 0 {
        return Ok(());
    }
    let reasons = report.skipped.iter().map(|(reason, count)| format!("{count} skipped: {reason}"));
    let mut reasons: Vec<_> = report.ended.iter().cloned().chain(reasons).collect();
    if reasons.is_empty() {
        reasons.push("the time was over before one was".to_owned());
    }
    Err(Failure::error(format!("no case ran: {}", reasons.join("; "))))
}

/// A case that was tried.
struct Tried {
    name: String,
    outcome: Outcome,
}

impl Tried {
    /// What it is counted with.
    fn kind(&self) -> String {
        case(&self.name).map_or_else(|_| String::new(), |case| case.kind())
    }
}

/// The command that runs one case.
struct Again {
    adapter: String,
}

impl Again {
    fn new(adapter: Option<&str>) -> Self {
        let quoted = adapter.map(|adapter| match shlex::try_quote(adapter) {
            Ok(quoted) => format!("--adapter {quoted} "),
            // A zero byte, which no argument can hold.
            Err(_) => String::new(),
        });
        Self { adapter: quoted.unwrap_or_default() }
    }

    /// Names hold no quotes.
    fn command(&self, name: &str) -> String {
        format!("onesum conform {}'{name}'", self.adapter)
    }
}

/// What is shown while it runs.
struct Live {
    bar: ProgressBar,
    again: Again,
    /// Standard output is a file's.
    silent: bool,
    closed: bool,
    failures: usize,
}

/// As many failures are shown one by one: a device that gets everything wrong has thousands.
const SHOWN: usize = 20;

impl Live {
    fn new(args: &Args, filter: &Filter, silent: bool) -> Self {
        let bar = if filter.random.is_some() {
            let style = ProgressStyle::with_template("{elapsed} {pos} cases {wide_msg}");
            ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        } else {
            let style = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {wide_msg}");
            ProgressBar::new(filter.cases().count() as u64)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        };
        Self { bar, again: Again::new(args.adapter.as_deref()), silent, closed: false, failures: 0 }
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        if self.silent {
            return Ok(());
        }
        if self.closed {
            return Err(Failure::PipeClosed);
        }
        let said = self.bar.suspend(|| say(text));
        self.closed = said.is_err();
        said
    }

    fn tell(&mut self, name: &str, outcome: &Outcome) -> Result<(), Failure> {
        self.bar.set_message(name.to_owned());
        self.bar.inc(1);
        let Outcome::Failed(failure) = outcome else {
            return if self.closed { Err(Failure::PipeClosed) } else { Ok(()) };
        };
        self.failures += 1;
        if self.failures > SHOWN {
            let more = "       more failures are counted, not shown; --json and --html have them all\n";
            return if self.failures == SHOWN + 1 { self.say(more) } else { Ok(()) };
        }
        let others = failure.elements().iter().skip(1).map(|element| format!("       {element}\n"));
        let text = format!(
            "FAILED {name}\n       {failure}\n{}       again: {}\n",
            others.collect::<String>(),
            self.again.command(name)
        );
        self.say(&text)
    }
}

/// Prints names as they come.
fn list(filter: &Filter) -> Result<(), Failure> {
    let mut text = String::new();
    for case in filter.cases() {
        text += &case.to_string();
        text.push('\n');
        if text.len() > 8192 {
            say(&text)?;
            text.clear();
        }
    }
    say(&text)
}

/// The files that a run leaves.
struct Outputs<'a> {
    json: Option<&'a Path>,
    junit: Option<&'a Path>,
    html: Option<&'a Path>,
}

impl<'a> Outputs<'a> {
    /// Nothing is written yet, but it could be: a long run is not lost to a slip of the pen.
    fn new(args: &'a Args) -> Result<Self, Failure> {
        let all = [("--json", &args.json), ("--junit", &args.junit), ("--html", &args.html)];
        if all.iter().filter(|(_, path)| path.as_deref().is_some_and(is_stdout)).count() > 1 {
            return Err(Failure::usage("only one report can go to standard output"));
        }
        check(&[], &all.map(|(what, path)| named_output(what, path.as_ref())))?;
        let outputs = Self { json: args.json.as_deref(), junit: args.junit.as_deref(), html: args.html.as_deref() };
        for path in outputs.paths().filter(|path| !is_stdout(path)) {
            Files::try_out(path)?;
        }
        Ok(outputs)
    }

    fn paths(&self) -> impl Iterator<Item = &'a Path> {
        [self.json, self.junit, self.html].into_iter().flatten()
    }

    fn is_empty(&self) -> bool {
        self.paths().next().is_none()
    }

    fn takes_stdout(&self) -> bool {
        self.paths().any(is_stdout)
    }

    fn write(&self, record: &Record<'_>, again: &Again) -> Result<(), Failure> {
        let mut files = Files::default();
        let mut add = |path: &Path, text: String| -> Result<(), Failure> {
            if is_stdout(path) { say(&text) } else { Ok(files.text(path, &text)?) }
        };
        if let Some(path) = self.json {
            add(path, serde_json::to_string_pretty(record)? + "\n")?;
        }
        if let Some(path) = self.junit {
            add(path, junit::xml(record, again)?)?;
        }
        if let Some(path) = self.html {
            add(path, html::page(record, again))?;
        }
        Ok(files.commit()?)
    }
}

/// Set by the first Ctrl-C; a second one ends the program on the spot.
fn interruption() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    // Without a handler, Ctrl-C ends the program as ever.
    let _ = ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    flag
}

/// Set when the device is lost: all cases after that would fail.
fn tell_of_loss(device: &wgpu::Device, flag: &Arc<AtomicBool>) {
    let flag = Arc::clone(flag);
    device.set_device_lost_callback(move |_, _| flag.store(true, Ordering::Relaxed));
}

/// Another one each time.
fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}
