//! Every program of onesum in the languages that drivers take, by naga, and through the compilers of those languages that are
//! at hand: what wgpu does on its way to a driver, for all programs and without a device.
//!
//! Exit code 1 when anything is refused that is not a hole known by name.

mod target;
mod validator;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::Parser;
use onesum::conformance::{Linked, programs, representatives};
use onesum::shader::Dialect;

use target::{Resolved, Target};

/// Programs that a thread takes at a time: as many files are one process of glslang.
const BATCH: usize = 64;

#[derive(Parser)]
#[command(name = "onesum-translate", version, max_term_width = 110)]
#[command(about = "Every shader of onesum as SPIR-V, GLSL, HLSL and MSL, by naga")]
struct Cli {
    /// All programs, each text with each set of its overrides; without, as few as show every two files of shaders/ together
    /// that are ever linked together
    #[arg(long)]
    all: bool,
    /// Run spirv-val and glslangValidator on what comes out
    #[arg(long)]
    check: bool,
    /// Keep what comes out in this folder, one folder for each language
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// What came of one language.
#[derive(Default)]
struct Tally {
    translated: usize,
    /// Accepted by its compiler.
    valid: usize,
    /// Known reasons, and how often.
    holes: BTreeMap<&'static str, usize>,
    /// What naga or the compiler said, of which programs.
    refused: BTreeMap<String, Vec<String>>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.translated += other.translated;
        self.valid += other.valid;
        for (reason, count) in other.holes {
            *self.holes.entry(reason).or_default() += count;
        }
        for (reason, names) in other.refused {
            self.refused.entry(reason).or_default().extend(names);
        }
    }

    fn refusals(&self) -> usize {
        self.refused.values().map(Vec::len).sum()
    }
}

type Tallies = BTreeMap<Target, Tally>;

/// Translates some programs into `folder`, has the files checked, and removes them unless they are to be kept.
fn batch(programs: &[Linked], folder: &Path, cli: &Cli) -> Result<Tallies, String> {
    let mut tallies: Tallies = Target::ALL.into_iter().map(|target| (target, Tally::default())).collect();
    let mut files: BTreeMap<Target, Vec<PathBuf>> = BTreeMap::new();
    for program in programs {
        let resolved = Resolved::of(program, &program.text(Dialect::Naga));
        for (&target, tally) in &mut tallies {
            let code = match &resolved {
                Ok(resolved) => resolved.translate(target, &program.bindings),
                Err(reason) => Err(format!("naga: {reason}")),
            };
            match (code, target.hole(program)) {
                (Ok(code), _) => {
                    let file = folder.join(target.name()).join(file_name(program, target));
                    fs::write(&file, code).map_err(|e| format!("{}: {e}", file.display()))?;
                    files.entry(target).or_default().push(file);
                    tally.translated += 1;
                }
                (Err(_), Some(hole)) if resolved.is_ok() => *tally.holes.entry(hole).or_default() += 1,
                (Err(reason), _) => tally.refused.entry(reason).or_default().push(program.name.clone()),
            }
        }
    }
    for (target, files) in files {
        let refused = if cli.check { validator::refused(target, &files)? } else { None };
        if let (Some(refused), Some(tally)) = (refused, tallies.get_mut(&target)) {
            tally.valid += files.len() - refused.len();
            for (file, reason) in refused {
                let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                // The same fault in another line of another file is the same fault.
                let reason = reason.replace(&*file.to_string_lossy(), "");
                tally.refused.entry(reason).or_default().push(name);
            }
        }
        if cli.out.is_none() {
            for file in files {
                fs::remove_file(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            }
        }
    }
    Ok(tallies)
}

fn file_name(program: &Linked, target: Target) -> String {
    format!("{}.{}", program.name.replace('/', "-"), target.ending())
}

/// The programs asked for: of those with the same text and overrides, one.
fn chosen(all: bool) -> Vec<Linked> {
    if !all {
        return representatives().collect();
    }
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let mut seen = HashSet::new();
    programs()
        .filter(|p| {
            let files: Vec<_> = p.fragments.iter().map(|f| f.name).collect();
            let overrides: Vec<_> = p.overrides.iter().map(|(name, value)| (*name, value.to_bits())).collect();
            seen.insert(hasher.hash_one((p.header.f16, &p.header.constants, files, overrides)))
        })
        .collect()
}

fn translate(cli: &Cli) -> Result<Tallies, String> {
    let programs = chosen(cli.all);
    let scratch = tempfile::tempdir().map_err(|e| format!("no folder for files: {e}"))?;
    let folder = cli.out.as_deref().unwrap_or(scratch.path());
    for target in Target::ALL {
        let folder = folder.join(target.name());
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    if cli.check {
        validator::check_the_checkers(folder)?;
    }
    println!("{} programs{}", programs.len(), if cli.all { "" } else { ": every two files together" });

    let batches = Mutex::new(programs.chunks(BATCH));
    let total = Mutex::new(Ok(Tallies::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let next = || batches.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(programs) = next() {
                    let done = batch(programs, folder, cli);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    match (done, &mut *total) {
                        (Ok(done), Ok(total)) => {
                            for (target, tally) in done {
                                total.entry(target).or_default().add(tally);
                            }
                        }
                        (Err(reason), total) => *total = Err(reason),
                        (Ok(_), Err(_)) => return,
                    }
                }
            });
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// One line for each language, more where something is missing or wrong. Whether nothing is wrong.
fn report(tallies: &Tallies, checked: bool) -> bool {
    let mut good = true;
    for (target, tally) in tallies {
        let compiler = !matches!(target, Target::Hlsl | Target::Msl);
        let (name, translated, refused) = (target.name(), tally.translated, tally.refusals());
        let outcome = match (checked, compiler) {
            (true, true) => format!("{} valid, {refused} refused", tally.valid),
            (true, false) => format!("{refused} refused; only translated: no compiler here"),
            (false, _) => format!("{refused} refused; only translated: no compiler was asked"),
        };
        println!("{name}: {translated} texts translated, {outcome}");
        for (reason, count) in &tally.holes {
            println!("    {count} not translated: {reason}");
        }
        for (reason, names) in &tally.refused {
            println!("    {} REFUSED, such as {}: {reason}", names.len(), names[0]);
        }
        good &= refused == 0 && translated > 0;
    }
    good
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let start = Instant::now();
    match translate(&cli) {
        Ok(tallies) => {
            let good = report(&tallies, cli.check);
            println!("{:.0} s", start.elapsed().as_secs_f64());
            if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(reason) => {
            eprintln!("onesum-translate: {reason}");
            ExitCode::FAILURE
        }
    }
}
