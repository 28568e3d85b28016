//! Entries from shapes: neighbours on the grid with one variant become one range.

use onesum::tuning::{Entry, Sizes};

/// Entries for these shapes: columns next to each other with the same rows and choices first, then rows.
pub fn merged<V: Copy + PartialEq>(measured: &[(Sizes, V)]) -> Vec<Entry<V>> {
    let mut rows: Vec<u32> = measured.iter().map(|(sizes, _)| sizes.rows).collect();
    rows.sort_unstable();
    rows.dedup();
    let next = |row: u32| rows.iter().copied().find(|&r| r > row);
    let mut lines: Vec<Entry<V>> = Vec::new();
    for &row in &rows {
        let mut here: Vec<_> = measured.iter().filter(|(sizes, _)| sizes.rows == row).collect();
        here.sort_by_key(|(sizes, _)| (sizes.choices, sizes.cols));
        let first = lines.len();
        for (sizes, variant) in here {
            let choices = sizes.choices.map(|n| [n, n]);
            match lines[first..].last_mut() {
                Some(last) if last.choices == choices && last.variant == *variant => last.cols[1] = sizes.cols,
                _ => {
                    lines.push(Entry { rows: [row, row], cols: [sizes.cols; 2], choices, variant: *variant });
                }
            }
        }
    }
    let mut entries: Vec<Entry<V>> = Vec::new();
    for line in lines {
        let above = |e: &&mut Entry<V>| {
            (e.cols, e.choices) == (line.cols, line.choices)
                && e.variant == line.variant
                && next(e.rows[1]) == Some(line.rows[0])
        };
        match entries.iter_mut().find(above) {
            Some(entry) => entry.rows[1] = line.rows[1],
            None => entries.push(line),
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rows: u32, cols: u32, choices: Option<u32>) -> Sizes {
        Sizes { rows, cols, choices }
    }

    #[test]
    fn neighbours_become_ranges() {
        let grid = [(1, 8, 'a'), (1, 32, 'a'), (1, 128, 'b'), (4, 8, 'a'), (4, 32, 'a'), (4, 128, 'a'), (16, 8, 'a')];
        let measured: Vec<_> = grid.iter().map(|&(rows, cols, v)| (at(rows, cols, None), v)).collect();
        let entry = |rows, cols, variant| Entry { rows, cols, choices: None, variant };
        let expected = [
            entry([1, 1], [8, 32], 'a'),
            entry([1, 1], [128, 128], 'b'),
            entry([4, 4], [8, 128], 'a'),
            entry([16, 16], [8, 8], 'a'),
        ];
        assert_eq!(merged(&measured), expected);
    }

    #[test]
    fn rows_merge_where_columns_are_the_same() {
        let measured = [(1, 8), (4, 8), (16, 8), (1, 32), (4, 32), (16, 32)].map(|(r, c)| (at(r, c, Some(2)), 'a'));
        let whole = Entry { rows: [1, 16], cols: [8, 32], choices: Some([2, 2]), variant: 'a' };
        assert_eq!(merged(&measured), [whole]);
        let gap = [(at(1, 8, None), 'a'), (at(4, 8, None), 'b'), (at(16, 8, None), 'a')];
        assert_eq!(merged(&gap).len(), 3);
    }

    #[test]
    fn choices_stay_apart() {
        let measured = [(at(1, 8, Some(2)), 'a'), (at(1, 64, Some(6)), 'a'), (at(1, 128, Some(6)), 'a')];
        let entries = merged(&measured);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[1].cols, [64, 128]);
    }
}
