//! `tests/data` holds files by NumPy and the reference `safetensors`; `tests/data/make.py` makes them.

#![expect(clippy::float_cmp, reason = "files keep values exactly")]

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// The values of most files in `tests/data`: -1, -7/8, ... in a shape of 2, 3, 4.
fn steps(dtype: Dtype) -> Tensor {
    let data = (0_u8..24).map(|i| f32::from(i) / 8.0 - 1.0).collect();
    Tensor { shape: vec![2, 3, 4], dtype, data, note: None }
}

fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor { shape: shape.to_vec(), dtype: Dtype::F32, data: data.to_vec(), note: None }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What an error says after the path, which must come first, all on one line.
fn complaint<T>(result: Result<T, TensorError>, path: &Path) -> String {
    let Err(error) = result else { panic!("{} was accepted", path.display()) };
    let text = error.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
    let rest = text.strip_prefix(&format!("{}: ", path.display()));
    rest.unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// The complaint about a file of these bytes.
fn refusal(name: &str, bytes: &[u8]) -> String {
    let folder = folder();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    complaint(Tensor::read(&path, None), &path)
}

fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes(), data].concat()
}

fn npy_of_shape(shape: &str, data: &[u8]) -> Vec<u8> {
    npy(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n"), data)
}

fn safe(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [length.as_slice(), header.as_bytes(), data].concat()
}

#[test]
fn reads_every_npy_dtype_version_and_order() {
    for (name, dtype) in [
        ("f2_le", Dtype::F16),
        ("f2_be", Dtype::F16),
        ("f4_le", Dtype::F32),
        ("f4_be", Dtype::F32),
        ("f4_version2", Dtype::F32),
        ("f4_version3", Dtype::F32),
        ("f4_fortran", Dtype::F32),
    ] {
        let read = Tensor::read(&fixture(&format!("{name}.npy")), None).unwrap();
        assert_eq!(read, steps(dtype), "{name}");
    }
}

#[test]
fn narrows_f64_with_a_note() {
    for name in ["f8_le", "f8_be", "f8_be_fortran"] {
        let read = Tensor::read(&fixture(&format!("{name}.npy")), None).unwrap();
        let note = Some("f64 narrowed to f32".to_owned());
        assert_eq!(read, Tensor { note, ..steps(Dtype::F32) }, "{name}");
    }
    let read = Tensor::read(&fixture("f8_overflow.npy"), None).unwrap();
    assert_eq!(read.note.as_deref(), Some("f64 narrowed to f32: 2 of 5 values overflowed to infinity"));
    assert_eq!(read.data[..3], [f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY]);
    assert!(read.data[3].is_nan());
    assert_eq!(read.data[4].to_bits(), (1.0_f32 / 3.0).to_bits());
}

#[test]
fn reads_rank_0_and_empty_arrays() {
    let read = |name| Tensor::read(&fixture(name), None).unwrap();
    assert_eq!(read("rank0.npy"), tensor(&[], &[1.5]));
    assert_eq!(read("empty.npy"), tensor(&[2, 0, 3], &[]));
    let empty_half = Tensor { dtype: Dtype::F16, ..tensor(&[2, 0, 3], &[]) };
    assert_eq!(read("empty_fortran.npy"), empty_half);
}

#[test]
fn reads_headers_that_numpy_no_longer_writes() {
    let data = 1.5_f32.to_le_bytes();
    for header in [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1L, 1L)}",
        "{\"shape\":(1,1,),\"fortran_order\":False,\"descr\":\"<f4\"}   \n",
        " { 'descr' : '<f4' ,\t'shape' : ( 1 , 1 ) , 'fortran_order' : True , } \n",
    ] {
        let folder = folder();
        let path = folder.path().join("x.NPY");
        fs::write(&path, npy(header, &data)).unwrap();
        assert_eq!(Tensor::read(&path, None).unwrap(), tensor(&[1, 1], &[1.5]), "{header}");
    }
}

