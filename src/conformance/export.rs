//! Cases as files, for implementations of WebGPU that wgpu does not drive: Dawn, browsers. `docs/testing.md` has the format.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::run::forget;
use super::tape::{Bounds, Loose, Note, Tape};
use super::{Adapter, Failure, Outcome, Trial};
use crate::bound::Recipe;
use crate::host::Gpu;
use crate::library::{Access, Program};
use crate::shader::Dialect;
use crate::softmax::Dtype;
use crate::{BuildError, Caps, Library};

/// The version of the format of exported cases.
pub const FORMAT: u32 = 1;

/// What can go wrong with an export.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A file cannot be written, or the directory not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There are files in the directory, and they are not an export.
    #[error("{} holds {entry:?}, which is no part of an export: name an empty directory, or an export to replace", path.display())]
    NotAnExport {
        /// The directory.
        path: PathBuf,
        /// The first thing in it that is strange.
        entry: String,
    },
    /// The device has no kernels.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// What came of an export.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// Cases that were written.
    pub exported: usize,
    /// Cases that this device cannot run, by reason: they were not written.
    pub skipped: BTreeMap<String, usize>,
    /// Cases that this device gets wrong: they were not written.
    pub failed: Vec<(String, Failure)>,
    /// Programs that the cases share.
    pub programs: usize,
    /// Words of results that are compared to the bit.
    pub exact: u64,
    /// Floats and sums of results that have an interval.
    pub intervals: u64,
    /// Words of results that may be anything.
    pub any: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (case, failure) in self.failed.iter().take(20) {
            writeln!(f, "FAILED {case}\n       {failure}")?;
        }
        for (reason, count) in &self.skipped {
            writeln!(f, "skipped {count}: {reason}")?;
        }
        writeln!(
            f,
            "checks: {} words to the bit, {} numbers within their intervals, {} words not looked at",
            self.exact, self.intervals, self.any
        )?;
        let (skipped, failed) = (self.skipped.values().sum::<usize>(), self.failed.len());
        let Self { exported, programs, bytes, .. } = self;
        write!(f, "export: {exported} cases, {programs} programs, {bytes} bytes; {failed} failed, {skipped} skipped")
    }
}

/// Runs cases on a device, and writes those that pass to `dir`, with all that another implementation needs to run and judge them:
/// shader texts in the browser's dialect, buffers, dispatches, results and how far they may be off.
///
/// Programs are those of a device with `WebGPU`'s default limits and without 64-bit integers, whatever `gpu` offers beyond. An
/// export that is already in `dir` is replaced. `index.json` is written last: without it, an export is not complete.
///
/// # Errors
/// When `dir` cannot be written, or holds other files.
pub fn export<C: Trial>(gpu: &Gpu, cases: impl IntoIterator<Item = C>, dir: &Path) -> Result<Exported, ExportError> {
    export_with(gpu, cases, dir, |_, _| {})
}

/// The same, telling `tell` of each case as it ends: its name, what came of it.
///
/// # Errors
/// As [`export`].
pub fn export_with<C: Trial>(
    gpu: &Gpu,
    cases: impl IntoIterator<Item = C>,
    dir: &Path,
    mut tell: impl FnMut(&str, &Outcome),
) -> Result<Exported, ExportError> {
    let library = Library::with_caps(&gpu.device, portable(gpu.library.caps()), None)?;
    let mut gpu = Gpu { library, ..gpu.clone() };
    let mut export = Export::begin(dir)?;
    for case in cases {
        forget(&mut gpu);
        let (outcome, tape) = taped(&gpu, &case);
        let name = case.to_string();
        tell(&name, &outcome);
        match outcome {
            Outcome::Passed(_) => export.add(&name, &case.kind(), &tape)?,
            Outcome::Failed(failure) => export.done.failed.push((name, failure)),
            Outcome::Skipped(reason) => *export.done.skipped.entry(reason).or_default() += 1,
        }
    }
    export.finish(&gpu.info)
}

/// Writes one case into a directory as it ran here, right or wrong: as an export whose checks want what this device gave. It has
/// the shaders, the bytes of all operands, and what came of them.
///
/// # Errors
/// As [`export`].
pub fn save(gpu: &Gpu, case: &dyn Trial, dir: &Path) -> Result<Outcome, ExportError> {
    let mut export = Export::begin(dir)?;
    let (outcome, tape) = taped(gpu, case);
    export.add(&case.to_string(), &case.kind(), &tape)?;
    export.finish(&gpu.info)?;
    Ok(outcome)
}

