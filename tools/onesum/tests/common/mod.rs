//! What the tests of the program share: running it, and tensors in and out of files.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub use tempfile::TempDir;

/// The program, with nothing of the caller's environment that would choose another adapter.
pub fn onesum() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onesum"));
    for name in ["WGPU_ADAPTER_NAME", "WGPU_POWER_PREF", "ONESUM_DRIVER_MESSAGES"] {
        command.env_remove(name);
    }
    command
}

/// Runs the program to its end.
pub fn run(args: &[&str]) -> Output {
    onesum().args(args).output().unwrap()
}

/// Runs it; it must succeed and say nothing on standard error.
pub fn good(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!((text(&output.stderr), output.status.code()), (String::new(), Some(0)), "{args:?}");
    text(&output.stdout)
}

/// Runs it; it must fail with this exit code and one line, which comes back without its `onesum: `.
pub fn bad(args: &[&str], code: i32) -> String {
    complaint(&run(args), code)
}

/// The one line of a failure.
pub fn complaint(output: &Output, code: i32) -> String {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said:?}");
    assert!(!said.contains("panicked") && !said.contains("internal error"), "{said}");
    said.strip_prefix("onesum: ").unwrap_or_else(|| panic!("{said:?}")).trim_end().to_owned()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A file of `tests/data`, made by NumPy or the safetensors package.
pub fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    path.to_str().unwrap().to_owned()
}

/// A folder of its own, and paths in it.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// The names of all files in it.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Writes an array of 32-bit words of this type, as many as are given, and returns its path.
    pub fn words(&self, name: &str, descr: &str, shape: &[usize], words: &[u32]) -> String {
        let data: Vec<u8> = words.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.write(name, &npy_bytes(descr, shape, &data))
    }

    /// Writes an array of f32 and returns its path.
    pub fn npy(&self, name: &str, shape: &[usize], values: &[f32]) -> String {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.write(name, &npy_bytes("<f4", shape, &data))
    }

    /// The same in f16.
    pub fn npy_f16(&self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let data: Vec<u8> = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
        self.write(name, &npy_bytes("<f2", shape, &data))
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

pub fn npy_bytes(descr: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let dims: String = shape.iter().fold(String::new(), |all, d| all + &d.to_string() + ",");
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// Type, shape and values of an array that the program wrote.
pub struct Array {
    pub descr: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

pub fn read(path: &str) -> Array {
    parse(&std::fs::read(PathBuf::from(path)).unwrap())
}

pub fn parse(bytes: &[u8]) -> Array {
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = text(&bytes[10..10 + length]);
    let descr = header.split("'descr': '").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    let dims = header.split("'shape': (").nth(1).unwrap().split(')').next().unwrap();
    let shape = dims.split(',').filter(|d| !d.trim().is_empty()).map(|d| d.trim().parse().unwrap()).collect();
    let data = &bytes[10 + length..];
    let values = match descr.as_str() {
        "<f4" => data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        "<f2" => data.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect(),
        other => panic!("{other}"),
    };
    Array { descr, shape, values }
}

/// Numbers that look random: the fractional parts of multiples of the golden ratio, in [-4, 4).
pub fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i as f64 * 0.618_033_988_749_895).fract() * 8.0 - 4.0) as f32).collect()
}

/// Softmax of one row, as a textbook has it.
pub fn softmax(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
    row.iter().map(|x| (x - max).exp() / sum).collect()
}

/// All of `got` as close to `want` as f32 can be expected to come.
pub fn close(got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let near = (f64::from(got) - want).abs() <= 2e-6 * want.abs() + 1e-30;
        assert!(near || (got.is_nan() && want.is_nan()), "{i}: {got} {want}");
    }
}
