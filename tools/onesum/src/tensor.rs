//! Tensors in files: `.npy` and `.safetensors`, read and written.
//!
//! Whatever a file stores, the program computes on `f32` in row-major (C) order, so [`Tensor::read`]
//! widens, narrows and reorders, and [`Tensor`] remembers the stored type for [`Tensor::write`].
//!
//! A file is never trusted: what its header promises is held against its real length before memory
//! for the data is asked for, and a file that is off by one byte is refused.
//!
//! `npy` and `safetensors` know the headers of the two formats, `save` how a file is replaced safely.

mod npy;
mod safetensors;
mod save;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use save::{Files, Words};

use half::{bf16, f16};
use thiserror::Error;

/// How many values are converted at a time.
const CHUNK: usize = 16 * 1024;

/// The type of a tensor's elements in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    Bf16,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for Dtype {
    type Err = TensorError;

    fn from_str(text: &str) -> Result<Self, TensorError> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            _ => Err(TensorError::UnknownDtype(text.to_owned())),
        }
    }
}

/// A tensor in memory: row-major `f32`, whatever the file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The length of each axis; empty for a single number (rank 0).
    pub shape: Vec<usize>,
    /// The type in the file that was read, or in the file to write.
    pub dtype: Dtype,
    /// The values in C order: the last axis varies fastest.
    pub data: Vec<f32>,
    /// What reading changed beyond widening, to be shown to the user: one line without the path.
    pub note: Option<String>,
}

impl Tensor {
    /// Reads one tensor from a `.npy` or a `.safetensors` file.
    ///
    /// The extension decides which (in any case of letters); without a known extension the first bytes do,
    /// so that a pipe can be read.
    ///
    /// `name` picks a tensor of a `.safetensors` file and may be left out where the file holds exactly one.
    /// A `.npy` file holds one tensor without a name, so `name` is not looked at.
    ///
    /// # Errors
    ///
    /// [`TensorError::File`], whose [`Problem`] says what was expected and what came.
    pub fn read(path: &Path, name: Option<&str>) -> Result<Self, TensorError> {
        load(path, name).map_err(|problem| TensorError::at(path, problem))
    }
}

/// Reads a `.npy` file of u32 or i32: its shape and the bits of its numbers.
///
/// # Errors
///
/// [`TensorError::File`].
pub fn read_words(path: &Path) -> Result<(Vec<usize>, Vec<u32>), TensorError> {
    let read = || {
        let (mut source, len) = open(path).map_err(Problem::Read)?;
        npy::read_words(&mut *source, len)
    };
    read().map_err(|problem| TensorError::at(path, problem))
}

/// Reads a `.npy` file of u32, i32 or i64: its shape and its numbers.
///
/// # Errors
///
/// [`TensorError::File`].
pub fn read_integers(path: &Path) -> Result<(Vec<usize>, Vec<i64>), TensorError> {
    let read = || {
        let (mut source, len) = open(path).map_err(Problem::Read)?;
        npy::read_integers(&mut *source, len)
    };
    read().map_err(|problem| TensorError::at(path, problem))
}

/// Why a tensor could not be read, written or used. One line; about a file, it starts with the path.
///
/// The line holds the cause too, so `source()` has nothing to add.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TensorError {
    /// A file could not be read or written.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file, as the caller named it.
        path: PathBuf,
        /// What is wrong with it.
        problem: Problem,
    },
    /// An axis outside of `-rank..rank`.
    #[error("axis {axis} is out of range for rank {rank}: expected {}", axis_range(*rank))]
    Axis {
        /// The axis that was asked for.
        axis: i64,
        /// How many axes there are.
        rank: usize,
    },
    /// Text that names no [`Dtype`].
    #[error("expected the dtype f32, f16 or bf16, got {0:?}")]
    UnknownDtype(String),
}

impl TensorError {
    fn at(path: &Path, problem: Problem) -> Self {
        Self::File { path: path.to_owned(), problem }
    }
}

