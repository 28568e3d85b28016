// The scan of the experts: one workgroup.
@compute @workgroup_size(WIDTH)
fn main(@builtin(local_invocation_index) local: u32) {
    scan_experts(local);
}
