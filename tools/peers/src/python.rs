//! Peers of Python, each in a process of its own: tools/peers/peer.py says how it is talked to.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::peer::{Elapsed, Peer};
use crate::work::{Kind, Problem, Results};

/// What it says of itself.
#[derive(Deserialize)]
struct Hello {
    name: String,
    version: String,
    /// The kinds of work that it does.
    kinds: Vec<String>,
}

/// How a piece of work is done there.
#[derive(Deserialize)]
struct Prepared {
    note: Option<String>,
}

pub struct Python {
    hello: Hello,
    note: Option<String>,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Where it writes results.
    folder: PathBuf,
}

impl Python {
    /// Starts `python peer.py PEER`. The error says why that peer cannot run here.
    pub fn start(python: &Path, peer: &str, folder: &Path) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(peer)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| python.display().to_string())?;
        let input = child.stdin.take().context("no pipe")?;
        let mut output = BufReader::new(child.stdout.take().context("no pipe")?);
        let hello = serde_json::from_value(answer(&mut output)?)?;
        Ok(Self { hello, note: None, child, input, output, folder: folder.to_owned() })
    }

    fn ask(&mut self, question: &Value) -> Result<Value> {
        writeln!(self.input, "{question}").and_then(|()| self.input.flush()).context("the peer has ended")?;
        answer(&mut self.output)
    }

    fn words(&self, name: &str) -> Result<Vec<u32>> {
        let bytes = std::fs::read(self.folder.join(name))?;
        Ok(bytes.as_chunks().0.iter().map(|&b| u32::from_le_bytes(b)).collect())
    }
}

/// One line; an error that the peer states is an error here.
fn answer(output: &mut impl BufRead) -> Result<Value> {
    let mut line = String::new();
    if output.read_line(&mut line)? == 0 {
        bail!("the peer ended without an answer");
    }
    let value: Value = serde_json::from_str(&line).with_context(|| line.trim().to_owned())?;
    match value.get("error").and_then(Value::as_str) {
        Some(error) => bail!("{error}"),
        None => Ok(value),
    }
}

impl Peer for Python {
    fn name(&self) -> &str {
        &self.hello.name
    }

    fn version(&self) -> &str {
        &self.hello.version
    }

    fn note(&self) -> Option<String> {
        self.note.clone()
    }

    fn takes(&self, kind: Kind) -> bool {
        self.hello.kinds.iter().any(|k| k == kind.name())
    }

    fn prepare(&mut self, problem: &Problem) -> Result<()> {
        let work = problem.work;
        let answer = self.ask(&json!({
            "do": "prepare", "kind": work.kind.name(), "rows": work.rows, "cols": work.cols, "choices": work.choices,
            "sets": problem.sets, "temperature": crate::work::TEMPERATURE, "logits": problem.file,
        }))?;
        self.note = serde_json::from_value::<Prepared>(answer)?.note;
        Ok(())
    }

    fn results(&mut self) -> Result<Results> {
        self.ask(&json!({"do": "results", "folder": self.folder}))?;
        let values = self.words("values")?.into_iter().map(f32::from_bits).collect();
        Ok(Results { columns: self.words("columns")?, values })
    }

    fn time(&mut self, calls: u32) -> Result<Elapsed> {
        Ok(serde_json::from_value(self.ask(&json!({"do": "time", "calls": calls}))?)?)
    }

    fn clear(&mut self) {
        // One that has ended holds nothing; whoever asks it next is told.
        let _ = self.ask(&json!({"do": "clear"}));
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