/// What is wrong with a file: the part of a [`TensorError`] after the path.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The operating system refused to open or read the file.
    #[error("cannot read: {0}")]
    Read(io::Error),
    /// The operating system refused to create or write the file.
    #[error("cannot write: {0}")]
    Write(io::Error),
    /// Neither the extension nor the first bytes tell the format of a file to read.
    #[error("expected a .npy or .safetensors file, got neither by its extension nor by its first bytes")]
    UnknownFormat,
    /// The extension does not tell the format of a file to write.
    #[error("expected a file name that ends in .npy or .safetensors")]
    UnknownExtension,
    /// The file breaks the rules of its format.
    #[error("not a valid {format} file: {detail}")]
    Malformed {
        /// The format that the file should have.
        format: Format,
        /// What was expected and what came.
        detail: String,
    },
    /// The elements have a type that is not taken.
    #[error("expected the dtype {expected}, got {found}")]
    Dtype {
        /// The types that are taken.
        expected: &'static str,
        /// The type in the file, as its format spells it.
        found: String,
    },
    /// The file is longer or shorter than its header says.
    #[error("expected {expected} bytes of data after the header, got {found}: the file is {}",
        if found < expected { "cut short" } else { "too long" })]
    Length {
        /// What the header asks for.
        expected: u64,
        /// What follows the header.
        found: u64,
    },
    /// A shape whose size cannot be counted, or of more data than there is memory.
    #[error("a tensor of shape {0:?} does not fit into memory")]
    TooLarge(Vec<usize>),
    /// A `.safetensors` file lacks the tensor that was asked for.
    #[error("expected a tensor named {name:?}; the file holds {present}")]
    NoSuchName {
        /// The name that was asked for.
        name: String,
        /// The names in the file: some of them, and how many more.
        present: String,
    },
    /// A `.safetensors` file holds several tensors or none, and no name was given.
    #[error("expected the name of a tensor; the file holds {0}")]
    NameNeeded(String),
    /// A name that the format keeps for itself.
    #[error("expected a name for the tensor, got {0:?}, which .safetensors files use for something else")]
    ReservedName(String),
    /// `.npy` has no type for bf16.
    #[error("bf16 has no .npy dtype: expected f32 or f16, or a file name that ends in .safetensors")]
    Bf16InNpy,
    /// Indices go to `.npy` files only.
    #[error("expected a file name that ends in .npy for indices, got one that ends in .safetensors")]
    IndicesInSafetensors,
    /// A `.npy` file holds one array.
    #[error("expected a file name that ends in .safetensors for several arrays, got one that ends in .npy")]
    ManyInNpy,
    /// More axes than NumPy can read.
    #[error("expected at most {} axes in a .npy file, got {axes}", npy::MAX_RANK)]
    Rank {
        /// How many axes the tensor has.
        axes: usize,
    },
    /// A tensor to write whose shape does not match its data.
    #[error("expected as many values as shape {shape:?} has, got {values}")]
    Count {
        /// The tensor's shape.
        shape: Vec<usize>,
        /// The length of its data.
        values: usize,
    },
}

/// A file format for tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// NumPy's format for one array.
    Npy,
    /// Hugging Face's format for named tensors.
    Safetensors,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Npy => ".npy",
            Self::Safetensors => ".safetensors",
        })
    }
}

impl Format {
    fn of_extension(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        if extension.eq_ignore_ascii_case("npy") {
            Some(Self::Npy)
        } else if extension.eq_ignore_ascii_case("safetensors") {
            Some(Self::Safetensors)
        } else {
            None
        }
    }

    /// Looks at the first bytes. `.safetensors` has no magic number, but always a JSON object at byte 8.
    fn of_content(source: &mut dyn Source) -> Result<Self, Problem> {
        let mut start = Vec::new();
        Read::take(&mut *source, 9).read_to_end(&mut start).map_err(Problem::Read)?;
        source.rewind().map_err(Problem::Read)?;
        if start.starts_with(npy::MAGIC) {
            Ok(Self::Npy)
        } else if start.get(8) == Some(&b'{') {
            Ok(Self::Safetensors)
        } else {
            Err(Problem::UnknownFormat)
        }
    }

