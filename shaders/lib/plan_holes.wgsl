// Slots without a pair, in one of so many parts of the slots: the ends of the experts' slots, and what follows the last.
//
// In one loop: lanes in step go through every loop as often as the one that stays longest, and loops in loops or one after another
// would add up to more turns than some CPU drivers let an invocation have.
fn fill_holes(part: u32, parts: u32) {
    let size = (params.slots + parts - 1u) / parts;
    var slot = min(part * size, params.slots);
    let end = min(slot + size, params.slots);
    let used = base_of(params.experts);
    var expert = 0u;
    var next = end;
    if (params.block > 1u && slot < used) {
        expert = expert_at(slot);
        slot = max(slot, base_of(expert) + total_of(expert));
        next = base_of(expert + 1u);
    } else {
        slot = max(slot, used);
    }
    while (slot < end) {
        if (slot < next) {
            sorted[params.sorted_offset + slot] = NONE;
            slot++;
        } else if (next < used) {
            expert++;
            slot = max(slot, base_of(expert) + total_of(expert));
            next = base_of(expert + 1u);
        } else {
            next = end;
        }
    }
}
