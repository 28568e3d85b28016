//! One table for people, one record for machines.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::turns::{Plan, Runner, Spread};
use crate::work::{Kind, Work};

/// A run. Field names are stable; fields may be added.
#[derive(Serialize)]
pub struct Report {
    /// Of this format.
    pub version: u32,
    /// UTC, RFC 3339.
    pub date: String,
    pub machine: Machine,
    pub adapter: Adapter,
    pub method: Method,
    /// By peer.
    pub versions: BTreeMap<String, String>,
    /// Peers that cannot run here, and why.
    pub missing: BTreeMap<String, String>,
    pub results: Vec<Record>,
}

#[derive(Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    /// Of the last minute, before and after.
    pub load: [Option<f64>; 2],
}

#[derive(Serialize)]
pub struct Adapter {
    pub name: String,
    pub driver: String,
    pub kind: String,
    pub backend: String,
}

#[derive(Serialize)]
pub struct Method {
    pub what: &'static str,
    pub order: &'static str,
    pub data: &'static str,
    #[serde(flatten)]
    pub plan: Plan,
}

/// One peer at one piece of work.
#[derive(Serialize)]
pub struct Record {
    #[serde(flatten)]
    pub work: Work,
    pub peer: String,
    /// `timed`, `wrong` or `refused`; the rest is null unless timed.
    pub status: &'static str,
    /// Why it was not timed.
    pub reason: Option<String>,
    /// How it does this work, where that needs saying.
    pub note: Option<String>,
    /// Of one call.
    pub ms: Option<Spread>,
    pub cpu_ms: Option<Spread>,
    /// Time over onesum's in the same round.
    pub x_onesum: Option<Spread>,
    /// The same of the processes' CPU time.
    pub x_onesum_cpu: Option<Spread>,
    /// Between two waits.
    pub calls: Option<u32>,
    /// The greatest relative error of probabilities and weights.
    pub worst_error: Option<f64>,
}

impl Record {
    /// Of one that is to be timed.
    pub fn new(work: Work, peer: &str) -> Self {
        Self {
            work,
            peer: peer.to_owned(),
            status: "timed",
            reason: None,
            note: None,
            ms: None,
            cpu_ms: None,
            x_onesum: None,
            x_onesum_cpu: None,
            calls: None,
            worst_error: None,
        }
    }

    /// It is not timed after all.
    pub fn end(&mut self, status: &'static str, reason: String) {
        (self.status, self.reason) = (status, Some(reason));
    }

    /// Its times, and over those of onesum.
    pub fn time(&mut self, runner: &Runner<'_>, ours: Option<&Runner<'_>>) {
        (self.ms, self.cpu_ms, self.calls) = (Some(runner.ms()), Some(runner.cpu_ms()), Some(runner.calls));
        self.x_onesum = ours.map(|ours| runner.over(ours));
        self.x_onesum_cpu = ours.map(|ours| runner.cpu_over(ours));
    }
}

impl Report {
    /// How many results were wrong.
    pub fn wrong(&self) -> usize {
        self.results.iter().filter(|r| r.status == "wrong").count()
    }

    /// Those who take part in this kind of work, in order of appearance.
    fn peers(&self, kind: Kind) -> Vec<&str> {
        let mut peers: Vec<&str> = Vec::new();
        for record in self.results.iter().filter(|r| r.work.kind == kind) {
            if !peers.contains(&record.peer.as_str()) {
                peers.push(&record.peer);
            }
        }
        peers
    }

    /// Then process CPU time means something, and is steadier than the clock where cores are shared.
    fn computes_on_the_cpu(&self) -> bool {
        self.adapter.kind == "Cpu"
    }

    fn find(&self, work: &Work, peer: &str) -> Option<&Record> {
        self.results.iter().find(|r| r.work == *work && r.peer == peer)
    }

