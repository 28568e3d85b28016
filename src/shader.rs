//! Fragments of WGSL and how they are linked: nothing is replaced in them, they are only put one after another.

use std::fmt::Write;

/// A piece of WGSL. Two fragments implement one interface when they declare the same names with the same
/// signatures: an option that is off is a fragment too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The file's name under `shaders/`, without its ending.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// Who is going to read the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// naga, inside wgpu: rejects `enable subgroups;`.
    Naga,
    /// A browser, or Dawn: requires it.
    Browser,
}

impl Dialect {
    /// Who reads the text on this adapter.
    #[must_use]
    pub fn of(info: &wgpu::AdapterInfo) -> Self {
        if info.backend == wgpu::Backend::BrowserWebGpu { Self::Browser } else { Self::Naga }
    }
}

/// What stands above the fragments: language extensions and constants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The f16 type is used.
    pub f16: bool,
    /// Subgroup operations are used.
    pub subgroups: bool,
    /// Numbers that WGSL wants as `const`, not as `override`: sizes of arrays in function space.
    pub constants: Vec<(&'static str, u32)>,
}

/// The whole text of a shader: directives, constants, fragments. The order of fragments is free in WGSL.
///
/// ```
/// use onesum::shader::{Dialect, Fragment, Header, link};
///
/// let header = Header { f16: true, subgroups: true, constants: vec![("EXPERTS", 8)] };
/// let fragment = Fragment { name: "mine", text: "var<private> best: array<f16, EXPERTS>;\n" };
/// let text = "\nconst EXPERTS = 8u;\n\n// ---- shaders/mine.wgsl\nvar<private> best: array<f16, EXPERTS>;\n";
/// assert_eq!(link(Dialect::Naga, &header, &[fragment]), format!("enable f16;{text}"));
/// assert_eq!(link(Dialect::Browser, &header, &[fragment]), format!("enable f16;\nenable subgroups;{text}"));
/// ```
#[must_use]
pub fn link(dialect: Dialect, header: &Header, fragments: &[Fragment]) -> String {
    let mut text = String::new();
    if header.f16 {
        text.push_str("enable f16;\n");
    }
    if header.subgroups && dialect == Dialect::Browser {
        text.push_str("enable subgroups;\n");
    }
    for (name, value) in &header.constants {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "const {name} = {value}u;");
    }
    for fragment in fragments {
        let _ = write!(text, "\n// ---- shaders/{}.wgsl\n{}", fragment.name, fragment.text);
    }
    text
}

/// The fragment in a file under `shaders/`.
macro_rules! fragment {
    ($name:literal) => {
        $crate::shader::Fragment {
            name: $name,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")),
        }
    };
}
pub(crate) use fragment;
