//! Records that are shown together.

use super::record::Record;

/// Records of one definition, element type and options.
pub struct Group<'a> {
    /// In the order in which they were measured.
    pub records: Vec<&'a Record>,
}

/// In the order in which they first appear.
pub fn groups<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Group<'a>> {
    let mut groups = Vec::<Group<'a>>::new();
    for record in records {
        match groups.iter_mut().find(|group| group.key() == key(record)) {
            Some(group) => group.records.push(record),
            None => groups.push(Group { records: vec![record] }),
        }
    }
    groups
}

fn key(record: &Record) -> (&str, &str, Option<&str>) {
    (&record.definition, &record.dtype, record.options.as_deref())
}

impl<'a> Group<'a> {
    fn key(&self) -> (&'a str, &'a str, Option<&'a str>) {
        // There is no group without records.
        self.records.first().map_or(("", "", None), |record| key(record))
    }

    /// `softmax, f32, temperature`.
    pub fn title(&self) -> String {
        let (definition, dtype, options) = self.key();
        let parts = [definition, dtype, options.unwrap_or_default()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }

    /// All but yardsticks.
    pub fn competitors(&self) -> impl Iterator<Item = &'a Record> {
        self.records.iter().copied().filter(|record| !record.is_yardstick())
    }

    /// What tells this record from others of the group.
    pub fn algorithm(&self, record: &'a Record) -> &'a str {
        record.algorithm(self.competitors().next().map_or("", |first| &first.kernel))
    }

    /// Those of the competitors, as they first appear.
    pub fn algorithms(&self) -> Vec<&'a str> {
        distinct(self.competitors().map(|record| self.algorithm(record)))
    }

    /// Rows, columns and choices, as they first appear.
    pub fn shapes(&self) -> Vec<(u32, u32, Option<u32>)> {
        distinct(self.records.iter().map(|r| r.shape_numbers()))
    }
}

/// Without those that were there before.
pub fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut all = Vec::new();
    for item in items {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::record::made_up;
    use super::*;

    #[test]
    fn records_are_grouped_by_what_was_asked_for() {
        let mut records = made_up::softmaxes();
        records.insert(1, Record { dtype: "bf16".to_owned(), ..records[1].clone() });
        records.push(Record { options: Some("mask".to_owned()), ..records[2].clone() });
        let groups = groups(&records);
        let titles: Vec<_> = groups.iter().map(Group::title).collect();
        assert_eq!(titles, ["softmax, f32", "softmax, bf16", "softmax, f32, mask"]);
        assert_eq!(groups[0].records.len(), 6);
        assert_eq!(groups[0].algorithms(), ["onchip", "online", "stream"]);
        assert_eq!(groups[0].shapes(), [(4096, 1024, None), (512, 32_768, None)]);
    }

    #[test]
    fn algorithms_are_schedules_of_the_main_kernel_or_other_kernels() {
        let of = |definition: &str, kernel: &str, variant: &str| Record {
            definition: definition.to_owned(),
            kernel: kernel.to_owned(),
            ..made_up::record(8, 64, variant, "chosen", 2.0)
        };
        let records = [
            of("sample", "sample", "sample/stream/f32/w8"),
            of("sample", "arg max", "sample/stream/f32/w8"),
            of("route", "route", "router/row/f32/w8"),
            of("route", "route + plan", "plan/one/w1"),
            of("route", "stats", "stats/f32/w8"),
            of("stats", "stats", "stats/f32/w8"),
        ];
        let algorithms: Vec<_> = groups(&records).iter().map(Group::algorithms).collect();
        assert_eq!(algorithms, [vec!["stream", "arg max"], vec!["route", "route + plan", "stats"], vec!["stats"]]);
    }
}
