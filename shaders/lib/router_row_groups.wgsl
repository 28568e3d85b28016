var<workgroup> group_keys: array<i32, GROUP_KEYS>;
override GROUP_KEYS: u32 = 32;

fn group_of(row: u32, g: u32) -> i32 {
    var first = EXCLUDED;
    var second = EXCLUDED;
    for (var c = g * params.group_cols; c < (g + 1u) * params.group_cols; c++) {
        let key = row_keys[row * COLUMNS + c];
        second = max(second, min(first, key));
        first = max(first, key);
    }
    return group_key(first, second);
}

// Takes the columns of all but the best groups out of the race.
fn keep_groups(at: Lane, row: u32) {
    let base = row * params.groups;
    for (var g = at.first; g < params.groups; g += at.step) {
        group_keys[base + g] = group_of(row, g);
    }
    workgroupBarrier();
    for (var g = at.first; g < params.groups; g += at.step) {
        let mine = group_keys[base + g];
        var better = 0u;
        for (var other = 0u; other < params.groups; other++) {
            let key = group_keys[base + other];
            better += select(0u, 1u, key > mine || (key == mine && other < g));
        }
        if (better >= params.kept_groups) {
            for (var c = g * params.group_cols; c < (g + 1u) * params.group_cols; c++) {
                row_keys[row * COLUMNS + c] = EXCLUDED;
            }
        }
    }
    workgroupBarrier();
}
