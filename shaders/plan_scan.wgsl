// Both scans, where one workgroup is enough.
@compute @workgroup_size(WIDTH)
fn main(@builtin(local_invocation_index) local: u32) {
    for (var first = local * 4u; first < params.stride; first += WIDTH * 4u) {
        scan_columns(first);
    }
    storageBarrier();
    scan_experts(local);
}
