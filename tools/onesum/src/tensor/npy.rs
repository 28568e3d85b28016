//! The `.npy` format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
//!
//! The header is parsed here because neither crate for it fits. `npyz` 0.9.1 multiplies the shape
//! without a check, so that a crafted file makes it panic. `ndarray-npy` 0.10.0 wants the element type
//! at compile time. Both read a dictionary of three keys with a grammar for all Python literals, which
//! costs about 30 more crates, one of them assembled by a C compiler, and errors of several lines.

use std::io::Read;

use super::{
    Dtype, Format, Problem, Source, Stored, Tensor, count, move_axis_last, read_array, read_header, read_values,
};

/// The first bytes of every file.
pub(super) const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// The most axes that NumPy 2 gives an array.
pub(super) const MAX_RANK: usize = 64;
/// The longest header that is parsed: what version 1.0 can hold. Only structured dtypes need more.
const MAX_HEADER: u64 = 65_535;

/// Reads a file of `len` bytes.
pub(super) fn read(source: &mut dyn Source, len: u64) -> Result<Tensor, Problem> {
    let (text, found) = header_text(source, len)?;
    let Header { descr, fortran_order, shape } = Scan { rest: &text }.header()?;
    let (stored, big_endian) = stored(descr)?;
    check_length(&shape, stored.size(), found)?;
    let tensor = read_values(source, shape, stored, big_endian)?;
    Ok(if fortran_order { fortran_to_c(tensor) } else { tensor })
}

/// Reads the whole numbers of 32 bits in a file of `len` bytes: their shape, and their bits.
pub(super) fn read_words(source: &mut dyn Source, len: u64) -> Result<(Vec<usize>, Vec<u32>), Problem> {
    let (text, found) = header_text(source, len)?;
    let Header { descr, fortran_order, shape } = Scan { rest: &text }.header()?;
    if !matches!(descr, "<u4" | "<i4") {
        let found = format!("{:?}{}", excerpt(descr), kind(descr));
        return Err(Problem::Dtype { expected: "u4 or i4 ('<')", found });
    }
    if fortran_order && shape.len() > 1 {
        return Err(Format::Npy.malformed("expected words in C order, got Fortran order"));
    }
    check_length(&shape, 4, found)?;
    let mut bytes = Vec::new();
    Read::take(&mut *source, found).read_to_end(&mut bytes).map_err(Problem::Read)?;
    Ok((shape, bytes.as_chunks().0.iter().map(|&b| u32::from_le_bytes(b)).collect()))
}

/// Reads the whole numbers in a file of `len` bytes: their shape, and their values.
pub(super) fn read_integers(source: &mut dyn Source, len: u64) -> Result<(Vec<usize>, Vec<i64>), Problem> {
    let (text, found) = header_text(source, len)?;
    let Header { descr, fortran_order, shape } = Scan { rest: &text }.header()?;
    let size = match descr {
        "<u4" | "<i4" => 4,
        "<i8" => 8,
        other => {
            let found = format!("{:?}{}", excerpt(other), kind(other));
            return Err(Problem::Dtype { expected: "u4, i4 or i8 ('<')", found });
        }
    };
    if fortran_order && shape.len() > 1 {
        return Err(Format::Npy.malformed("expected whole numbers in C order, got Fortran order"));
    }
    check_length(&shape, size, found)?;
    let mut bytes = Vec::new();
    Read::take(&mut *source, found).read_to_end(&mut bytes).map_err(Problem::Read)?;
    let words = || bytes.as_chunks().0.iter().copied();
    let values = match descr {
        "<u4" => words().map(|b| u32::from_le_bytes(b).into()).collect(),
        "<i4" => words().map(|b| i32::from_le_bytes(b).into()).collect(),
        _ => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect(),
    };
    Ok((shape, values))
}

fn check_length(shape: &[usize], size: usize, found: u64) -> Result<(), Problem> {
    let expected = match count(shape) {
        Some(values) => (values * size) as u64,
        None => return Err(Problem::TooLarge(shape.to_vec())),
    };
    if expected == found { Ok(()) } else { Err(Problem::Length { expected, found }) }
}

