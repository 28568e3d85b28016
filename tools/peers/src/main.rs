//! onesum beside others that compute the same: on one adapter, in one run, with the same checks. `tools/peers/run` sets it up.

mod burn;
mod candle;
mod check;
mod ours;
mod peer;
mod python;
mod report;
mod turns;
mod work;

use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;

use candle::{Candle, Draw};
use peer::Peer;
use python::Python;
use report::{Adapter, Machine, Method, Record, Report};
use turns::{Plan, Runner, take_turns};
use work::{FREQUENCIES, Kind, Problem, Work};

/// The peers of peer.py, by the names that it knows them by.
const PYTHON: [&str; 4] = ["onnxruntime-webgpu", "onnxruntime-cpu", "onnxruntime-cpu-multinomial", "torch-cpu"];

/// Draws that frequencies are taken from: 16 calls.
const FREQUENCY_CALLS: usize = 16;

/// Measure onesum beside others that compute the same.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// A handful of shapes, fewer rounds
    #[arg(long)]
    quick: bool,
    /// The shapes of `onesum bench --preset llm`
    #[arg(long, conflicts_with = "quick")]
    llm: bool,
    /// Only work whose name contains this, such as "softmax" or "sample 8x"
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Rounds per shape
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// The Python that has onnxruntime-webgpu and onnx [default: peers of Python are left out]
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Write the table
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write records
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Say whether the adapter is a "gpu" or runs on the "cpu", and nothing else
    #[arg(long)]
    adapter_kind: bool,
}

fn main() {
    match run(&Args::parse()) {
        Ok(0) => {}
        Ok(wrong) => {
            eprintln!("onesum-peers: {wrong} results are wrong and were not timed");
            std::process::exit(3);
        }
        Err(error) => {
            eprintln!("onesum-peers: {error:#}");
            std::process::exit(1);
        }
    }
}

