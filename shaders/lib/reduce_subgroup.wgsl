// One row per workgroup: merged within each subgroup, then across. Right for any power of two as the
// subgroup size, and for any assignment of invocations to subgroups: it never asks which subgroup it is in.
var<workgroup> shelf: array<Partial, WIDTH>;

fn exchanged(mine: Partial, distance: u32) -> Partial {
    return Partial(
        subgroupShuffleXor(mine.anchor, distance),
        subgroupShuffleXor(mine.exponent, distance),
        subgroupShuffleXor(mine.high, distance),
        subgroupShuffleXor(mine.low, distance),
    );
}

fn reduce_within(size: u32, mine: Partial, hard: bool) -> Partial {
    var all = mine;
    for (var distance = 1u; distance < size; distance *= 2u) {
        all = merge(all, exchanged(all, distance), hard);
    }
    return all;
}

fn reduce(at: Lane, subgroup_size: u32, mine: Partial, hard: bool) -> Partial {
    var all = reduce_within(subgroup_size, mine, hard);
    workgroupBarrier();
    if (at.subgroup_local > 0u) {
        all = no_mass();
    }
    shelf[at.local] = all;
    workgroupBarrier();
    all = shelf[at.subgroup_local];
    for (var i = at.subgroup_local + subgroup_size; i < WIDTH; i += subgroup_size) {
        all = merge(all, shelf[i], hard);
    }
    return reduce_within(subgroup_size, all, hard);
}