/// Reads up to the end of the header; returns its text and how many bytes of data follow.
fn header_text(source: &mut dyn Source, len: u64) -> Result<(String, u64), Problem> {
    let magic: [u8; 6] = read_array(source, Format::Npy)?;
    if magic != *MAGIC {
        return Err(Format::Npy.malformed(format_args!(
            "expected the first bytes {}, got {}",
            MAGIC.escape_ascii(),
            magic.escape_ascii()
        )));
    }
    let (prefix, stated) = match read_array(source, Format::Npy)? {
        [1, 0] => (10, u16::from_le_bytes(read_array(source, Format::Npy)?).into()),
        [2 | 3, 0] => (12, u32::from_le_bytes(read_array(source, Format::Npy)?).into()),
        [major, minor] => {
            return Err(
                Format::Npy.malformed(format_args!("expected format version 1.0, 2.0 or 3.0, got {major}.{minor}"))
            );
        }
    };
    let left = len.saturating_sub(prefix);
    let bytes = read_header(source, Format::Npy, stated, MAX_HEADER, left)?;
    let text =
        String::from_utf8(bytes).map_err(|_| Format::Npy.malformed("expected text in the header, got other bytes"))?;
    Ok((text, left - stated))
}

/// Reorders values that lie in Fortran order (the first axis varies fastest).
///
/// Those are the values of the tensor with its axes reversed, in C order. Moving each axis in turn behind
/// all others, from the last but one down to the first, reverses them back.
fn fortran_to_c(tensor: Tensor) -> Tensor {
    let Tensor { mut shape, dtype, mut data, note } = tensor;
    shape.reverse();
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        (data, shape) = move_axis_last(&data, &shape, axis);
    }
    Tensor { shape, dtype, data, note }
}

/// What the header of a `.npy` file says.
#[derive(Debug)]
struct Header<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// A position in the Python dictionary of a `.npy` header, for example
/// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    fn header(&mut self) -> Result<Header<'a>, Problem> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.need("{")?;
        while !self.eat("}") {
            let key = self.string()?;
            self.need(":")?;
            match key {
                "descr" => descr = Some(self.descr()?),
                "fortran_order" => fortran_order = Some(self.boolean()?),
                "shape" => shape = Some(self.shape()?),
                other => return Err(fault("descr, fortran_order or shape", other)),
            }
            if !self.eat(",") {
                self.need("}")?;
                break;
            }
        }
        if !self.rest.trim().is_empty() {
            return Err(self.fault("nothing more"));
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok(Header { descr, fortran_order, shape }),
            _ => Err(self.fault("the keys descr, fortran_order and shape")),
        }
    }

    fn descr(&mut self) -> Result<&'a str, Problem> {
        if self.eat("[") {
            return Err(unsupported("a structured dtype"));
        }
        self.string()
    }

    fn shape(&mut self) -> Result<Vec<usize>, Problem> {
        let mut shape = Vec::new();
        self.need("(")?;
        while !self.eat(")") {
            shape.push(self.number()?);
            if !self.eat(",") {
                self.need(")")?;
                break;
            }
        }
        if shape.len() > MAX_RANK {
            return Err(Problem::Rank { axes: shape.len() });
        }
        Ok(shape)
    }

    fn number(&mut self) -> Result<usize, Problem> {
        self.rest = self.rest.trim_start();
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = self.rest[..digits].parse().map_err(|_| self.fault("the length of an axis"))?;
        self.rest = &self.rest[digits..];
        self.eat("L"); // Python 2 wrote long integers so.
        Ok(number)
    }

    fn boolean(&mut self) -> Result<bool, Problem> {
        if self.eat("True") {
            Ok(true)
        } else if self.eat("False") {
            Ok(false)
        } else {
            Err(self.fault("True or False"))
        }
    }

    /// A string without escapes: no key and no dtype has any.
    fn string(&mut self) -> Result<&'a str, Problem> {
        let parts = if self.eat("'") {
            self.rest.split_once('\'')
        } else if self.eat("\"") {
            self.rest.split_once('"')
        } else {
            None
        };
        let (text, rest) = parts.ok_or_else(|| self.fault("a string"))?;
        self.rest = rest;
        Ok(text)
    }

    /// Steps over white space and, if it comes next, over `token`.
    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        self.rest = rest.strip_prefix(token).unwrap_or(rest);
        self.rest.len() < rest.len()
    }

    fn need(&mut self, token: &str) -> Result<(), Problem> {
        if self.eat(token) { Ok(()) } else { Err(self.fault(&format!("{token:?}"))) }
    }

    fn fault(&self, expected: &str) -> Problem {
        fault(expected, self.rest)
    }
}

