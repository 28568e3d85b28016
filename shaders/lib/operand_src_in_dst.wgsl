// In place, or two windows of one buffer so close that one binding must hold both.
fn src_at(i: u32) -> Src {
    return dst[i];
}