    /// Keeps `detail` on one line: it may quote the file.
    fn malformed(self, detail: impl fmt::Display) -> Problem {
        let detail = detail.to_string().replace(char::is_control, " ");
        Problem::Malformed { format: self, detail }
    }
}

/// An open file, or a pipe's contents.
trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

fn load(path: &Path, name: Option<&str>) -> Result<Tensor, Problem> {
    let (mut source, len) = open(path).map_err(Problem::Read)?;
    let format = match Format::of_extension(path) {
        Some(format) => format,
        None => Format::of_content(&mut *source)?,
    };
    match format {
        Format::Npy => npy::read(&mut *source, len),
        Format::Safetensors => safetensors::read(&mut *source, len, name),
    }
}

/// Opens a file and tells its length in bytes.
fn open(path: &Path) -> io::Result<(Box<dyn Source>, u64)> {
    let mut file = File::open(path)?;
    let about = file.metadata()?;
    if about.is_file() {
        return Ok((Box::new(BufReader::new(file)), about.len()));
    }
    // A pipe has no length to hold the header against, so its contents are taken whole.
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let len = bytes.len() as u64;
    Ok((Box::new(Cursor::new(bytes)), len))
}

/// Reads the next `N` bytes of a header.
fn read_array<const N: usize>(source: &mut dyn Source, format: Format) -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    match source.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(format.malformed("the file ends inside its header")),
        Err(e) => Err(Problem::Read(e)),
    }
}

/// Reads a header of a stated length, once that is known to lie inside the file and the limit.
fn read_header(
    source: &mut dyn Source,
    format: Format,
    stated: u64,
    limit: u64,
    left: u64,
) -> Result<Vec<u8>, Problem> {
    if stated > left {
        return Err(format.malformed(format_args!("a header of {stated} bytes is stated, {left} bytes follow")));
    }
    if stated > limit {
        return Err(format.malformed(format_args!("expected a header of at most {limit} bytes, got {stated}")));
    }
    let mut header = Vec::new();
    source.take(stated).read_to_end(&mut header).map_err(Problem::Read)?;
    Ok(header)
}

/// How elements lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    F16,
    Bf16,
    F32,
    F64,
}

impl Stored {
    /// The size of one element in bytes.
    fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::Bf16,
            Self::F32 | Self::F64 => Dtype::F32,
        }
    }

    /// Appends the values of little-endian `bytes`, a whole number of elements.
    fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F16 => out.extend(elements(bytes).map(|b| f16::from_le_bytes(b).to_f32())),
            Self::Bf16 => out.extend(elements(bytes).map(|b| bf16::from_le_bytes(b).to_f32())),
            Self::F32 => out.extend(elements(bytes).map(f32::from_le_bytes)),
            Self::F64 => out.extend(elements(bytes).map(|b| narrow(f64::from_le_bytes(b)))),
        }
    }
}

fn elements<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to nearest; a note tells the user")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// The number of elements of a shape, or nothing if as many `f64` could not be addressed.
///
/// Zeros are left out of that check, as NumPy does, so that a product of any part of the shape is safe too.
fn count(shape: &[usize]) -> Option<usize> {
    let bytes = shape
        .iter()
        .filter(|&&n| n != 0)
        .try_fold(size_of::<f64>(), |product, &n| product.checked_mul(n))
        .filter(|&bytes| isize::try_from(bytes).is_ok())?;
    Some(if shape.contains(&0) { 0 } else { bytes / size_of::<f64>() })
}

/// Reads the values of `shape` from here on; the file is known to hold as many.
fn read_values(
    source: &mut dyn Source,
    shape: Vec<usize>,
    stored: Stored,
    big_endian: bool,
) -> Result<Tensor, Problem> {
    let mut data = Vec::new();
    let values = match count(&shape) {
        Some(values) if data.try_reserve_exact(values).is_ok() => values,
        _ => return Err(Problem::TooLarge(shape)),
    };
    let mut buffer = vec![0; CHUNK * stored.size()];
    let mut overflowed = 0;
    while data.len() < values {
        let done = data.len();
        let bytes = &mut buffer[..CHUNK.min(values - done) * stored.size()];
        source.read_exact(bytes).map_err(Problem::Read)?;
        if big_endian {
            bytes.chunks_exact_mut(stored.size()).for_each(<[u8]>::reverse);
        }
        stored.decode(bytes, &mut data);
        if stored == Stored::F64 {
            overflowed += count_overflowed(bytes, &data[done..]);
        }
    }
    let note = (stored == Stored::F64).then(|| narrowing_note(overflowed, values));
    Ok(Tensor { shape, dtype: stored.dtype(), data, note })
}