fn run(args: &Args) -> Result<usize> {
    if args.adapter_kind {
        let info = onesum::host::adapter(None)?.get_info();
        println!("{}", if info.device_type == wgpu::DeviceType::Cpu { "cpu" } else { "gpu" });
        return Ok(0);
    }
    let works = match (args.quick, args.llm) {
        (true, _) => work::quick(),
        (_, true) => work::llm()?,
        _ => work::all(),
    };
    let wanted = |work: &Work| args.only.as_ref().is_none_or(|only| work.to_string().contains(only));
    let works: Vec<Work> = works.into_iter().filter(wanted).collect();
    if works.is_empty() {
        bail!("nothing that is measured has {:?} in its name", args.only.as_deref().unwrap_or_default());
    }
    let folder = tempfile::tempdir()?;
    let (burn, gpu) = burn::open()?;
    let (info, load) = (gpu.info.clone(), load());
    let cpu = info.device_type == wgpu::DeviceType::Cpu;
    let plan = Plan {
        rounds: args.rounds.unwrap_or(if args.quick { 7 } else { 15 }),
        turn_seconds: if cpu { 0.03 } else { 0.005 },
        // Past the last cache of any CPU or GPU that is likely to be met.
        rotate_bytes: if cpu { 128 << 20 } else { 512 << 20 },
    };
    let mut missing = BTreeMap::new();
    let mut peers: Vec<Box<dyn Peer>> = vec![
        Box::new(ours::Onesum::new(gpu)),
        Box::new(burn),
        Box::new(Candle::new(Draw::Gumbel)),
        Box::new(Candle::new(Draw::Weighted)),
    ];
    for name in PYTHON {
        let started = match &args.python {
            Some(python) => Python::start(python, name, folder.path()),
            None => Err(anyhow!("no --python was given")),
        };
        match started {
            Ok(python) => peers.push(Box::new(python)),
            Err(error) => drop(missing.insert(name.to_owned(), format!("{error:#}"))),
        }
    }
    let versions = peers.iter().map(|p| (p.name().to_owned(), p.version().to_owned())).collect();
    let mut results = Vec::new();
    let draws = works.iter().any(|work| work.kind == Kind::Sample);
    let unsound = if draws { unsound(&mut peers, folder.path())? } else { BTreeMap::new() };
    for work in works {
        eprintln!("{work}");
        results.extend(measure(&mut peers, work, &plan, &unsound, folder.path())?);
    }
    let report = Report {
        version: 1,
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        machine: Machine {
            cpu: cpu_name(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load: [load, self::load()],
        },
        adapter: Adapter {
            name: info.name,
            driver: format!("{} {}", info.driver, info.driver_info),
            kind: format!("{:?}", info.device_type),
            backend: format!("{:?}", info.backend),
        },
        method: Method {
            what: "from the first call of a turn to all its work done; inputs where the peer computes, results left there",
            order: "interleaved: A, B, C, A, B, C, ...; ratios within a round",
            data: "uniform in [-10, 10), SplitMix64, seed 1",
            plan,
        },
        versions,
        missing,
        results,
    };
    print!("{}", report.markdown());
    if let Some(path) = &args.markdown {
        write(path, &report.markdown())?;
    }
    if let Some(path) = &args.json {
        write(path, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    Ok(report.wrong())
}

fn problem(work: Work, logits: Vec<f32>, sets: u32, folder: &Path) -> Result<Problem> {
    let file = folder.join("logits");
    let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(&file, bytes)?;
    Ok(Problem { work, logits, file, sets })
}

/// Those whose draws have the wrong frequencies, and how wrong.
fn unsound(peers: &mut [Box<dyn Peer>], folder: &Path) -> Result<BTreeMap<String, String>> {
    let problem = problem(FREQUENCIES, work::few_logits(&FREQUENCIES), 1, folder)?;
    let mut unsound = BTreeMap::new();
    for peer in peers.iter_mut().filter(|peer| peer.takes(Kind::Sample)) {
        let drawn = attempt(|| {
            peer.prepare(&problem)?;
            let mut drawn = Vec::new();
            for _ in 0..FREQUENCY_CALLS {
                drawn.extend(peer.results()?.columns);
            }
            Ok(drawn)
        });
        // One that cannot do this work says so again when it is measured.
        if let Ok(drawn) = drawn
            && let Err(wrong) = check::frequencies(&problem.logits, &drawn)
        {
            unsound.insert(peer.name().to_owned(), wrong);
        }
        peer.clear();
    }
    Ok(unsound)
}

/// Prepares and checks all who do this kind of work, then lets them take turns.
fn measure(
    peers: &mut [Box<dyn Peer>],
    work: Work,
    plan: &Plan,
    unsound: &BTreeMap<String, String>,
    folder: &Path,
) -> Result<Vec<Record>> {
    let sets = plan.rotate_bytes.div_ceil(work.bytes()).clamp(1, 64) as u32;
    let problem = problem(work, work::logits(work.elements()), sets, folder)?;
    let (mut records, mut runners) = (Vec::new(), Vec::new());
    for peer in peers.iter_mut().filter(|peer| peer.takes(work.kind)) {
        let mut record = Record::new(work, peer.name());
        match attempt(|| peer.prepare(&problem).and_then(|()| peer.results())) {
            Err(error) => record.end("refused", format!("{error:#}")),
            Ok(results) => match (check::check(&problem, &results), unsound.get(peer.name())) {
                (Err(wrong), _) => record.end("wrong", wrong),
                (Ok(_), Some(wrong)) if work.kind == Kind::Sample => record.end("wrong", wrong.clone()),
                (Ok(worst), _) => record.worst_error = worst,
            },
        }
        record.note = peer.note();
        if record.reason.is_none() {
            match attempt(|| Runner::new(&mut **peer, plan, work)) {
                Ok(runner) => runners.push((records.len(), runner)),
                Err(error) => record.end("refused", format!("{error:#}")),
            }
        }
        records.push(record);
    }
    take_turns(runners.iter_mut().map(|(_, runner)| runner), plan)?;
    // The first peer is onesum. Where its results were wrong, there is nothing to divide by.
    let ours = runners.iter().find(|(index, _)| *index == 0).map(|(_, runner)| runner);
    for (index, runner) in &runners {
        records[*index].time(runner, ours);
    }
    drop(runners);
    for peer in peers {
        peer.clear();
    }
    Ok(records)
}

/// Runs it; a panic of a peer's is its refusal.
fn attempt<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()));
        Err(anyhow!("panicked: {}", text.unwrap_or_default()))
    })
}

/// The whole file or none of it.
fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(|| path.display().to_string())?;
    file.write_all(text.as_bytes())?;
    file.persist(path).with_context(|| path.display().to_string())?;
    Ok(())
}

/// The load average of the last minute, where the system tells.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split_once(": "));
    name.map_or(std::env::consts::ARCH, |(_, name)| name).to_owned()
}