    /// Tables by kind of work: milliseconds, and in parentheses the time over onesum's.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "{}, {} ({}, {}); {}, {} cores, load {}; {} rounds. Milliseconds of a call; in parentheses the time over onesum's in the \
             same round, median and quartiles{}.\n",
            &self.date[..10.min(self.date.len())],
            self.adapter.name,
            self.adapter.driver,
            self.adapter.backend,
            self.machine.cpu,
            self.machine.cores,
            self.machine.load.map(|l| l.map_or("unknown".to_owned(), |l| format!("{l:.1}"))).join(" to "),
            self.method.plan.rounds,
            if self.computes_on_the_cpu() { ", then the same of the processes' CPU time" } else { "" },
        );
        for kind in Kind::ALL {
            let peers = self.peers(kind);
            if !peers.is_empty() {
                self.table(&mut text, kind, &peers);
            }
        }
        let versions: Vec<_> = self.versions.iter().map(|(peer, version)| format!("{peer} {version}")).collect();
        let _ = writeln!(text, "\nVersions: {}.", versions.join("; "));
        for (peer, reason) in &self.missing {
            let _ = writeln!(text, "\nNot run: {peer}: {reason}");
        }
        for note in self.notes() {
            let _ = writeln!(text, "\n{note}");
        }
        text
    }

    fn table(&self, text: &mut String, kind: Kind, peers: &[&str]) {
        let mut works: Vec<Work> = Vec::new();
        for record in self.results.iter().filter(|r| r.work.kind == kind) {
            if !works.contains(&record.work) {
                works.push(record.work);
            }
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n| {} | {} |", kind.name(), peers.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(peers.len()));
        for work in &works {
            let shape = work.to_string();
            let shape = shape.split_once(' ').map_or("", |(_, shape)| shape);
            let cells: Vec<_> =
                peers.iter().map(|peer| cell(self.find(work, peer), self.computes_on_the_cpu())).collect();
            let _ = writeln!(text, "| {shape} | {} |", cells.join(" | "));
        }
        let summary = |peer: &&str| {
            let ratios = works.iter().filter_map(|w| self.find(w, peer)?.x_onesum).map(|x| x.median);
            let (all, least) = (Spread::of(ratios.clone()), ratios.reduce(f64::min));
            least.map_or(String::new(), |least| format!("{:.1}, {least:.1}", all.median))
        };
        let cells: Vec<_> = peers.iter().map(|p| if *p == "onesum" { String::new() } else { summary(p) }).collect();
        let _ = writeln!(text, "| median, least | {} |", cells.join(" | "));
    }

    /// What was refused or wrong, and how some do their work, each once.
    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<(String, Vec<String>)> = Vec::new();
        for record in self.results.iter().filter(|r| r.peer != "onesum") {
            let what = match (&record.reason, &record.note) {
                (Some(reason), _) => format!("{}, {}: {reason}", record.peer, record.status),
                (None, Some(note)) => format!("{}: {note}", record.peer),
                (None, None) => continue,
            };
            match notes.iter_mut().find(|(known, _)| *known == what) {
                Some((_, works)) => works.push(record.work.to_string()),
                None => notes.push((what, vec![record.work.to_string()])),
            }
        }
        notes.into_iter().map(|(what, works)| format!("{what} ({})", works.join(", "))).collect()
    }
}

fn cell(record: Option<&Record>, on_the_cpu: bool) -> String {
    let Some(record) = record else { return String::new() };
    match (record.ms, record.x_onesum) {
        (Some(ms), _) if record.peer == "onesum" => number(ms.median),
        (Some(ms), Some(x)) => {
            let cpu =
                record.x_onesum_cpu.filter(|_| on_the_cpu).map_or(String::new(), |c| format!("; {}", number(c.median)));
            format!("{} ({}; {}–{}{cpu})", number(ms.median), number(x.median), number(x.q1), number(x.q3))
        }
        _ => record.status.to_owned(),
    }
}

/// Three digits that say something.
fn number(x: f64) -> String {
    if x >= 100.0 {
        format!("{x:.0}")
    } else if x >= 10.0 {
        format!("{x:.1}")
    } else if x >= 1.0 {
        format!("{x:.2}")
    } else {
        format!("{x:.3}")
    }
}