/// How many finite values of an `f64` file are infinite as `f32`.
fn count_overflowed(bytes: &[u8], narrowed: &[f32]) -> usize {
    elements(bytes)
        .map(f64::from_le_bytes)
        .zip(narrowed)
        .filter(|(wide, narrow)| wide.is_finite() && narrow.is_infinite())
        .count()
}

fn narrowing_note(overflowed: usize, values: usize) -> String {
    match overflowed {
        0 => "f64 narrowed to f32".to_owned(),
        n => format!("f64 narrowed to f32: {n} of {values} values overflowed to infinity"),
    }
}

/// Turns an axis that may count from the end (`-1` is the last) into an index, as NumPy does.
///
/// # Errors
///
/// [`TensorError::Axis`] unless `-rank <= axis < rank`; rank 0 has no axis at all.
pub fn resolve_axis(axis: i64, rank: usize) -> Result<usize, TensorError> {
    let index = match usize::try_from(axis) {
        Ok(index) => Some(index),
        Err(_) => usize::try_from(axis.unsigned_abs()).ok().and_then(|back| rank.checked_sub(back)),
    };
    index.filter(|&index| index < rank).ok_or(TensorError::Axis { axis, rank })
}

fn axis_range(rank: usize) -> String {
    match rank {
        0 => "none, as a single number has no axes".to_owned(),
        _ => format!("-{rank} to {}", rank - 1),
    }
}

/// Moves `axis` behind all others, so that its values lie side by side; returns the values and their shape.
///
/// # Panics
///
/// If `axis` is not below the rank, or `data` has more or fewer values than `shape`.
#[must_use]
pub fn move_axis_last(data: &[f32], shape: &[usize], axis: usize) -> (Vec<f32>, Vec<usize>) {
    assert_eq!(count(shape), Some(data.len()), "as many values as the shape has");
    let mut moved = shape.to_vec();
    let length = moved.remove(axis);
    let inner = moved[axis..].iter().product();
    moved.push(length);
    (transpose_each(data, length, inner), moved)
}

/// Undoes [`move_axis_last`]: moves the last axis to where `axis` was; returns the values and their shape.
///
/// # Panics
///
/// If `axis` is not below the rank, or `data` has more or fewer values than `moved_shape`.
#[must_use]
pub fn move_axis_back(data: &[f32], moved_shape: &[usize], axis: usize) -> (Vec<f32>, Vec<usize>) {
    assert_eq!(count(moved_shape), Some(data.len()), "as many values as the shape has");
    let mut shape = moved_shape.to_vec();
    let length = shape.remove(shape.len() - 1);
    let inner = shape[axis..].iter().product();
    shape.insert(axis, length);
    (transpose_each(data, inner, length), shape)
}

/// Transposes each matrix of `rows` by `cols` that `data` consists of.
fn transpose_each(data: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    if rows == 1 || cols == 1 || data.is_empty() {
        return data.to_vec();
    }
    let mut out = vec![0.0; data.len()];
    let size = rows * cols;
    for (from, to) in data.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
        transpose(from, to, rows, cols);
    }
    out
}

fn transpose(from: &[f32], to: &mut [f32], rows: usize, cols: usize) {
    // Square tiles keep both the reads and the writes within the cache.
    const TILE: usize = 32;
    for top in (0..rows).step_by(TILE) {
        for left in (0..cols).step_by(TILE) {
            for row in top..rows.min(top + TILE) {
                for col in left..cols.min(left + TILE) {
                    to[col * rows + row] = from[row * cols + col];
                }
            }
        }
    }
}
