// Both scans, where one workgroup is enough.
@compute @workgroup_size(WIDTH)
fn main(@builtin(local_invocation_index) local: u32) {
    for (var quad = local; quad < params.stride / 4u; quad += WIDTH) {
        scan_columns(quad);
    }
    storageBarrier();
    scan_experts(local);
}