/// Runs a case, noting what it does.
fn taped<C: Trial + ?Sized>(gpu: &Gpu, case: &C) -> (Outcome, Tape) {
    let tape = Arc::new(Mutex::new(Tape::default()));
    let outcome = case.run(&Gpu { tape: Some(tape.clone()), ..gpu.clone() });
    let tape = std::mem::take(&mut *tape.lock().unwrap_or_else(PoisonError::into_inner));
    (outcome, tape)
}

/// What every browser has, and no more; subgroups as large as they may be, since smaller ones are only slower.
fn portable(caps: &Caps) -> Caps {
    let least = wgpu::Limits::default();
    Caps {
        min_subgroup_size: caps.min_subgroup_size.max(wgpu::MAXIMUM_SUBGROUP_MAX_SIZE),
        int64: false,
        max_invocations: caps.max_invocations.min(least.max_compute_invocations_per_workgroup),
        max_workgroup_bytes: caps.max_workgroup_bytes.min(least.max_compute_workgroup_storage_size),
        max_storage_buffers: caps.max_storage_buffers.min(least.max_storage_buffers_per_shader_stage),
        max_workgroups: caps.max_workgroups.min(least.max_compute_workgroups_per_dimension),
        max_binding_bytes: caps.max_binding_bytes.min(least.max_storage_buffer_binding_size),
        binding_alignment: caps.binding_alignment.max(least.min_storage_buffer_offset_alignment),
        ..caps.clone()
    }
}

/// `index.json`.
#[derive(Serialize)]
struct Index<'a> {
    format: u32,
    onesum: &'static str,
    adapter: Adapter,
    programs: &'a [ProgramEntry],
    cases: &'a [CaseEntry],
}

#[derive(Serialize)]
struct ProgramEntry {
    name: String,
    file: String,
    constants: BTreeMap<&'static str, f64>,
    features: Vec<&'static str>,
    subgroup_size: Option<[u32; 2]>,
}

#[derive(Serialize)]
struct CaseEntry {
    name: String,
    kernel: String,
    kind: String,
    buffers: Vec<BufferEntry>,
    script: Vec<Op>,
}

#[derive(Serialize)]
struct BufferEntry {
    size: u64,
    usage: &'static str,
}

/// A range of `data.bin`: its first byte, and how many.
type Blob = [u64; 2];

#[derive(Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Op {
    Write {
        buffer: usize,
        offset: u64,
        data: Blob,
    },
    Dispatch {
        program: usize,
        groups: [u32; 2],
        bindings: Vec<BindingEntry>,
    },
    Check {
        what: &'static str,
        buffer: usize,
        offset: u64,
        size: u64,
        want: Blob,
        loose: Vec<LooseEntry>,
        #[serde(skip_serializing_if = "Option::is_none")]
        same_as: Option<usize>,
    },
}

#[derive(Serialize)]
struct BindingEntry {
    binding: u32,
    #[serde(rename = "type")]
    access: &'static str,
    buffer: usize,
    offset: u64,
    size: u64,
}

#[derive(Serialize)]
struct LooseEntry {
    #[serde(rename = "type")]
    dtype: &'static str,
    at: u64,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lo: Option<Blob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hi: Option<Blob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sums: Option<Sums>,
}

/// Sums whose low words are the elements: where the high words are, the least and the greatest of each, as 64-bit integers.
#[derive(Serialize)]
struct Sums {
    high: u64,
    lo: Blob,
    hi: Blob,
}

const INDEX: &str = "index.json";
/// Stands for `index.json` until all is written.
const UNFINISHED: &str = "index.json.part";
const DATA: &str = "data.bin";
const PROGRAMS: &str = "programs";

/// An export on its way.
struct Export {
    dir: PathBuf,
    data: Data,
    programs: Vec<ProgramEntry>,
    numbers: HashMap<String, usize>,
    cases: Vec<CaseEntry>,
    done: Exported,
}

