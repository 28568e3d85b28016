// One row per workgroup: merged within each subgroup, then across. Right for any power of two as the subgroup size, and for any
// assignment of invocations to subgroups: what a subgroup has lies on the shelf where its first invocation is, and where
// subgroups are not runs of the size that is reported, each invocation looks at all of the shelf.
var<workgroup> shelf: array<Partial, WIDTH>;
var<workgroup> scattered: atomic<u32>;

fn reduce(at: Lane, subgroup_size: u32, mine: Partial, hard: bool) -> Partial {
    var all = reduce_within(subgroup_size, at.size, mine, hard);
    workgroupBarrier();
    let run = min(subgroup_size, WIDTH);
    if (at.rank > 0u) {
        all = no_mass();
    } else if (at.size != run) {
        atomicStore(&scattered, SCATTERED);
    }
    shelf[at.local] = all;
    workgroupBarrier();

    let subgroups = WIDTH / run;
    let each = min(subgroups, run);     // invocations that share the subgroups
    let first = at.rank % each;
    all = shelf[first * run];
    for (var i = first + each; i < subgroups; i += each) {
        all = merge(all, shelf[i * run], hard);
    }
    all = reduce_within(each, min(each, at.size), all, hard);
    if (atomicLoad(&scattered) == SCATTERED) {
        all = shelf[0];
        for (var i = 1u; i < WIDTH; i++) {
            all = merge(all, shelf[i], hard);
        }
    }
    return all;
}

// Nobody writes another word: workgroup memory is not cleared.
const SCATTERED = 0x9e3779b9u;
