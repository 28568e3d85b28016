// A part leaves two Partials: its candidate and its share of the partition function.
const SLOT = 2u;

fn put_total(slot: u32, total: Partial) {
    put_partial(slot + 1u, total);
}

fn total_at(slot: u32) -> Partial {
    return partial_at(slot + 1u);
}
