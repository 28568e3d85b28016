override WIDTH: u32 = 256;          // invocations of a workgroup
override LANES: u32 = WIDTH;        // of those, how many share one row

struct Lane {
    local: u32,             // index in the workgroup
    subgroup_local: u32,    // index in the subgroup; 0 in the baseline tier
}
