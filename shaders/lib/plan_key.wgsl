// The bits of an f32 as an integer that is smaller for a greater value.
fn key_of(bits: u32) -> u32 {
    let magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return NONE;
    }
    if (magnitude == 0u) {
        return 0x7fffffffu;
    }
    return select(0x7fffffffu - magnitude, bits, bits >= 0x80000000u);
}
