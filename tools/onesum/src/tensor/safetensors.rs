//! The `.safetensors` format: <https://huggingface.co/docs/safetensors>.
//!
//! The crate `safetensors` parses, checks and builds the header. The data is read and written here: the
//! crate wants whole files in memory, and its reader overflows when the tensors of a crafted header add up
//! to nearly 2^64 bytes (0.8.0, `SafeTensors::read_metadata`).

use std::io::SeekFrom;

use ::safetensors::tensor::{Dtype as SafeDtype, Metadata, TensorInfo};

use super::save::Words;
use super::{Dtype, Format, Problem, Source, Stored, Tensor, read_array, read_header, read_values};

/// The longest header that is parsed: the limit of the reference implementation.
const MAX_HEADER: u64 = 100_000_000;
/// How many names an error lists before it only counts.
const NAMES_LISTED: usize = 10;

/// Reads one tensor of a file of `len` bytes.
pub(super) fn read(source: &mut dyn Source, len: u64, name: Option<&str>) -> Result<Tensor, Problem> {
    let stated = u64::from_le_bytes(read_array(source, Format::Safetensors)?);
    let left = len.saturating_sub(8);
    let header = read_header(source, Format::Safetensors, stated, MAX_HEADER, left)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| Format::Safetensors.malformed(e))?;
    let (expected, found) = (metadata.data_len() as u64, left - stated);
    if expected != found {
        return Err(Problem::Length { expected, found });
    }
    let name = choose(&metadata, name)?;
    let info = metadata
        .info(&name)
        .ok_or_else(|| Problem::NoSuchName { name: name.clone(), present: list_names(&metadata) })?;
    let stored = match info.dtype {
        SafeDtype::F16 => Stored::F16,
        SafeDtype::BF16 => Stored::Bf16,
        SafeDtype::F32 => Stored::F32,
        SafeDtype::F64 => Stored::F64,
        other => {
            let expected = "F16, BF16, F32 or F64";
            return Err(Problem::Dtype { expected, found: format!("{other} in tensor {name:?}") });
        }
    };
    let start = 8 + stated + info.data_offsets.0 as u64;
    source.seek(SeekFrom::Start(start)).map_err(Problem::Read)?;
    read_values(source, info.shape.clone(), stored, false)
}

/// The name that was asked for, or the only one.
fn choose(metadata: &Metadata, name: Option<&str>) -> Result<String, Problem> {
    if let Some(name) = name {
        return Ok(name.to_owned());
    }
    let mut names = metadata.offset_keys();
    match names.pop() {
        Some(only) if names.is_empty() => Ok(only),
        _ => Err(Problem::NameNeeded(list_names(metadata))),
    }
}

/// The names in the file, sorted: some of them, and how many more.
fn list_names(metadata: &Metadata) -> String {
    let mut names = metadata.offset_keys();
    if names.is_empty() {
        return "no tensor".to_owned();
    }
    names.sort();
    let listed: Vec<_> = names.iter().take(NAMES_LISTED).map(|name| format!("{name:?}")).collect();
    match names.len() - listed.len() {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}

/// The bytes of a `.safetensors` file before its data, with the data aligned to 8 bytes.
pub(super) fn header(name: &str, tensor: &Tensor) -> Result<Vec<u8>, Problem> {
    if name == "__metadata__" {
        return Err(Problem::ReservedName(name.to_owned()));
    }
    let (dtype, size) = match tensor.dtype {
        Dtype::F32 => (SafeDtype::F32, 4),
        Dtype::F16 => (SafeDtype::F16, 2),
        Dtype::Bf16 => (SafeDtype::BF16, 2),
    };
    let data_offsets = (0, tensor.data.len() * size);
    encoded(vec![(name.to_owned(), TensorInfo { dtype, shape: tensor.shape.clone(), data_offsets })])
}

/// The same of whole numbers.
pub(super) fn header_of_words(arrays: &[Words<'_>]) -> Result<Vec<u8>, Problem> {
    let mut end = 0;
    let info = |array: &Words<'_>| {
        let start = end;
        end += array.values.len() * 4;
        let data_offsets = (start, end);
        (array.name.to_owned(), TensorInfo { dtype: SafeDtype::U32, shape: array.shape.clone(), data_offsets })
    };
    encoded(arrays.iter().map(info).collect())
}

fn encoded(tensors: Vec<(String, TensorInfo)>) -> Result<Vec<u8>, Problem> {
    let metadata = Metadata::new(None, tensors).map_err(|e| Format::Safetensors.malformed(e))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|e| Format::Safetensors.malformed(e))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok([(json.len() as u64).to_le_bytes().as_slice(), &json].concat())
}
