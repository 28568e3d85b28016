//! Writing a [`Tensor`]: all of the file, or none of it.

use std::fs::{self, Metadata as FileMetadata, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use half::{bf16, f16};
use tempfile::Builder;

use super::{CHUNK, Dtype, Format, Problem, Tensor, TensorError, count, npy, safetensors};

impl Tensor {
    /// Writes the tensor to a `.npy` or `.safetensors` file, as the extension says, in its `dtype`.
    ///
    /// `name` is the tensor's name in a `.safetensors` file; a `.npy` file has no names. Values that the
    /// `dtype` cannot hold are rounded to the nearest one, ties to even, and to infinity past its range.
    ///
    /// A file appears under `path` only when it is complete and on the disk: until then an older file stays
    /// as it is, and on any error it stays for good. A device or pipe (`/dev/stdout`, `/dev/null`) is
    /// written straight into, as `.npy` if it has no extension.
    ///
    /// # Errors
    ///
    /// [`TensorError::File`], whose [`Problem`] says what was expected and what came.
    pub fn write(&self, path: &Path, name: &str) -> Result<(), TensorError> {
        self.save(path, name).map_err(|problem| TensorError::at(path, problem))
    }

    fn save(&self, path: &Path, name: &str) -> Result<(), Problem> {
        if count(&self.shape) != Some(self.data.len()) {
            return Err(Problem::Count { shape: self.shape.clone(), values: self.data.len() });
        }
        let header = match format_of(path)? {
            Format::Npy => npy::header(npy::descr(self.dtype)?, &self.shape)?,
            Format::Safetensors => safetensors::header(name, self)?,
        };
        put(path, |out| self.emit(&header, out))
    }

    /// Writes header and data in large pieces.
    fn emit(&self, header: &[u8], out: &mut dyn Write) -> io::Result<()> {
        out.write_all(header)?;
        let mut bytes = Vec::with_capacity(CHUNK * size_of::<f32>());
        for values in self.data.chunks(CHUNK) {
            bytes.clear();
            encode(values, self.dtype, &mut bytes);
            out.write_all(&bytes)?;
        }
        out.flush()
    }
}

/// Writes whole numbers to a `.npy` file, as u32, as safely as a tensor.
///
/// # Errors
///
/// [`TensorError::File`].
pub fn write_indices(path: &Path, shape: &[usize], values: &[u32]) -> Result<(), TensorError> {
    let save = || {
        if format_of(path)? != Format::Npy {
            return Err(Problem::IndicesInSafetensors);
        }
        let header = npy::header("<u4", shape)?;
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        put(path, |out| out.write_all(&header).and_then(|()| out.write_all(&data)))
    };
    save().map_err(|problem| TensorError::at(path, problem))
}

/// Whole numbers of 32 bits, and their name in a `.safetensors` file.
pub struct Words<'a> {
    /// The name.
    pub name: &'static str,
    /// The length of each axis.
    pub shape: Vec<usize>,
    /// The values in C order.
    pub values: &'a [u32],
}

/// Writes whole numbers as u32, as safely as a tensor: one array to a `.npy` file, any number of them to a `.safetensors` file.
///
/// # Errors
///
/// [`TensorError::File`].
pub fn write_words(path: &Path, arrays: &[Words<'_>]) -> Result<(), TensorError> {
    let save = || {
        let header = match (format_of(path)?, arrays) {
            (Format::Npy, [one]) => npy::header("<u4", &one.shape)?,
            (Format::Npy, _) => return Err(Problem::ManyInNpy),
            (Format::Safetensors, _) => safetensors::header_of_words(arrays)?,
        };
        let data: Vec<u8> = arrays.iter().flat_map(|a| a.values).flat_map(|v| v.to_le_bytes()).collect();
        put(path, |out| out.write_all(&header).and_then(|()| out.write_all(&data)))
    };
    save().map_err(|problem| TensorError::at(path, problem))
}

/// Writes a text file as safely as a tensor: all of it, or none.
///
/// # Errors
///
/// [`TensorError::File`].
pub fn write_text(path: &Path, text: &str) -> Result<(), TensorError> {
    put(path, |out| out.write_all(text.as_bytes())).map_err(|problem| TensorError::at(path, problem))
}

/// What the file's name asks for; what has no name of its own gets `.npy`.
fn format_of(path: &Path) -> Result<Format, Problem> {
    match Format::of_extension(path) {
        Some(format) => Ok(format),
        None if is_stream(path) => Ok(Format::Npy),
        None => Err(Problem::UnknownExtension),
    }
}

fn put(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Problem> {
    let old = fs::metadata(path).ok();
    let written = if is_stream(path) { write_straight(path, fill) } else { write_atomically(path, old.as_ref(), fill) };
    written.map_err(Problem::Write)
}

/// Appends `values` in little-endian order.
fn encode(values: &[f32], dtype: Dtype, bytes: &mut Vec<u8>) {
    match dtype {
        Dtype::F32 => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        Dtype::F16 => bytes.extend(values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes())),
        Dtype::Bf16 => bytes.extend(values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes())),
    }
}

/// Whether `path` is to be written into rather than replaced.
fn is_stream(path: &Path) -> bool {
    is_standard_stream(path) || fs::metadata(path).is_ok_and(|old| !old.is_file())
}

/// Whether `path` means a stream that this process already has open, which may be a regular file
/// (`> file` in a shell) but must not be replaced by another one.
fn is_standard_stream(path: &Path) -> bool {
    let streams = ["/dev/stdout", "/dev/stderr"];
    let folders = ["/dev/fd", "/proc/self/fd"];
    streams.iter().any(|stream| path == Path::new(stream)) || folders.iter().any(|folder| path.starts_with(folder))
}

/// Writes into what is there. Appending is right for devices, pipes and redirections (`>` and `>>`) alike.
fn write_straight(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = OpenOptions::new().append(true).open(path)?;
    fill(&mut out)
}

/// Writes a temporary file beside `path`, then renames it. When anything fails, dropping it removes it.
pub(super) fn write_atomically(
    path: &Path,
    old: Option<&FileMetadata>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    // Through a symbolic link, the file that it points to is replaced, not the link.
    let path = if old.is_some() { &fs::canonicalize(path)? } else { path };
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let mut builder = Builder::new();
    builder.prefix(".onesum-").suffix(".tmp");
    // Temporary files are private by default; this one becomes an ordinary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temporary = builder.tempfile_in(folder)?;
    fill(temporary.as_file_mut())?;
    if let Some(old) = old {
        temporary.as_file().set_permissions(old.permissions())?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    Ok(())
}
