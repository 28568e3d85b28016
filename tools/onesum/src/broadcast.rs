//! Operands that rows share: NumPy's broadcasting, as the library's [`RowMap`] where one says the same.

use onesum::softmax::RowMap;

/// Values of which each row uses one entry.
#[derive(Clone, Debug)]
pub struct Shared<T> {
    /// Entry after entry, each `width` values.
    pub values: Vec<T>,
    /// Values of an entry.
    pub width: usize,
    /// Which entry each row uses.
    pub entries: Vec<u32>,
    /// The dimensions that rows are counted over: hints for [`Shared::window`].
    pub dims: Vec<usize>,
}

/// What a batch of neighbouring rows needs of a [`Shared`].
pub struct Window<T> {
    /// Its entries, one after another.
    pub values: Vec<T>,
    /// Which of them a row of the batch uses.
    pub map: RowMap,
    /// How many entries there are.
    pub entries: u32,
}

/// For each row of `dims`, in order, the entry of an array of `shape` that is broadcast to `dims` as NumPy does.
/// `None` if it cannot be.
pub fn entries(shape: &[usize], dims: &[usize]) -> Option<Vec<u32>> {
    let missing = dims.len().checked_sub(shape.len())?;
    let padded: Vec<usize> = std::iter::repeat_n(1, missing).chain(shape.iter().copied()).collect();
    if padded.iter().zip(dims).any(|(&have, &want)| have != want && have != 1) {
        return None;
    }
    // The step of each dimension in the array; 0 where it is repeated.
    let mut steps = vec![0; dims.len()];
    let mut step = 1;
    for (i, &have) in padded.iter().enumerate().rev() {
        if have != 1 {
            steps[i] = step;
        }
        step *= have;
    }
    u32::try_from(step).ok()?;
    let mut result = vec![0];
    for (&n, &step) in dims.iter().zip(&steps) {
        result = result.iter().flat_map(|&first| (0..n).map(move |i| first + (i * step) as u32)).collect();
    }
    Some(result)
}

impl<T: Copy> Shared<T> {
    /// One entry for all rows.
    pub fn one(value: T, dims: &[usize]) -> Self {
        let rows = dims.iter().product();
        Self { values: vec![value], width: 1, entries: vec![0; rows], dims: dims.to_vec() }
    }

    /// The entry that `row` uses.
    pub fn row(&self, row: usize) -> &[T] {
        let first = self.entries[row] as usize * self.width;
        &self.values[first..first + self.width]
    }

    /// What the rows of a batch need: a piece of the values and a map, or one entry for each row where no map does.
    pub fn window(&self, rows: std::ops::Range<usize>) -> Window<T> {
        let used = &self.entries[rows];
        let first = used.iter().copied().min().unwrap_or(0);
        let last = used.iter().copied().max().unwrap_or(0);
        let span = (last - first) as usize + 1;
        let relative: Vec<u32> = used.iter().map(|e| e - first).collect();
        if let Some(map) = (span <= used.len()).then(|| fit(&relative, &self.dims)).flatten() {
            let values = self.values[first as usize * self.width..][..span * self.width].to_vec();
            return Window { values, map, entries: span as u32 };
        }
        let values =
            used.iter().flat_map(|&e| self.values[e as usize * self.width..][..self.width].iter().copied()).collect();
        Window { values, map: RowMap::each(), entries: used.len() as u32 }
    }
}

/// The map that gives these entries, if there is one. Candidates come from the dimensions, and every one of them is
/// tried on every row, so a map that is found is right.
fn fit(entries: &[u32], dims: &[usize]) -> Option<RowMap> {
    let mut products = vec![1_u32];
    for &n in dims.iter().rev() {
        let product = u64::from(*products.last()?) * n.max(1) as u64;
        products.push(u32::try_from(product).ok()?);
    }
    let mut modulos = vec![1, u32::MAX];
    modulos.extend(products.iter().flat_map(|a| products.iter().map(move |b| a / b)).filter(|&m| m > 1));
    modulos.sort_unstable();
    modulos.dedup();
    let groups = || std::iter::once(u32::MAX).chain(products.iter().copied());
    let all = products.iter().flat_map(|&divide| {
        let modulos = &modulos;
        groups().flat_map(move |group| modulos.iter().map(move |&modulo| RowMap { divide, modulo, group }))
    });
    let says = |map: &RowMap| entries.iter().zip(0..).all(|(&e, row)| map.entry(row) == u64::from(e));
    [RowMap::one(), RowMap::each()].into_iter().chain(all).find(says)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(shape: &[usize], dims: &[usize]) -> Shared<f32> {
        let n: usize = shape.iter().product();
        let entries = entries(shape, dims).unwrap();
        Shared { values: (0..n).map(|i| i as f32).collect(), width: 1, entries, dims: dims.to_vec() }
    }

    #[test]
    fn broadcasting_is_numpys() {
        assert_eq!(entries(&[3], &[2, 3]).unwrap(), [0, 1, 2, 0, 1, 2]);
        assert_eq!(entries(&[2, 1], &[2, 3]).unwrap(), [0, 0, 0, 1, 1, 1]);
        assert_eq!(entries(&[], &[2]).unwrap(), [0, 0]);
        assert_eq!(entries(&[], &[]).unwrap(), [0]);
        assert_eq!(entries(&[2], &[3]), None);
        assert_eq!(entries(&[1, 3], &[3]), None);
        assert_eq!(entries(&[1], &[0]).unwrap(), Vec::<u32>::new());
    }

    #[test]
    fn the_usual_masks_have_maps() {
        // batch, heads, queries.
        let dims = [2, 3, 4];
        for shape in [&[4][..], &[2, 1, 4], &[2, 1, 1], &[3, 1], &[2, 3, 4], &[1], &[3, 4]] {
            let shared = shared(shape, &dims);
            assert!(fit(&shared.entries, &dims).is_some(), "{shape:?}");
        }
    }

    #[test]
    fn a_window_says_what_the_whole_says() {
        let dims = [2, 3, 2, 2];
        for shape in [&[2, 1, 2, 1][..], &[3, 1, 2], &[2, 1, 1, 2], &[2], &[1], &[2, 3, 2, 2], &[2, 3, 1, 2]] {
            let shared = shared(shape, &dims);
            for from in 0..24 {
                for to in from + 1..=24 {
                    let window = shared.window(from..to);
                    assert_eq!(window.values.len(), window.entries as usize);
                    for row in from..to {
                        let entry = window.map.entry((row - from) as u32) as usize;
                        assert_eq!(window.values[entry], shared.row(row)[0], "{shape:?} {from}..{to} {row}");
                    }
                }
            }
        }
    }
}
