//! What a case does with its device, noted while it runs, so that another implementation can do the same.

use std::sync::Arc;

use crate::Bound;
use crate::bound::Recipe;
use crate::softmax::Dtype;

/// What a case has done, in order.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    pub notes: Vec<Note>,
    pub descriptions: Vec<Description>,
}

/// One thing that a case has done.
#[derive(Debug)]
pub(crate) enum Note {
    Written {
        buffer: wgpu::Buffer,
        offset: u64,
        bytes: Vec<u8>,
    },
    Ran {
        recipe: Arc<Recipe>,
        groups: [u32; 2],
    },
    /// The buffer's first bytes, as this implementation gave them.
    Read {
        buffer: wgpu::Buffer,
        bytes: Vec<u8>,
    },
}

/// What a buffer is.
#[derive(Debug)]
pub(crate) struct Description {
    pub buffer: wgpu::Buffer,
    pub what: &'static str,
    pub loose: Vec<Loose>,
}

/// Elements that another implementation may give otherwise, from byte `at` of their buffer on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loose {
    pub at: u64,
    pub bounds: Bounds,
}

/// How otherwise.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bounds {
    /// Floats from the first to the second of each pair, or NaN where both are.
    Floats(Dtype, Vec<[f32; 2]>),
    /// The low words of sums of 64 bits, in two's complement, whose high words begin at byte `high`: each sum is from the first to
    /// the second of its pair. A high word is not loose by this.
    Sums { high: u64, pairs: Vec<[i64; 2]> },
    /// So many words: no interval of a float says what they may be.
    Words(u64),
    /// So many words that nobody looks at: they need not even be the same in a second run.
    Scratch(u64),
}

/// What an element of an output may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Freedom {
    /// What it is here, to the bit.
    Exact,
    /// From the first to the second; any NaN where both are.
    Within([f32; 2]),
    /// Anything.
    Any,
}

impl Freedom {
    /// Where bits of zeros and NaN do not count.
    pub fn equal_to(want: f32) -> Self {
        Self::Within([want, want])
    }
}

/// The loose ones among the elements that follow each other from byte `at` on.
pub(crate) fn loose(dtype: Dtype, at: u64, elements: impl IntoIterator<Item = Freedom>) -> Vec<Loose> {
    let mut list: Vec<Loose> = Vec::new();
    let mut run = Vec::new();
    let element = dtype.bytes();
    let close = |list: &mut Vec<Loose>, run: &mut Vec<[f32; 2]>, end: u64| {
        if !run.is_empty() {
            let at = end - run.len() as u64 * element;
            list.push(Loose { at, bounds: Bounds::Floats(dtype, std::mem::take(run)) });
        }
    };
    let mut at = at;
    for freedom in elements {
        match freedom {
            Freedom::Within(interval) => run.push(interval),
            Freedom::Exact => close(&mut list, &mut run, at),
            Freedom::Any => {
                close(&mut list, &mut run, at);
                list.push(Loose { at: at / 4 * 4, bounds: Bounds::Words(1) });
            }
        }
        at += element;
    }
    close(&mut list, &mut run, at);
    list
}

impl Tape {
    pub fn written(&mut self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.notes.push(Note::Written { buffer: buffer.clone(), offset, bytes: bytes.to_vec() });
        }
    }

    pub fn ran(&mut self, steps: &[&Bound]) {
        let steps = steps.iter().flat_map(|bound| &bound.steps);
        self.notes.extend(steps.map(|step| Note::Ran { recipe: step.recipe.clone(), groups: step.groups }));
    }

    pub fn read(&mut self, buffer: &wgpu::Buffer, bytes: &[u8]) {
        self.notes.push(Note::Read { buffer: buffer.clone(), bytes: bytes.to_vec() });
    }

    pub fn describe(&mut self, buffer: &wgpu::Buffer, what: &'static str, loose: Vec<Loose>) {
        self.descriptions.push(Description { buffer: buffer.clone(), what, loose });
    }

    /// The buffers that anything depends on.
    pub fn used(&self) -> Vec<&wgpu::Buffer> {
        let of = |note| match note {
            &Note::Written { .. } => Vec::new(),
            Note::Ran { recipe, .. } => recipe.windows.iter().map(|w| &w.buffer).collect(),
            Note::Read { buffer, .. } => vec![buffer],
        };
        self.notes.iter().flat_map(of).collect()
    }

    /// The first name of a buffer, and all that is loose in it.
    pub fn description(&self, buffer: &wgpu::Buffer) -> (&'static str, Vec<&Loose>) {
        let mine = || self.descriptions.iter().filter(|d| d.buffer == *buffer);
        let what = mine().next().map_or("buffer", |d| d.what);
        (what, mine().flat_map(|d| &d.loose).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_loose_elements() {
        let [one, two] = [[1.0, 2.0], [3.0, 4.0]];
        let elements = [
            Freedom::Exact,
            Freedom::Within(one),
            Freedom::Within(two),
            Freedom::Any,
            Freedom::Within(two),
            Freedom::Exact,
            Freedom::Within(one),
        ];
        let floats = |at, list: &[[f32; 2]]| Loose { at, bounds: Bounds::Floats(Dtype::F16, list.to_vec()) };
        let want = [
            floats(102, &[one, two]),
            Loose { at: 104, bounds: Bounds::Words(1) },
            floats(108, &[two]),
            floats(112, &[one]),
        ];
        assert_eq!(loose(Dtype::F16, 100, elements), want);
        assert_eq!(loose(Dtype::F32, 0, [Freedom::Exact; 3]), []);
        assert_eq!(loose(Dtype::F32, 0, []), []);
    }
}
