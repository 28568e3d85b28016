// Slots without a pair, in one of so many parts of the slots: the ends of the experts' slots, and what follows the last.
fn fill_holes(part: u32, parts: u32) {
    let size = (params.slots + parts - 1u) / parts;
    var slot = min(part * size, params.slots);
    let end = min(slot + size, params.slots);
    let used = min(end, base_of(params.experts));
    if (params.block > 1u && slot < used) {
        // No loop within a loop: lanes in step would go through the longest one of each expert, more often than some CPU drivers let them.
        var expert = expert_at(slot);
        slot = max(slot, base_of(expert) + total_of(expert));
        var next = base_of(expert + 1u);
        while (slot < used) {
            if (slot < next) {
                sorted[params.sorted_offset + slot] = NONE;
                slot++;
            } else {
                expert++;
                slot = max(slot, base_of(expert) + total_of(expert));
                next = base_of(expert + 1u);
            }
        }
    }
    for (slot = max(slot, used); slot < end; slot++) {
        sorted[params.sorted_offset + slot] = NONE;
    }
}