impl Export {
    fn begin(dir: &Path) -> Result<Self, ExportError> {
        fs::create_dir_all(dir).map_err(io_error(dir))?;
        clear(dir)?;
        let path = dir.join(UNFINISHED);
        File::create(&path).map_err(io_error(&path))?;
        let programs = dir.join(PROGRAMS);
        fs::create_dir_all(&programs).map_err(io_error(&programs))?;
        Ok(Self {
            dir: dir.to_owned(),
            data: Data::create(dir.join(DATA))?,
            programs: Vec::new(),
            numbers: HashMap::new(),
            cases: Vec::new(),
            done: Exported::default(),
        })
    }

    fn add(&mut self, name: &str, kind: &str, tape: &Tape) -> Result<(), ExportError> {
        let mut buffers = Buffers::default();
        let mut script: Vec<Op> = Vec::new();
        let used = tape.used();
        for note in &tape.notes {
            match note {
                Note::Written { buffer, .. } if !used.contains(&buffer) => {}
                Note::Written { buffer, offset, bytes } => {
                    let data = self.data.put(bytes)?;
                    script.push(Op::Write { buffer: buffers.of(buffer), offset: *offset, data });
                }
                Note::Ran { recipe, groups } => {
                    let dispatch = self.dispatch(recipe, *groups, &mut buffers, &mut script)?;
                    script.push(dispatch);
                }
                Note::Read { buffer, bytes } => {
                    let number = buffers.of(buffer);
                    let check = self.check(tape, buffer, number, bytes, &script)?;
                    script.push(check);
                }
            }
        }
        let kernel = kind.split('/').next().unwrap_or_default().to_owned();
        self.cases.push(CaseEntry { name: name.into(), kernel, kind: kind.into(), buffers: buffers.list, script });
        self.done.exported += 1;
        Ok(())
    }

    fn dispatch(
        &mut self,
        recipe: &Recipe,
        groups: [u32; 2],
        buffers: &mut Buffers,
        script: &mut Vec<Op>,
    ) -> Result<Op, ExportError> {
        let size = recipe.params.len() as u64;
        let data = self.data.put(&recipe.params)?;
        let (uniform, fresh) = buffers.uniform(data);
        if fresh {
            script.push(Op::Write { buffer: uniform, offset: 0, data });
        }
        let mut bindings = vec![BindingEntry { binding: 0, access: "uniform", buffer: uniform, offset: 0, size }];
        for window in &recipe.windows {
            let access = match window.access {
                Access::Uniform => "uniform",
                Access::Read => "read",
                Access::ReadWrite => "read_write",
            };
            let (offset, size) = (window.offset, window.size);
            let buffer = buffers.of(&window.buffer);
            bindings.push(BindingEntry { binding: window.binding, access, buffer, offset, size });
        }
        Ok(Op::Dispatch { program: self.program(&recipe.program)?, groups, bindings })
    }

    fn program(&mut self, program: &Program) -> Result<usize, ExportError> {
        if let Some(&number) = self.numbers.get(&program.name) {
            return Ok(number);
        }
        let number = self.programs.len();
        let file = format!("{PROGRAMS}/{number:04}.wgsl");
        let path = self.dir.join(&file);
        let text = program.text(Dialect::Browser);
        fs::write(&path, &text).map_err(io_error(&path))?;
        self.done.bytes += text.len() as u64;
        let constants: BTreeMap<_, _> = program.overrides.iter().copied().collect();
        let header = &program.header;
        let features = [(header.f16, "shader-f16"), (header.subgroups, "subgroups")];
        // What exchanges by shuffles alone wants a row's lanes in one subgroup. Other programs take what size there is.
        let shuffles = program.fragments.iter().any(|fragment| fragment.name == "lib/entry_shuffle");
        let lanes = constants.get("LANES").filter(|_| shuffles);
        self.programs.push(ProgramEntry {
            name: program.name.clone(),
            file,
            subgroup_size: lanes.map(|&lanes| [lanes as u32, wgpu::MAXIMUM_SUBGROUP_MAX_SIZE]),
            constants,
            features: features.into_iter().filter(|(used, _)| *used).map(|(_, feature)| feature).collect(),
        });
        self.numbers.insert(program.name.clone(), number);
        Ok(number)
    }

