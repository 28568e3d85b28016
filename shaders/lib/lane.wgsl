override WIDTH: u32 = 256;      // invocations of a workgroup
override LANES: u32 = WIDTH;    // of those, how many share one row

// Beyond the quads of any row.
const NOWHERE = 0x40000000u;

struct Lane {
    local: u32,     // index in the workgroup
    rank: u32,      // index in the subgroup: 0 in the baseline tier
    size: u32,      // invocations of the subgroup: 1 in the baseline tier
    first: u32,     // of a row's quads, first, first + step, ... are this invocation's
    step: u32,
    alone: bool,    // it does the work of all LANES, whose own `first` is NOWHERE
}