#[test]
fn refuses_other_npy_dtypes() {
    for (name, found) in [
        ("bool", "\"|b1\" (booleans)"),
        ("i8", "\"<i8\" (integers)"),
        ("u1", "\"|u1\" (integers)"),
        ("c8", "\"<c8\" (complex numbers)"),
        ("object", "\"|O\" (Python objects)"),
        ("text", "\"<U2\""),
        ("structured", "a structured dtype"),
        ("bf16", "\"<V2\" (raw bytes; bf16 must come as .safetensors)"),
    ] {
        let path = fixture(&format!("{name}.npy"));
        let expected = format!("expected the dtype f2, f4 or f8 ('<' or '>'), got {found}");
        assert_eq!(complaint(Tensor::read(&path, None), &path), expected);
    }
}

#[test]
fn refuses_malformed_npy() {
    let invalid = |detail: &str| format!("not a valid .npy file: {detail}");
    let inside = invalid("the file ends inside its header");
    let good = npy_of_shape("(1,)", &[0; 4]);
    for (bytes, expected) in [
        (&good[..0], inside.as_str()),
        (&good[..7], &inside),
        (&good[..9], &inside),
        (&good[..30], &invalid("a header of 58 bytes is stated, 20 bytes follow")),
        (b"\x89PNG\r\n\x1a\n", &invalid(r"expected the first bytes \x93NUMPY, got \x89PNG\r\n")),
        (b"\x93NUMPY\x04\x00", &invalid("expected format version 1.0, 2.0 or 3.0, got 4.0")),
        (b"\x93NUMPY\x03\x00\xff\xff\xff\xff{", &invalid("a header of 4294967295 bytes is stated, 1 bytes follow")),
        (
            &[b"\x93NUMPY\x02\x00\x00\x00\x01\x00".as_slice(), " ".repeat(65536).as_bytes()].concat(),
            &invalid("expected a header of at most 65535 bytes, got 65536"),
        ),
        (b"\x93NUMPY\x01\x00\x01\x00\xff", &invalid("expected text in the header, got other bytes")),
    ] {
        assert_eq!(refusal("x.npy", bytes), expected);
    }
}