    fn check(
        &mut self,
        tape: &Tape,
        of: &wgpu::Buffer,
        buffer: usize,
        bytes: &[u8],
        script: &[Op],
    ) -> Result<Op, ExportError> {
        let (what, all) = tape.description(of);
        let size = bytes.len() as u64;
        let (mut loose, mut repeats, mut covered) = (Vec::new(), true, 0);
        for part in all {
            repeats &= !matches!(part.bounds, Bounds::Scratch(_));
            if let Some((entry, bytes)) = self.loose(part, size)? {
                covered += bytes;
                loose.push(entry);
            }
        }
        self.done.exact += size.saturating_sub(covered) / 4;
        let want = self.data.put(bytes)?;
        // What was the same here in two runs has to be the same there, whatever it is.
        let earlier = script.iter().position(|op| {
            matches!(op, Op::Check { buffer: b, want: w, .. } if (*b, *w) == (buffer, want))
                && repeats
                && !loose.is_empty()
        });
        Ok(Op::Check { what, buffer, offset: 0, size, want, loose, same_as: earlier })
    }

    /// With the bytes that it covers; none if it is not within `size`.
    fn loose(&mut self, part: &Loose, size: u64) -> Result<Option<(LooseEntry, u64)>, ExportError> {
        let at = part.at;
        let (count, element) = match &part.bounds {
            Bounds::Words(count) | Bounds::Scratch(count) => (*count, 4),
            Bounds::Floats(dtype, pairs) => (pairs.len() as u64, dtype.bytes()),
            Bounds::Sums { pairs, .. } => (pairs.len() as u64, 4),
        };
        if at + count * element > size {
            return Ok(None);
        }
        let any = LooseEntry { dtype: "any", at, count, lo: None, hi: None, sums: None };
        let entry = match &part.bounds {
            Bounds::Words(_) => {
                self.done.any += count;
                any
            }
            Bounds::Scratch(_) => any,
            Bounds::Floats(dtype, pairs) => {
                self.done.intervals += count;
                let end = |i: usize| pairs.iter().flat_map(|pair| pair[i].to_le_bytes()).collect::<Vec<_>>();
                let [lo, hi] = [self.data.put(&end(0))?, self.data.put(&end(1))?];
                LooseEntry { dtype: name(*dtype), lo: Some(lo), hi: Some(hi), ..any }
            }
            Bounds::Sums { high, pairs } => {
                self.done.intervals += count;
                let end = |i: usize| pairs.iter().flat_map(|pair| pair[i].to_le_bytes()).collect::<Vec<_>>();
                let [lo, hi] = [self.data.put(&end(0))?, self.data.put(&end(1))?];
                LooseEntry { sums: Some(Sums { high: *high, lo, hi }), ..any }
            }
        };
        Ok(Some((entry, count * element)))
    }

    fn finish(mut self, info: &wgpu::AdapterInfo) -> Result<Exported, ExportError> {
        let bytes = self.data.finish()?;
        let path = self.dir.join(UNFINISHED);
        let index = Index {
            format: FORMAT,
            onesum: env!("CARGO_PKG_VERSION"),
            adapter: Adapter::new(info),
            programs: &self.programs,
            cases: &self.cases,
        };
        let length = write_index(&path, &index).map_err(io_error(&path))?;
        let last = self.dir.join(INDEX);
        fs::rename(&path, &last).map_err(io_error(&last))?;
        self.done.programs = self.programs.len();
        self.done.bytes += bytes + length;
        Ok(self.done)
    }
}

fn write_index(path: &Path, index: &Index<'_>) -> io::Result<u64> {
    let mut writer = BufWriter::new(File::create(path)?);
    serde_json::to_writer(&mut writer, index)?;
    writer.write_all(b"\n")?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    // A full disk may show only now.
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

fn name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "f32",
        Dtype::F16 => "f16",
        Dtype::Bf16 => "bf16",
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::Io { path, source }
}

