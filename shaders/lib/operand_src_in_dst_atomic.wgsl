// The same where the output's words are atomic: 16-bit elements that are not in quads.
fn src_at(i: u32) -> Src {
    return atomicLoad(&dst[i]);
}