#[test]
fn refuses_malformed_npy_dictionaries() {
    for (header, fault) in [
        ("", r#"expected "{" in the header, got """#),
        ("[1]", r#"expected "{" in the header, got "[1]""#),
        ("{", r#"expected a string in the header, got """#),
        ("{'descr", r#"expected a string in the header, got "descr""#),
        ("{'descr'}", r#"expected ":" in the header, got "}""#),
        ("{'descr': 4}", r#"expected a string in the header, got "4}""#),
        ("{'order': 4}", r#"expected descr, fortran_order or shape in the header, got "order""#),
        ("{'fortran_order': 1}", r#"expected True or False in the header, got "1}""#),
        ("{'shape': 3}", r#"expected "(" in the header, got "3}""#),
        ("{'shape': (-3,)}", r#"expected the length of an axis in the header, got "-3,)}""#),
        ("{'shape': (3", r#"expected ")" in the header, got """#),
        ("{'shape': (3,) 'descr': '<f4'}", r#"expected "}" in the header, got "'descr': '<f4'}""#),
        (
            "{'shape': (99999999999999999999,)}",
            r#"expected the length of an axis in the header, got "99999999999999999999,)}""#,
        ),
        ("{'descr': '<f4', 'shape': ()}", r#"expected the keys descr, fortran_order and shape in the header, got """#),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': ()}\n{", r#"expected nothing more in the header, got "{""#),
    ] {
        let text = refusal("x.npy", &npy(header, &[0; 4]));
        assert_eq!(text, format!("not a valid .npy file: {fault}"), "{header}");
    }
    let long = format!("{{'descr': '{}'", "é".repeat(1000));
    assert!(refusal("x.npy", &npy(&long, &[])).len() < 200);
}

#[test]
fn refuses_npy_of_another_length_or_too_large() {
    let length = |expected, found, is| {
        format!("expected {expected} bytes of data after the header, got {found}: the file is {is}")
    };
    let large = |shape: &str| format!("a tensor of shape {shape} does not fit into memory");
    let ones = vec!["1"; 65].join(",");
    for (shape, bytes, expected) in [
        ("(2, 3)", 23, length(24_u64, 23, "cut short")),
        ("(2, 3)", 25, length(24, 25, "too long")),
        ("()", 0, length(4, 0, "cut short")),
        ("(0,)", 4, length(0, 4, "too long")),
        ("(1099511627776,)", 4, length(4 << 40, 4, "cut short")),
        ("(4294967296, 4294967296)", 0, large("[4294967296, 4294967296]")),
        ("(2305843009213693951,)", 4, large("[2305843009213693951]")),
        ("(0, 4294967296, 4294967296)", 0, large("[0, 4294967296, 4294967296]")),
        (&format!("({ones})"), 4, "expected at most 64 axes in a .npy file, got 65".to_owned()),
    ] {
        assert_eq!(refusal("x.npy", &npy_of_shape(shape, &vec![0; bytes])), expected);
    }
}

#[test]
fn reads_safetensors_by_name() {
    let path = fixture("types.safetensors");
    for (name, dtype) in [("half", Dtype::F16), ("brain", Dtype::Bf16), ("single", Dtype::F32)] {
        assert_eq!(Tensor::read(&path, Some(name)).unwrap(), steps(dtype), "{name}");
    }
    let double = Tensor::read(&path, Some("double")).unwrap();
    let note = Some("f64 narrowed to f32".to_owned());
    assert_eq!(double, Tensor { note, ..steps(Dtype::F32) });
    assert_eq!(Tensor::read(&path, Some("scalar")).unwrap(), tensor(&[], &[1.5]));
    assert_eq!(Tensor::read(&path, Some("empty")).unwrap(), tensor(&[2, 0, 3], &[]));

    let one = fixture("one.safetensors");
    assert_eq!(Tensor::read(&one, None).unwrap(), steps(Dtype::F32));
    assert_eq!(Tensor::read(&one, Some("steps")).unwrap(), steps(Dtype::F32));
}

#[test]
fn refuses_what_a_safetensors_file_does_not_hold() {
    let complain = |file, name| {
        let path = fixture(file);
        complaint(Tensor::read(&path, name), &path)
    };
    let types = r#""brain", "double", "empty", "half", "ids", "scalar", "single""#;
    assert_eq!(complain("types.safetensors", None), format!("expected the name of a tensor; the file holds {types}"));
    assert_eq!(
        complain("types.safetensors", Some("halve")),
        format!("expected a tensor named \"halve\"; the file holds {types}")
    );
    assert_eq!(
        complain("types.safetensors", Some("ids")),
        "expected the dtype F16, BF16, F32 or F64, got I64 in tensor \"ids\""
    );
    let many = complain("many.safetensors", None);
    assert_eq!(many.matches("layer.").count(), 10);
    assert!(many.ends_with(r#""layer.7" and 2 more"#), "{many}");
    assert_eq!(complain("none.safetensors", None), "expected the name of a tensor; the file holds no tensor");
}

#[test]
fn refuses_malformed_safetensors() {
    let one = fs::read(fixture("one.safetensors")).unwrap();
    let invalid = |detail: &str| format!("not a valid .safetensors file: {detail}");
    let length = |expected, found, is| {
        format!("expected {expected} bytes of data after the header, got {found}: the file is {is}")
    };
    for (bytes, expected) in [
        (&one[..5], invalid("the file ends inside its header")),
        (&one[..40], invalid("a header of 64 bytes is stated, 32 bytes follow")),
        (&one[..one.len() - 1], length(96, 95, "cut short")),
        (&[one.as_slice(), &[0]].concat(), length(96, 97, "too long")),
        (&[0xff; 8], invalid("a header of 18446744073709551615 bytes is stated, 0 bytes follow")),
        (&safe("[", &[]), invalid("invalid type: sequence, expected struct HashMetadata at line 1 column 0")),
        (
            &safe(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, &[0; 4]),
            invalid("invalid shape, data type, or offset for tensor"),
        ),
        (
            &safe(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, &[0; 8]),
            invalid("invalid offset for tensor `a`"),
        ),
        (
            &safe(r#"{"a\nb":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, &[0; 8]),
            invalid("invalid offset for tensor `a b`"),
        ),
        (
            &safe(r#"{"a":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}}"#, &[]),
            "a tensor of shape [0, 4294967296, 4294967296] does not fit into memory".to_owned(),
        ),
    ] {
        let text = refusal("x.safetensors", bytes);
        assert_eq!(text, expected);
    }
    let overflow = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#;
    assert!(refusal("x.safetensors", &safe(overflow, &[0; 4])).contains("overflow"));
}

/// Nine tensors of nearly 2^61 bytes each end at 2^64 - 8: plus the header, that is past 2^64, which makes
/// `SafeTensors::read_metadata` of the crate overflow.
#[test]
fn refuses_safetensors_whose_size_overflows() {
    let (mut entries, mut start) = (Vec::new(), 0_u64);
    for i in 0..9 {
        let size = ((1 << 61) - 8).min(u64::MAX - 7 - start);
        let end = start + size;
        entries.push(format!(r#""{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{start},{end}]}}"#));
        start = end;
    }
    let text = refusal("x.safetensors", &safe(&format!("{{{}}}", entries.join(",")), &[]));
    assert_eq!(text, "expected 18446744073709551608 bytes of data after the header, got 0: the file is cut short");
}

#[test]
fn tells_the_format_by_extension_then_by_content() {
    let folder = folder();
    let read_as = |name: &str, from: &str| {
        let path = folder.path().join(name);
        fs::copy(fixture(from), &path).unwrap();
        Tensor::read(&path, None).map_err(|e| complaint::<()>(Err(e), &path))
    };
    for name in ["a.Npy", "npy", "a", "a.bin", "a.npy.part"] {
        assert_eq!(read_as(name, "f4_le.npy").unwrap(), steps(Dtype::F32), "{name}");
    }
    for name in ["b.SAFETENSORS", "b", "b.bin"] {
        assert_eq!(read_as(name, "one.safetensors").unwrap(), steps(Dtype::F32), "{name}");
    }
    assert_eq!(
        read_as("c.txt", "make.py").unwrap_err(),
        "expected a .npy or .safetensors file, got neither by its extension nor by its first bytes"
    );
    assert!(read_as("c.npy", "one.safetensors").unwrap_err().starts_with("not a valid .npy file"));
}

#[cfg(unix)]
#[test]
fn says_why_a_file_cannot_be_opened() {
    let folder = folder();
    let absent = folder.path().join("absent.npy");
    assert_eq!(complaint(Tensor::read(&absent, None), &absent), "cannot read: No such file or directory (os error 2)");
    assert_eq!(
        complaint(Tensor::read(folder.path(), None), folder.path()),
        "cannot read: Is a directory (os error 21)"
    );
}

#[test]
fn writes_the_same_bytes_as_the_reference_writers() {
    for (tensor, file) in [
        (steps(Dtype::F32), "f4_le.npy"),
        (steps(Dtype::F16), "f2_le.npy"),
        (tensor(&[24], &steps(Dtype::F32).data), "rank1.npy"),
        (tensor(&[], &[1.5]), "rank0.npy"),
        (tensor(&[2, 0, 3], &[]), "empty.npy"),
        (steps(Dtype::F32), "one.safetensors"),
    ] {
        let folder = folder();
        let path = folder.path().join(file);
        tensor.write(&path, "steps").unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(fixture(file)).unwrap(), "{file}");
        assert_eq!(names_in(folder.path()), [file]);
    }
}

#[test]
fn rounds_to_nearest_even() {
    // Ties between neighbours: to the even one below, to the even one above; then past the range.
    let values = [1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 65520.0, -1e-9];
    let folder = folder();
    let path = folder.path().join("x.npy");
    Tensor { dtype: Dtype::F16, ..tensor(&[4], &values) }.write(&path, "").unwrap();
    let expected = [1.0, 1.0 + 1.0 / 512.0, f32::INFINITY, -0.0];
    let read = Tensor::read(&path, None).unwrap();
    assert_eq!(read.data, expected);
    assert!(read.data[3].is_sign_negative());
}

#[test]
fn refuses_to_write_what_the_format_cannot_hold() {
    let folder = folder();
    for (tensor, file, expected) in [
        (
            steps(Dtype::Bf16),
            "x.npy",
            "bf16 has no .npy dtype: expected f32 or f16, or a file name that ends in .safetensors",
        ),
        (steps(Dtype::F32), "x.txt", "expected a file name that ends in .npy or .safetensors"),
        (steps(Dtype::F32), "x", "expected a file name that ends in .npy or .safetensors"),
        (tensor(&[2, 3], &[0.0; 5]), "x.npy", "expected as many values as shape [2, 3] has, got 5"),
        (tensor(&[1; 65], &[0.0]), "x.npy", "expected at most 64 axes in a .npy file, got 65"),
        (
            steps(Dtype::F32),
            "x.safetensors",
            "expected a name for the tensor, got \"__metadata__\", which .safetensors files use for something else",
        ),
    ] {
        let path = folder.path().join(file);
        assert_eq!(complaint(tensor.write(&path, "__metadata__"), &path), expected);
    }
    assert!(names_in(folder.path()).is_empty());
    tensor(&[1; 64], &[0.0]).write(&folder.path().join("x.npy"), "").unwrap();
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = folder();
    let path = folder.path().join("x.npy");
    fs::write(&path, "old").unwrap();
    let result = save::stage(&path, |out| {
        out.write_all(&[0; 1000])?;
        Err(io::ErrorKind::StorageFull.into())
    });
    assert_eq!(result.err().unwrap().kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names_in(folder.path()), ["x.npy"]);
}

#[test]
fn files_wait_for_each_other() {
    let folder = folder();
    let (old, new) = (folder.path().join("old.npy"), folder.path().join("new.npy"));
    fs::write(&old, "old").unwrap();
    let mut files = Files::default();
    files.tensor(&old, "", &steps(Dtype::F32)).unwrap();
    files.text(&new, "new").unwrap();
    assert_eq!(fs::read(&old).unwrap(), b"old");
    assert!(!new.exists());
    drop(files);
    assert_eq!((fs::read(&old).unwrap(), names_in(folder.path())), (b"old".to_vec(), vec!["old.npy".to_owned()]));

    // One of them cannot get its name: what was new goes again.
    let mut files = Files::default();
    files.text(&new, "new").unwrap();
    files.text(&folder.path().join("late"), "late").unwrap();
    fs::create_dir(folder.path().join("late")).unwrap();
    assert!(files.commit().is_err());
    assert_eq!(names_in(folder.path()), ["late", "old.npy"]);
}

#[test]
fn a_missing_folder_is_an_error() {
    let folder = folder();
    let path = folder.path().join("absent/x.npy");
    let text = complaint(steps(Dtype::F32).write(&path, ""), &path);
    assert!(text.starts_with("cannot write: "), "{text}");
    assert!(names_in(folder.path()).is_empty());
}

#[cfg(unix)]
mod unix {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// A folder that refuses new files. Root may write anywhere but into `/proc`.
    fn locked_folder(within: &Path) -> PathBuf {
        let locked = within.join("locked");
        fs::create_dir(&locked).unwrap();
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
        match fs::write(locked.join("probe"), "") {
            Ok(()) => PathBuf::from("/proc/self"),
            Err(_) => locked,
        }
    }

    #[test]
    fn a_folder_without_write_permission_is_an_error() {
        let folder = folder();
        let path = locked_folder(folder.path()).join("x.npy");
        let text = complaint(steps(Dtype::F32).write(&path, ""), &path);
        assert!(text.starts_with("cannot write: "), "{text}");
        assert!(!path.exists());
    }

    #[test]
    fn a_new_file_has_ordinary_permissions_and_an_old_one_keeps_its_own() {
        let folder = folder();
        let (new, plain) = (folder.path().join("x.npy"), folder.path().join("plain"));
        steps(Dtype::F32).write(&new, "").unwrap();
        fs::write(&plain, "").unwrap();
        assert_eq!(mode(&new), mode(&plain));

        fs::set_permissions(&new, fs::Permissions::from_mode(0o640)).unwrap();
        steps(Dtype::F16).write(&new, "").unwrap();
        assert_eq!(mode(&new), 0o640);
        assert_eq!(Tensor::read(&new, None).unwrap(), steps(Dtype::F16));
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let folder = folder();
        let (real, link) = (folder.path().join("real.npy"), folder.path().join("link.npy"));
        fs::write(&real, "old").unwrap();
        symlink("real.npy", &link).unwrap();
        steps(Dtype::F32).write(&link, "").unwrap();
        assert!(link.is_symlink());
        assert_eq!(Tensor::read(&real, None).unwrap(), steps(Dtype::F32));
    }

    #[test]
    fn a_folder_is_not_written_over() {
        let folder = folder();
        let path = folder.path().join("x.npy");
        fs::create_dir(&path).unwrap();
        assert_eq!(complaint(steps(Dtype::F32).write(&path, ""), &path), "cannot write: Is a directory (os error 21)");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_an_error_and_stays_a_device() {
        let full = Path::new("/dev/full");
        let before = names_in(Path::new("/dev"));
        assert_eq!(
            complaint(steps(Dtype::F32).write(full, ""), full),
            "cannot write: No space left on device (os error 28)"
        );
        assert!(!full.metadata().unwrap().is_file());
        assert_eq!(names_in(Path::new("/dev")), before);
        steps(Dtype::F32).write(Path::new("/dev/null"), "").unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_is_written_and_read() {
        let (mut reader, writer) = io::pipe().unwrap();
        let path = PathBuf::from(format!("/dev/fd/{}", writer.as_raw_fd()));
        steps(Dtype::F32).write(&path, "").unwrap();
        drop(writer);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, fs::read(fixture("f4_le.npy")).unwrap());

        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(&fs::read(fixture("one.safetensors")).unwrap()).unwrap();
        drop(writer);
        let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
        assert_eq!(Tensor::read(&path, None).unwrap(), steps(Dtype::F32));
    }

    /// As after `> file` in a shell: the open file must get the bytes, not another one in its place.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_redirected_stream_is_written_into() {
        let folder = folder();
        let path = folder.path().join("out");
        let file = fs::File::create(&path).unwrap();
        let stream = PathBuf::from(format!("/dev/fd/{}", file.as_raw_fd()));
        steps(Dtype::F32).write(&stream, "").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 224);
        assert_eq!(names_in(folder.path()), ["out"]);
    }
}

#[test]
fn dtypes_are_named_as_they_print() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
        assert_eq!(dtype.to_string().parse::<Dtype>().unwrap(), dtype);
    }
    assert_eq!(format!("[{:>5}]", Dtype::F16), "[  f16]");
    let error = "f64".parse::<Dtype>().unwrap_err();
    assert_eq!(error.to_string(), "expected the dtype f32, f16 or bf16, got \"f64\"");
}

#[test]
fn axes_count_from_both_ends() {
    let resolve = |axis, rank| resolve_axis(axis, rank).map_err(|e| e.to_string());
    for (axis, index) in [(0, 0), (1, 1), (2, 2), (-1, 2), (-2, 1), (-3, 0)] {
        assert_eq!(resolve(axis, 3), Ok(index));
    }
    for axis in [3, -4, i64::MAX, i64::MIN] {
        let expected = format!("axis {axis} is out of range for rank 3: expected -3 to 2");
        assert_eq!(resolve(axis, 3), Err(expected));
    }
    assert_eq!(
        resolve(0, 0).unwrap_err(),
        "axis 0 is out of range for rank 0: expected none, as a single number has no axes"
    );
}

#[test]
fn moves_an_axis_by_hand() {
    let data = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    let (moved, shape) = move_axis_last(&data, &[2, 3], 0);
    assert_eq!((moved.as_slice(), shape.as_slice()), ([0.0, 3.0, 1.0, 4.0, 2.0, 5.0].as_slice(), [3, 2].as_slice()));
    assert_eq!(move_axis_last(&[], &[2, 0, 3], 0), (vec![], vec![0, 3, 2]));
    assert_eq!(move_axis_back(&[], &[0, 3, 2], 0), (vec![], vec![2, 0, 3]));
}

fn shapes(longest: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..=longest, 0..5)
}

fn dtypes() -> impl Strategy<Value = Dtype> {
    prop::sample::select(vec![Dtype::F32, Dtype::F16, Dtype::Bf16])
}

/// Any values at all: every bit pattern.
fn tensors() -> impl Strategy<Value = Tensor> {
    (shapes(6), dtypes()).prop_flat_map(|(shape, dtype)| {
        let values = shape.iter().product::<usize>();
        prop::collection::vec(any::<u32>().prop_map(f32::from_bits), values).prop_map(move |data| Tensor {
            shape: shape.clone(),
            dtype,
            data,
            note: None,
        })
    })
}

/// The bits that must come back, with one pattern for all NaNs.
fn stored_bits(value: f32, dtype: Dtype) -> u32 {
    let stored = match dtype {
        Dtype::F32 => value,
        Dtype::F16 => f16::from_f32(value).to_f32(),
        Dtype::Bf16 => bf16::from_f32(value).to_f32(),
    };
    if stored.is_nan() { f32::NAN.to_bits() } else { stored.to_bits() }
}

/// 0, 1, 2, ... in C order, and the same tensor's values in Fortran order, by plain indexing.
fn both_orders(shape: &[usize]) -> (Vec<u16>, Vec<u16>) {
    let values = u16::try_from(shape.iter().product::<usize>()).unwrap();
    let mut fortran = vec![0; values.into()];
    for value in 0..values {
        let (mut rest, mut place, mut stride) = (usize::from(value), 0, fortran.len());
        // In Fortran order the last axis is the slowest.
        for &length in shape.iter().rev() {
            stride /= length;
            place += (rest % length) * stride;
            rest /= length;
        }
        fortran[place] = value;
    }
    ((0..values).collect(), fortran)
}

proptest! {
    #[test]
    fn what_is_written_is_read(tensor in tensors(), npy in any::<bool>(), name in "[^_].{0,20}") {
        let folder = folder();
        let file = if npy && tensor.dtype != Dtype::Bf16 { "x.npy" } else { "x.safetensors" };
        let path = folder.path().join(file);
        tensor.write(&path, &name).unwrap();
        for name in [None, Some(name.as_str())] {
            let read = Tensor::read(&path, name).unwrap();
            prop_assert_eq!(&read.shape, &tensor.shape);
            prop_assert_eq!(read.dtype, tensor.dtype);
            prop_assert_eq!(&read.note, &None);
            let bits = |data: &[f32]| -> Vec<_> {
                data.iter().map(|&v| stored_bits(v, tensor.dtype)).collect()
            };
            prop_assert_eq!(bits(&read.data), bits(&tensor.data));
        }
    }

    #[test]
    fn fortran_order_is_undone(shape in shapes(6)) {
        let (expected, fortran) = both_orders(&shape);
        let bytes: Vec<_> = fortran.iter().flat_map(|&v| f32::from(v).to_be_bytes()).collect();
        let numbers = shape.iter().map(|n| format!("{n},")).collect::<Vec<_>>().concat();
        let header = format!("{{'descr': '>f4', 'fortran_order': True, 'shape': ({numbers})}}");
        let folder = folder();
        let path = folder.path().join("x.npy");
        fs::write(&path, npy(&header, &bytes)).unwrap();
        let read = Tensor::read(&path, None).unwrap();
        prop_assert_eq!(read.shape, shape);
        prop_assert_eq!(read.data, expected.iter().map(|&v| f32::from(v)).collect::<Vec<_>>());
    }

    #[test]
    fn moving_an_axis_back_undoes_moving_it(
        (outer, length, inner) in (shapes(3), 0..70_usize, shapes(5)),
    ) {
        let shape = [outer.as_slice(), &[length], &inner].concat();
        let values = shape.iter().product::<usize>();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^24")]
        let data: Vec<_> = (0..values).map(|v| v as f32).collect();
        let axis = outer.len();
        let (moved, moved_shape) = move_axis_last(&data, &shape, axis);
        let expected_shape = [outer.as_slice(), &inner, &[length]].concat();
        prop_assert_eq!(&moved_shape, &expected_shape);
        let within = inner.iter().product::<usize>();
        for (place, value) in moved.iter().enumerate() {
            let (row, k) = (place / length, place % length);
            let (o, i) = (row / within, row % within);
            prop_assert_eq!(*value, data[(o * length + k) * within + i]);
        }
        prop_assert_eq!(move_axis_back(&moved, &moved_shape, axis), (data, shape));
    }

    /// A damaged file is read or refused in one line; nothing panics or asks for absurd memory.
    #[test]
    fn damaged_files_are_refused(
        file in prop::sample::select(vec!["f4_fortran.npy", "f8_be.npy", "one.safetensors", "types.safetensors"]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = fs::read(fixture(file)).unwrap();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let folder = folder();
        let path = folder.path().join(file);
        fs::write(&path, bytes).unwrap();
        match Tensor::read(&path, Some("half")) {
            Ok(read) => prop_assert_eq!(read.data.len(), read.shape.iter().product::<usize>()),
            Err(error) => { complaint::<()>(Err(error), &path); }
        }
    }
}