/// The element type, and whether it is big-endian.
fn stored(descr: &str) -> Result<(Stored, bool), Problem> {
    match descr {
        "<f2" => Ok((Stored::F16, false)),
        ">f2" => Ok((Stored::F16, true)),
        "<f4" => Ok((Stored::F32, false)),
        ">f4" => Ok((Stored::F32, true)),
        "<f8" => Ok((Stored::F64, false)),
        ">f8" => Ok((Stored::F64, true)),
        other => Err(unsupported(&format!("{:?}{}", excerpt(other), kind(other)))),
    }
}

fn fault(expected: &str, found: &str) -> Problem {
    let found = excerpt(found.trim());
    Format::Npy.malformed(format_args!("expected {expected} in the header, got {found:?}"))
}

/// Enough of a text to find it again.
fn excerpt(text: &str) -> &str {
    let end = (0..=24.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    &text[..end]
}

fn unsupported(found: &str) -> Problem {
    let expected = "f2, f4 or f8 ('<' or '>')";
    Problem::Dtype { expected, found: found.to_owned() }
}

/// Says in words what a dtype such as `|b1` is, where that helps.
fn kind(descr: &str) -> &'static str {
    match descr.trim_start_matches(['<', '>', '|', '=']).bytes().next() {
        Some(b'b') => " (booleans)",
        Some(b'i' | b'u') => " (integers)",
        Some(b'c') => " (complex numbers)",
        Some(b'O') => " (Python objects)",
        Some(b'V') => " (raw bytes; bf16 must come as .safetensors)",
        _ => "",
    }
}

/// NumPy's name of an element type.
pub(super) fn descr(dtype: Dtype) -> Result<&'static str, Problem> {
    match dtype {
        Dtype::F32 => Ok("<f4"),
        Dtype::F16 => Ok("<f2"),
        Dtype::Bf16 => Err(Problem::Bf16InNpy),
    }
}

/// The bytes of a `.npy` file before its data: the same as NumPy writes.
pub(super) fn header(descr: &str, shape: &[usize]) -> Result<Vec<u8>, Problem> {
    const PREFIX: usize = 10; // magic, version, length
    const ALIGN: usize = 64;
    if shape.len() > MAX_RANK {
        return Err(Problem::Rank { axes: shape.len() });
    }
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {}, }}", python_tuple(shape));
    if let Some(first) = shape.first() {
        // NumPy leaves room for the first axis to grow to 21 digits without moving the data.
        let room = 21_usize.saturating_sub(first.to_string().len());
        text.push_str(&" ".repeat(room));
    }
    let unpadded = PREFIX + text.len() + 1;
    text.push_str(&" ".repeat(ALIGN - unpadded % ALIGN));
    text.push('\n');
    let length = u16::try_from(text.len()).map_err(|_| Problem::Rank { axes: shape.len() })?;
    Ok([MAGIC.as_slice(), &[1, 0], &length.to_le_bytes(), text.as_bytes()].concat())
}

fn python_tuple(shape: &[usize]) -> String {
    let numbers: Vec<_> = shape.iter().map(ToString::to_string).collect();
    match numbers.as_slice() {
        [only] => format!("({only},)"),
        _ => format!("({})", numbers.join(", ")),
    }
}
