// A row's LANES invocations merge what they have: a tree in workgroup memory. Baseline: no feature needed.
var<workgroup> shelf: array<Partial, WIDTH>;

fn reduce(at: Lane, subgroup_size: u32, mine: Partial, hard: bool) -> Partial {
    if (LANES == 1u) {
        return mine;
    }
    let local = at.local;
    let lane = local % LANES;
    workgroupBarrier();
    shelf[local] = mine;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) {
            shelf[local] = merge(shelf[local], shelf[local + step], hard);
        }
    }
    workgroupBarrier();
    return shelf[local - lane];
}
