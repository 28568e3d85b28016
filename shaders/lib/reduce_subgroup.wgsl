// One row per workgroup: merged within each subgroup, then across. Right for any power of two as the
// subgroup size, and for any assignment of invocations to subgroups: it never asks which subgroup it is in.
var<workgroup> shelf: array<Partial, WIDTH>;

fn reduce(at: Lane, subgroup_size: u32, mine: Partial, hard: bool) -> Partial {
    var all = reduce_within(subgroup_size, at.size, mine, hard);
    workgroupBarrier();
    if (at.rank > 0u) {
        all = no_mass();
    }
    shelf[at.local] = all;
    workgroupBarrier();
    all = shelf[at.rank];
    for (var i = at.rank + at.size; i < WIDTH; i += at.size) {
        all = merge(all, shelf[i], hard);
    }
    return reduce_within(subgroup_size, at.size, all, hard);
}
