// The expert that a slot in use belongs to.
fn expert_at(slot: u32) -> u32 {
    var low = 0u;
    var high = params.experts;
    while (high - low > 1u) {
        let middle = (low + high) / 2u;
        if (base_of(middle) <= slot) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}