/// Removes an export, and nothing else: with anything else in `dir`, nothing at all.
fn clear(dir: &Path) -> Result<(), ExportError> {
    let strange = |entry: String| Err(ExportError::NotAnExport { path: dir.to_owned(), entry });
    let list = |dir: &Path| -> Result<Vec<String>, ExportError> {
        let entries = fs::read_dir(dir).map_err(io_error(dir))?;
        let name = |e: io::Result<fs::DirEntry>| e.map(|e| e.file_name().to_string_lossy().into_owned());
        entries.map(|e| name(e).map_err(io_error(dir))).collect()
    };
    let here = list(dir)?;
    if here.is_empty() {
        return Ok(());
    }
    let is_export = dir.join(UNFINISHED).exists() || is_index(&dir.join(INDEX));
    if let Some(entry) = here.iter().find(|e| !is_export || ![INDEX, UNFINISHED, DATA, PROGRAMS].contains(&&***e)) {
        return strange(entry.clone());
    }
    let (programs, is_text) = (dir.join(PROGRAMS), |name: &str| {
        name.strip_suffix(".wgsl").is_some_and(|n| n.len() >= 4 && n.bytes().all(|b| b.is_ascii_digit()))
    });
    let texts = if programs.exists() { list(&programs)? } else { Vec::new() };
    if let Some(entry) = texts.iter().find(|name| !is_text(name)) {
        return strange(format!("{PROGRAMS}/{entry}"));
    }
    // The index first: what is left, if this is interrupted, is no longer an export that looks complete.
    let files = [INDEX, DATA].into_iter().map(|name| dir.join(name));
    for path in files.chain(texts.iter().map(|name| programs.join(name))).filter(|path| path.exists()) {
        fs::remove_file(&path).map_err(io_error(&path))?;
    }
    Ok(())
}

/// Whether a file is the index of an export, of any version.
fn is_index(path: &Path) -> bool {
    let value = File::open(path).ok().and_then(|file| serde_json::from_reader(io::BufReader::new(file)).ok());
    value.is_some_and(|v: serde_json::Value| ["format", "onesum", "cases"].iter().all(|key| v.get(key).is_some()))
}

/// The buffers of a case.
#[derive(Default)]
struct Buffers {
    list: Vec<BufferEntry>,
    storage: Vec<(wgpu::Buffer, usize)>,
    uniforms: HashMap<Blob, usize>,
}

impl Buffers {
    fn of(&mut self, buffer: &wgpu::Buffer) -> usize {
        if let Some((_, number)) = self.storage.iter().find(|(known, _)| known == buffer) {
            return *number;
        }
        let number = self.list.len();
        self.list.push(BufferEntry { size: buffer.size(), usage: "storage" });
        self.storage.push((buffer.clone(), number));
        number
    }

    /// A uniform buffer with these contents, and whether nothing has been written to it yet.
    fn uniform(&mut self, data: Blob) -> (usize, bool) {
        if let Some(&number) = self.uniforms.get(&data) {
            return (number, false);
        }
        let number = self.list.len();
        self.list.push(BufferEntry { size: data[1], usage: "uniform" });
        self.uniforms.insert(data, number);
        (number, true)
    }
}

/// `data.bin`: every blob once.
struct Data {
    path: PathBuf,
    writer: BufWriter<File>,
    length: u64,
    known: HashMap<[u64; 3], u64>,
}

impl Data {
    fn create(path: PathBuf) -> Result<Self, ExportError> {
        let file = File::create(&path).map_err(io_error(&path))?;
        Ok(Self { path, writer: BufWriter::new(file), length: 0, known: HashMap::new() })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<Blob, ExportError> {
        let size = bytes.len() as u64;
        // Two hashes of 64 bits and the length: blobs that agree in all are the same, as surely as disks keep what they are given.
        let hash = |seed: u64| {
            let mut hasher = DefaultHasher::new();
            seed.hash(&mut hasher);
            bytes.hash(&mut hasher);
            hasher.finish()
        };
        let key = [size, hash(0), hash(1)];
        if let Some(&start) = self.known.get(&key) {
            return Ok([start, size]);
        }
        let start = self.length;
        let padding = &[0; 4][..(size.next_multiple_of(4) - size) as usize];
        let written = self.writer.write_all(bytes).and_then(|()| self.writer.write_all(padding));
        written.map_err(io_error(&self.path))?;
        self.length += size.next_multiple_of(4);
        self.known.insert(key, start);
        Ok([start, size])
    }

    /// How many bytes there are, all of them on the disk.
    fn finish(&mut self) -> Result<u64, ExportError> {
        let synced = self.writer.flush().and_then(|()| self.writer.get_ref().sync_all());
        synced.map_err(io_error(&self.path)).map(|()| self.length)
    }
}
