//! Writing files: all of a run's, or none of them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use tempfile::{Builder, NamedTempFile};

use super::{CHUNK, Dtype, Format, Problem, Tensor, TensorError, count, npy, safetensors};

/// Files that appear together, in the order in which they were added.
///
/// Each is first written in full, to the disk, under another name beside its own. Only [`commit`](Self::commit) renames
/// them: until then older files stay as they are, and whatever fails before leaves them so. If renaming itself fails, files
/// that were not there before are removed again; older ones that were already replaced stay replaced.
///
/// A device or pipe (`/dev/stdout`, `/dev/null`) is written straight into when it is added, as `.npy` if it has no
/// extension.
#[derive(Default)]
pub struct Files(Vec<Staged>);

/// A complete file under another name.
pub(super) struct Staged {
    /// As the caller named it.
    path: PathBuf,
    /// The same with links followed.
    target: PathBuf,
    /// Nothing was there before.
    fresh: bool,
    temporary: NamedTempFile,
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

impl Files {
    /// Whether a file could be written here; leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`TensorError::File`].
    pub fn try_out(path: &Path) -> Result<(), TensorError> {
        stage(path, |_| Ok(())).map(drop).map_err(|error| TensorError::at(path, Problem::Write(error)))
    }

    /// A tensor in a `.npy` or `.safetensors` file, as the extension says, in its `dtype`.
    ///
    /// `name` is the tensor's name in a `.safetensors` file; a `.npy` file has no names. Values that the
    /// `dtype` cannot hold are rounded to the nearest one, ties to even, and to infinity past its range.
    ///
    /// # Errors
    ///
    /// [`TensorError::File`], whose [`Problem`] says what was expected and what came.
    pub fn tensor(&mut self, path: &Path, name: &str, tensor: &Tensor) -> Result<(), TensorError> {
        let header = || {
            if count(&tensor.shape) != Some(tensor.data.len()) {
                return Err(Problem::Count { shape: tensor.shape.clone(), values: tensor.data.len() });
            }
            match format_of(path)? {
                Format::Npy => npy::header(npy::descr(tensor.dtype)?, &tensor.shape),
                Format::Safetensors => safetensors::header(name, tensor),
            }
        };
        self.add(path, header(), |header, out| tensor.emit(header, out))
    }

    /// Whole numbers as u32 in a `.npy` file.
    ///
    /// # Errors
    ///
    /// [`TensorError::File`].
    pub fn indices(&mut self, path: &Path, shape: &[usize], values: &[u32]) -> Result<(), TensorError> {
        let header = match format_of(path) {
            Ok(Format::Npy) => npy::header("<u4", shape),
            Ok(Format::Safetensors) => Err(Problem::IndicesInSafetensors),
            Err(problem) => Err(problem),
        };
        self.add(path, header, |header, out| emit_words(header, &[values], out))
    }

    /// Whole numbers as u32: one array in a `.npy` file, any number of them in a `.safetensors` file.
    ///
    /// # Errors
    ///
    /// [`TensorError::File`].
    pub fn words(&mut self, path: &Path, arrays: &[Words<'_>]) -> Result<(), TensorError> {
        let header = || match (format_of(path)?, arrays) {
            (Format::Npy, [one]) => npy::header("<u4", &one.shape),
            (Format::Npy, _) => Err(Problem::ManyInNpy),
            (Format::Safetensors, _) => safetensors::header_of_words(arrays),
        };
        let values: Vec<&[u32]> = arrays.iter().map(|array| array.values).collect();
        self.add(path, header(), |header, out| emit_words(header, &values, out))
    }

    /// A text file.
    ///
    /// # Errors
    ///
    /// [`TensorError::File`].
    pub fn text(&mut self, path: &Path, text: &str) -> Result<(), TensorError> {
        self.bytes(path, text.as_bytes())
    }

    /// A file of any other kind.
    ///
    /// # Errors
    ///
    /// [`TensorError::File`].
    pub fn bytes(&mut self, path: &Path, bytes: &[u8]) -> Result<(), TensorError> {
        self.add(path, Ok(Vec::new()), |_, out| out.write_all(bytes))
    }

    fn add(
        &mut self,
        path: &Path,
        header: Result<Vec<u8>, Problem>,
        fill: impl FnOnce(&[u8], &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), TensorError> {
        let staged = header.and_then(|header| stage(path, |out| fill(&header, out)).map_err(Problem::Write));
        self.0.extend(staged.map_err(|problem| TensorError::at(path, problem))?);
        Ok(())
    }

    /// Gives all files their names.
    ///
    /// # Errors
    ///
    /// [`TensorError::File`].
    pub fn commit(self) -> Result<(), TensorError> {
        let mut made = Vec::new();
        for Staged { path, target, fresh, temporary } in self.0 {
            if let Err(error) = temporary.persist(&target) {
                // Some of the results would pass for all of them. That this fails as well is not worth a second message.
                for path in made {
                    let _ = fs::remove_file(path);
                }
                return Err(TensorError::at(&path, Problem::Write(error.error)));
            }
            made.extend(fresh.then_some(target));
        }
        Ok(())
    }
}

impl Tensor {
    /// Writes the tensor alone.
    #[cfg(test)]
    pub fn write(&self, path: &Path, name: &str) -> Result<(), TensorError> {
        let mut files = Files::default();
        files.tensor(path, name, self)?;
        files.commit()
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

fn emit_words(header: &[u8], arrays: &[&[u32]], out: &mut dyn Write) -> io::Result<()> {
    let data: Vec<u8> = arrays.iter().copied().flatten().flat_map(|v| v.to_le_bytes()).collect();
    out.write_all(header)?;
    out.write_all(&data)
}

/// What the file's name asks for; what has no name of its own gets `.npy`.
fn format_of(path: &Path) -> Result<Format, Problem> {
    match Format::of_extension(path) {
        Some(format) => Ok(format),
        None if is_stream(path) => Ok(Format::Npy),
        None => Err(Problem::UnknownExtension),
    }
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

/// Writes a temporary file beside `path`, for which it waits. When anything fails, dropping it removes it. What cannot be
/// replaced is written into.
pub(super) fn stage(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Option<Staged>> {
    if is_stream(path) {
        return write_straight(path, fill).map(|()| None);
    }
    let old = fs::metadata(path).ok();
    // Through a symbolic link, the file that it points to is replaced, not the link.
    let target = if old.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
    let folder = target.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let mut builder = Builder::new();
    builder.prefix(".onesum-").suffix(".tmp");
    // Temporary files are private by default; this one becomes an ordinary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temporary = builder.tempfile_in(folder)?;
    fill(temporary.as_file_mut())?;
    if let Some(old) = &old {
        temporary.as_file().set_permissions(old.permissions())?;
    }
    temporary.as_file().sync_all()?;
    Ok(Some(Staged { path: path.to_owned(), target, fresh: old.is_none(), temporary }))
}
