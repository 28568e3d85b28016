// Slots without a pair, in one of so many parts of the slots: the ends of the experts' slots, and what follows the last.
fn fill_holes(part: u32, parts: u32) {
    let size = (params.slots + parts - 1u) / parts;
    var slot = min(part * size, params.slots);
    let end = min(slot + size, params.slots);
    let used = min(end, base_of(params.experts));
    if (params.block > 1u && slot < used) {
        for (var expert = expert_at(slot); slot < used; expert++) {
            let next = min(used, base_of(expert + 1u));
            for (slot = max(slot, base_of(expert) + total_of(expert)); slot < next; slot++) {
                sorted[params.sorted_offset + slot] = NONE;
            }
            slot = next;
        }
    }
    for (slot = max(slot, used); slot < end; slot++) {
        sorted[params.sorted_offset + slot] = NONE;
    }
}
